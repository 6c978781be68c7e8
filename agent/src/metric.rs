//! What the agent knows of its machine as Prometheus text (exposition format 0.0.4), for who watches with it.
//!
//! A pure function: the same report and readings give the same page. What is unknown is left out; a metric that says 0 for
//! unknown would be a lie that alarms believe. Names carry base units: bytes, seconds, celsius, ratio, watts.

use ouro_common::device::{HardwareReport, MemoryKind, PcieLink, PowerSource, Pressure, Readings};
use page::{Kind, Page, labels};

mod page;
mod server;

pub use server::{MetricError, MetricServer};

/// Something the agent counts since it started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counter {
    /// Without prefix and suffix: `steps_done` becomes `ouro_agent_steps_done_total`.
    pub name: &'static str,
    /// What is counted.
    pub help: &'static str,
    /// Names and values that tell series of one name apart.
    pub labels: Vec<(&'static str, String)>,
    /// How many.
    pub count: u64,
}

/// The page. Counters of one name must follow each other.
pub fn render(report: &HardwareReport, readings: &Readings, counters: &[Counter]) -> String {
    let mut page = Page::default();
    machine(&mut page, report);
    memory(&mut page, report, readings);
    state(&mut page, report, readings);
    links(&mut page, report);
    accelerators(&mut page, report);
    containers(&mut page, readings);
    for group in counters.chunk_by(|a, b| a.name == b.name) {
        let samples = group.iter().map(|counter| (labels(&counter.labels), counter.count as f64)).collect();
        page.family(&format!("ouro_agent_{}_total", group[0].name), Kind::Counter, group[0].help, samples);
    }
    page.into_text()
}

fn machine(page: &mut Page, report: &HardwareReport) {
    let cpu = &report.machine.cpu;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let info = [
        ("kind", report.machine.kind.clone()),
        ("cpu", text(&cpu.model)),
        ("arch", text(&cpu.arch)),
        ("version", env!("CARGO_PKG_VERSION").to_string()),
    ];
    page.family("ouro_node_info", Kind::Gauge, "What the machine is; always 1.", vec![(labels(&info), 1.0)]);
    page.one("ouro_node_cpu_threads", "Hardware threads.", cpu.logical.map(f64::from));
    page.one("ouro_node_cpu_cores", "Physical cores.", cpu.physical.map(f64::from));
    page.one("ouro_node_warnings", "Things that could not be read or believed.", Some(report.warnings.len() as f64));
}

fn memory(page: &mut Page, report: &HardwareReport, readings: &Readings) {
    let bytes = |value: Option<u64>| value.map(|bytes| bytes as f64);
    let memory = &report.memory;
    page.one("ouro_node_memory_total_bytes", "All memory the kernel manages.", bytes(memory.total_bytes));
    page.one("ouro_node_memory_host_bytes", "Memory without that of devices.", bytes(memory.host_bytes));
    let available = readings.memory_available_bytes.or(memory.available_bytes);
    page.one("ouro_node_memory_available_bytes", "Memory that can be used without swapping.", bytes(available));
    page.one(
        "ouro_node_memory_bandwidth_bytes_per_second",
        "Measured read bandwidth of all threads.",
        memory.bandwidth_bytes_per_s,
    );
    let nodes = report.numa.iter().filter_map(|node| {
        let kind = if node.kind == MemoryKind::Host { "host" } else { "device" };
        Some((labels(&[("node", node.id.to_string()), ("kind", kind.to_string())]), bytes(node.memory_bytes)?))
    });
    page.family("ouro_node_numa_memory_bytes", Kind::Gauge, "Memory of a NUMA node.", nodes.collect());
}

