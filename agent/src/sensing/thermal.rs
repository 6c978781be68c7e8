//! Temperatures: thermal zones (kernel ABI `sysfs-class-thermal`) and hwmon chips (`sysfs-class-hwmon`).
//!
//! A maximum over everything would be ruled by sensors that measure nothing, so each reading is judged first ([`trust`]);
//! what is not trusted is still listed. A sensor that cannot be read leaves the others as they are.

use super::host_root::Place;
use super::power::android;
use super::scan::Scan;
use ouro_common::device::{Sensor, Thermal};
use std::collections::BTreeSet;

pub(crate) mod trust;

/// A sensor, its limit, and whether it is the processor's.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    pub(crate) sensor: Sensor,
    /// Where the hardware shuts down, in °C.
    pub(crate) critical_c: Option<f64>,
    /// How directly it measures the processor; higher is better, 0 is not at all.
    pub(crate) cpu_rank: u8,
}

/// All temperatures found.
pub(crate) fn read(scan: &Scan<'_>) -> Vec<Reading> {
    let mut readings = read_zones(scan);
    for chip in chips(scan) {
        readings.extend(read_chip(scan, &chip));
    }
    if let Some(phone) = android::read(scan)
        && let Some(c) = phone.battery_c
    {
        let place = scan.root().top(phone.file);
        readings.push(reading(("battery", phone.file, &place), Some(c), trust::judge("battery", "", Some(c)), None));
    }
    readings
}

/// The report of `readings`.
pub(crate) fn report(readings: &[Reading]) -> Thermal {
    Thermal {
        max_c: hottest(readings).and_then(|r| r.sensor.c),
        cpu_c: cpu_c(readings),
        sensors: readings.iter().map(|r| r.sensor.clone()).collect(),
    }
}

/// The hottest trusted sensor.
pub(crate) fn hottest(readings: &[Reading]) -> Option<&Reading> {
    let trusted = readings.iter().filter(|r| r.sensor.trusted && r.sensor.c.is_some());
    trusted.max_by(|a, b| a.sensor.c.unwrap_or(f64::MIN).total_cmp(&b.sensor.c.unwrap_or(f64::MIN)))
}

/// Where the machine must stop: the hottest sensor's own limit, or else the processor's.
pub(crate) fn critical_c(readings: &[Reading]) -> Option<f64> {
    let cpu_limit = || {
        let limits = readings.iter().filter(|r| r.cpu_rank > 0).filter_map(|r| r.critical_c);
        limits.min_by(f64::total_cmp)
    };
    hottest(readings).and_then(|r| r.critical_c).or_else(cpu_limit)
}

/// The hottest of the sensors that measure the processor most directly.
fn cpu_c(readings: &[Reading]) -> Option<f64> {
    let cpu = || readings.iter().filter(|r| r.sensor.trusted && r.cpu_rank > 0);
    let best = cpu().map(|r| r.cpu_rank).max()?;
    cpu().filter(|r| r.cpu_rank == best).filter_map(|r| r.sensor.c).max_by(f64::total_cmp)
}

/// What a sensor is called, and where it was read.
type Named<'s> = (&'s str, &'s str, &'s Place);

fn reading((chip, label, place): Named<'_>, c: Option<f64>, (trusted, why): (bool, String), critical_c: Option<f64>) -> Reading {
    let cpu_rank = trust::cpu_rank(chip, label);
    Reading {
        sensor: Sensor { chip: chip.to_string(), label: label.to_string(), c, trusted, why, path: place.to_string() },
        critical_c,
        cpu_rank,
    }
}

