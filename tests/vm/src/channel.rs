//! QEMU's JSON lines: QMP, which drives the machine, and the same form spoken by the guest agent inside it.
//!
//! One command at a time; what comes unasked (QMP's events) is kept until somebody waits for it.

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long one read may take before the deadline is looked at again.
const READ: Duration = Duration::from_millis(200);

/// A connection to QEMU or to the guest agent.
#[derive(Debug)]
pub struct Channel {
    lines: BufReader<UnixStream>,
    /// What has come of a line that is not whole yet.
    partial: Vec<u8>,
    events: Vec<Value>,
}

impl Channel {
    /// Connects to a socket that QEMU listens on.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn connect(path: &Path) -> Result<Self> {
        let stream = UnixStream::connect(path).with_context(|| path.display().to_string())?;
        stream.set_read_timeout(Some(READ))?;
        Ok(Self { lines: BufReader::new(stream), partial: vec![], events: vec![] })
    }

    /// Carries out a command and gives what it returns.
    ///
    /// # Errors
    /// What the other side said was wrong, or that it said nothing within `limit`.
    pub fn execute(&mut self, command: &str, arguments: &Value, limit: Duration) -> Result<Value> {
        self.send(&json!({ "execute": command, "arguments": arguments }))?;
        let deadline = Instant::now() + limit;
        loop {
            let Some(mut said) = self.line(deadline).with_context(|| command.to_string())? else {
                bail!("{command}: no answer within {limit:?}");
            };
            if let Some(value) = said.get_mut("return") {
                return Ok(value.take());
            }
            if let Some(error) = said.get("error") {
                bail!("{command}: {}", error["desc"].as_str().unwrap_or("an error without words"));
            }
            self.events.push(said);
        }
    }

    /// Waits for QEMU's greeting, which comes before anything else.
    ///
    /// # Errors
    /// When there is none.
    pub fn greeting(&mut self, limit: Duration) -> Result<()> {
        match self.line(Instant::now() + limit)? {
            Some(said) if said.get("QMP").is_some() => Ok(()),
            said => bail!("this is no QMP: {said:?}"),
        }
    }

    /// Waits for an event of this name whose `data` satisfies `which`; earlier ones count.
    ///
    /// # Errors
    /// When none came within `limit`.
    pub fn event(&mut self, name: &str, which: impl Fn(&Value) -> bool, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            let found = self.events.iter().position(|e| e["event"] == name && which(&e["data"]));
            if let Some(index) = found {
                self.events.remove(index);
                return Ok(());
            }
            match self.line(deadline)? {
                Some(said) => self.events.push(said),
                None => bail!("no event {name} within {limit:?}"),
            }
        }
    }

    /// Asks the guest agent for a number until it says that very number: whatever an earlier life of the guest left in the
    /// line is read away. `false`: nobody answers yet.
    ///
    /// # Errors
    /// When the line is closed.
    pub fn synchronise(&mut self, number: u64, limit: Duration) -> Result<bool> {
        let deadline = Instant::now() + limit;
        self.send(&json!({ "execute": "guest-sync", "arguments": { "id": number } }))?;
        while let Some(said) = self.line(deadline)? {
            if said["return"] == number {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn send(&mut self, command: &Value) -> Result<()> {
        let mut line = command.to_string();
        line.push('\n');
        Ok(self.lines.get_mut().write_all(line.as_bytes())?)
    }

    /// The next line that is JSON; `None` when none came before the deadline.
    fn line(&mut self, deadline: Instant) -> Result<Option<Value>> {
        loop {
            match self.lines.read_until(b'\n', &mut self.partial) {
                Ok(0) => bail!("the other side is gone"),
                Ok(_) if self.partial.ends_with(b"\n") => {
                    let line = std::mem::take(&mut self.partial);
                    // A guest that was reset in the middle of a line leaves half a one.
                    if let Ok(said) = serde_json::from_slice(&line) {
                        return Ok(Some(said));
                    }
                }
                Ok(_) => bail!("the other side is gone in the middle of a line"),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {
                    if Instant::now() >= deadline {
                        return Ok(None);
                    }
                }
                Err(e) => return Err(e.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// A channel to a thread that waits for a line, then says `words`.
    fn speaker(words: &'static [&'static str]) -> (Channel, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut heard = String::new();
            BufReader::new(stream.try_clone().unwrap()).read_line(&mut heard).unwrap();
            for word in words {
                stream.write_all(word.as_bytes()).unwrap();
                std::thread::sleep(READ + Duration::from_millis(50));
            }
        });
        (Channel::connect(&path).unwrap(), folder)
    }

    #[test]
    fn events_in_between_are_kept_and_lines_may_come_in_pieces() {
        let (mut channel, _folder) = speaker(&["{\"event\": \"A\", \"data\": {\"n\": 1}}\n{\"ret", "urn\": {\"x\": 5}}\n"]);
        let limit = Duration::from_secs(10);
        assert_eq!(channel.execute("c", &json!({}), limit).unwrap(), json!({"x": 5}));
        channel.event("A", |data| data["n"] == 1, limit).unwrap();
        assert!(channel.event("A", |_| true, limit).is_err(), "an event is had once, and then the line is closed");
    }

    #[test]
    fn an_error_is_said_with_its_command() {
        let (mut channel, _folder) = speaker(&["{\"error\": {\"class\": \"GenericError\", \"desc\": \"no such slot\"}}\n"]);
        let error = channel.execute("device_add", &json!({}), Duration::from_secs(10)).unwrap_err();
        assert_eq!(error.to_string(), "device_add: no such slot");
    }

    #[test]
    fn what_an_earlier_life_left_in_the_line_is_read_away() {
        let (mut channel, _folder) = speaker(&["half a line}\n{\"return\": 4}\n{\"return\": 7}\n"]);
        assert!(channel.synchronise(7, Duration::from_secs(10)).unwrap());
    }
}
