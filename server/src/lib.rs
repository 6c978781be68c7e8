//! The server of Ouroboros: it takes offloaded requests, plans them, places their steps and keeps what is acknowledged.

pub mod absences;
pub mod api;
pub mod backup;
pub mod blobs;
pub mod command;
pub mod daemon;
pub mod explain;
pub mod fleet;
pub mod handover;
pub mod init;
pub mod interpreter;
pub mod lock;
pub mod log_calls;
pub mod node_events;
mod offers;
pub mod reconcile;
pub mod relay;
pub mod result;
pub mod scheduler;
pub mod simulate;
pub mod store;
pub mod ticker;
pub mod trust;
pub mod watch;
pub mod world;
