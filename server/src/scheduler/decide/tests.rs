//! Decisions as examples: who gets a step, who is refused and why, who waits, and what cannot be placed.

use super::*;
use crate::scheduler::fleet::{MIB, container, manifest, node, node_id, snapshot, step, with_profile};
use crate::scheduler::snapshot::SessionState;
use ouro_common::container::Runtime;
use ouro_common::device::RuntimeAvailability;
use ouro_common::mfpi::Residuals;
use ouro_common::step::AdminState;
use std::sync::Arc;

fn decided(snapshot: &Snapshot) -> Decision {
    decide(snapshot, Instant(0), 42)
}

/// The node each step was assigned to, as its number; `None` for a step that waits or ends.
fn placed(snapshot: &Snapshot) -> Vec<Option<String>> {
    let name = |id: NodeId| snapshot.nodes.iter().find(|n| n.id == id).map(|n| n.name.clone());
    decided(snapshot).report.iter().map(|r| r.view.winner.and_then(name)).collect()
}

/// Why a node did not get the step: the reason and the example. The remedy comes last.
fn refusal(refused: NodeState, step: StepState) -> (String, String, String) {
    let decision = decided(&snapshot(vec![refused], vec![step]));
    let view = &decision.report[0].view;
    assert_eq!((view.winner, view.candidates.len(), view.refusals.len()), (None, 0, 1), "{view:?}");
    let count = &view.refusals[0];
    (count.reason.clone(), count.examples[0].clone(), view.remedy.clone().unwrap())
}

fn changed(change: impl FnOnce(&mut NodeState)) -> NodeState {
    let mut n = node(1);
    change(&mut n);
    n
}

#[test]
fn a_runtime_that_is_still_being_tried_is_waited_for() {
    let of = |pending| with_profile(node(1), |p| p.runtimes.iter_mut().for_each(|r| (r.available, r.pending) = (false, pending)));
    let cannot = |pending| {
        decided(&snapshot(vec![of(pending)], vec![step(1)]))
            .actions
            .iter()
            .any(|a| matches!(a, Action::CannotPlace { .. }))
    };
    assert!(cannot(false) && !cannot(true), "what may come is waited for, what is missing is said");
}

/// A step that was too large for one node's cache goes where more is allowed, and ends at once where nobody allows more.
#[test]
fn what_does_not_fit_a_cache_goes_to_a_larger_one_or_ends() {
    let with = |n, bytes| with_profile(node(n), |profile| profile.cache_bytes = bytes);
    let small = [with(1, Some(MIB)), with(2, Some(MIB)), with(3, Some(MIB / 2))];
    let too_large = |n: u32| StepState { too_large_for: vec![node_id(n)], ..step(1) };
    let larger = [small.to_vec(), vec![with(4, Some(2 * MIB))]].concat();
    assert_eq!(placed(&snapshot(larger.clone(), vec![too_large(1)])), [Some("n4".into())]);
    assert_eq!(placed(&snapshot(larger, vec![too_large(3)])).len(), 1, "the others have more than the third");
    let silent = [small.to_vec(), vec![with(5, None)]].concat();
    assert_eq!(placed(&snapshot(silent, vec![too_large(1)])), [Some("n5".into())], "who says nothing is tried");
    let decision = decided(&snapshot(small.to_vec(), vec![too_large(1)]));
    let [Action::CannotPlace { fault, .. }] = &decision.actions[..] else {
        panic!("{decision:?}")
    };
    assert!(fault.problem.contains("cache of language models too small"), "{fault}");
    assert!(fault.remedy.contains("workers.cache_bytes") && fault.remedy.contains("max_tokens"), "{fault}");
    assert!(
        decision.report[0].view.refusals[0].examples[0].contains("has 1.0 MiB for prompts and answers"),
        "{decision:?}"
    );
}

