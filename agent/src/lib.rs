//! The Ouroboros agent: what runs on every machine of the fleet.
//!
//! It senses the machine, announces the containers it has, runs steps in workers, keeps large results, tries requests
//! locally first, and holds one session with the server. It listens on nothing but a Unix socket.

pub mod clock;
pub mod config;
pub mod durable;
pub mod home;
pub mod hwdetect;
pub mod modules;
pub mod runtimes;
pub mod sensing;
pub mod spool;
pub mod steps;
pub mod uplink;
pub mod workers;
