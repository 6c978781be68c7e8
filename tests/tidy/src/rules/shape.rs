//! The shape of files: what each begins with, how long it may be, and what it may not be called.

use crate::{Tree, Violation};

/// The most lines of a Rust file, its tests included.
const MAX_LINES: usize = 500;
/// The most lines of a `main.rs`.
const MAX_MAIN_LINES: usize = 80;
/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 9] = ["util", "utils", "helper", "helpers", "misc", "types", "manager", "imp", "mod"];

/// Every Rust file begins with a `//!` header that holds at least one sentence.
pub fn headers(tree: &Tree) -> Vec<Violation> {
    let remedy = "begin it with a `//!` sentence that says what is true here and why";
    let bad = tree.with_extension("rs").filter(|file| {
        let lines = file.text().lines().map_while(|line| line.strip_prefix("//!"));
        !is_sentence(&lines.map(str::trim).collect::<Vec<_>>().join(" "))
    });
    bad.map(|file| Violation::at(&file.path, 1, "the file has no header", remedy)).collect()
}

/// Whether `text` has three words or more and a stop.
fn is_sentence(text: &str) -> bool {
    let words = text.split_whitespace().filter(|word| word.chars().any(char::is_alphabetic)).count();
    let stops = text.split_whitespace().any(|word| word.ends_with(['.', ':', '!', '?']));
    words >= 3 && stops
}

/// No Rust file is longer than 500 lines.
pub fn size(tree: &Tree) -> Vec<Violation> {
    longer_than(tree, MAX_LINES, |_| true, "find the concept that hides in it and give that a file of its own")
}

/// A `main.rs` knows little: 80 lines at most.
pub fn main_is_small(tree: &Tree) -> Vec<Violation> {
    longer_than(tree, MAX_MAIN_LINES, |name| name == "main.rs", "move what it knows into the crate's library")
}

fn longer_than(tree: &Tree, most: usize, applies: fn(&str) -> bool, remedy: &'static str) -> Vec<Violation> {
    let lengths = tree.with_extension("rs").filter(|f| applies(f.name())).map(|f| (f, f.text().lines().count()));
    let long = lengths.filter(|(_, lines)| *lines > most);
    long.map(|(f, lines)| Violation::at(&f.path, 0, format!("it has {lines} lines, {most} are allowed"), remedy))
        .collect()
}

/// No file or folder is called util, helper, misc, types, manager, imp or mod; `common` is the crate and nothing else.
///
/// Recorded machines keep the names their kernels gave.
pub fn names(tree: &Tree) -> Vec<Violation> {
    let mut found: Vec<Violation> = vec![];
    for file in tree.files.iter().filter(|f| !f.is_in("hw-fixtures") || f.is_in("hw-fixtures/src")) {
        let mut path = String::new();
        for part in file.path.split('/') {
            let top = path.is_empty();
            path = if top { part.to_string() } else { format!("{path}/{part}") };
            let stem = part.split('.').next().unwrap_or(part);
            let empty = EMPTY_NAMES.contains(&stem) || (stem == "common" && !top);
            if empty && found.iter().all(|v| v.path != path) {
                found.push(Violation::at(&path, 0, format!("`{part}` says nothing about what is inside"), "name it by its one concept"));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::assert_catches;

    #[test]
    fn a_missing_or_empty_header_is_caught() {
        let clean = [("a.rs", "//! What is true: a rule and its reason.\n\nfn a() {}\n"), ("b.md", "no header")];
        let planted = [("a.rs", "fn a() {}\n"), ("b.rs", "//! x\n"), ("c.rs", "// A comment is not a header.\n"), ("d.rs", "")];
        assert_catches(headers, &clean, &planted, &["a.rs:1", "b.rs:1", "c.rs:1", "d.rs:1"]);
    }

    #[test]
    fn long_files_are_caught() {
        assert_catches(size, &[("a.rs", &"\n".repeat(500))], &[("a.rs", &"\n".repeat(501))], &["a.rs:0"]);
        let clean = [("a/src/main.rs", &*"\n".repeat(80)), ("a/src/lib.rs", &*"\n".repeat(81))];
        assert_catches(main_is_small, &clean, &[("a/src/main.rs", &"\n".repeat(81))], &["a/src/main.rs:0"]);
    }

    #[test]
    fn empty_names_are_caught_once_a_folder() {
        let clean = [("common/src/lib.rs", ""), ("agent/src/model.rs", ""), ("hw-fixtures/a/root/sys/types", "")];
        let planted = [("a/src/mod.rs", ""), ("a/src/utils/x.rs", ""), ("a/src/utils/y.rs", ""), ("a/src/common/z.rs", "")];
        assert_catches(names, &clean, &planted, &["a/src/mod.rs:0", "a/src/utils:0", "a/src/common:0"]);
    }
}
