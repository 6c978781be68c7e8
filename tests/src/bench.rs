//! A folder in which modules are made and looked at, with `ouroctl` and with the tools of others.

use crate::containers::put_container;
use crate::ouroctl::{Ouroctl, Outcome};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A folder with `containers` in it, and a place for what is made of them.
#[derive(Debug)]
pub struct Bench {
    folder: tempfile::TempDir,
    ouroctl: Ouroctl,
}

impl Bench {
    /// With a model, a program and a tool in `containers`.
    ///
    /// # Panics
    /// When they cannot be written.
    #[expect(clippy::new_without_default, reason = "it makes files")]
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let bench = Self { ouroctl: Ouroctl::new(&folder.path().join("home")), folder };
        let containers = bench.path("containers");
        put_container(&containers, "model", "gguf", &[("model.gguf", &[7; 300_000])]);
        put_container(&containers, "program", "oci", &[("rootfs/bin/program", b"#!"), ("rootfs/etc/motd", b"hello\n")]);
        put_container(&containers, "tool", "builtin", &[]);
        bench
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `ouroctl` with a home in the folder.
    pub fn ouroctl(&self) -> &Ouroctl {
        &self.ouroctl
    }

    /// A place in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs `ouroctl` with these words; `F/` stands for the folder.
    pub fn run(&self, line: &str) -> Outcome {
        let folder = self.folder.path().display().to_string();
        let words: Vec<String> = line.split(' ').map(|word| word.replace("F/", &format!("{folder}/"))).collect();
        self.ouroctl.run(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Runs another program in the folder.
    ///
    /// # Panics
    /// When it is not installed or fails.
    pub fn other(&self, program: &str, arguments: &[&str], input: &str) -> Output {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{program}: {e}; `make prepare` installs it"));
        // A program that asks for no password closes its end.
        let _ = child.stdin.take().expect("it was piped").write_all(input.as_bytes());
        let output = child.wait_with_output().expect("it can be waited for");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments:?}: {said}{}", String::from_utf8_lossy(&output.stdout));
        output
    }

    /// The digests of the containers on a module.
    ///
    /// # Panics
    /// When it is no module.
    pub fn digests(&self, module: &str) -> Vec<String> {
        self.run(&format!("module inspect F/{module} --output quiet"))
            .exits(0)
            .stdout
            .lines()
            .map(str::to_string)
            .collect()
    }
}
