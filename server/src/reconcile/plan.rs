//! Accepted requests get their plan, or the refusal that says what is missing.

use crate::interpreter::{InterpreterRequest, Next, Outputs, RequestInput};
use crate::store::StoreError;
use crate::world::World;
use futures::future::join_all;
use ouro_common::container::MediaType;
use ouro_common::envelope::Envelope;
use ouro_common::error::{Fault, FaultCode};
use ouro_common::plan::{Catalogue, validate};

/// Requests that are planned in one pass.
const BATCH: usize = 256;
/// The number of the plan that rules write.
const RULE_PLAN: u32 = 1;

/// Plans what is not planned yet.
pub(super) async fn plan_requests(world: &World) -> Result<(), StoreError> {
    let waiting = world.store.unplanned(BATCH).await?;
    if waiting.is_empty() {
        return Ok(());
    }
    let connected = world.catalogue(true).await?;
    let known = world.catalogue(false).await?;
    let results = join_all(waiting.iter().map(|envelope| plan_one(world, envelope, &connected, &known))).await;
    results.into_iter().collect()
}

async fn plan_one(world: &World, envelope: &Envelope, connected: &Catalogue, known: &Catalogue) -> Result<(), StoreError> {
    match interpret(world, envelope, connected, known) {
        Ok(Next::Plan(plan)) => drop(world.store.attach_plan(envelope.id, RULE_PLAN, &plan).await?),
        Ok(Next::RunStep(plan)) => drop(world.store.attach_plan(envelope.id, 0, &plan).await?),
        Ok(Next::Refusal(refusal)) => world.store.refuse_request(envelope.id, &refusal).await?,
        Err(fault) => drop(world.store.fail_request(envelope.id, &fault).await?),
    }
    world.watchers.ring(envelope.id);
    Ok(())
}

/// What is to be done for a request: with the containers of connected nodes, or else of all known ones.
///
/// # Errors
/// An approved plan that does not fit the fleet any more.
pub(crate) fn interpret(world: &World, envelope: &Envelope, connected: &Catalogue, known: &Catalogue) -> Result<Next, Fault> {
    let request = request_of(envelope);
    if let Some(plan) = &envelope.approved_plan {
        return match validate(plan, known, &request.given()) {
            Ok(()) => Ok(Next::Plan(plan.clone())),
            Err(error) => {
                Err(Fault::new(FaultCode::InvalidArgument, format!("the approved plan cannot be carried out: {}", error.problem))
                    .at(error.step)
                    .remedy("ask for a plan again: the fleet's containers may have changed since"))
            }
        };
    }
    match world.interpreter.next(&request, connected, &Outputs::default()) {
        Next::Refusal(_) => Ok(world.interpreter.next(&request, known, &Outputs::default())),
        next => Ok(next),
    }
}

fn request_of(envelope: &Envelope) -> InterpreterRequest {
    let media = |text: &str| text.parse().unwrap_or_else(|_| MediaType::from_file_name(""));
    let inputs =
        envelope
            .inputs
            .iter()
            .map(|i| RequestInput { tag: i.tag.clone(), media: media(&i.media), file_name: i.file_name.clone() });
    InterpreterRequest { prompt: envelope.prompt.clone(), inputs: inputs.collect() }
}
