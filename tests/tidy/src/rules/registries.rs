//! Registries of packages are used through their own clients, which know where they are: apt, debootstrap, cargo, pip.
//!
//! A host in a script ties the project to one mirror, and passes over what the machine's owner has configured.

use crate::{File, Tree, Violation};

/// Hosts of registries; those below them count as well.
const REGISTRIES: [&str; 13] = [
    "deb.debian.org",
    "security.debian.org",
    "ftp.debian.org",
    "archive.ubuntu.com",
    "ports.ubuntu.com",
    "pypi.org",
    "pythonhosted.org",
    "crates.io",
    "npmjs.org",
    "docker.io",
    "ghcr.io",
    "quay.io",
    "gcr.io",
];

/// No file names a registry's host in a URL, and no script or configuration at all.
///
/// A name alone is allowed where it is talked about, and in Rust, where references to images are read.
pub fn no_hosts(tree: &Tree) -> Vec<Violation> {
    let remedy = "leave it to the registry's client, which knows its default and what the machine's owner chose";
    let lines = tree.files.iter().flat_map(|f| f.text().lines().enumerate().map(move |(i, line)| (f, i + 1, line)));
    let bad = lines.filter_map(|(f, number, line)| Some((f, number, host_in(line, names_are_allowed(f))?)));
    bad.map(|(f, line, host)| Violation::at(&f.path, line, format!("it names the registry's host {host}"), remedy))
        .collect()
}

fn names_are_allowed(file: &File) -> bool {
    [".md", ".rs"].iter().any(|ending| file.name().ends_with(ending))
}

/// The first registry that a line names as a host: in a URL, or by itself where names are not allowed either.
fn host_in(line: &str, names_are_allowed: bool) -> Option<&'static str> {
    let of_host = |c: char| c.is_ascii_alphanumeric() || ['.', '-', '_'].contains(&c);
    let is_host = |registry: &str, at: usize| {
        let (before, after) = (&line[..at], &line[at + registry.len()..]);
        let above = before.trim_end_matches(of_host);
        let whole = before.len() == above.len() || before.ends_with('.');
        let in_url = above.ends_with("://") || above.ends_with('@');
        let alone = above.is_empty() || above.ends_with([' ', '\t', '"', '\'', '=', '(']);
        whole && !after.starts_with(of_host) && (in_url || (alone && !names_are_allowed))
    };
    REGISTRIES.into_iter().find(|registry| line.match_indices(registry).any(|(at, _)| is_host(registry, at)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::assert_catches;

    #[test]
    fn hosts_of_registries_are_caught() {
        let clean = [
            ("a/run", "debootstrap testing \"$root\"\npip install x\n# notdocker.io docker.io.example.net"),
            ("Cargo.lock", "source = \"registry+https://github.com/rust-lang/crates.io-index\""),
            ("a.md", "published on crates.io and on ghcr.io/someone"),
            ("a.rs", "const DEFAULT: &str = \"docker.io\";"),
        ];
        let url = format!("\nopen(\"https://index.{}/x\")", REGISTRIES[7]);
        let mirror = format!("debootstrap sid root http://{}/debian", REGISTRIES[0]);
        let user = format!("see https://me@{}", REGISTRIES[10]);
        let planted = [
            ("a.rs", &*url),
            ("b.md", &user),
            ("c/run", &mirror),
            ("d.yaml", "image: ghcr.io/someone/thing:1"),
            ("e.toml", "index = \"pypi.org\""),
        ];
        assert_catches(no_hosts, &clean, &planted, &["a.rs:2", "b.md:1", "c/run:1", "d.yaml:1", "e.toml:1"]);
    }
}
