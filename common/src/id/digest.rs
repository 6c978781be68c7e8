//! Content digests: sha256 for what OCI names, BLAKE3 for what Ouroboros names.

use super::IdError;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// The hash function of a [`Digest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DigestAlgorithm {
    /// BLAKE3, 256 bits: tags, payloads and blobs in transit.
    Blake3,
    /// SHA-256: containers and modules, as the OCI image specification has it.
    Sha256,
}

/// A 256-bit content digest, written `blake3:HEX` or `sha256:HEX`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    /// Which hash function.
    pub algorithm: DigestAlgorithm,
    /// The 32 bytes.
    pub bytes: [u8; 32],
}

impl Digest {
    /// The BLAKE3 digest of `data`.
    pub fn blake3(data: &[u8]) -> Self {
        Self::from_blake3(blake3::hash(data))
    }

    /// From a hash that was computed incrementally.
    pub fn from_blake3(hash: blake3::Hash) -> Self {
        Self { algorithm: DigestAlgorithm::Blake3, bytes: *hash.as_bytes() }
    }

    /// From the 32 bytes of a SHA-256.
    pub fn sha256(bytes: [u8; 32]) -> Self {
        Self { algorithm: DigestAlgorithm::Sha256, bytes }
    }

    /// The 64 hexadecimal digits, without the algorithm: a safe file name.
    pub fn hex(&self) -> String {
        data_encoding::HEXLOWER.encode(&self.bytes)
    }

    /// The first twelve hexadecimal digits, for people.
    pub fn short(&self) -> String {
        self.hex()[..12].to_string()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let algorithm = match self.algorithm {
            DigestAlgorithm::Blake3 => "blake3",
            DigestAlgorithm::Sha256 => "sha256",
        };
        write!(f, "{algorithm}:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Digest {
    type Err = IdError;
    fn from_str(s: &str) -> Result<Self, IdError> {
        let bad = |problem| IdError::new("digest", s, problem);
        let (algorithm, hex) = s.split_once(':').ok_or_else(|| bad("expected ALGORITHM:HEX"))?;
        let algorithm = match algorithm {
            "blake3" => DigestAlgorithm::Blake3,
            "sha256" => DigestAlgorithm::Sha256,
            _ => return Err(bad("the algorithm must be blake3 or sha256")),
        };
        let bytes = data_encoding::HEXLOWER.decode(hex.as_bytes()).map_err(|_| bad("expected lower-case hexadecimal"))?;
        Ok(Self { algorithm, bytes: bytes.try_into().map_err(|_| bad("expected 64 hexadecimal digits"))? })
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_reads_back_and_rejects_near_misses() {
        let digest = Digest::blake3(b"ouroboros");
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        for bad in ["", "blake3:", "md5:00", "sha256:zz", &digest.to_string().to_uppercase(), &digest.hex()] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }
}
