//! A place that breaks a rule, told so that nobody has to look the rule up.

use std::fmt;

/// One place that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The file or folder, relative to the root of the tree.
    pub path: String,
    /// The line, from 1; 0 where the whole file is meant.
    pub line: usize,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub remedy: &'static str,
}

impl Violation {
    /// A violation at a line of a file; line 0 means the whole file.
    pub fn at(path: &str, line: usize, problem: impl Into<String>, remedy: &'static str) -> Self {
        Self { path: path.to_string(), line, problem: problem.into(), remedy }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}: {}", self.path, self.problem, self.remedy),
            line => write!(f, "{}:{line}: {}: {}", self.path, self.problem, self.remedy),
        }
    }
}

/// All violations, a line each, for a failing test's message.
pub fn report(violations: &[Violation]) -> String {
    violations.iter().map(|v| format!("\n  {v}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_violation_names_place_problem_and_remedy() {
        assert_eq!(Violation::at("a.rs", 3, "it is wrong", "mend it").to_string(), "a.rs:3: it is wrong: mend it");
        assert_eq!(Violation::at("a.rs", 0, "it is wrong", "mend it").to_string(), "a.rs: it is wrong: mend it");
    }
}
