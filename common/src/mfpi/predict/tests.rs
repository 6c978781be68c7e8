//! The laws of the index: they hold for every node and every step, not for examples.

use super::*;
use crate::mfpi::LinkFactors;
use proptest::prelude::*;

prop_compose! {
    fn node()(
        bandwidth in 1e9..1e12f64, flops in 1e10..1e14f64, disk in 1e7..1e10f64, hash in 1e8..1e10f64,
        pcie in prop::option::of(1e8..1e11f64), srtt in 1e-4..0.5f64, rttvar in 1e-5..0.2f64,
        down in 1e5..1e9f64, up in 1e5..1e9f64, clock_cap in 0.1..1.0f64, foreign_load in 0.0..0.95f64,
    )(
        free in 0.0..100.0f64, mtbf in 3600.0..1e7f64, retry in 0.0..300.0f64,
        bandwidth in Just(bandwidth), flops in Just(flops), disk in Just(disk), hash in Just(hash), pcie in Just(pcie),
        link in Just(LinkFactors { srtt_s: srtt, rttvar_s: rttvar, down_bytes_per_s: down, up_bytes_per_s: up }),
        clock_cap in Just(clock_cap), foreign_load in Just(foreign_load),
    ) -> NodeFactors {
        NodeFactors {
            bandwidth_bytes_per_s: bandwidth, flops_per_s: flops, disk_bytes_per_s: disk, hash_bytes_per_s: hash,
            pcie_bytes_per_s: pcie, link, clock_cap, foreign_load, free_in_s: free, mtbf_s: mtbf, retry_s: retry,
        }
    }
}

fn plug() -> impl Strategy<Value = PlugState> {
    let absent =
        (0.0..1e10f64, any::<bool>(), 0.0..5.0f64, any::<bool>()).prop_map(|(missing_bytes, unverified, init_s, to_accelerator)| {
            PlugState::Absent { missing_bytes, unverified, init_s, to_accelerator }
        });
    prop_oneof![Just(PlugState::Loaded), absent]
}

prop_compose! {
    fn step()(
        resident in 0.0..1e10f64, streamed in prop_oneof![Just(0.0), 0.0..1e9f64], prompt_flops in 0.0..1e14f64,
        token_flops in 0.0..1e11f64, kv in 0.0..1e6f64, prompt in 0.0..8000.0f64, output in prop_oneof![Just(0.0), 1.0..500.0f64],
        batch in 1.0..8.0f64, bytes_in in 0.0..1e7f64, bytes_out in 0.0..1e7f64, plug in plug(),
    ) -> StepCost {
        StepCost {
            weights_resident_bytes: resident, weights_streamed_bytes: streamed, prompt_flops, token_flops, kv_bytes_per_token: kv,
            prompt_tokens: prompt, output_tokens: output, batch, bytes_in, bytes_out, plug,
        }
    }
}

fn seconds(node: &NodeFactors, step: &StepCost) -> f64 {
    predict(node, step, &Residuals::default()).total_s()
}

/// Makes one factor better; which one and by how much.
fn better(node: &NodeFactors, factor: usize, by: f64) -> NodeFactors {
    let mut n = node.clone();
    match factor {
        0 => n.bandwidth_bytes_per_s *= by,
        1 => n.flops_per_s *= by,
        2 => n.disk_bytes_per_s *= by,
        3 => n.hash_bytes_per_s *= by,
        4 => n.pcie_bytes_per_s = n.pcie_bytes_per_s.map(|b| b * by),
        5 => n.link.srtt_s /= by,
        6 => n.link.rttvar_s /= by,
        7 => n.link.down_bytes_per_s *= by,
        8 => n.link.up_bytes_per_s *= by,
        9 => n.clock_cap = (n.clock_cap * by).min(1.0),
        10 => n.foreign_load /= by,
        11 => n.free_in_s /= by,
        12 => n.mtbf_s *= by,
        _ => n.retry_s /= by,
    }
    n
}

