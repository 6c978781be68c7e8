//! What people and scripts read: documents as text in at most 100 columns, or as JSON.
//!
//! Renderers are pure: a document and a style go in, text comes out. Text that came from elsewhere never reaches a
//! terminal with its control characters.

pub(crate) mod events;
pub(crate) mod explain;
pub(crate) mod fault;
pub(crate) mod fleet_summary;
pub(crate) mod graph;
pub(crate) mod loaded;
pub(crate) mod logs;
pub(crate) mod module;
pub(crate) mod module_devices;
pub(crate) mod modules;
pub(crate) mod node_changes;
pub(crate) mod nodes;
pub(crate) mod page;
pub(crate) mod placement;
pub(crate) mod plan;
pub(crate) mod poison;
pub(crate) mod quantity;
pub(crate) mod replay;
pub(crate) mod requests;
#[cfg(test)]
pub(crate) mod sample;
pub(crate) mod step;
mod style;
pub(crate) mod table;
pub(crate) mod text;
pub(crate) mod tokens;
pub(crate) mod trace;
pub(crate) mod trusted_keys;

pub(crate) use style::{Style, Tone};

use clap::ValueEnum;
use serde::Serialize;

/// The widest line of anything but an answer.
pub(crate) const WIDTH: usize = 100;

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// One JSON object with a schema
    Json,
    /// Nothing but the answer or the ids
    Quiet,
}

/// A document as indented JSON with a final newline.
pub(crate) fn json<T: Serialize>(document: &T) -> String {
    let mut text = serde_json::to_string_pretty(document).unwrap_or_default();
    text.push('\n');
    text
}