fn state(page: &mut Page, report: &HardwareReport, readings: &Readings) {
    page.one("ouro_node_foreign_load_ratio", "Share of the processor that others use.", readings.foreign_load);
    page.one("ouro_node_clock_cap_ratio", "What policy and heat leave of the highest clock.", readings.clock_cap);
    page.one(
        "ouro_node_processor_share_ratio",
        "What cgroups allow the agent of the processors, where they limit it.",
        readings.processor_share,
    );
    let sources = [(PowerSource::External, "external"), (PowerSource::Battery, "battery"), (PowerSource::Unknown, "unknown")];
    let sources = sources
        .iter()
        .map(|(source, name)| (labels(&[("source", (*name).to_string())]), f64::from(readings.power == *source)));
    page.family(
        "ouro_node_power_source",
        Kind::Gauge,
        "What the machine runs on: 1 for the source that it is.",
        sources.collect(),
    );
    page.one(
        "ouro_node_battery_charge_ratio",
        "Charge of the system's batteries.",
        readings.battery_percent.map(|p| p / 100.0),
    );
    page.one("ouro_node_battery_charging", "Whether a battery charges.", readings.charging.map(f64::from));
    page.one("ouro_node_temperature_max_celsius", "The hottest trusted sensor.", readings.max_c);
    page.one("ouro_node_temperature_critical_celsius", "Where the hardware throttles or stops.", readings.critical_c);
    // Chips of the same name are told apart by their place in the report.
    let sensors = report.thermal.sensors.iter().enumerate().filter(|(_, sensor)| sensor.trusted).filter_map(|(index, sensor)| {
        let names = [("chip", sensor.chip.clone()), ("label", sensor.label.clone()), ("index", index.to_string())];
        Some((labels(&names), sensor.c?))
    });
    page.family(
        "ouro_node_sensor_temperature_celsius",
        Kind::Gauge,
        "Trusted sensors, as of the last report of the hardware.",
        sensors.collect(),
    );
    pressure(page, &readings.pressure);
    let seconds = |ms: Option<f64>| ms.map(|ms| ms / 1000.0);
    page.one("ouro_node_server_rtt_seconds", "Smoothed round-trip time to the server.", seconds(readings.rtt_ema_ms));
    page.one("ouro_node_server_rtt_deviation_seconds", "Its mean deviation.", seconds(readings.rtt_var_ms));
}

/// The time that work waited, from `/proc/pressure`: a counter of the kernel's, of which Prometheus makes its own averages.
fn pressure(page: &mut Page, pressure: &Pressure) {
    let (mut waited, mut share) = (Vec::new(), Vec::new());
    for (resource, stall) in [("cpu", pressure.cpu), ("memory", pressure.memory), ("io", pressure.io)] {
        let Some(stall) = stall else { continue };
        for (kind, time) in [("some", Some(stall.some)), ("full", stall.full)] {
            let Some(time) = time else { continue };
            let names = labels(&[("resource", resource.to_string()), ("tasks", kind.to_string())]);
            waited.push((names.clone(), time.total_us as f64 / 1e6));
            share.push((names, time.avg10_percent / 100.0));
        }
    }
    let help = "Time in which some or all tasks waited for the resource, since boot.";
    page.family("ouro_node_pressure_waiting_seconds_total", Kind::Counter, help, waited);
    let help = "Share of the last ten seconds in which some or all tasks waited for the resource.";
    page.family("ouro_node_pressure_waiting_ratio", Kind::Gauge, help, share);
}

fn links(page: &mut Page, report: &HardwareReport) {
    let mut speeds = Vec::new();
    let mut below = Vec::new();
    for device in &report.pcie {
        let of = |link: Option<PcieLink>| link.map(|link| link.bytes_per_s);
        for (what, speed) in [("current", of(device.current)), ("max", of(device.max)), ("path", device.path_bytes_per_s)] {
            let names = [("address", device.address.clone()), ("kind", device.kind.clone()), ("link", what.to_string())];
            speeds.extend(speed.map(|speed| (labels(&names), speed)));
        }
        let names = [("address", device.address.clone()), ("kind", device.kind.clone())];
        below.extend(device.below_max.map(|below| (labels(&names), f64::from(below))));
    }
    let help = "One direction after line coding: now, at most, and the slowest hop to the root.";
    page.family("ouro_node_pcie_bytes_per_second", Kind::Gauge, help, speeds);
    page.family("ouro_node_pcie_below_max", Kind::Gauge, "Whether the link is slower or narrower than it could be.", below);
}