#[test]
fn each_hard_filter_refuses_with_its_reason_and_figure() {
    let short = with_profile(node(1), |p| p.hardware.memory.host_bytes = Some(256 * MIB));
    let no_oci = with_profile(node(1), |p| {
        p.runtimes[2] =
            RuntimeAvailability { runtime: "oci".into(), available: false, detail: "install crun or runc".into(), pending: false };
    });
    let private = StepState { private_owner: Some("ann".into()), ..step(1) };
    let alone = StepState { alone: true, ..step(1) };
    let cases = [
        (no_oci, step(1), "runtime not available", "n1: needs oci: install crun or runc"),
        (short, step(1), "memory too small", "n1: needs 512 MiB, has 256 MiB in all"),
        (
            changed(|n| n.readings.memory_available_bytes = Some(203 * MIB)),
            step(1),
            "free memory too small",
            "n1: needs 512 MiB, has 203 MiB free",
        ),
        (node(1), private, "private to another owner", "n1: needs owner=ann, has no owner label"),
        (changed(|n| n.present.clear()), step(1), "container not present", "n1"),
        (changed(|n| n.admin = AdminState::Draining), step(1), "node draining", "n1"),
        (changed(|n| n.session = SessionState::Offline), step(1), "no session", "n1"),
        (changed(|n| n.session = SessionState::Suspect), step(1), "heartbeats missing", "n1"),
        (changed(|n| n.profile = None), step(1), "profile not known", "n1"),
        (
            changed(|n| n.gate = Gate::Refuse("too hot: 97 °C of 100 °C".into())),
            step(1),
            "battery or heat",
            "n1: too hot: 97 °C of 100 °C",
        ),
        (changed(|n| n.switched_off.extend([container()])), step(1), "container switched off here", "n1"),
        (changed(|n| n.ends.push(Instant(3000))), alone, "not idle", "n1: needs an idle node, has 1 at work"),
        (changed(|n| n.runs_alone = true), step(1), "runs a step that must be alone", "n1"),
        (
            changed(|n| (n.commits, n.ends) = (4, vec![Instant(1000)])),
            step(1),
            "new node at work",
            "n1: one step at a time until 5 are done, has done 4",
        ),
        (changed(|n| n.slots = 0), step(1), "no slots", "n1"),
    ];
    for (node, step, reason, example) in cases {
        let (r, e, remedy) = refusal(node, step);
        assert_eq!((r.as_str(), e.as_str()), (reason, example));
        assert!(remedy.len() > 8, "{reason}: {remedy}");
    }
}

#[test]
fn accelerators_are_needed_when_the_cpu_will_not_do() {
    let mut s = snapshot(vec![node(1)], vec![step(1)]);
    let needs = vec!["cuda>=8.0".to_string()];
    let mut cuda = manifest();
    cuda.needs.accelerators = needs;
    s.containers.insert(container(), Arc::new(cuda));
    let Action::CannotPlace { fault, view, .. } = &decided(&s).actions[0] else {
        panic!("no accelerator anywhere")
    };
    assert_eq!(view.refusals[0].examples, ["n1: needs cuda>=8.0, has cpu"]);
    assert_eq!(fault.remedy, "join a node that has cuda>=8.0");
}

#[test]
fn a_loaded_container_needs_no_more_memory_while_its_module_is_there() {
    let loaded = |module_is_there: bool| {
        changed(|n| {
            n.readings.memory_available_bytes = Some(MIB);
            n.loaded.insert(container());
            if !module_is_there {
                n.present.clear();
            }
        })
    };
    let s = snapshot(vec![loaded(true)], vec![step(1)]);
    assert_eq!(placed(&s), [Some("n1".into())]);
    assert_eq!(decided(&s).report[0].view.candidates[0].terms.plug_s, 0.0);
    assert_eq!(placed(&snapshot(vec![loaded(false)], vec![step(1)])), [None], "the last heartbeat listed what is gone by now");
}

#[test]
fn a_spared_node_loads_no_language_model_and_takes_nothing_long() {
    let light = changed(|n| n.gate = Gate::Light("on battery, at 80 %".into()));
    assert_eq!(placed(&snapshot(vec![light.clone()], vec![step(1)])), [Some("n1".into())], "3 s of a step");
    let slow = with_profile(light.clone(), |p| p.flops_per_s = Some(20e9));
    let (reason, example, _) = refusal(slow, step(1));
    assert_eq!(reason, "too long while spared");
    assert!(example.starts_with("n1: on battery, at 80 %; would take 5"), "{example}");
    let mut gguf = manifest();
    gguf.runtime = Runtime::Gguf;
    let mut s = snapshot(vec![light], vec![step(1)]);
    s.containers.insert(container(), Arc::new(gguf));
    assert_eq!(decided(&s).report[0].view.refusals[0].reason, "no model load while spared");
    Arc::make_mut(&mut s.nodes[0]).loaded.insert(container());
    assert_eq!(placed(&s), [Some("n1".into())], "it is loaded already");
}

