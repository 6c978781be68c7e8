//! `ouro-bench`: measures what requests, decisions, connections, transfers and forecasts come to, and prints it.

use clap::Parser as _;
use ouro_bench::Arguments;
use std::io::Write as _;

fn main() -> anyhow::Result<()> {
    let text = Arguments::parse().run()?;
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}
