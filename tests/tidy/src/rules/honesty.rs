//! No stubs, no silenced lints: what is not written is not there, and what is excused says why.

use crate::{Tree, Violation};

/// No `todo!`, `unimplemented!` or `dbg!` anywhere.
pub fn no_stubs(tree: &Tree) -> Vec<Violation> {
    let remedy = "write it, or leave out what calls it";
    let mut found = vec![];
    for (file, rust) in tree.rust() {
        for stub in ["todo!", "unimplemented!", "dbg!"] {
            found.extend(rust.words(stub).map(|(line, _)| Violation::at(&file.path, line, format!("`{stub}` is a stub"), remedy)));
        }
    }
    found
}

/// No lint is allowed away: `#[expect(lint, reason = "…")]` says why, and fails when it is no longer needed.
pub fn no_allow(tree: &Tree) -> Vec<Violation> {
    let remedy = "write `#[expect(lint, reason = \"…\")]`";
    let mut found = vec![];
    for (file, rust) in tree.rust() {
        for (i, code) in rust.code.iter().enumerate() {
            let attribute = ["#[allow(", "#![allow("].iter().any(|a| code.contains(a));
            if attribute || (code.contains("cfg_attr(") && code.contains(" allow(")) {
                found.push(Violation::at(&file.path, i + 1, "a lint is allowed away", remedy));
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
    fn stubs_are_caught() {
        let clean = [("a.rs", "// todo!\nlet a = \"dbg!(1)\"; my_todo!(1);")];
        assert_catches(no_stubs, &clean, &[("a.rs", "fn a() {\n    todo!()\n}\nfn b() { dbg!(1); }")], &["a.rs:2", "a.rs:4"]);
    }

    #[test]
    fn allowed_lints_are_caught() {
        let clean = [("a.rs", "#[expect(dead_code, reason = \"why\")]\nfn a() { self.allow(b) }")];
        let planted = [("a.rs", "#![allow(unused)]\n#[allow(dead_code)]\n#[cfg_attr(test, allow(dead_code))]\nfn a() {}")];
        assert_catches(no_allow, &clean, &planted, &["a.rs:1", "a.rs:2", "a.rs:3"]);
    }
}
