//! The hardware report, schema `ouroboros.hwdetect/1`: what was found on a machine, and what could not be known.
//!
//! Unknown is `None` and a warning says why; nothing is guessed.

use super::{Achieved, PcieLink, Pressure, TheoreticalBandwidth};
use serde::{Deserialize, Serialize};

/// What `ouro-agent hwdetect` reports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HardwareReport {
    /// Always [`HardwareReport::SCHEMA`].
    pub schema: String,
    /// The root that was read: `/`, or a recorded machine's folder.
    pub root: String,
    /// What kind of machine this is, and its processor.
    pub machine: Machine,
    /// Main memory.
    pub memory: Memory,
    /// NUMA nodes, by id.
    pub numa: Vec<NumaNode>,
    /// PCI Express endpoints, no bridges, by address.
    pub pcie: Vec<PcieDevice>,
    /// NVMe controllers, by name.
    pub nvme: Vec<Nvme>,
    /// Processors of neural networks other than the CPU.
    pub accelerators: Vec<Accelerator>,
    /// What the machine runs on.
    pub power: Power,
    /// How hot it is.
    pub thermal: Thermal,
    /// How long work waits for processor, memory and storage.
    #[serde(default)]
    pub pressure: Pressure,
    /// What could not be read, and where.
    pub warnings: Vec<Warning>,
}

impl HardwareReport {
    /// The schema's name and version.
    pub const SCHEMA: &'static str = "ouroboros.hwdetect/1";

    /// The report of a machine that could not be read at all.
    pub fn unread(root: &str) -> Self {
        Self {
            schema: Self::SCHEMA.into(),
            root: root.into(),
            machine: Machine { kind: "unknown".into(), ..Machine::default() },
            memory: Memory::default(),
            numa: vec![],
            pcie: vec![],
            nvme: vec![],
            accelerators: vec![],
            power: Power::default(),
            thermal: Thermal::default(),
            pressure: Pressure::default(),
            warnings: vec![Warning { path: root.into(), problem: "the machine could not be read; see the agent's log".into() }],
        }
    }
}

/// The machine and its processor.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// `laptop`, `desktop`, `server`, `phone`, `board`, `vm` or `unknown`.
    pub kind: String,
    /// The processor.
    pub cpu: Cpu,
}

/// The processor, all sockets together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Cpu {
    /// The model's name as the kernel prints it.
    pub model: Option<String>,
    /// The instruction set: `x86_64`, `aarch64`, `ppc64le` …
    pub arch: Option<String>,
    /// Hardware threads.
    pub logical: Option<u32>,
    /// Physical cores.
    pub physical: Option<u32>,
    /// Instruction set extensions that matter to inference: `avx2`, `avx512_vnni`, `asimddp` …
    pub isa: Vec<String>,
}

/// Main memory, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// All memory the kernel manages (`MemTotal`), device memory included where the kernel includes it.
    pub total_bytes: Option<u64>,
    /// What can be used without swapping (`MemAvailable`).
    pub available_bytes: Option<u64>,
    /// `total_bytes` less the memory of devices that appear as NUMA nodes.
    pub host_bytes: Option<u64>,
    /// Measured read bandwidth of all cores together; `None` where it was not measured.
    pub bandwidth_bytes_per_s: Option<f64>,
    /// `host` when the figure was measured on the machine that runs the agent although the root is a recorded one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth_source: Option<String>,
    /// Everything that was measured; `None` where nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub achieved: Option<Achieved>,
    /// What the memory modules could carry at most.
    #[serde(default)]
    pub theoretical: TheoreticalBandwidth,
}

/// A NUMA node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NumaNode {
    /// The kernel's number; numbers can have gaps.
    pub id: u32,
    /// Hardware threads on it.
    pub logical_cpus: Option<u32>,
    /// Its memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Host memory, or a device's.
    pub kind: MemoryKind,
}

/// Whose memory a NUMA node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemoryKind {
    /// Main memory.
    Host,
    /// A GPU's or other device's memory, or persistent memory.
    Device,
}

/// How far a link reading can be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkTrust {
    /// Read from the device and every hop to the root.
    Measured,
    /// The device is part of the processor or chipset; its link is an internal bus.
    Integrated,
    /// The device is known to report something else than its link.
    Unreliable,
    /// There are no figures.
    Unknown,
}

