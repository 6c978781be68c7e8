//! The documents say what is true: their links lead somewhere, their fault codes are the code's, and what is printed as JSON is
//! described.

use crate::{Tree, Violation};

/// Where the fault codes are given out.
const CODES: &str = "common/src/error.rs";
/// Where people look a fault code up.
const CODE_TABLE: &str = "docs/operations.md";

/// Relative links in Markdown files lead to files or folders of the tree.
pub fn links(tree: &Tree) -> Vec<Violation> {
    let remedy = "correct the path, which is relative to the file itself";
    let mut found = vec![];
    for file in tree.with_extension("md") {
        for (line, target) in link_targets(file.text()) {
            let path = target.split('#').next().unwrap_or("");
            let elsewhere = path.is_empty() || path.contains("://") || path.starts_with("mailto:");
            if !elsewhere && resolve(&file.path, path).is_none_or(|path| !path.is_empty() && !tree.exists(&path)) {
                found.push(Violation::at(&file.path, line, format!("the link to {target:?} leads nowhere"), remedy));
            }
        }
    }
    found
}

/// The targets of `[text](target)`, outside of code, with their lines.
fn link_targets(text: &str) -> Vec<(usize, String)> {
    let (mut found, mut fenced) = (vec![], false);
    for (i, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            // Every second part between backquotes is code.
            let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
            let targets = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            found.extend(targets.map(|t| (i + 1, t.split_whitespace().next().unwrap_or("").to_string())));
        }
    }
    found
}

/// A path relative to `file`, from the root; `None` when it leads out of the tree.
fn resolve(file: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = file.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// Fault codes in the documents exist in `common`, and the table of operations.md holds every one of them.
pub fn fault_codes(tree: &Tree) -> Vec<Violation> {
    let known: Vec<String> = tree.file(CODES).map(|f| codes(f.text()).map(|(_, code)| code).collect()).unwrap_or_default();
    let mut found = vec![];
    for file in tree.with_extension("md") {
        let strange = codes(file.text()).filter(|(_, code)| !known.contains(code));
        found.extend(strange.map(|(line, code)| {
            Violation::at(&file.path, line, format!("there is no fault code {code}"), "take the code from common's `FaultCode`")
        }));
    }
    let table = tree.file(CODE_TABLE).map_or("", |f| f.text());
    for code in known.iter().filter(|code| !table.contains(code.as_str())) {
        found.push(Violation::at(CODE_TABLE, 0, format!("the fault code {code} is not explained"), "add a line to its table"));
    }
    found
}

/// Codes like OB and four digits, with their lines.
fn codes(text: &str) -> impl Iterator<Item = (usize, String)> {
    let of_line = |(i, line): (usize, &str)| {
        let digits = |rest: &str| rest.get(..4).filter(|d| d.bytes().all(|b| b.is_ascii_digit())).map(|d| format!("OB{d}"));
        line.split("OB").skip(1).filter_map(digits).map(move |code| (i + 1, code)).collect::<Vec<_>>()
    };
    text.lines().enumerate().flat_map(of_line)
}

/// Where what `--output json` prints is described.
const FIELDS: &str = "docs/documents.md";
/// What of the tree such documents are made of.
const DOCUMENTS: [&str; 4] = ["common/src/document", "common/src/device/profile.rs", "agent/src/local_api/status.rs", "cli/src"];

/// Every field of a JSON document stands in the document about them, and every schema that `ouroctl` prints.
pub fn document_fields(tree: &Tree) -> Vec<Violation> {
    let described = tree.file(FIELDS).map_or("", |file| file.text());
    let remedy = "say in docs/documents.md what it holds";
    let mut found = vec![];
    for (file, rust) in tree.rust().filter(|(file, _)| DOCUMENTS.iter().any(|place| file.is_in(place)) && !file.is_in_tests()) {
        let lines: Vec<&str> = file.text().lines().collect();
        let missing = fields(&lines, &rust.code).into_iter().filter(|(_, name)| !described.contains(&format!("`{name}`")));
        found.extend(missing.map(|(line, name)| Violation::at(&file.path, line, format!("the field {name} is described nowhere"), remedy)));
        let schemas = rust.literals.iter().filter(|(_, text)| text.starts_with("ouroboros.") && text.ends_with("/1"));
        let missing = schemas.filter(|(_, text)| !described.contains(&format!("`{text}`")));
        found.extend(
            missing.map(|(line, text)| Violation::at(&file.path, *line, format!("the schema {text} is described nowhere"), remedy)),
        );
    }
    found
}

/// The fields of structs that are written as JSON, by their names there, with their lines.
fn fields(lines: &[&str], code: &[String]) -> Vec<(usize, String)> {
    let (mut found, mut serialised, mut inside, mut renamed) = (vec![], false, false, None);
    for (index, (line, code)) in lines.iter().zip(code).enumerate() {
        let (line, code) = (line.trim(), code.trim());
        if code.starts_with("#[derive(") {
            serialised = code.contains("Serialize");
        } else if let Some(rest) = line.strip_prefix("#[serde(rename = \"") {
            renamed = rest.split('"').next().map(String::from);
        } else if inside {
            inside = code != "}";
            let name = code.split(':').next().unwrap_or_default().rsplit(' ').next().unwrap_or_default();
            if inside && !code.starts_with('#') && code.contains(':') {
                found.push((index + 1, renamed.take().unwrap_or_else(|| name.to_string())));
            }
        } else if code.contains("struct ") || code.contains("enum ") {
            inside = serialised && code.contains("struct ") && code.ends_with('{');
            serialised = false;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::assert_catches;

    #[test]
    fn links_that_lead_nowhere_are_caught() {
        let clean = [
            (
                "docs/a.md",
                "[b](b.md#part) [c](../common/src) [d](https://example.org/x) [e](#here) `[f](g)`\n```\n[h](i)\n```\n[root](..)",
            ),
            ("docs/b.md", ""),
            ("common/src/lib.rs", ""),
        ];
        let planted = [("docs/a.md", "fine\n[b](b.md) and [out](../../etc)")];
        assert_catches(links, &clean, &planted, &["docs/a.md:2", "docs/a.md:2"]);
    }

    #[test]
    fn strange_and_unexplained_codes_are_caught() {
        let code = |n: u32| format!("OB{n:04}");
        let (source, table) = (format!("A = \"{}\"", code(1)), format!("| {} |", code(1)));
        let clean = [(CODES, &*source), (CODE_TABLE, &*table)];
        let strange = format!("\n{}", code(9));
        assert_catches(fault_codes, &clean, &[(CODES, &source), ("README.md", &strange)], &["README.md:2", "docs/operations.md:0"]);
    }

    #[test]
    fn fields_and_schemas_that_nobody_describes_are_caught() {
        let source = "#[derive(Debug, Serialize)]\npub struct A {\n    /// Which.\n    pub id: u32,\n    #[serde(rename = \"in\")]\n    pub inputs: u8,\n}\n\
                      pub struct B {\n    pub hidden: u8,\n}\nconst S: &str = \"ouroboros.a/1\";\n";
        let clean = [("common/src/document/a.rs", source), (FIELDS, "`ouroboros.a/1`: `id`, `in`")];
        let planted = [("common/src/document/a.rs", source), (FIELDS, "`id`, `inputs`")];
        let places = ["common/src/document/a.rs:6", "common/src/document/a.rs:11"];
        assert_catches(document_fields, &clean, &planted, &places);
    }
}
