//! A machine that umockdev makes up, in which an agent runs as on a live one, and whose cables and devices a test pulls.

use crate::assets::tree;
use crate::wait::{SHORT, eventually};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The library that is loaded before everything else.
const PRELOAD: &str = "libumockdev-preload.so.0";

/// A test bed: a description of a machine, and a pipe of commands that change it.
#[derive(Debug, Clone)]
pub struct Testbed {
    program: PathBuf,
    machine: PathBuf,
    commands: PathBuf,
}

impl Testbed {
    /// A bed in `folder` for the machine whose description lies in a fixture's `uevents` folder.
    ///
    /// # Errors
    /// Why there can be none here: no C compiler, no umockdev.
    pub fn new(folder: &Path, fixture: &str) -> Result<Self, String> {
        let program = folder.join("bed");
        let source = tree().join("tests/umockdev/bed.c");
        let compiled = Command::new("cc").args(["-Wall", "-Werror", "-o"]).arg(&program).arg(&source).arg("-ldl").status();
        let compiled = compiled.map_err(|e| format!("no C compiler ({e})"))?;
        assert!(compiled.success(), "{} does not compile", source.display());
        // The loader only complains about a library that it cannot preload, so its presence is asked first.
        let probe = Command::new("true").env("LD_PRELOAD", PRELOAD).output().map_err(|e| e.to_string())?;
        if !probe.stderr.is_empty() {
            return Err(format!("umockdev is not installed ({})", String::from_utf8_lossy(&probe.stderr).trim()));
        }
        let commands = folder.join("commands");
        mknodat(CWD, &commands, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).map_err(|e| e.to_string())?;
        Ok(Self { program, machine: uevents(fixture).join("machine"), commands })
    }

    /// The command line that runs `program` in the bed.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(&self.machine).arg(&self.commands).arg(program).env("LD_PRELOAD", PRELOAD);
        command
    }

    /// Carries out the recorded events of a file in the fixture's `uevents` folder.
    ///
    /// # Panics
    /// When the file cannot be read, or nobody reads the pipe.
    pub fn replay(&self, fixture: &str, events: &str) {
        let folder = uevents(fixture);
        let path = folder.join(events);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        // A device is added from a description beside the events.
        let lines = text.lines().map(|line| match line.strip_prefix("add ") {
            Some(file) => format!("add {}\n", folder.join(file).display()),
            None => format!("{line}\n"),
        });
        self.tell(&lines.collect::<String>());
    }

    /// Carries out commands, a line each, as `bed.c` takes them.
    ///
    /// # Panics
    /// When nobody reads the pipe: umockdev ends the bed where it cannot do what it is told.
    pub fn tell(&self, lines: &str) {
        let open = || OpenOptions::new().write(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(&self.commands).ok();
        let mut pipe = eventually("the bed to read its commands", SHORT, open);
        pipe.write_all(lines.as_bytes()).expect("the bed takes commands");
    }
}

fn uevents(fixture: &str) -> PathBuf {
    tree().join("hw-fixtures").join(fixture).join("uevents")
}