/// A PCI Express endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PcieDevice {
    /// Domain, bus, device, function: `0000:01:00.0`; domains can have five digits.
    pub address: String,
    /// The class code with its six digits: `0x010802`.
    pub class: Option<String>,
    /// The vendor's id: `0x10de`.
    pub vendor: Option<String>,
    /// The device's id.
    pub device: Option<String>,
    /// `gpu`, `nvme`, `npu`, `nic`, `accelerator` or `other`.
    pub kind: String,
    /// The NUMA node it hangs on, where the firmware says so.
    pub numa_node: Option<u32>,
    /// The link as it is now.
    pub current: Option<PcieLink>,
    /// The fastest link the device can do.
    pub max: Option<PcieLink>,
    /// The slowest hop between the device and the root, each at its maximum speed and current width; bytes per second.
    pub path_bytes_per_s: Option<f64>,
    /// Whether `current` is slower or narrower than `max`; `None` where that cannot be said.
    pub below_max: Option<bool>,
    /// How far to believe `current`.
    pub trust: LinkTrust,
    /// Why.
    pub why: String,
}

/// An NVMe controller.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Nvme {
    /// The kernel's name: `nvme0`.
    pub name: String,
    /// The model string.
    pub model: Option<String>,
    /// `pcie`, `tcp`, `rdma`, `fc`, `apple-nvme` …
    pub transport: Option<String>,
    /// The PCI address, or the transport's own.
    pub address: Option<String>,
    /// What its PCIe link carries; bytes per second.
    pub link_bytes_per_s: Option<f64>,
}

/// A GPU, an NPU or another accelerator.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Accelerator {
    /// `gpu`, `npu` or `accelerator`.
    pub kind: String,
    /// `nvidia`, `amd`, `intel` …
    pub vendor: String,
    /// What its maker calls it, where known.
    pub name: Option<String>,
    /// Programming runtimes it offers: `cuda`, `rocm`, `oneapi`, `npu`.
    pub runtimes: Vec<String>,
    /// Its PCI address.
    pub address: Option<String>,
    /// Its own memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Whether it shares the processor's package and memory.
    pub integrated: Option<bool>,
    /// `nvml` or `sysfs`.
    pub source: String,
    /// The version of the driver that manages it, where it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver_version: Option<String>,
    /// The power limit in force, W.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_limit_watts: Option<f64>,
    /// The processes that have memory on it, by number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<AcceleratorProcess>,
}

/// A process with memory on an accelerator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceleratorProcess {
    /// The process.
    pub pid: u32,
    /// Its memory there in bytes, if the driver may say.
    pub memory_bytes: Option<u64>,
}

/// What the machine runs on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Power {
    /// `external`, `battery` or `unknown`.
    pub source: super::PowerSource,
    /// Charge of the system's batteries together, 0 to 100.
    pub battery_percent: Option<f64>,
    /// Whether a system battery charges; `None` without one, or where it cannot be said.
    pub charging: Option<bool>,
    /// The evidence.
    pub why: String,
    /// All supplies found.
    pub supplies: Vec<PowerSupply>,
}

/// An entry of `/sys/class/power_supply`, or what stands for it on a phone.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PowerSupply {
    /// The kernel's name.
    pub name: String,
    /// `Battery`, `Mains`, `USB` …
    pub kind: Option<String>,
    /// `System` or `Device` (a mouse, a headset).
    pub scope: Option<String>,
    /// For chargers: whether power comes in.
    pub online: Option<bool>,
    /// For batteries: `Charging`, `Discharging`, `Full`, `Not charging`, `Unknown`.
    pub status: Option<String>,
    /// For batteries: charge, 0 to 100.
    pub percent: Option<f64>,
    /// Whether it counts for the machine's own power, and why not if it does not.
    pub counts: bool,
    /// Why it does or does not count.
    pub why: String,
    /// Where it was read.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
}

/// How hot the machine is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Thermal {
    /// The hottest trusted sensor in °C.
    pub max_c: Option<f64>,
    /// The processor's temperature in °C.
    pub cpu_c: Option<f64>,
    /// Everything found.
    pub sensors: Vec<Sensor>,
}

/// A temperature sensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sensor {
    /// The chip or zone: `coretemp`, `nvme`, `x86_pkg_temp`.
    pub chip: String,
    /// The input's label, or its file's name.
    pub label: String,
    /// What it reads, in °C.
    pub c: Option<f64>,
    /// Whether the reading counts.
    pub trusted: bool,
    /// Why it does or does not.
    pub why: String,
    /// Where it was read: its directory, or NVML.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
}

/// Something that could not be read or believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// The file or directory.
    pub path: String,
    /// What is wrong with it.
    pub problem: String,
}
