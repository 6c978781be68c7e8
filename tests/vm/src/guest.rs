//! A shell in the guest, through the guest agent: commands with their exit code and both outputs.

use crate::channel::Channel;
use crate::machine::Machine;
use anyhow::{Context as _, Result, bail};
use data_encoding::BASE64;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How long the guest agent may take for one word on an emulated, busy processor.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a command is asked whether it has ended.
const PERIOD: Duration = Duration::from_millis(30);
/// How often a condition is looked at: each look starts a process on an emulated processor.
const LOOK: Duration = Duration::from_millis(300);
/// How often after the first seconds: who looks all the time is foreign load to the agent, which then takes nothing that is long.
const PATIENT: Duration = Duration::from_secs(1);
/// When that begins.
const AT_FIRST: Duration = Duration::from_secs(5);
/// What a person at a root shell has in the environment, and the guest agent has not.
const ENVIRONMENT: &str = "export HOME=/root NO_COLOR=1 COLUMNS=100; cd; ";

/// The guest, from the inside.
#[derive(Debug)]
pub struct Guest {
    line: Channel,
    /// Numbers by which a fresh answer is told from an old one.
    next: u64,
}

/// A command that runs in the guest.
#[derive(Debug, Clone, Copy)]
pub struct Running {
    process: u64,
}

/// How a command ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i64>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Guest {
    /// Waits until the guest has booted so far that it takes commands.
    ///
    /// # Errors
    /// When it does not within `limit`.
    pub fn wait_up(machine: &Machine, limit: Duration) -> Result<Self> {
        let mut guest = Self { line: machine.guest_line()?, next: 0 };
        guest.wait_again(limit)?;
        Ok(guest)
    }

    /// The same after a reset.
    ///
    /// # Errors
    /// As in [`Self::wait_up`].
    pub fn wait_again(&mut self, limit: Duration) -> Result<()> {
        let begin = Instant::now();
        while begin.elapsed() < limit {
            self.next += 1;
            if self.line.synchronise(self.next, Duration::from_secs(1))? {
                return Ok(());
            }
        }
        bail!("the guest takes no commands after {limit:?}")
    }

    /// Starts a shell script.
    ///
    /// # Errors
    /// When the guest agent cannot.
    pub fn start(&mut self, script: &str) -> Result<Running> {
        let arguments = json!({ "path": "/bin/bash", "arg": ["-c", format!("{ENVIRONMENT}{script}")], "capture-output": true });
        let said = self.line.execute("guest-exec", &arguments, PATIENCE)?;
        Ok(Running { process: said["pid"].as_u64().context("guest-exec gives no process id")? })
    }

    /// How a script ended, if it has. It can be asked once.
    ///
    /// # Errors
    /// When the guest agent does not know it.
    pub fn ended(&mut self, running: Running) -> Result<Option<Ended>> {
        let said = self.line.execute("guest-exec-status", &json!({ "pid": running.process }), PATIENCE)?;
        if said["exited"] != true {
            return Ok(None);
        }
        let text = |value: &Value| -> Result<String> {
            let bytes = BASE64.decode(value.as_str().unwrap_or_default().as_bytes())?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        let code = said["exitcode"].as_i64().filter(|_| said["signal"].is_null());
        Ok(Some(Ended { code, stdout: text(&said["out-data"])?, stderr: text(&said["err-data"])? }))
    }

    /// Waits for a script's end.
    ///
    /// # Errors
    /// When it has not ended within `limit`.
    pub fn wait(&mut self, running: Running, limit: Duration) -> Result<Ended> {
        let begin = Instant::now();
        loop {
            if let Some(ended) = self.ended(running)? {
                return Ok(ended);
            }
            if begin.elapsed() > limit {
                bail!("it did not end within {limit:?}");
            }
            std::thread::sleep(if begin.elapsed() < AT_FIRST { PERIOD } else { PATIENT });
        }
    }

    /// Runs a script to its end.
    ///
    /// # Errors
    /// When it takes longer than a minute.
    pub fn run(&mut self, script: &str) -> Result<Ended> {
        let running = self.start(script)?;
        self.wait(running, PATIENCE).with_context(|| script.to_string())
    }

    /// Runs a script that must end with 0, and gives what it printed, trimmed.
    ///
    /// # Errors
    /// When it ends otherwise; both outputs are in the message.
    pub fn sh(&mut self, script: &str) -> Result<String> {
        let ended = self.run(script)?;
        if ended.code != Some(0) {
            bail!("`{script}` ended with {:?}\n{}{}", ended.code, ended.stdout, ended.stderr);
        }
        Ok(ended.stdout.trim().to_string())
    }

    /// Runs a script that prints one JSON document.
    ///
    /// # Errors
    /// As in [`Self::sh`], and when it is no such document.
    pub fn json<T: DeserializeOwned>(&mut self, script: &str) -> Result<T> {
        let text = self.sh(script)?;
        serde_json::from_str(&text).with_context(|| format!("`{script}` printed\n{text}"))
    }

    /// The JSON document a script prints; `None` when it ends with another code than 0.
    ///
    /// # Errors
    /// When it ended with 0 and printed no such document.
    pub fn ask<T: DeserializeOwned>(&mut self, script: &str) -> Result<Option<T>> {
        let ended = self.run(script)?;
        let read = |text: &str| serde_json::from_str(text).with_context(|| format!("`{script}` printed\n{text}"));
        if ended.code == Some(0) { read(&ended.stdout).map(Some) } else { Ok(None) }
    }

    /// Looks until a script ends with 0, and gives what it printed, trimmed.
    ///
    /// # Errors
    /// That it has not within `limit`.
    pub fn until(&mut self, what: &str, limit: Duration, script: &str) -> Result<String> {
        self.eventually(what, limit, |guest| {
            let ended = guest.run(script)?;
            Ok((ended.code == Some(0)).then(|| ended.stdout.trim().to_string()))
        })
    }

    /// Looks until `look` gives a value.
    ///
    /// # Errors
    /// What `look` said, or that it gave none within `limit`.
    pub fn eventually<T>(&mut self, what: &str, limit: Duration, mut look: impl FnMut(&mut Self) -> Result<Option<T>>) -> Result<T> {
        let begin = Instant::now();
        loop {
            if let Some(value) = look(self)? {
                return Ok(value);
            }
            if begin.elapsed() > limit {
                bail!("waited {limit:?} in vain: {what}");
            }
            std::thread::sleep(if begin.elapsed() < AT_FIRST { LOOK } else { PATIENT });
        }
    }
}
