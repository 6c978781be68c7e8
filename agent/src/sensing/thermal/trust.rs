//! Which temperatures are temperatures, and which of them is the processor's.
//!
//! Readings outside 1 to 125 °C, and values that chips are known to report for "nothing connected", do not count. Nor do
//! inputs of super-I/O chips that usually float, or zones of phones that carry voltages and percentages.

/// Colder than this, in °C, is a default or another unit.
const COLDEST_C: f64 = 1.0;
/// Hotter than this, silicon has long switched itself off.
const HOTTEST_C: f64 = 125.0;
/// Critical limits between these bounds are believed.
const LIMIT_C: std::ops::RangeInclusive<f64> = 45.0..=130.0;

/// Whether a reading counts, and why.
pub(crate) fn judge(chip: &str, label: &str, c: Option<f64>) -> (bool, String) {
    let Some(c) = c else {
        return (false, "could not be read".to_string());
    };
    if !(COLDEST_C..=HOTTEST_C).contains(&c) {
        return (false, "outside 1 to 125 °C: not a temperature of a running machine".to_string());
    }
    // Exact: the chip's constant, not a measurement that happens to be near it.
    if chip.eq_ignore_ascii_case("PMIC-Die") && (c - 100.0).abs() < f64::EPSILON {
        return (false, "Tegra's PMIC always says 100 °C".to_string());
    }
    if is_not_temperature(chip) {
        return (false, "this zone carries a voltage, a current or a charge".to_string());
    }
    if chip == "INT3400 Thermal" {
        return (false, "a policy without a sensor of its own: it says 20 °C for ever".to_string());
    }
    if is_super_io(chip) {
        return judge_super_io(chip, label, c);
    }
    (true, "plausible".to_string())
}

/// Inputs of super-I/O chips (Nuvoton, ITE, Winbond, Fintek) that boards leave unconnected.
fn judge_super_io(chip: &str, label: &str, c: f64) -> (bool, String) {
    if label.starts_with("AUXTIN") {
        return (false, "an auxiliary input, which boards leave floating".to_string());
    }
    if chip.starts_with("it8") && label == "temp2" {
        return (false, "temp2 of this chip floats on most boards".to_string());
    }
    if c >= 110.0 {
        return (false, "a super-I/O input this hot is not connected".to_string());
    }
    (true, "plausible".to_string())
}

fn is_super_io(chip: &str) -> bool {
    ["nct6", "nct7", "it8", "w83", "f71", "f81", "sch5", "smsc47"].iter().any(|prefix| chip.starts_with(prefix))
}

/// Qualcomm lists battery voltages, currents and charge as thermal zones.
fn is_not_temperature(chip: &str) -> bool {
    let chip = chip.to_ascii_lowercase();
    chip == "soc" || ["vbat", "ibat", "-lvl", "bcl", "pm-qos"].iter().any(|part| chip.contains(part))
}

/// How directly a sensor measures the processor: 3 the package or die, 2 its cores, 1 a thermal zone of it, 0 not at all.
pub(crate) fn cpu_rank(chip: &str, label: &str) -> u8 {
    match chip {
        "coretemp" if label.starts_with("Package") => 3,
        "coretemp" => 2,
        // Tctl carries an offset on some models; Tdie does not.
        "k10temp" | "zenpower" if label == "Tdie" => 3,
        "k10temp" | "zenpower" => 2,
        "x86_pkg_temp" => 1,
        _ => {
            let chip = chip.to_ascii_lowercase();
            u8::from((chip.starts_with("cpu") && !chip.contains("fan")) || chip == "mtktscpu")
        }
    }
}

/// A critical limit in °C from m°C, if it can be one.
pub(crate) fn plausible_limit(milli: f64) -> Option<f64> {
    let c = milli / 1000.0;
    LIMIT_C.contains(&c).then_some(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_and_floating_inputs_are_not_temperatures() {
        for c in [-273.15, -274.0, -256.0, -44.0, 0.0, 0.042, 127.0, 127.5, 65261.85, f64::NAN, f64::INFINITY] {
            assert!(!judge("acpitz", "", Some(c)).0, "{c}");
        }
        assert!(!judge("PMIC-Die", "", Some(100.0)).0);
        assert!(judge("coretemp", "Package id 0", Some(100.0)).0, "a laptop under load reaches 100 °C");
        assert!(!judge("INT3400 Thermal", "", Some(20.0)).0);
        assert!(!judge("nct6798", "AUXTIN3", Some(31.0)).0);
        assert!(!judge("it8686", "temp2", Some(35.0)).0 && judge("it8686", "temp1", Some(35.0)).0);
        assert!(!judge("nct6798", "CPUTIN", Some(115.0)).0);
        assert!(!judge("vbat-lvl0", "", Some(4.2)).0 && !judge("soc", "", Some(85.0)).0);
        assert!(!judge("nvme", "Composite", None).0);
    }

    #[test]
    fn the_cpu_is_named_by_its_own_sensors_only() {
        assert!(cpu_rank("coretemp", "Package id 0") > cpu_rank("coretemp", "Core 3"));
        assert!(cpu_rank("k10temp", "Tdie") > cpu_rank("k10temp", "Tctl"));
        assert!(cpu_rank("cpu-0-0-usr", "") > 0 && cpu_rank("cpu_thermal", "temp1") > 0 && cpu_rank("CPU-therm", "") > 0);
        for chip in ["nvme", "iwlwifi_1", "jc42", "acpitz", "amdgpu", "gpu-thermal", "GPU-therm"] {
            assert_eq!(cpu_rank(chip, "temp1"), 0, "{chip}");
        }
    }

    #[test]
    fn absurd_limits_are_no_limits() {
        assert_eq!(plausible_limit(-32_768_000.0), None);
        assert_eq!(plausible_limit(65_261_850.0), None);
        assert_eq!(plausible_limit(94_850.0), Some(94.85));
    }
}
