//! Nobody leaves who works or is pinned, no more leave than must, and who is loaded again soonest leaves first.

use super::*;
use ouro_common::device::{AcceleratorProcess, GpuMemory, Pressure, Stall, StallTime};
use proptest::prelude::*;

fn digest(n: u8) -> Digest {
    Digest::sha256([n; 32])
}

fn held(n: u8) -> impl Strategy<Value = Held> {
    let stays = prop::sample::select(vec![Stays::WhileUsed, Stays::WhileUsed, Stays::Persistent, Stays::Pinned]);
    let idle = prop::option::weighted(0.8, (0..20_u64).prop_map(Duration::from_secs));
    (0..100_u64, 0..10_u64, idle, stays, 0..3_u64).prop_map(move |(bytes, reload_s, idle, stays, gpu_bytes)| Held {
        digest: digest(n),
        bytes,
        reload: Duration::from_secs(reload_s),
        idle,
        stays,
        gpu_bytes,
    })
}

fn all() -> impl Strategy<Value = Vec<Held>> {
    (0..8_u8).prop_flat_map(|count| (0..count).map(held).collect::<Vec<_>>())
}

fn of(held: &[Held], digest: Digest) -> &Held {
    held.iter().find(|held| held.digest == digest).unwrap()
}

proptest! {
    #[test]
    fn room_is_made_by_those_who_rest_and_by_no_more_than_needed(held in all(), needs in 0..150_u64, limit in 0..400_u64) {
        let total = |without: &[Digest]| held.iter().filter(|h| !without.contains(&h.digest)).map(|h| h.bytes).sum::<u64>();
        let resting: Vec<Digest> = held.iter().filter(|h| h.rests()).map(|h| h.digest).collect();
        match make_room(&held, needs, limit) {
            Room::Now(leaving) => {
                prop_assert!(total(&leaving) + needs <= limit, "it fits then");
                prop_assert!(leaving.iter().all(|d| resting.contains(d)), "who works or is pinned stays");
                for one in &leaving {
                    let others: Vec<Digest> = leaving.iter().copied().filter(|d| d != one).collect();
                    prop_assert!(total(&others) + needs > limit, "nobody leaves for nothing");
                }
            }
            Room::Later(order) => {
                prop_assert!(total(&resting) + needs > limit, "those who rest are not enough");
                prop_assert!(order.iter().all(|d| of(&held, *d).stays != Stays::Pinned) && !order.is_empty());
            }
            Room::Never { pinned } => prop_assert!(pinned + needs > limit),
        }
    }

    #[test]
    fn who_is_loaded_again_soonest_leaves_first(held in all(), memory: bool, gpu: bool, spared: bool) {
        let strain = Strain { memory, gpu, spared: spared.then(|| "hot".to_string()) };
        let Some((digest, why)) = strain.relieve(&held) else {
            let anybody = held.iter().any(|h| h.rests() && (memory && h.bytes > 0 || gpu && h.gpu_bytes > 0 || spared && h.stays == Stays::WhileUsed));
            prop_assert!(!anybody, "somebody could have left");
            return Ok(());
        };
        let left = of(&held, digest);
        prop_assert!(left.rests() && !why.is_empty());
        if memory {
            for other in held.iter().filter(|h| h.rests() && h.bytes > 0 && h.stays == left.stays) {
                prop_assert!(left.reload <= other.reload);
            }
            prop_assert!(left.stays == Stays::WhileUsed || !held.iter().any(|h| h.rests() && h.bytes > 0 && h.stays == Stays::WhileUsed));
        }
    }
}

#[test]
fn two_that_take_turns_do_not_push_each_other_out_with_every_request() {
    let one = |idle_s: u64| Held {
        digest: digest(1),
        bytes: 80,
        reload: Duration::from_secs(1),
        idle: Some(Duration::from_secs(idle_s)),
        stays: Stays::WhileUsed,
        gpu_bytes: 0,
    };
    assert_eq!(make_room(&[one(1)], 80, 100), Room::Later(vec![digest(1)]), "it was used a moment ago");
    assert_eq!(make_room(&[one(5)], 80, 100), Room::Now(vec![digest(1)]));
    assert_eq!(make_room(&[Held { stays: Stays::Pinned, ..one(5) }], 80, 100), Room::Never { pinned: 80 });
    assert_eq!(make_room(&[one(0)], 101, 100), Room::Never { pinned: 0 });
    assert_eq!(make_room(&[one(0)], 20, 100), Room::Now(vec![]));
}

fn stall(some: f64, full: f64) -> Readings {
    let time = |avg10_percent| StallTime { avg10_percent, ..StallTime::default() };
    let stall = Stall { some: time(some), full: Some(time(full)) };
    Readings { pressure: Pressure { memory: Some(stall), ..Pressure::default() }, ..Readings::default() }
}

#[test]
fn strain_begins_high_and_ends_low_and_unknown_is_none() {
    let next = |before: &Strain, readings: &Readings| before.next(readings, &Gate::Normal, |pid| pid == 1);
    let calm = Strain::default();
    assert_eq!(next(&calm, &Readings::default()), calm);
    assert_eq!(next(&calm, &stall(19.0, 4.0)), calm);
    for begins in [stall(20.0, 0.0), stall(0.0, 5.0)] {
        let strained = next(&calm, &begins);
        assert!(strained.memory && next(&strained, &stall(11.0, 0.0)).memory && !next(&strained, &stall(9.0, 2.0)).memory);
    }
    let gpu = |ours: u64, others: u64| {
        let process = |pid, bytes| AcceleratorProcess { pid, memory_bytes: Some(bytes) };
        let gpu = GpuMemory { memory_bytes: 100, processes: vec![process(1, ours), process(2, others)] };
        Readings { gpus: vec![gpu], ..Readings::default() }
    };
    let full = next(&calm, &gpu(40, 58));
    assert!(full.gpu && next(&full, &gpu(40, 50)).gpu && !next(&full, &gpu(40, 40)).gpu);
    assert!(!next(&calm, &gpu(98, 0)).gpu, "who fills it alone takes it from nobody");
    assert!(!next(&calm, &gpu(0, 98)).gpu, "and leaving would give nothing back");
    let refused = calm.next(&Readings::default(), &Gate::Refuse("battery at 9 %".into()), |_| false);
    assert_eq!(refused.spared.as_deref(), Some("battery at 9 %"));
}
