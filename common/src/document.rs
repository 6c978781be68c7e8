//! The JSON documents people and scripts read: each carries its schema's name and version, and units in its names.

pub use fleet::{ContainerView, ModuleView, ModulesDocument, NodeView, NodesDocument, TrustedKeyView, TrustedKeysDocument};
pub use history::{EventsDocument, FleetEvent, PoisonDeath, PoisonDocument, PoisonEntry};
pub use loaded::{BatchState, FIRST_PASS, LoadedDocument, LoadedView};
pub use plan::{PlanDocument, PlannedStep};
pub use request::{RequestRow, RequestsDocument, ResultDocument};
pub use trace::{
    AttemptView, Candidate, DecisionView, RefusalCount, ReplayDocument, RequestView, ResultView, StepView, TraceDocument, TraceEvent,
};

mod fleet;
mod history;
mod loaded;
mod plan;
mod request;
mod trace;
