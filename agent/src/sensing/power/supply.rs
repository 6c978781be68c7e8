//! One entry of `class/power_supply` (kernel ABI `sysfs-class-power`), and what part it plays for the machine.
//!
//! Names say nothing (`BAT1`, `macsmc-battery`, `CMB0`, `dc`): the `type` decides. Batteries of mice, headsets and pens are
//! `scope=Device`, or at least sit on a peripheral bus; a slot without a battery is `present=0` and may still say 100 %.

use crate::sensing::host_root::Place;
use crate::sensing::scan::Scan;
use ouro_common::device::PowerSupply;

/// What an entry is to the machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Role {
    /// A battery that the machine itself runs on.
    SystemBattery,
    /// A mains adapter.
    Mains,
    /// A USB or wireless charger, whose `online` can be stale.
    UsbCharger,
    /// Anything else: it is listed and never counts.
    #[default]
    Other,
}

/// What a battery does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Status {
    Charging,
    Discharging,
    NotCharging,
    Full,
    #[default]
    Unknown,
}

impl Status {
    pub(crate) fn parse(text: &str) -> Self {
        match text.trim().to_ascii_lowercase().replace(['_', '-'], " ").as_str() {
            "charging" => Self::Charging,
            "discharging" => Self::Discharging,
            "not charging" => Self::NotCharging,
            "full" => Self::Full,
            _ => Self::Unknown,
        }
    }

    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Charging => "Charging",
            Self::Discharging => "Discharging",
            Self::NotCharging => "Not charging",
            Self::Full => "Full",
            Self::Unknown => "Unknown",
        }
    }
}

/// An entry as read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Supply {
    pub(crate) name: String,
    /// Where it was read.
    pub(crate) path: String,
    pub(crate) kind: Option<String>,
    pub(crate) scope: Option<String>,
    pub(crate) online: Option<bool>,
    pub(crate) status: Status,
    /// Charge in percent as the entry says.
    pub(crate) capacity: Option<f64>,
    /// Energy now and when full, in Wh.
    pub(crate) energy: Option<(f64, f64)>,
    pub(crate) role: Role,
    /// Why the role.
    pub(crate) why: String,
}

impl Supply {
    pub(crate) fn to_report(&self) -> PowerSupply {
        let battery = self.kind.as_deref() == Some("Battery") || self.role == Role::SystemBattery;
        let percent = self.capacity.or_else(|| self.energy.map(|(now, full)| 100.0 * now / full));
        PowerSupply {
            name: self.name.clone(),
            kind: self.kind.clone(),
            scope: self.scope.clone(),
            online: self.online,
            status: (battery || self.status != Status::Unknown).then(|| self.status.text().to_string()),
            percent: percent.map(|p| (p * 10.0).round() / 10.0),
            counts: self.role != Role::Other,
            why: self.why.clone(),
            path: self.path.clone(),
        }
    }
}

/// All entries, by name.
pub(crate) fn read_all(scan: &Scan<'_>) -> Vec<Supply> {
    let directory = scan.sys("class/power_supply");
    scan.names(&directory).iter().map(|name| read_one(scan, &directory.join(name))).collect()
}

/// Attributes from files, or from the uevent where the recording lacks the file.
struct Attributes<'s> {
    scan: &'s Scan<'s>,
    place: &'s Place,
}

impl Attributes<'_> {
    fn text(&self, name: &str) -> Option<String> {
        let uevent = || self.scan.uevent(self.place, &format!("POWER_SUPPLY_{}", name.to_ascii_uppercase()));
        self.scan.text(&self.place.join(name)).or_else(uevent)
    }
    fn number(&self, name: &str) -> Option<f64> {
        self.text(name)?.parse().ok().filter(|value: &f64| value.is_finite())
    }
    fn flag(&self, name: &str) -> Option<bool> {
        self.number(name).map(|value| value > 0.0)
    }
}

