//! What the OCI runtime is told: a `config.json` from a manifest, folders and limits. Nothing here touches the machine.
//!
//! Every container gets the same enclosure: its own namespaces, an empty network, a read-only root, no capability, no new
//! privileges, the system call filter, and a cgroup with limits of memory, processor and processes.

use super::cdi::Edits;
use super::find::Confinement;
use super::inside::{self, MASKED, READ_ONLY};
use super::seccomp;
use oci_spec::OciSpecError;
use oci_spec::runtime::{
    Linux, LinuxBuilder, LinuxCapabilitiesBuilder, LinuxCpuBuilder, LinuxIdMapping, LinuxIdMappingBuilder, LinuxMemoryBuilder,
    LinuxNamespaceBuilder, LinuxNamespaceType, LinuxPidsBuilder, LinuxResourcesBuilder, PosixRlimitBuilder, PosixRlimitType, Process,
    ProcessBuilder, RootBuilder, Spec, SpecBuilder, UserBuilder,
};
use ouro_common::container::OciProcess;
use std::path::Path;

/// Where the user namespace's ids begin on this machine: a range that systemd's and shadow's allocations leave free
/// (systemd, "Users, Groups, UIDs and GIDs").
pub(super) const ID_BASE: u32 = 0x7000_0000;
/// How many there are.
const ID_COUNT: u32 = 65_536;
/// Without a user namespace programs run as `nobody`.
const NOBODY: u32 = 65_534;
/// A runtime starts inside the container's limits; below this it cannot.
pub(super) const LEAST_MEMORY_BYTES: u64 = 32 << 20;
/// The period over which processor time is counted out, µs.
const PERIOD_US: u64 = 100_000;
const OPEN_FILES: u64 = 4096;

/// What a bundle is made from.
pub(super) struct Bundle<'a> {
    /// What runs.
    pub(super) process: &'a OciProcess,
    /// What this machine can enclose it with.
    pub(super) confinement: &'a Confinement,
    /// The root filesystem.
    pub(super) rootfs: &'a Path,
    /// The folder with the inputs.
    pub(super) input: &'a Path,
    /// The folder for the outputs.
    pub(super) output: &'a Path,
    /// The cgroup, from the hierarchy's top.
    pub(super) cgroup: &'a str,
    /// Memory, bytes.
    pub(super) memory_bytes: u64,
    /// The largest file it may write, bytes.
    pub(super) file_bytes: u64,
    /// Processor time, in processors.
    pub(super) cpus: u32,
    /// Devices and what belongs to them.
    pub(super) edits: &'a Edits,
}

/// Who the program runs as, as this machine sees it: the owner of `/out`.
pub(super) fn owner(confinement: &Confinement) -> u32 {
    if confinement.user_namespace { ID_BASE } else { NOBODY }
}

/// By how much the owners in layers are shifted.
pub(super) fn shift(confinement: &Confinement) -> u32 {
    if confinement.user_namespace { ID_BASE } else { 0 }
}

impl Bundle<'_> {
    /// The configuration.
    pub(super) fn config(&self) -> Result<Spec, OciSpecError> {
        let mut mounts = inside::mounts(self.input, self.output, self.process.tmp_bytes)?;
        mounts.extend(self.edits.mounts()?);
        let mut spec = SpecBuilder::default()
            .version("1.0.2")
            .root(RootBuilder::default().path(self.rootfs).readonly(true).build()?)
            .hostname("ouroboros")
            .process(self.process()?)
            .mounts(mounts)
            .linux(self.linux()?);
        if let Some(hooks) = self.edits.hooks()? {
            spec = spec.hooks(hooks);
        }
        spec.build()
    }

    fn process(&self) -> Result<Process, OciSpecError> {
        let mut env = vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_string(), "HOME=/tmp".to_string()];
        env.extend(self.edits.env());
        env.extend(self.process.env.iter().map(|(name, value)| format!("{name}={value}")));
        let id = if self.confinement.user_namespace { 0 } else { NOBODY };
        let limit = |kind, most: u64| PosixRlimitBuilder::default().typ(kind).hard(most).soft(most).build();
        let none = std::collections::HashSet::new;
        let capabilities = LinuxCapabilitiesBuilder::default().bounding(none()).effective(none()).inheritable(none());
        ProcessBuilder::default()
            .terminal(false)
            .user(UserBuilder::default().uid(id).gid(id).additional_gids(self.edits.groups()).build()?)
            .args(self.process.args.clone())
            .env(env)
            .cwd(self.process.cwd.clone())
            .capabilities(capabilities.permitted(none()).ambient(none()).build()?)
            .rlimits(vec![
                limit(PosixRlimitType::RlimitNofile, OPEN_FILES)?,
                limit(PosixRlimitType::RlimitCore, 0)?,
                limit(PosixRlimitType::RlimitFsize, self.file_bytes)?,
            ])
            .no_new_privileges(true)
            .oom_score_adj(500)
            .build()
    }

    fn linux(&self) -> Result<Linux, OciSpecError> {
        let mut kinds = vec![
            LinuxNamespaceType::Pid,
            LinuxNamespaceType::Network,
            LinuxNamespaceType::Ipc,
            LinuxNamespaceType::Uts,
            LinuxNamespaceType::Mount,
            LinuxNamespaceType::Cgroup,
        ];
        if self.confinement.user_namespace {
            kinds.push(LinuxNamespaceType::User);
        }
        let namespaces: Result<Vec<_>, _> = kinds.into_iter().map(|kind| LinuxNamespaceBuilder::default().typ(kind).build()).collect();
        let bytes = i64::try_from(self.memory_bytes.max(LEAST_MEMORY_BYTES)).unwrap_or(i64::MAX);
        let mut memory = LinuxMemoryBuilder::default().limit(bytes);
        if self.confinement.swap {
            // Memory and swap together: none of it may be swapped out.
            memory = memory.swap(bytes);
        }
        let quota = i64::try_from(PERIOD_US * u64::from(self.cpus.max(1))).unwrap_or(i64::MAX);
        let resources = LinuxResourcesBuilder::default()
            .memory(memory.build()?)
            .cpu(LinuxCpuBuilder::default().quota(quota).period(PERIOD_US).build()?)
            .pids(LinuxPidsBuilder::default().limit(i64::from(self.process.pids)).build()?)
            .devices(self.edits.device_rules()?)
            .build()?;
        let mut linux = LinuxBuilder::default()
            .namespaces(namespaces?)
            .resources(resources)
            .cgroups_path(self.cgroup)
            .seccomp(seccomp::profile()?)
            .devices(self.edits.devices()?)
            .masked_paths(MASKED.map(String::from).to_vec())
            .readonly_paths(READ_ONLY.map(String::from).to_vec());
        if self.confinement.user_namespace {
            linux = linux.uid_mappings(mapping()?).gid_mappings(mapping()?);
        }
        linux.build()
    }
}

