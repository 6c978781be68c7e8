//! The central server of an Ouroboros fleet: it accepts requests durably, plans them, places their steps and keeps
//! the truth about all of it. It never runs a model.

pub mod scheduler;
pub mod store;
