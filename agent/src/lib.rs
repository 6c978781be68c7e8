//! The Ouroboros agent: what runs on every machine of the fleet.
//!
//! It senses the machine, announces the containers it has, runs steps in workers, keeps large results, tries requests
//! locally first, and holds one session with the server. It listens on nothing but a Unix socket.

pub mod clock;
pub mod command;
pub mod config;
pub mod daemon;
pub mod durable;
pub mod first_pass;
pub mod home;
pub mod hotplug;
pub mod hwdetect;
pub mod join;
pub mod local_api;
pub mod logs;
pub mod metric;
pub mod modules;
pub mod oci;
pub mod profile;
pub mod requests;
pub mod runtimes;
pub mod sensing;
pub mod snapshot;
pub mod spool;
pub mod steps;
pub mod uplink;
pub mod vitals;
pub mod workers;
