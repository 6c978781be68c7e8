//! What real runs do to claims: a boaster, a node that fails at once, noise, and a change that is real.
//!
//! Decisions, corrections and the rules of blame over virtual time: the same functions that the server calls, and nothing else.

use super::*;
use crate::scheduler::fleet::{container, node, snapshot, step, with_profile};
use ouro_common::mfpi::{ActualPhases, Residuals};
use proptest::prelude::*;

/// Nodes of the fleets.
const NODES: u32 = 6;

/// A fleet in which steps are decided about, run and learnt from.
struct World {
    nodes: Vec<NodeState>,
    /// What each really takes for a step, as a multiple of what a node with its true figures would.
    truth_s: Vec<f64>,
    now: Instant,
    given: Vec<usize>,
    steps: u64,
}

impl World {
    fn new(nodes: Vec<NodeState>, truth_s: Vec<f64>) -> Self {
        let given = vec![0; nodes.len()];
        Self { nodes, truth_s, now: Instant(1_000), given, steps: 0 }
    }

    fn step(&mut self) -> StepState {
        self.steps += 1;
        StepState { request: RequestId::from_parts(self.steps, [0; 10]), ..step(1) }
    }

    /// Decides about one step; whom it went to and what was predicted for its run.
    fn give(&mut self) -> Option<(usize, Terms)> {
        let step = self.step();
        let decision = decide(&snapshot(self.nodes.clone(), vec![step]), self.now, self.steps);
        let Some(Action::Assign { node, predicted, total_s, .. }) = decision.actions.first() else {
            return None;
        };
        let place = self.nodes.iter().position(|n| n.id == *node).unwrap();
        self.nodes[place].ends.push(Instant(self.now.0 + (total_s * 1e3) as u64));
        self.given[place] += 1;
        Some((place, *predicted))
    }

    fn commit(&mut self, place: usize, predicted: &Terms, actual_s: f64) {
        let node = &mut self.nodes[place];
        node.ends.remove(0);
        node.commits += 1;
        let actual = ActualPhases { pre_s: Some(actual_s), ..ActualPhases::default() };
        let learned: &mut Residuals = node.residuals.entry(container()).or_default();
        *learned = learned.learn(predicted, &actual);
    }
}

/// Nodes as they come into a fleet: nothing has been taken from them yet. Loaded, so that nothing but the run counts.
fn newcomers() -> Vec<NodeState> {
    let fresh = |n| {
        let mut node = node(n);
        node.commits = 0;
        node.loaded.insert(container());
        node
    };
    (0..NODES).map(fresh).collect()
}

/// Steps come at four fifths of what the fleet can do, until `count` were given; each takes what its node really takes.
fn run(world: &mut World, count: u64) {
    let mut running: Vec<(u64, usize, Terms)> = Vec::new();
    let every_ms = (world.truth_s.iter().map(|s| 1.0 / s).sum::<f64>() * 0.8).recip() * 1e3;
    let mut waiting = 0u64;
    for tick in 0.. {
        world.now = Instant(1_000 + (tick as f64 * every_ms) as u64);
        running.sort_by_key(|(end, ..)| *end);
        while running.first().is_some_and(|(end, ..)| *end <= world.now.0) {
            let (_, place, predicted) = running.remove(0);
            world.commit(place, &predicted, world.truth_s[place]);
        }
        waiting += 1;
        while waiting > 0
            && let Some((place, predicted)) = world.give()
        {
            waiting -= 1;
            let begin = running.iter().filter(|(_, p, _)| *p == place).map(|(end, ..)| *end).max().unwrap_or(0).max(world.now.0);
            running.push((begin + (world.truth_s[place] * 1e3) as u64, place, predicted));
        }
        if world.given.iter().sum::<usize>() as u64 >= count {
            return;
        }
    }
}

#[test]
fn a_node_that_claims_to_be_a_thousand_times_faster_gets_less_than_half_a_fair_share() {
    let mut nodes = newcomers();
    nodes[2] = with_profile(nodes[2].clone(), |p| {
        p.bandwidth_bytes_per_s = p.bandwidth_bytes_per_s.map(|b| b * 1000.0);
        p.flops_per_s = p.flops_per_s.map(|f| f * 1000.0);
    });
    // It is in truth ten times slower than the others: whoever believed it would wait.
    let mut truth_s = vec![2.2; NODES as usize];
    truth_s[2] = 22.0;
    let mut world = World::new(nodes, truth_s);
    run(&mut world, 50);
    let before = world.given.clone();
    run(&mut world, 250);
    let late: Vec<usize> = world.given.iter().zip(&before).map(|(now, then)| now - then).collect();
    let fair = late.iter().sum::<usize>() as f64 / f64::from(NODES);
    assert!((late[2] as f64) < fair / 2.0, "after fifty steps: {late:?}");
    let all = world.given.iter().sum::<usize>() as f64 / f64::from(NODES);
    assert!((before[2] as f64) < all / 2.0, "and of the first fifty: {before:?}");
}