/// Makes a step cost more in one respect.
fn dearer(step: &StepCost, respect: usize, by: f64) -> StepCost {
    let mut s = step.clone();
    match respect {
        0 => s.weights_resident_bytes *= by,
        1 => s.weights_streamed_bytes *= by,
        2 => s.prompt_flops *= by,
        3 => s.token_flops *= by,
        4 => s.kv_bytes_per_token *= by,
        5 => s.prompt_tokens *= by,
        6 => s.output_tokens *= by,
        7 => s.batch *= by,
        8 => s.bytes_in *= by,
        9 => s.bytes_out *= by,
        _ => {
            if let PlugState::Absent { missing_bytes, .. } = &mut s.plug {
                *missing_bytes *= by;
            }
        }
    }
    s
}

/// Rounding: a sum of six terms may differ in its last digits.
const EPSILON: f64 = 1e-9;

proptest! {
    #[test]
    fn no_factor_that_gets_better_makes_a_prediction_worse(n in node(), s in step(), factor in 0usize..14, by in 1.0..100.0f64) {
        prop_assert!(seconds(&better(&n, factor, by), &s) <= seconds(&n, &s) * (1.0 + EPSILON));
    }

    #[test]
    fn no_cost_that_grows_makes_a_prediction_better(n in node(), s in step(), respect in 0usize..11, by in 1.0..100.0f64) {
        prop_assert!(seconds(&n, &dearer(&s, respect, by)) >= seconds(&n, &s) * (1.0 - EPSILON));
    }

    #[test]
    fn as_good_in_every_factor_is_at_least_as_high(n in node(), s in step(), by in prop::collection::vec(1.0..10.0f64, 14)) {
        let all = by.iter().enumerate().fold(n.clone(), |n, (factor, by)| better(&n, factor, *by));
        let of = |n: &NodeFactors| index(&s, &predict(n, &s, &Residuals::default()));
        prop_assert!(of(&all) >= of(&n) * (1.0 - EPSILON));
    }

    #[test]
    fn every_term_is_a_time(n in node(), s in step()) {
        let t = predict(&n, &s, &Residuals::default());
        for term in [t.net_s, t.queue_s, t.plug_s, t.pre_s, t.dec_s, t.retry_s] {
            prop_assert!(term.is_finite() && term >= 0.0, "{t:?}");
        }
    }

    #[test]
    fn the_reference_node_scores_exactly_one(s in step()) {
        let loaded = StepCost { plug: PlugState::Loaded, ..s };
        prop_assert_eq!(index(&loaded, &predict(&reference(), &loaded, &Residuals::default())), 1.0);
    }

    #[test]
    fn a_resident_model_does_not_care_about_pcie_lanes(n in node(), s in step(), lanes in 1.0..16.0f64) {
        let resident = StepCost { plug: PlugState::Loaded, weights_streamed_bytes: 0.0, ..s };
        let discrete = NodeFactors { pcie_bytes_per_s: Some(1e9), ..n };
        let wider = NodeFactors { pcie_bytes_per_s: Some(1e9 * lanes), ..discrete.clone() };
        prop_assert_eq!(seconds(&discrete, &resident), seconds(&wider, &resident));
    }

    #[test]
    fn units_do_not_matter(n in node(), s in step(), second in 1e-3..1e3f64, byte in 1e-3..1e3f64, flop in 1e-3..1e3f64) {
        let rate = byte / second;
        let mut node = n.clone();
        for r in [&mut node.bandwidth_bytes_per_s, &mut node.disk_bytes_per_s, &mut node.hash_bytes_per_s,
            &mut node.link.down_bytes_per_s, &mut node.link.up_bytes_per_s].into_iter().chain(node.pcie_bytes_per_s.as_mut()) {
            *r *= rate;
        }
        node.flops_per_s *= flop / second;
        for t in [&mut node.link.srtt_s, &mut node.link.rttvar_s, &mut node.free_in_s, &mut node.mtbf_s, &mut node.retry_s] {
            *t *= second;
        }
        let mut cost = s.clone();
        for b in [&mut cost.weights_resident_bytes, &mut cost.weights_streamed_bytes, &mut cost.kv_bytes_per_token,
            &mut cost.bytes_in, &mut cost.bytes_out] {
            *b *= byte;
        }
        cost.prompt_flops *= flop;
        cost.token_flops *= flop;
        if let PlugState::Absent { missing_bytes, init_s, .. } = &mut cost.plug {
            *missing_bytes *= byte;
            *init_s *= second;
        }
        let (here, there) = (seconds(&n, &s) * second, seconds(&node, &cost));
        prop_assert!((here / there - 1.0).abs() < EPSILON, "{here} {there}");
    }

    #[test]
    fn endless_output_ranks_by_bandwidth(a in node(), b in node(), s in step()) {
        let effective = |n: &NodeFactors| n.bandwidth_bytes_per_s * (1.0 - n.foreign_load);
        prop_assume!(effective(&a) > effective(&b) * 1.01);
        let endless = StepCost { output_tokens: 1e12, kv_bytes_per_token: s.kv_bytes_per_token + 1.0, ..s };
        prop_assert!(seconds(&a, &endless) < seconds(&b, &endless));
    }

    #[test]
    fn an_endless_prompt_ranks_by_flops(a in node(), b in node(), s in step()) {
        let effective = |n: &NodeFactors| n.flops_per_s * n.clock_cap * (1.0 - n.foreign_load);
        prop_assume!(effective(&a) > effective(&b) * 1.01);
        let endless = StepCost { prompt_flops: 1e24, output_tokens: 0.0, ..s };
        prop_assert!(seconds(&a, &endless) < seconds(&b, &endless));
    }

    #[test]
    fn a_cold_tiny_step_ranks_by_the_plug_path(a in node(), b in node(), unverified: bool, to_accelerator: bool) {
        let path = |n: &NodeFactors| {
            let hash = if unverified { n.hash_bytes_per_s } else { f64::INFINITY };
            let pcie = n.pcie_bytes_per_s.filter(|_| to_accelerator).unwrap_or(f64::INFINITY);
            n.disk_bytes_per_s.min(hash).min(pcie)
        };
        prop_assume!(path(&a) > path(&b) * 1.01);
        let plug = PlugState::Absent { missing_bytes: 1e18, unverified, init_s: 1.0, to_accelerator };
        let cold = StepCost { prompt_flops: 1.0, plug, ..StepCost::default() };
        prop_assert!(seconds(&a, &cold) < seconds(&b, &cold));
    }

    #[test]
    fn an_empty_step_costs_a_round_trip_and_its_deviation(n in node()) {
        let idle = NodeFactors { free_in_s: 0.0, retry_s: 0.0, ..n };
        prop_assert_eq!(seconds(&idle, &StepCost::default()), idle.link.srtt_s + idle.link.rttvar_s);
    }

    #[test]
    fn corrections_scale_their_own_phase_only(n in node(), s in step(), r in -1.0..3.0f64) {
        let (plain, late) = (predict(&n, &s, &Residuals::default()), predict(&n, &s, &Residuals { dec: r, ..Residuals::default() }));
        prop_assert_eq!((plain.net_s, plain.queue_s, plain.plug_s, plain.pre_s), (late.net_s, late.queue_s, late.plug_s, late.pre_s));
        prop_assert_eq!(late.dec_s, plain.dec_s * r.exp());
    }
}

