//! What the machine's memory and cores achieve: read, copy and triad bandwidth of one and of all threads, and a small f32
//! matrix product.
//!
//! The loops are those of STREAM (McCalpin): each pass is timed from the first thread's start to the last one's end and the
//! best of the passes counts, as memory has no luck but bad luck. Each array is four times the last caches together, as
//! STREAM asks, in huge machines as large as bounds and free memory allow. All of it takes less than two seconds.
//!
//! Memory is shared, so its passes are timed for all threads together. A product stays in its core's caches: each thread
//! times its own and the rates add up, so that another process on one core does not hide what the others can do.

use super::host_root::HostRoot;
use super::readings::Sampler;
use super::readings::load::{CpuTicks, foreign_load};
use super::scan::Scan;
use ouro_common::device::{Achieved, MemoryRates, Readings};
use ouro_common::mfpi::threshold::{self, Gate, GateState};
use ouro_engine::rates;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Bounds of all buffers together.
const BUFFER_BYTES: std::ops::RangeInclusive<usize> = (192 << 20)..=(3 << 30);
/// For each of the seven measurements: together with the first touch of all buffers, less than two seconds also where others use
/// the processor.
const TIME_EACH: Duration = Duration::from_millis(140);
/// Fewer passes would let one interruption decide.
const LEAST_PASSES: usize = 8;
/// After this no pass more is begun: on a machine that is slow or crowded the start of the agent must not wait for them. The
/// figure then says how crowded it was, and is taken again.
const TIME_MOST: Duration = Duration::from_millis(250);
/// A pass takes one part of each array in turn: short enough to fit between two interruptions, and when a part comes round
/// again the others have driven it out of the caches.
const PARTS: usize = 4;

/// Measures the machine this process runs on; `None` if it will not say how many threads it has or has too little memory.
pub fn measure() -> Option<Achieved> {
    let threads = std::thread::available_parallelism().ok()?.get();
    let root = HostRoot::live();
    let (ticks, own) = (CpuTicks::read(&Scan::new(&root)), own_time());
    // Three arrays, each shared out among the threads, in units of a cache line.
    let share = |bytes: usize, threads: usize| bytes / 3 / threads / 8 / 64 * 64;
    let [read, copy, triad, flops] = run(threads, share(buffer_bytes(&root, threads, threads)?, threads));
    let all_threads = MemoryRates { read_bytes_per_s: read, copy_bytes_per_s: copy, triad_bytes_per_s: triad };
    let one_thread = if threads == 1 {
        all_threads
    } else {
        let [read, copy, triad, _] = run(1, share(buffer_bytes(&root, threads, 1)?, 1));
        MemoryRates { read_bytes_per_s: read, copy_bytes_per_s: copy, triad_bytes_per_s: triad }
    };
    let now = CpuTicks::read(&Scan::new(&root));
    let spent = own_time().saturating_sub(own);
    Some(Achieved {
        all_threads,
        one_thread,
        flops_per_s: flops,
        threads: u32::try_from(threads).unwrap_or(u32::MAX),
        foreign_load: ticks.zip(now).and_then(|(before, now)| foreign_load(before, now, spent)),
    })
}

/// Measures if that does no harm and says the truth: not a recorded machine, not on a battery, not near its heat limit.
///
/// # Errors
/// A sentence that says why it was not measured.
pub fn measure_if_apt(root: &HostRoot) -> Result<Achieved, String> {
    if !root.is_live() {
        return Err("not measured: only the machine itself can be, not a recording of it".to_string());
    }
    if let Some(why) = unfit(&Sampler::new().sample(root, Duration::ZERO)) {
        return Err(format!("not measured: {why}"));
    }
    measure().ok_or_else(|| "not measured: too little memory is free, or the number of threads is not known".to_string())
}

/// Why a machine in this state is not to be measured: it would drain its battery, heat it up, and give a throttled figure.
pub(crate) fn unfit(readings: &Readings) -> Option<String> {
    let alone = Readings { foreign_load: None, ..readings.clone() };
    match threshold::next(&GateState::default(), &alone, ouro_common::clock::Instant(0)).gate {
        Gate::Normal => None,
        Gate::Light(why) | Gate::Refuse(why) => Some(why),
    }
}

/// The processor time of all threads of this process.
fn own_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}

