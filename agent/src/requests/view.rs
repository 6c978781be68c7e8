//! Requests of the journal as people and scripts see them: the same documents the server gives.

use super::record::Record;
use crate::requests::Progress;
use ouro_common::document::{RequestRow, RequestView, ResultDocument, ResultView, TraceDocument};
use ouro_common::id::Digest;

/// How much of a prompt a list shows, in characters.
const PROMPT_SHOWN: usize = 80;
/// How much of an answer a trace shows, in bytes.
const ANSWER_SHOWN: usize = 4096;

fn elapsed_ms(record: &Record, now_unix_ms: u64) -> u64 {
    let ended = record.ended.as_ref().map(|e| e.elapsed_ms).or(record.heard.map(|h| h.elapsed_ms));
    ended.unwrap_or_else(|| now_unix_ms.saturating_sub(record.submitted_unix_ms))
}

/// A line of `ouroctl requests`.
pub fn row(record: &Record, now_unix_ms: u64) -> RequestRow {
    RequestRow {
        id: record.envelope.id,
        state: record.state(),
        principal: record.envelope.principal.to_string(),
        served_by: record.served_by().into(),
        submitted_unix_ms: record.submitted_unix_ms,
        elapsed_ms: elapsed_ms(record, now_unix_ms),
        steps_done: record.heard.map_or(0, |h| h.steps_done),
        steps_total: record.heard.map_or(0, |h| h.steps_total),
        prompt: Some(record.envelope.prompt.chars().take(PROMPT_SHOWN).collect()),
        // Of what the fleet has and has not said to be over, only the server can say where it is.
        last_heard: record.served_by() == "fleet" && !record.state().is_terminal(),
    }
}

/// `ouroctl trace`.
pub fn trace_document(record: &Record, now_unix_ms: u64) -> TraceDocument {
    let text = record.ended.as_ref().and_then(|e| e.text.as_ref());
    TraceDocument {
        schema: "ouroboros.trace/1".into(),
        request: RequestView {
            id: record.envelope.id,
            state: record.state(),
            fault: record.ended.as_ref().and_then(|e| e.fault.clone()),
            principal: record.envelope.principal.to_string(),
            served_by: record.served_by().into(),
            prompt: Some(record.envelope.prompt.clone()),
            inputs: record.envelope.inputs.clone(),
            offload: if record.progress == Progress::Accepted { vec![] } else { record.flags() },
            submitted_unix_ms: record.submitted_unix_ms,
            elapsed_ms: elapsed_ms(record, now_unix_ms),
            budget_ms: record.envelope.budget_ms,
        },
        first_pass: record.first_pass.clone(),
        planner: None,
        refusal: None,
        answer: None,
        steps: vec![],
        events: record.events.clone(),
        result: text.map(|text| ResultView {
            tag: None,
            media: "text/plain".into(),
            size_bytes: text.len() as u64,
            digest: Digest::blake3(text.as_bytes()),
            text: Some(beginning(text, ANSWER_SHOWN).to_string()),
        }),
    }
}

/// What `ouroctl submit` prints at the end.
pub fn result_document(record: &Record, now_unix_ms: u64) -> ResultDocument {
    let ended = record.ended.as_ref();
    let text = ended.and_then(|e| e.text.clone());
    ResultDocument {
        schema: "ouroboros.result/1".into(),
        id: record.envelope.id,
        state: record.state(),
        served_by: record.served_by().into(),
        low_confidence: ended.is_some_and(|e| e.low_confidence),
        tag: None,
        media: text.is_some().then(|| "text/plain".into()),
        text,
        base64: None,
        fault: ended.and_then(|e| e.fault.clone()),
        trace: Some(trace_document(record, now_unix_ms)),
    }
}

/// At most `bytes` of a text, whole characters.
fn beginning(text: &str, bytes: usize) -> &str {
    if text.len() <= bytes {
        return text;
    }
    let end = (0..=bytes).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::super::journal::tests::envelope;
    use super::super::record::{Ended, Heard};
    use super::*;
    use ouro_common::step::RequestState;

    #[test]
    fn what_the_fleet_has_is_only_what_was_heard_of_it() {
        let mut record = Record::new(envelope(1, 7, "k", "why?"), false, 1000);
        assert!(!row(&record, 1500).last_heard, "it is still here");
        record.progress = Progress::Offloaded;
        let away = row(&record, 1500);
        assert_eq!((away.state, away.last_heard), (RequestState::Running, true));
        record.heard = Some(Heard { state: RequestState::Failed, elapsed_ms: 70, steps_done: 1, steps_total: 2 });
        let over = row(&record, 9999);
        assert_eq!((over.state, over.last_heard, over.elapsed_ms, over.steps_total), (RequestState::Failed, false, 70, 2));
    }

    #[test]
    fn a_local_answer_is_shown_whole_in_the_result_and_cut_in_the_trace() {
        let mut record = Record::new(envelope(1, 7, "k", "why?"), false, 1000);
        assert_eq!(row(&record, 1500).elapsed_ms, 500);
        let text = "é".repeat(ANSWER_SHOWN);
        record.progress = Progress::Ended;
        record.ended = Some(Ended {
            state: RequestState::Done,
            text: Some(text.clone()),
            low_confidence: false,
            fault: None,
            elapsed_ms: 70,
        });
        let result = result_document(&record, 9999);
        assert_eq!((result.served_by.as_str(), result.text.as_ref()), ("local", Some(&text)));
        let trace = trace_document(&record, 9999);
        assert_eq!(trace.request.elapsed_ms, 70);
        assert_eq!(trace.result.unwrap().text.unwrap().len(), ANSWER_SHOWN);
    }
}