fn read_one(scan: &Scan<'_>, place: &Place) -> Supply {
    let attributes = Attributes { scan, place };
    let capacity = attributes
        .number("capacity")
        .filter(|percent| (0.0..=110.0).contains(percent))
        .map(|percent| percent.min(100.0));
    let mut supply = Supply {
        name: place.name().to_string(),
        path: place.to_string(),
        kind: attributes.text("type"),
        scope: attributes.text("scope"),
        online: attributes.flag("online"),
        status: attributes.text("status").map_or(Status::Unknown, |text| Status::parse(&text)),
        capacity,
        energy: energy_wh(&attributes),
        ..Supply::default()
    };
    let has_status = attributes.text("status").is_some();
    let (role, why) = role(&supply, has_status, attributes.flag("present"), is_on_peripheral_bus(scan, place));
    supply.role = role;
    supply.why = why.to_string();
    if role == Role::SystemBattery {
        warn_of_contradiction(scan, place, supply.capacity);
    }
    supply
}

fn role(supply: &Supply, has_status: bool, present: Option<bool>, on_peripheral_bus: bool) -> (Role, &'static str) {
    let is_battery = match supply.kind.as_deref() {
        Some(kind) => kind.eq_ignore_ascii_case("battery"),
        None => has_status && (supply.capacity.is_some() || supply.energy.is_some()),
    };
    if supply.scope.as_deref().is_some_and(|scope| scope.eq_ignore_ascii_case("device")) {
        return (Role::Other, "belongs to a peripheral (scope=Device)");
    }
    if present == Some(false) {
        return (Role::Other, if is_battery { "an empty slot (present=0)" } else { "not connected (present=0)" });
    }
    if is_battery && supply.scope.is_none() && on_peripheral_bus {
        return (Role::Other, "sits on a peripheral bus");
    }
    if is_battery {
        return (Role::SystemBattery, "a battery of the machine");
    }
    match supply.kind.as_deref() {
        Some("Mains") if supply.online.is_some() => (Role::Mains, "an adapter of the machine"),
        Some(kind) if is_charger(kind) && supply.online.is_some() => (Role::UsbCharger, "a charger; online can be stale"),
        Some(kind) if kind == "Mains" || is_charger(kind) => (Role::Other, "does not say whether it is online"),
        Some("BMS") => (Role::Other, "a battery's gauge, not a battery"),
        None => (Role::Other, "no type, and not enough of a battery to be one"),
        Some(_) => (Role::Other, "a type that says nothing about the source"),
    }
}

/// `USB`, `USB_CDP`, `USB_DCP`, `USB_PD` …, `Wireless`, `Wipower`.
fn is_charger(kind: &str) -> bool {
    kind.starts_with("USB") || matches!(kind, "Wireless" | "Wipower")
}

/// Batteries of HID and Bluetooth devices before the kernel had `scope`.
fn is_on_peripheral_bus(scan: &Scan<'_>, place: &Place) -> bool {
    let Some(real) = scan.real(place) else { return false };
    let is_usb = |part: &str| part.strip_prefix("usb").is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    // HID devices are named BUS:VENDOR:PRODUCT.INSTANCE.
    let is_hid = |part: &str| part.len() == 19 && part.as_bytes()[4] == b':' && part.as_bytes()[9] == b':' && part.as_bytes()[14] == b'.';
    real.parts().any(|part| is_usb(part) || is_hid(part) || part == "bluetooth")
}

/// Energy now and when full, in Wh: from µWh, or from µAh at the battery's design voltage.
fn energy_wh(attributes: &Attributes<'_>) -> Option<(f64, f64)> {
    let pair = |now: &str, full: &str, scale: f64| Some((attributes.number(now)? * scale, attributes.number(full)? * scale));
    let volts = || {
        let raw = attributes.number("voltage_min_design").or_else(|| attributes.number("voltage_now"))?;
        // Some vendors write mV where the ABI says µV.
        [1e6, 1e3].into_iter().map(|unit| raw / unit).find(|v| (2.0..100.0).contains(v))
    };
    let energy = pair("energy_now", "energy_full", 1e-6);
    let (now, full) = energy.or_else(|| pair("charge_now", "charge_full", 1e-6 * volts()?))?;
    (full > 0.0 && (0.0..=1.2 * full).contains(&now)).then_some((now, full))
}

