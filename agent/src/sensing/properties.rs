//! Every parser against anything: bytes, fragments of what kernels write, NUL padding, long runs.
//!
//! Each property runs for a share of `OURO_FUZZ_SECONDS` (five seconds without it) and says how many cases it had.

use super::memory::{count_list, count_mask};
use super::nvml::{self, NvidiaGpu, NvidiaReport};
use super::pcie::link::parse_speed;
use super::power::{android, supply};
use super::readings::load::CpuTicks;
use super::thermal::trust;
use super::{cpu, host_root, kind, memory, nvme, pcie, power, pressure, scan};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseResult, TestRunner};
use std::io::Write;
use std::time::{Duration, Instant};

/// What kernels and vendors write, whole and in part; put together at random it is legal nearly as often as not.
const FRAGMENTS: &[&str] = &[
    "\n",
    " ",
    "\t",
    ":",
    "=",
    ",",
    "-",
    "\r\n",
    "0",
    "1",
    "-1",
    "63",
    "255",
    "4294967295",
    "18446744073709551616",
    "1e400",
    "NaN",
    "inf",
    "0x",
    "0xffffffff",
    "Unknown",
    "8.0 GT/s PCIe",
    "2.5 GT/s",
    "GT/s",
    "Node 0 ",
    "MemTotal:",
    "MemAvailable: 5 kB",
    "kB",
    "processor\t: ",
    "physical id\t: ",
    "core id\t\t: ",
    "flags\t\t: fpu lm avx2",
    "Features\t: asimd sve",
    "CPU implementer\t: 0x41",
    "CPU part\t: 0xd0b",
    "CPU architecture: 8",
    "cpu\t\t: POWER9, altivec supported",
    "isa\t: rv64",
    "vendor_id : IBM/S390",
    "# processors : ",
    "uarch\t: sifive,u74-mc",
    "00000000,0000ffff",
    "cpu  1 2 3 4 5 6 7 8",
    "0-7",
    "16-23",
    "Current Battery Service state:\n",
    "  level: ",
    "  scale: ",
    "  status: 2\n",
    "USB powered: true\n",
    "  temperature: 305\n",
    "[Log]\n",
    "{\"percentage\": 50",
    "\"plugged\": \"UNPLUGGED\"",
    "\"temperature\": 1e308",
    "}",
    "{",
    "some avg10=0.00 avg60=1.50 avg300=0.00 total=7\n",
    "full avg10=",
    "avg60=101 ",
    "total=18446744073709551615",
    "\x11\x12\0\0\0\0\0\0\x40\0\x40\0\0\x20\0\0\x01\x02P0 CHANNEL A\0DIMM_B1\0\0",
    "0000:01:00.0",
    "10000:e1:00.0",
    "pci0000:00",
    "nvme0",
    "nvme-subsys0",
    "00:11:22:33:44:55",
    "00-11-22-33-44-55-66-77",
    "10.0.0.1",
    "fe80::1",
    "deadbeef-1111-2222-3333-444455556666",
    "a@b",
    "Serial : x",
    "SERIAL=",
    "é",
    "\u{202e}",
    "🔥",
];

fn anything() -> impl Strategy<Value = Vec<u8>> {
    let fragments = || prop::collection::vec(prop::sample::select(FRAGMENTS), 0..24).prop_map(|parts| parts.concat().into_bytes());
    let padded = (fragments(), 0usize..5000).prop_map(|(mut bytes, zeros)| {
        bytes.resize(bytes.len() + zeros, 0);
        bytes
    });
    let run = (prop::sample::select(FRAGMENTS), 0usize..3000).prop_map(|(part, times)| part.repeat(times).into_bytes());
    prop_oneof![4 => prop::collection::vec(any::<u8>(), 0..300), 8 => fragments(), 1 => padded, 1 => run]
}

/// As [`scan::Scan`] hands it to a parser.
fn as_text(bytes: &[u8]) -> String {
    scan::clean(bytes)
}

type Property = fn(&[u8]) -> TestCaseResult;

