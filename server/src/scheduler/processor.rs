//! Which processor of a node a container would run on: the requirement `needs.accelerators`, read against the hardware.
//!
//! A requirement is a name, alone (`cpu`, `cuda`, `npu`, `arc`), with an architecture or extension (`rocm:gfx1100`,
//! `cpu:avx2`), or with a least version (`cuda>=8.0`). An accelerator offers runtimes in the same words: `cuda`,
//! `cuda 8.6`, `rocm:gfx1100`. A version that was not reported does not satisfy: unknown is not "new enough".

use ouro_common::device::{Accelerator, HardwareReport};

/// What would compute.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Processor {
    /// The CPU, or an accelerator that shares its memory.
    Host {
        /// Whether the figures measured on the CPU are its own.
        measured: bool,
    },
    /// An accelerator with memory of its own.
    Discrete {
        /// The slowest hop to it, bytes per second.
        path_bytes_per_s: Option<f64>,
    },
}

/// The processor that satisfies any of `needs`; the CPU if it may be, for its speed was measured.
pub(crate) fn processor(hardware: &HardwareReport, needs: &[String]) -> Option<Processor> {
    if needs.iter().any(|need| cpu_satisfies(hardware, need)) {
        return Some(Processor::Host { measured: true });
    }
    let accelerator = needs.iter().find_map(|need| hardware.accelerators.iter().find(|a| satisfies(a, need)))?;
    if accelerator.integrated == Some(true) {
        return Some(Processor::Host { measured: false });
    }
    let device = hardware.pcie.iter().find(|d| Some(&d.address) == accelerator.address.as_ref());
    let path = device.and_then(|d| d.path_bytes_per_s).filter(|b| b.is_finite() && *b > 0.0);
    Some(Processor::Discrete { path_bytes_per_s: path })
}

fn cpu_satisfies(hardware: &HardwareReport, need: &str) -> bool {
    let cpu = &hardware.machine.cpu;
    match need.trim().split_once(':') {
        None => need.trim() == "cpu",
        Some(("cpu", wanted)) => cpu.arch.as_deref() == Some(wanted) || cpu.isa.iter().any(|i| i == wanted),
        Some(_) => false,
    }
}

fn satisfies(accelerator: &Accelerator, need: &str) -> bool {
    let offers = || accelerator.runtimes.iter().map(|r| split_offer(r));
    let need = need.trim();
    if let Some((name, least)) = need.split_once(">=") {
        return offers().any(|(n, version)| n == name.trim() && version.is_some_and(|v| at_least(v, least.trim())));
    }
    if let Some((name, wanted)) = need.split_once(':') {
        return offers().any(|(n, version)| n == name && version == Some(wanted));
    }
    match need {
        "arc" => accelerator.kind == "gpu" && accelerator.vendor == "intel" && accelerator.integrated != Some(true),
        "npu" => accelerator.kind == "npu" || offers().any(|(n, _)| n == "npu"),
        _ => offers().any(|(n, _)| n == need),
    }
}

fn split_offer(runtime: &str) -> (&str, Option<&str>) {
    match runtime.split_once([' ', ':', '=']) {
        Some((name, version)) => (name, Some(version.trim())),
        None => (runtime, None),
    }
}

/// Compares dotted numbers, part by part; anything else is not comparable.
fn at_least(have: &str, least: &str) -> bool {
    let parse = |text: &str| text.split('.').map(|p| p.parse::<u32>().ok()).collect::<Option<Vec<_>>>();
    match (parse(have), parse(least)) {
        (Some(mut have), Some(mut least)) => {
            let parts = have.len().max(least.len());
            have.resize(parts, 0);
            least.resize(parts, 0);
            have >= least
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accelerator(kind: &str, vendor: &str, runtimes: &[&str]) -> Accelerator {
        Accelerator {
            kind: kind.into(),
            vendor: vendor.into(),
            name: None,
            runtimes: runtimes.iter().map(|r| (*r).to_string()).collect(),
            address: None,
            memory_bytes: None,
            integrated: Some(false),
            source: "sysfs".into(),
            ..Accelerator::default()
        }
    }

    #[test]
    fn requirements_are_read_against_what_is_there() {
        let cuda = accelerator("gpu", "nvidia", &["cuda 8.6"]);
        let bare = accelerator("gpu", "nvidia", &["cuda"]);
        let rocm = accelerator("gpu", "amd", &["rocm:gfx1100"]);
        let arc = accelerator("gpu", "intel", &["oneapi"]);
        assert!(satisfies(&cuda, "cuda>=8.0") && satisfies(&cuda, "cuda>=8.6") && satisfies(&cuda, "cuda"));
        assert!(!satisfies(&cuda, "cuda>=8.10") && !satisfies(&cuda, "cuda>=9") && !satisfies(&cuda, "cuda>=new"));
        assert!(satisfies(&bare, "cuda") && !satisfies(&bare, "cuda>=5.0"), "an unknown version is not new enough");
        assert!(satisfies(&rocm, "rocm:gfx1100") && satisfies(&rocm, "rocm") && !satisfies(&rocm, "rocm:gfx906"));
        assert!(satisfies(&arc, "arc") && satisfies(&arc, "oneapi") && !satisfies(&cuda, "arc"));
        assert!(satisfies(&accelerator("npu", "intel", &[]), "npu") && !satisfies(&arc, "npu"));
    }
}
