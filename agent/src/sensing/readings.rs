//! The values that change: read with every heartbeat, published only when they really changed.
//!
//! On a recorded root the same files are read and stay what they were; shares of the processor then come from the load
//! average, since two reads of a recording have no difference.

use super::host_root::HostRoot;
use super::nvml::NvidiaSource;
use super::scan::Scan;
use super::{power, thermal};
use load::CpuTicks;
use ouro_common::device::Readings;
use std::time::Duration;

mod clock;
pub(crate) mod load;

/// Takes readings; it remembers the counters of the last time.
#[derive(Default)]
pub struct Sampler {
    nvidia: Option<Box<dyn NvidiaSource + Send>>,
    ticks: Option<CpuTicks>,
    own_cpu: Duration,
    throttles: Option<u64>,
}

impl std::fmt::Debug for Sampler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sampler")
            .field("ticks", &self.ticks)
            .field("throttles", &self.throttles)
            .finish_non_exhaustive()
    }
}

impl Sampler {
    /// A sampler that has not read yet: its first foreign load is unknown on a live machine.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets the temperatures of NVIDIA's GPUs count too.
    #[must_use]
    pub fn with_nvidia(mut self, source: impl NvidiaSource + Send + 'static) -> Self {
        self.nvidia = Some(Box::new(source));
        self
    }

    /// Reads the machine. `own_cpu` is the processor time that this agent's steps have used so far, all together.
    ///
    /// Round-trip times and loaded containers are other parts' business and stay empty.
    pub fn sample(&mut self, root: &HostRoot, own_cpu: Duration) -> Readings {
        let scan = Scan::new(root);
        let memory = super::memory::read(&scan, &[]);
        let power = power::read(&scan);
        let mut sensors = thermal::read(&scan);
        let nvidia = self.nvidia.as_ref().and_then(|source| source.read_gpus().ok()).unwrap_or_default();
        sensors.extend(super::nvml::readings(&nvidia));
        let foreign_load = self.foreign_load(&scan, own_cpu);
        let throttles = clock::read_throttle_count(&scan);
        let throttled = matches!((self.throttles, throttles), (Some(before), Some(now)) if now > before);
        self.throttles = throttles;
        Readings {
            memory_available_bytes: memory.available_bytes,
            foreign_load,
            clock_cap: lower(clock::read_cap(&scan, throttled), super::nvml::clock_cap(&nvidia)),
            power: power.source,
            battery_percent: power.battery_percent,
            charging: power.charging,
            max_c: thermal::hottest(&sensors).and_then(|reading| reading.sensor.c),
            critical_c: thermal::critical_c(&sensors),
            ..Readings::default()
        }
    }

    fn foreign_load(&mut self, scan: &Scan<'_>, own_cpu: Duration) -> Option<f64> {
        if !scan.root().is_live() {
            return load::read_load_average(scan);
        }
        let now = CpuTicks::read(scan);
        let own = own_cpu.saturating_sub(self.own_cpu);
        let load = self.ticks.zip(now).and_then(|(before, now)| load::foreign_load(before, now, own));
        self.ticks = now;
        self.own_cpu = own_cpu;
        load
    }
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
        || differ(memory(published), memory(new), memory_band)
        || apart(|r| r.foreign_load, 0.05)
        || apart(|r| r.clock_cap, 0.05)
        || apart(|r| r.battery_percent, 0.5)
        || apart(|r| r.max_c, 2.0)
        || apart(|r| r.critical_c, 1.0)
        || differ(published.rtt_ema_ms, new.rtt_ema_ms, rtt_band)
        || differ(published.rtt_var_ms, new.rtt_var_ms, rtt_band)
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
    fn a_hot_gpu_counts_with_its_own_limit() {
        let dir = tempfile::tempdir().unwrap();
        let gpu = NvidiaGpu {
            address: "0000:01:00.0".into(),
            temperature_c: Some(88.0),
            slowdown_c: Some(92.0),
            ..NvidiaGpu::default()
        };
        let report = NvidiaReport { gpus: vec![gpu], ..NvidiaReport::default() };
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
