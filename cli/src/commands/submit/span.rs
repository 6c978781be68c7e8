//! Spans of time as people type them: `90s`, `10m`, `1h30m`, `2d`.

use std::time::Duration;

/// The longest span: a year.
const LONGEST_MS: u64 = 366 * 86_400_000;

/// Reads a span. A number needs its unit, so that nobody waits ten seconds for what was meant as ten minutes.
pub(crate) fn parse_span(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a number with its unit, like 90s, 10m, 1h30m or 2d".to_string();
    let mut total_ms: u64 = 0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at(letters);
        let unit_ms = match unit {
            "ms" => 1,
            "s" | "sec" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        let number: u64 = number.parse().map_err(|_| wrong())?;
        total_ms = number.checked_mul(unit_ms).and_then(|ms| total_ms.checked_add(ms)).ok_or("it is too long")?;
        rest = tail.trim_start();
    }
    match total_ms {
        0 => Err("it must be longer than nothing".into()),
        ms if ms > LONGEST_MS => Err("it must be at most a year".into()),
        ms => Ok(Duration::from_millis(ms)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_need_their_unit() {
        for (text, ms) in [
            ("10m", 600_000),
            ("90s", 90_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("250ms", 250),
            ("2d", 172_800_000),
        ] {
            assert_eq!(parse_span(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in [
            "",
            "10",
            "m",
            "1.5h",
            "-1s",
            "10 minutes",
            "0s",
            "99999999999999999999s",
            "9999999d",
            "18446744073709551615d",
            "1é",
        ] {
            assert!(parse_span(text).is_err(), "{text}");
        }
    }
}
