//! The arrows between crates, read from the manifests: what may depend on what, and what must never.

use crate::{Tree, Violation};

/// The workspace's crates, where each lies, and the workspace crates it may depend on.
const ARROWS: [(&str, &str, &[&str]); 8] = [
    ("common", "ouro-common", &[]),
    ("proto", "ouro-proto", &["ouro-common"]),
    ("engine", "ouro-engine", &["ouro-common"]),
    ("agent", "ouro-agent", &["ouro-common", "ouro-proto", "ouro-engine", "ouro-text-tools"]),
    ("models/text-tools", "ouro-text-tools", &[]),
    ("server", "ouro-server", &["ouro-common", "ouro-proto"]),
    ("cli", "ouro-cli", &["ouro-common", "ouro-proto"]),
    ("hw-fixtures", "hw-fixtures", &["ouro-common"]),
];
/// What makes a crate do I/O or asynchronous; nothing for `common`.
const RUNTIMES: [&str; 10] = [
    "tokio",
    "tokio-stream",
    "tokio-util",
    "tonic",
    "futures",
    "rusqlite",
    "rustix",
    "hyper-util",
    "async-trait",
    "sysinfo",
];

/// A dependency as a manifest declares it.
#[derive(Debug, PartialEq, Eq)]
struct Dependency {
    name: String,
    line: usize,
    dev: bool,
}

/// The dependencies a manifest declares, in any of the forms `name = …`, `name.workspace = true`, `[dependencies.name]`.
fn dependencies(manifest: &str) -> Vec<Dependency> {
    let (mut found, mut section) = (vec![], None);
    for (i, line) in manifest.lines().enumerate() {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[') {
            let header = header.trim_end_matches(']');
            let dev = header.contains("dev-dependencies");
            section = header.ends_with("dependencies").then_some(dev);
            if let Some((_, name)) = header.split_once("dependencies.") {
                found.push(Dependency { name: name.to_string(), line: i + 1, dev });
            }
        } else if let (Some(dev), Some((key, _))) = (section, line.split_once('='))
            && !line.starts_with('#')
        {
            let name = key.trim().split('.').next().unwrap_or(key).trim_matches('"').to_string();
            found.push(Dependency { name, line: i + 1, dev });
        }
    }
    found
}

/// The manifests of the workspace's crates: folder, path, dependencies. The workspace's own manifest is no crate.
fn manifests(tree: &Tree) -> impl Iterator<Item = (&str, &str, Vec<Dependency>)> {
    let crates = tree.files.iter().filter_map(|f| Some((f.path.strip_suffix("/Cargo.toml")?, f)));
    crates.map(|(folder, f)| (folder, f.path.as_str(), dependencies(f.text())))
}

/// Workspace crates depend on each other only along the arrows of the architecture, tests and build scripts included.
pub fn arrows(tree: &Tree) -> Vec<Violation> {
    let remedy = "the arrows are in docs/architecture.md; what both need belongs into `common`";
    let mut found = vec![];
    for (folder, path, dependencies) in manifests(tree) {
        let Some((_, _, allowed)) = ARROWS.iter().find(|(place, ..)| *place == folder) else {
            continue;
        };
        for dependency in dependencies {
            let ours = ARROWS.iter().any(|(_, name, _)| *name == dependency.name) || dependency.name == "tidy";
            let recorded_machines = dependency.name == "hw-fixtures" && dependency.dev && folder != "common";
            if ours && !recorded_machines && !allowed.contains(&dependency.name.as_str()) {
                found.push(Violation::at(path, dependency.line, format!("{folder} must not depend on {}", dependency.name), remedy));
            }
        }
    }
    found
}

/// Recorded machines are for tests: a dev-dependency everywhere.
pub fn fixtures_are_for_tests(tree: &Tree) -> Vec<Violation> {
    let remedy = "put it under [dev-dependencies]";
    let uses = manifests(tree).flat_map(|(_, path, all)| all.into_iter().map(move |d| (path, d)));
    // Whatever lies in tests/, the benchmark too, is no product.
    let bad = uses.filter(|(path, d)| d.name == "hw-fixtures" && !d.dev && !path.starts_with("tests/"));
    bad.map(|(path, d)| Violation::at(path, d.line, "hw-fixtures is built into a product", remedy)).collect()
}

