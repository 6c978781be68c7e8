//! What passes between the store and whoever places steps: what is ready, what is given to whom, and what became of it.

use super::records::TagRecord;
use ouro_common::document::DecisionView;
use ouro_common::envelope::Principal;
use ouro_common::id::{Epoch, Name, NodeId, RequestId};
use ouro_common::plan::Step;

/// A step that can be placed.
#[derive(Debug, Clone)]
pub struct ReadyStep {
    /// Its request.
    pub request: RequestId,
    /// The number of its plan.
    pub plan: u32,
    /// The step as planned.
    pub step: Step,
    /// The count of epochs so far: `assign` must find the same.
    pub expected_epoch: u32,
    /// Its inputs, each with the port it goes to and where its bytes are (inline bytes left out).
    pub inputs: Vec<(Name, TagRecord)>,
    /// Nodes on which it failed by its own doing.
    pub failed_on: Vec<NodeId>,
    /// Nodes whose configuration does not allow it.
    pub too_large_for: Vec<NodeId>,
    /// Whether there is evidence against it, so that it may only run alone.
    pub alone: bool,
    /// Priority of its request.
    pub priority: u8,
    /// The place of its request among all that were accepted.
    pub age: u64,
    /// Who asked, for placement of private requests.
    pub principal: Principal,
    /// Whether only the owner's nodes may see it.
    pub private: bool,
    /// Time left to its request's deadline, ms.
    pub remaining_ms: u64,
    /// Whether one of its outputs is the request's answer.
    pub answers: bool,
    /// Steps that can only follow it, one after the other: they may go along to the same node.
    pub followers: Vec<Follower>,
}

/// Which ready steps an instance takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// Those that nobody has leased, and its own.
    All,
    /// The same without those that it took less than half a lease ago: it knows them.
    New,
}

/// A step that can only follow another one.
#[derive(Debug, Clone)]
pub struct Follower {
    /// The step as planned.
    pub step: Step,
    /// The count of epochs so far: `assign` must find the same.
    pub expected_epoch: u32,
    /// Those of its inputs that are there already, each with its port.
    pub inputs: Vec<(Name, TagRecord)>,
}

/// A step to be given to a node.
#[derive(Debug, Clone)]
pub struct Assignment {
    /// Its request.
    pub request: RequestId,
    /// The number of its plan.
    pub plan: u32,
    /// The step.
    pub step: Name,
    /// From [`ReadyStep::expected_epoch`].
    pub expected_epoch: u32,
    /// To whom.
    pub node: NodeId,
    /// The session the decision was made for.
    pub session_epoch: u64,
    /// Steps the node may run at once; one more may wait there.
    pub slots: u32,
    /// The decision, for the trace.
    pub decision: DecisionView,
    /// The predicted time, ms.
    pub predicted_ms: f64,
    /// Steps that go along, in their order.
    pub chain: Vec<ChainLink>,
}

/// A step that goes along to the node of the one before it.
#[derive(Debug, Clone)]
pub struct ChainLink {
    /// The step.
    pub step: Name,
    /// From [`Follower::expected_epoch`].
    pub expected_epoch: u32,
    /// The decision, for the trace.
    pub decision: DecisionView,
    /// The predicted time from the assignment of the chain to the end of this step, ms.
    pub predicted_ms: f64,
}

/// A step that no node could ever take.
#[derive(Debug, Clone)]
pub struct RefusedStep {
    /// Its request.
    pub request: RequestId,
    /// The number of its plan.
    pub plan: u32,
    /// The step.
    pub step: Name,
    /// Which requirement failed on which nodes.
    pub decision: DecisionView,
}

/// What assigning gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AssignOutcome {
    /// It is the node's now.
    Assigned {
        /// Under this epoch.
        epoch: Epoch,
        /// Those that went along, each under its epoch; the chain may have ended sooner than was asked for.
        chain: Vec<(Name, Epoch)>,
    },
    /// Somebody else was faster, or the step is not ready any more.
    Raced,
    /// The node has enough.
    NodeFull,
    /// The node's session is another or closed.
    NodeGone,
}
