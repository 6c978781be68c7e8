//! How busy others keep the processor: `/proc/stat`, less what this agent's own steps used.

use crate::sensing::scan::Scan;
use std::time::Duration;

/// `/proc/stat` counts in hundredths of a second on every architecture Linux supports (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// Counters of all processors together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CpuTicks {
    busy: u64,
    total: u64,
}

impl CpuTicks {
    pub(crate) fn read(scan: &Scan<'_>) -> Option<Self> {
        Self::parse(&scan.table(&scan.proc("stat"))?)
    }

    /// The line `cpu  user nice system idle iowait irq softirq steal guest guest_nice`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
        // Guest time is already in user time, so only the first eight count.
        let values: Vec<u64> = line.split_whitespace().take(8).map_while(|value| value.parse().ok()).collect();
        if values.len() < 4 {
            return None;
        }
        let total = values.iter().fold(0u64, |sum, value| sum.saturating_add(*value));
        let idle = values[3].saturating_add(values.get(4).copied().unwrap_or(0));
        Some(Self { busy: total.saturating_sub(idle), total })
    }
}

/// The share that others used between two readings; `None` where no time has passed.
pub(crate) fn foreign_load(before: CpuTicks, now: CpuTicks, own_cpu: Duration) -> Option<f64> {
    let total = now.total.checked_sub(before.total).filter(|ticks| *ticks > 0)? as f64;
    let busy = now.busy.saturating_sub(before.busy) as f64;
    let foreign = busy - own_cpu.as_secs_f64() * TICKS_PER_SECOND;
    Some((foreign / total).clamp(0.0, 1.0))
}

/// The load average over one minute per processor: all that a recorded machine can say.
pub(crate) fn read_load_average(scan: &Scan<'_>) -> Option<f64> {
    let text = scan.text(&scan.proc("loadavg"))?;
    let average: f64 = text.split_whitespace().next()?.parse().ok()?;
    let processors = crate::sensing::cpu::read(scan).cpu.logical.filter(|count| *count > 0)?;
    let share = average / f64::from(processors);
    share.is_finite().then(|| share.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_steps_are_no_foreign_load() {
        let before = CpuTicks::parse("cpu  100 0 100 800 0 0 0 0 50 0\ncpu0 1 2 3 4\n").unwrap();
        let now = CpuTicks::parse("cpu  150 0 110 830 10 0 0 0 90 0\n").unwrap();
        // 100 ticks passed, 60 of them busy, 40 of those ours.
        assert_eq!(foreign_load(before, now, Duration::from_millis(400)), Some(0.2));
        assert_eq!(foreign_load(before, now, Duration::from_secs(9)), Some(0.0));
        assert_eq!(foreign_load(now, now, Duration::ZERO), None);
        assert_eq!(foreign_load(now, before, Duration::ZERO), None, "counters never run backwards");
        assert_eq!(CpuTicks::parse("cpu  1 2\n"), None);
    }
}
