//! The interpreter: from what a person asked to a graph of steps, or to a refusal that says what would help.
//!
//! An interpreter is a pure function of the request, the catalogue and the outputs so far: no clock, no I/O, no chance.
//! [`RuleInterpreter`] is the first; one backed by a model asks for a step of its own container with
//! [`Next::RunStep`], and reads what that step wrote when it is called again.

pub use rules::{PLANNER, RuleInterpreter};

mod asks;
mod capability;
mod chain;
mod draft;
mod grammar;
mod intent;
mod lexicon;
mod payload;
mod phrases;
mod quantity;
mod reading;
mod refuse;
mod rules;
mod scope;
mod spelling;
mod subject;
mod words;

use ouro_common::container::MediaType;
use ouro_common::id::Name;
use ouro_common::plan::{Catalogue, Plan, Refusal};
use std::collections::BTreeMap;

/// An input that came with a request, as far as an interpreter sees it: never its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestInput {
    /// The tag it is known by.
    pub tag: Name,
    /// What it is.
    pub media: MediaType,
    /// The file's name where it came from.
    pub file_name: Option<String>,
}

/// What was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterpreterRequest {
    /// The words of the person; as a tag they are `prompt`, `text/plain`.
    pub prompt: String,
    /// What was attached.
    pub inputs: Vec<RequestInput>,
}

impl InterpreterRequest {
    /// The tags that come with the request, as [`ouro_common::plan::validate`] wants them.
    pub fn given(&self) -> Vec<(Name, MediaType)> {
        self.inputs.iter().map(|i| (i.tag.clone(), i.media.clone())).collect()
    }
}

/// What the interpreter's own steps have written, by tag. Empty on the first call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outputs(pub BTreeMap<Name, Vec<u8>>);

/// What is to happen next.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// This graph serves the request. It has passed [`ouro_common::plan::validate`].
    Plan(Plan),
    /// Run this first (plan 0) and call again with what it wrote.
    RunStep(Plan),
    /// Nothing can serve the request.
    Refusal(Refusal),
}

/// Turns a request into a graph.
pub trait Interpreter: Send + Sync {
    /// What stands in `planner` of its plans and refusals.
    fn name(&self) -> &str;

    /// What is to happen next with `request`, given what the fleet has and what was written so far.
    fn next(&self, request: &InterpreterRequest, catalogue: &Catalogue, outputs: &Outputs) -> Next;
}
