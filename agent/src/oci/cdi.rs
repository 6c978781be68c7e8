//! Devices by the Container Device Interface (CNCF, CDI 0.6): what a vendor's file says a container needs to use a GPU.
//!
//! Files lie in `/etc/cdi` and `/var/run/cdi`; the latter wins. They are YAML, as `nvidia-ctk cdi generate` writes, or JSON.
//! The vendor's tools wrote them as root, so their hooks and mounts are believed.

use crate::sensing::host_root::HostRoot;
use oci_spec::OciSpecError;
use oci_spec::runtime::{
    Hook, HookBuilder, Hooks, HooksBuilder, LinuxDevice, LinuxDeviceBuilder, LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType,
    Mount, MountBuilder,
};
use serde::Deserialize;
use std::path::PathBuf;

/// Where the files are, the weaker first.
const FOLDERS: [&str; 2] = ["etc/cdi", "var/run/cdi"];
const MAX_FILE_BYTES: u64 = 4 << 20;

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    kind: String,
    #[serde(default)]
    devices: Vec<Device>,
    #[serde(default)]
    container_edits: Edits,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Device {
    name: String,
    #[serde(default)]
    container_edits: Edits,
}

/// What is added to a container's configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Edits {
    env: Vec<String>,
    device_nodes: Vec<DeviceNode>,
    mounts: Vec<CdiMount>,
    hooks: Vec<CdiHook>,
    additional_gids: Vec<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeviceNode {
    path: PathBuf,
    host_path: Option<PathBuf>,
    #[serde(rename = "type")]
    kind: Option<String>,
    major: Option<i64>,
    minor: Option<i64>,
    file_mode: Option<u32>,
    permissions: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CdiMount {
    host_path: PathBuf,
    container_path: PathBuf,
    #[serde(default)]
    options: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CdiHook {
    hook_name: String,
    path: PathBuf,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: Vec<String>,
    timeout: Option<i64>,
}

/// The CDI kind for one of a manifest's accelerators; `None` for those that need no device.
fn kind(accelerator: &str) -> Option<&'static str> {
    let vendor = accelerator.split(['>', ':', '=']).next()?;
    match vendor {
        "cuda" => Some("nvidia.com/gpu"),
        "rocm" => Some("amd.com/gpu"),
        _ => None,
    }
}

/// What a container with these accelerators is given. Any of them will do, so the processor alone does where it is named.
///
/// # Errors
/// Which file is missing, in a sentence.
pub(super) fn edits(root: &HostRoot, accelerators: &[String]) -> Result<Edits, String> {
    let wanted: Vec<&str> = accelerators.iter().filter_map(|a| kind(a)).collect();
    if wanted.is_empty() {
        return Ok(Edits::default());
    }
    let specs = read(root);
    let found = wanted.iter().find_map(|kind| specs.iter().rev().find(|spec| spec.kind == *kind));
    match found {
        Some(spec) => Ok(spec.whole(root)),
        None if accelerators.iter().any(|a| a == "cpu") => Ok(Edits::default()),
        None => Err(format!(
            "no CDI specification for {} is in /etc/cdi or /var/run/cdi; for NVIDIA write one with `nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml`",
            wanted.join(" or ")
        )),
    }
}

fn read(root: &HostRoot) -> Vec<Spec> {
    let mut specs = vec![];
    for folder in FOLDERS.map(|f| root.top(f)) {
        for name in root.read_names(&folder).unwrap_or_default() {
            // By the specification nothing else is one, other spellings of the same ending included.
            let parse = match name.rsplit_once('.') {
                Some((_, "json")) => from_json,
                Some((_, "yaml" | "yml")) => from_yaml,
                _ => continue,
            };
            let place = folder.join(&name);
            let read = root.read_bytes(&place, MAX_FILE_BYTES).map_err(|e| e.to_string());
            match read.and_then(|bytes| parse(&bytes)) {
                Ok(spec) => specs.push(spec),
                Err(error) => tracing::warn!(%place, error, "a CDI specification cannot be used"),
            }
        }
    }
    specs
}

fn from_json(bytes: &[u8]) -> Result<Spec, String> {
    serde_json::from_slice(bytes).map_err(|e| e.to_string())
}

fn from_yaml(bytes: &[u8]) -> Result<Spec, String> {
    serde_saphyr::from_slice(bytes).map_err(|e| e.to_string())
}

impl Spec {
    /// The device `all`, or every device, with what all of them share.
    fn whole(&self, root: &HostRoot) -> Edits {
        let all: Vec<_> = self.devices.iter().filter(|d| d.name == "all").collect();
        let devices = if all.is_empty() { self.devices.iter().collect() } else { all };
        let mut edits = self.container_edits.clone();
        for device in devices {
            let more = device.container_edits.clone();
            edits.env.extend(more.env);
            edits.device_nodes.extend(more.device_nodes);
            edits.mounts.extend(more.mounts);
            edits.hooks.extend(more.hooks);
            edits.additional_gids.extend(more.additional_gids);
        }
        let mut seen = std::collections::HashSet::new();
        edits.device_nodes.retain(|node| seen.insert(node.path.clone()));
        for node in &mut edits.device_nodes {
            node.look(root);
        }
        edits
    }
}

impl DeviceNode {
    /// Takes the numbers from the machine where the file does not give them.
    fn look(&mut self, root: &HostRoot) {
        use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
        if self.major.is_some() && self.minor.is_some() {
            return;
        }
        let path = self.host_path.as_ref().unwrap_or(&self.path);
        if let Ok(meta) = std::fs::metadata(root.folder().join(path.strip_prefix("/").unwrap_or(path))) {
            self.major = Some(rustix::fs::major(meta.rdev()).into());
            self.minor = Some(rustix::fs::minor(meta.rdev()).into());
            self.kind = self.kind.take().or_else(|| Some(if meta.file_type().is_block_device() { "b".into() } else { "c".into() }));
        }
    }

    fn kind(&self) -> LinuxDeviceType {
        if self.kind.as_deref() == Some("b") { LinuxDeviceType::B } else { LinuxDeviceType::C }
    }
}

impl Edits {
    pub(super) fn env(&self) -> impl Iterator<Item = String> {
        self.env.iter().cloned()
    }

    pub(super) fn groups(&self) -> Vec<u32> {
        self.additional_gids.clone()
    }

    pub(super) fn mounts(&self) -> Result<Vec<Mount>, OciSpecError> {
        let mount = |m: &CdiMount| {
            let default = || ["ro", "nosuid", "nodev", "bind"].map(String::from).to_vec();
            let options = if m.options.is_empty() { default() } else { m.options.clone() };
            MountBuilder::default()
                .destination(&m.container_path)
                .source(&m.host_path)
                .typ("bind")
                .options(options)
                .build()
        };
        self.mounts.iter().map(mount).collect()
    }

    /// The nodes; one whose numbers nobody knows is left out, the vendor's library says so then.
    pub(super) fn devices(&self) -> Result<Vec<LinuxDevice>, OciSpecError> {
        let node = |n: &DeviceNode| {
            let (major, minor) = (n.major?, n.minor?);
            let device = LinuxDeviceBuilder::default().path(&n.path).typ(n.kind()).major(major).minor(minor);
            Some(device.file_mode(n.file_mode.unwrap_or(0o666)).uid(0_u32).gid(0_u32).build())
        };
        self.device_nodes.iter().filter_map(node).collect()
    }

    /// The rules for the device cgroup: everything is denied but these and what every container has.
    pub(super) fn device_rules(&self) -> Result<Vec<LinuxDeviceCgroup>, OciSpecError> {
        let mut rules = vec![LinuxDeviceCgroupBuilder::default().allow(false).access("rwm").build()?];
        for node in &self.device_nodes {
            if let (Some(major), Some(minor)) = (node.major, node.minor) {
                let rule = LinuxDeviceCgroupBuilder::default().allow(true).typ(node.kind()).major(major).minor(minor);
                rules.push(rule.access(node.permissions.clone().unwrap_or_else(|| "rw".into())).build()?);
            }
        }
        Ok(rules)
    }

    pub(super) fn hooks(&self) -> Result<Option<Hooks>, OciSpecError> {
        if self.hooks.is_empty() {
            return Ok(None);
        }
        let of = |name: &str| -> Result<Vec<Hook>, OciSpecError> {
            let hook = |h: &CdiHook| {
                let mut hook = HookBuilder::default().path(&h.path).args(h.args.clone()).env(h.env.clone());
                if let Some(seconds) = h.timeout {
                    hook = hook.timeout(seconds);
                }
                hook.build()
            };
            self.hooks.iter().filter(|h| h.hook_name == name).map(hook).collect()
        };
        let hooks = HooksBuilder::default()
            .create_runtime(of("createRuntime")?)
            .create_container(of("createContainer")?)
            .start_container(of("startContainer")?)
            .poststart(of("poststart")?)
            .poststop(of("poststop")?);
        hooks.build().map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// As `nvidia-ctk cdi generate` writes it, shortened.
    const NVIDIA: &str = r#"{
        "cdiVersion": "0.6.0", "kind": "nvidia.com/gpu",
        "devices": [
            {"name": "0", "containerEdits": {"deviceNodes": [{"path": "/DEV/nvidia0", "major": 195, "minor": 0}]}},
            {"name": "all", "containerEdits": {"deviceNodes": [{"path": "/DEV/nvidia0", "major": 195, "minor": 0}, {"path": "/DEV/lost"}]}}
        ],
        "containerEdits": {
            "env": ["NVIDIA_VISIBLE_DEVICES=void"],
            "deviceNodes": [{"path": "/DEV/nvidiactl", "major": 195, "minor": 255}],
            "mounts": [{"hostPath": "/usr/lib/libcuda.so.1", "containerPath": "/usr/lib/libcuda.so.1", "options": ["ro", "bind"]}],
            "hooks": [{"hookName": "createContainer", "path": "/usr/bin/nvidia-cdi-hook", "args": ["nvidia-cdi-hook", "update-ldcache"]}]
        }
    }"#;

    fn root(files: &[(&str, &str)]) -> (tempfile::TempDir, HostRoot) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text.replace("/DEV/", &format!("/{}/", "dev"))).unwrap();
        }
        let root = HostRoot::recorded(folder.path());
        (folder, root)
    }

    #[test]
    fn a_recorded_machine_s_gpu_is_given_with_all_that_belongs_to_it() {
        let (_folder, root) = root(&[("etc/cdi/nvidia.json", NVIDIA), ("etc/cdi/broken.json", "{"), ("etc/cdi/other.yaml", "kind: x: y")]);
        let edits = edits(&root, &["cuda>=8.0".into()]).unwrap();
        let devices = serde_json::to_value(edits.devices().unwrap()).unwrap();
        assert_eq!(devices.as_array().unwrap().len(), 2, "nvidiactl and nvidia0 once, and not the one nobody has: {devices}");
        let rules = serde_json::to_value(edits.device_rules().unwrap()).unwrap();
        assert_eq!((&rules[0]["allow"], &rules[1]["minor"]), (&false.into(), &255.into()));
        assert_eq!(edits.mounts().unwrap()[0].destination().to_str().unwrap(), "/usr/lib/libcuda.so.1");
        let hooks = serde_json::to_value(edits.hooks().unwrap().unwrap()).unwrap();
        assert_eq!(hooks["createContainer"][0]["args"][1], "update-ldcache");
        assert_eq!(edits.env().next().unwrap(), "NVIDIA_VISIBLE_DEVICES=void");
    }

    /// As `nvidia-ctk cdi generate` writes it without being asked for JSON, on a machine with two GPUs.
    const NVIDIA_YAML: &str = include_str!("cdi/nvidia.yaml");

    #[test]
    fn what_the_vendor_s_tool_writes_by_itself_is_read() {
        let (_folder, root) = root(&[("etc/cdi/nvidia.yaml", NVIDIA_YAML), ("etc/cdi/notes.txt", "kind: nvidia.com/gpu")]);
        let edits = edits(&root, &["cuda".into()]).unwrap();
        let devices = serde_json::to_value(edits.devices().unwrap()).unwrap();
        let paths: Vec<_> = devices.as_array().unwrap().iter().filter_map(|d| d["path"].as_str()?.rsplit('/').next()).collect();
        assert_eq!(paths, ["nvidia-uvm", "nvidiactl", "nvidia0", "nvidia1"], "each of them once");
        assert_eq!(
            edits.env().collect::<Vec<_>>(),
            ["NVIDIA_CTK_LIBCUDA_DIR=/usr/lib/x86_64-linux-gnu", "NVIDIA_VISIBLE_DEVICES=void"]
        );
        let mounts = edits.mounts().unwrap();
        assert_eq!(mounts.len(), 3);
        assert_eq!(mounts[0].options().as_ref().unwrap()[0], "ro");
        let hooks = serde_json::to_value(edits.hooks().unwrap().unwrap()).unwrap();
        let hook = &hooks["createContainer"][0];
        assert_eq!((&hook["args"][2], &hook["env"][0]), (&"--link".into(), &"NVIDIA_CTK_DEBUG=false".into()));
    }

    #[test]
    fn a_file_that_is_hostile_is_left_out_and_the_others_are_read() {
        // Nine levels of ten aliases each: a thousand million of them.
        let levels = (1..=9).map(|n| format!("l{n}: &l{n} [{}]\n", vec![format!("*l{}", n - 1); 10].join(", ")));
        let bomb = format!("l0: &l0 [x]\n{}kind: nvidia.com/gpu\n", levels.collect::<String>());
        let deep = format!("kind: {}", "[".repeat(200_000));
        let (_folder, root) = root(&[
            ("etc/cdi/a.yml", NVIDIA_YAML),
            ("etc/cdi/bomb.yaml", &bomb),
            ("etc/cdi/deep.yaml", &deep),
            ("etc/cdi/x.yaml", "\0"),
        ]);
        assert!(edits(&root, &["cuda".into()]).is_ok_and(|edits| edits.env.len() == 2));
    }

    #[test]
    fn without_a_specification_only_the_processor_does() {
        let (_folder, root) = root(&[]);
        assert!(edits(&root, &["cuda".into()]).unwrap_err().contains("nvidia.com/gpu"));
        assert_eq!(edits(&root, &["cuda".into(), "cpu".into()]).unwrap(), Edits::default());
        assert_eq!(edits(&root, &["cpu".into()]).unwrap(), Edits::default());
    }

    #[test]
    fn what_was_generated_for_this_boot_wins() {
        let other = NVIDIA.replace("=void", "=other");
        let (_folder, root) = root(&[("etc/cdi/a.json", NVIDIA), ("var/run/cdi/a.json", &other)]);
        assert_eq!(edits(&root, &["cuda".into()]).unwrap().env().next().unwrap(), "NVIDIA_VISIBLE_DEVICES=other");
    }
}
