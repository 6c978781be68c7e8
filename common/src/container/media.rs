//! Media types as ports declare them: `type/subtype`, `type/*` or `*/*`; parameters are dropped.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// A media type (RFC 6838) without parameters, lower case.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MediaType {
    main: String,
    sub: String,
}

impl MediaType {
    /// `text/plain`.
    pub fn text() -> Self {
        Self { main: "text".into(), sub: "plain".into() }
    }

    /// `application/json`.
    pub fn json() -> Self {
        Self { main: "application".into(), sub: "json".into() }
    }

    /// The part before the slash.
    pub fn main(&self) -> &str {
        &self.main
    }

    /// The part after the slash.
    pub fn sub(&self) -> &str {
        &self.sub
    }

    /// Whether a port that declares `self` takes content of type `other`.
    pub fn accepts(&self, other: &Self) -> bool {
        (self.main == "*" || self.main == other.main) && (self.sub == "*" || self.sub == other.sub)
    }

    /// Whether this names exactly one type.
    pub fn is_concrete(&self) -> bool {
        self.main != "*" && self.sub != "*"
    }

    /// The media type that a file's name suggests; `application/octet-stream` when it suggests none.
    pub fn from_file_name(name: &str) -> Self {
        let extension = name.rsplit_once('.').map(|(_, e)| e.to_ascii_lowercase()).unwrap_or_default();
        let text = match extension.as_str() {
            "txt" | "text" | "log" => "text/plain",
            "md" | "markdown" => "text/markdown",
            "csv" => "text/csv",
            "tsv" => "text/tab-separated-values",
            "html" | "htm" => "text/html",
            "json" => "application/json",
            "pdf" => "application/pdf",
            "png" => "image/png",
            "jpg" | "jpeg" => "image/jpeg",
            "gif" => "image/gif",
            "webp" => "image/webp",
            "wav" => "audio/wav",
            "mp3" => "audio/mpeg",
            "mp4" => "video/mp4",
            _ => "application/octet-stream",
        };
        text.parse().unwrap_or_else(|_| Self::text())
    }
}

impl FromStr for MediaType {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let essence = s.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        let token = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+*".contains(&b));
        match essence.split_once('/') {
            Some((main, sub)) if token(main) && token(sub) && (main != "*" || sub == "*") => {
                Ok(Self { main: main.to_string(), sub: sub.to_string() })
            }
            _ => Err(format!("{s:?} is not a media type like text/plain")),
        }
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.main, self.sub)
    }
}
impl fmt::Debug for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
impl Serialize for MediaType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for MediaType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_accept_and_parameters_are_dropped() {
        let m = |s: &str| s.parse::<MediaType>().unwrap();
        assert!(m("text/*").accepts(&m("text/markdown; charset=utf-8")));
        assert!(m("*/*").accepts(&m("image/png")));
        assert!(!m("text/plain").accepts(&m("text/csv")));
        for bad in ["", "text", "text/", "/plain", "*/plain", "te xt/plain"] {
            assert!(bad.parse::<MediaType>().is_err(), "{bad:?}");
        }
    }
}
