//! A plan: the interpreter's output, a validated graph of steps that hand results on by tag.
//!
//! A plan is data. It is checked as a whole before it is accepted: every tag has one writer, every port exists and
//! takes what is bound to it, and nothing waits for itself.

pub use chain::{MAX_FOLLOWERS, followers};
pub use refusal::{NearContainer, Refusal};
pub use validate::{Catalogue, MAX_STEPS, PlanError, validate};

mod chain;
mod refusal;
mod validate;

use crate::id::{ContainerRef, Digest, Name};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One use of a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Unique within the plan.
    pub id: Name,
    /// `name:version`.
    pub container: ContainerRef,
    /// Its identity.
    pub digest: Digest,
    /// Parameters, as its manifest's schema has them.
    #[serde(default = "no_params")]
    pub params: serde_json::Value,
    /// Input port → the tags it reads: one, or for a port that takes many, any number.
    #[serde(rename = "in")]
    pub inputs: BTreeMap<Name, Tags>,
    /// Output port → the tag it writes.
    #[serde(rename = "out")]
    pub outputs: BTreeMap<Name, Name>,
}

fn no_params() -> serde_json::Value {
    serde_json::Value::Object(serde_json::Map::new())
}

/// The tags bound to an input port: written as a string where it is one, as a list where it is many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Tags {
    /// A single tag.
    One(Name),
    /// Several tags, in order.
    Many(Vec<Name>),
}

impl Tags {
    /// The tags in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Name> {
        match self {
            Self::One(tag) => std::slice::from_ref(tag).iter(),
            Self::Many(tags) => tags.iter(),
        }
    }
}

/// A validated graph of steps, or one about to be validated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Who wrote it: `rules-1`.
    pub planner: String,
    /// The steps; every step comes after the steps it reads from.
    pub steps: Vec<Step>,
    /// The tag that is the answer.
    pub answer: Name,
}

impl Plan {
    /// The step that writes `tag`; `None` for tags that come with the request.
    pub fn writer(&self, tag: &Name) -> Option<&Step> {
        self.steps.iter().find(|s| s.outputs.values().any(|t| t == tag))
    }

    /// The ids of the steps that `step` reads from.
    pub fn dependencies<'a>(&'a self, step: &'a Step) -> impl Iterator<Item = &'a Name> {
        step.inputs.values().flat_map(Tags::iter).filter_map(|tag| self.writer(tag)).map(|s| &s.id)
    }
}
