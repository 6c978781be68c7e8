//! The server of Ouroboros: it takes offloaded requests, plans them, places their steps and keeps what is acknowledged.

pub mod interpreter;
