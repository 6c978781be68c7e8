//! A request as it arrives on the socket: its envelope checked, its inputs written and hashed before anything is promised.

use crate::clock::unix_ms;
use crate::requests::{Accepted, Journal, Record};
use ouro_common::envelope::{Envelope, Principal};
use ouro_common::error::{Fault, FaultCode};
use ouro_proto::convert::{envelope, fault_of};
use ouro_proto::wire::SubmitPart;
use ouro_proto::wire::submit_part::Body;
use tonic::Streaming;

/// The envelope, for the principal that the socket says, and whether no first pass is wanted.
pub(super) async fn receive_envelope(parts: &mut Streaming<SubmitPart>, principal: Principal) -> Result<(Envelope, bool), Fault> {
    let first = parts.message().await.map_err(|status| fault_of(&status))?;
    match first {
        Some(SubmitPart { body: Some(Body::Envelope(message)), skip_first_pass }) => {
            Ok((envelope::from_wire(&message, principal)?, skip_first_pass))
        }
        _ => Err(Fault::new(FaultCode::InvalidArgument, "a request begins with its envelope")),
    }
}

/// Receives the inputs and makes the request durable.
pub(super) async fn receive_request(
    journal: &Journal,
    parts: &mut Streaming<SubmitPart>,
    envelope: Envelope,
    skip_first_pass: bool,
) -> Result<Accepted, Fault> {
    if let Some(same) = journal.repeated(&envelope)? {
        return Ok(Accepted::Same(same));
    }
    let mut incoming = journal.receive(envelope.id)?;
    let mut pending: Vec<u8> = vec![];
    for input in &envelope.inputs {
        let size = usize::try_from(input.size_bytes).unwrap_or(usize::MAX);
        while pending.len() < size {
            match next_data(parts).await? {
                Some(data) => pending.extend_from_slice(&data),
                None => return Err(Fault::new(FaultCode::InvalidArgument, "the inputs end too early").at(&input.tag)),
            }
        }
        let rest = pending.split_off(size);
        incoming.keep(input, &pending)?;
        pending = rest;
    }
    if !pending.is_empty() || next_data(parts).await?.is_some() {
        return Err(Fault::new(FaultCode::InvalidArgument, "there is more data than the envelope announces"));
    }
    journal.accept(incoming, &Record::new(envelope, skip_first_pass, unix_ms()))
}

async fn next_data(parts: &mut Streaming<SubmitPart>) -> Result<Option<Vec<u8>>, Fault> {
    loop {
        match parts.message().await.map_err(|status| fault_of(&status))? {
            None => return Ok(None),
            Some(SubmitPart { body: Some(Body::Data(data)), .. }) if data.is_empty() => {}
            Some(SubmitPart { body: Some(Body::Data(data)), .. }) => return Ok(Some(data)),
            Some(_) => return Err(Fault::new(FaultCode::InvalidArgument, "after the envelope only data may come")),
        }
    }
}
