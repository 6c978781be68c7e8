//! The report for people: a section each, a line for each thing with where it was read; warnings with their paths last.

use ouro_common::device::{
    Accelerator, HardwareReport, LinkTrust, Memory, MemoryKind, MemoryRates, Nvme, PcieDevice, PcieLink, Power, PowerSource, Pressure,
    Stall, Thermal,
};
use page::Page;

mod page;

/// Sensors shown; the hottest come first and JSON has them all.
const SENSORS_SHOWN: usize = 8;
/// Warnings shown.
const WARNINGS_SHOWN: usize = 20;

/// The whole report; `not_measured` says why there is no measured bandwidth.
pub(super) fn render(report: &HardwareReport, not_measured: &str) -> String {
    let mut page = Page::default();
    machine(&mut page, report);
    memory(&mut page, report, not_measured);
    pressure(&mut page, &report.pressure);
    power(&mut page, &report.power);
    thermal(&mut page, &report.thermal);
    accelerators(&mut page, &report.accelerators);
    pcie(&mut page, &report.pcie);
    nvme(&mut page, &report.nvme);
    warnings(&mut page, report);
    page.into_text()
}

fn machine(page: &mut Page, report: &HardwareReport) {
    let cpu = &report.machine.cpu;
    let count = |n: Option<u32>| n.map_or("?".to_string(), |n| n.to_string());
    page.section("Machine");
    page.line("kind", &report.machine.kind, "firmware, processor, parts found");
    let name = format!("{} ({})", cpu.model.as_deref().unwrap_or("unknown"), cpu.arch.as_deref().unwrap_or("unknown"));
    page.line("processor", &name, "proc/cpuinfo");
    let threads = format!("{}, {}", count(cpu.logical), count(cpu.physical));
    page.line("threads, cores", &threads, "proc/cpuinfo, system/cpu");
    let isa = if cpu.isa.is_empty() { "none known".into() } else { cpu.isa.join(" ") };
    page.line("extensions", &isa, "proc/cpuinfo");
    page.line("root", &report.root, "");
}

fn memory(page: &mut Page, report: &HardwareReport, not_measured: &str) {
    let memory = &report.memory;
    page.section("Memory");
    page.line("total", &bytes(memory.total_bytes), "proc/meminfo");
    page.line("available", &bytes(memory.available_bytes), "proc/meminfo");
    if memory.host_bytes != memory.total_bytes {
        let text = format!("{}, the rest is memory of devices", bytes(memory.host_bytes));
        page.line("of the host", &text, "sys/devices/system/node");
    }
    bandwidth(page, memory, not_measured);
    for node in report.numa.iter().filter(|_| report.numa.len() > 1) {
        let whose = if node.kind == MemoryKind::Device { "of a device" } else { "host" };
        let threads = node.logical_cpus.map_or("?".to_string(), |n| n.to_string());
        let text = format!("{:>10}  {threads} threads  {whose}", bytes(node.memory_bytes));
        page.line(&format!("node {}", node.id), &text, &format!("sys/devices/system/node/node{}", node.id));
    }
}

fn bandwidth(page: &mut Page, memory: &Memory, not_measured: &str) {
    let figures = |rates: MemoryRates| {
        let [read, copy, triad] = [rates.read_bytes_per_s, rates.copy_bytes_per_s, rates.triad_bytes_per_s].map(rate);
        format!("read {read}, copy {copy}, triad {triad}")
    };
    match memory.achieved {
        Some(a) => {
            let source = if memory.bandwidth_source.is_some() { "measured on the host" } else { "measured" };
            page.line("bandwidth", &format!("{}; {} threads", figures(a.all_threads), a.threads), source);
            page.line("", &format!("{}; one thread", figures(a.one_thread)), source);
            page.line("f32 product", &format!("{:.1} GFLOP/s", a.flops_per_s / 1e9), source);
            let busy = a.foreign_load.map_or("unknown".to_string(), |share| format!("{:.0} % of the processor", share * 100.0));
            page.line("used by others", &format!("{busy} while it was measured"), "proc/stat");
        }
        None => page.line("bandwidth", not_measured, ""),
    }
    let most = match memory.theoretical.bytes_per_s {
        Some(figure) => format!("{}: {}", rate(figure), memory.theoretical.why),
        None => format!("unknown: {}", memory.theoretical.why),
    };
    page.line("at most", &most, "sys/firmware/dmi/tables/DMI");
}

