//! How fast the kernels are, from the caches and from memory: run by `make bench-kernels`, never by the tests.
//!
//! One thread, its processor time, the best of some passes; "file" rows read a matrix much larger than the caches that is mapped
//! and read ahead as a model's is, in huge pages where the kernel gives them.

use super::halves::{Half, Singles};
use super::oracle::{levels, random_weights};
use super::{Activations, Format, Level, Output, ROWS_AT_A_TIME, halves, multiply};
use crate::gguf::TensorType;
use crate::mapped_file::MappedFile;
use crate::pool::Pool;
use rand::SeedableRng as _;
use std::io::Write as _;
use std::time::Duration;

const WIDTH: usize = 3072;
const IN_CACHE_BYTES: usize = 512 << 10;
const FROM_MEMORY_BYTES: usize = 512 << 20;
const TOKENS: [usize; 6] = [1, 2, 4, 8, 16, 128];

/// Processor time of this thread, in seconds.
fn cpu_s() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure is there to be filled.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn best(passes: usize, mut work: impl FnMut()) -> f64 {
    let timed = (0..passes).map(|_| {
        let start = cpu_s();
        work();
        cpu_s() - start
    });
    timed.fold(f64::INFINITY, f64::min)
}

/// What is multiplied.
#[derive(Clone, Copy)]
enum Kind {
    Blocks(Format),
    Halves(Half),
}

impl Kind {
    fn row_bytes(self) -> usize {
        match self {
            Self::Blocks(format) => WIDTH / format.block_values() * format.block_bytes(),
            Self::Halves(_) => WIDTH * halves::HALF_BYTES,
        }
    }

    fn name(self) -> String {
        match self {
            Self::Blocks(format) => format!("{format:?}"),
            Self::Halves(half) => format!("{half:?}"),
        }
    }
}

fn measure(level: Level, kind: Kind, weights: &[u8], tokens: usize, passes: usize) -> f64 {
    let rows = weights.len() / kind.row_bytes();
    let values: Vec<f32> = (0..tokens * WIDTH).map(|i| (i * 7919 % 1000) as f32 / 200.0 - 2.5).collect();
    let mut found = vec![0.0; tokens * rows];
    let out = Output::new(&mut found, rows, 0);
    let group = if let Kind::Blocks(format) = kind { format.activation_group() } else { 32 };
    let rounded = Activations::quantise(&values, WIDTH, group, &Pool::new(1));
    let repeat = (IN_CACHE_BYTES * 32).div_ceil(weights.len()).max(1);
    let seconds = best(passes, || {
        for _ in 0..repeat {
            for start in (0..rows).step_by(ROWS_AT_A_TIME) {
                let some = start..(start + ROWS_AT_A_TIME).min(rows);
                // SAFETY: the level was detected, one thread runs, and the weights hold whole rows.
                unsafe {
                    match kind {
                        Kind::Blocks(format) => multiply(level, format, weights, &rounded, out, some),
                        Kind::Halves(half) => halves::multiply(level, half, weights, Singles::new(&values, WIDTH), out, some),
                    }
                }
            }
        }
    });
    (rows * kind.row_bytes() * repeat) as f64 / seconds / 1e9
}

/// A file of ordinary weights, mapped and read ahead as a model's is.
fn mapped() -> MappedFile {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let mut file = tempfile::tempfile().expect("a file");
    let piece: Vec<u8> = random_weights(Format::Q4K, (1 << 20) / Format::Q4K.block_bytes(), &mut random);
    for _ in 0..FROM_MEMORY_BYTES / piece.len() {
        file.write_all(&piece).expect("room for 512 MiB");
    }
    file.sync_all().expect("a file on a disk");
    MappedFile::forget(&file);
    let map = MappedFile::new(&file).expect("a map");
    map.read_ahead();
    for _ in 0..600 {
        if !map.is_cold() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    map
}

/// The machine's load, one minute's mean.
fn load() -> f64 {
    let mut about = std::mem::MaybeUninit::<libc::sysinfo>::zeroed();
    // SAFETY: the structure is there to be filled, and consists of numbers, for which zero is one too.
    let loads = unsafe {
        libc::sysinfo(about.as_mut_ptr());
        about.assume_init().loads
    };
    loads[0] as f64 / 65_536.0
}

/// How fast the weights are only read.
fn read(weights: &[u8]) -> f64 {
    // SAFETY: any bytes are numbers.
    let (_, numbers, _) = unsafe { weights.align_to::<f64>() };
    let repeat = (IN_CACHE_BYTES * 32).div_ceil(weights.len()).max(1);
    let seconds = best(5, || {
        for _ in 0..repeat {
            std::hint::black_box(crate::rates::sum(numbers));
        }
    });
    (weights.len() * repeat) as f64 / seconds / 1e9
}

#[test]
#[expect(clippy::print_stdout, reason = "what was measured is for a person to read")]
#[ignore = "measures; make bench-kernels runs it"]
fn speed() {
    let halves = [TensorType::F16, TensorType::BF16].into_iter().filter_map(Half::of).map(Kind::Halves);
    let kinds = Format::ALL.map(Kind::Blocks).into_iter().chain(halves);
    println!("weights read by one thread, GB/s of its processor time; load before {:.2}", load());
    let map = mapped();
    let (cache, file) = (&map[..IN_CACHE_BYTES], &map[..]);
    println!(
        "cache: {} KiB, a plain sum {:.1}; file: {} MiB, a plain sum {:.1}",
        cache.len() >> 10,
        read(cache),
        file.len() >> 20,
        read(file)
    );
    println!("{:27} {}", "rows of activations", TOKENS.map(|tokens| format!("{tokens:7}")).join(" "));
    for kind in kinds {
        for level in levels() {
            for (from, weights, passes) in [("cache", cache, 20), ("file", file, 3)] {
                let whole = &weights[..weights.len() / kind.row_bytes() * kind.row_bytes()];
                let rates = TOKENS.map(|tokens| {
                    // The most rows are not worth the time from memory: memory does not set their pace.
                    let enough = from == "cache" || tokens <= 16;
                    if enough { format!("{:7.1}", measure(level, kind, whole, tokens, passes)) } else { "      -".into() }
                });
                println!("{:6} {:12} {from:7} {}", kind.name(), Level::name(Some(level)), rates.join(" "));
            }
        }
    }
    println!("load after {:.2}", load());
}
