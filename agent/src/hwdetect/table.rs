//! The report for people: a section each, a line for each thing, with where it was read; warnings with their paths last.

use crate::sensing::bandwidth::Achieved;
use ouro_common::device::{Accelerator, HardwareReport, LinkTrust, MemoryKind, Nvme, PcieDevice, PcieLink, Power, PowerSource, Thermal};

/// The terminal's width that everything must fit.
const WIDTH: usize = 100;
/// Where the text of a line begins again after wrapping.
const INDENT: usize = 16;
/// Sensors shown; the hottest come first and JSON has them all.
const SENSORS_SHOWN: usize = 8;
/// Warnings shown.
const WARNINGS_SHOWN: usize = 20;

/// Lines of text, none wider than [`WIDTH`].
#[derive(Default)]
struct Page(String);

impl Page {
    fn section(&mut self, title: &str, source: &str) {
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        self.cut(&format!("{title:<12}  from {source}"));
    }
    /// A name and its text, wrapped between words under its own beginning.
    fn line(&mut self, name: &str, text: &str) {
        let mut line = format!("  {name:<14}");
        for word in text.split(' ') {
            if line.chars().count() + 1 + word.chars().count() > WIDTH {
                self.cut(&line);
                line = " ".repeat(INDENT);
            }
            line.push(' ');
            line.push_str(word);
        }
        self.cut(&line);
    }
    /// One line; what no wrapping can save is cut.
    fn cut(&mut self, line: &str) {
        let line = line.trim_end();
        if line.chars().count() > WIDTH {
            self.0.extend(line.chars().take(WIDTH - 1));
            self.0.push('…');
        } else {
            self.0.push_str(line);
        }
        self.0.push('\n');
    }
}

/// The whole report.
pub(super) fn render(report: &HardwareReport, achieved: Option<&Achieved>) -> String {
    let mut page = Page::default();
    machine(&mut page, report);
    memory(&mut page, report, achieved);
    power(&mut page, &report.power);
    thermal(&mut page, &report.thermal);
    accelerators(&mut page, &report.accelerators);
    pcie(&mut page, &report.pcie);
    nvme(&mut page, &report.nvme);
    warnings(&mut page, report);
    page.0
}

fn machine(page: &mut Page, report: &HardwareReport) {
    let cpu = &report.machine.cpu;
    let count = |n: Option<u32>| n.map_or("?".to_string(), |n| n.to_string());
    page.section("Machine", "cpuinfo, dmi, device tree, the parts found");
    page.line("kind", &report.machine.kind);
    page.line(
        "processor",
        &format!("{} ({})", cpu.model.as_deref().unwrap_or("unknown"), cpu.arch.as_deref().unwrap_or("unknown")),
    );
    page.line("threads, cores", &format!("{}, {}", count(cpu.logical), count(cpu.physical)));
    page.line("extensions", if cpu.isa.is_empty() { "none known".into() } else { cpu.isa.join(" ") }.as_str());
    page.line("root", &report.root);
}

fn memory(page: &mut Page, report: &HardwareReport, achieved: Option<&Achieved>) {
    let memory = &report.memory;
    page.section("Memory", "meminfo, NUMA nodes");
    page.line("total", &bytes(memory.total_bytes));
    page.line("available", &bytes(memory.available_bytes));
    if memory.host_bytes != memory.total_bytes {
        page.line("of the host", &format!("{}, the rest is memory of devices", bytes(memory.host_bytes)));
    }
    match (achieved, memory.bandwidth_bytes_per_s) {
        (Some(a), _) => {
            let figures =
                format!("read {}, copy {}, triad {}", rate(a.read_bytes_per_s), rate(a.copy_bytes_per_s), rate(a.triad_bytes_per_s));
            page.line("bandwidth", &format!("{figures}; measured with {} threads", a.threads));
            page.line("f32 product", &format!("{:.1} GFLOP/s; measured", a.flops_per_s / 1e9));
        }
        (None, Some(figure)) => page.line("bandwidth", &format!("{}, measured on the host", rate(figure))),
        (None, None) => page.line("bandwidth", "not measured"),
    }
    for node in report.numa.iter().filter(|_| report.numa.len() > 1) {
        let whose = if node.kind == MemoryKind::Device { "of a device" } else { "host" };
        let threads = node.logical_cpus.map_or("?".to_string(), |n| n.to_string());
        page.line(&format!("node {}", node.id), &format!("{:>10}  {threads} threads  {whose}", bytes(node.memory_bytes)));
    }
}

