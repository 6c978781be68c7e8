//! Pressure stall information from `/proc/pressure` (kernel document `accounting/psi`).
//!
//! Three files, each of which may be missing: kernels before 4.20 have none, kernels built without PSI or started with `psi=0`
//! neither, Android forbids them to apps, and before 5.13 the processor's has no `full` line.

use super::scan::Scan;
use ouro_common::device::{Pressure, Stall, StallTime};

/// Reads what there is, and says why the rest is not known.
pub(crate) fn read(scan: &Scan<'_>) -> Pressure {
    let directory = scan.proc("pressure");
    let mut missing = Vec::new();
    let mut one = |name: &'static str| {
        let place = directory.join(name);
        let stall = scan.text(&place).and_then(|text| {
            let stall = parse(&text);
            if stall.is_none() {
                scan.warn(&place, "is not what the kernel writes there");
            }
            stall
        });
        if stall.is_none() {
            missing.push(name);
        }
        stall
    };
    let (cpu, memory, io) = (one("cpu"), one("memory"), one("io"));
    let why = match missing.as_slice() {
        [] => format!("read from {directory}"),
        [_, _, _] if !scan.exists(&directory) => {
            format!("there is no {directory}: the kernel is older than 4.20, or was built or started without PSI")
        }
        missing => format!("{directory} does not say it for {}", missing.join(" and ")),
    };
    Pressure { cpu, memory, io, why }
}

/// The lines `some avg10=0.00 avg60=0.00 avg300=0.00 total=0` and `full …`.
pub(crate) fn parse(text: &str) -> Option<Stall> {
    let line = |kind: &str| text.lines().find_map(|line| parse_line(line.trim().strip_prefix(kind)?));
    Some(Stall { some: line("some ")?, full: line("full ") })
}

fn parse_line(line: &str) -> Option<StallTime> {
    let value = |key: &str| line.split_whitespace().find_map(|part| part.strip_prefix(key)?.strip_prefix('='));
    let percent = |key: &str| value(key)?.parse::<f64>().ok().filter(|percent| (0.0..=100.0).contains(percent));
    Some(StallTime {
        avg10_percent: percent("avg10")?,
        avg60_percent: percent("avg60")?,
        avg300_percent: percent("avg300")?,
        total_us: value("total")?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sensing::host_root::HostRoot;

    #[test]
    fn both_lines_are_read_and_nonsense_is_not() {
        let stall = parse("some avg10=1.25 avg60=0.50 avg300=0.10 total=4711\nfull avg10=0.75 avg60=0.25 avg300=0.05 total=42\n").unwrap();
        assert_eq!((stall.some.avg10_percent, stall.some.total_us), (1.25, 4711));
        assert_eq!(stall.full.unwrap().avg300_percent, 0.05);
        let old = parse("some avg10=0.00 avg60=0.00 avg300=0.00 total=0").unwrap();
        assert_eq!(old.full, None, "the processor had no full line before Linux 5.13");
        for bad in [
            "",
            "some",
            "full avg10=0 avg60=0 avg300=0 total=0",
            "some avg10=NaN avg60=0 avg300=0 total=0",
            "some avg10=101 avg60=0 avg300=0 total=0",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_missing_has_its_reason() {
        let dir = tempfile::tempdir().unwrap();
        let root = HostRoot::recorded(dir.path());
        let none = read(&Scan::new(&root));
        assert!(none.cpu.is_none() && none.why.contains("older than 4.20"), "{}", none.why);
        std::fs::create_dir_all(dir.path().join("proc/pressure")).unwrap();
        for file in ["cpu", "memory"] {
            std::fs::write(dir.path().join("proc/pressure").join(file), "some avg10=2.00 avg60=1.00 avg300=0.00 total=9\n").unwrap();
        }
        let part = read(&Scan::new(&root));
        assert_eq!(part.cpu.unwrap().some.avg10_percent, 2.0);
        assert!(part.io.is_none() && part.why.ends_with("does not say it for io"), "{}", part.why);
    }
}