#[test]
fn the_formula_by_hand() {
    let step = StepCost {
        weights_resident_bytes: 5e9,
        prompt_flops: 2e12,
        token_flops: 1e10,
        kv_bytes_per_token: 1e5,
        prompt_tokens: 1000.0,
        output_tokens: 100.0,
        batch: 1.0,
        bytes_in: 12.5e6,
        bytes_out: 1.25e6,
        plug: PlugState::Absent { missing_bytes: 4e9, unverified: true, init_s: 0.5, to_accelerator: true },
        ..StepCost::default()
    };
    let terms = predict(&NodeFactors { free_in_s: 3.0, foreign_load: 0.5, ..reference() }, &step, &Residuals::default());
    let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
    assert!(close(terms.net_s, 0.025 + 1.0 + 0.1), "{terms:?}");
    assert!(close(terms.queue_s, 3.0) && close(terms.plug_s, 2.5), "{terms:?}");
    assert!(close(terms.pre_s, 4.0), "compute: 2e12 / (1e12 · ½)");
    assert!(close(terms.dec_s, 100.0 * (5e9 + 1e5 * 1050.0) / 25e9), "memory: weights and cache at half of 50 GB/s");
    let busy = terms.net_s + terms.queue_s + terms.plug_s + terms.pre_s + terms.dec_s;
    assert!(close(terms.retry_s, (1.0 - (-busy / 2_592_000.0).exp()) * 20.0), "{terms:?}");
}
