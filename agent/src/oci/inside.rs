//! What a container sees: its mounts, and what of the kernel's own files is hidden from it or may not be written.
//!
//! These are paths inside the container; on this machine they name nothing. The lists are those that Docker, Podman and
//! containerd give to a container without privileges; `/sys` is not mounted at all.

use oci_spec::OciSpecError;
use oci_spec::runtime::{Mount, MountBuilder};
use std::path::Path;

/// Where the inputs are.
pub(super) const IN: &str = "/in";
/// Where the outputs go.
pub(super) const OUT: &str = "/out";
/// The step's parameters and inputs as JSON, in `/in`; no port can have such a name.
pub(super) const STEP_FILE: &str = ".step.json";
/// The folders that a root filesystem must have for the mounts.
pub(super) const MOUNT_POINTS: [&str; 5] = ["in", "out", "proc", "dev", "tmp"];

/// Kernel files that are hidden.
pub(super) const MASKED: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/kmsg",
];

/// Kernel files that can only be read.
pub(super) const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

fn mount(destination: &str, kind: &str, source: &Path, options: &[&str]) -> Result<Mount, OciSpecError> {
    let options: Vec<String> = options.iter().map(ToString::to_string).collect();
    MountBuilder::default().destination(destination).typ(kind).source(source).options(options).build()
}

/// Everything that is mounted over the root filesystem, `input` and `output` being folders of this machine.
pub(super) fn mounts(input: &Path, output: &Path, tmp_bytes: u64) -> Result<Vec<Mount>, OciSpecError> {
    let size = format!("size={tmp_bytes}");
    Ok(vec![
        mount("/proc", "proc", Path::new("proc"), &["nosuid", "noexec", "nodev"])?,
        mount("/dev", "tmpfs", Path::new("tmpfs"), &["nosuid", "strictatime", "mode=755", "size=65536k"])?,
        mount("/dev/shm", "tmpfs", Path::new("shm"), &["nosuid", "noexec", "nodev", "mode=1777", "size=16m"])?,
        mount("/tmp", "tmpfs", Path::new("tmpfs"), &["nosuid", "nodev", "mode=1777", &size])?,
        mount(IN, "bind", input, &["bind", "ro", "nosuid", "nodev", "noexec"])?,
        mount(OUT, "bind", output, &["bind", "rw", "nosuid", "nodev", "noexec"])?,
    ])
}
