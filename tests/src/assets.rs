//! What tests take from the source tree and the machine: the programs, the models, the recorded machines.

use std::path::{Path, PathBuf};

/// The root of the source tree.
pub fn tree() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the tree").to_path_buf()
}

/// A program of this workspace: from `OURO_BIN_DIR`, else beside the running test.
///
/// # Panics
/// When it has not been built.
pub fn program(name: &str) -> PathBuf {
    let beside = || {
        let own = std::env::current_exe().expect("the test knows its own path");
        // target/debug/deps/test-hash, or target/debug/program
        let folder = own.parent().expect("a program lies in a folder");
        if folder.ends_with("deps") {
            folder.parent().expect("deps lies in a folder").to_path_buf()
        } else {
            folder.to_path_buf()
        }
    };
    let folder = std::env::var_os("OURO_BIN_DIR").filter(|d| !d.is_empty()).map_or_else(beside, PathBuf::from);
    let path = folder.join(name);
    assert!(path.exists(), "{} is not built; run `cargo build --workspace --bins`", path.display());
    path
}

/// The small model of the first pass.
pub fn first_pass_model() -> PathBuf {
    tree().join("models/first-pass-tiny/first-pass-tiny.gguf")
}

/// A recorded machine's root.
pub fn recorded_machine(name: &str) -> PathBuf {
    tree().join("hw-fixtures").join(name).join("root")
}

/// The ONNX Runtime library, as `make prepare` leaves it. `None`: it is not on this machine.
pub fn onnxruntime() -> Option<PathBuf> {
    let named = std::env::var_os("ORT_DYLIB_PATH").map(PathBuf::from);
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let prepared = cache.map(|c| c.join("ouroboros/onnxruntime/libonnxruntime.so"));
    named.into_iter().chain(prepared).find(|path| path.exists())
}

/// Makes a module folder with copies of sample containers.
///
/// # Panics
/// When a container is not in the tree.
pub fn module_with(folder: &Path, containers: &[&str]) {
    for name in containers {
        copy_folder(&tree().join("models/containers").join(name), &folder.join(name));
    }
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap_or_else(|e| panic!("{}: {e}", to.display()));
    for entry in std::fs::read_dir(from).unwrap_or_else(|e| panic!("{}: {e}", from.display())) {
        let entry = entry.expect("a folder can be read");
        if entry.file_type().is_ok_and(|t| t.is_file()) {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap_or_else(|e| panic!("{}: {e}", entry.path().display()));
        }
    }
}
