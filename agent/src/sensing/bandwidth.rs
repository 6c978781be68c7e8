//! What the machine's memory and cores achieve: read, copy and triad bandwidth of all threads, and a small f32 matrix product.
//!
//! The loops are those of STREAM (McCalpin): each pass is timed from the first thread's start to the last one's end and the
//! best of the passes counts, as memory has no luck but bad luck. Each array is four times the last caches together, as
//! STREAM asks, in huge machines as large as bounds and free memory allow. All of it takes less than two seconds.
//!
//! Memory is shared, so its passes are timed for all threads together. A product stays in its core's caches: each thread
//! times its own and the rates add up, so that another process on one core does not hide what the others can do.

use super::host_root::HostRoot;
use super::scan::Scan;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

mod kernels;

/// Bounds of all buffers together.
const BUFFER_BYTES: std::ops::RangeInclusive<usize> = (192 << 20)..=(3 << 30);
/// For each of the four measurements.
const TIME_EACH: Duration = Duration::from_millis(350);
/// Fewer passes would let one interruption decide.
const LEAST_PASSES: usize = 8;
/// A pass takes one part of each array in turn: short enough to fit between two interruptions, and when a part comes round
/// again the others have driven it out of the caches.
const PARTS: usize = 4;

/// What was achieved, per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Achieved {
    /// Bytes read per second.
    pub read_bytes_per_s: f64,
    /// Bytes moved per second by copying, reads and writes counted once each.
    pub copy_bytes_per_s: f64,
    /// Bytes moved per second by `a = b + s·c`, counted as STREAM does.
    pub triad_bytes_per_s: f64,
    /// FLOP per second of f32 matrix products in cache.
    pub flops_per_s: f64,
    /// Threads used.
    pub threads: usize,
    /// Bytes of all buffers together.
    pub buffer_bytes: usize,
}

/// Measures the machine this process runs on; `None` if it will not say how many threads it has or has too little memory.
pub fn measure() -> Option<Achieved> {
    let threads = std::thread::available_parallelism().ok()?.get();
    let buffer_bytes = buffer_bytes(&HostRoot::live(), threads)?;
    // Three arrays, each shared out among the threads, in units of a cache line.
    let per_thread = buffer_bytes / 3 / threads / 8 / 64 * 64;
    let results = run(threads, per_thread);
    let [read, copy, triad, flops] = results;
    Some(Achieved {
        read_bytes_per_s: read,
        copy_bytes_per_s: copy,
        triad_bytes_per_s: triad,
        flops_per_s: flops,
        threads,
        buffer_bytes: per_thread * 8 * 3 * threads,
    })
}

/// Three arrays of four times the last caches together, within bounds and within a quarter of the free memory.
fn buffer_bytes(root: &HostRoot, threads: usize) -> Option<usize> {
    let scan = Scan::new(root);
    let wanted = (12 * last_cache_bytes(&scan, threads)).clamp(*BUFFER_BYTES.start(), *BUFFER_BYTES.end());
    let free = super::memory::read(&scan, &[]).available_bytes.and_then(|bytes| usize::try_from(bytes / 4).ok());
    let bytes = wanted.min(free.unwrap_or(wanted));
    (bytes >= 16 << 20).then_some(bytes)
}

/// All last-level caches together: the size of one times the number of groups that share one.
fn last_cache_bytes(scan: &Scan<'_>, threads: usize) -> usize {
    let cache = scan.sys("devices/system/cpu/cpu0/cache");
    let size = |index: &String| {
        let text = scan.text(&cache.join(index).join("size"))?;
        let kib: usize = text.strip_suffix('K')?.parse().ok()?;
        let sharing = scan.text(&cache.join(index).join("shared_cpu_list")).and_then(|list| super::memory::count_list(&list));
        let groups = threads.div_ceil(usize::try_from(sharing.unwrap_or(1)).ok()?.max(1));
        kib.checked_mul(1024)?.checked_mul(groups)
    };
    scan.names(&cache).iter().filter_map(size).max().unwrap_or(32 << 20)
}

/// Runs the four kernels on all threads, one after the other; the best pass of each, in units per second.
fn run(threads: usize, per_thread: usize) -> [f64; 4] {
    let barrier = Barrier::new(threads);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|index| {
                let (barrier, stop) = (&barrier, &stop);
                scope.spawn(move || worker(index == 0, barrier, stop, per_thread))
            })
            .collect();
        let elements = (per_thread / PARTS * threads) as f64;
        let work = [24.0 * elements, 16.0 * elements, 24.0 * elements];
        let mut results = [0.0; 4];
        for best in workers.into_iter().filter_map(|worker| worker.join().ok()) {
            results[3] += kernels::GEMM_FLOPS / best.product_s;
            // Only the first worker holds the common clock.
            if let Some(memory_s) = best.memory_s {
                for i in 0..3 {
                    results[i] = work[i] / memory_s[i];
                }
            }
        }
        results
    })
}