#[test]
fn the_remedy_is_the_nearest_one() {
    let low = changed(|n| n.gate = Gate::Refuse("battery at 12 % and not charging".into()));
    let mut offline = node(2);
    offline.session = SessionState::Offline;
    let decision = decided(&snapshot(vec![offline, low], vec![step(1)]));
    assert!(decision.actions.is_empty(), "it waits");
    let remedy = decision.report[0].view.remedy.as_deref().unwrap();
    assert!(remedy.starts_with("plug in n1's charger or wait until its battery is above 30 %"), "{remedy}");
}

#[test]
fn what_can_never_run_ends_at_once_and_what_may_come_back_waits() {
    let without = |n: u32| {
        let mut node = node(n);
        node.present.clear();
        node
    };
    let tiny = |n: NodeState| with_profile(n, |p| p.hardware.memory.host_bytes = Some(256 * MIB));
    let pulled = decided(&snapshot(vec![without(1), tiny(without(2))], vec![step(1)]));
    assert!(pulled.actions.is_empty());
    assert_eq!(pulled.report[0].view.remedy.as_deref(), Some("plug the module OURO-TEXT back in: it carries summarize:1.0.0"));

    let misplaced = decided(&snapshot(vec![without(1), tiny(node(2))], vec![step(1)]));
    let Action::CannotPlace { fault, .. } = &misplaced.actions[0] else {
        panic!("only a node too small has it")
    };
    assert_eq!(fault.remedy, "plug the module OURO-TEXT into n1: it carries summarize:1.0.0");

    let hopeless = decided(&snapshot(vec![tiny(without(1))], vec![step(1)]));
    let Action::CannotPlace { fault, .. } = &hopeless.actions[0] else {
        panic!("no node is large enough")
    };
    assert_eq!((fault.code, fault.at.as_str()), (FaultCode::CannotPlace, "summarize"));
    assert!(fault.problem.contains("n1: needs 512 MiB, has 256 MiB in all"), "{fault}");

    let empty = decided(&snapshot(vec![], vec![step(1)]));
    assert!(matches!(&empty.actions[0], Action::CannotPlace { fault, .. } if fault.problem.ends_with("no node has joined the fleet")));
}

#[test]
fn a_step_goes_back_where_it_failed_only_when_nobody_else_is_left() {
    let failed = StepState { failed_on: vec![node_id(1)], ..step(1) };
    let mut slow = with_profile(node(2), |p| p.flops_per_s = Some(50e9));
    let both = snapshot(vec![node(1), slow.clone()], vec![failed.clone()]);
    assert_eq!(placed(&both), [Some("n2".into())]);
    assert_eq!(decided(&both).report[0].view.refusals[0].reason, "step failed here");
    slow.session = SessionState::Offline;
    assert_eq!(placed(&snapshot(vec![node(1), slow], vec![failed])), [Some("n1".into())]);
}

#[test]
fn a_step_that_failed_waits_for_others_that_are_only_at_work() {
    let killer = StepState { failed_on: vec![node_id(1)], alone: true, ..step(1) };
    let mut busy = node(2);
    busy.ends.push(Instant(5_000));
    let s = snapshot(vec![node(1), busy.clone()], vec![killer.clone(), step(2)]);
    assert_eq!(placed(&s), [None, Some("n1".into())], "it waits, and others go where it does not");
    let reasons: Vec<_> = decided(&s).report[0].view.refusals.iter().map(|r| r.reason.clone()).collect();
    assert!(reasons.contains(&"step failed here".to_string()) && reasons.contains(&"not idle".to_string()), "{reasons:?}");
    busy.ends.clear();
    assert_eq!(placed(&snapshot(vec![node(1), busy.clone()], vec![killer.clone()])), [Some("n2".into())]);
    busy.session = SessionState::Offline;
    assert_eq!(placed(&snapshot(vec![node(1), busy], vec![killer])), [Some("n1".into())], "nobody else is left");
}

#[test]
fn assignments_fill_slots_and_one_more_and_then_steps_wait_or_go_elsewhere() {
    let mut s = snapshot(vec![node(1)], (1..=4).map(step).collect());
    assert_eq!(placed(&s), [Some("n1".into()), Some("n1".into()), None, None]);
    let decision = decided(&s);
    let queues: Vec<f64> = decision.report.iter().map(|r| r.view.candidates[0].terms.queue_s).collect();
    assert!(queues.windows(2).all(|w| w[0] < w[1]), "each sees those before it, waiting ones too: {queues:?}");
    assert!(decision.report[3].view.remedy.as_deref().unwrap().starts_with("wait: n1 has its hands full"));
    assert!(matches!(&decision.actions[0], Action::Assign { slots: 2, session_epoch: 1, .. }));
    // A node five times slower gets nothing until the queue at the fast one is as long.
    s.nodes.push(Arc::new(with_profile(node(2), |p| p.flops_per_s = Some(100e9))));
    s.steps = (1..=6).map(step).collect();
    let placed = placed(&s);
    assert_eq!(placed[..2], [Some("n1".into()), Some("n1".into())]);
    assert_eq!(placed.iter().filter(|p| p.as_deref() == Some("n2")).count(), 1, "{placed:?}");
}

