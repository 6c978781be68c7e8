//! The library itself, loaded once and asked again and again.
//!
//! A GPU that falls off the bus stays in the answer, with what it said of itself before and a problem instead of readings:
//! the others are not affected, and nobody has to guess why one is missing.

use super::{NvidiaGpu, NvidiaReport, NvidiaSource, NvmlUnavailable};
use nvml_wrapper::Nvml;
use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor, TemperatureThreshold};
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, struct_wrappers::device::ProcessInfo};
use ouro_common::device::AcceleratorProcess;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};

/// The library of the machine this process runs on.
#[derive(Debug, Clone, Copy, Default)]
pub struct LiveNvml;

impl NvidiaSource for LiveNvml {
    fn read_gpus(&self) -> Result<NvidiaReport, NvmlUnavailable> {
        // Loading the library costs too much to do it with every heartbeat; a driver installed later needs a new process.
        static LIBRARY: NvmlLibrary = NvmlLibrary::new(None);
        LIBRARY.read_gpus()
    }
}

/// A library at a path of its own, or where the system keeps it.
#[derive(Debug)]
pub struct NvmlLibrary {
    path: Option<PathBuf>,
    loaded: OnceLock<Result<Nvml, String>>,
    /// What each GPU said of itself when it last answered, by the library's index.
    seen: Mutex<BTreeMap<u32, Seen>>,
}

/// A GPU that has answered at least once.
#[derive(Debug)]
struct Seen {
    identity: NvidiaGpu,
    /// Whether it answered the last time, so that its loss is logged once and not with every heartbeat.
    answers: bool,
}

impl NvmlLibrary {
    /// The library at `path`, or the system's; it is loaded when it is first asked.
    pub const fn new(path: Option<PathBuf>) -> Self {
        Self { path, loaded: OnceLock::new(), seen: Mutex::new(BTreeMap::new()) }
    }

    fn load(&self) -> Result<&Nvml, NvmlUnavailable> {
        let load = || match &self.path {
            Some(path) => Nvml::builder().lib_path(path.as_os_str()).init(),
            None => Nvml::init(),
        };
        let loaded = self.loaded.get_or_init(|| load().map_err(|error| error.to_string()));
        loaded.as_ref().map_err(|reason| NvmlUnavailable { reason: reason.clone() })
    }
}

impl NvidiaSource for NvmlLibrary {
    fn read_gpus(&self) -> Result<NvidiaReport, NvmlUnavailable> {
        let nvml = self.load()?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let count = match nvml.device_count() {
            Ok(count) => count,
            // With nothing seen before there is nothing to say.
            Err(error) if seen.is_empty() => return Err(NvmlUnavailable { reason: error.to_string() }),
            Err(_) => 0,
        };
        let indices = (0..count).chain(seen.keys().copied().filter(|index| *index >= count).collect::<Vec<u32>>());
        let mut gpus = Vec::new();
        for index in indices {
            let answer = nvml.device_by_index(index).and_then(|device| read_device(&device));
            match answer {
                Ok(gpu) => {
                    let known = seen.entry(index).or_insert_with(|| Seen { identity: identity(&gpu), answers: true });
                    known.answers = true;
                    // Half an answer is no better than what it said before.
                    if gpu.problem.is_none() {
                        known.identity = identity(&gpu);
                    }
                    gpus.push(gpu);
                }
                // One that never answered has no address to be listed under; sysfs lists it all the same.
                Err(error) => gpus.extend(seen.get_mut(&index).map(|known| known.lost(&error))),
            }
        }
        Ok(NvidiaReport { driver_version: nvml.sys_driver_version().ok(), gpus })
    }
}

impl Seen {
    fn lost(&mut self, error: &NvmlError) -> NvidiaGpu {
        let problem = describe(error);
        if std::mem::replace(&mut self.answers, false) {
            tracing::warn!(address = self.identity.address, "this GPU {problem}");
        }
        NvidiaGpu { problem: Some(problem), ..self.identity.clone() }
    }
}

/// What does not change while a GPU is in the machine.
fn identity(gpu: &NvidiaGpu) -> NvidiaGpu {
    NvidiaGpu {
        address: gpu.address.clone(),
        name: gpu.name.clone(),
        memory_bytes: gpu.memory_bytes,
        max_link: gpu.max_link,
        compute_capability: gpu.compute_capability.clone(),
        ..NvidiaGpu::default()
    }
}

fn describe(error: &NvmlError) -> String {
    match error {
        NvmlError::GpuLost => "has fallen off the bus; its readings are unknown until the machine restarts".to_string(),
        error => format!("does not answer NVML ({error}); its readings are unknown"),
    }
}

