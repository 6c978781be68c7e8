//! `ouroboros.requests/1` and `ouroboros.result/1`: the list of requests, and the end of one.

use crate::document::TraceDocument;
use crate::error::Fault;
use crate::id::{Name, RequestId};
use crate::step::RequestState;
use serde::{Deserialize, Serialize};

/// What `ouroctl requests` shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestsDocument {
    /// Always `ouroboros.requests/1`.
    pub schema: String,
    /// Newest first.
    pub requests: Vec<RequestRow>,
}

/// A request in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestRow {
    /// Which.
    pub id: RequestId,
    /// Where it is.
    pub state: RequestState,
    /// Who asked.
    pub principal: String,
    /// `local` when the first pass answered it, else `fleet`.
    pub served_by: String,
    /// When it was submitted, ms since the Unix epoch.
    pub submitted_unix_ms: u64,
    /// How long it took or has taken, ms.
    pub elapsed_ms: u64,
    /// Steps done, and steps in all.
    pub steps_done: u32,
    /// Steps in all.
    pub steps_total: u32,
    /// The beginning of the prompt; null for private requests of others.
    pub prompt: Option<String>,
    /// Whether this is only what was heard last: the fleet has the request, and the server could not be asked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub last_heard: bool,
}

/// The one object that `ouroctl submit --output json` prints at the end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResultDocument {
    /// Always `ouroboros.result/1`.
    pub schema: String,
    /// Which request.
    pub id: RequestId,
    /// How it ended.
    pub state: RequestState,
    /// `local` or `fleet`.
    pub served_by: String,
    /// Whether the answer is the local model's although it was not sure of it.
    pub low_confidence: bool,
    /// The answer's tag.
    pub tag: Option<Name>,
    /// The answer's media type.
    pub media: Option<String>,
    /// The answer, if it is text.
    pub text: Option<String>,
    /// The answer in base64, if it is not text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
    /// Why there is no answer, or why it is of low confidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// How it came about.
    pub trace: Option<TraceDocument>,
}
