//! A cgroup with a limit of processor time, for an agent with all its workers: version 2, or version 1 with its `cpu` hierarchy.

use crate::wait::{SHORT, eventually};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// The kernel's usual period, microseconds.
const PERIOD_US: f64 = 100_000.0;

/// A cgroup that is gone with this value; what runs in it must have ended.
#[derive(Debug)]
pub struct CpuQuota {
    folder: PathBuf,
}

impl CpuQuota {
    /// A cgroup that may use so many processors' time.
    ///
    /// # Errors
    /// Why there can be none: not root, no cgroups, no `cpu` controller.
    pub fn new(processors: f64) -> Result<Self, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let top = Path::new("/sys/fs/cgroup");
        let unified = top.join("cgroup.controllers").exists();
        let parent = if unified { top.to_path_buf() } else { top.join("cpu") };
        let said = |what: &Path| {
            let what = what.display().to_string();
            move |e: std::io::Error| format!("{what}: {e}")
        };
        if unified {
            let control = top.join("cgroup.subtree_control");
            fs::write(&control, "+cpu").map_err(said(&control))?;
        }
        let name = format!("ouro-tests-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let quota = Self { folder: parent.join(name) };
        fs::create_dir(&quota.folder).map_err(said(&quota.folder))?;
        let limit = processors * PERIOD_US;
        let (file, text) = match unified {
            true => ("cpu.max", format!("{limit:.0} {PERIOD_US:.0}")),
            false => ("cpu.cfs_quota_us", format!("{limit:.0}")),
        };
        fs::write(quota.folder.join(file), text).map_err(said(&quota.folder.join(file)))?;
        Ok(quota)
    }

    /// The same command, in the cgroup from its first instruction on.
    pub fn around(&self, command: &Command) -> Command {
        let mut inside = Command::new("sh");
        inside.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]).arg(self.folder.join("cgroup.procs"));
        inside.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        inside
    }
}

impl Drop for CpuQuota {
    fn drop(&mut self) {
        let folder = &self.folder;
        eventually(&format!("{} to be empty", folder.display()), SHORT, || {
            (fs::remove_dir(folder).is_ok() || !folder.exists()).then_some(())
        });
    }
}
