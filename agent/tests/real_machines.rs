//! The agent against records of real machines that are not part of the project: each has the verdict of a careful reader.
//!
//! They are looked for in the folder that `OURO_HW_REAL` names, or in `shared/hw-real` beside the checkout. Without them the
//! test says so and passes: there is nothing to check.

use ouro_agent::sensing::host_root::HostRoot;
use ouro_agent::sensing::nvml::NoNvml;
use ouro_agent::sensing::{ReportOptions, report};
use ouro_common::device::HardwareReport;
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

fn archives() -> Result<Vec<PathBuf>, String> {
    let named = std::env::var_os("OURO_HW_REAL").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/hw-real");
    let folder = named.or_else(|| beside.is_dir().then_some(beside));
    let folder = folder.ok_or("OURO_HW_REAL is not set and there is no shared/hw-real beside the checkout")?;
    let entries = fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut archives: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().ends_with(".tar.xz"))
        .collect();
    archives.sort();
    if archives.is_empty() { Err(format!("{} holds no archives", folder.display())) } else { Ok(archives) }
}

fn read(root: &Path) -> HardwareReport {
    report(&HostRoot::recorded(root), ReportOptions { nvidia: &NoNvml, achieved: None })
}

fn near(found: Option<f64>, expected: &Value) -> bool {
    match (found, expected.as_f64()) {
        (Some(found), Some(expected)) => (found - expected).abs() < 0.05,
        (found, expected) => found.is_none() && expected.is_none(),
    }
}

/// What the report says of a key of the verdict; `None` for keys that are remarks.
fn agrees(key: &str, expected: &Value, report: &HardwareReport) -> Option<bool> {
    Some(match key {
        "power_source" => serde_json::to_value(report.power.source).unwrap() == *expected,
        "battery_percent" => near(report.power.battery_percent, expected),
        "max_temp_c" => near(report.thermal.max_c, expected),
        "npu" => Value::Bool(report.accelerators.iter().any(|a| a.kind == "npu")) == *expected,
        "host_memory_kb" => report.memory.host_bytes.map(|bytes| bytes / 1024) == expected.as_u64(),
        "degraded_endpoints" => {
            let below: Vec<&str> = report.pcie.iter().filter(|d| d.below_max == Some(true)).map(|d| d.address.as_str()).collect();
            serde_json::to_value(below).unwrap() == *expected
        }
        "link_trust" => report.pcie.iter().any(|d| serde_json::to_value(d.trust).unwrap() == *expected),
        _ => return None,
    })
}

/// What the separate reader saw that leaves no room for judgement.
fn check_facts(expected: &Value, report: &HardwareReport, wrong: &mut Vec<String>) {
    let functions = expected["pcie"].as_array().cloned().unwrap_or_default();
    for function in &functions {
        let address = function["address"].as_str().unwrap();
        let found = report.pcie.iter().find(|d| d.address == address);
        if function["is_pci_bridge"] == Value::Bool(true) && found.is_some() {
            wrong.push(format!("{address} is a bridge"));
        }
        let Some(device) = found else { continue };
        let gb = |key: &str| function["link"][key].as_f64();
        for (key, link) in [("current_gb_per_s_one_direction", device.current), ("max_gb_per_s_one_direction", device.max)] {
            if gb(key).map(|v| (v * 1e6).round()) != link.map(|l| (l.bytes_per_s / 1e3).round()) {
                wrong.push(format!("{address} {key}: expected {:?}, found {link:?}", gb(key)));
            }
        }
    }
    for node in expected["numa"].as_array().into_iter().flatten() {
        let found = report.numa.iter().find(|n| Some(u64::from(n.id)) == node["node"].as_u64());
        let same = found.is_some_and(|n| {
            n.memory_bytes.map(|b| b / 1024) == node["mem_total_kb"].as_u64() && n.logical_cpus.map(u64::from) == node["cpus"].as_u64()
        });
        if !same {
            wrong.push(format!("node {node}: found {found:?}"));
        }
    }
    let total = expected["memory"]["mem_total_bytes"].as_u64();
    if total.is_some() && total != report.memory.total_bytes {
        wrong.push(format!("memory: expected {total:?}, found {:?}", report.memory.total_bytes));
    }
    for drive in expected["nvme"].as_array().into_iter().flatten() {
        if !report
            .nvme
            .iter()
            .any(|n| Some(n.name.as_str()) == drive["name"].as_str() && n.model.as_deref() == drive["model"].as_str())
        {
            wrong.push(format!("drive {drive}: found {:?}", report.nvme));
        }
    }
}

/// The outputs of Android's commands: each file becomes the root of a phone.
fn check_phone(folder: &Path, expected: &Value, wrong: &mut Vec<String>) -> usize {
    let files = expected["files"].as_object().unwrap();
    for (file, meaning) in files {
        let root = tempfile::tempdir().unwrap();
        let name = if file.starts_with("termux") { "termux-battery-status.json" } else { "dumpsys-battery.txt" };
        fs::copy(folder.join(file), root.path().join(name)).unwrap();
        let report = read(root.path());
        let source = if meaning["external_power"] == Value::Bool(true) { "external" } else { "battery" };
        let celsius = report.thermal.sensors.iter().find(|s| s.chip == "battery").and_then(|s| s.c);
        let charging = meaning["status"] == "charging";
        if serde_json::to_value(report.power.source).unwrap() != source
            || !near(report.power.battery_percent, &meaning["percent"])
            || !near(celsius, &meaning["battery_c"])
            || report.power.charging != Some(charging)
        {
            wrong.push(format!("{file}: expected {meaning}, found {:?} and {celsius:?} °C", report.power));
        }
    }
    files.len()
}

#[test]
fn real_machines_are_read_as_a_careful_reader_would() {
    let archives = match archives() {
        Ok(archives) => archives,
        Err(reason) => {
            // Past the capture of the test harness: a skipped check should be seen.
            writeln!(std::io::stderr(), "skipped: {reason}").unwrap();
            return;
        }
    };
    let (mut wrong, mut checked) = (Vec::new(), 0);
    for archive in &archives {
        let folder = tempfile::tempdir().unwrap();
        let status = Command::new("tar").arg("-xJf").arg(archive).arg("-C").arg(folder.path()).status().unwrap();
        assert!(status.success(), "tar could not unpack {}", archive.display());
        let name = archive.file_name().unwrap().to_string_lossy().replace(".tar.xz", "");
        let root = folder.path().join(&name);
        let expected: Value = serde_json::from_str(&fs::read_to_string(root.join("expected.json")).unwrap()).unwrap();
        let mut here = Vec::new();
        if expected["files"].is_object() {
            checked += check_phone(&root, &expected, &mut here);
        } else {
            let report = read(&root);
            for (key, value) in expected["verdict"].as_object().unwrap() {
                let agreed = agrees(key, value, &report);
                checked += usize::from(agreed.is_some());
                if agreed == Some(false) {
                    here.push(format!("{key}: expected {value}"));
                }
            }
            check_facts(&expected, &report, &mut here);
        }
        wrong.extend(here.into_iter().map(|problem| format!("{name}: {problem}")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(checked >= archives.len(), "only {checked} verdicts in {} archives were understood", archives.len());
}
