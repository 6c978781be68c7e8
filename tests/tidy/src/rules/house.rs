//! The house itself: which folders stand at the top, and what has no place anywhere in it.

use crate::{Tree, Violation};
use std::collections::BTreeSet;

/// Where the house is drawn.
const DRAWING: &str = "docs/architecture.md";
/// The most bytes of one file.
const MAX_FILE_BYTES: u64 = 10 * 1024 * 1024;
/// A folder of the machine this was written on, which means nothing elsewhere.
const PLACE: &str = concat!("/wo", "rk/");

/// The top-level folders are those that architecture.md draws, no more and no fewer; folders of tools begin with a dot.
pub fn top_level(tree: &Tree) -> Vec<Violation> {
    let Some(drawing) = tree.file(DRAWING) else {
        return vec![Violation::at(DRAWING, 0, "there is no drawing of the house", "write it")];
    };
    let drawn: BTreeSet<&str> = drawing.text().lines().filter_map(drawn_folder).collect();
    let there: BTreeSet<&str> = tree.files.iter().filter_map(|f| Some(f.path.split_once('/')?.0)).filter(|f| !f.starts_with('.')).collect();
    let extra = there
        .difference(&drawn)
        .map(|f| (*f, "is not in the drawing of the house", "put it into a folder that is, or draw it"));
    let absent = drawn.difference(&there).map(|f| (*f, "is drawn but not there", "take it out of docs/architecture.md"));
    extra.chain(absent).map(|(folder, problem, remedy)| Violation::at(folder, 0, problem, remedy)).collect()
}

/// The folder that a line like `├─ agent/   …` draws.
fn drawn_folder(line: &str) -> Option<&str> {
    line.strip_prefix("├─ ").or_else(|| line.strip_prefix("└─ "))?.split_whitespace().next()?.strip_suffix('/')
}

/// No file is larger than 10 MB: sources are in the tree, what is made from them is not.
pub fn no_large_files(tree: &Tree) -> Vec<Violation> {
    let large = tree.files.iter().filter(|f| f.size_bytes > MAX_FILE_BYTES);
    large
        .map(|f| Violation::at(&f.path, 0, format!("it has {} bytes", f.size_bytes), "make it from a script instead of storing it"))
        .collect()
}

/// No file names a folder of the machine it was written on.
pub fn no_machine_paths(tree: &Tree) -> Vec<Violation> {
    let lines = tree.files.iter().flat_map(|f| f.text().lines().enumerate().map(move |(i, line)| (f, i + 1, line)));
    let bad = lines.filter(|(_, _, line)| line.contains(PLACE));
    bad.map(|(f, line, _)| Violation::at(&f.path, line, "it names a folder of one machine", "take the path as an argument"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::File;
    use crate::rules::assert_catches;

    #[test]
    fn folders_that_are_not_drawn_and_drawn_ones_that_are_missing_are_caught() {
        let drawing = "├─ Cargo.toml\n├─ docs/    words\n└─ agent/   lib";
        let clean = [(DRAWING, drawing), ("agent/src/lib.rs", ""), (".ci/run", ""), ("Makefile", "")];
        assert_catches(top_level, &clean, &[(DRAWING, drawing), ("attic/x.rs", "")], &["attic:0", "agent:0"]);
    }

    #[test]
    fn large_files_are_caught() {
        let file = |size_bytes| Tree { files: vec![File { path: "models/a.gguf".into(), size_bytes, text: None }] };
        assert!(no_large_files(&file(MAX_FILE_BYTES)).is_empty());
        assert_eq!(no_large_files(&file(MAX_FILE_BYTES + 1)).len(), 1);
    }

    #[test]
    fn paths_of_one_machine_are_caught() {
        let planted = format!("fine\ncd {PLACE}main");
        assert_catches(no_machine_paths, &[("a.md", "a workshop/ and framework/")], &[("a.md", &planted)], &["a.md:2"]);
    }
}
