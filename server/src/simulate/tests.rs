//! The simulator on small generated traces: it repeats itself, loses no request, and the scheduler is worth its factors.

use super::*;

fn options(loads: &[f64], seeds: u64, compare: Compare) -> Options {
    Options {
        trace: vec![],
        fleet: FleetKind::Mixed,
        nodes: 12,
        loads: loads.to_vec(),
        requests: 120,
        seeds,
        compare,
        output: Format::Json,
        plot: None,
    }
}

#[test]
fn the_same_seed_gives_the_same_run_and_every_request_is_answered() {
    let trace = Trace::generate(CHAT, 500, &mut ChaCha8Rng::seed_from_u64(3));
    for policy in Policy::BASELINES {
        let scenario = Scenario { trace: &trace, fleet: FleetKind::Mixed, nodes: 8, load: 0.9, requests: 100, seed: 5 };
        let (a, b) = (run(&scenario, policy).unwrap(), run(&scenario, policy).unwrap());
        assert_eq!(a.seconds, b.seconds, "{}", policy.name());
        assert!(a.seconds.iter().all(|s| s.is_finite() && *s > 0.0), "{}", policy.name());
        assert!(a.shares.iter().sum::<usize>() >= 100);
    }
}

#[test]
fn the_scheduler_has_a_lower_mean_than_every_rule_that_ignores_speed() {
    let comparison = compare(&options(&[0.6], 2, Compare::Baselines)).unwrap();
    let mean = |name: &str| comparison.cells.iter().filter(|c| c.policy == name).map(|c| c.mean_s).sum::<f64>();
    for rule in ["random", "round robin", "least loaded", "power of two choices", "join idle queue"] {
        assert!(mean("MFPI") < mean(rule), "{rule}: {} {}", mean("MFPI"), mean(rule));
    }
}

#[test]
fn a_comparison_is_drawn_and_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let plot = folder.path().join("plot.svg");
    let json = simulate(&Options { plot: Some(plot.clone()), requests: 40, ..options(&[0.5], 1, Compare::Factors) }).unwrap();
    let comparison: Comparison = serde_json::from_str(&json).unwrap();
    assert_eq!(comparison.cells.len(), 2 * Policy::ABLATIONS.len());
    let svg = std::fs::read_to_string(plot).unwrap();
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>") && svg.contains("without learning"));
}

#[test]
fn a_trace_that_is_not_there_is_named() {
    let missing = Options { trace: vec!["/nowhere/t.csv".into()], ..options(&[0.5], 1, Compare::Baselines) };
    assert!(simulate(&missing).unwrap_err().at.contains("/nowhere/t.csv"));
}
