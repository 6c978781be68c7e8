//! Storms, re-insertions, slots that ask: what is done about each, and that nothing is done twice.

use super::super::superblock::Filesystem;
use super::*;
use proptest::prelude::*;

fn device(diskseq: u64) -> Device {
    let insertion = Insertion { diskseq, start: 0, bytes: 4096 };
    Device { insertion, number: "7:0".into(), usb: false, pci: None, leaving: false, elsewhere: None, written: 0 }
}

fn probe(label: Option<&str>) -> Probe {
    Probe { filesystem: Filesystem::Squashfs, label: label.map(str::to_string), fingerprint: "f00d".into() }
}

fn known(diskseq: u64, stage: Stage) -> Known {
    Known { insertion: device(diskseq).insertion, stage, written_then: 0, written_last: 0 }
}

fn map<V: Clone>(entries: &[(&str, V)]) -> BTreeMap<String, V> {
    entries.iter().map(|(slot, value)| ((*slot).to_string(), value.clone())).collect()
}

fn judged(device: Device, probe: &Probe, rules: &Rules) -> Vec<Action> {
    let stage = Stage::Waiting(probe.clone(), Waiting::Judgement);
    next(&map(&[("loop7", known(device.insertion.diskseq, stage))]), &map(&[("loop7", device)]), rules)
}

#[test]
fn a_new_device_is_probed_and_one_that_left_is_removed() {
    let slot = || "loop7".to_string();
    let insertion = device(3).insertion;
    assert_eq!(next(&map(&[]), &map(&[("loop7", device(3))]), &Rules::default()), [Action::Probe { slot: slot(), insertion }]);
    let mounted = map(&[("loop7", known(3, Stage::Mounted(probe(Some("OURO-A")))))]);
    assert_eq!(next(&mounted, &map(&[("loop7", device(3))]), &Rules::default()), []);
    assert_eq!(next(&mounted, &map(&[]), &Rules::default()), [Action::Remove { slot: slot() }]);
    let leaving = Device { leaving: true, ..device(3) };
    assert_eq!(next(&mounted, &map(&[("loop7", leaving)]), &Rules::default()), [Action::Remove { slot: slot() }]);
}

#[test]
fn another_insertion_in_the_same_slot_is_another_device() {
    let mounted = map(&[("loop7", known(3, Stage::Mounted(probe(Some("OURO-A")))))]);
    let actions = next(&mounted, &map(&[("loop7", device(4))]), &Rules::default());
    let insertion = device(4).insertion;
    assert_eq!(actions, [Action::Remove { slot: "loop7".into() }, Action::Probe { slot: "loop7".into(), insertion }]);
}

#[test]
fn modules_are_mounted_and_others_left_alone() {
    let rules = Rules::default();
    assert!(matches!(judged(device(1), &probe(Some("OURO-A")), &rules)[..], [Action::Mount { .. }]));
    assert!(matches!(judged(device(1), &probe(None), &rules)[..], [Action::Mount { .. }]), "its files decide");
    assert!(matches!(judged(device(1), &probe(Some("backup")), &rules)[..], [Action::Ignore { .. }]));
    let snap = Device { elsewhere: Some(Elsewhere { at: "/snap/core".into(), writable: false }), ..device(1) };
    assert!(
        matches!(judged(snap.clone(), &probe(None), &rules)[..], [Action::Ignore { .. }]),
        "somebody uses it as what it is"
    );
    assert!(matches!(judged(snap, &probe(Some("OURO-A")), &rules)[..], [Action::Mount { .. }]));
}

#[test]
fn what_asks_waits_for_a_word_and_is_mounted_after_it() {
    let mut rules = Rules { ask: vec![Pattern::from("usb")], ..Rules::default() };
    let stick = Device { usb: true, ..device(5) };
    let module = probe(Some("OURO-A"));
    assert!(matches!(judged(stick.clone(), &module, &rules)[..], [Action::Wait { waiting: Waiting::Word, .. }]));
    let waiting = map(&[("loop7", known(5, Stage::Waiting(module.clone(), Waiting::Word)))]);
    assert_eq!(next(&waiting, &map(&[("loop7", stick.clone())]), &rules), [], "it is said once");
    rules.released.insert(("loop7".into(), device(5).insertion));
    assert!(matches!(next(&waiting, &map(&[("loop7", stick)]), &rules)[..], [Action::Mount { .. }]));
    let later = Device { usb: true, ..device(6) };
    assert!(matches!(judged(later, &module, &rules)[..], [Action::Wait { .. }]), "the word was for that insertion");
}

