//! Compiles the protocol's definitions without needing `protoc`.

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new("proto");
    let package = root.join("ouroboros/poison/v1");
    let mut files: Vec<_> = std::fs::read_dir(&package)?.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>()?;
    files.retain(|p| p.extension().is_some_and(|e| e == "proto"));
    files.sort();
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(&files, [root])?;
    let mut methods = Vec::new();
    for file in &descriptors.file {
        for service in &file.service {
            for method in &service.method {
                methods.push(format!("/{}.{}/{}", file.package(), service.name(), method.name()));
            }
        }
    }
    let list = Path::new(&std::env::var("OUT_DIR")?).join("methods.rs");
    std::fs::write(list, format!("&{methods:?}"))?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
