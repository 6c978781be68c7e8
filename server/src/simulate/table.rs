//! What a comparison says, as a document and as tables: means over the seeds, and where the scheduler is beaten.

use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// Schema `ouroboros.simulation/1`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Always [`Comparison::SCHEMA`].
    pub schema: String,
    /// `mixed` or `phones`.
    pub fleet: String,
    /// Machines.
    pub nodes: u32,
    /// Requests in each run.
    pub requests: usize,
    /// Runs of each cell, each with a fleet, lengths, noise and losses of its own.
    pub seeds: u64,
    /// Machines that were lost in a run, on average over all runs.
    pub losses_per_run: f64,
    /// One for each trace, load and policy.
    pub cells: Vec<Cell>,
}

/// One policy at one load of one trace; times in seconds from a request's coming to its result, averaged over the seeds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// The trace's name.
    pub trace: String,
    /// Requests a second as a share of what all machines together could do.
    pub load: f64,
    /// The policy's name.
    pub policy: String,
    /// Mean.
    pub mean_s: f64,
    /// Half of the requests took at most this.
    pub median_s: f64,
    /// 99 % of them took at most this.
    pub p99_s: f64,
    /// In how many of the runs its mean was the lowest of all policies'.
    pub best_mean_in: u64,
}

/// Mean, median and 99th percentile of one run, the first tenth of its requests left out: the fleet starts empty.
pub(super) fn figures(seconds: &[f64]) -> [f64; 3] {
    let mut sorted = seconds[seconds.len() / 10..].to_vec();
    sorted.sort_by(f64::total_cmp);
    let quantile = |share: f64| sorted[((share * sorted.len() as f64).ceil() as usize).clamp(1, sorted.len()) - 1];
    [sorted.iter().sum::<f64>() / sorted.len() as f64, quantile(0.5), quantile(0.99)]
}

impl Comparison {
    /// The schema's name and version.
    pub const SCHEMA: &'static str = "ouroboros.simulation/1";

    /// The cells of one trace and load.
    pub(super) fn groups(&self) -> Vec<&[Cell]> {
        self.cells.chunk_by(|a, b| a.trace == b.trace && a.load == b.load).collect()
    }

    /// Tables in Markdown, one for each trace and load, and below them every figure in which the first policy is beaten.
    pub fn markdown(&self) -> String {
        let mut text = format!(
            "{} fleet of {} machines, {} requests a run, {} runs for each line, {:.1} machines lost in a run. Times in seconds.\n",
            self.fleet, self.nodes, self.requests, self.seeds, self.losses_per_run
        );
        for cells in self.groups() {
            let _ = writeln!(text, "\n{}, load {}:\n", cells[0].trace, cells[0].load);
            text.push_str("| policy | mean | median | P99 | mean against the first | lowest mean in |\n|---|---:|---:|---:|---:|---:|\n");
            for cell in cells {
                let ratio = cell.mean_s / cells[0].mean_s;
                let Cell { policy, mean_s, median_s, p99_s, best_mean_in, .. } = cell;
                let _ = writeln!(text, "| {policy} | {mean_s:.1} | {median_s:.1} | {p99_s:.1} | {ratio:.2} | {best_mean_in} |");
            }
        }
        let beaten = self.beaten();
        if beaten.is_empty() {
            text.push_str("\nThe first policy has the lowest mean, median and P99 everywhere.\n");
        } else {
            text.push_str("\nWhere the first policy is beaten:\n\n");
            for line in &beaten {
                let _ = writeln!(text, "* {line}");
            }
        }
        text
    }

    /// A line for every figure in which another policy has less than the first.
    pub fn beaten(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for cells in self.groups() {
            let first = &cells[0];
            for (figure, of) in [("mean", (|c| c.mean_s) as fn(&Cell) -> f64), ("median", |c| c.median_s), ("P99", |c| c.p99_s)] {
                let best = cells.iter().skip(1).min_by(|a, b| of(a).total_cmp(&of(b)));
                if let Some(best) = best.filter(|b| of(b) < of(first)) {
                    let (trace, load, policy) = (&first.trace, first.load, &best.policy);
                    lines.push(format!("{trace}, load {load}: {figure} {:.1} s, {policy} {:.1} s", of(first), of(best)));
                }
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_leave_the_start_out() {
        let seconds: Vec<f64> = [1000.0; 100].into_iter().chain((1..=900).map(f64::from)).collect();
        assert_eq!(figures(&seconds), [450.5, 450.0, 891.0]);
    }

    #[test]
    fn a_defeat_is_told() {
        let cell = |policy: &str, mean_s: f64, p99_s| Cell {
            trace: "t".into(),
            load: 0.5,
            policy: policy.into(),
            mean_s,
            median_s: 1.0,
            p99_s,
            best_mean_in: 0,
        };
        let cells = vec![cell("first", 2.0, 9.0), cell("other", 3.0, 8.0)];
        let (schema, fleet) = (Comparison::SCHEMA.to_string(), "mixed".to_string());
        let comparison = Comparison { schema, fleet, nodes: 2, requests: 10, seeds: 1, losses_per_run: 0.0, cells };
        assert_eq!(comparison.beaten(), ["t, load 0.5: P99 9.0 s, other 8.0 s"]);
        assert!(comparison.markdown().contains("| other | 3.0 | 1.0 | 8.0 | 1.50 | 0 |"));
    }
}