#[test]
fn steps_of_a_language_model_join_those_that_are_computed() {
    let language = |together: u32| {
        let mut s = snapshot(vec![node(1)], (1..=6).map(step).collect());
        let mut talk = manifest();
        talk.runtime = Runtime::Gguf;
        (talk.cost.active_params, talk.cost.output_tokens) = (1e9, 10.0);
        s.containers.insert(container(), Arc::new(talk));
        let node = Arc::make_mut(&mut s.nodes[0]);
        node.batch = 4;
        if together > 0 {
            (node.together, node.ends) = (BTreeMap::from([(container(), together)]), vec![Instant(60_000)]);
        }
        s
    };
    let n1 = || Some("n1".to_string());
    // The first takes the slot, three join it, and one more may wait there.
    assert_eq!(placed(&language(0)), [n1(), n1(), n1(), n1(), n1(), None]);
    // Two are computed already.
    let s = language(2);
    assert_eq!(placed(&s), [n1(), n1(), n1(), None, None, None]);
    let decision = decided(&s);
    let queue_s = |at: usize| decision.report[at].view.candidates[0].terms.queue_s;
    assert!(queue_s(0) == 0.0 && queue_s(1) == 0.0 && queue_s(2) > 50.0, "who joins waits for nobody");
    // Two are live in one slot; with this one three may be, and one more that waits.
    assert!(matches!(&decision.actions[0], Action::Assign { slots: 4, .. }), "{:?}", decision.actions[0]);
    // Alone it joins nobody, and another container shares nothing.
    let mut alone = language(2);
    alone.steps.iter_mut().for_each(|step| step.alone = true);
    assert_eq!(placed(&alone), [None, None, None, None, None, None]);
    let mut plain = language(2);
    plain.containers.insert(container(), Arc::new(manifest()));
    assert_eq!(placed(&plain), [n1(), None, None, None, None, None]);
}

#[test]
fn a_new_node_gets_one_and_a_step_that_must_be_alone_gets_a_node_to_itself() {
    let new = changed(|n| n.commits = 0);
    let s = snapshot(vec![new], vec![step(1), step(2)]);
    assert_eq!(placed(&s), [Some("n1".into()), None]);
    assert!(matches!(&decided(&s).actions[0], Action::Assign { slots: 1, .. }));
    let alone = StepState { alone: true, ..step(1) };
    assert_eq!(placed(&snapshot(vec![node(1)], vec![alone.clone(), step(2)])), [Some("n1".into()), None]);
    // While it waits for a node to become idle, later steps do not keep that node busy.
    let busy = changed(|n| n.ends.push(Instant(5000)));
    assert_eq!(placed(&snapshot(vec![busy], vec![alone, step(2)])), [None, None]);
}

#[test]
fn containers_assigned_together_share_the_free_memory() {
    let other = Digest::sha256([8; 32]);
    let mut large = node(1);
    large.slots = 4;
    large.present.insert(other, None);
    large.readings.memory_available_bytes = Some(800 * MIB);
    let second = StepState { container: other, ..step(2) };
    let mut s = snapshot(vec![large], vec![step(1), second, step(3)]);
    s.containers.insert(other, Arc::new(manifest()));
    assert_eq!(placed(&s), [Some("n1".into()), None, Some("n1".into())]);
    assert_eq!(decided(&s).report[1].view.refusals[0].examples, ["n1: needs 512 MiB, has 288 MiB free"]);
}

