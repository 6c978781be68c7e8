//! Between the session's messages and what the other parts speak.

use crate::steps::{Assignment, Outcome, PendingInput, StepInput};
use ouro_common::error::{Fault, FaultCode};
use ouro_common::id::AttemptKey;
use ouro_common::step::FailureClass;
use ouro_proto::convert::{attempt_from_wire, attempt_to_wire, digest_from_wire, digest_to_wire, document};
use ouro_proto::wire;
use ouro_proto::wire::node_message::Body;
use std::time::Duration;

/// A fault as it came on the stream.
pub(super) fn fault(fault: &wire::Fault) -> Fault {
    let code = FaultCode::parse(&fault.code).unwrap_or(FaultCode::Internal);
    Fault::new(code, fault.problem.clone()).at(&fault.at).remedy(fault.remedy.clone())
}

/// What an assignment says about the attempt `key`.
pub(super) fn assignment(key: AttemptKey, assign: wire::Assign) -> Result<Assignment, Fault> {
    let invalid = |field: &str, problem: String| Fault::new(FaultCode::InvalidArgument, problem).at(field);
    let params = match assign.params_json.as_slice() {
        [] => serde_json::json!({}),
        json => serde_json::from_slice(json).map_err(|e| invalid("params_json", e.to_string()))?,
    };
    let (mut inputs, mut pending) = (vec![], vec![]);
    for (place, from) in assign.inputs.into_iter().enumerate() {
        match from.made_by {
            Some(_) => pending.push(pending_input(place, from)?),
            None => inputs.push(input(from)?),
        }
    }
    let outputs = assign.outputs.iter().map(|(port, tag)| Ok((port.parse()?, tag.parse()?)));
    let outputs: Result<_, ouro_common::id::IdError> = outputs.collect();
    Ok(Assignment {
        container: assign.container.parse().map_err(|e| invalid("container", format!("{e}")))?,
        digest: digest_from_wire(assign.container_digest.as_ref(), "container_digest")?,
        params,
        inputs,
        pending,
        outputs: outputs.map_err(|e| invalid("outputs", e.to_string()))?,
        budget: Duration::from_millis(assign.budget_ms),
        answers: assign.answers,
        scope: Some(assign.scope).filter(|scope| !scope.is_empty()),
        key,
    })
}

fn pending_input(place: usize, input: wire::StepInput) -> Result<PendingInput, Fault> {
    let invalid = |field: &str, e: ouro_common::id::IdError| Fault::new(FaultCode::InvalidArgument, e.to_string()).at(field);
    Ok(PendingInput {
        place,
        port: input.port.parse().map_err(|e| invalid("inputs.port", e))?,
        tag: input.tag.parse().map_err(|e| invalid("inputs.tag", e))?,
        made_by: attempt_from_wire(input.made_by.as_ref())?,
        made_port: input.made_port.parse().map_err(|e| invalid("inputs.made_port", e))?,
    })
}

fn input(input: wire::StepInput) -> Result<StepInput, Fault> {
    let invalid = |field: &str, e: ouro_common::id::IdError| Fault::new(FaultCode::InvalidArgument, e.to_string()).at(field);
    Ok(StepInput {
        port: input.port.parse().map_err(|e| invalid("inputs.port", e))?,
        tag: input.tag.parse().map_err(|e| invalid("inputs.tag", e))?,
        media: input.media,
        digest: digest_from_wire(input.digest.as_ref(), "inputs.digest")?,
        size_bytes: input.size_bytes,
        inline: input.inline,
    })
}

/// What came of an attempt, for the session. `on_server`: its answers were put there.
pub(super) fn outcome(key: &AttemptKey, outcome: &Outcome) -> Body {
    let attempt = Some(attempt_to_wire(key));
    match outcome {
        Outcome::Made { outputs, phases_ms } => {
            let outputs = outputs.iter().map(|o| wire::Output {
                port: o.port.to_string(),
                media: o.media.clone(),
                digest: Some(digest_to_wire(&o.digest)),
                size_bytes: o.size_bytes,
                inline: o.inline.as_ref().map(|i| i.0.clone()),
                on_server: o.answers,
            });
            let phases_ms = phases_ms.iter().map(|(k, v)| (k.clone(), *v)).collect();
            Body::StepResult(wire::StepResult { attempt, outputs: outputs.collect(), phases_ms })
        }
        Outcome::Failed { class, why, evidence } => Body::StepFailed(wire::StepFailed {
            attempt,
            failure_class: class_number(*class),
            why: why.chars().take(2000).collect(),
            evidence: evidence.as_ref().map(|e| document("ouroboros.evidence/1", e)),
        }),
    }
}

fn class_number(class: FailureClass) -> u32 {
    FailureClass::ALL.iter().position(|c| *c == class).map_or(0, |i| u32::try_from(i + 1).unwrap_or(0))
}
