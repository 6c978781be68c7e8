//! The values that change: read by a sensor each, at its own pace, and published only when they really changed.
//!
//! On a recorded root the same files are read and stay what they were; shares of the processor then come from the load
//! average, since two reads of a recording have no difference.

use super::host_root::HostRoot;
use super::nvml::{NvidiaReport, NvidiaSource};
use super::scan::{Outputs, Scan};
use super::{power, pressure, thermal};
use load::CpuTicks;
use ouro_common::device::{Power, Pressure, Readings, Stall};
use ouro_common::mfpi::threshold::{self, Gate, GateState};
use std::time::Duration;

mod clock;
pub(crate) mod load;
pub(crate) mod quota;

/// What reads one part of the readings, and what it remembers between two reads.
#[derive(Clone, Default)]
pub(crate) struct Sensor {
    outputs: Outputs,
    kind: Kind,
}

#[derive(Clone, Default)]
enum Kind {
    #[default]
    Memory,
    Power,
    Heat,
    /// The counters of the last time, and the processor time that this agent's own steps had used by then.
    Load(Option<CpuTicks>, Duration),
    /// How often the processors had throttled by the last time.
    Clock(Option<u64>),
    Pressure,
    Nvidia(&'static (dyn NvidiaSource + Sync)),
}

impl std::fmt::Debug for Sensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Sensor {
    /// One of each that reads files; the first foreign load of a live machine is unknown.
    pub(crate) fn all() -> Vec<Self> {
        // A phone's battery and its temperature come from one command.
        let outputs = Outputs::default();
        let kinds = [Kind::Memory, Kind::Power, Kind::Heat, Kind::Load(None, Duration::ZERO), Kind::Clock(None), Kind::Pressure];
        kinds.into_iter().map(|kind| Self { outputs: outputs.clone(), kind }).collect()
    }

    /// The one that asks for NVIDIA's GPUs.
    pub(crate) fn nvidia(source: &'static (dyn NvidiaSource + Sync)) -> Self {
        Self { outputs: Outputs::default(), kind: Kind::Nvidia(source) }
    }

    /// Its name for people.
    pub(crate) fn name(&self) -> &'static str {
        match self.kind {
            Kind::Memory => "memory",
            Kind::Power => "power",
            Kind::Heat => "heat",
            Kind::Load(..) => "load",
            Kind::Clock(_) => "clock",
            Kind::Pressure => "pressure",
            Kind::Nvidia(_) => "nvml",
        }
    }

    /// The time from the end of one read to the next: limits of clocks are policy and change seldom, and asking a GPU wakes it.
    pub(crate) fn pace(&self) -> Duration {
        match self.kind {
            Kind::Clock(_) => Duration::from_secs(15),
            Kind::Nvidia(_) => Duration::from_secs(10),
            _ => Duration::from_millis(4500),
        }
    }

    /// Whether the kernel's events about power and heat are about what it reads.
    pub(crate) fn is_rung(&self) -> bool {
        matches!(self.kind, Kind::Power | Kind::Heat)
    }

    /// Reads. `own_cpu` is the processor time that this agent's steps have used so far, all together.
    pub(crate) fn read(&mut self, root: &HostRoot, own_cpu: Duration) -> Part {
        let scan = Scan::with_outputs(root, self.outputs.clone());
        match &mut self.kind {
            Kind::Memory => Part::Memory(super::memory::read(&scan, &[]).available_bytes),
            Kind::Power => Part::Power(power::read(&scan)),
            Kind::Heat => Part::Heat(thermal::read(&scan)),
            Kind::Load(ticks, own) => Part::Load(foreign_load(&scan, (ticks, own), own_cpu)),
            Kind::Clock(throttles) => {
                let now = clock::read_throttle_count(&scan);
                let throttled = matches!((*throttles, now), (Some(before), Some(now)) if now > before);
                *throttles = now;
                // Whatever machine is played, steps really run here, within the limits of this process.
                Part::Clock(clock::read_cap(&scan, throttled), quota::share(&HostRoot::live()))
            }
            Kind::Pressure => Part::Pressure(pressure::read(&scan)),
            Kind::Nvidia(source) => Part::Nvidia(source.read_gpus().unwrap_or_default()),
        }
    }

    /// What is left of its part when it does not answer any more.
    pub(crate) fn silence(&self) -> Part {
        match self.kind {
            Kind::Memory => Part::Memory(None),
            Kind::Power => Part::Power(Power::default()),
            Kind::Heat => Part::Heat(Vec::new()),
            Kind::Load(..) => Part::Load(None),
            Kind::Clock(_) => Part::Clock(None, None),
            Kind::Pressure => Part::Pressure(Pressure { why: "the kernel has not answered".into(), ..Pressure::default() }),
            Kind::Nvidia(_) => Part::Nvidia(NvidiaReport::default()),
        }
    }
}

