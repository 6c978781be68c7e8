//! `ouro-server simulate`: the scheduler's own `decide` over a modelled fleet and a trace, in virtual time, beside simpler rules.
//!
//! The fleet is a model, so the figures compare rules with each other; they do not forecast anybody's machines.

pub use engine::{Outcome, Scenario, run};
pub use machines::{FleetKind, Machine, fleet};
pub use plot::svg;
pub use policy::{Factor, Policy};
pub use table::{Cell, Comparison};
pub use trace::{Arrival, CHAT, CODE, Shape, Trace};
pub use work::containers;

mod engine;
mod machines;
mod plot;
mod policy;
mod table;
#[cfg(test)]
mod tests;
mod trace;
mod work;

use clap::{Args, ValueEnum};
use ouro_common::error::{Fault, FaultCode};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Requests of a generated trace.
const GENERATED: usize = 20_000;

/// What is simulated.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// A recorded trace, `TIMESTAMP,ContextTokens,GeneratedTokens`; may be given more than once. Without, two are generated
    #[arg(long, value_name = "FILE")]
    pub trace: Vec<PathBuf>,
    /// Which machines there are
    #[arg(long, value_enum, default_value = "mixed")]
    pub fleet: FleetKind,
    /// How many
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub nodes: u32,
    /// Requests a second as shares of what all machines together could do
    #[arg(long, value_delimiter = ',', default_value = "0.5,0.8,0.95", value_name = "LOADS", value_parser = load)]
    pub loads: Vec<f64>,
    /// Requests in each run
    #[arg(long, default_value_t = 1500, value_parser = clap::value_parser!(u32).range(20..=1_000_000))]
    pub requests: u32,
    /// Runs for each trace, load and policy
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub seeds: u64,
    /// What is compared
    #[arg(long, value_enum, default_value = "baselines")]
    pub compare: Compare,
    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    pub output: Format,
    /// Draw the comparison into this file as SVG
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Compare {
    /// The scheduler with simpler rules.
    Baselines,
    /// The scheduler with itself, one factor hidden at a time.
    Factors,
}

/// How a comparison is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Tables for people, in Markdown.
    Table,
    /// One JSON object.
    Json,
}

fn load(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(load) if load > 0.0 && load <= 2.0 => Ok(load),
        _ => Err("a load is a share like 0.8, at most 2".into()),
    }
}

/// Simulates and returns what is to be printed; draws the picture if it was asked for.
///
/// # Errors
/// A trace that cannot be read, or a picture that cannot be written.
pub fn simulate(options: &Options) -> Result<String, Fault> {
    let comparison = compare(options)?;
    if let Some(path) = &options.plot {
        std::fs::write(path, svg(&comparison)).map_err(|e| file_fault(path, &e))?;
    }
    match options.output {
        Format::Table => Ok(comparison.markdown()),
        Format::Json => serde_json::to_string_pretty(&comparison)
            .map(|json| json + "\n")
            .map_err(|e| Fault::new(FaultCode::Internal, e.to_string())),
    }
}

fn file_fault(path: &Path, error: &std::io::Error) -> Fault {
    Fault::new(FaultCode::InvalidArgument, error.to_string())
        .at(path.display())
        .remedy("name a file that can be read or written")
}

fn traces(options: &Options) -> Result<Vec<Trace>, Fault> {
    if options.trace.is_empty() {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        return Ok([CHAT, CODE].map(|shape| Trace::generate(shape, GENERATED, &mut rng)).to_vec());
    }
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).map_err(|e| file_fault(path, &e))?;
        let name = path.file_stem().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned());
        Trace::parse(&name, &text)
    };
    options.trace.iter().map(read).collect()
}

/// Runs every cell of the comparison, on as many threads as there are processors.
///
/// # Errors
/// A trace that cannot be read.
pub fn compare(options: &Options) -> Result<Comparison, Fault> {
    let traces = traces(options)?;
    let policies: &[Policy] = match options.compare {
        Compare::Baselines => &Policy::BASELINES,
        Compare::Factors => &Policy::ABLATIONS,
    };
    let groups: Vec<(&Trace, f64)> = traces.iter().flat_map(|t| options.loads.iter().map(move |l| (t, *l))).collect();
    let work: Vec<(usize, u64, usize)> = (0..groups.len())
        .flat_map(|g| (0..options.seeds).flat_map(move |s| (0..policies.len()).map(move |p| (g, s, p))))
        .collect();
    let (next, results) = (AtomicUsize::new(0), Mutex::new(vec![None; work.len()]));
    let worker = || {
        while let Some((index, (group, seed, policy))) = Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|i| Some((i, work.get(i)?))) {
            let (trace, load) = groups[*group];
            let requests = options.requests as usize;
            let scenario = Scenario { trace, fleet: options.fleet, nodes: options.nodes, load, requests, seed: *seed };
            let outcome = run(&scenario, policies[*policy]).map(|o| (table::figures(&o.seconds), o.losses));
            results.lock().unwrap_or_else(std::sync::PoisonError::into_inner)[index] = Some(outcome);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(worker);
        }
    });
    let results = results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let results: Result<Vec<([f64; 3], usize)>, _> = results.into_iter().flatten().collect();
    let results = results.map_err(|e| Fault::new(FaultCode::Internal, e.to_string()))?;
    let losses = results.iter().map(|(_, l)| *l as f64).sum::<f64>() / results.len().max(1) as f64;
    let runs_of_group = options.seeds as usize * policies.len();
    let cells = results.chunks(runs_of_group).zip(&groups).flat_map(|(runs, group)| cells(runs, *group, policies));
    Ok(Comparison {
        schema: Comparison::SCHEMA.into(),
        fleet: options.fleet.to_possible_value().map_or_else(String::new, |v| v.get_name().to_string()),
        nodes: options.nodes,
        requests: options.requests as usize,
        seeds: options.seeds,
        losses_per_run: losses,
        cells: cells.collect(),
    })
}

/// The cells of one trace and load, from its runs: all policies of the first seed, then of the next.
fn cells(runs: &[([f64; 3], usize)], (trace, load): (&Trace, f64), policies: &[Policy]) -> Vec<Cell> {
    let seeds = runs.len() / policies.len();
    let of = |policy: usize, figure: usize| runs.iter().skip(policy).step_by(policies.len()).map(move |(f, _)| f[figure]);
    let mean = |policy: usize, figure: usize| of(policy, figure).sum::<f64>() / seeds as f64;
    let lowest: Vec<f64> = runs.chunks(policies.len()).map(|r| r.iter().map(|(f, _)| f[0]).fold(f64::INFINITY, f64::min)).collect();
    let cell = |(p, policy): (usize, &Policy)| Cell {
        trace: trace.name.clone(),
        load,
        policy: policy.name().into(),
        mean_s: mean(p, 0),
        median_s: mean(p, 1),
        p99_s: mean(p, 2),
        best_mean_in: of(p, 0).zip(&lowest).filter(|(mean, lowest)| mean <= *lowest).count() as u64,
    };
    policies.iter().enumerate().map(cell).collect()
}