fn pressure(page: &mut Page, pressure: &Pressure) {
    page.section("Pressure");
    let mut any = false;
    for (name, stall) in [("cpu", pressure.cpu), ("memory", pressure.memory), ("io", pressure.io)] {
        let Some(Stall { some, full }) = stall else { continue };
        any = true;
        let full = full.map(|full| format!("; all tasks {} %", full.avg10_percent)).unwrap_or_default();
        let text = format!("work waited {} % of 10 s, {} % of 60 s{full}", some.avg10_percent, some.avg60_percent);
        page.line(name, &text, &format!("proc/pressure/{name}"));
    }
    if !any || pressure.cpu.is_none() || pressure.memory.is_none() || pressure.io.is_none() {
        page.line("unknown", &pressure.why, "proc/pressure");
    }
}

fn power(page: &mut Page, power: &Power) {
    page.section("Power");
    let source = match power.source {
        PowerSource::External => "external",
        PowerSource::Battery => "battery",
        PowerSource::Unknown => "unknown",
    };
    page.line("source", &format!("{source}: {}", power.why), "the supplies below");
    if let Some(percent) = power.battery_percent {
        let charging = match power.charging {
            Some(true) => ", charging",
            Some(false) => ", not charging",
            None => "",
        };
        page.line("battery", &format!("{percent} %{charging}"), "the supplies below");
    }
    if power.supplies.is_empty() {
        page.line("none", "listed", "sys/class/power_supply");
    }
    for supply in &power.supplies {
        let percent = supply.percent.map(|p| format!(" {p} %")).unwrap_or_default();
        let online = supply.online.map(|online| if online { " online" } else { " offline" }).unwrap_or_default();
        let status = supply.status.as_deref().map(|s| format!(" {s}")).unwrap_or_default();
        let counts = if supply.counts { "" } else { "does not count: " };
        let text = format!("{}{online}{status}{percent} ({counts}{})", supply.kind.as_deref().unwrap_or("no type"), supply.why);
        page.line(&supply.name, &text, &supply.path);
    }
}

fn thermal(page: &mut Page, thermal: &Thermal) {
    page.section("Heat");
    let celsius = |c: Option<f64>| c.map_or("unknown".to_string(), |c| format!("{c:.1} °C"));
    let from = if thermal.sensors.is_empty() { "sys/class/thermal, class/hwmon" } else { "the sensors below" };
    page.line("hottest", &celsius(thermal.max_c), from);
    page.line("processor", &celsius(thermal.cpu_c), from);
    let mut sensors: Vec<_> = thermal.sensors.iter().collect();
    sensors.sort_by(|a, b| b.trusted.cmp(&a.trusted).then(b.c.unwrap_or(f64::MIN).total_cmp(&a.c.unwrap_or(f64::MIN))));
    for sensor in sensors.iter().take(SENSORS_SHOWN) {
        let doubt = if sensor.trusted { String::new() } else { format!("  not trusted: {}", sensor.why) };
        page.line(&sensor.chip, &format!("{:>9}  {}{doubt}", celsius(sensor.c), sensor.label), &sensor.path);
    }
    if sensors.len() > SENSORS_SHOWN {
        page.line("", &format!("and {} more; --output json has all", sensors.len() - SENSORS_SHOWN), "");
    }
}