fn mapping() -> Result<Vec<LinuxIdMapping>, OciSpecError> {
    Ok(vec![LinuxIdMappingBuilder::default().container_id(0_u32).host_id(ID_BASE).size(ID_COUNT).build()?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config(user_namespace: bool, swap: bool) -> serde_json::Value {
        let process = serde_json::from_value(json!({"args": ["/tool", "-x"], "env": {"A": "1"}, "pids": 7, "tmp_bytes": 4096})).unwrap();
        let bundle = Bundle {
            process: &process,
            confinement: &Confinement { user_namespace, swap },
            rootfs: Path::new("/r"),
            input: Path::new("/i"),
            output: Path::new("/o"),
            cgroup: "/ouroboros/a/b",
            memory_bytes: 1 << 30,
            file_bytes: 5000,
            cpus: 2,
            edits: &Edits::default(),
        };
        serde_json::to_value(bundle.config().unwrap()).unwrap()
    }

    #[test]
    fn nothing_is_left_out_of_the_enclosure() {
        let config = config(true, true);
        assert_eq!((&config["root"]["readonly"], &config["process"]["noNewPrivileges"]), (&json!(true), &json!(true)));
        for set in ["bounding", "effective", "inheritable", "permitted", "ambient"] {
            assert_eq!(config["process"]["capabilities"][set], json!([]), "{set}");
        }
        let namespaces: Vec<_> = config["linux"]["namespaces"].as_array().unwrap().iter().map(|n| n["type"].as_str().unwrap()).collect();
        assert_eq!(namespaces, ["pid", "network", "ipc", "uts", "mount", "cgroup", "user"]);
        assert!(config["linux"]["namespaces"][1].get("path").is_none(), "a network of its own, and nothing in it");
        let resources = &config["linux"]["resources"];
        assert_eq!((&resources["memory"]["limit"], &resources["memory"]["swap"]), (&json!(1 << 30), &json!(1 << 30)));
        assert_eq!((&resources["pids"]["limit"], &resources["cpu"]["quota"]), (&json!(7), &json!(200_000)));
        assert_eq!(config["linux"]["seccomp"]["defaultAction"], "SCMP_ACT_ERRNO");
        assert_eq!(config["linux"]["uidMappings"], json!([{"containerID": 0, "hostID": ID_BASE, "size": 65_536}]));
        let mount = |at: &str| config["mounts"].as_array().unwrap().iter().find(|m| m["destination"] == at).unwrap()["options"].clone();
        assert!(mount("/in").as_array().unwrap().contains(&json!("ro")));
        assert!(mount("/tmp").as_array().unwrap().contains(&json!("size=4096")));
        for at in ["/in", "/out", "/tmp"] {
            for option in ["nosuid", "nodev"] {
                assert!(mount(at).as_array().unwrap().contains(&json!(option)), "{at} {option}");
            }
        }
    }

    #[test]
    fn without_a_user_namespace_it_runs_as_nobody() {
        let config = config(false, false);
        assert_eq!(config["process"]["user"]["uid"], 65_534);
        assert!(config["linux"].get("uidMappings").is_none());
        assert!(config["linux"]["resources"]["memory"].get("swap").is_none());
    }
}
