//! Who signed a module: minisign signatures (Ed25519, <https://jedisct1.github.io/minisign/>) over `index.json`.
//!
//! Both forms that minisign writes are taken, prehashed and legacy, and the signature over the trusted comment is checked
//! with the other. The index names every blob by its sha256, so one signature covers the whole module.

use super::limits;
use minisign_verify::{PublicKey, Signature};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// The number minisign gives a key, to find the right one quickly. It proves nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(u64);

impl KeyId {
    /// The key number of a decoded key or signature: bytes 2 to 9, little-endian.
    fn of(base64_line: &str) -> Option<Self> {
        let bytes = data_encoding::BASE64.decode(base64_line.trim().as_bytes()).ok()?;
        Some(Self(u64::from_le_bytes(bytes.get(2..10)?.try_into().ok()?)))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016X}", self.0)
    }
}
impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
impl FromStr for KeyId {
    type Err = KeyError;
    fn from_str(s: &str) -> Result<Self, KeyError> {
        u64::from_str_radix(s, 16)
            .map(Self)
            .map_err(|_| KeyError { problem: "a key number has up to 16 hexadecimal digits" })
    }
}

/// A public key cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the minisign public key is not valid: {problem}")]
pub struct KeyError {
    /// What is wrong with it.
    problem: &'static str,
}

/// A public key that modules may be signed with.
#[derive(Clone, PartialEq, Eq)]
pub struct TrustedKey {
    id: KeyId,
    base64: String,
    key: PublicKey,
}

impl TrustedKey {
    /// Its key number.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The key in the one line that minisign takes after `-P`.
    pub fn base64(&self) -> &str {
        &self.base64
    }
}

/// Reads the line that minisign takes after `-P`, or a whole `minisign.pub` with its comment.
impl FromStr for TrustedKey {
    type Err = KeyError;
    fn from_str(s: &str) -> Result<Self, KeyError> {
        let mut lines = s.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("untrusted comment:"));
        let base64 = lines.next().ok_or(KeyError { problem: "it is empty" })?;
        if lines.next().is_some() {
            return Err(KeyError { problem: "it has more than one line beside its comment" });
        }
        let key = PublicKey::from_base64(base64).map_err(|_| KeyError { problem: "expected 56 characters that begin with RW" })?;
        let id = KeyId::of(base64).ok_or(KeyError { problem: "it is not base64" })?;
        Ok(Self { id, base64: base64.to_string(), key })
    }
}

impl fmt::Display for TrustedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base64)
    }
}
impl fmt::Debug for TrustedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrustedKey({})", self.base64)
    }
}
impl Serialize for TrustedKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.base64)
    }
}
impl<'de> Deserialize<'de> for TrustedKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What a module's signature is worth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Verdict {
    /// There is no signature.
    Unsigned,
    /// Signed by a trusted key.
    Trusted {
        /// Which.
        key: KeyId,
        /// The comment that is covered by the signature. Written by the signer: print it with its control characters escaped.
        comment: String,
    },
    /// There is a signature, by a key that is not among the trusted ones: it cannot be checked.
    Untrusted {
        /// Which, as the signature says.
        key: KeyId,
    },
    /// It names a trusted key and does not fit the index, or it is no signature at all.
    Bad {
        /// What is wrong with it.
        problem: String,
    },
}

impl Verdict {
    /// Whether a trusted key vouches for the module.
    pub fn is_trusted(&self) -> bool {
        matches!(self, Self::Trusted { .. })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsigned => f.write_str("unsigned"),
            Self::Trusted { key, .. } => write!(f, "signed by {key}"),
            Self::Untrusted { key } => write!(f, "signed by {key}, which is not a trusted key"),
            Self::Bad { problem } => write!(f, "bad signature: {problem}"),
        }
    }
}