/// Thermal zones; cooling devices share the directory.
fn read_zones(scan: &Scan<'_>) -> Vec<Reading> {
    let directory = scan.sys("class/thermal");
    let zones = scan.names(&directory).into_iter().filter(|name| name.starts_with("thermal_zone"));
    zones
        .filter_map(|name| {
            let place = directory.join(&name);
            let chip = scan.text(&place.join("type")).unwrap_or_else(|| name.clone());
            let c = scan.number::<f64>(&place.join("temp")).map(|milli| milli / 1000.0);
            if c.is_none() && !scan.exists(&place.join("temp")) {
                return None;
            }
            let (trusted, mut why) = trust::judge(&chip, "", c);
            if trusted && scan.text(&place.join("mode")).as_deref() == Some("disabled") {
                why.push_str("; the zone is disabled for cooling and still measures");
            }
            Some(reading((&chip, &name, &place), c, (trusted, why), zone_limit(scan, &place)))
        })
        .collect()
}

/// The zone's `critical` trip point.
fn zone_limit(scan: &Scan<'_>, zone: &Place) -> Option<f64> {
    let types = scan.names(zone).into_iter().filter(|name| name.starts_with("trip_point_") && name.ends_with("_type"));
    let critical = types.filter(|name| scan.text(&zone.join(name)).as_deref() == Some("critical"));
    let limits = critical.filter_map(|name| scan.number::<f64>(&zone.join(&name.replace("_type", "_temp"))));
    limits.filter_map(trust::plausible_limit).min_by(f64::total_cmp)
}

/// The directories that hold sensors, each once: hwmon's class, and the devices a recording may have kept without it.
fn chips(scan: &Scan<'_>) -> Vec<Place> {
    let mut places = Vec::new();
    let class = scan.sys("class/hwmon");
    places.extend(scan.names(&class).iter().filter(|name| is_hwmon(name)).map(|name| class.join(name)));
    for (class, inner) in [("class/nvme", ""), ("class/nvme", "device/hwmon"), ("class/drm", "device/hwmon")] {
        let class = scan.sys(class);
        for name in scan.names(&class).iter().filter(|name| !name.contains('-')) {
            let holder = class.join(name).join(inner);
            places.extend(scan.names(&holder).iter().filter(|name| is_hwmon(name)).map(|name| holder.join(name)));
        }
    }
    let mut seen = BTreeSet::new();
    places.retain(|place| scan.real(place).is_some_and(|real| seen.insert(real)));
    places
}

fn is_hwmon(name: &str) -> bool {
    name.strip_prefix("hwmon")
        .is_some_and(|number| number.bytes().all(|b| b.is_ascii_digit()) && !number.is_empty())
}

fn read_chip(scan: &Scan<'_>, chip: &Place) -> Vec<Reading> {
    let mut readings = Vec::new();
    // Drivers from before hwmon had directories of its own keep name and sensors in the device.
    for place in [chip.clone(), chip.join("device")] {
        let inputs: Vec<String> =
            scan.names(&place).into_iter().filter(|name| name.starts_with("temp") && name.ends_with("_input")).collect();
        if inputs.is_empty() {
            continue;
        }
        let name = scan.text(&chip.join("name")).or_else(|| scan.text(&chip.join("device/name")));
        let name = name.unwrap_or_else(|| chip.name().to_string());
        readings.extend(inputs.iter().map(|input| read_input(scan, &place, &name, input.trim_end_matches("_input"))));
    }
    readings
}

fn read_input(scan: &Scan<'_>, place: &Place, chip: &str, sensor: &str) -> Reading {
    let attribute = |suffix: &str| place.join(&format!("{sensor}_{suffix}"));
    let c = scan.number::<f64>(&attribute("input")).map(|milli| milli / 1000.0);
    let label = scan.text(&attribute("label")).unwrap_or_else(|| sensor.to_string());
    let fault = attribute("fault");
    let judged = if scan.exists(&fault) && scan.flag(&fault) == Some(true) {
        (false, "the chip reports a broken sensor".to_string())
    } else {
        trust::judge(chip, &label, c)
    };
    let limit = ["crit", "emergency"].iter().find_map(|suffix| {
        let place = attribute(suffix);
        scan.exists(&place).then(|| scan.number::<f64>(&place)).flatten().and_then(trust::plausible_limit)
    });
    reading((chip, &label, place), c, judged, limit)
}
