//! A phone's own word on its battery: the output of `termux-battery-status`, or of `dumpsys battery`.
//!
//! On Android `plugged` decides, not the sign of the current, which differs between vendors. In dumpsys only the first block
//! counts: event logs after it repeat the keys with older values. `level` is divided by `scale`.

use super::supply::{Role, Status, Supply};
use crate::sensing::scan::Scan;

/// Where a recorded root keeps the output of `termux-battery-status`.
pub(crate) const TERMUX_FILE: &str = "termux-battery-status.json";
/// Where a recorded root keeps the output of `dumpsys battery`.
pub(crate) const DUMPSYS_FILE: &str = "dumpsys-battery.txt";

/// What the phone says.
#[derive(Debug, Clone)]
pub(crate) struct PhoneBattery {
    pub(crate) supplies: Vec<Supply>,
    /// The battery's temperature; 0.0 means that the phone does not know.
    pub(crate) battery_c: Option<f64>,
    /// The file it came from.
    pub(crate) file: &'static str,
}

/// Asks the phone, or reads what a recorded one said; `None` on everything else.
pub(crate) fn read(scan: &Scan<'_>) -> Option<PhoneBattery> {
    let sources = [
        (TERMUX_FILE, Some("termux-battery-status"), parse_termux as fn(&str) -> Option<PhoneBattery>),
        // An app may not run dumpsys, so only a recording has it.
        (DUMPSYS_FILE, None, parse_dumpsys),
    ];
    for (file, command, parse) in sources {
        if let Some(text) = scan.command_output(file, command) {
            match parse(&text) {
                Some(phone) => return Some(phone),
                None => scan.warn(scan.root().top(file), "is not the output it is named for"),
            }
        }
    }
    None
}

/// Reads the JSON of `termux-battery-status`.
pub(crate) fn parse_termux(text: &str) -> Option<PhoneBattery> {
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    let object = value.as_object()?;
    let word = |key: &str| object.get(key).and_then(serde_json::Value::as_str);
    let number = |key: &str| object.get(key).and_then(serde_json::Value::as_f64);
    let percent = number("percentage").or_else(|| Some(100.0 * number("level")? / number("scale").filter(|scale| *scale > 0.0)?));
    let plugged = word("plugged").map(|plugged| plugged != "UNPLUGGED");
    let status = word("status").map_or(Status::Unknown, status_of_word);
    if percent.is_none() && plugged.is_none() && word("status").is_none() {
        return None;
    }
    Some(phone(TERMUX_FILE, percent, plugged, status, number("temperature")))
}

/// Reads the first block of `dumpsys battery`.
pub(crate) fn parse_dumpsys(text: &str) -> Option<PhoneBattery> {
    let mut lines = text.lines();
    lines.by_ref().find(|line| line.trim_start().starts_with("Current Battery Service state"))?;
    let (mut powered, mut level, mut scale, mut status, mut tenths) = (None, None, None, None, None);
    for line in lines {
        // A section in brackets starts the logs.
        if line.trim_start().starts_with('[') {
            break;
        }
        let Some((key, value)) = line.split_once(':') else { continue };
        let (key, value) = (key.trim(), value.trim());
        // The first value of a key counts, and keys are compared whole: "Capacity level" is no level.
        match key {
            "AC powered" | "USB powered" | "Wireless powered" | "Dock powered" => {
                powered = Some(powered.unwrap_or(false) || value == "true");
            }
            "level" => level = level.or_else(|| value.parse::<f64>().ok()),
            "scale" => scale = scale.or_else(|| value.parse::<f64>().ok()),
            "status" => status = status.or_else(|| value.parse::<u32>().ok()),
            "temperature" => tenths = tenths.or_else(|| value.parse::<f64>().ok()),
            _ => {}
        }
    }
    let percent = level.map(|level| 100.0 * level / scale.filter(|scale| *scale > 0.0).unwrap_or(100.0));
    // android.os.BatteryManager: BATTERY_STATUS_*
    let status_word = match status {
        Some(2) => Status::Charging,
        Some(3) => Status::Discharging,
        Some(4) => Status::NotCharging,
        Some(5) => Status::Full,
        _ => Status::Unknown,
    };
    if percent.is_none() && powered.is_none() && status.is_none() {
        return None;
    }
    Some(phone(DUMPSYS_FILE, percent, powered, status_word, tenths.map(|t| t / 10.0)))
}

fn status_of_word(word: &str) -> Status {
    match word {
        "CHARGING" => Status::Charging,
        "DISCHARGING" => Status::Discharging,
        "NOT_CHARGING" => Status::NotCharging,
        "FULL" => Status::Full,
        _ => Status::Unknown,
    }
}

fn phone(file: &'static str, percent: Option<f64>, plugged: Option<bool>, status: Status, celsius: Option<f64>) -> PhoneBattery {
    // Unplugged decides: a phone that says "not charging" without a plug runs on its battery all the same.
    let status = if plugged == Some(false) { Status::Discharging } else { status };
    let battery = Supply {
        name: "battery".into(),
        kind: Some("Battery".into()),
        scope: Some("System".into()),
        status,
        capacity: percent.filter(|p| (0.0..=100.0).contains(p)),
        role: Role::SystemBattery,
        path: file.to_string(),
        why: format!("from {file}"),
        ..Supply::default()
    };
    let plug = plugged.map(|online| Supply {
        name: "plug".into(),
        kind: Some("Mains".into()),
        online: Some(online),
        role: Role::Mains,
        path: file.to_string(),
        why: format!("from {file}"),
        ..Supply::default()
    });
    let battery_c = celsius.filter(|c| *c != 0.0);
    PhoneBattery { supplies: std::iter::once(battery).chain(plug).collect(), battery_c, file }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sensing::power::conclude;
    use ouro_common::device::PowerSource;

    #[test]
    fn unplugged_decides_over_not_charging() {
        let text = r#"{"percentage": 52, "plugged": "UNPLUGGED", "status": "NOT_CHARGING", "temperature": 31.0, "current": 232}"#;
        let phone = parse_termux(text).unwrap();
        let power = conclude(&phone.supplies);
        assert_eq!((power.source, power.battery_percent, power.charging), (PowerSource::Battery, Some(52.0), Some(false)));
        assert_eq!(phone.battery_c, Some(31.0));
        let cold = parse_termux(r#"{"percentage": 71, "plugged": "PLUGGED_AC", "status": "CHARGING", "temperature": 0.0}"#).unwrap();
        assert_eq!(cold.battery_c, None, "0.0 is how Android says that it does not know");
        assert!(parse_termux("[]").is_none() && parse_termux("{}").is_none() && parse_termux("").is_none());
    }

    #[test]
    fn only_the_first_block_of_dumpsys_counts() {
        let text = "Current Battery Service state:\n  AC powered: false\n  USB powered: true\n  status: 2\n  level: 40\n  scale: 50\n\
                    Time of the level: 3\n  temperature: 357\n  Capacity level: -1\n[EventLogBuffer]\n level: 7\n temperature: 9\n";
        let phone = parse_dumpsys(text).unwrap();
        let power = conclude(&phone.supplies);
        assert_eq!((power.source, power.battery_percent, power.charging), (PowerSource::External, Some(80.0), Some(true)));
        assert_eq!(phone.battery_c, Some(35.7));
    }
}
