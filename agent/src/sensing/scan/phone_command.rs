//! Commands that a phone answers where it forbids its files: only under Termux, and never for longer than a limit.
//!
//! `termux-battery-status` waits for ever when the Termux:API app is not installed.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The command takes about a second on a slow phone.
const LIMIT: Duration = Duration::from_secs(3);
/// How often its end is looked for.
const POLL: Duration = Duration::from_millis(20);

/// What `program` prints; `None` outside Termux, without the program, on failure and after the limit.
pub(super) fn run(program: &str) -> Option<String> {
    std::env::var_os("TERMUX_VERSION")?;
    run_within(&mut Command::new(program), LIMIT)
}

fn run_within(command: &mut Command, limit: Duration) -> Option<String> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
    let started = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if started.elapsed() < limit => std::thread::sleep(POLL),
            _ => {
                // It may have ended just now; either way it must be gone and reaped.
                let _gone = child.kill();
                let _reaped = child.wait();
                return None;
            }
        }
    };
    // The output is far smaller than a pipe holds, so the command never waited for a reader.
    let mut text = String::new();
    child.stdout.take()?.take(64 * 1024).read_to_string(&mut text).ok()?;
    status.success().then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_heard_or_stopped() {
        assert_eq!(run_within(Command::new("echo").arg("hello"), LIMIT).as_deref(), Some("hello\n"));
        let started = Instant::now();
        assert_eq!(run_within(Command::new("sleep").arg("30"), Duration::from_millis(50)), None);
        assert!(started.elapsed() < Duration::from_secs(10), "it was not stopped");
        assert_eq!(run_within(&mut Command::new("false"), LIMIT), None);
        assert_eq!(run_within(&mut Command::new("no-such-program-anywhere"), LIMIT), None);
    }
}
