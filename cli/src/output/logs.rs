//! `ouroctl logs`: bytes that come in parts, several steps' at once, as whole lines that say whose they are.

use crate::client::Said;
use ouro_common::id::RequestId;
use serde::Serialize;
use std::collections::BTreeMap;

/// A line that has no end is cut here, bytes.
const MAX_LINE_BYTES: usize = 64 * 1024;

/// `ouroboros.logs/1`.
#[derive(Debug, Serialize)]
pub(crate) struct LogsDocument {
    schema: &'static str,
    request: RequestId,
    /// In the order in which they came.
    pub(crate) lines: Vec<Line>,
}

impl LogsDocument {
    /// Without lines.
    pub(crate) fn of(request: RequestId) -> Self {
        Self { schema: "ouroboros.logs/1", request, lines: vec![] }
    }
}

/// A line that an attempt at a step said, or a note about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Line {
    /// The step.
    pub(crate) step: String,
    /// Which attempt at it, from 1.
    pub(crate) attempt: u32,
    /// The name of the node.
    pub(crate) node: String,
    /// What it said, without the end of the line.
    pub(crate) text: String,
    /// Instead: what is to be known about what it said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<String>,
}

/// What is known of one attempt's words.
#[derive(Debug, Default)]
struct Speaker {
    node: String,
    /// Where its next byte should stand.
    next: u64,
    /// The beginning of a line whose end has not come.
    begun: Vec<u8>,
}

/// Lines that are put together from parts.
#[derive(Debug, Default)]
pub(crate) struct Lines(BTreeMap<(String, u32), Speaker>);

impl Lines {
    /// The lines that a part completes.
    pub(crate) fn take(&mut self, said: &Said) -> Vec<Line> {
        let of = |text: &[u8], note: Option<String>| Line {
            step: said.step.clone(),
            attempt: said.attempt,
            node: said.node.clone(),
            text: String::from_utf8_lossy(text.strip_suffix(b"\r").unwrap_or(text)).into_owned(),
            note,
        };
        if !said.note.is_empty() {
            return vec![of(b"", Some(said.note.clone()))];
        }
        let mut lines = vec![];
        let key = (said.step.clone(), said.attempt);
        if said.attempt > 1 && !self.0.contains_key(&key) {
            lines.push(of(b"", Some(format!("attempt {}, on {}", said.attempt, said.node))));
        }
        let speaker = self.0.entry(key).or_insert_with(|| Speaker { node: said.node.clone(), ..Speaker::default() });
        if said.offset > speaker.next {
            let gone = said.offset - speaker.next;
            lines.extend(rest_of(&mut speaker.begun).map(|text| of(&text, None)));
            lines.push(of(b"", Some(format!("{gone} bytes before this are not kept any more"))));
        }
        speaker.next = said.offset + said.data.len() as u64;
        for piece in said.data.split_inclusive(|b| *b == b'\n') {
            speaker.begun.extend_from_slice(piece);
            if let Some(line) = speaker.begun.strip_suffix(b"\n") {
                lines.push(of(line, None));
                speaker.begun.clear();
            } else if speaker.begun.len() >= MAX_LINE_BYTES {
                lines.extend(rest_of(&mut speaker.begun).map(|text| of(&text, None)));
            }
        }
        lines
    }

    /// What was said without the end of a line, when nothing more comes.
    pub(crate) fn rest(&mut self) -> Vec<Line> {
        let of = |((step, attempt), mut speaker): ((String, u32), Speaker)| {
            let text = rest_of(&mut speaker.begun)?;
            let text = String::from_utf8_lossy(&text).into_owned();
            Some(Line { step, attempt, node: speaker.node, text, note: None })
        };
        std::mem::take(&mut self.0).into_iter().filter_map(of).collect()
    }
}

fn rest_of(begun: &mut Vec<u8>) -> Option<Vec<u8>> {
    Some(std::mem::take(begun)).filter(|rest| !rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(step: &str, attempt: u32, offset: u64, data: &str) -> Said {
        Said { step: step.into(), attempt, node: "attic".into(), offset, data: data.into(), note: String::new() }
    }

    fn words(lines: &[Line]) -> Vec<String> {
        lines
            .iter()
            .map(|l| format!("{}: {}", l.step, l.note.as_ref().map_or(l.text.clone(), |n| format!("({n})"))))
            .collect()
    }

    #[test]
    fn parts_of_several_steps_become_whole_lines() {
        let mut lines = Lines::default();
        assert_eq!(words(&lines.take(&said("a", 1, 0, "one\r\ntw"))), ["a: one"]);
        assert_eq!(words(&lines.take(&said("b", 1, 0, "other\n\n"))), ["b: other", "b: "]);
        assert_eq!(words(&lines.take(&said("a", 1, 7, "o\nthr"))), ["a: two"]);
        assert_eq!(words(&lines.rest()), ["a: thr"]);
        assert!(lines.rest().is_empty());
    }

    #[test]
    fn gaps_and_further_attempts_are_told() {
        let mut lines = Lines::default();
        assert_eq!(words(&lines.take(&said("a", 1, 0, "beg"))), Vec::<String>::new());
        let gap = words(&lines.take(&said("a", 1, 103, "end\n")));
        assert_eq!(gap, ["a: beg", "a: (100 bytes before this are not kept any more)", "a: end"]);
        assert_eq!(words(&lines.take(&said("a", 2, 0, "again\n"))), ["a: (attempt 2, on attic)", "a: again"]);
        let away = Said { note: "cellar is not connected".into(), ..said("a", 3, 0, "") };
        assert_eq!(words(&lines.take(&away)), ["a: (cellar is not connected)"]);
    }

    #[test]
    fn a_line_without_an_end_is_cut() {
        let cut = Lines::default().take(&said("a", 1, 0, &"x".repeat(MAX_LINE_BYTES)));
        assert_eq!(cut.len(), 1);
    }
}
