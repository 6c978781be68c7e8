//! What happened when in the guest, by its own monotonic clock: kernel, agent and server write into one journal.

use crate::guest::Guest;
use anyhow::{Context as _, Result};
use std::time::Duration;

/// Where the guest writes down the kernel's events, with the same clock.
const EVENTS: &str = "/run/uevents";

/// A line of the journal.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Line {
    /// Since the guest's kernel started.
    pub(crate) at: Duration,
    /// The writer and what it wrote.
    pub(crate) text: String,
}

/// What has been written since a moment.
#[derive(Debug, Clone)]
pub(crate) struct Chronicle(Vec<Line>);

impl Chronicle {
    /// Everything in the journal of this boot from `since` on.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn read(guest: &mut Guest, since: Duration) -> Result<Self> {
        let text = guest.sh(&format!("journalctl --no-pager -b -o short-monotonic -n 3000; cat {EVENTS}"))?;
        let mut lines: Vec<Line> = parse(&text).into_iter().filter(|line| line.at >= since).collect();
        lines.sort_by_key(|line| line.at);
        Ok(Self(lines))
    }

    /// Begins to write down when the kernel's events of block devices come.
    ///
    /// # Errors
    /// When the guest refuses.
    pub(crate) fn begin(guest: &mut Guest) -> Result<()> {
        let monitor = format!("setsid stdbuf -oL udevadm monitor --kernel --subsystem-match=block > {EVENTS} 2>&1 < /dev/null &");
        guest.sh(&monitor).map(drop)
    }

    /// When all of `words` first stood in one line.
    ///
    /// # Errors
    /// When they do in none; the last lines are in the message.
    pub(crate) fn when(&self, words: &[&str]) -> Result<Duration> {
        self.when_after(Duration::ZERO, words)
    }

    /// The same, not before a moment.
    ///
    /// # Errors
    /// As in [`Self::when`].
    pub(crate) fn when_after(&self, moment: Duration, words: &[&str]) -> Result<Duration> {
        let found = self.0.iter().find(|line| line.at >= moment && words.iter().all(|word| line.text.contains(word)));
        found.map(|line| line.at).with_context(|| {
            let last: Vec<&str> = self.0.iter().rev().take(40).rev().map(|line| line.text.as_str()).collect();
            format!("the journal has no line with {words:?}; its last ones:\n{}", last.join("\n"))
        })
    }
}

/// The guest's clock now.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn now(guest: &mut Guest) -> Result<Duration> {
    let text = guest.sh("cut -d' ' -f1 /proc/uptime")?;
    Ok(Duration::from_secs_f64(text.parse().with_context(|| format!("an uptime of {text}"))?))
}

/// Lines like `[   57.709143] host kernel: words`, and events like `KERNEL[57.8] add /devices/… (block)`; the rest of an entry of several lines is left out.
fn parse(text: &str) -> Vec<Line> {
    let line = |line: &str| {
        let event = line.strip_prefix("KERNEL");
        let (stamp, rest) = event.unwrap_or(line).strip_prefix('[')?.split_once(']')?;
        let at = Duration::try_from_secs_f64(stamp.trim().parse().ok()?).ok()?;
        if event.is_some() {
            return Some(Line { at, text: format!("event {}", rest.trim()) });
        }
        let (_host, text) = rest.trim_start().split_once(' ')?;
        Some(Line { at, text: text.to_string() })
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_s_lines_are_read_with_their_times() {
        let text = "-- Boot 0 --\n[   57.5] host kernel: pciehp: Slot(1): Card present\n  and more\n[   58.25] host ouro-server[9]: announced\nKERNEL[57.75] add      /devices/x/nvme2n1 (block)\n";
        let lines = parse(text);
        assert_eq!(lines.len(), 3);
        assert!(lines[2].text.starts_with("event add "));
        assert_eq!(lines[1], Line { at: Duration::from_millis(58_250), text: "ouro-server[9]: announced".into() });
        let chronicle = Chronicle(lines);
        assert_eq!(chronicle.when(&["Slot(1)", "present"]).unwrap(), Duration::from_millis(57_500));
        assert!(chronicle.when(&["Slot(2)"]).is_err());
    }
}