/// What one sensor read.
#[derive(Debug, Clone)]
pub(crate) enum Part {
    /// Memory that can be used without swapping, bytes.
    Memory(Option<u64>),
    /// What the machine runs on.
    Power(Power),
    /// Its temperatures.
    Heat(Vec<thermal::Reading>),
    /// The share of the processor that others use.
    Load(Option<f64>),
    /// The cap on clocks, and the share of the processors that cgroups allow.
    Clock(Option<f64>, Option<f64>),
    /// How long work waits.
    Pressure(Pressure),
    /// NVIDIA's GPUs.
    Nvidia(NvidiaReport),
}

/// The newest of each part.
#[derive(Debug, Clone, Default)]
pub(crate) struct Parts {
    memory_available_bytes: Option<u64>,
    power: Power,
    heat: Vec<thermal::Reading>,
    foreign_load: Option<f64>,
    clock_cap: Option<f64>,
    processor_share: Option<f64>,
    pressure: Pressure,
    nvidia: NvidiaReport,
}

impl Parts {
    /// Takes a part in.
    pub(crate) fn put(&mut self, part: Part) {
        match part {
            Part::Memory(bytes) => self.memory_available_bytes = bytes,
            Part::Power(power) => self.power = power,
            Part::Heat(heat) => self.heat = heat,
            Part::Load(load) => self.foreign_load = load,
            Part::Clock(cap, share) => (self.clock_cap, self.processor_share) = (cap, share),
            Part::Pressure(pressure) => self.pressure = pressure,
            Part::Nvidia(report) => self.nvidia = report,
        }
    }

    /// All parts together. Round-trip times and loaded containers are other parts' business and stay empty.
    pub(crate) fn readings(&self) -> Readings {
        let mut sensors = self.heat.clone();
        sensors.extend(super::nvml::readings(&self.nvidia));
        Readings {
            memory_available_bytes: self.memory_available_bytes,
            foreign_load: self.foreign_load,
            clock_cap: lower(self.clock_cap, super::nvml::clock_cap(&self.nvidia)),
            processor_share: self.processor_share,
            power: self.power.source,
            battery_percent: self.power.battery_percent,
            charging: self.power.charging,
            max_c: thermal::hottest(&sensors).and_then(|reading| reading.sensor.c),
            critical_c: thermal::critical_c(&sensors),
            pressure: self.pressure.clone(),
            gpus: super::nvml::gpu_memory(&self.nvidia),
            ..Readings::default()
        }
    }
}

/// All sensors one after the other, for who reads a machine now and then.
#[derive(Debug)]
pub struct Sampler {
    sensors: Vec<Sensor>,
    parts: Parts,
}

impl Default for Sampler {
    fn default() -> Self {
        Self::new()
    }
}

impl Sampler {
    /// A sampler that has not read yet.
    pub fn new() -> Self {
        Self { sensors: Sensor::all(), parts: Parts::default() }
    }

    /// Lets the temperatures of NVIDIA's GPUs count too.
    #[must_use]
    pub fn with_nvidia(mut self, source: &'static (dyn NvidiaSource + Sync)) -> Self {
        self.sensors.push(Sensor::nvidia(source));
        self
    }

    /// Reads the machine. `own_cpu` is the processor time that this agent's steps have used so far, all together.
    pub fn sample(&mut self, root: &HostRoot, own_cpu: Duration) -> Readings {
        for sensor in &mut self.sensors {
            self.parts.put(sensor.read(root, own_cpu));
        }
        self.parts.readings()
    }
}

fn foreign_load(scan: &Scan<'_>, (ticks, own): (&mut Option<CpuTicks>, &mut Duration), own_cpu: Duration) -> Option<f64> {
    if !scan.root().is_live() {
        return load::read_load_average(scan);
    }
    let now = CpuTicks::read(scan);
    let spent = own_cpu.saturating_sub(*own);
    let load = ticks.zip(now).and_then(|(before, now)| load::foreign_load(before, now, spent));
    *ticks = now;
    *own = own_cpu;
    load
}

/// Whether the server should hear of it at once, and not with the next heartbeat: the cable was pulled or put in, or the node
/// may be given more or less than before.
pub fn is_urgent(told: &Readings, new: &Readings) -> bool {
    let level = |readings: &Readings| {
        let state = threshold::next(&GateState::default(), readings, ouro_common::clock::Instant(0));
        std::mem::discriminant::<Gate>(&state.gate)
    };
    told.power != new.power
        || told.charging != new.charging
        || told.draining.is_some() != new.draining.is_some()
        || level(told) != level(new)
}

