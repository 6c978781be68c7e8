//! The command line of `ouro-bench`: which measurement, how much of it, and how it is printed.

use crate::{
    BulkOptions, DecisionOptions, Machine, NoopOptions, RankOptions, Report, TogetherOptions, UplinkOptions, bulk, decisions, first_chunk,
    noop, ranks, together, uplinks,
};
use clap::{Parser, Subcommand, ValueEnum};
use std::time::Duration;

/// Measures what a request costs beside its work: accept, plan, place, run, commit.
#[derive(Debug, Parser)]
#[command(name = "ouro-bench", version, args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    what: Option<What>,
    /// Requests in each of the two measurements
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    requests: u32,
    /// Requests at the same time in the second one
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096))]
    in_flight: u32,
    /// Agents
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    agents: u32,
    /// Steps that each agent runs at the same time
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    slots: u32,
    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    output: Format,
}

#[derive(Debug, Subcommand)]
enum What {
    /// What a scheduling decision costs over a modelled fleet
    Decisions {
        /// Nodes in the fleet
        #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        nodes: u32,
        /// Decisions in each measurement
        #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
        decisions: u32,
    },
    /// How long after submit the first piece of a language model's answer comes
    FirstChunk {
        /// Requests, one after the other
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        requests: u32,
    },
    /// Large results from node to node: how long small messages take meanwhile, and MB/s beside `dd`
    Bulk {
        /// Size of what is sent each way, MiB
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(8..=256))]
        mib: u64,
        /// How much later each piece on each line arrives, ms
        #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=2000))]
        delay_ms: u64,
    },
    /// Whether forecasts rank nodes as real steps on them really finish; as root, who can make cgroups
    Ranks {
        /// Runs of each kind of step on each node
        #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1000))]
        rounds: u32,
    },
    /// Requests to one language model on one node, one by one and together
    Together {
        /// A language model in GGUF format
        model: std::path::PathBuf,
        /// How many requests, several numbers with commas
        #[arg(long, value_delimiter = ',', default_value = "4,8", value_parser = clap::value_parser!(u32).range(1..=64))]
        requests: Vec<u32>,
        /// The most tokens of each answer
        #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=4096))]
        tokens: u32,
    },
    /// What thousands of connected nodes cost a server, and how long they take to come back to one that was killed
    Uplinks {
        /// Nodes, each with a certificate and a connection of its own
        #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=50_000))]
        nodes: u32,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// One JSON object
    Json,
}

impl Arguments {
    /// Measures; what is to be printed.
    ///
    /// # Errors
    /// When what was to be measured does not end well.
    pub fn run(self) -> anyhow::Result<String> {
        let Self { requests, in_flight, agents, slots, .. } = self;
        match self.what {
            Some(What::Decisions { nodes, decisions: count }) => Ok(decisions(&DecisionOptions { nodes, decisions: count })?.table()),
            Some(What::Together { model, requests, tokens }) => Ok(together(&TogetherOptions { model, requests, tokens })?.table()),
            Some(What::Uplinks { nodes }) => Ok(uplinks(&UplinkOptions { nodes })?.table()),
            Some(What::FirstChunk { requests }) => Ok(first_chunk(requests)?.table()),
            Some(What::Bulk { mib, delay_ms }) => Ok(bulk(&BulkOptions { mib, delay: Duration::from_millis(delay_ms) })?.table()),
            Some(What::Ranks { rounds }) => Ok(ranks(&RankOptions { rounds })?.table()),
            None => {
                let options = NoopOptions { requests, in_flight, agents, slots };
                let before = Machine::look();
                let report = Report { schema: Report::SCHEMA.into(), machine: before, noop: noop(&options)? };
                Ok(match self.output {
                    Format::Table => report.table(),
                    Format::Json => serde_json::to_string_pretty(&report)? + "\n",
                })
            }
        }
    }
}
