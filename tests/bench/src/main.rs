//! `ouro-bench`: measures what a request costs that does nothing, and prints it for people or as JSON.

use clap::{Parser, Subcommand, ValueEnum};
use ouro_bench::{DecisionOptions, Machine, NoopOptions, Report, TogetherOptions, UplinkOptions, decisions, noop, together, uplinks};
use std::io::Write as _;

/// Measures what a request costs beside its work: accept, plan, place, run, commit.
#[derive(Debug, Parser)]
#[command(name = "ouro-bench", version, args_conflicts_with_subcommands = true)]
struct Arguments {
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

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let table = match arguments.what {
        Some(What::Decisions { nodes, decisions: count }) => Some(decisions(&DecisionOptions { nodes, decisions: count })?.table()),
        Some(What::Uplinks { nodes }) => Some(uplinks(&UplinkOptions { nodes })?.table()),
        Some(What::Together { model, requests, tokens }) => Some(together(&TogetherOptions { model, requests, tokens })?.table()),
        None => None,
    };
    if let Some(table) = table {
        std::io::stdout().write_all(table.as_bytes())?;
        return Ok(());
    }
    let Arguments { requests, in_flight, agents, slots, .. } = arguments;
    let options = NoopOptions { requests, in_flight, agents, slots };
    let before = Machine::look();
    let report = Report { schema: Report::SCHEMA.into(), machine: before, noop: noop(&options)? };
    let text = match arguments.output {
        Format::Table => report.table(),
        Format::Json => serde_json::to_string_pretty(&report)? + "\n",
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}