fn accelerators(page: &mut Page, accelerators: &[Accelerator]) {
    page.section("Accelerators");
    if accelerators.is_empty() {
        page.line("none", "found", "bus/pci, class/drm, class/accel");
    }
    for a in accelerators {
        let name = a.name.as_deref().unwrap_or("no name");
        let whose = match a.integrated {
            Some(true) => ", integrated",
            _ => "",
        };
        let memory = a.memory_bytes.map(|m| format!(", {}", bytes(Some(m)))).unwrap_or_default();
        let runtimes = if a.runtimes.is_empty() { "no runtime".to_string() } else { a.runtimes.join(" ") };
        let limit = a.power_limit_watts.map(|watts| format!(", limited to {watts:.0} W")).unwrap_or_default();
        let driver = a.driver_version.as_ref().map(|version| format!(", driver {version}")).unwrap_or_default();
        let users = match a.processes.len() {
            0 => String::new(),
            count => format!(", {count} processes"),
        };
        let text = format!("{} {} {name}{memory}{whose}{limit}{users}; {runtimes}{driver}", a.vendor, a.kind);
        let source = match (a.source.as_str(), &a.address) {
            ("nvml", _) => "NVML".to_string(),
            (_, Some(address)) => format!("sys/bus/pci/devices/{address}"),
            _ => "sys/class/drm, sys/class/accel".to_string(),
        };
        page.line(a.address.as_deref().unwrap_or("on chip"), &text, &source);
    }
}

fn pcie(page: &mut Page, devices: &[PcieDevice]) {
    page.section("PCIe          one direction after line coding");
    // Functions inside the processor are many and say nothing of a slot.
    let shown: Vec<_> = devices.iter().filter(|d| d.current.is_some() || d.max.is_some() || d.kind != "other").collect();
    if devices.is_empty() {
        page.line("none", "found", "sys/bus/pci/devices");
    }
    for d in &shown {
        let link = |link: Option<PcieLink>| link.map_or("?".to_string(), |l| format!("{} GT/s x{}", l.gt_per_s, l.lanes));
        let path = d.path_bytes_per_s.map_or("path unknown".to_string(), |b| format!("path {}", rate(b)));
        let below = if d.below_max == Some(true) { ", BELOW MAXIMUM" } else { "" };
        let text = format!("{} now {}, max {}, {path}{below}", d.kind, link(d.current), link(d.max));
        page.line(&d.address, &text, &format!("sys/bus/pci/devices/{}", d.address));
        if d.trust != LinkTrust::Measured {
            page.line("", &format!("({})", d.why), "");
        }
    }
    if shown.len() < devices.len() {
        page.line("", &format!("and {} without links; --output json has all", devices.len() - shown.len()), "");
    }
}

fn nvme(page: &mut Page, controllers: &[Nvme]) {
    page.section("NVMe");
    if controllers.is_empty() {
        page.line("none", "found", "sys/class/nvme");
    }
    for c in controllers {
        let link = c.link_bytes_per_s.map_or("link unknown".to_string(), rate);
        let (model, transport) = (c.model.as_deref().unwrap_or("no model"), c.transport.as_deref().unwrap_or("transport unknown"));
        let text = format!("{model}, {transport} {}, {link}", c.address.as_deref().unwrap_or(""));
        page.line(&c.name, &text, &format!("sys/class/nvme/{}", c.name));
    }
}

fn warnings(page: &mut Page, report: &HardwareReport) {
    if report.warnings.is_empty() {
        return;
    }
    page.section("Warnings      what could not be read or believed");
    for warning in report.warnings.iter().take(WARNINGS_SHOWN) {
        page.cut(&format!("  {}", warning.path));
        page.cut(&format!("      {}", warning.problem));
    }
    if report.warnings.len() > WARNINGS_SHOWN {
        page.cut(&format!("  and {} more; --output json has all", report.warnings.len() - WARNINGS_SHOWN));
    }
}

fn bytes(value: Option<u64>) -> String {
    let Some(value) = value else { return "unknown".to_string() };
    let gib = value as f64 / f64::from(1u32 << 30);
    if gib >= 1.0 { format!("{gib:.1} GiB") } else { format!("{:.0} MiB", gib * 1024.0) }
}

fn rate(bytes_per_s: f64) -> String {
    format!("{:.2} GB/s", bytes_per_s / 1e9)
}
