//! Join tokens: `ouro1.<id>.<secret>.<sha256 of the CA>`. The token pins the CA, so joining trusts nobody else.

use std::fmt;
use std::str::FromStr;

/// A token could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the join token is malformed: {0}; ask for a new one with `ouroctl token create`")]
pub struct TokenError(&'static str);

/// A join token with its secret. Its `Debug` does not show the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// Its public id: ten lower-case base32 characters.
    pub id: String,
    /// 20 secret bytes.
    pub secret: [u8; 20],
    /// SHA-256 of the CA certificate's DER.
    pub ca_sha256: [u8; 32],
}

impl JoinToken {
    /// A token from random bytes: six for the id, twenty for the secret.
    pub fn new(random_id: [u8; 6], secret: [u8; 20], ca_sha256: [u8; 32]) -> Self {
        Self { id: encode(&random_id), secret, ca_sha256 }
    }
}

/// RFC 4648 base32, lower case, unpadded: survives being read aloud and double-clicked.
fn encode(bytes: &[u8]) -> String {
    data_encoding::BASE32_NOPAD.encode(bytes).to_ascii_lowercase()
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ouro1.{}.{}.{}", self.id, encode(&self.secret), data_encoding::HEXLOWER.encode(&self.ca_sha256))
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinToken({}, secret hidden)", self.id)
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;
    fn from_str(s: &str) -> Result<Self, TokenError> {
        let mut parts = s.trim().split('.');
        let (Some("ouro1"), Some(id), Some(secret), Some(ca), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenError("it must look like ouro1.ID.SECRET.FINGERPRINT"));
        };
        let id_ok = (1..=32).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if !id_ok {
            return Err(TokenError("its id part is damaged"));
        }
        let secret = data_encoding::BASE32_NOPAD
            .decode(secret.to_ascii_uppercase().as_bytes())
            .ok()
            .and_then(|b| b.try_into().ok());
        let ca = data_encoding::HEXLOWER.decode(ca.as_bytes()).ok().and_then(|b| b.try_into().ok());
        Ok(Self {
            id: id.to_string(),
            secret: secret.ok_or(TokenError("its secret part is damaged or cut off"))?,
            ca_sha256: ca.ok_or(TokenError("its fingerprint part is damaged or cut off"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_read_back_and_damage_is_named() {
        let token = JoinToken::new([7; 6], [9; 20], [1; 32]);
        let text = token.to_string();
        assert_eq!(text.parse::<JoinToken>().unwrap(), token);
        assert_eq!(format!("  {text}\n").parse::<JoinToken>().unwrap(), token, "as read from a file");
        for cut in 0..text.len() {
            assert!(text[..cut].parse::<JoinToken>().is_err(), "cut at {cut}");
        }
        assert!(!format!("{token:?}").contains(&encode(&[9; 20])));
    }
}