#[test]
fn a_suspect_waits_wherever_it_is_plugged_in() {
    let mut rules = Rules { suspects: BTreeSet::from(["f00d".to_string()]), ..Rules::default() };
    let module = probe(Some("OURO-A"));
    assert!(matches!(judged(device(9), &module, &rules)[..], [Action::Wait { waiting: Waiting::Suspect, .. }]));
    rules.suspects.clear();
    let waiting = map(&[("loop7", known(9, Stage::Waiting(module, Waiting::Suspect)))]);
    assert!(matches!(next(&waiting, &map(&[("loop7", device(9))]), &rules)[..], [Action::Mount { .. }]));
}

#[test]
fn what_is_written_elsewhere_waits_until_it_is_unmounted_there() {
    let module = probe(Some("OURO-A"));
    let busy = Device { elsewhere: Some(Elsewhere { at: "/media/x".into(), writable: true }), ..device(2) };
    let actions = judged(busy, &module, &Rules::default());
    assert!(
        matches!(&actions[..], [Action::Wait { waiting: Waiting::Elsewhere(at), .. }] if at == "/media/x"),
        "{actions:?}"
    );
    let waiting = map(&[("loop7", known(2, Stage::Waiting(module, Waiting::Elsewhere("/media/x".into()))))]);
    assert!(matches!(next(&waiting, &map(&[("loop7", device(2))]), &Rules::default())[..], [Action::Mount { .. }]));
}

#[test]
fn a_device_that_is_written_to_is_looked_at_again_when_the_writing_rests() {
    let foreign = |last| Known { written_last: last, ..known(7, Stage::Foreign) };
    let busy = map(&[("loop7", Device { written: 90, ..device(7) })]);
    assert_eq!(next(&map(&[("loop7", foreign(40))]), &busy, &Rules::default()), [], "it is being written");
    assert!(matches!(next(&map(&[("loop7", foreign(90))]), &busy, &Rules::default())[..], [Action::Probe { .. }]));
    let mounted = Known { written_last: 90, ..known(7, Stage::Mounted(probe(None))) };
    assert_eq!(next(&map(&[("loop7", mounted)]), &busy, &Rules::default()), [], "a mounted one is left alone");
}

proptest! {
    /// Whatever comes and goes, carrying out the actions ends in a state that needs none, and no slot holds two insertions.
    #[test]
    fn carried_out_the_actions_lead_to_rest(storm in proptest::collection::vec((0usize..4, 0u64..4, proptest::bool::ANY), 0..60)) {
        let rules = Rules { ask: vec![Pattern::from("s2")], ..Rules::default() };
        let (mut known_now, mut seen) = (BTreeMap::new(), BTreeMap::new());
        for (slot, diskseq, there) in storm {
            let slot = format!("s{slot}");
            if there { seen.insert(slot, device(diskseq)); } else { seen.remove(&slot); }
            for _ in 0..4 {
                for action in next(&known_now, &seen, &rules) {
                    carry_out(&mut known_now, action);
                }
            }
            prop_assert_eq!(next(&known_now, &seen, &rules), vec![]);
            prop_assert_eq!(known_now.keys().collect::<Vec<_>>(), seen.keys().collect::<Vec<_>>());
            for (slot, known) in &known_now {
                prop_assert_eq!(known.insertion, seen[slot].insertion);
                let mounted = matches!(known.stage, Stage::Mounted(_));
                prop_assert_eq!(mounted, slot != "s2");
            }
        }
    }
}

/// What a machine without failures makes of an action.
fn carry_out(state: &mut BTreeMap<String, Known>, action: Action) {
    match action {
        Action::Probe { slot, insertion } => {
            state.insert(slot, known(insertion.diskseq, Stage::Waiting(probe(Some("OURO-A")), Waiting::Judgement)));
        }
        Action::Mount { slot, probe } => state.get_mut(&slot).unwrap().stage = Stage::Mounted(probe),
        Action::Wait { slot, probe, waiting } => state.get_mut(&slot).unwrap().stage = Stage::Waiting(probe, waiting),
        Action::Ignore { slot } => state.get_mut(&slot).unwrap().stage = Stage::Foreign,
        Action::Remove { slot } => drop(state.remove(&slot)),
    }
}
