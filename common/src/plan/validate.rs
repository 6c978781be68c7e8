//! The check every plan passes, whoever wrote it: the rules, a model, or a person.

use super::Plan;
use crate::container::{Container, Manifest, MediaType};
use crate::envelope::PROMPT_TAG;
use crate::id::{Digest, Name};
use std::collections::{BTreeMap, BTreeSet};

/// What a plan may use: the containers known to the fleet, by digest.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    containers: BTreeMap<Digest, Manifest>,
}

impl Catalogue {
    /// A catalogue of `containers`; the same digest twice is one container.
    pub fn new(containers: impl IntoIterator<Item = Container>) -> Self {
        Self { containers: containers.into_iter().map(|c| (c.digest, c.manifest)).collect() }
    }
    /// The manifest behind a digest.
    pub fn get(&self, digest: &Digest) -> Option<&Manifest> {
        self.containers.get(digest)
    }
    /// All containers, by digest.
    pub fn iter(&self) -> impl Iterator<Item = (&Digest, &Manifest)> {
        self.containers.iter()
    }
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.containers.is_empty()
    }
}

/// A plan is not sound.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("plan: step {step}: {problem}")]
pub struct PlanError {
    /// The step, or `answer`.
    pub step: String,
    /// What is wrong.
    pub problem: String,
}

/// The most steps a plan may have.
pub const MAX_STEPS: usize = 256;

/// Checks `plan` against the containers it names and the tags that come with the request (the prompt is always one).
///
/// # Errors
/// The first thing found wrong, with the step it is in.
pub fn validate(plan: &Plan, catalogue: &Catalogue, given: &[(Name, MediaType)]) -> Result<(), PlanError> {
    let err = |step: &str, problem: String| Err(PlanError { step: step.into(), problem });
    if plan.steps.is_empty() || plan.steps.len() > MAX_STEPS {
        return err("answer", format!("a plan has 1 to {MAX_STEPS} steps, this one {}", plan.steps.len()));
    }
    let mut media: BTreeMap<String, MediaType> = given.iter().map(|(tag, m)| (tag.to_string(), m.clone())).collect();
    media.insert(PROMPT_TAG.into(), MediaType::text());
    let mut ids = BTreeSet::new();
    for step in &plan.steps {
        if !ids.insert(&step.id) {
            return err(step.id.as_str(), "its id is used twice".into());
        }
        let Some(manifest) = catalogue.get(&step.digest) else {
            return err(step.id.as_str(), format!("no container {} with digest {} in the fleet", step.container, step.digest));
        };
        if manifest.reference() != step.container {
            return err(step.id.as_str(), format!("{} is not {}, but {}", step.digest, step.container, manifest.reference()));
        }
        check_inputs(step, manifest, &media)?;
        for (port, tag) in &step.outputs {
            let Some(declared) = manifest.output(port) else {
                return err(step.id.as_str(), format!("{} has no output port {port}", step.container));
            };
            if media.insert(tag.to_string(), declared.media.clone()).is_some() {
                return err(step.id.as_str(), format!("the tag {tag} is written twice"));
            }
        }
    }
    if plan.writer(&plan.answer).is_none() {
        return err("answer", format!("no step writes the tag {}", plan.answer));
    }
    Ok(())
}

/// Steps come in an order in which every tag is written before it is read; that order is also what rules out cycles.
fn check_inputs(step: &super::Step, manifest: &Manifest, media: &BTreeMap<String, MediaType>) -> Result<(), PlanError> {
    let err = |problem: String| Err(PlanError { step: step.id.to_string(), problem });
    for (port, tags) in &step.inputs {
        let Some(declared) = manifest.input(port) else {
            return err(format!("{} has no input port {port}", step.container));
        };
        let count = tags.iter().count();
        if count == 0 || (count > 1 && !declared.many) {
            return err(format!("the port {port} takes {} tag, not {count}", if declared.many { "at least one" } else { "one" }));
        }
        for tag in tags.iter() {
            match media.get(tag.as_str()) {
                None => return err(format!("the tag {tag} is not written by an earlier step and does not come with the request")),
                Some(given) if !declared.media.accepts(given) => {
                    return err(format!("the port {port} takes {}, but the tag {tag} is {given}", declared.media));
                }
                Some(_) => {}
            }
        }
    }
    match manifest.inputs.iter().find(|p| !step.inputs.contains_key(&p.port)) {
        Some(missing) => err(format!("nothing is bound to the input port {}", missing.port)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Step, Tags};

    fn name(s: &str) -> Name {
        s.parse().unwrap()
    }

    fn container(toml: &str) -> Container {
        let manifest = Manifest::from_toml(toml).unwrap();
        Container { digest: Digest::blake3(&manifest.canonical_json()), manifest }
    }

    fn text_tool(id: &str) -> Container {
        container(&format!(
            "name = \"{id}\"\nversion = \"1.0.0\"\nsummary = \"x\"\nruntime = \"builtin\"\n\
             inputs = [{{ port = \"text\", media = \"text/plain\" }}]\noutputs = [{{ port = \"out\", media = \"text/plain\" }}]"
        ))
    }

    fn step(id: &str, c: &Container, from: &str, to: &str) -> Step {
        Step {
            id: name(id),
            container: c.manifest.reference(),
            digest: c.digest,
            params: serde_json::json!({}),
            inputs: [(name("text"), Tags::One(name(from)))].into(),
            outputs: [(name("out"), name(to))].into(),
        }
    }

    #[test]
    fn a_chain_is_sound_and_its_faults_are_named() {
        let (a, b) = (text_tool("a"), text_tool("b"));
        let catalogue = Catalogue::new([a.clone(), b.clone()]);
        let plan = |steps: Vec<Step>, answer: &str| Plan { planner: "test".into(), steps, answer: name(answer) };
        let problem = |p: Plan| validate(&p, &catalogue, &[]).map_err(|e| e.problem);
        assert_eq!(problem(plan(vec![step("s1", &a, "prompt", "x"), step("s2", &b, "x", "y")], "y")), Ok(()));
        let says = |p: Plan, part: &str| assert!(problem(p.clone()).unwrap_err().contains(part), "{part}: {:?}", problem(p));
        says(plan(vec![step("s1", &a, "y", "x"), step("s2", &b, "x", "y")], "y"), "not written by an earlier step");
        says(plan(vec![step("s1", &a, "prompt", "x"), step("s2", &b, "prompt", "x")], "x"), "written twice");
        says(plan(vec![step("s1", &a, "prompt", "prompt")], "prompt"), "written twice");
        says(plan(vec![step("s1", &a, "prompt", "x")], "z"), "no step writes");
        says(plan(vec![], "z"), "1 to 256 steps");
        let mut stray = step("s1", &a, "prompt", "x");
        stray.digest = Digest::blake3(b"other");
        says(plan(vec![stray], "x"), "no container");
    }
}
