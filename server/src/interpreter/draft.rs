//! The graph while it is written: step ids, readable tags, no step twice, and the last step that composes.

use super::capability::Capability;
use super::quantity::parameters;
use super::words::Word;
use ouro_common::container::MediaType;
use ouro_common::envelope::PROMPT_TAG;
use ouro_common::id::Name;
use ouro_common::plan::{Plan, Step, Tags};
use std::collections::{BTreeMap, BTreeSet};

/// A tag with what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tagged {
    /// The tag.
    pub(crate) tag: Name,
    /// Its media type.
    pub(crate) media: MediaType,
}

/// What a step writes: its output ports with their tags, in the manifest's order.
pub(crate) type Written = Vec<(Name, Tagged)>;

/// A graph being written.
#[derive(Debug, Clone)]
pub(crate) struct Draft<'a> {
    /// The words of the request, where the numbers stand.
    words: &'a [Word],
    steps: Vec<Step>,
    taken: BTreeSet<Name>,
    known: Vec<(usize, BTreeMap<Name, Tags>, Written)>,
}

impl<'a> Draft<'a> {
    /// An empty graph beside the tags that come with the request; its steps take their numbers from `words`.
    pub(crate) fn new(given: impl IntoIterator<Item = Name>, words: &'a [Word]) -> Self {
        let prompt = Name::from_text(PROMPT_TAG, PROMPT_TAG);
        Self { words, steps: Vec::new(), taken: given.into_iter().chain([prompt]).collect(), known: Vec::new() }
    }

    /// How many steps there are.
    pub(crate) fn len(&self) -> usize {
        self.steps.len()
    }

    /// Adds a use of `capabilities[index]`, or finds the same use again.
    pub(crate) fn add(&mut self, capabilities: &[Capability<'_>], index: usize, inputs: BTreeMap<Name, Tags>) -> Written {
        if let Some((_, _, written)) = self.known.iter().find(|(i, bound, _)| *i == index && *bound == inputs) {
            return written.clone();
        }
        let capability = &capabilities[index];
        let written: Written = capability
            .manifest
            .outputs
            .iter()
            .map(|p| (p.port.clone(), Tagged { tag: self.fresh(readable(capability, &p.port)), media: p.media.clone() }))
            .collect();
        self.steps.push(Step {
            id: Name::from_text(&format!("s{}", self.steps.len() + 1), "s"),
            container: capability.manifest.reference(),
            digest: capability.digest,
            params: parameters(capability.manifest, self.words),
            inputs: inputs.clone(),
            outputs: written.iter().map(|(port, out)| (port.clone(), out.tag.clone())).collect(),
        });
        self.known.push((index, inputs, written.clone()));
        written
    }

    /// Of `parts`, those that no step reads, each once.
    pub(crate) fn sinks(&self, parts: Vec<Tagged>) -> Vec<Tagged> {
        let read: BTreeSet<&Name> = self.steps.iter().flat_map(|s| s.inputs.values()).flat_map(Tags::iter).collect();
        let mut seen = BTreeSet::new();
        parts.into_iter().filter(|p| !read.contains(&p.tag) && seen.insert(p.tag.clone())).collect()
    }

    /// The graph whose answer is `answer`.
    pub(crate) fn finish(self, planner: &str, answer: Name) -> Plan {
        Plan { planner: planner.to_string(), steps: self.steps, answer }
    }

    fn fresh(&mut self, base: &str) -> Name {
        // Room for the number, since a name has at most 64 characters.
        let base = Name::from_text(&base.chars().take(56).collect::<String>(), "result");
        let numbered = |n: usize| if n == 1 { base.clone() } else { Name::from_text(&format!("{base}-{n}"), "result") };
        let name = (1..=self.taken.len() + 1).map(numbered).find(|n| !self.taken.contains(n)).unwrap_or(base.clone());
        self.taken.insert(name.clone());
        name
    }
}

/// A tag that says what is in it: the port's name, unless that could be any port's.
fn readable<'a>(capability: &'a Capability<'_>, port: &'a Name) -> &'a str {
    match port.as_str() {
        _ if capability.composes => "answer",
        "out" | "output" | "result" | "results" | "text" | "json" | "data" => {
            capability.concept().map_or(capability.name().as_str(), |c| c.tag())
        }
        name => name,
    }
}