fn power(page: &mut Page, power: &Power) {
    page.section("Power", "power_supply");
    let source = match power.source {
        PowerSource::External => "external",
        PowerSource::Battery => "battery",
        PowerSource::Unknown => "unknown",
    };
    page.line("source", &format!("{source}: {}", power.why));
    if let Some(percent) = power.battery_percent {
        let charging = match power.charging {
            Some(true) => ", charging",
            Some(false) => ", not charging",
            None => "",
        };
        page.line("battery", &format!("{percent} %{charging}"));
    }
    for supply in &power.supplies {
        let percent = supply.percent.map(|p| format!(" {p} %")).unwrap_or_default();
        let online = supply.online.map(|online| if online { " online" } else { " offline" }).unwrap_or_default();
        let status = supply.status.as_deref().map(|s| format!(" {s}")).unwrap_or_default();
        let counts = if supply.counts { "" } else { "does not count: " };
        page.line(
            &supply.name,
            &format!("{}{online}{status}{percent} ({counts}{})", supply.kind.as_deref().unwrap_or("no type"), supply.why),
        );
    }
}

fn thermal(page: &mut Page, thermal: &Thermal) {
    page.section("Heat", "thermal zones, hwmon, NVML");
    let celsius = |c: Option<f64>| c.map_or("unknown".to_string(), |c| format!("{c:.1} °C"));
    page.line("hottest", &celsius(thermal.max_c));
    page.line("processor", &celsius(thermal.cpu_c));
    let mut sensors: Vec<_> = thermal.sensors.iter().collect();
    sensors.sort_by(|a, b| b.trusted.cmp(&a.trusted).then(b.c.unwrap_or(f64::MIN).total_cmp(&a.c.unwrap_or(f64::MIN))));
    for sensor in sensors.iter().take(SENSORS_SHOWN) {
        let doubt = if sensor.trusted { String::new() } else { format!("  not trusted: {}", sensor.why) };
        page.line(&sensor.chip, &format!("{:>9}  {}{doubt}", celsius(sensor.c), sensor.label));
    }
    if sensors.len() > SENSORS_SHOWN {
        page.line("", &format!("and {} more; --output json has all", sensors.len() - SENSORS_SHOWN));
    }
}

fn accelerators(page: &mut Page, accelerators: &[Accelerator]) {
    page.section("Accelerators", "PCI, drm, accel, NVML");
    if accelerators.is_empty() {
        page.line("none", "found");
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
        let text = format!("{} {} {name}{memory}{whose}{limit}{users}; {runtimes}{driver} ({})", a.vendor, a.kind, a.source);
        page.line(a.address.as_deref().unwrap_or("on chip"), &text);
    }
}

fn pcie(page: &mut Page, devices: &[PcieDevice]) {
    page.section("PCIe", "bus/pci/devices; one direction after line coding");
    // Functions inside the processor are many and say nothing of a slot.
    let shown: Vec<_> = devices.iter().filter(|d| d.current.is_some() || d.max.is_some() || d.kind != "other").collect();
    if devices.is_empty() {
        page.line("none", "found");
    }
    for d in &shown {
        let link = |link: Option<PcieLink>| link.map_or("?".to_string(), |l| format!("{} GT/s x{}", l.gt_per_s, l.lanes));
        let path = d.path_bytes_per_s.map_or("path unknown".to_string(), |b| format!("path {}", rate(b)));
        let below = if d.below_max == Some(true) { ", BELOW MAXIMUM" } else { "" };
        page.line(&d.address, &format!("{:<11} now {}, max {}, {path}{below}", d.kind, link(d.current), link(d.max)));
        if d.trust != LinkTrust::Measured {
            page.line("", &format!("({})", d.why));
        }
    }
    if shown.len() < devices.len() {
        page.line("", &format!("and {} without links; --output json has all", devices.len() - shown.len()));
    }
}

fn nvme(page: &mut Page, controllers: &[Nvme]) {
    page.section("NVMe", "class/nvme");
    if controllers.is_empty() {
        page.line("none", "found");
    }
    for c in controllers {
        let link = c.link_bytes_per_s.map_or("link unknown".to_string(), rate);
        let (model, transport) = (c.model.as_deref().unwrap_or("no model"), c.transport.as_deref().unwrap_or("transport unknown"));
        page.line(&c.name, &format!("{model}, {transport} {}, {link}", c.address.as_deref().unwrap_or("")));
    }
}

fn warnings(page: &mut Page, report: &HardwareReport) {
    if report.warnings.is_empty() {
        return;
    }
    page.section("Warnings", "what could not be read or believed");
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
