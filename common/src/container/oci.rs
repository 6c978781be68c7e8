//! What an `oci` container starts, and the bounds it asks for: the `[oci]` table of a manifest.
//!
//! An OCI image has a configuration of its own, but it is written by tools that know nothing of steps. Here the manifest says
//! it, so that a directory, a stick and an image are one form, and so that the signature over the manifest covers it.
//! A bound that a manifest asks for can only be tighter than the agent's own.

use super::ManifestError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The `[oci]` table of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OciProcess {
    /// The program, as an absolute path in the root filesystem, and its arguments.
    pub args: Vec<String>,
    /// Environment variables, beside `PATH` and `HOME`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// The working directory, absolute.
    #[serde(default = "root_folder")]
    pub cwd: String,
    /// The most processes and threads at once.
    #[serde(default = "default_pids")]
    pub pids: u32,
    /// The most bytes in `/tmp`, which is in memory and counts as such.
    #[serde(default = "default_tmp_bytes")]
    pub tmp_bytes: u64,
    /// The most bytes its root filesystem unpacks to.
    #[serde(default = "default_rootfs_bytes")]
    pub rootfs_bytes: u64,
    /// The longest a run may take, seconds; else the time the step is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_s: Option<u64>,
}

fn root_folder() -> String {
    "/".into()
}
fn default_pids() -> u32 {
    64
}
fn default_tmp_bytes() -> u64 {
    64 << 20
}
fn default_rootfs_bytes() -> u64 {
    1 << 30
}

impl OciProcess {
    /// The most processes that a manifest can ask for.
    pub const MAX_PIDS: u32 = 4096;
    /// The most bytes of unpacked root filesystem that a manifest can ask for.
    pub const MAX_ROOTFS_BYTES: u64 = 64 << 30;
    const MAX_WORDS: usize = 256;
    const MAX_WORD_BYTES: usize = 32 * 1024;

    pub(super) fn validate(&self) -> Result<(), ManifestError> {
        let err = |field: &str, problem: String| Err(ManifestError { field: field.into(), problem });
        let odd = |word: &String| word.contains('\0') || word.len() > Self::MAX_WORD_BYTES;
        match self.args.first() {
            None => return err("oci.args", "name the program to run, like [\"/bin/tool\"]".into()),
            Some(program) if !is_absolute(program) => {
                return err("oci.args", format!("{program:?} must be an absolute path in the root filesystem, without '..'"));
            }
            Some(_) => {}
        }
        if self.args.len() > Self::MAX_WORDS || self.args.iter().any(odd) {
            return err("oci.args", format!("at most {} words of 32 KiB, without NUL", Self::MAX_WORDS));
        }
        if self.env.len() > Self::MAX_WORDS {
            return err("oci.env", format!("at most {} variables are allowed", Self::MAX_WORDS));
        }
        for (name, value) in &self.env {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(plain) {
                return err("oci.env", format!("{name:?} is not a variable's name"));
            }
            if odd(value) {
                return err("oci.env", format!("{name} must be at most 32 KiB, without NUL"));
            }
        }
        if !is_absolute(&self.cwd) {
            return err("oci.cwd", format!("{:?} must be an absolute path without '..'", self.cwd));
        }
        if self.pids == 0 || self.pids > Self::MAX_PIDS {
            return err("oci.pids", format!("it must be 1 to {}, not {}", Self::MAX_PIDS, self.pids));
        }
        if self.rootfs_bytes == 0 || self.rootfs_bytes > Self::MAX_ROOTFS_BYTES {
            return err("oci.rootfs_bytes", format!("it must be 1 to {}, not {}", Self::MAX_ROOTFS_BYTES, self.rootfs_bytes));
        }
        if self.time_s == Some(0) {
            return err("oci.time_s", "a run needs at least a second".into());
        }
        Ok(())
    }
}

/// Whether a path begins at the root and nothing in it leads up.
fn is_absolute(path: &str) -> bool {
    path.starts_with('/') && !path.contains('\0') && path.split('/').all(|part| part != "..")
}

#[cfg(test)]
mod tests {
    use crate::container::Manifest;

    const TOOL: &str = r#"
        name = "tool"
        version = "1.0.0"
        summary = "Does it"
        runtime = "oci"
        inputs = [{ port = "text", media = "text/plain" }]
        outputs = [{ port = "out", media = "text/plain" }]
        [needs]
        memory_bytes = 67108864
        [oci]
        args = ["/bin/tool", "--fast"]
    "#;

    #[test]
    fn a_process_has_bounds_even_where_the_manifest_names_none() {
        let oci = Manifest::from_toml(TOOL).unwrap().oci.unwrap();
        assert_eq!((oci.pids, oci.cwd.as_str(), oci.time_s), (64, "/", None));
        assert!(oci.tmp_bytes > 0 && oci.rootfs_bytes > 0);
    }

    #[test]
    fn what_cannot_be_started_is_named_by_its_field() {
        let with = |line: &str| format!("{TOOL}\n{line}");
        let cases = [
            (TOOL.replace("/bin/tool", "tool"), "oci.args"),
            (TOOL.replace("/bin/tool", "/bin/../../tool"), "oci.args"),
            (TOOL.replace(r#"["/bin/tool", "--fast"]"#, "[]"), "oci.args"),
            (TOOL.replace("--fast", "\\u0000"), "oci.args"),
            (with("env = { \"A=B\" = \"1\" }"), "oci.env"),
            (with("cwd = \"work\""), "oci.cwd"),
            (with("pids = 0"), "oci.pids"),
            (with("pids = 99999"), "oci.pids"),
            (with("rootfs_bytes = 0"), "oci.rootfs_bytes"),
            (with("time_s = 0"), "oci.time_s"),
            (with("privileged = true"), "container.toml"),
            (TOOL.replace("67108864", "0"), "needs.memory_bytes"),
            (TOOL.replace("runtime = \"oci\"", "runtime = \"builtin\""), "oci"),
            (TOOL.split("[oci]").next().unwrap().to_string(), "oci"),
        ];
        for (text, field) in cases {
            assert_eq!(Manifest::from_toml(&text).unwrap_err().field, field, "{text}");
        }
    }
}
