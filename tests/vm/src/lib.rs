//! A real PCIe hot-plug: a virtual machine whose slots modules are pushed into and pulled out of, with the agent and the
//! server in it as the services they are installed as.
//!
//! `tests/vm/run` builds the guest; this drives it. One boot serves the whole journey, since booting takes longest; each
//! leg of it leaves the machine as the next one expects it.

pub use account::{Account, time};
pub use channel::Channel;
pub use guest::{Ended, Guest, Running};
pub use installed::{LABEL, LUGGAGE, Packing, make_ext4};
pub use machine::{Machine, MachineOptions, Slot, Stick};
pub use tools::TOOLS;

mod account;
mod channel;
mod clock;
mod guest;
mod installed;
pub mod journey;
mod machine;
mod tools;
