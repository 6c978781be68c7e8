//! The rules of the source tree that can be read from it, each a small function over a [`Tree`].
//!
//! A rule returns every place that breaks it, with what is wrong and what to do. There is no list of exceptions: a rule
//! that needs one is the wrong rule. `tests/tree.rs` holds the project's own tree to each of them, one test a rule.

pub mod rules;

mod rust;
mod tree;
mod violation;

pub use rust::Rust;
pub use tree::{File, Tree};
pub use violation::{Violation, report};