/// Judges the signature file over these bytes.
pub fn verify(signed: &[u8], signature_file: &[u8], trusted: &[TrustedKey]) -> Verdict {
    let bad = |problem: &str| Verdict::Bad { problem: problem.into() };
    if signature_file.len() as u64 > limits::SIGNATURE_BYTES {
        return bad("it is larger than minisign writes any");
    }
    let Some(text) = std::str::from_utf8(signature_file).ok() else {
        return bad("it is not text");
    };
    let Ok(signature) = Signature::decode(text) else {
        return bad("it is not in the form that minisign writes");
    };
    let Some(key) = text.lines().nth(1).and_then(KeyId::of) else {
        return bad("it names no key");
    };
    let mut candidates = trusted.iter().filter(|candidate| candidate.id == key).peekable();
    if candidates.peek().is_none() {
        return Verdict::Untrusted { key };
    }
    // Key numbers are random and not unique: any of the keys with this one may have signed.
    if candidates.any(|candidate| candidate.key.verify(signed, &signature, true).is_ok()) {
        Verdict::Trusted { key, comment: signature.trusted_comment().to_string() }
    } else {
        bad(&format!("it is not by the key {key} over this index; the index or the signature was changed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made by minisign 0.11 (`-G -W`, `-S`, `-S -l`).
    const KEY: &str = "RWQ18N+JrnKKpCTP6W02wgcxMUGBLTgCutwN0G4q3EGJq/vF3KcTMC0v";
    const INDEX: &[u8] = br#"{"schemaVersion":2,"manifests":[]}"#;
    const PREHASHED: &str = "untrusted comment: signature from minisign secret key\n\
        RUQ18N+JrnKKpICMFmjzggFlXaUL5rsyiD97XfsVVFbSx240uTlOGCfes8UH5bMEmIxMOb27Wn85i4cEcrKmrBsC+KS2GgVQ9wA=\n\
        trusted comment: module text\n\
        JY/ImMdIIWL2uO3TJ1m9a4I1uSykQ6sfrsRtdAfuN+exZULSuQJZeYESmRDFWfQ99G29Ux4FYbvg/DaTgzWHDQ==\n";
    const LEGACY: &str = "untrusted comment: signature from minisign secret key\n\
        RWQ18N+JrnKKpE8DvoCF5iF2PcKwcoYlOMhcu4nWYRBRRpJ4dN7SbMD2q9tCMkS3F5QR4QcxwWGNrI1ITYlv8tp2a2CgOR86yw8=\n\
        trusted comment: module text\n\
        6ESinqMjnZAOtCuNias2FXR/O/4tJNQmimEdaK64ZU+ZCNN8v5RMLn++vZu9vwAcHVYRJDnLGTY1v2tmOwteDw==\n";
    const STRANGER: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";

    #[test]
    fn both_forms_of_minisign_are_taken() {
        let key: TrustedKey = KEY.parse().unwrap();
        let comment = "module text".to_string();
        for signature in [PREHASHED, LEGACY] {
            let trusted = Verdict::Trusted { key: key.id(), comment: comment.clone() };
            let keys = [STRANGER.parse().unwrap(), key.clone()];
            assert_eq!(verify(INDEX, signature.as_bytes(), &keys), trusted);
            assert_eq!(verify(INDEX, signature.as_bytes(), &keys[..1]), Verdict::Untrusted { key: key.id() });
        }
        assert_eq!(key.id().to_string(), "A48A72AE89DFF035");
    }

    #[test]
    fn a_changed_byte_anywhere_is_found() {
        let keys = [KEY.parse().unwrap()];
        let mut index = INDEX.to_vec();
        index[3] ^= 1;
        assert!(matches!(verify(&index, PREHASHED.as_bytes(), &keys), Verdict::Bad { .. }));
        for signature in [PREHASHED, LEGACY] {
            let comment = signature.replace("module text", "module tent");
            assert!(matches!(verify(INDEX, comment.as_bytes(), &keys), Verdict::Bad { .. }));
            // All but the untrusted comment, which minisign leaves unsigned, and the newlines.
            let from = signature.find('\n').unwrap() + 1;
            for i in (from..signature.len()).filter(|i| signature.as_bytes()[*i] != b'\n') {
                let mut changed = signature.as_bytes().to_vec();
                changed[i] ^= 1;
                assert!(!verify(INDEX, &changed, &keys).is_trusted(), "byte {i}");
            }
        }
    }

    #[test]
    fn keys_read_as_a_line_or_a_file_and_nothing_else() {
        let key: TrustedKey = KEY.parse().unwrap();
        let file = format!("untrusted comment: minisign public key {}\n{KEY}\n", key.id());
        assert_eq!(file.parse::<TrustedKey>().unwrap(), key);
        assert_eq!(serde_json::from_str::<TrustedKey>(&serde_json::to_string(&key).unwrap()).unwrap(), key);
        assert_eq!(key.id().to_string().parse::<KeyId>().unwrap(), key.id());
        for bad in ["", "untrusted comment: only", "RWQ", &KEY[..50], &format!("{KEY}\n{KEY}")] {
            assert!(bad.parse::<TrustedKey>().is_err(), "{bad:?}");
        }
    }
}