/// Three arrays of four times the last caches that `used` of all `threads` reach, within bounds and within a quarter of the
/// free memory.
fn buffer_bytes(root: &HostRoot, threads: usize, used: usize) -> Option<usize> {
    let scan = Scan::new(root);
    let wanted = (12 * last_cache_bytes(&scan, threads, used)).clamp(*BUFFER_BYTES.start(), *BUFFER_BYTES.end());
    let free = super::memory::read(&scan, &[]).available_bytes.and_then(|bytes| usize::try_from(bytes / 4).ok());
    let bytes = wanted.min(free.unwrap_or(wanted));
    (bytes >= 16 << 20).then_some(bytes)
}

/// All last-level caches together: the size of one times the number of groups that share one.
fn last_cache_bytes(scan: &Scan<'_>, threads: usize, used: usize) -> usize {
    let cache = scan.sys("devices/system/cpu/cpu0/cache");
    let size = |index: &String| {
        let text = scan.text(&cache.join(index).join("size"))?;
        let kib: usize = text.strip_suffix('K')?.parse().ok()?;
        let sharing = scan.text(&cache.join(index).join("shared_cpu_list")).and_then(|list| super::memory::count_list(&list));
        let groups = used.min(threads).div_ceil(usize::try_from(sharing.unwrap_or(1)).ok()?.max(1));
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
            results[3] += rates::GEMM_FLOPS / best.product_s;
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
    let mut product = rates::Gemm::default();
    let clock = Clock { keeps_time, barrier, stop };
    let memory_s = [
        clock.best(|part| {
            let r = range(part, elements);
            std::hint::black_box(rates::sum(&a[r.clone()]) + rates::sum(&b[r.clone()]) + rates::sum(&c[r]));
        }),
        clock.best(|part| {
            let r = range(part, elements);
            c[r.clone()].copy_from_slice(std::hint::black_box(&a[r]));
        }),
        clock.best(|part| {
            let r = range(part, elements);
            rates::triad(&mut a[r.clone()], &b[r.clone()], &c[r], 1e-9);
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
        if is_enough(passes, started.elapsed()) {
            break;
        }
    }
    best.max(1e-9)
}

/// Whether a measurement ends after so many passes and so long.
fn is_enough(passes: usize, elapsed: Duration) -> bool {
    elapsed >= TIME_MOST || (passes >= LEAST_PASSES && elapsed >= TIME_EACH)
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
                self.stop.store(is_enough(passes, started.elapsed()), Ordering::Relaxed);
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
    use ouro_common::device::PowerSource;

    #[test]
    fn the_measured_figures_are_those_of_a_computer() {
        let [read, copy, triad, flops] = run(2, 1 << 16);
        for bytes_per_s in [read, copy, triad] {
            assert!((1e7..1e14).contains(&bytes_per_s), "{bytes_per_s}");
        }
        assert!((1e6..1e15).contains(&flops), "{flops}");
    }

    #[test]
    fn a_measurement_has_its_passes_unless_they_take_too_long() {
        assert!(!is_enough(20, TIME_EACH / 2) && !is_enough(LEAST_PASSES - 1, TIME_EACH) && is_enough(LEAST_PASSES, TIME_EACH));
        assert!(is_enough(1, TIME_MOST), "a crowded machine is not waited for");
    }

    #[test]
    fn a_machine_on_battery_or_near_its_limit_is_not_measured() {
        let battery = Readings { power: PowerSource::Battery, battery_percent: Some(80.0), ..Readings::default() };
        assert!(unfit(&battery).is_some_and(|why| why.contains("on battery")));
        let hot = Readings { max_c: Some(92.0), critical_c: Some(100.0), ..Readings::default() };
        assert!(unfit(&hot).is_some_and(|why| why.contains("warm")));
        assert_eq!(unfit(&Readings { foreign_load: Some(1.0), ..Readings::default() }), None, "a busy one is, and says so");
        let recorded = HostRoot::recorded("/no/such/machine");
        assert!(measure_if_apt(&recorded).is_err_and(|why| why.contains("recording")));
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
        assert_eq!(buffer_bytes(&root, 16, 16), Some(12 * 2 * (32 << 20)));
        assert_eq!(buffer_bytes(&root, 16, 1), Some(12 * (32 << 20)), "one thread has one cache");
        std::fs::write(dir.path().join("proc/meminfo"), "MemTotal: 9000 kB\nMemAvailable: 8192 kB\n").unwrap();
        assert_eq!(buffer_bytes(&root, 16, 16), None, "too little memory to say anything about it");
    }
}
