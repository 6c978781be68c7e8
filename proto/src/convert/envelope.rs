//! The envelope between wire and vocabulary. Limits are checked here, so that nothing behind sees an absurd request.

use super::values::{digest_from_wire, digest_to_wire, document, read_document};
use super::{Fault, FaultCode, invalid};
use crate::wire;
use ouro_common::envelope::{
    Envelope, FirstPassReport, Input, MAX_INPUTS, MAX_PROMPT_BYTES, MAX_REQUEST_BYTES, Mode, OffloadFlag, PROMPT_TAG, Principal, Privacy,
};
use std::collections::BTreeSet;

const PLAN_SCHEMA: &str = "ouroboros.approved-plan/1";

/// An envelope for the wire. The principal does not travel, only a local user's id does.
pub fn to_wire(envelope: &Envelope) -> wire::Envelope {
    let privacy = match envelope.privacy {
        Privacy::Public => wire::Privacy::Public,
        Privacy::Private => wire::Privacy::Private,
    };
    let mode = match envelope.mode {
        Mode::Realtime => wire::Mode::Realtime,
        Mode::Batch => wire::Mode::Batch,
        Mode::Async => wire::Mode::Async,
    };
    let inputs = envelope.inputs.iter().map(|i| wire::Input {
        tag: i.tag.to_string(),
        media: i.media.clone(),
        digest: Some(digest_to_wire(&i.digest)),
        size_bytes: i.size_bytes,
        file_name: i.file_name.clone().unwrap_or_default(),
    });
    wire::Envelope {
        protocol_version: envelope.version,
        request_id: envelope.id.to_string(),
        idempotency_key: envelope.idempotency_key.clone(),
        uid: match envelope.principal {
            Principal::Node { uid, .. } => Some(uid),
            _ => None,
        },
        privacy: privacy.into(),
        mode: mode.into(),
        priority: envelope.priority.into(),
        budget_ms: envelope.budget_ms,
        offload: envelope.offload.iter().copied().map(flag_to_wire).collect(),
        first_pass: envelope.first_pass.as_ref().map(report_to_wire),
        traceparent: envelope.traceparent.clone().unwrap_or_default(),
        prompt: envelope.prompt.clone(),
        inputs: inputs.collect(),
        approved_plan: envelope.approved_plan.as_ref().map(|p| document(PLAN_SCHEMA, p)),
        payload: Some(digest_to_wire(&envelope.content_digest())),
    }
}

/// An envelope from the wire, for the principal that the receiver has established.
///
/// # Errors
/// The first field found wrong: unknown enum values, limits, a payload digest that does not match.
pub fn from_wire(message: &wire::Envelope, principal: Principal) -> Result<Envelope, Fault> {
    check_limits(message)?;
    let flags: Result<Vec<_>, _> = message.offload.iter().map(|n| flag_from_wire(*n)).collect();
    let inputs: Result<Vec<_>, _> = message.inputs.iter().map(input_from_wire).collect();
    let envelope = Envelope {
        version: message.protocol_version,
        id: message.request_id.parse().map_err(|e| invalid("request_id", format!("{e}")))?,
        idempotency_key: message.idempotency_key.clone(),
        principal,
        privacy: match wire::Privacy::try_from(message.privacy) {
            Ok(wire::Privacy::Public | wire::Privacy::Unspecified) => Privacy::Public,
            Ok(wire::Privacy::Private) => Privacy::Private,
            Err(_) => return Err(invalid("privacy", format!("{} is not a known value", message.privacy))),
        },
        mode: match wire::Mode::try_from(message.mode) {
            Ok(wire::Mode::Realtime | wire::Mode::Unspecified) => Mode::Realtime,
            Ok(wire::Mode::Batch) => Mode::Batch,
            Ok(wire::Mode::Async) => Mode::Async,
            Err(_) => return Err(invalid("mode", format!("{} is not a known value", message.mode))),
        },
        priority: u8::try_from(message.priority)
            .ok()
            .filter(|p| *p <= 9)
            .ok_or_else(|| invalid("priority", "it goes from 0 to 9"))?,
        budget_ms: message.budget_ms,
        offload: flags?,
        first_pass: message.first_pass.as_ref().map(report_from_wire).transpose()?,
        traceparent: Some(message.traceparent.clone()).filter(|t| !t.is_empty()),
        prompt: message.prompt.clone(),
        inputs: inputs?,
        approved_plan: match &message.approved_plan {
            None => None,
            some => Some(read_document(some.as_ref(), PLAN_SCHEMA)?),
        },
    };
    let mut tags = BTreeSet::from([PROMPT_TAG]);
    if let Some(twice) = envelope.inputs.iter().find(|i| !tags.insert(i.tag.as_str())) {
        return Err(invalid("inputs", format!("the tag {} is used twice or reserved", twice.tag)));
    }
    if digest_from_wire(message.payload.as_ref(), "payload")? != envelope.content_digest() {
        return Err(Fault::new(
            FaultCode::DigestMismatch,
            "the request does not hash to its payload digest: it was damaged on its way",
        ));
    }
    Ok(envelope)
}