/// Answers of one device: a thing it cannot do is no fault, being lost is.
struct Answers {
    fault: RefCell<Option<NvmlError>>,
}

impl Answers {
    fn get<T>(&self, answer: Result<T, NvmlError>) -> Option<T> {
        answer
            .map_err(|error| {
                if matches!(error, NvmlError::GpuLost | NvmlError::Unknown) {
                    let mut fault = self.fault.borrow_mut();
                    // Lost explains the others.
                    if fault.is_none() || matches!(error, NvmlError::GpuLost) {
                        *fault = Some(error);
                    }
                }
            })
            .ok()
    }
}

/// Fails only where nothing can be said, or the device was lost; a device that failed at some questions has a problem.
fn read_device(device: &Device<'_>) -> Result<NvidiaGpu, NvmlError> {
    let pci = device.pci_info()?;
    let answers = Answers { fault: RefCell::new(None) };
    let celsius = |answer: Result<u32, NvmlError>| answers.get(answer).map(f64::from);
    let link = |generation, lanes| answers.get(generation).zip(answers.get(lanes));
    let reasons = answers.get(device.current_throttle_reasons());
    let clocks = (answers.get(device.clock_info(Clock::SM)), answers.get(device.max_clock_info(Clock::SM)));
    let gpu = NvidiaGpu {
        address: format!("{:04x}:{:02x}:{:02x}.0", pci.domain, pci.bus, pci.device),
        name: answers.get(device.name()),
        memory_bytes: answers.get(device.memory_info()).map(|memory| memory.total),
        temperature_c: celsius(device.temperature(TemperatureSensor::Gpu)),
        slowdown_c: celsius(device.temperature_threshold(TemperatureThreshold::Slowdown)),
        current_link: link(device.current_pcie_link_gen(), device.current_pcie_link_width()),
        max_link: link(device.max_pcie_link_gen(), device.max_pcie_link_width()),
        compute_capability: answers.get(device.cuda_compute_capability()).map(|version| format!("{}.{}", version.major, version.minor)),
        power_limit_watts: answers.get(device.enforced_power_limit()).map(|milliwatts| f64::from(milliwatts) / 1000.0),
        clock_cap: reasons.map(|reasons| clock_cap(reasons, clocks)),
        slowed_by: reasons.map(slowed_by).unwrap_or_default(),
        processes: processes([answers.get(device.running_compute_processes()), answers.get(device.running_graphics_processes())]),
        problem: None,
    };
    match answers.fault.into_inner() {
        Some(NvmlError::GpuLost) => Err(NvmlError::GpuLost),
        Some(fault) => Ok(NvidiaGpu { problem: Some(format!("answers NVML only in part ({fault})")), ..gpu }),
        None => Ok(gpu),
    }
}

/// Each process once: one that computes and draws is in both lists.
fn processes(lists: [Option<Vec<ProcessInfo>>; 2]) -> Vec<AcceleratorProcess> {
    let mut by_pid: BTreeMap<u32, Option<u64>> = BTreeMap::new();
    for process in lists.into_iter().flatten().flatten() {
        let memory = match process.used_gpu_memory {
            UsedGpuMemory::Used(bytes) => Some(bytes),
            UsedGpuMemory::Unavailable => None,
        };
        let known = by_pid.entry(process.pid).or_default();
        *known = (*known).max(memory);
    }
    by_pid.into_iter().map(|(pid, memory_bytes)| AcceleratorProcess { pid, memory_bytes }).collect()
}

/// Slowdowns that are no one's choice; idling, application clocks and the ordinary power cap are no fault.
fn slowed_by(reasons: ThrottleReasons) -> Vec<String> {
    let named = [
        (ThrottleReasons::SW_THERMAL_SLOWDOWN | ThrottleReasons::HW_THERMAL_SLOWDOWN, "thermal"),
        (ThrottleReasons::HW_SLOWDOWN, "hardware slowdown"),
        (ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN, "power brake"),
    ];
    named.iter().filter(|(flags, _)| reasons.intersects(*flags)).map(|(_, name)| (*name).to_string()).collect()
}

/// The clock under a slowdown as a share of the highest; an idle clock is no cap.
fn clock_cap(reasons: ThrottleReasons, clocks: (Option<u32>, Option<u32>)) -> f64 {
    if slowed_by(reasons).is_empty() {
        return 1.0;
    }
    match clocks {
        (Some(now), Some(max)) if now > 0 && max > 0 => (f64::from(now) / f64::from(max)).min(1.0),
        // NVML: the hardware's slowdowns reduce the clock "by a factor of 2 or more"; the software's size is not said.
        _ if reasons == ThrottleReasons::SW_THERMAL_SLOWDOWN => 1.0,
        _ => 0.5,
    }
}