#[test]
fn unknown_factors_are_pessimistic_and_named_and_absurd_claims_are_unknown() {
    let liar = with_profile(node(1), |p| p.flops_per_s = Some(1e30));
    let known: Vec<_> = (2..=6).map(|n| with_profile(node(n), |p| p.flops_per_s = Some(f64::from(n) * 100e9))).collect();
    let s = snapshot([vec![liar], known].concat(), vec![step(1)]);
    let decision = decided(&s);
    let view = &decision.report[0].view;
    assert_eq!(placed(&s), [Some("n6".into())]);
    let of = |n: u32| view.candidates.iter().find(|c| c.node == node_id(n)).unwrap();
    assert_eq!(of(1).unknown, ["compute", "hash speed"]);
    assert_eq!(of(1).terms.pre_s, of(3).terms.pre_s, "the quartile of 200, 300 … 600 is 300");
    let boast = with_profile(node(1), |p| p.flops_per_s = Some(1e14));
    let cut = decided(&snapshot(vec![boast], vec![step(1)]));
    assert!(
        (cut.report[0].view.candidates[0].terms.pre_s - 1e12 / (8e12 * 0.9)).abs() < 1e-9,
        "a laptop does 8 TFLOP/s at most"
    );
}

#[test]
fn inputs_corrections_and_modules_count() {
    let big = StepState {
        inputs: vec![super::super::snapshot::InputState { size_bytes: 50_000_000, holders: vec![node_id(2)] }],
        ..step(1)
    };
    let s = snapshot(vec![node(1), node(2)], vec![big]);
    assert_eq!(placed(&s), [Some("n2".into())]);
    let view = &decided(&s).report[0].view;
    assert!(view.candidates[0].mfpi > view.candidates[1].mfpi, "the index ranks as the seconds do");
    let late = changed(|n| _ = n.residuals.insert(container(), Residuals { pre: 1.0, ..Residuals::default() }));
    assert_eq!(placed(&snapshot(vec![late, node(2)], vec![step(1)])), [Some("n2".into())]);
    let slow_stick = changed(|n| _ = n.present.insert(container(), Some(20e6)));
    assert_eq!(placed(&snapshot(vec![slow_stick, node(2)], vec![step(1)])), [Some("n2".into())]);
    let asleep = || changed(|n| _ = n.asleep.insert(container(), 1.5));
    assert_eq!(placed(&snapshot(vec![asleep(), node(2)], vec![step(1)])), [Some("n2".into())], "the one that is awake");
    assert_eq!(placed(&snapshot(vec![asleep()], vec![step(1)])), [Some("n1".into())], "it wakes for the step");
}

#[test]
fn a_view_stays_small() {
    let mut nodes: Vec<_> = (0..200).map(node).collect();
    nodes.iter_mut().skip(100).for_each(|n| n.session = SessionState::Offline);
    let decision = decided(&snapshot(nodes, vec![step(1)]));
    let view = &decision.report[0].view;
    assert_eq!((view.candidates.len(), view.candidates[0].node), (17, view.winner.unwrap()));
    assert_eq!((view.refusals[0].count, view.refusals[0].examples.len()), (100, 3));
    assert!(serde_json::to_vec(view).unwrap().len() <= 16 * 1024);
}

#[test]
fn display_indexes_follow_speed_and_are_absent_without_one() {
    let fast = with_profile(node(2), |p| {
        (p.bandwidth_bytes_per_s, p.flops_per_s) = (Some(60e9), Some(1e12));
    });
    let silent = with_profile(node(3), |p| p.flops_per_s = None);
    let indexes = crate::scheduler::predict::display_indexes(&snapshot(vec![node(1), fast, silent], vec![]).nodes);
    assert_eq!(indexes.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [node_id(1), node_id(2), node_id(3)]);
    assert!(indexes[1].1.unwrap() > indexes[0].1.unwrap() * 1.5, "{indexes:?}");
    assert_eq!(indexes[2].1, None);
}

#[test]
fn a_step_that_waited_is_looked_at_again_when_there_is_room() {
    let waited = |n| StepState { waited: true, ..step(n) };
    let full = |n: u32| {
        let mut full = node(n);
        full.ends = vec![Instant(60_000); 2];
        full
    };
    let s = snapshot(vec![full(1)], vec![waited(1), step(2), waited(3)]);
    let decision = decided(&s);
    assert_eq!(decision.report.len(), 1, "nothing has changed for the two that waited");
    assert_eq!(
        (decision.report[0].request, decision.report[0].view.winner),
        (step(2).request, None),
        "the new one is looked at"
    );
    let s = snapshot(vec![full(1), node(2)], vec![waited(1), waited(2), waited(3)]);
    let decision = decided(&s);
    let placed: Vec<_> = decision.report.iter().map(|r| (r.request, r.view.winner.is_some())).collect();
    assert_eq!(placed, [(step(1).request, true), (step(2).request, true)], "in their order, as long as there is room");
    let gone = changed(|n| n.session = SessionState::Offline);
    assert!(decided(&snapshot(vec![gone], vec![waited(1)])).report.is_empty(), "who is away has no room");
}
