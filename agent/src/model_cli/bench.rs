//! `ouro-agent bench`: how fast a model is here, with what the machine did beside it.
//!
//! Tokens are arbitrary, so that a file needs no tokenizer. Each figure stands for wall time and for processor time: on a busy
//! machine only the second says something about the program.

mod reading;

use self::reading::Reading;
use super::{ChildArgs, in_child, print, refused};
use crate::sensing::bandwidth;
use crate::sensing::host_root::HostRoot;
use ouro_common::error::Fault;
use ouro_engine::decoder::{Decoder, Row, Sequence, Session};
use ouro_engine::gguf::Gguf;
use ouro_engine::kernels::Level;
use ouro_engine::safetensors::Checkpoint;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// What to measure.
#[derive(Debug, clap::Args)]
pub struct BenchArgs {
    /// A model in GGUF format, or a folder with config.json and SafeTensors files.
    #[arg(value_name = "FILE.gguf|FOLDER")]
    file: PathBuf,
    /// Tokens of prompt.
    #[arg(short = 'p', long, default_value_t = 128, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=32_768))]
    prompt: u32,
    /// Tokens that are made after it.
    #[arg(short = 'n', long, default_value_t = 16, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=32_768))]
    decode: u32,
    /// Repetitions; the best is reported.
    #[arg(short = 'r', long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    repeat: u32,
    /// Also decode so many sequences together, which share the prompt; several numbers with commas.
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=256))]
    batch: Vec<u32>,
    /// The form.
    #[arg(long, default_value = "table", value_parser = ["table", "json"])]
    output: String,
    #[command(flatten)]
    child: ChildArgs,
}

/// Tokens per second of wall time and of processor time.
#[derive(Debug, Clone, Copy, Default, Serialize)]
struct Rate {
    per_s: f64,
    per_cpu_s: f64,
}