fn check_limits(message: &wire::Envelope) -> Result<(), Fault> {
    if message.prompt.len() > MAX_PROMPT_BYTES {
        let problem = format!("the prompt has {} bytes, at most {MAX_PROMPT_BYTES} are allowed", message.prompt.len());
        return Err(Fault::new(FaultCode::TooLarge, problem).at("prompt").remedy("attach long text with --file text=FILE"));
    }
    if message.inputs.len() > MAX_INPUTS {
        return Err(Fault::new(
            FaultCode::TooLarge,
            format!("a request has at most {MAX_INPUTS} inputs, not {}", message.inputs.len()),
        ));
    }
    let total = message.inputs.iter().fold(message.prompt.len() as u64, |sum, i| sum.saturating_add(i.size_bytes));
    if total > MAX_REQUEST_BYTES {
        let problem = format!("the request has {total} bytes with its inputs, at most {MAX_REQUEST_BYTES} are allowed");
        return Err(Fault::new(FaultCode::TooLarge, problem).at("inputs").remedy("split the input into parts of at most 64 MiB"));
    }
    if message.idempotency_key.is_empty() || message.idempotency_key.len() > 200 {
        return Err(invalid("idempotency_key", "it must have 1 to 200 characters"));
    }
    if message.prompt.trim().is_empty() && message.inputs.is_empty() {
        return Err(invalid("prompt", "the prompt is empty").remedy("say what you want done"));
    }
    if message.budget_ms == 0 {
        return Err(invalid("budget_ms", "there is no time left"));
    }
    Ok(())
}

fn input_from_wire(input: &wire::Input) -> Result<Input, Fault> {
    let media: ouro_common::container::MediaType = input.media.parse().map_err(|e: String| invalid("inputs.media", e))?;
    Ok(Input {
        tag: input.tag.parse().map_err(|e| invalid("inputs.tag", format!("{e}")))?,
        media: media.to_string(),
        digest: digest_from_wire(input.digest.as_ref(), "inputs.digest")?,
        size_bytes: input.size_bytes,
        file_name: Some(input.file_name.clone()).filter(|n| !n.is_empty()),
    })
}

fn flag_to_wire(flag: OffloadFlag) -> i32 {
    OffloadFlag::ALL.iter().position(|f| *f == flag).map_or(0, |i| i32::try_from(i + 1).unwrap_or(0))
}

fn flag_from_wire(number: i32) -> Result<OffloadFlag, Fault> {
    let index = usize::try_from(number - 1).ok();
    index
        .and_then(|i| OffloadFlag::ALL.get(i).copied())
        .ok_or_else(|| invalid("offload", format!("{number} is not a known offload flag")))
}

