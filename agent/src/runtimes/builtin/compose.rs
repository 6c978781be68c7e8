//! `compose`: one answer from several results. Each part gets its tag as a heading; JSON becomes readable lines.
//!
//! The same parts give the same text, byte for byte. What has a `label`-like shape (a key, a `name`, a `confidence`) becomes
//! a sentence, `Language: German (98 % sure)`; every other object becomes a line a field, and a list a line an entry.

use crate::runtimes::{Job, JobError, JobInput};
use serde_json::{Map, Value};

/// Writes the answer to the port `text`.
pub(super) fn run(job: &Job) -> Result<(), JobError> {
    if job.inputs.is_empty() {
        return Err(JobError::input("there is nothing to compose: no part is bound"));
    }
    let parts: Result<Vec<String>, JobError> = job.inputs.iter().map(|input| part(input, job.inputs.len() == 1)).collect();
    job.write("text", parts?.join("\n\n").as_bytes())
}

fn part(input: &JobInput, alone: bool) -> Result<String, JobError> {
    let bytes = input.read()?;
    let heading = title(input.tag.as_str());
    let Ok(text) = std::str::from_utf8(&bytes) else {
        return Ok(format!("{heading}: {} bytes of {}", bytes.len(), input.media));
    };
    if input.media == "application/json"
        && let Ok(value) = serde_json::from_str::<Value>(text)
    {
        return Ok(json(&heading, &value));
    }
    let text = text.trim();
    Ok(match (alone, text.is_empty()) {
        (_, true) => format!("{heading}: nothing"),
        (true, false) => text.to_string(),
        (false, false) => format!("{heading}\n{text}"),
    })
}

/// `key-points` → `Key points`. A trailing number that only keeps tags apart is left out.
fn title(tag: &str) -> String {
    let words = tag.replace(['-', '_', '.'], " ");
    let words = words.trim_end_matches(|c: char| c.is_ascii_digit() || c == ' ');
    let words = if words.is_empty() { tag } else { words };
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn json(heading: &str, value: &Value) -> String {
    match value {
        Value::Object(fields) => match label(fields) {
            Some(sentence) => sentence,
            None if fields.len() == 1 => match fields.iter().next() {
                // An object with one list in it is that list under its own name: {"keywords": […]}.
                Some((key, Value::Array(list))) => listing(&title(key), list),
                Some((key, value)) => format!("{}: {}", title(key), inline(value)),
                None => String::new(),
            },
            None => {
                let lines = fields.iter().map(|(key, value)| format!("  {}: {}", title(key), inline(value)));
                std::iter::once(heading.to_string()).chain(lines).collect::<Vec<_>>().join("\n")
            }
        },
        Value::Array(list) => listing(heading, list),
        scalar => format!("{heading}: {}", inline(scalar)),
    }
}

/// A classification: some key with a short value, its `name` for people, and its `confidence` from 0 to 1.
fn label(fields: &Map<String, Value>) -> Option<String> {
    let confidence = fields.get("confidence")?.as_f64().filter(|c| (0.0..=1.0).contains(c))?;
    let plain = |v: &Value| v.as_str().map(str::to_string).or_else(|| v.as_u64().map(|n| n.to_string()));
    let (key, id) = fields.iter().find_map(|(k, v)| (k != "name" && k != "confidence").then(|| Some((k, plain(v)?)))?)?;
    let name = fields.get("name").and_then(Value::as_str).map_or(id, str::to_string);
    Some(format!("{}: {name} ({} % sure)", title(key), (confidence * 100.0).round()))
}

fn listing(heading: &str, list: &[Value]) -> String {
    if list.is_empty() {
        return format!("{heading}: none");
    }
    let entry = |value: &Value| match value {
        Value::Object(fields) => {
            let named = ["phrase", "text", "name", "label"].iter().find_map(|k| fields.get(*k)).and_then(Value::as_str);
            named.map_or_else(|| inline(value), str::to_string)
        }
        other => inline(other),
    };
    let lines = list.iter().map(|value| format!("  - {}", entry(value)));
    std::iter::once(heading.to_string()).chain(lines).collect::<Vec<_>>().join("\n")
}

/// A value within a line; what nests deeper is flattened with commas.
fn inline(value: &Value) -> String {
    match value {
        Value::Null => "not known".into(),
        Value::Bool(b) => if *b { "yes" } else { "no" }.into(),
        Value::Number(n) => number(n),
        Value::String(s) => s.trim().to_string(),
        Value::Array(list) => list.iter().map(inline).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => {
            fields.iter().map(|(k, v)| format!("{} {}", k.replace('_', " "), inline(v))).collect::<Vec<_>>().join(", ")
        }
    }
}

/// At most four digits after the point, none that say nothing.
fn number(n: &serde_json::Number) -> String {
    match n.as_f64() {
        Some(f) if !n.is_i64() && !n.is_u64() => {
            let text = format!("{f:.4}");
            text.trim_end_matches('0').trim_end_matches('.').to_string()
        }
        _ => n.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::job;
    use super::*;
    use std::fs;

    fn composed(parts: &[(&str, &str, &str)]) -> String {
        let home = tempfile::tempdir().unwrap();
        let parts: Vec<_> = parts.iter().map(|(tag, media, text)| ("parts", *tag, *media, *text)).collect();
        run(&job(home.path(), "{}", &parts)).unwrap();
        fs::read_to_string(home.path().join("out/text")).unwrap()
    }

    #[test]
    fn results_become_sentences_lists_and_sections() {
        let text = composed(&[
            ("language", "application/json", r#"{"language":"de","name":"German","confidence":0.984,"others":[]}"#),
            ("key-points", "text/plain", "First.\nSecond.\n"),
            (
                "keywords-2",
                "application/json",
                r#"{"keywords":[{"phrase":"solar power","score":4.5},{"phrase":"grid","score":1}]}"#,
            ),
            ("stats", "application/json", r#"{"rows":3,"mean_age":41.50000,"complete":true,"missing":null}"#),
        ]);
        let expected = "Language: German (98 % sure)\n\nKey points\nFirst.\nSecond.\n\nKeywords\n  - solar power\n  - grid\n\n\
                        Stats\n  Rows: 3\n  Mean age: 41.5\n  Complete: yes\n  Missing: not known";
        assert_eq!(text, expected);
    }

    #[test]
    fn odd_parts_are_still_told() {
        assert_eq!(composed(&[("only", "text/plain", " just this ")]), "just this");
        assert_eq!(composed(&[("a", "text/plain", ""), ("b", "application/json", "[]")]), "A: nothing\n\nB: none");
        assert_eq!(composed(&[("x", "application/json", "{broken"), ("y", "application/json", "3")]), "X\n{broken\n\nY: 3");
    }
}
