//! Quantities with their units, short enough for a table. Unknown is `?`, never 0.

/// What stands where nothing is known.
pub(crate) const UNKNOWN: &str = "?";

/// A count of bytes in binary units: `2.1 KiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// Gibibytes without the unit, for a column whose heading has it.
pub(crate) fn gib(count: Option<u64>) -> String {
    count.map_or_else(|| UNKNOWN.into(), |b| short(b as f64 / f64::from(1 << 30)))
}

fn short(value: f64) -> String {
    if value < 9.95 { format!("{value:.1}") } else { format!("{value:.0}") }
}

/// A rate in decimal units: `3.9 GB/s`.
pub(crate) fn rate(bytes_per_s: f64) -> String {
    match bytes_per_s {
        r if r >= 1e9 => format!("{} GB/s", decimals(r / 1e9)),
        r if r >= 1e6 => format!("{} MB/s", decimals(r / 1e6)),
        r => format!("{} kB/s", decimals(r / 1e3)),
    }
}

/// A number with as many decimals as three digits allow.
pub(crate) fn decimals(value: f64) -> String {
    match value.abs() {
        v if v >= 99.95 => format!("{value:.0}"),
        v if v >= 9.995 => format!("{value:.1}"),
        // What is small is not nothing.
        v if v > 0.0 && v < 0.095 => format!("{value:.3}"),
        _ => format!("{value:.2}"),
    }
}

/// A span of time: `0.4 ms`, `42 ms`, `2.41 s`, `3 min 20 s`, `2 h 5 min`, `3 days`.
pub(crate) fn span_ms(ms: f64) -> String {
    let whole = |seconds: f64| seconds.max(0.0).round() as u64;
    match ms {
        m if m <= 0.0 => "0 ms".into(),
        m if m < 9.95 => format!("{m:.1} ms"),
        m if m < 999.5 => format!("{m:.0} ms"),
        m if m < 59_950.0 => format!("{} s", decimals(m / 1000.0)),
        m if m < 3_600_000.0 => pair(whole(m / 1000.0), 60, "min", "s"),
        m if m < 48.0 * 3_600_000.0 => pair(whole(m / 60_000.0), 60, "h", "min"),
        m => format!("{} days", whole(m / 86_400_000.0)),
    }
}

fn pair(small: u64, per: u64, large_unit: &str, small_unit: &str) -> String {
    match small % per {
        0 => format!("{} {large_unit}", small / per),
        rest => format!("{} {large_unit} {rest} {small_unit}", small / per),
    }
}

/// How a measured time compares with the predicted one: `18 % faster than the `, or nothing when it is near.
pub(crate) fn compared(actual_ms: f64, predicted_ms: f64) -> String {
    let ratio = actual_ms / predicted_ms;
    match ratio {
        r if !r.is_finite() => String::new(),
        r if (0.95..1.05).contains(&r) => String::new(),
        r if r >= 2.0 => format!("{r:.1} × slower than the "),
        r if r > 1.0 => format!("{:.0} % slower than the ", (r - 1.0) * 100.0),
        r if r <= 0.5 => format!("{:.1} × faster than the ", 1.0 / r),
        r => format!("{:.0} % faster than the ", (1.0 - r) * 100.0),
    }
}

/// `1 step`, `3 steps`.
pub(crate) fn counted(count: usize, one: &str, many: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {many}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_choose_their_unit() {
        let cases = [
            (0.0, "0 ms"),
            (0.42, "0.4 ms"),
            (41.7, "42 ms"),
            (2_412.0, "2.41 s"),
            (59_999.0, "1 min"),
            (200_000.0, "3 min 20 s"),
            (600_000.0, "10 min"),
            (7_500_000.0, "2 h 5 min"),
            (3.0 * 86_400_000.0, "3 days"),
        ];
        for (ms, text) in cases {
            assert_eq!(span_ms(ms), text, "{ms}");
        }
    }

    #[test]
    fn sizes_and_rates_keep_three_digits() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1024 * 1024 - 1), "1.0 MiB");
        assert_eq!(bytes(u64::MAX), "16384.0 PiB");
        assert_eq!(gib(Some(33_500_000_000)), "31");
        assert_eq!(gib(None), "?");
        assert_eq!([0.0, 0.003, 0.82, 38.1, 141.0].map(decimals), ["0.00", "0.003", "0.82", "38.1", "141"]);
        assert_eq!(rate(3.94e9), "3.94 GB/s");
        assert_eq!(compared(41.0, 50.0), "18 % faster than the ");
        assert_eq!(compared(310.0, 100.0), "3.1 × slower than the ");
        assert_eq!(compared(1.0, 0.0), "");
    }
}
