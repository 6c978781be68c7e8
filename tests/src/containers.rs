//! Folders of containers, made for a test: small, and the same every time.

use std::fs;
use std::path::Path;

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