/// Several sequences decoded together.
#[derive(Debug, Clone, Copy, Serialize)]
struct Batch {
    sequences: u32,
    /// Tokens of all of them.
    decode: Rate,
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Figures {
    file: PathBuf,
    file_bytes: u64,
    kernels: &'static str,
    threads: usize,
    prompt_tokens: usize,
    decode_tokens: usize,
    prefill: Rate,
    decode: Rate,
    batches: Vec<Batch>,
    /// From opening the file to the first token of the prompt's answer, the first time.
    first_token_s: f64,
    /// Resident memory after the model was opened and used once; the cache of the context is in it.
    resident_bytes: Option<u64>,
    context_cache_bytes: u64,
    /// What the machine's memory gives one thread, or all, as this runs with one or more.
    read_bytes_per_s: Option<f64>,
    /// What the same threads read of the weights when they only add them up, where they lie; the best of before and after each
    /// decoding.
    weights_read_bytes_per_s: Option<f64>,
    /// How fast decoding reads them and the context's keys and values, of the mean of right before and right after; the median of
    /// the repetitions.
    decode_read_share: Option<f64>,
    /// Load of the machine before and after, one minute's mean.
    load_before: Option<f64>,
    load_after: Option<f64>,
}

/// Measures, and prints on `out`.
///
/// # Errors
/// What is wrong with the file.
pub fn run(args: &BenchArgs, out: &mut dyn Write) -> Result<(), Fault> {
    in_child(args.child, 1, || {
        let figures = measure(args)?;
        print(out, &args.output, &figures, || table(&figures))
    })
}

fn cpu_s() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// How many tokens a second `work` is, of both kinds.
fn rate(tokens: usize, work: impl FnOnce() -> Result<(), Fault>) -> Result<Rate, Fault> {
    let (wall, cpu) = (Instant::now(), cpu_s());
    work()?;
    let (wall, cpu) = (wall.elapsed().as_secs_f64(), cpu_s() - cpu);
    Ok(Rate { per_s: tokens as f64 / wall.max(1e-9), per_cpu_s: tokens as f64 / cpu.max(1e-9) })
}

fn better(a: Rate, b: Rate) -> Rate {
    Rate { per_s: a.per_s.max(b.per_s), per_cpu_s: a.per_cpu_s.max(b.per_cpu_s) }
}

fn count(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// An arbitrary token for each step.
fn token(decoder: &Decoder, step: u32) -> u32 {
    (step * 13 + 5) % u32::try_from(decoder.config().vocabulary).unwrap_or(u32::MAX)
}

/// Decodes `size` sequences that go on from the same beginning, a token of each at a time.
fn batch(decoder: &Decoder, beginning: &Sequence, size: u32, steps: u32) -> Result<Batch, Fault> {
    let mut sequences: Vec<Sequence> = (0..size).map(|_| beginning.clone()).collect();
    let want: Vec<usize> = (0..count(size)).collect();
    let rate = rate(count(size) * count(steps), || {
        for step in 0..steps {
            let mut all: Vec<&mut Sequence> = sequences.iter_mut().collect();
            let position = all[0].length();
            let row = |sequence| Row { sequence, position, token: token(decoder, step + u32::try_from(sequence).unwrap_or(0)) };
            let rows: Vec<Row> = want.iter().map(|&sequence| row(sequence)).collect();
            decoder.forward(&mut all, &rows, &want, &|| false).map_err(refused)?;
        }
        Ok(())
    })?;
    Ok(Batch { sequences: size, decode: rate })
}

/// The model, and the size of its file or of all its files of weights.
fn open(path: &Path) -> Result<(Decoder, u64), Fault> {
    if path.is_dir() {
        let folder = Checkpoint::open(path).map_err(refused)?;
        return Ok((Decoder::load_folder(&folder).map_err(refused)?, folder.size_bytes()));
    }
    let file = Arc::new(Gguf::open(path).map_err(refused)?);
    Ok((Decoder::load(&file).map_err(refused)?, file.size_bytes()))
}

fn measure(args: &BenchArgs) -> Result<Figures, Fault> {
    let host = HostRoot::live();
    let load_before = load(&host);
    let started = Instant::now();
    let (decoder, file_bytes) = open(&args.file)?;
    let (prompt_tokens, decode_tokens) = (count(args.prompt), count(args.decode));
    let vocabulary = u32::try_from(decoder.config().vocabulary).unwrap_or(u32::MAX);
    let ids: Vec<u32> = (0..args.prompt).map(|i| (i * 7 + 1) % vocabulary).collect();
    let (mut prefill, mut decode) = (Rate::default(), Rate::default());
    let (mut first_token_s, mut resident_bytes) = (None, None);
    let mut batches: Vec<Batch> = vec![];
    let mut reading = Reading::default();
    let context_bytes = decoder.config().cache_bytes_per_token() as f64 * (prompt_tokens as f64 + decode_tokens as f64 / 2.0);
    for _ in 0..args.repeat {
        let mut session = decoder.session(prompt_tokens + decode_tokens);
        let feed = |session: &mut Session<'_>, ids: &[u32]| session.extend(ids, &|| false).map(drop).map_err(refused);
        prefill = better(prefill, rate(prompt_tokens, || feed(&mut session, &ids))?);
        first_token_s.get_or_insert_with(|| started.elapsed().as_secs_f64());
        let beginning = session.sequence().clone();
        let before = reading.pass(&decoder);
        let decoding = rate(decode_tokens, || (0..args.decode).try_for_each(|i| feed(&mut session, &[token(&decoder, i)])))?;
        decode = better(decode, decoding);
        reading.note(before, decoding.per_s, context_bytes, &decoder);
        resident_bytes = resident_bytes.or_else(|| crate::sensing::resident::resident_bytes(&host, "self"));
        for (index, &size) in args.batch.iter().enumerate() {
            let measured = batch(&decoder, &beginning, size, args.decode)?;
            match batches.get_mut(index) {
                Some(best) => best.decode = better(best.decode, measured.decode),
                None => batches.push(measured),
            }
        }
    }
    let tokens = (prompt_tokens + decode_tokens) as u64;
    let threads = ouro_engine::threads::in_use();
    Ok(Figures {
        file: args.file.clone(),
        file_bytes,
        kernels: Level::name(Level::in_use()),
        threads,
        prompt_tokens,
        decode_tokens,
        prefill,
        decode,
        batches,
        first_token_s: first_token_s.unwrap_or_default(),
        resident_bytes,
        context_cache_bytes: decoder.config().cache_bytes_per_token() * tokens,
        read_bytes_per_s: bandwidth::measure().map(|a| if threads == 1 { a.one_thread } else { a.all_threads }.read_bytes_per_s),
        weights_read_bytes_per_s: reading.best,
        decode_read_share: reading.share(),
        load_before,
        load_after: load(&host),
    })
}

fn text(host: &HostRoot, path: &str) -> Option<String> {
    String::from_utf8(host.read_bytes(&host.proc(path), 1 << 16).ok()?).ok()
}

fn load(host: &HostRoot) -> Option<f64> {
    text(host, "loadavg")?.split_whitespace().next()?.parse().ok()
}

fn table(f: &Figures) -> String {
    let gib = |bytes: u64| format!("{:.2} GiB", bytes as f64 / (1 << 30) as f64);
    let unknown = || "unknown".to_string();
    let load = |load: Option<f64>| load.map_or_else(unknown, |l| format!("{l:.2}"));
    let rate = |r: Rate| format!("{:.2} tokens/s, {:.2} per second of processor time", r.per_s, r.per_cpu_s);
    let mut lines: Vec<(String, String)> = [
        ("model", format!("{} ({})", f.file.display(), gib(f.file_bytes))),
        ("kernels, threads", format!("{}, {}", f.kernels, f.threads)),
        (&format!("prefill {}", f.prompt_tokens), rate(f.prefill)),
        (&format!("decode {}", f.decode_tokens), rate(f.decode)),
        ("first token after", format!("{:.2} s", f.first_token_s)),
        (
            "resident",
            f.resident_bytes
                .map_or_else(unknown, |r| format!("{}, up to {} of it context", gib(r), gib(f.context_cache_bytes))),
        ),
        ("memory read", f.read_bytes_per_s.map_or_else(unknown, |b| format!("{:.1} GB/s", b / 1e9))),
        (
            "weights read",
            f.weights_read_bytes_per_s
                .zip(f.decode_read_share)
                .map_or_else(unknown, |(b, share)| format!("{:.1} GB/s by adding them up; decoding reads {share:.2} of that", b / 1e9)),
        ),
        ("load of the machine", format!("{} before, {} after", load(f.load_before), load(f.load_after))),
    ]
    .map(|(name, value)| (name.to_string(), value))
    .to_vec();
    let of_batch = |b: &Batch| (format!("batch of {}", b.sequences), rate(b.decode));
    lines.splice(4..4, f.batches.iter().map(of_batch));
    lines.iter().map(|(name, value)| format!("{name:20} {value}\n")).collect()
}
