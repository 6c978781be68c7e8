//! The block devices of this machine, as `lsblk` tells of them, and which of them may be written over.

use ouro_common::error::{Fault, FaultCode};
use serde::Deserialize;
use std::path::Path;
use std::process::{Command, Stdio};

/// What is asked of `lsblk`.
const COLUMNS: &str = "NAME,TYPE,SIZE,RO,MOUNTPOINTS,FSTYPE,LABEL,TRAN,MODEL";
/// A mount point that is one of these, or lies below one of them, belongs to the running system.
const SYSTEM: [&str; 8] = ["/boot", "/efi", "/usr", "/var", "/etc", "/home", "/opt", "[SWAP]"];

/// A device, with those that are parts of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Disk {
    /// Its path.
    pub(crate) name: String,
    /// `disk`, `part`, `loop`, `crypt` …
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// Its size, bytes.
    pub(crate) size: u64,
    /// Whether it cannot be written.
    ro: bool,
    #[serde(default)]
    mountpoints: Vec<Option<String>>,
    fstype: Option<String>,
    /// The label of the file system on it.
    pub(crate) label: Option<String>,
    tran: Option<String>,
    model: Option<String>,
    #[serde(default)]
    children: Vec<Disk>,
}

impl Disk {
    /// Where it and its parts are mounted.
    pub(crate) fn mounted(&self) -> Vec<&str> {
        let own = self.mountpoints.iter().flatten().map(String::as_str);
        own.chain(self.children.iter().flat_map(Self::mounted)).collect()
    }

    /// This device and all its parts.
    pub(crate) fn all(&self) -> Vec<&Self> {
        let mut all = vec![self];
        all.extend(self.children.iter().flat_map(Self::all));
        all
    }

    /// How it is attached and what it is called, as far as known: `usb SanDisk Ultra`.
    pub(crate) fn called(&self) -> String {
        let known = [self.tran.as_deref(), self.model.as_deref()].into_iter().flatten().map(str::trim).filter(|t| !t.is_empty());
        let known: Vec<_> = known.collect();
        if known.is_empty() { self.kind.clone() } else { known.join(" ") }
    }

    /// What is on it now, for the question before it is lost.
    pub(crate) fn holds(&self) -> String {
        let parts = self.all().len() - 1;
        match (&self.fstype, &self.label, parts) {
            (_, _, 1) => "1 partition".into(),
            (_, _, parts) if parts > 1 => format!("{parts} partitions"),
            (Some(fs), Some(label), _) => format!("{fs}, labelled {label}"),
            (Some(fs), None, _) => fs.clone(),
            (None, ..) => "nothing that is recognised".into(),
        }
    }
}

/// The devices of this machine.
///
/// # Errors
/// `lsblk` is missing, too old, or prints something else than it should.
pub(crate) fn disks() -> Result<Vec<Disk>, Fault> {
    let mut lsblk = Command::new("lsblk");
    lsblk.args(["--json", "--bytes", "--paths", "--output", COLUMNS]).stdin(Stdio::null());
    let missing = |problem: String| {
        Fault::new(FaultCode::PartMissing, problem)
            .at("lsblk")
            .remedy("install util-linux 2.37 or newer (`apt install util-linux`)")
    };
    let output = lsblk.output().map_err(|e| missing(format!("lsblk cannot be run: {e}")))?;
    if !output.status.success() {
        return Err(missing(format!("lsblk failed: {}", String::from_utf8_lossy(&output.stderr).trim())));
    }
    parse(&output.stdout).map_err(|e| missing(format!("what lsblk printed is not understood: {e}")))
}

fn parse(json: &[u8]) -> Result<Vec<Disk>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Lsblk {
        blockdevices: Vec<Disk>,
    }
    Ok(serde_json::from_slice::<Lsblk>(json)?.blockdevices)
}