/// `common` depends on no runtime and no I/O library.
pub fn common_is_plain(tree: &Tree) -> Vec<Violation> {
    let remedy = "common holds plain values and rules; do this in the part that needs it";
    let Some(manifest) = tree.file("common/Cargo.toml") else {
        return vec![];
    };
    let bad = dependencies(manifest.text()).into_iter().filter(|d| RUNTIMES.contains(&d.name.as_str()));
    bad.map(|d| Violation::at(&manifest.path, d.line, format!("common must not depend on {}", d.name), remedy))
        .collect()
}

/// The inference libraries are seen in `engine` alone: in no other manifest, and in no other code.
pub fn inference_in_its_box(tree: &Tree) -> Vec<Violation> {
    let remedy = "only `engine` knows candle and ort; call it through the agent's worker";
    let library = |name: &str| name == "ort" || name.starts_with("ort-") || name.starts_with("candle");
    let mut found = vec![];
    for (folder, path, dependencies) in manifests(tree).filter(|(folder, ..)| *folder != "engine") {
        let bad = dependencies.into_iter().filter(|d| library(&d.name));
        found.extend(bad.map(|d| Violation::at(path, d.line, format!("{folder} depends on {}", d.name), remedy)));
    }
    for (file, rust) in tree.rust().filter(|(file, _)| !file.is_in("engine")) {
        for word in ["ort::", "candle_core", "candle_nn", "candle_transformers"] {
            found.extend(
                rust.words(word)
                    .map(|(line, _)| Violation::at(&file.path, line, format!("`{word}` outside the engine"), remedy)),
            );
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::assert_catches;

    #[test]
    fn dependencies_are_read_in_every_form() {
        let text = "[package]\nname = \"a\"\n[dependencies]\nb.workspace = true\n# c = 1\n\"d\" = { version = \"1\" }\n\
                    [target.'cfg(unix)'.dev-dependencies]\ne = \"1\"\n[build-dependencies.f]\nversion = \"1\"\n[lints]\nworkspace = true\n";
        let found: Vec<_> = dependencies(text).into_iter().map(|d| (d.name, d.line, d.dev)).collect();
        let expected = [("b", 4, false), ("d", 6, false), ("e", 8, true), ("f", 9, false)];
        assert_eq!(found, expected.map(|(name, line, dev)| (name.to_string(), line, dev)));
    }

    #[test]
    fn arrows_against_the_architecture_are_caught() {
        let clean = [
            (
                "agent/Cargo.toml",
                "[dependencies]\nouro-engine.workspace = true\n[dev-dependencies]\nhw-fixtures.workspace = true",
            ),
            ("tests/Cargo.toml", "[dependencies]\nouro-server.workspace = true"),
            ("Cargo.toml", "[workspace.dependencies]\nouro-server = { path = \"server\" }"),
        ];
        let planted = [
            ("agent/Cargo.toml", "[dev-dependencies]\nouro-server.workspace = true"),
            (
                "common/Cargo.toml",
                "[dependencies]\nouro-proto.workspace = true\n[dev-dependencies]\nhw-fixtures.workspace = true",
            ),
            ("server/Cargo.toml", "[dependencies]\nouro-engine.workspace = true"),
        ];
        assert_catches(
            arrows,
            &clean,
            &planted,
            &["agent/Cargo.toml:2", "common/Cargo.toml:2", "common/Cargo.toml:4", "server/Cargo.toml:2"],
        );
    }

    #[test]
    fn recorded_machines_in_a_product_are_caught() {
        let clean = [("agent/Cargo.toml", "[dev-dependencies]\nhw-fixtures.workspace = true")];
        let planted = [("agent/Cargo.toml", "[dependencies]\nhw-fixtures.workspace = true")];
        assert_catches(fixtures_are_for_tests, &clean, &planted, &["agent/Cargo.toml:2"]);
    }

    #[test]
    fn a_runtime_in_common_is_caught() {
        let clean = [("common/Cargo.toml", "[dependencies]\nserde.workspace = true")];
        assert_catches(common_is_plain, &clean, &[("common/Cargo.toml", "[dependencies]\ntokio = \"1\"")], &["common/Cargo.toml:2"]);
    }

    #[test]
    fn inference_outside_the_engine_is_caught() {
        let clean = [
            ("engine/Cargo.toml", "[dependencies]\nort.workspace = true"),
            ("engine/src/onnx.rs", "use ort::session::Session;"),
            ("agent/src/a.rs", "let a = sort::by(); // ort::init"),
        ];
        let planted = [("agent/Cargo.toml", "[dependencies]\ncandle-core = \"0\""), ("agent/src/a.rs", "\nuse ort::init;")];
        assert_catches(inference_in_its_box, &clean, &planted, &["agent/Cargo.toml:2", "agent/src/a.rs:2"]);
    }
}