fn accelerators(page: &mut Page, report: &HardwareReport) {
    let (mut memory, mut limits, mut processes) = (Vec::new(), Vec::new(), Vec::new());
    for (index, device) in report.accelerators.iter().enumerate() {
        let address = device.address.clone().unwrap_or_else(|| format!("on-chip-{index}"));
        let name = device.name.clone().unwrap_or_default();
        let names = [("address", address), ("kind", device.kind.clone()), ("vendor", device.vendor.clone()), ("name", name)];
        memory.extend(device.memory_bytes.map(|bytes| (labels(&names), bytes as f64)));
        limits.extend(device.power_limit_watts.map(|watts| (labels(&names[..1]), watts)));
        processes.extend(device.processes.iter().filter_map(|process| {
            let names = [names[0].clone(), ("pid", process.pid.to_string())];
            Some((labels(&names), process.memory_bytes? as f64))
        }));
    }
    page.family("ouro_node_accelerator_memory_bytes", Kind::Gauge, "The accelerator's own memory.", memory);
    page.family("ouro_node_accelerator_power_limit_watts", Kind::Gauge, "The power limit in force.", limits);
    page.family("ouro_node_accelerator_process_memory_bytes", Kind::Gauge, "A process's memory on the accelerator.", processes);
}

fn containers(page: &mut Page, readings: &Readings) {
    page.one("ouro_node_containers_loaded", "Containers in memory.", Some(readings.loaded.len() as f64));
    let loaded = readings.loaded.iter().filter_map(|container| {
        let names = [("digest", container.digest.to_string())];
        Some((labels(&names), container.memory_bytes? as f64))
    });
    page.family("ouro_node_container_memory_bytes", Kind::Gauge, "Resident memory of a container's worker.", loaded.collect());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sensing::host_root::HostRoot;
    use crate::sensing::nvml::NoNvml;
    use crate::sensing::{ReportOptions, report};
    use ouro_common::device::{Stall, StallTime};
    use std::collections::BTreeSet;

    fn of(name: &str) -> HardwareReport {
        let root = HostRoot::recorded(hw_fixtures::get(name).root);
        report(&root, ReportOptions { nvidia: &NoNvml, achieved: None })
    }

    #[test]
    fn unknown_is_left_out_and_units_are_base_units() {
        let waited = StallTime { avg10_percent: 12.5, total_us: 1_500_000, ..StallTime::default() };
        let readings = Readings {
            memory_available_bytes: Some(1 << 30),
            battery_percent: Some(55.0),
            rtt_ema_ms: Some(12.5),
            power: PowerSource::Battery,
            pressure: Pressure { io: Some(Stall { some: waited, full: None }), ..Pressure::default() },
            ..Readings::default()
        };
        let steps =
            |result: &str, count| Counter { name: "steps", help: "Steps ended.", labels: vec![("result", result.to_string())], count };
        let text = render(&of("no-sensors"), &readings, &[steps("done", 3), steps("failed", 1)]);
        for line in [
            "ouro_node_memory_available_bytes 1073741824",
            "ouro_node_battery_charge_ratio 0.55",
            "ouro_node_server_rtt_seconds 0.0125",
            "ouro_node_power_source{source=\"battery\"} 1",
            "ouro_node_power_source{source=\"external\"} 0",
            "ouro_node_pressure_waiting_seconds_total{resource=\"io\",tasks=\"some\"} 1.5",
            "ouro_node_pressure_waiting_ratio{resource=\"io\",tasks=\"some\"} 0.125",
            "# TYPE ouro_agent_steps_total counter",
            "ouro_agent_steps_total{result=\"failed\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("celsius") && !text.contains("clock_cap"), "{text}");
    }

    /// The rules of the format: a family once, its TYPE before its samples, no series twice.
    #[test]
    fn every_machine_gives_a_page_that_keeps_the_formats_rules() {
        for fixture in hw_fixtures::all() {
            let text = render(&of(&fixture.name), &Readings::default(), &[]);
            let (mut typed, mut series) = (BTreeSet::new(), BTreeSet::new());
            let mut current = String::new();
            for line in text.lines() {
                if let Some(rest) = line.strip_prefix("# TYPE ") {
                    current = rest.split(' ').next().unwrap().to_string();
                    assert!(typed.insert(current.clone()), "{current} twice");
                } else if !line.starts_with('#') {
                    let (name, value) = line.rsplit_once(' ').unwrap();
                    assert_eq!(name.split('{').next().unwrap(), current, "{line}");
                    assert!(series.insert(name.to_string()), "{}: {name} twice", fixture.name);
                    assert!(value.parse::<f64>().is_ok(), "{line}");
                }
            }
            assert!(text.ends_with('\n') && series.len() > 5, "{}", fixture.name);
        }
    }
}
