//! Rules that must give the same answer for the same inputs: no I/O, no clock, no chance, no async runtime.

use crate::{Tree, Violation};

/// Where decisions are made; each is a function of its arguments.
const PURE: [&str; 3] = ["common", "server/src/scheduler", "server/src/interpreter"];
/// The ways out of a process.
const IO: [&str; 7] = ["std::fs", "std::net", "std::io::stdin", "std::process", "std::thread", "std::os", "std::env"];

/// `common` reaches for no file, socket, process or environment.
pub fn common_does_no_io(tree: &Tree) -> Vec<Violation> {
    named(
        tree,
        &["common"],
        &IO,
        "common does I/O",
        "move it to the part that owns the file or socket, and pass the value in",
    )
}

/// The vocabulary, the scheduler and the interpreter read no clock.
pub fn no_clock(tree: &Tree) -> Vec<Violation> {
    let clocks = ["SystemTime::now", "Instant::now"];
    named(tree, &PURE, &clocks, "a pure part reads a clock", "take the time as an argument")
}

/// They draw no random numbers of their own.
pub fn no_chance(tree: &Tree) -> Vec<Violation> {
    let chance = ["rand::rng", "thread_rng", "rand::random", "from_os_rng", "Uuid::new_v4", "Uuid::now_v7"];
    named(tree, &PURE, &chance, "a pure part draws from the system's randomness", "take a seed as an argument")
}

/// They know no async runtime.
pub fn no_async(tree: &Tree) -> Vec<Violation> {
    named(
        tree,
        &PURE,
        &["async", "await", "tokio"],
        "a pure part is asynchronous",
        "return what is to be done as data; one place carries it out",
    )
}

fn named(tree: &Tree, places: &[&str], words: &[&str], problem: &str, remedy: &'static str) -> Vec<Violation> {
    let mut found = vec![];
    for (file, rust) in tree.rust().filter(|(file, _)| places.iter().any(|place| file.is_in(place))) {
        for word in words {
            found.extend(rust.words(word).map(|(line, _)| Violation::at(&file.path, line, format!("{problem}: `{word}`"), remedy)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::assert_catches;

    #[test]
    fn io_in_common_is_caught() {
        let clean = [("common/src/a.rs", "// std::fs is not for us\nuse std::fmt;"), ("agent/src/a.rs", "use std::fs;")];
        assert_catches(common_does_no_io, &clean, &[("common/src/a.rs", "use std::fmt;\nuse std::fs::File;")], &["common/src/a.rs:2"]);
    }

    #[test]
    fn clocks_in_pure_parts_are_caught() {
        let clean = [("common/src/clock.rs", "fn now(at: Instant) {}"), ("server/src/daemon.rs", "Instant::now();")];
        let planted = [
            ("server/src/scheduler/decide.rs", "\nlet t = std::time::Instant::now();"),
            ("server/src/interpreter.rs", "SystemTime::now()"),
        ];
        assert_catches(no_clock, &clean, &planted, &["server/src/scheduler/decide.rs:2", "server/src/interpreter.rs:1"]);
    }

    #[test]
    fn chance_in_pure_parts_is_caught() {
        let clean = [("server/src/scheduler/decide.rs", "let rng = ChaCha8Rng::seed_from_u64(seed);")];
        assert_catches(
            no_chance,
            &clean,
            &[("server/src/scheduler/decide.rs", "let r = rand::rng();")],
            &["server/src/scheduler/decide.rs:1"],
        );
    }

    #[test]
    fn async_in_pure_parts_is_caught() {
        let clean = [("common/src/envelope.rs", "enum Mode { Async } // async"), ("server/src/api.rs", "async fn a() {}")];
        let planted = [("common/src/a.rs", "async fn a() { b().await }\nuse tokio::sync;")];
        assert_catches(no_async, &clean, &planted, &["common/src/a.rs:1", "common/src/a.rs:1", "common/src/a.rs:2"]);
    }
}
