//! Names that people and planners write: tags, ports, steps and containers.

use super::IdError;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// A short name: 1–64 of `a-z 0-9 - _ .`, beginning with a letter or a digit. Safe as a file name.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(String);

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A name made from free text: lower-cased, everything else replaced by `-`; `fallback` if nothing is left.
    pub fn from_text(text: &str, fallback: &str) -> Self {
        let mut out = String::new();
        for c in text.chars().flat_map(char::to_lowercase) {
            if c.is_ascii_alphanumeric() || (matches!(c, '_' | '.') && !out.is_empty()) {
                out.push(c);
            } else if !out.is_empty() && !out.ends_with('-') {
                out.push('-');
            }
            if out.len() >= 63 {
                break;
            }
        }
        let trimmed = out.trim_end_matches('-');
        if trimmed.is_empty() { Self(fallback.to_string()) } else { Self(trimmed.to_string()) }
    }
}

impl FromStr for Name {
    type Err = IdError;
    fn from_str(s: &str) -> Result<Self, IdError> {
        let bad = |problem| Err(IdError::new("name", s, problem));
        if s.is_empty() {
            return bad("it is empty");
        }
        if s.len() > 64 {
            return bad("it is longer than 64 characters");
        }
        if !s.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()) {
            return bad("it must begin with a-z or 0-9");
        }
        if !s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b)) {
            return bad("only a-z, 0-9, '-', '_' and '.' are allowed");
        }
        Ok(Self(s.to_string()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// A container as people name it: `name:version`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContainerRef {
    /// The name the fleet knows it by.
    pub name: Name,
    /// Its semantic version.
    pub version: semver::Version,
}

impl FromStr for ContainerRef {
    type Err = IdError;
    fn from_str(s: &str) -> Result<Self, IdError> {
        let bad = |problem| IdError::new("container", s, problem);
        let (name, version) = s.split_once(':').ok_or_else(|| bad("expected NAME:VERSION"))?;
        Ok(Self {
            name: name.parse()?,
            version: semver::Version::parse(version).map_err(|_| bad("the version must be semantic, like 1.2.0"))?,
        })
    }
}

impl fmt::Display for ContainerRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}:{}", self.name, self.version))
    }
}
impl fmt::Debug for ContainerRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

macro_rules! serde_as_text {
    ($($name:ident),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> { serializer.collect_str(self) }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
serde_as_text!(Name, ContainerRef);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_file_names() {
        for bad in ["", ".", "..", "a/b", "A", "-a", "a b", "é", &"a".repeat(65)] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?}");
        }
        assert_eq!("key-points_1.0".parse::<Name>().unwrap().as_str(), "key-points_1.0");
    }

    #[test]
    fn any_text_makes_a_valid_name() {
        for text in ["My Letter (2).TXT", "", "…", "../../etc/passwd", &"ß".repeat(300), "_x"] {
            let name = Name::from_text(text, "input");
            assert_eq!(name.as_str().parse::<Name>().as_ref(), Ok(&name), "{text:?}");
        }
        assert_eq!(Name::from_text("My Letter.TXT", "x").as_str(), "my-letter.txt");
    }

    #[test]
    fn containers_are_name_and_version() {
        let c: ContainerRef = "langid:1.2.0".parse().unwrap();
        assert_eq!(c.to_string(), "langid:1.2.0");
        assert!("langid".parse::<ContainerRef>().is_err());
        assert!("langid:new".parse::<ContainerRef>().is_err());
    }
}
