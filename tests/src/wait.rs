//! Waiting for conditions, never for time: a limit says when to give up and is no measure of how long it takes.

use std::time::{Duration, Instant};

/// For what takes well under a second on an idle machine.
pub const SHORT: Duration = Duration::from_secs(30);
/// For what takes some seconds on an idle machine: a lost node, a long document.
pub const LONG: Duration = Duration::from_secs(120);

/// How often a condition is looked at.
const PERIOD: Duration = Duration::from_millis(25);

/// Looks until `look` gives a value.
///
/// # Panics
/// When it gave none within `limit`; the message says what was waited for.
pub fn eventually<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(value) = look() {
            return value;
        }
        assert!(begin.elapsed() < limit, "waited {limit:?} in vain: {what}");
        std::thread::sleep(PERIOD);
    }
}
