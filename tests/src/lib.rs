//! What whole-system tests stand on: real servers and agents as child processes, `ouroctl` as a person runs it, and a raw
//! client of the protocol for what no honest program would send.
//!
//! Every fleet lives in a folder of its own and ends with the value that holds it. Nothing is proved by a sleep: tests wait
//! for a condition, with limits far above what it takes.

pub use bench::Bench;
pub use client::{Asking, Claims, Client, Conduct, Identity, Liar, request, single_step, wide_plan};
pub use cpu_quota::CpuQuota;
pub use fleet::{Fleet, FleetOptions};
pub use loop_device::LoopDevice;
pub use node::{Node, NodeOptions};
pub use ouroctl::{Ouroctl, Outcome};
pub use process::Process;
pub use relay::Relay;
pub use server::Server;
pub use testbed::Testbed;
pub use transcript::check_transcript;
pub use udevd::ensure_udevd;
pub use wait::{LONG, SHORT, eventually};

pub mod assets;
mod bench;
mod client;
pub mod containers;
mod cpu_quota;
mod fleet;
pub mod ground;
mod loop_device;
mod node;
mod ouroctl;
mod process;
pub mod programs;
pub mod quantised;
mod relay;
mod server;
mod testbed;
pub mod texts;
mod transcript;
mod udevd;
mod wait;

/// Says why a test cannot run on this machine. The caller returns afterwards: the test then counts as passed, and its
/// output says that nothing was shown.
pub fn skipped(reason: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "skipped: {reason}");
}
