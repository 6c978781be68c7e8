//! `compose`: one answer from several results. Each part gets its tag as a heading; JSON becomes readable lines.
//!
//! The same parts give the same text, byte for byte.

use crate::runtimes::{Job, JobError, JobInput};
use ouro_common::readable::{heading_of, json_as_text};
use serde_json::Value;

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
    let heading = heading_of(input.tag.as_str());
    let Ok(text) = std::str::from_utf8(&bytes) else {
        return Ok(format!("{heading}: {} bytes of {}", bytes.len(), input.media));
    };
    if input.media == "application/json"
        && let Ok(value) = serde_json::from_str::<Value>(text)
    {
        return Ok(json_as_text(&heading, &value));
    }
    let text = text.trim();
    Ok(match (alone, text.is_empty()) {
        (_, true) => format!("{heading}: nothing"),
        (true, false) => text.to_string(),
        (false, false) => format!("{heading}\n{text}"),
    })
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
