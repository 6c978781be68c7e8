//! Wire types stay at the wire: all else speaks the vocabulary of `common`.

use crate::rust::find_words;
use crate::{Rust, Tree, Violation};

/// Where messages of the protocol are turned into values and back.
const EDGES: [&str; 6] = ["proto", "server/src/api", "agent/src/uplink", "agent/src/local_api", "cli/src/client", "tests"];

/// `ouro_proto::wire` is named only at the edges.
pub fn wire_types(tree: &Tree) -> Vec<Violation> {
    let remedy = "take or give a type of `common`; convert at the edge (proto's `convert`)";
    let inside = tree.rust().filter(|(file, _)| !EDGES.iter().any(|edge| file.is_in(edge)));
    let found = inside.flat_map(|(file, rust)| wire_lines(&rust).into_iter().map(move |line| (file, line)));
    found.map(|(file, line)| Violation::at(&file.path, line, "a wire type away from the wire", remedy)).collect()
}

/// Lines that name the wire module: by a path, or within a `use ouro_proto::{…}` of any length.
fn wire_lines(rust: &Rust) -> Vec<usize> {
    let mut lines: Vec<usize> = rust.words("wire::").map(|(line, _)| line).collect();
    for (first, rest) in rust.words("ouro_proto::") {
        let following = rust.code[first..].iter().map(String::as_str);
        for (offset, code) in std::iter::once(rest).chain(following).enumerate() {
            let statement = code.split(';').next().unwrap_or(code);
            if find_words(statement, "wire").next().is_some() {
                lines.push(first + offset);
            }
            if code.contains(';') {
                break;
            }
        }
    }
    lines.sort_unstable();
    lines.dedup();
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::assert_catches;

    #[test]
    fn wire_types_away_from_the_edges_are_caught() {
        let clean = [
            ("server/src/api/requests.rs", "use ouro_proto::wire::Submit;"),
            ("agent/src/uplink.rs", "use ouro_proto::{channel, wire};"),
            ("agent/src/daemon.rs", "use ouro_proto::channel;\nlet wire = 1; // wire::x"),
        ];
        let planted = [
            ("server/src/fleet.rs", "use ouro_proto::{\n    channel,\n    wire,\n};\nfn f(m: wire::Hello) {}"),
            ("cli/src/commands/submit.rs", "use ouro_proto::wire as w;"),
        ];
        assert_catches(
            wire_types,
            &clean,
            &planted,
            &["server/src/fleet.rs:3", "server/src/fleet.rs:5", "cli/src/commands/submit.rs:1"],
        );
    }
}
