//! The `oci` runtime: containers that are programs, run by the installed OCI runtime as children of this agent.
//!
//! Nothing from outside is trusted: a layer is judged entry by entry before it is unpacked, a program gets no network, no
//! rights and firm limits, and what it leaves is looked at before it is taken. What a run needs on the machine (a mount, a
//! cgroup, an entry of the runtime) has one name, so that the next start of the agent finds and removes what was left.

mod bundle;
mod cache;
mod cdi;
mod cgroup;
mod collect;
mod command;
mod enclosure;
mod exit_program;
mod find;
mod inside;
mod layer_rules;
mod orphans;
mod roster;
mod run;
mod seccomp;
mod tar_stream;
mod unpack;
mod verdict;

pub use find::{Finding, Found, find};
pub use run::{Oci, OciOptions, OciOrder};
