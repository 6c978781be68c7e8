//! Chains: steps of a plan that can only follow each other, so that one node may be given all of them at once.

use super::{Step, Tags};
use crate::id::Name;
use crate::step::StepState;
use std::collections::BTreeSet;

/// The most steps that follow the first one in a chain.
pub const MAX_FOLLOWERS: usize = 15;

/// The places of the steps that follow `head` in a chain, in their order.
///
/// Each is blocked, is the only one that reads what the step before it makes, and waits for nothing but the chain: then
/// giving it to the same node takes no other node's chance to work beside it.
pub fn followers(steps: &[(&Step, StepState)], head: usize) -> Vec<usize> {
    let mut chain: Vec<usize> = Vec::new();
    let mut last = head;
    let mut made: BTreeSet<&Name> = steps[head].0.outputs.values().collect();
    while chain.len() < MAX_FOLLOWERS {
        let outputs: BTreeSet<&Name> = steps[last].0.outputs.values().collect();
        let mut readers = (0..steps.len()).filter(|i| is_open(steps[*i].1) && reads(steps[*i].0).any(|tag| outputs.contains(tag)));
        let (Some(next), None) = (readers.next(), readers.next()) else {
            break;
        };
        let is_there = |tag: &Name| made.contains(tag) || writer(steps, tag).is_none_or(|i| steps[i].1 == StepState::Done);
        if steps[next].1 != StepState::Blocked || !reads(steps[next].0).all(is_there) {
            break;
        }
        chain.push(next);
        made.extend(steps[next].0.outputs.values());
        last = next;
    }
    chain
}

fn is_open(state: StepState) -> bool {
    matches!(state, StepState::Blocked | StepState::Ready | StepState::Assigned)
}

fn reads(step: &Step) -> impl Iterator<Item = &Name> {
    step.inputs.values().flat_map(Tags::iter)
}

fn writer(steps: &[(&Step, StepState)], tag: &Name) -> Option<usize> {
    steps.iter().position(|(step, _)| step.outputs.values().any(|output| output == tag))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Digest;
    use StepState::{Blocked, Done, Ready};

    fn step(id: &str, reads: &[&str], writes: &str) -> Step {
        let name = |s: &str| s.parse::<Name>().unwrap();
        Step {
            id: name(id),
            container: "x:1.0.0".parse().unwrap(),
            digest: Digest::blake3(b"x"),
            params: serde_json::json!({}),
            inputs: [(name("in"), Tags::Many(reads.iter().map(|tag| name(tag)).collect()))].into(),
            outputs: [(name("out"), name(writes))].into(),
        }
    }

    fn chain(steps: &[(Step, StepState)]) -> Vec<usize> {
        followers(&steps.iter().map(|(step, state)| (step, *state)).collect::<Vec<_>>(), 0)
    }

    #[test]
    fn a_line_is_followed_to_its_end() {
        let [a, b, c] = [step("s1", &["prompt"], "a"), step("s2", &["a", "prompt"], "b"), step("s3", &["b", "a"], "c")];
        assert_eq!(chain(&[(a.clone(), Ready), (b.clone(), Blocked), (step("s3", &["b"], "c"), Blocked)]), [1, 2]);
        assert!(chain(&[(a, Ready), (b, Blocked), (c, Blocked)]).is_empty(), "two read what the first makes");
        assert!(chain(&[(step("s1", &["prompt"], "a"), Ready)]).is_empty());
    }

    #[test]
    fn who_waits_for_something_else_does_not_follow() {
        let other = step("other", &["prompt"], "o");
        let both = step("both", &["a", "o"], "answer");
        let first = step("s1", &["prompt"], "a");
        assert!(chain(&[(first.clone(), Ready), (other.clone(), Ready), (both.clone(), Blocked)]).is_empty());
        assert_eq!(chain(&[(first, Ready), (other, Done), (both, Blocked)]), [2]);
    }
}