/// The device at `path`, if it may be written over with `bytes`.
///
/// # Errors
/// Why it may not.
pub(crate) fn writable<'a>(disks: &'a [Disk], path: &Path, bytes: u64) -> Result<&'a Disk, Fault> {
    let refused = |problem: String, remedy: &str| Fault::new(FaultCode::InvalidArgument, problem).at(path.display()).remedy(remedy);
    let whole = disks.iter().find(|disk| disk.all().iter().any(|part| Path::new(&part.name) == path));
    let found = whole.and_then(|whole| Some((whole, *whole.all().iter().find(|part| Path::new(&part.name) == path)?)));
    let Some((whole, target)) = found else {
        return Err(refused("it is no block device of this machine".into(), "`lsblk` shows them all"));
    };
    if let Some(mount) = whole.mounted().into_iter().find(|mount| is_system(mount)) {
        return Err(refused(
            format!("it is part of the disk that holds {mount} of the running system"),
            "choose another device; this one is never written to",
        ));
    }
    if let Some(mount) = target.mounted().first() {
        let remedy = format!("unmount it first: `umount {mount}`");
        return Err(refused(format!("it is mounted at {mount}"), &remedy));
    }
    if target.ro {
        return Err(refused("it is read-only".into(), "is there a switch on it, or is it a module in use by an agent here?"));
    }
    if target.size < bytes {
        return Err(refused(format!("it has {} bytes and the module needs {bytes}", target.size), "choose a larger device"));
    }
    Ok(target)
}

fn is_system(mount: &str) -> bool {
    mount == "/"
        || SYSTEM
            .iter()
            .any(|system| mount.strip_prefix(system).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Printed by util-linux 2.38 (`lsblk --json --bytes --paths`), device names and sizes changed.
    const LSBLK: &str = r#"{"blockdevices": [
        {"name":"X/sda","type":"disk","size":512110190592,"ro":false,"mountpoints":[null],"fstype":null,"label":null,"tran":"sata","model":"Disk A",
         "children": [
            {"name":"X/sda1","type":"part","size":536870912,"ro":false,"mountpoints":["/boot/efi"],"fstype":"vfat","label":null,"tran":null,"model":null},
            {"name":"X/sda2","type":"part","size":511573319680,"ro":false,"mountpoints":[null],"fstype":"crypto_LUKS","label":null,"tran":null,"model":null,
             "children":[{"name":"X/root","type":"crypt","size":511556542464,"ro":false,"mountpoints":["/"],"fstype":"ext4","label":null,"tran":null,"model":null}]},
            {"name":"X/sda3","type":"part","size":1048576,"ro":false,"mountpoints":[null],"fstype":null,"label":null,"tran":null,"model":null}]},
        {"name":"X/sdb","type":"disk","size":31457280,"ro":false,"mountpoints":[null],"fstype":"ext4","label":"OURO-OLD","tran":"usb","model":"Stick  "},
        {"name":"X/sdc","type":"disk","size":31457280,"ro":false,"mountpoints":["/media/photos"],"fstype":"vfat","label":null,"tran":"usb","model":"Stick"},
        {"name":"X/sdd","type":"disk","size":31457280,"ro":true,"mountpoints":[null],"fstype":null,"label":null,"tran":"usb","model":null}]}"#;

    #[test]
    fn only_what_is_nobody_s_may_be_written_over() {
        let disks = parse(LSBLK.as_bytes()).unwrap();
        let cases = [
            ("X/sda", "holds /boot/efi"),
            ("X/sda2", "of the running system"),
            ("X/sda3", "of the running system"),
            ("X/root", "of the running system"),
            ("X/sdc", "it is mounted at /media/photos"),
            ("X/sdd", "read-only"),
            ("X/sde", "no block device"),
            ("/etc/passwd", "no block device"),
        ];
        for (name, problem) in cases {
            let fault = writable(&disks, Path::new(name), 1).unwrap_err();
            assert!(fault.problem.contains(problem) && !fault.remedy.is_empty(), "{name}: {fault}");
        }
        let stick = writable(&disks, Path::new("X/sdb"), 31_457_280).unwrap();
        assert_eq!((stick.called().as_str(), stick.holds().as_str()), ("usb Stick", "ext4, labelled OURO-OLD"));
        assert!(writable(&disks, Path::new("X/sdb"), 31_457_281).unwrap_err().problem.contains("31457280 bytes"));
        assert_eq!(disks[0].holds(), "4 partitions");
        assert!(is_system("/var/lib/docker") && is_system("[SWAP]") && !is_system("/variety") && !is_system("/mnt"));
    }
}
