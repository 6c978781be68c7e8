//! Folders of containers, made for a test: small, and the same every time. Some only stand there; programs are really run, by the
//! OCI runtime of this machine.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

/// The manifest of a container that takes nothing and gives text.
fn manifest(name: &str, runtime: &str) -> String {
    let run = "[needs]\nmemory_bytes = 16777216\n[oci]\nargs = [\"/bin/program\"]\n";
    format!(
        "name = \"{name}\"\nversion = \"1.0.0\"\nsummary = \"Stands in for runtime {runtime}\"\nruntime = \"{runtime}\"\n\
         inputs = []\noutputs = [{{ port = \"out\", media = \"text/plain\" }}]\n{}",
        if runtime == "oci" { run } else { "" }
    )
}

/// Puts a container with these files into a folder of its own below `home`.
///
/// # Panics
/// When it cannot be written.
pub fn put_container(home: &Path, name: &str, runtime: &str, files: &[(&str, &[u8])]) {
    let folder = home.join(name);
    let text = manifest(name, runtime);
    for (file, content) in files.iter().copied().chain([("container.toml", text.as_bytes())]) {
        let path = folder.join(file);
        fs::create_dir_all(path.parent().expect("a file lies in a folder")).expect("the folder can be made");
        fs::write(&path, content).expect("the file can be written");
    }
}

/// Why programs in containers cannot be run on this machine.
///
/// # Errors
/// Not root, no static busybox, or no OCI runtime.
pub fn can_run_programs() -> Result<(), &'static str> {
    let runtimes = ["/usr/sbin/runc", "/usr/bin/runc", "/usr/bin/crun"];
    if !rustix::process::geteuid().is_root() {
        return Err("containers are run by root");
    }
    if !Path::new("/bin/busybox").is_file() {
        return Err("there is no /bin/busybox");
    }
    if !runtimes.iter().any(|path| Path::new(path).exists()) {
        return Err("there is no OCI runtime");
    }
    Ok(())
}

/// A program in a container: a shell script, or a program of the test's own.
#[derive(Debug, Clone)]
pub struct Program<'a> {
    /// Its name.
    pub name: &'a str,
    /// What is started: an absolute path and its arguments.
    pub args: &'a [&'a str],
    /// More lines of `[oci]`.
    pub bounds: &'a str,
}

impl<'a> Program<'a> {
    /// A script, in no bounds of its own. It reads `/in/text` and writes `/out/out`.
    pub fn script(name: &'a str, args: &'a [&'a str; 3]) -> Self {
        Self { name, args, bounds: "" }
    }

    /// Writes the container into a folder of its own below `modules`, whole at once, since a running agent looks there.
    ///
    /// # Panics
    /// When it cannot be written, or there is no `tar`.
    pub fn put(&self, scratch: &Path, modules: &Path) {
        let (root, folder) = (scratch.join("root"), scratch.join(self.name));
        fs::create_dir_all(root.join("bin")).expect("the root can be made");
        fs::create_dir_all(&folder).expect("the folder can be made");
        if !root.join("bin/busybox").exists() {
            fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox can be copied");
            for name in ["sh", "cat", "sleep"] {
                symlink("busybox", root.join("bin").join(name)).expect("a link can be made");
            }
            let crash = root.join("bin/crash");
            fs::write(&crash, crash_program()).expect("the program can be written");
            fs::set_permissions(&crash, fs::Permissions::from_mode(0o755)).expect("it can be made a program");
        }
        let packed = Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(folder.join("rootfs.tar")).arg("bin").status();
        assert!(packed.expect("tar can be run").success());
        let manifest = format!(
            "name = \"{}\"\nversion = \"1.0.0\"\nsummary = \"A program\"\nruntime = \"oci\"\n\
             inputs = [{{ port = \"text\", media = \"text/plain\" }}]\noutputs = [{{ port = \"out\", media = \"text/plain\" }}]\n\
             [needs]\nmemory_bytes = 67108864\n[oci]\nargs = {}\n{}\n",
            self.name,
            serde_json::to_string(self.args).expect("strings are JSON"),
            self.bounds,
        );
        fs::write(folder.join("container.toml"), manifest).expect("the manifest can be written");
        fs::rename(&folder, modules.join(self.name)).expect("the folder can be moved");
    }
}

/// The smallest program that dies by its own doing: its only instruction is one that no processor has. A signal that a program
/// sends to itself would not do, since the first process of a container is spared those.
fn crash_program() -> Vec<u8> {
    // ud2 on x86-64, udf #0 on AArch64.
    let (machine, code): (u16, &[u8]) = if cfg!(target_arch = "aarch64") { (183, &[0; 4]) } else { (62, &[0x0f, 0x0b]) };
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let size = HEADERS + code.len() as u64;
    // ELF-64, little endian: header, one loadable segment, and the code right behind them (System V ABI, chapter 4).
    let mut program = b"\x7fELF\x02\x01\x01".to_vec();
    program.resize(16, 0);
    program.extend([2_u16, machine].map(u16::to_le_bytes).concat());
    program.extend(1_u32.to_le_bytes());
    program.extend([BASE + HEADERS, 64, 0].map(u64::to_le_bytes).concat());
    program.extend(0_u32.to_le_bytes());
    program.extend([64_u16, 56, 1, 0, 0, 0].map(u16::to_le_bytes).concat());
    program.extend([1_u32, 5].map(u32::to_le_bytes).concat());
    program.extend([0, BASE, BASE, size, size, 0x1000].map(u64::to_le_bytes).concat());
    program.extend(code);
    program
}