#[test]
fn a_boaster_that_is_as_fast_as_the_others_gets_no_more_than_they_do() {
    let mut nodes = newcomers();
    nodes[2] = with_profile(nodes[2].clone(), |p| p.flops_per_s = p.flops_per_s.map(|f| f * 1000.0));
    let mut world = World::new(nodes, vec![2.2; NODES as usize]);
    run(&mut world, 50);
    let before = world.given.clone();
    run(&mut world, 350);
    let late: Vec<usize> = world.given.iter().zip(&before).map(|(now, then)| now - then).collect();
    let fair = late.iter().sum::<usize>() as f64 / f64::from(NODES);
    assert!((late[2] as f64) < 2.0 * fair, "{late:?}");
}

#[test]
fn a_node_that_fails_at_once_gets_less_than_half_a_fair_share() {
    use ouro_common::step::PairState;
    let nodes = (0..NODES)
        .map(|n| {
            let mut node = node(n);
            node.loaded.insert(container());
            node
        })
        .collect();
    let mut world = World::new(nodes, vec![2.2; NODES as usize]);
    let (mut pair, mut given_to_bad, mut total) = (PairState::default(), 0, 0);
    let mut running: Vec<(u64, usize, Terms)> = Vec::new();
    while total < 150 {
        world.now = Instant(world.now.0 + 450);
        world.nodes[0].switched_off.clear();
        if pair.is_off(world.now) {
            world.nodes[0].switched_off.insert(container());
        }
        running.sort_by_key(|(end, ..)| *end);
        while running.first().is_some_and(|(end, ..)| *end <= world.now.0) {
            let (_, place, predicted) = running.remove(0);
            world.commit(place, &predicted, 2.2);
        }
        let Some((place, predicted)) = world.give() else { continue };
        total += 1;
        if place == 0 {
            // It fails before anybody else could have finished: its slot is free again at once.
            given_to_bad += usize::from(total > 50);
            world.nodes[0].ends.clear();
            pair = pair.after_failure(&format!("step {total}"), world.now);
        } else {
            let begin = running.iter().filter(|(_, p, _)| *p == place).map(|(end, ..)| *end).max().unwrap_or(0).max(world.now.0);
            running.push((begin + 2_200, place, predicted));
        }
    }
    let fair = 100.0 / f64::from(NODES);
    assert!(f64::from(given_to_bad as u32) < fair / 2.0, "{given_to_bad} of 100 after fifty; a fair share is {fair:.0}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// A container with its cache stays where it is although every figure flickers by five percent.
    #[test]
    fn noise_moves_no_resident_container_in_a_thousand_ticks(seed: u64, noise in prop::collection::vec(-0.05..0.05f64, 4000)) {
        let mut nodes: Vec<NodeState> = (0..4).map(node).collect();
        nodes[1].loaded.insert(container());
        for tick in 0..1000 {
            for (n, node) in nodes.iter_mut().enumerate() {
                let flicker = 1.0 + noise[tick * 4 + n];
                *node = with_profile(node.clone(), |p| {
                    p.bandwidth_bytes_per_s = Some(30e9 * flicker);
                    p.flops_per_s = Some(500e9 * flicker);
                });
            }
            let s = snapshot(nodes.clone(), vec![step(1)]);
            let winner = decide(&s, Instant(tick as u64 * 1_000), seed ^ tick as u64).report[0].view.winner;
            prop_assert_eq!(winner, Some(nodes[1].id), "tick {}", tick);
        }
    }
}

/// Half of the compute of the best node goes to others for good: within two dwells of its gate the work is elsewhere.
#[test]
fn a_twofold_change_moves_within_two_dwells() {
    use ouro_common::mfpi::threshold::{self, DWELL, GateState};
    let mut nodes: Vec<NodeState> = (0..4)
        .map(|n| {
            let mut node = node(n);
            node.loaded.insert(container());
            node
        })
        .collect();
    nodes[1] = with_profile(nodes[1].clone(), |p| p.flops_per_s = Some(800e9));
    let winner = |nodes: &[NodeState], at: u64| decide(&snapshot(nodes.to_vec(), vec![step(1)]), Instant(at), 1).report[0].view.winner;
    assert_eq!(winner(&nodes, 0), Some(nodes[1].id));
    let (mut gate, mut moved) = (GateState::default(), None);
    for second in (0..DWELL.as_secs() * 2).step_by(5) {
        let now = Instant(60_000 + second * 1_000);
        nodes[1].readings.foreign_load = Some(0.55);
        gate = threshold::next(&gate, &nodes[1].readings, now);
        nodes[1].gate = gate.gate.clone();
        if winner(&nodes, now.0) != Some(nodes[1].id) {
            moved.get_or_insert(second);
        } else {
            moved = None;
        }
    }
    assert!(moved.is_some_and(|second| second <= 2 * DWELL.as_secs()), "{moved:?}");
}
