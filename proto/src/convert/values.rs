//! Digests, attempt keys and JSON documents.

use super::invalid;
use crate::wire;
use ouro_common::error::Fault;
use ouro_common::id::{AttemptKey, Digest, DigestAlgorithm, Epoch};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A digest for the wire.
pub fn digest_to_wire(digest: &Digest) -> wire::Digest {
    let algorithm = match digest.algorithm {
        DigestAlgorithm::Blake3 => wire::digest::Algorithm::Blake3,
        DigestAlgorithm::Sha256 => wire::digest::Algorithm::Sha256,
    };
    wire::Digest { algorithm: algorithm.into(), value: digest.bytes.to_vec() }
}

/// A digest from the wire; `field` names it in the fault.
pub fn digest_from_wire(digest: Option<&wire::Digest>, field: &str) -> Result<Digest, Fault> {
    let digest = digest.ok_or_else(|| invalid(field, "a digest is missing"))?;
    let algorithm = match wire::digest::Algorithm::try_from(digest.algorithm) {
        Ok(wire::digest::Algorithm::Blake3) => DigestAlgorithm::Blake3,
        Ok(wire::digest::Algorithm::Sha256) => DigestAlgorithm::Sha256,
        _ => return Err(invalid(field, format!("digest algorithm {} is not known", digest.algorithm))),
    };
    let bytes = digest.value.as_slice().try_into().map_err(|_| invalid(field, "a digest has 32 bytes"))?;
    Ok(Digest { algorithm, bytes })
}

/// An attempt key for the wire.
pub fn attempt_to_wire(key: &AttemptKey) -> wire::AttemptKey {
    wire::AttemptKey {
        request_id: key.request.to_string(),
        plan: key.plan,
        step: key.step.to_string(),
        epoch_generation: key.epoch.generation,
        epoch_n: key.epoch.n,
    }
}

/// An attempt key from the wire.
pub fn attempt_from_wire(key: Option<&wire::AttemptKey>) -> Result<AttemptKey, Fault> {
    let key = key.ok_or_else(|| invalid("attempt", "the attempt is missing"))?;
    Ok(AttemptKey {
        request: key.request_id.parse().map_err(|e| invalid("attempt.request_id", format!("{e}")))?,
        plan: key.plan,
        step: key.step.parse().map_err(|e| invalid("attempt.step", format!("{e}")))?,
        epoch: Epoch { generation: key.epoch_generation, n: key.epoch_n },
    })
}

/// A value as a JSON document of `schema`.
pub fn document<T: Serialize>(schema: &str, value: &T) -> wire::Document {
    wire::Document { schema: schema.to_string(), json: serde_json::to_vec(value).unwrap_or_default() }
}

/// The value in a JSON document, which must be of `schema`.
pub fn read_document<T: DeserializeOwned>(document: Option<&wire::Document>, schema: &str) -> Result<T, Fault> {
    let document = document.ok_or_else(|| invalid(schema, "the document is missing"))?;
    if document.schema != schema {
        return Err(invalid(schema, format!("expected a document of {schema}, got {:?}", document.schema)));
    }
    serde_json::from_slice(&document.json).map_err(|e| invalid(schema, format!("the document is malformed: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ouro_common::id::RequestId;

    #[test]
    fn keys_and_digests_survive_the_wire() {
        let key = AttemptKey {
            request: RequestId::from_parts(1, [1; 10]),
            plan: 1,
            step: "s1".parse().unwrap(),
            epoch: Epoch { generation: 2, n: 3 },
        };
        assert_eq!(attempt_from_wire(Some(&attempt_to_wire(&key))).unwrap(), key);
        let digest = Digest::blake3(b"x");
        assert_eq!(digest_from_wire(Some(&digest_to_wire(&digest)), "d").unwrap(), digest);
        let lying = wire::Digest { algorithm: 9, value: vec![0; 32] };
        assert!(digest_from_wire(Some(&lying), "input.digest").unwrap_err().problem.contains('9'));
        assert_eq!(digest_from_wire(None, "input.digest").unwrap_err().at, "input.digest");
    }
}
