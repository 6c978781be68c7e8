//! The rules, a file for each thing they protect.

use crate::{Tree, Violation};

/// A rule: every place of the tree that breaks it.
pub type Rule = fn(&Tree) -> Vec<Violation>;

pub mod crates;
pub mod documents;
pub mod honesty;
pub mod house;
pub mod machine;
pub mod purity;
pub mod registries;
pub mod shape;
pub mod wire;

/// Asserts, in a rule's own test, that it finds exactly the planted lines and nothing in the clean tree.
#[cfg(test)]
fn assert_catches(rule: Rule, clean: &[(&str, &str)], planted: &[(&str, &str)], expected: &[&str]) {
    assert_eq!(crate::report(&rule(&Tree::planted(clean))), "", "the clean tree");
    let found: Vec<String> = rule(&Tree::planted(planted)).iter().map(|v| format!("{}:{}", v.path, v.line)).collect();
    assert_eq!(found, expected);
}
