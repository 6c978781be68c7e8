//! A submission as it comes in: the envelope first, then the inputs' bytes, straight to the disk under their digests.

use super::{Caller, fault_status};
use crate::blobs::{BlobSink, Blobs};
use bytes::Bytes;
use ouro_common::envelope::{Envelope, INLINE_TAG_BYTES, Principal};
use ouro_common::error::{Fault, FaultCode};
use ouro_common::id::Digest;
use ouro_proto::convert::envelope::from_wire;
use ouro_proto::identity::Role;
use ouro_proto::wire::{SubmitPart, submit_part};
use tonic::{Status, Streaming};

/// Who asks: the certificate's bearer; through a node's agent, the local user it names.
pub(super) fn principal(caller: &Caller, uid: Option<u32>) -> Result<Principal, Fault> {
    match &caller.0.role {
        Role::Operator(name) => Ok(Principal::Operator(name.clone())),
        Role::Client(name) => Ok(Principal::Client(name.clone())),
        Role::Node(node) => {
            let uid = uid.ok_or_else(|| Fault::new(FaultCode::InvalidArgument, "a node must say which local user asks").at("uid"))?;
            Ok(Principal::Node { node: *node, uid })
        }
        Role::Server => Err(Fault::new(FaultCode::PermissionDenied, "a server submits nothing")),
    }
}

/// Reads the first message.
pub(super) async fn receive_envelope(caller: &Caller, parts: &mut Streaming<SubmitPart>) -> Result<Envelope, Status> {
    let Some(SubmitPart { body: Some(submit_part::Body::Envelope(message)), .. }) = parts.message().await? else {
        return Err(fault_status(Fault::new(FaultCode::InvalidArgument, "a submission begins with its envelope")));
    };
    let principal = principal(caller, message.uid).map_err(fault_status)?;
    from_wire(&message, principal).map_err(fault_status)
}

/// Reads the inputs' bytes and makes them durable, and a long prompt as well.
///
/// # Errors
/// `DISK_FULL` before anything is written, `DIGEST_MISMATCH` for damaged or missing bytes.
pub(super) async fn receive_inputs(blobs: &Blobs, envelope: &Envelope, parts: &mut Streaming<SubmitPart>) -> Result<(), Status> {
    let total = envelope.inputs.iter().map(|i| i.size_bytes).sum::<u64>() + envelope.prompt.len() as u64;
    blobs.admit(total).map_err(fault_status)?;
    if envelope.prompt.len() > INLINE_TAG_BYTES {
        let prompt = Bytes::copy_from_slice(envelope.prompt.as_bytes());
        let writer = blobs.writer(Digest::blake3(&prompt), prompt.len() as u64).map_err(fault_status)?;
        let mut sink = BlobSink::new(writer);
        sink.write(prompt).await.map_err(fault_status)?;
        sink.finish().await.map_err(fault_status)?;
    }
    let mut rest = Bytes::new();
    for input in &envelope.inputs {
        let mut sink = BlobSink::new(blobs.writer(input.digest, input.size_bytes).map_err(fault_status)?);
        let mut left = input.size_bytes;
        while left > 0 {
            if rest.is_empty() {
                rest = next_bytes(parts).await?;
            }
            let take = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
            sink.write(rest.split_to(take)).await.map_err(fault_status)?;
            left -= take as u64;
        }
        sink.finish().await.map_err(fault_status)?;
    }
    if !rest.is_empty() {
        return Err(fault_status(Fault::new(FaultCode::DigestMismatch, "more bytes came than the inputs announced")));
    }
    Ok(())
}

async fn next_bytes(parts: &mut Streaming<SubmitPart>) -> Result<Bytes, Status> {
    match parts.message().await? {
        Some(SubmitPart { body: Some(submit_part::Body::Data(data)), .. }) => Ok(Bytes::from(data)),
        _ => Err(fault_status(Fault::new(FaultCode::DigestMismatch, "the inputs' bytes ended before their announced size"))),
    }
}