fn report_to_wire(report: &FirstPassReport) -> wire::FirstPassReport {
    wire::FirstPassReport {
        model: report.model.as_ref().map(digest_to_wire),
        model_name: report.model_name.clone().unwrap_or_default(),
        engine: report.engine.clone().unwrap_or_default(),
        prompt_tokens: report.prompt_tokens,
        tokens: report.tokens,
        mean_logprob: report.mean_logprob,
        min_logprob: report.min_logprob,
        p10_logprob: report.p10_logprob,
        feature: report.feature.clone().unwrap_or_default(),
        threshold: report.threshold,
        answered: report.answered,
        flags: report.flags.iter().copied().map(flag_to_wire).collect(),
        why: report.why.clone(),
        elapsed_ms: report.elapsed_ms,
        partial: report.partial.clone(),
        mean_entropy: report.mean_entropy,
        calibration: report.calibration.clone().unwrap_or_default(),
    }
}

fn report_from_wire(report: &wire::FirstPassReport) -> Result<FirstPassReport, Fault> {
    let text = |s: &String| Some(s.clone()).filter(|s| !s.is_empty());
    let flags: Result<Vec<_>, _> = report.flags.iter().map(|n| flag_from_wire(*n)).collect();
    Ok(FirstPassReport {
        model: report.model.as_ref().map(|d| digest_from_wire(Some(d), "first_pass.model")).transpose()?,
        model_name: text(&report.model_name),
        engine: text(&report.engine),
        prompt_tokens: report.prompt_tokens,
        tokens: report.tokens,
        mean_logprob: report.mean_logprob,
        min_logprob: report.min_logprob,
        p10_logprob: report.p10_logprob,
        feature: text(&report.feature),
        threshold: report.threshold,
        answered: report.answered,
        flags: flags?,
        why: report.why.clone(),
        elapsed_ms: report.elapsed_ms,
        partial: report.partial.clone(),
        mean_entropy: report.mean_entropy,
        calibration: text(&report.calibration),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ouro_common::envelope::{DEFAULT_BUDGET_MS, PROTOCOL_VERSION};
    use ouro_common::id::{Digest, RequestId};

    fn envelope() -> Envelope {
        Envelope {
            version: PROTOCOL_VERSION,
            id: RequestId::from_parts(1, [1; 10]),
            idempotency_key: "k".into(),
            principal: Principal::Operator("admin".into()),
            privacy: Privacy::Private,
            mode: Mode::Batch,
            priority: 7,
            budget_ms: DEFAULT_BUDGET_MS,
            offload: OffloadFlag::ALL.to_vec(),
            first_pass: Some(FirstPassReport {
                tokens: 3,
                mean_logprob: Some(-0.5),
                mean_entropy: Some(1.5),
                calibration: Some("from 9 graded prompts".into()),
                why: "unsure".into(),
                ..FirstPassReport::default()
            }),
            traceparent: None,
            prompt: "what language is this".into(),
            inputs: vec![Input {
                tag: "text".parse().unwrap(),
                media: "text/plain".into(),
                digest: Digest::blake3(b"hello"),
                size_bytes: 5,
                file_name: Some("letter.txt".into()),
            }],
            approved_plan: None,
        }
    }

    #[test]
    fn an_envelope_survives_the_wire() {
        let before = envelope();
        assert_eq!(from_wire(&to_wire(&before), before.principal.clone()).unwrap(), before);
    }

    #[test]
    fn each_defect_is_refused_by_name() {
        type Damage = fn(&mut wire::Envelope);
        let cases: [(Damage, &str); 8] = [
            (|m| m.prompt = "x".repeat(MAX_PROMPT_BYTES + 1), "prompt"),
            (|m| m.inputs[0].size_bytes = u64::MAX, "inputs"),
            (|m| m.offload.push(77), "offload"),
            (|m| m.mode = 9, "mode"),
            (|m| m.priority = 10, "priority"),
            (|m| m.inputs[0].tag = "prompt".into(), "inputs"),
            (|m| m.budget_ms = 0, "budget_ms"),
            (|m| m.prompt.push('!'), ""),
        ];
        for (damage, field) in cases {
            let mut message = to_wire(&envelope());
            damage(&mut message);
            assert_eq!(from_wire(&message, Principal::Client("c".into())).unwrap_err().at, field);
        }
    }
}
