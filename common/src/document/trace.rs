//! `ouroboros.trace/1`: everything that was decided about a request, why, and what came of it.

use crate::envelope::FirstPassReport;
use crate::error::Fault;
use crate::id::{ContainerRef, Digest, Epoch, Name, NodeId, RequestId};
use crate::mfpi::Terms;
use crate::plan::{Refusal, Tags};
use crate::step::{AttemptState, RequestState, StepState};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What `ouroctl trace` and `explain` show.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TraceDocument {
    /// Always `ouroboros.trace/1`.
    pub schema: String,
    /// The request.
    pub request: RequestView,
    /// The local attempt, if there was one.
    pub first_pass: Option<FirstPassReport>,
    /// Who wrote the plan; null when there is none.
    pub planner: Option<String>,
    /// Why there is no plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
    /// The tag that is the answer.
    pub answer: Option<Name>,
    /// The steps in the plan's order.
    pub steps: Vec<StepView>,
    /// What happened, in order.
    pub events: Vec<TraceEvent>,
    /// The result.
    pub result: Option<ResultView>,
}

/// A request as people see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestView {
    /// Which.
    pub id: RequestId,
    /// Where it is.
    pub state: RequestState,
    /// Why it failed, or why it waits.
    pub fault: Option<Fault>,
    /// Who asked.
    pub principal: String,
    /// `local` or `fleet`.
    pub served_by: String,
    /// The prompt; null for private requests of others.
    pub prompt: Option<String>,
    /// Inputs: tag, media type and size.
    pub inputs: Vec<crate::envelope::Input>,
    /// Why it was offloaded.
    pub offload: Vec<crate::envelope::OffloadFlag>,
    /// When it was submitted, ms since the Unix epoch.
    pub submitted_unix_ms: u64,
    /// How long it took or has taken, ms.
    pub elapsed_ms: u64,
    /// The time it was given, ms.
    pub budget_ms: u64,
}

/// A step as people see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepView {
    /// Its id in the plan.
    pub id: Name,
    /// The container it uses.
    pub container: ContainerRef,
    /// That container's identity.
    pub digest: Digest,
    /// Where it is.
    pub state: StepState,
    /// Input port → tags.
    #[serde(rename = "in")]
    pub inputs: BTreeMap<Name, Tags>,
    /// Output port → tag.
    #[serde(rename = "out")]
    pub outputs: BTreeMap<Name, Name>,
    /// The node of the latest attempt.
    pub node: Option<NodeId>,
    /// That node's name.
    pub node_name: Option<String>,
    /// The count of attempts so far.
    pub attempt: u32,
    /// The epoch of the latest attempt.
    pub epoch: Option<Epoch>,
    /// What was predicted for it, ms.
    pub predicted_ms: Option<f64>,
    /// From assignment to commit, ms.
    pub actual_ms: Option<f64>,
    /// The latest decision about it.
    pub decision: Option<DecisionView>,
    /// Every attempt, oldest first.
    pub attempts: Vec<AttemptView>,
}

/// One attempt at a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptView {
    /// Its fencing number.
    pub epoch: Epoch,
    /// Where.
    pub node: NodeId,
    /// That node's name.
    pub node_name: String,
    /// How it stands.
    pub state: AttemptState,
    /// Why it ended so.
    pub why: String,
    /// What was predicted, ms.
    pub predicted_ms: f64,
    /// From assignment to the end, ms.
    pub actual_ms: Option<f64>,
    /// What the node itself measured, ms by phase: `fetch`, `plug`, `run`.
    pub phases_ms: BTreeMap<String, f64>,
}

/// A scheduler's decision about one step.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DecisionView {
    /// The chosen node; null when none would do.
    pub winner: Option<NodeId>,
    /// The seed of the tie break.
    pub seed: u64,
    /// The winner and the best others, best first, at most 17.
    pub candidates: Vec<Candidate>,
    /// Why the others were not considered.
    pub refusals: Vec<RefusalCount>,
    /// What would make it placeable, when it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// A node that could run the step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Which.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// The index: higher is better.
    pub mfpi: f64,
    /// The predicted time, seconds.
    pub total_s: f64,
    /// Seconds per term.
    pub terms: Terms,
    /// Factors that were not known and replaced by a pessimistic figure.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<String>,
}

/// Nodes that failed the same requirement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalCount {
    /// The requirement, like `container not present`.
    pub reason: String,
    /// How many nodes failed it.
    pub count: u32,
    /// Up to three of them: name, and the figure that failed.
    pub examples: Vec<String>,
}

/// Something that happened to a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceEvent {
    /// Milliseconds since the request was submitted.
    pub at_ms: u64,
    /// What kind: `accepted`, `planned`, `assigned`, `committed`, `failed`, `lost` …
    pub kind: String,
    /// The step it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<Name>,
    /// In words.
    pub text: String,
}

/// The result as a trace shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResultView {
    /// The answer's tag; null for an answer of the first pass.
    pub tag: Option<Name>,
    /// Its media type.
    pub media: String,
    /// Its size.
    pub size_bytes: u64,
    /// Its digest.
    pub digest: Digest,
    /// Its beginning, if it is text: at most 4 KiB.
    pub text: Option<String>,
}

/// `ouroboros.replay/1`: a recorded decision, taken again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReplayDocument {
    /// Always [`ReplayDocument::SCHEMA`].
    pub schema: String,
    /// The request.
    pub request: RequestId,
    /// The step.
    pub step: Name,
    /// When the decision was taken first, ms on the store's clock.
    pub at_ms: u64,
    /// What it drew its chance from.
    pub seed: u64,
    /// Nodes it looked at.
    pub nodes: usize,
    /// Steps it was about.
    pub steps: usize,
    /// Whether the second decision has the same bytes as the first.
    pub same: bool,
    /// BLAKE3 of the first decision's bytes.
    pub recorded: Digest,
    /// BLAKE3 of the second one's.
    pub replayed: Digest,
    /// The second decision about the step.
    pub decision: DecisionView,
}

impl ReplayDocument {
    /// The schema's name and version.
    pub const SCHEMA: &'static str = "ouroboros.replay/1";
}
