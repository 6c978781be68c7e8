//! The report of every recorded machine, whole: what a careful reader wrote down against what the agent concludes.
//!
//! Sentences (`why`) are for people and are not compared; that each is there is.

use ouro_agent::sensing::host_root::HostRoot;
use ouro_agent::sensing::nvml::NoNvml;
use ouro_agent::sensing::readings::Sampler;
use ouro_agent::sensing::{ReportOptions, report};
use ouro_common::device::{Achieved, MemoryRates, PowerSource};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

fn read(root: &Path) -> Value {
    let report = report(&HostRoot::recorded(root), ReportOptions { nvidia: &NoNvml, achieved: None });
    serde_json::to_value(report).unwrap()
}

/// Empties every `why`, and counts those that were empty before.
fn without_sentences(value: &mut Value) -> usize {
    match value {
        Value::Object(object) => {
            let mut empty = 0;
            for (key, value) in object.iter_mut() {
                if key == "why" {
                    empty += usize::from(value.as_str().is_none_or(str::is_empty));
                    *value = Value::String(String::new());
                } else {
                    empty += without_sentences(value);
                }
            }
            empty
        }
        Value::Array(array) => array.iter_mut().map(without_sentences).sum(),
        _ => 0,
    }
}

/// Paths at which two values differ; figures may differ in the last digits.
fn differences(at: &str, expected: &Value, found: &Value, out: &mut Vec<String>) {
    match (expected, found) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
                differences(&format!("{at}.{key}"), a.get(key).unwrap_or(&Value::Null), b.get(key).unwrap_or(&Value::Null), out);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                differences(&format!("{at}[{index}]"), a, b, out);
            }
        }
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            if (a - b).abs() > 1e-9 * a.abs().max(1.0) {
                out.push(format!("{at}: expected {a}, found {b}"));
            }
        }
        _ if expected == found => {}
        _ => out.push(format!("{at}: expected {expected}, found {found}")),
    }
}

#[test]
fn every_recorded_machine_is_read_as_expected() {
    let mut wrong = Vec::new();
    for fixture in hw_fixtures::all() {
        let mut found = read(&fixture.root);
        found["root"] = Value::String(fixture.name.clone());
        assert_eq!(without_sentences(&mut found), 0, "{}: every conclusion gives its reason", fixture.name);
        let mut expected = serde_json::to_value(&fixture.expected).unwrap();
        without_sentences(&mut expected);
        differences(&fixture.name, &expected, &found, &mut wrong);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn readings_of_a_recording_come_from_its_files() {
    let sample = |name: &str| Sampler::new().sample(&HostRoot::recorded(hw_fixtures::get(name).root), Duration::ZERO);
    let laptop = sample("laptop-on-battery");
    assert_eq!(laptop.power, PowerSource::Battery);
    assert_eq!((laptop.battery_percent, laptop.charging), (Some(82.5), Some(false)));
    assert_eq!(laptop.memory_available_bytes, Some(20_971_520 * 1024));
    assert_eq!(laptop.foreign_load, Some(0.1), "a load of 0.8 on eight threads");
    assert_eq!(laptop.clock_cap, Some(0.5), "capped to 2.4 of 4.8 GHz; 400 MHz is idle");
    assert_eq!((laptop.max_c, laptop.critical_c), (Some(67.0), Some(100.0)), "the hottest sensor's own limit");
    let board = sample("board-nvme-x1");
    assert_eq!((board.max_c, board.critical_c), (Some(48.3), Some(115.0)));
    let phone = sample("phone-termux");
    assert_eq!((phone.power, phone.foreign_load, phone.clock_cap), (PowerSource::Battery, None, None));
}

#[test]
fn a_bandwidth_for_a_recorded_machine_is_marked_as_the_hosts() {
    let root = HostRoot::recorded(hw_fixtures::get("no-sensors").root);
    let rates = MemoryRates { read_bytes_per_s: 1e10, copy_bytes_per_s: 9e9, triad_bytes_per_s: 9e9 };
    let achieved = Achieved { all_threads: rates, one_thread: rates, flops_per_s: 1e11, threads: 4, foreign_load: None };
    let memory = report(&root, ReportOptions { nvidia: &NoNvml, achieved: Some(achieved) }).memory;
    assert_eq!((memory.bandwidth_bytes_per_s, memory.bandwidth_source.as_deref()), (Some(1e10), Some("host")));
}
