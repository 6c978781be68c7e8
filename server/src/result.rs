//! The one object that stands for a request's end.

use crate::store::RequestRecord;
use crate::world::World;
use ouro_common::document::ResultDocument;
use ouro_common::error::Fault;
use ouro_common::step::RequestState;

/// Answers longer than this go to watchers in parts, before the result, and not within it.
pub const LONG_ANSWER_BYTES: u64 = 256 * 1024;

/// The result of a request that has ended.
///
/// # Errors
/// When the answer's bytes cannot be read from the disk.
pub fn result_document(world: &World, record: RequestRecord) -> Result<ResultDocument, Fault> {
    let answer = record.answer.filter(|_| record.state == RequestState::Done);
    let bytes = match &answer {
        Some(tag) if tag.size_bytes <= LONG_ANSWER_BYTES => match &tag.inline {
            Some(bytes) => Some(bytes.clone()),
            None => Some(world.blobs.read(&tag.digest, 0, usize::try_from(LONG_ANSWER_BYTES).unwrap_or(usize::MAX))?),
        },
        _ => None,
    };
    let (text, base64) = match bytes.map(String::from_utf8) {
        None => (None, None),
        Some(Ok(text)) => (Some(text), None),
        Some(Err(error)) => (None, Some(data_encoding::BASE64.encode(error.as_bytes()))),
    };
    Ok(ResultDocument {
        schema: "ouroboros.result/1".into(),
        id: record.envelope.id,
        state: record.state,
        served_by: "fleet".into(),
        low_confidence: false,
        tag: answer.as_ref().map(|a| a.tag.clone()),
        media: answer.as_ref().map(|a| a.media.clone()),
        text,
        base64,
        fault: record.trace.request.fault.clone(),
        trace: Some(record.trace),
    })
}