fn warn_of_contradiction(scan: &Scan<'_>, place: &Place, capacity: Option<f64>) {
    let said = scan.uevent(place, "POWER_SUPPLY_CAPACITY").and_then(|text| text.parse::<f64>().ok());
    if let (Some(file), Some(uevent)) = (capacity, said)
        && (file - uevent).abs() > 1.0
    {
        scan.warn(place, format!("capacity says {file} % and uevent {uevent} %; the attribute counts"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_kind(kind: Option<&str>) -> Supply {
        Supply { kind: kind.map(str::to_string), online: Some(true), capacity: Some(3.0), ..Supply::default() }
    }

    #[test]
    fn the_type_decides_and_peripherals_never_count() {
        let role_of = |supply: &Supply, present, peripheral| role(supply, true, present, peripheral).0;
        assert_eq!(role_of(&of_kind(Some("Battery")), None, false), Role::SystemBattery);
        assert_eq!(role_of(&of_kind(Some("Battery")), Some(false), false), Role::Other, "a ghost");
        assert_eq!(role_of(&of_kind(Some("Battery")), Some(true), true), Role::Other, "a mouse without scope");
        let mouse = Supply { scope: Some("Device".into()), ..of_kind(Some("Battery")) };
        assert_eq!(role_of(&mouse, Some(true), false), Role::Other);
        assert_eq!(role_of(&of_kind(Some("USB_CDP")), Some(true), false), Role::UsbCharger);
        for kind in ["USB", "USB_PD", "USB_DCP", "Wireless", "Wipower"] {
            assert_eq!(role_of(&of_kind(Some(kind)), None, false), Role::UsbCharger, "{kind}");
        }
        assert_eq!(role_of(&of_kind(Some("USB")), Some(false), false), Role::Other, "not connected");
        assert_eq!(role_of(&of_kind(Some("BMS")), None, false), Role::Other);
        assert_eq!(role_of(&of_kind(None), None, false), Role::SystemBattery, "no type, but status and capacity");
        assert_eq!(role(&of_kind(None), false, None, false).0, Role::Other);
    }

    #[test]
    fn charge_becomes_energy_at_the_design_voltage_whatever_its_unit() {
        let energy = |files: &[(&str, &str)]| {
            let dir = tempfile::tempdir().unwrap();
            let place = dir.path().join("sys/class/power_supply/BAT0");
            std::fs::create_dir_all(&place).unwrap();
            for (name, text) in files {
                std::fs::write(place.join(name), text).unwrap();
            }
            let root = crate::sensing::host_root::HostRoot::recorded(dir.path());
            let scan = Scan::new(&root);
            read_all(&scan)[0].energy.map(|(now, full)| (now.round(), full.round()))
        };
        let charge = [("charge_now", "2000000"), ("charge_full", "5000000")];
        let at = |volts: &'static str, name: &'static str| energy(&[charge[0], charge[1], (name, volts)]);
        assert_eq!(at("12000000", "voltage_min_design"), Some((24.0, 60.0)));
        assert_eq!(at("12000", "voltage_now"), Some((24.0, 60.0)), "some vendors write mV");
        assert_eq!(at("0", "voltage_now"), None);
        assert_eq!(energy(&[("energy_now", "30000000"), ("energy_full", "60000000")]), Some((30.0, 60.0)));
        assert_eq!(energy(&[("energy_now", "90000000"), ("energy_full", "60000000")]), None, "more than full");
    }
}
