//! Containers that behave badly, and one that only takes its time: shell scripts over one busybox, packed as a signed module.

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The module's label.
pub const TOOLS: &str = "OURO-TOOLS";

/// A container: its name, what its shell runs, and what else stands under `[oci]`.
struct Tool {
    name: &'static str,
    script: &'static str,
    oci: &'static str,
}

const ALL: [Tool; 6] = [
    Tool { name: "honest-copyist", script: "cat /in/text > /out/out", oci: "" },
    Tool { name: "memory-glutton", script: "x=a; while :; do x=$x$x; done", oci: "" },
    Tool { name: "fork-rabbit", script: "b() { b | b & b; }; b; exit 3", oci: "pids = 32\ntime_s = 60" },
    // Two that never rest want two processors; the node has two, and two slots.
    Tool {
        name: "cpu-burner",
        script: "(while :; do :; done) & (while :; do :; done) & sleep 8; echo burnt > /out/out",
        oci: "",
    },
    Tool { name: "deaf-sleeper", script: "trap '' TERM INT HUP; while :; do sleep 1; done", oci: "time_s = 4" },
    Tool { name: "slow-clerk", script: "sleep 4242 & sleep 20; echo filed > /out/out", oci: "" },
];

/// Packs the module into `image`, signed with `key`.
///
/// # Errors
/// When busybox or ouroctl is not there, or what ouroctl said.
pub(crate) fn pack(folder: &Path, key: &Path, image: &Path) -> Result<()> {
    for tool in &ALL {
        let home = folder.join(tool.name);
        fs::create_dir_all(home.join("rootfs/bin"))?;
        fs::copy("/bin/busybox", home.join("rootfs/bin/busybox")).context("/bin/busybox; install busybox-static")?;
        for name in ["sh", "cat", "sleep"] {
            std::os::unix::fs::symlink("busybox", home.join("rootfs/bin").join(name))?;
        }
        fs::write(home.join("container.toml"), manifest(tool))?;
    }
    let ouroctl = std::env::var_os("OURO_BIN_DIR").map_or_else(|| "ouroctl".into(), |bin| Path::new(&bin).join("ouroctl"));
    let mut build = Command::new(ouroctl);
    build.args(["module", "build", "--label", TOOLS, "--sign"]).arg(key).arg("-o").arg(image).arg(folder);
    let made = build.output().context("ouroctl cannot be run")?;
    if !made.status.success() {
        bail!("ouroctl module build: {}", String::from_utf8_lossy(&made.stderr).trim());
    }
    Ok(())
}

fn manifest(tool: &Tool) -> String {
    let Tool { name, script, oci } = tool;
    format!(
        "name = \"{name}\"\nversion = \"1.0.0\"\nsummary = \"A tool of the tests\"\nkeywords = [\"{}\"]\nruntime = \"oci\"\n\
         inputs = [{{ port = \"text\", media = \"text/plain\" }}]\n\
         outputs = [{{ port = \"out\", media = \"text/plain\", max_bytes = 1000000 }}]\n\
         [needs]\nmemory_bytes = 67108864\n[oci]\nargs = [\"/bin/sh\", \"-c\", {}]\n{oci}\n",
        name.replace('-', " "),
        Value::from(*script)
    )
}