const PROPERTIES: &[(&str, Property)] = &[
    ("cpuinfo", |bytes| {
        let reading = cpu::parse(&as_text(bytes));
        prop_assert!(reading.cpu.logical != Some(0) && reading.cpu.physical != Some(0));
        Ok(())
    }),
    ("meminfo", |bytes| {
        let table = as_text(bytes);
        let total = memory::field(&table, "MemTotal");
        prop_assert!(total.is_none() || table.contains("MemTotal"));
        Ok(())
    }),
    ("kernel list", |bytes| {
        let text = as_text(bytes);
        prop_assert!(count_list(&text).is_none_or(|count| count > 0 || !text.bytes().any(|b| b.is_ascii_digit())));
        Ok(())
    }),
    ("kernel mask", |bytes| {
        let text = as_text(bytes);
        prop_assert!(count_mask(&text).is_none_or(|count| usize::try_from(count).unwrap() <= 4 * text.len()));
        Ok(())
    }),
    ("link speed", |bytes| {
        prop_assert!(parse_speed(&as_text(bytes)).is_none_or(|speed| (2.5..=64.0).contains(&speed)));
        Ok(())
    }),
    ("PCI address and id", |bytes| {
        let text = as_text(bytes);
        prop_assert!(!pcie::is_address(&text) || text.len() >= 12);
        let _id = pcie::parse_hex(&text);
        Ok(())
    }),
    ("NVMe name", |bytes| {
        let text = as_text(bytes);
        prop_assert!(nvme::controller_number(&text).is_none() || text.starts_with("nvme"));
        Ok(())
    }),
    ("supply status", |bytes| {
        let status = supply::Status::parse(&as_text(bytes));
        prop_assert_eq!(supply::Status::parse(status.text()), status);
        Ok(())
    }),
    ("termux-battery-status", |bytes| phone(android::parse_termux(&as_text(bytes)))),
    ("dumpsys battery", |bytes| phone(android::parse_dumpsys(&as_text(bytes)))),
    ("processor ticks", |bytes| {
        if let Some(ticks) = CpuTicks::parse(&as_text(bytes)) {
            prop_assert_eq!(super::readings::load::foreign_load(ticks, ticks, Duration::ZERO), None);
        }
        Ok(())
    }),
    ("temperature", |bytes| {
        let text = as_text(bytes);
        let c = text.parse::<f64>().ok();
        let (trusted, why) = trust::judge(&text, &text, c);
        prop_assert!(!why.is_empty() && (!trusted || c.is_some_and(|c| (1.0..=125.0).contains(&c))));
        prop_assert!(trust::cpu_rank(&text, &text) <= 3);
        Ok(())
    }),
    ("firmware's table of modules", |bytes| {
        let modules = memory::modules::parse(bytes);
        let most = memory::modules::conclude(&modules);
        prop_assert!(!most.why.is_empty() && most.bytes_per_s.is_none_or(|rate| rate > 0.0 && rate.is_finite()));
        let kept = memory::modules::without_secrets(bytes);
        prop_assert_eq!(memory::modules::parse(&kept).len(), modules.len());
        Ok(())
    }),
    ("pressure", |bytes| {
        if let Some(stall) = pressure::parse(&as_text(bytes)) {
            let shares = |time: ouro_common::device::StallTime| [time.avg10_percent, time.avg60_percent, time.avg300_percent];
            let shares = shares(stall.some).into_iter().chain(stall.full.into_iter().flat_map(shares));
            prop_assert!(shares.into_iter().all(|share| (0.0..=100.0).contains(&share)));
        }
        Ok(())
    }),
    ("chassis", |bytes| {
        let _kind = as_text(bytes).parse().ok().and_then(kind::kind_of_chassis);
        Ok(())
    }),
    ("names in order", |bytes| {
        let text = as_text(bytes);
        let longer = text.clone() + "x";
        prop_assert!(host_root::natural_key(&text) <= host_root::natural_key(&longer));
        Ok(())
    }),
    ("NVML's answers", |bytes| {
        let text = as_text(bytes);
        let number = bytes.iter().fold(0u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(*byte)));
        let gpu = NvidiaGpu {
            address: text.clone(),
            temperature_c: text.parse().ok(),
            current_link: Some((number, number >> 8)),
            max_link: Some((number & 7, number & 31)),
            ..NvidiaGpu::default()
        };
        let (report, mut accelerators) = (NvidiaReport { gpus: vec![gpu.clone(), gpu], driver_version: None }, Vec::new());
        nvml::merge(&report, &mut accelerators, &mut []);
        prop_assert_eq!(accelerators.len(), 1, "one address is one GPU");
        prop_assert!(nvml::readings(&report).all(|reading| !reading.sensor.trusted || reading.sensor.c.is_some()));
        Ok(())
    }),
];

fn phone(parsed: Option<android::PhoneBattery>) -> TestCaseResult {
    if let Some(phone) = parsed {
        let power = power::conclude(&phone.supplies);
        prop_assert!(power.battery_percent.is_none_or(|percent| (0.0..=100.0).contains(&percent)));
        prop_assert!(serde_json::to_string(&power).is_ok());
    }
    Ok(())
}

/// How long all properties together may take.
pub(crate) fn fuzz_time() -> Duration {
    let seconds = std::env::var("OURO_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs_f64(seconds.filter(|s: &f64| s.is_finite() && *s > 0.0).unwrap_or(5.0))
}

/// Runs a property until its time is over, and says how far it came.
pub(crate) fn fuzz(name: &str, time: Duration, property: impl Fn(&[u8]) -> TestCaseResult) {
    let started = Instant::now();
    let mut cases = 0u64;
    while started.elapsed() < time || cases == 0 {
        const BATCH: u32 = 64;
        let mut runner = TestRunner::new(Config { cases: BATCH, failure_persistence: None, ..Config::default() });
        if let Err(error) = runner.run(&anything(), |bytes| property(&bytes)) {
            panic!("{name}: {error}");
        }
        cases += u64::from(BATCH);
    }
    let rate = cases as f64 / started.elapsed().as_secs_f64();
    std::io::stderr().write_all(format!("{name}: {cases} cases, {rate:.0} a second\n").as_bytes()).unwrap();
}

#[test]
fn every_parser_survives_anything() {
    let share = fuzz_time() / u32::try_from(PROPERTIES.len()).unwrap();
    for (name, property) in PROPERTIES {
        fuzz(name, share, property);
    }
}