/// Whether `new` differs from what was published last by more than noise.
///
/// Each value has a dead band; something becoming known or unknown always counts.
pub fn changed(published: &Readings, new: &Readings) -> bool {
    let memory = |r: &Readings| r.memory_available_bytes.map(|bytes| bytes as f64);
    let apart = |of: fn(&Readings) -> Option<f64>, band: f64| differ(of(published), of(new), band);
    // 5 % of what was free, but not less than 32 MiB.
    let memory_band = memory(published).map_or(0.0, |bytes| (0.05 * bytes).max(32.0 * 1024.0 * 1024.0));
    let rtt_band = published.rtt_ema_ms.map_or(0.0, |ms| (0.1 * ms).max(1.0));
    published.power != new.power
        || published.charging != new.charging
        || published.loaded != new.loaded
        || published.draining != new.draining
        || published.warnings != new.warnings
        || differ(memory(published), memory(new), memory_band)
        || apart(|r| r.foreign_load, 0.05)
        || apart(|r| r.clock_cap, 0.05)
        || differ(published.processor_share, new.processor_share, 0.1 * published.processor_share.unwrap_or(0.0))
        || apart(|r| r.battery_percent, 0.5)
        || apart(|r| r.max_c, 2.0)
        || apart(|r| r.critical_c, 1.0)
        || apart(|r| waited(r.pressure.cpu), 5.0)
        || apart(|r| waited(r.pressure.memory), 5.0)
        || apart(|r| waited(r.pressure.io), 5.0)
        || differ(published.rtt_ema_ms, new.rtt_ema_ms, rtt_band)
        || differ(published.rtt_var_ms, new.rtt_var_ms, rtt_band)
}

/// What the kernel smooths over a minute: ten seconds of waiting are nothing to publish.
fn waited(stall: Option<Stall>) -> Option<f64> {
    stall.map(|stall| stall.some.avg60_percent)
}

/// The lower of two caps, where either may be unknown.
fn lower(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    [a, b].into_iter().flatten().min_by(f64::total_cmp)
}

fn differ(a: Option<f64>, b: Option<f64>, band: f64) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => (a - b).abs() > band,
        (None, None) => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sensing::nvml::{NvidiaGpu, NvidiaReport};
    use ouro_common::device::PowerSource;

    #[test]
    fn noise_is_not_published_and_changes_are() {
        let base = Readings {
            memory_available_bytes: Some(8 << 30),
            foreign_load: Some(0.20),
            max_c: Some(60.0),
            battery_percent: Some(50.0),
            rtt_ema_ms: Some(20.0),
            ..Readings::default()
        };
        let noise = Readings {
            memory_available_bytes: Some((8 << 30) - (100 << 20)),
            foreign_load: Some(0.23),
            max_c: Some(61.5),
            rtt_ema_ms: Some(21.0),
            ..base.clone()
        };
        assert!(!changed(&base, &base) && !changed(&base, &noise));
        for change in [
            Readings { memory_available_bytes: Some(7 << 30), ..base.clone() },
            Readings { foreign_load: Some(0.30), ..base.clone() },
            Readings { foreign_load: None, ..base.clone() },
            Readings { max_c: Some(63.0), ..base.clone() },
            Readings { power: PowerSource::Battery, ..base.clone() },
            Readings { charging: Some(true), ..base.clone() },
            Readings { battery_percent: Some(49.0), ..base.clone() },
            Readings { rtt_ema_ms: Some(25.0), ..base.clone() },
        ] {
            assert!(changed(&base, &change), "{change:?}");
        }
    }

    #[test]
    fn a_cable_and_a_threshold_are_urgent_and_a_degree_is_not() {
        let base = Readings {
            power: PowerSource::External,
            battery_percent: Some(80.0),
            charging: Some(true),
            max_c: Some(60.0),
            critical_c: Some(100.0),
            ..Readings::default()
        };
        let unplugged = Readings { power: PowerSource::Battery, charging: Some(false), ..base.clone() };
        for (change, urgent) in [
            (unplugged.clone(), true),
            (Readings { charging: Some(false), ..base.clone() }, true),
            (Readings { max_c: Some(61.0), foreign_load: Some(0.5), ..base.clone() }, false),
            (Readings { max_c: Some(96.0), ..base.clone() }, true),
            (Readings { foreign_load: Some(0.99), ..base.clone() }, true),
        ] {
            assert_eq!(is_urgent(&base, &change), urgent, "{change:?}");
        }
        let low = Readings { battery_percent: Some(19.0), ..unplugged.clone() };
        assert!(is_urgent(&unplugged, &low), "at 19 % it gets nothing new");
        assert!(!is_urgent(&unplugged, &Readings { battery_percent: Some(60.0), ..unplugged.clone() }));
    }

    #[test]
    fn a_hot_gpu_counts_with_its_own_limit() {
        let dir = tempfile::tempdir().unwrap();
        let gpu = NvidiaGpu {
            address: "0000:01:00.0".into(),
            temperature_c: Some(88.0),
            slowdown_c: Some(92.0),
            ..NvidiaGpu::default()
        };
        let report: &'static NvidiaReport = Box::leak(Box::new(NvidiaReport { gpus: vec![gpu], ..NvidiaReport::default() }));
        let readings = Sampler::new().with_nvidia(report).sample(&HostRoot::recorded(dir.path()), Duration::ZERO);
        assert_eq!((readings.max_c, readings.critical_c), (Some(88.0), Some(92.0)));
    }

    #[test]
    fn the_live_machine_can_be_sampled() {
        let mut sampler = Sampler::new();
        let root = HostRoot::live();
        let first = sampler.sample(&root, Duration::ZERO);
        assert_eq!(first.foreign_load, None, "one reading is no difference");
        assert!(first.memory_available_bytes.is_some_and(|bytes| bytes > 0));
    }
}
