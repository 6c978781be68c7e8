//! A request as the journal keeps it: what was asked, how far it is, and how it ended.

use ouro_common::document::{RequestRow, TraceDocument, TraceEvent};
use ouro_common::envelope::{Envelope, FirstPassReport, OffloadFlag};
use ouro_common::error::Fault;
use ouro_common::step::{RequestState, StepState};
use serde::{Deserialize, Serialize};

/// How far a request is on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// Durable; the first pass has not decided.
    Accepted,
    /// To be handed to the fleet, which has not confirmed it.
    Offloading,
    /// The server has it; the truth about it is there.
    Offloaded,
    /// It ended here.
    Ended,
}

/// How a request ended on this machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// Done, failed, cancelled or expired.
    pub state: RequestState,
    /// The answer.
    pub text: Option<String>,
    /// Whether the model was not sure of it.
    pub low_confidence: bool,
    /// Why there is no answer, or why it is of low confidence.
    pub fault: Option<Fault>,
    /// The time it took, ms.
    pub elapsed_ms: u64,
}

/// How a request ended in the fleet, as the server said: known here when the server is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// Done, failed, cancelled or expired.
    pub state: RequestState,
    /// The time it took, ms.
    pub elapsed_ms: u64,
    /// Steps done.
    pub steps_done: u32,
    /// Steps in all.
    pub steps_total: u32,
}

impl Heard {
    /// As the server's list has it.
    pub fn of(row: &RequestRow) -> Self {
        Self {
            state: row.state,
            elapsed_ms: row.elapsed_ms,
            steps_done: row.steps_done,
            steps_total: row.steps_total,
        }
    }

    /// As the server's trace has it.
    pub fn of_trace(trace: &TraceDocument) -> Self {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Self {
            state: trace.request.state,
            elapsed_ms: trace.request.elapsed_ms,
            steps_done: count(trace.steps.iter().filter(|s| s.state == StepState::Done).count()),
            steps_total: count(trace.steps.len()),
        }
    }
}

/// The whole entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// What was asked.
    pub envelope: Envelope,
    /// Whether the user wants no first pass.
    pub skip_first_pass: bool,
    /// When it was submitted, ms since the Unix epoch.
    pub submitted_unix_ms: u64,
    /// How far it is.
    pub progress: Progress,
    /// What the local attempt found.
    pub first_pass: Option<FirstPassReport>,
    /// How it ended here.
    pub ended: Option<Ended>,
    /// How it ended in the fleet, once that was heard.
    #[serde(default)]
    pub heard: Option<Heard>,
    /// What happened, in order.
    pub events: Vec<TraceEvent>,
}

impl Record {
    /// A request that was just accepted.
    pub fn new(envelope: Envelope, skip_first_pass: bool, now_unix_ms: u64) -> Self {
        let mut record = Self {
            envelope,
            skip_first_pass,
            submitted_unix_ms: now_unix_ms,
            progress: Progress::Accepted,
            first_pass: None,
            ended: None,
            heard: None,
            events: vec![],
        };
        record.note(now_unix_ms, "accepted", "accepted on this machine");
        record
    }

    /// Adds an event.
    pub fn note(&mut self, now_unix_ms: u64, kind: &str, text: impl Into<String>) {
        let at_ms = now_unix_ms.saturating_sub(self.submitted_unix_ms);
        self.events.push(TraceEvent { at_ms, kind: kind.into(), step: None, text: text.into() });
    }

    /// The time it still has, ms.
    pub fn remaining_ms(&self, now_unix_ms: u64) -> u64 {
        self.envelope.budget_ms.saturating_sub(now_unix_ms.saturating_sub(self.submitted_unix_ms))
    }

    /// Why it was offloaded.
    pub fn flags(&self) -> Vec<OffloadFlag> {
        self.first_pass.as_ref().map(|r| r.flags.clone()).unwrap_or_default()
    }

    /// Where it is, as people see it.
    pub fn state(&self) -> RequestState {
        match (&self.ended, &self.heard, self.progress) {
            (Some(ended), ..) => ended.state,
            (None, Some(heard), _) => heard.state,
            (None, None, Progress::Offloaded) => RequestState::Running,
            (None, None, _) => RequestState::Accepted,
        }
    }

    /// `local`, or `fleet` once it was given away.
    pub fn served_by(&self) -> &'static str {
        if self.progress == Progress::Offloaded { "fleet" } else { "local" }
    }
}
