//! Why a request waits, or where it would go: the scheduler asked again, without acting on what it says.

use crate::init::store_fault;
use crate::interpreter::Next;
use crate::reconcile::{decide_now, hypothetical_steps, interpret, step_state};
use crate::store::{RequestRecord, StoreError};
use crate::world::World;
use futures::future::try_join_all;
use ouro_common::document::{PlanDocument, PlannedStep};
use ouro_common::envelope::Envelope;
use ouro_common::error::{Fault, FaultCode};

/// Puts the decision as it would be taken now into every waiting step of a trace, and the nearest remedy into its request.
pub async fn explain(world: &World, record: &mut RequestRecord) -> Result<(), StoreError> {
    if record.waiting.is_empty() {
        return Ok(());
    }
    let steps = try_join_all(record.waiting.iter().map(|step| step_state(world, step))).await?;
    let now = world.store.now();
    let (_, decision) = decide_now(world, steps, now, 0).await?;
    for report in decision.report {
        let Some(step) = record.trace.steps.iter_mut().find(|s| s.id == report.step) else {
            continue;
        };
        let waits = report.view.winner.is_none();
        if waits && record.trace.request.fault.is_none() {
            let why = report.view.refusals.first().map_or("no node has a free slot", |r| r.reason.as_str());
            let fault = Fault::new(FaultCode::CannotPlace, format!("step {} waits: {why}", report.step));
            record.trace.request.fault = Some(fault.remedy(report.view.remedy.clone().unwrap_or_default()));
        }
        if step.decision.is_none() || waits {
            step.decision = Some(report.view);
        }
    }
    Ok(())
}

/// What would be done with a request, and where each step would go now.
///
/// # Errors
/// When the store cannot be read, or an approved plan does not fit.
pub async fn planned(world: &World, envelope: &Envelope) -> Result<PlanDocument, Fault> {
    let store = |e: StoreError| store_fault(&e);
    let connected = world.catalogue(true).await.map_err(store)?;
    let known = world.catalogue(false).await.map_err(store)?;
    let schema = "ouroboros.plan/1".to_string();
    let plan = match interpret(world, envelope, &connected, &known)? {
        Next::Plan(plan) | Next::RunStep(plan) => plan,
        Next::Refusal(refusal) => return Ok(PlanDocument { schema, plan: None, placement: vec![], refusal: Some(refusal) }),
    };
    let now = world.store.now();
    let mut placement = Vec::new();
    // Each step for itself: together they would queue behind each other, although they run one after the other.
    for step in hypothetical_steps(world, envelope, &plan).await.map_err(store)? {
        let (_, decision) = decide_now(world, vec![step], now, 0).await.map_err(store)?;
        placement.extend(decision.report.into_iter().map(|r| PlannedStep { step: r.step, decision: r.view }));
    }
    Ok(PlanDocument { schema, plan: Some(plan), placement, refusal: None })
}
