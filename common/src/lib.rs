//! The vocabulary of Ouroboros: plain values and the rules every part of the fleet agrees on.
//!
//! Nothing here does I/O, reads a clock, draws a random number or knows an async runtime: time and
//! randomness come in as arguments. A type lives here when two of {agent, server, cli} speak it, or
//! when it is a rule both sides must follow.

pub mod clock;
pub mod container;
pub mod device;
pub mod document;
pub mod envelope;
pub mod error;
pub mod home;
pub mod id;
pub mod mfpi;
pub mod module;
pub mod plan;
pub mod readable;
pub mod step;
