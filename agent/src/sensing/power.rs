//! What the machine runs on, concluded from its power supplies.
//!
//! `external` needs evidence: a supply that is online, or a system battery that charges or is full. `battery` needs a
//! system battery that discharges. Everything else is `unknown`: not charging is not discharging, and a machine without
//! any supply has not said that it runs on a battery.

use super::scan::Scan;
use ouro_common::device::{Power, PowerSource};
use supply::{Role, Status, Supply};

pub(crate) mod android;
pub(crate) mod supply;

/// Reads and concludes.
pub(crate) fn read(scan: &Scan<'_>) -> Power {
    // An app on Android may not read sysfs; where the phone's own answer was recorded, it counts.
    if let Some(phone) = android::read(scan) {
        return conclude(&phone.supplies);
    }
    let supplies = supply::read_all(scan);
    conclude(&supplies)
}

/// The rules.
pub(crate) fn conclude(supplies: &[Supply]) -> Power {
    let batteries: Vec<&Supply> = supplies.iter().filter(|s| s.role == Role::SystemBattery).collect();
    let (source, why) = source(supplies, &batteries);
    Power {
        source,
        battery_percent: percent(&batteries),
        charging: charging(&batteries),
        why,
        supplies: supplies.iter().map(Supply::to_report).collect(),
    }
}

fn source(supplies: &[Supply], batteries: &[&Supply]) -> (PowerSource, String) {
    let online = |role: Role| supplies.iter().find(|s| s.role == role && s.online == Some(true));
    let mains = online(Role::Mains);
    let usb = online(Role::UsbCharger);
    let with = |status: Status| batteries.iter().find(|b| b.status == status);
    // A weak charger can be online while the battery drains, and USB-C ports keep a stale "online" after unplugging: a
    // battery that discharges outweighs USB, but not a mains adapter.
    if let Some(adapter) = mains {
        let drains = if with(Status::Discharging).is_some() { ", though a battery discharges" } else { "" };
        return (PowerSource::External, format!("{} is online{drains}", adapter.name));
    }
    if let Some(battery) = with(Status::Charging) {
        return (PowerSource::External, format!("{} charges", battery.name));
    }
    if let Some(battery) = with(Status::Discharging) {
        let stale = usb.map(|s| format!(", though {} says that it is online", s.name)).unwrap_or_default();
        return (PowerSource::Battery, format!("{} discharges{stale}", battery.name));
    }
    if let Some(charger) = usb {
        return (PowerSource::External, format!("{} is online", charger.name));
    }
    if let Some(battery) = with(Status::Full) {
        return (PowerSource::External, format!("{} is full and does not discharge", battery.name));
    }
    let why = match batteries {
        [] if supplies.is_empty() => "no power supply is listed: mains, or nobody knows".to_string(),
        [] => "no battery and no charger of the machine itself is listed: mains, or nobody knows".to_string(),
        [battery, ..] if battery.status == Status::NotCharging => {
            format!("{} does not charge, and no supply is online: that is no proof of either", battery.name)
        }
        [battery, ..] => format!("the status of {} is unknown, and no supply is online", battery.name),
    };
    (PowerSource::Unknown, why)
}

fn charging(batteries: &[&Supply]) -> Option<bool> {
    if batteries.iter().any(|b| b.status == Status::Charging) {
        return Some(true);
    }
    (!batteries.is_empty() && batteries.iter().all(|b| b.status != Status::Unknown)).then_some(false)
}

/// The charge of all system batteries together, weighted by the energy they hold when full.
fn percent(batteries: &[&Supply]) -> Option<f64> {
    let one = |battery: &Supply| battery.capacity.or_else(|| battery.energy.map(|(now, full)| 100.0 * now / full));
    let value = match batteries {
        [] => return None,
        [battery] => one(battery)?,
        several => {
            let energies: Option<Vec<(f64, f64)>> = several.iter().map(|b| b.energy).collect();
            match energies {
                Some(energies) => 100.0 * energies.iter().map(|e| e.0).sum::<f64>() / energies.iter().map(|e| e.1).sum::<f64>(),
                None => {
                    let known: Vec<f64> = several.iter().filter_map(|b| one(b)).collect();
                    if known.is_empty() {
                        return None;
                    }
                    known.iter().sum::<f64>() / f64::from(u32::try_from(known.len()).unwrap_or(u32::MAX))
                }
            }
        }
    };
    Some((value.clamp(0.0, 100.0) * 10.0).round() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn battery(name: &str, status: Status, energy: Option<(f64, f64)>, capacity: Option<f64>) -> Supply {
        Supply { name: name.into(), role: Role::SystemBattery, status, energy, capacity, ..Supply::default() }
    }
    fn charger(name: &str, role: Role, online: bool) -> Supply {
        Supply { name: name.into(), role, online: Some(online), ..Supply::default() }
    }

    #[test]
    fn batteries_are_weighted_by_energy() {
        let big = battery("BAT1", Status::NotCharging, Some((4.57, 66.22)), Some(7.0));
        let small = battery("BAT0", Status::NotCharging, Some((14.27, 17.94)), Some(80.0));
        let power = conclude(&[small, big]);
        assert_eq!(power.battery_percent, Some(22.4));
        assert_eq!(power.source, PowerSource::Unknown, "not charging is not discharging");
        assert_eq!(power.charging, Some(false));
    }

    #[test]
    fn discharging_outweighs_usb_and_mains_outweighs_discharging() {
        let drains = || battery("BAT0", Status::Discharging, None, Some(50.0));
        let source = |supplies: &[Supply]| conclude(supplies).source;
        assert_eq!(
            source(&[drains(), charger("usb", Role::UsbCharger, true), charger("AC", Role::Mains, false)]),
            PowerSource::Battery
        );
        assert_eq!(source(&[drains(), charger("AC", Role::Mains, true)]), PowerSource::External);
        assert_eq!(source(&[drains()]), PowerSource::Battery);
        assert_eq!(
            source(&[battery("BAT0", Status::NotCharging, None, None), charger("usb", Role::UsbCharger, true)]),
            PowerSource::External
        );
        assert_eq!(source(&[battery("BAT0", Status::Full, None, None)]), PowerSource::External);
        assert_eq!(source(&[battery("BAT0", Status::Charging, None, None)]), PowerSource::External);
        assert_eq!(source(&[battery("BAT0", Status::Unknown, None, None)]), PowerSource::Unknown);
        assert_eq!(source(&[charger("ucsi", Role::UsbCharger, false)]), PowerSource::Unknown);
        assert_eq!(source(&[]), PowerSource::Unknown);
    }
}
