//! A round of sensors, each in a thread of its own: one that hangs or fails leaves a warning and the others as they are.
//!
//! A read in the kernel cannot be called back. The thread of a sensor that does not answer is left to itself and to the place
//! where it waits; what it would have said is unknown.

use super::host_root::{Current, HostRoot};
use super::scan::{Outputs, Scan, WARNING_LIMIT};
use ouro_common::device::Warning;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::time::Duration;

/// A sensor that takes longer has hung: the slowest of them, a phone's own command, ends after three seconds.
const BUDGET: Duration = Duration::from_secs(8);

/// The round in progress.
pub(super) struct Round {
    root: HostRoot,
    outputs: Outputs,
    warnings: Vec<Warning>,
    budget: Duration,
}

impl Round {
    /// A round over `root` that has not begun.
    pub(super) fn new(root: &HostRoot) -> Self {
        Self { root: root.clone(), outputs: Outputs::default(), warnings: Vec::new(), budget: BUDGET }
    }

    /// Reads one sensor: its default where it fails or hangs.
    pub(super) fn read<T: Default + Send + 'static>(&mut self, sensor: &str, read: impl FnOnce(&Scan<'_>) -> T + Send + 'static) -> T {
        let current = Current::default();
        let (root, outputs) = (self.root.clone().followed(current.clone()), self.outputs.clone());
        let (done, answer) = mpsc::sync_channel(1);
        let started = std::thread::Builder::new().name(sensor.to_string()).spawn(move || {
            let scan = Scan::with_outputs(&root, outputs);
            let value = catch_unwind(AssertUnwindSafe(|| read(&scan)));
            // Nobody hears an answer that comes too late.
            let _late = done.send((value, scan.into_warnings()));
        });
        if let Err(error) = started {
            self.warn(sensor, format!("this sensor was not read: no thread could be started ({error})"));
            return T::default();
        }
        match answer.recv_timeout(self.budget) {
            Ok((value, warnings)) => {
                warnings.into_iter().for_each(|warning| self.note(warning));
                value.unwrap_or_else(|_| {
                    self.warn(sensor, "this sensor failed; please report it with a snapshot of the machine");
                    T::default()
                })
            }
            Err(_) => {
                let place = current.place().map_or_else(|| sensor.to_string(), |place| place.to_string());
                self.warn(place, format!("has not answered for {} s; {sensor} is not known", self.budget.as_secs_f64()));
                T::default()
            }
        }
    }

    /// Notes a problem that no sensor found.
    pub(super) fn warn(&mut self, path: impl Into<String>, problem: impl Into<String>) {
        self.note(Warning { path: path.into(), problem: problem.into() });
    }

    fn note(&mut self, warning: Warning) {
        if self.warnings.len() < WARNING_LIMIT && !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    /// Ends the round.
    pub(super) fn into_warnings(self) -> Vec<Warning> {
        self.warnings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sensor_that_fails_or_hangs_takes_no_other_down() {
        let dir = tempfile::tempdir().unwrap();
        let mut round = Round { budget: Duration::from_secs(1), ..Round::new(&HostRoot::recorded(dir.path())) };
        let (hold, held) = mpsc::channel::<()>();
        let hung: u32 = round.read("hung", move |scan| {
            let _missing = scan.text(&scan.sys("class/slow/temp"));
            // Until the test lets go.
            let _released = held.recv();
            7
        });
        // What does answer may take its time on a busy machine.
        round.budget = Duration::from_secs(60);
        let failed: u32 = round.read("failed", |_| panic!("a fault of ours"));
        let well: u32 = round.read("well", |_| 7);
        drop(hold);
        assert_eq!((hung, failed, well), (0, 0, 7));
        let warnings = round.into_warnings();
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(
            warnings[0].path.ends_with("class/slow/temp") && warnings[0].problem.contains("has not answered"),
            "{warnings:?}"
        );
        assert!(warnings[1].problem.contains("this sensor failed"));
    }
}