/// One thread's shortest passes, in seconds.
struct Best {
    /// Of read, copy and triad by all threads together; known to the one that keeps the time.
    memory_s: Option<[f64; 3]>,
    /// Of its own product.
    product_s: f64,
}

/// One thread's share. Memory is first touched by the thread that uses it, so that it lies on its own NUMA node.
fn worker(keeps_time: bool, barrier: &Barrier, stop: &AtomicBool, elements: usize) -> Best {
    let mut a = vec![1.0f64; elements];
    let mut b = vec![2.0f64; elements];
    let mut c = vec![0.5f64; elements];
    let mut product = kernels::Gemm::new();
    let clock = Clock { keeps_time, barrier, stop };
    let memory_s = [
        clock.best(|part| {
            let r = range(part, elements);
            std::hint::black_box(kernels::sum(&a[r.clone()]) + kernels::sum(&b[r.clone()]) + kernels::sum(&c[r]));
        }),
        clock.best(|part| {
            let r = range(part, elements);
            c[r.clone()].copy_from_slice(std::hint::black_box(&a[r]));
        }),
        clock.best(|part| {
            let r = range(part, elements);
            kernels::triad(&mut a[r.clone()], &b[r.clone()], &c[r], 1e-9);
        }),
    ];
    std::hint::black_box((&mut a, &mut b, &mut c));
    barrier.wait();
    Best { memory_s: keeps_time.then_some(memory_s), product_s: own_best(|| product.run()) }
}

/// The shortest pass of one thread by its own clock, in seconds.
fn own_best(mut pass: impl FnMut()) -> f64 {
    let started = Instant::now();
    let mut best = f64::INFINITY;
    for passes in 1.. {
        let begun = Instant::now();
        pass();
        best = best.min(begun.elapsed().as_secs_f64());
        if passes >= LEAST_PASSES && started.elapsed() >= TIME_EACH {
            break;
        }
    }
    best.max(1e-9)
}

/// The elements of a part.
fn range(part: usize, elements: usize) -> std::ops::Range<usize> {
    let size = elements / PARTS;
    part * size..(part + 1) * size
}

/// Times passes of all threads together.
struct Clock<'b> {
    keeps_time: bool,
    barrier: &'b Barrier,
    stop: &'b AtomicBool,
}

impl Clock<'_> {
    /// The shortest pass in seconds; every thread runs the same number of passes.
    fn best(&self, mut pass: impl FnMut(usize)) -> f64 {
        let started = Instant::now();
        let mut best = f64::INFINITY;
        for passes in 1.. {
            self.barrier.wait();
            let begun = Instant::now();
            pass(passes % PARTS);
            self.barrier.wait();
            best = best.min(begun.elapsed().as_secs_f64());
            if self.keeps_time {
                self.stop.store(passes >= LEAST_PASSES && started.elapsed() >= TIME_EACH, Ordering::Relaxed);
            }
            // Nobody goes on before the timekeeper has decided.
            self.barrier.wait();
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
        }
        best.max(1e-9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_measured_figures_are_those_of_a_computer() {
        let [read, copy, triad, flops] = run(2, 1 << 16);
        for bytes_per_s in [read, copy, triad] {
            assert!((1e7..1e14).contains(&bytes_per_s), "{bytes_per_s}");
        }
        assert!((1e6..1e15).contains(&flops), "{flops}");
    }

    #[test]
    fn buffers_are_larger_than_the_caches_and_fit_the_memory() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join("sys/devices/system/cpu/cpu0/cache/index3");
        std::fs::create_dir_all(&cache).unwrap();
        std::fs::create_dir_all(dir.path().join("proc")).unwrap();
        std::fs::write(cache.join("size"), "32768K").unwrap();
        std::fs::write(cache.join("shared_cpu_list"), "0-7").unwrap();
        let root = HostRoot::recorded(dir.path());
        assert_eq!(buffer_bytes(&root, 16), Some(12 * 2 * (32 << 20)));
        std::fs::write(dir.path().join("proc/meminfo"), "MemTotal: 9000 kB\nMemAvailable: 8192 kB\n").unwrap();
        assert_eq!(buffer_bytes(&root, 16), None, "too little memory to say anything about it");
    }
}
