//! Constructed documents for the tests of the renderers.

mod fleet;
mod request;

pub(crate) use fleet::{modules, nodes};
pub(crate) use request::{decision, no_decision, plan, refused_trace, request_id, requests, trace, waiting_trace};

use ouro_common::id::{Name, NodeId};

/// When the request was asked, ms since the Unix epoch.
const ASKED_MS: u64 = 1_763_688_780_000;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn node_id(n: u8) -> NodeId {
    NodeId::from_parts(ASKED_MS, [n; 10])
}
