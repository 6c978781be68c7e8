//! How the fleet's values stand in columns: identifiers and states as text, documents as JSON, times as milliseconds.

use crate::store::EnrolledAs;
use ouro_common::envelope::Principal;
use ouro_common::id::{AgentRunId, BootId, Digest, InstanceId, Name, NodeId, RequestId};
use ouro_common::step::{AdminState, AttemptState, FailureClass, RequestState, StepState};
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ValueRef};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A value that has one textual form.
pub(super) trait Textual: Sized {
    /// What it is, for errors.
    const KIND: &'static str;
    /// Reads the textual form.
    fn read(text: &str) -> Option<Self>;
    /// The textual form.
    fn text(&self) -> String;
}

macro_rules! textual_by_parsing {
    ($($type:ty = $kind:literal),*) => {$(
        impl Textual for $type {
            const KIND: &'static str = $kind;
            fn read(text: &str) -> Option<Self> { text.parse().ok() }
            fn text(&self) -> String { self.to_string() }
        }
    )*};
}
textual_by_parsing!(
    NodeId = "node id",
    RequestId = "request id",
    AgentRunId = "agent run id",
    BootId = "boot id",
    InstanceId = "instance id",
    Digest = "digest",
    Name = "name",
    Principal = "principal"
);

macro_rules! textual_states {
    ($($type:ty = $kind:literal),*) => {$(
        impl Textual for $type {
            const KIND: &'static str = $kind;
            fn read(text: &str) -> Option<Self> { Self::parse(text) }
            fn text(&self) -> String { self.as_str().to_string() }
        }
    )*};
}
textual_states!(
    RequestState = "request state",
    StepState = "step state",
    AttemptState = "attempt state",
    AdminState = "node state"
);

impl Textual for FailureClass {
    const KIND: &'static str = "failure class";
    fn read(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name() == text)
    }
    fn text(&self) -> String {
        self.name().to_string()
    }
}

impl Textual for EnrolledAs {
    const KIND: &'static str = "role";
    fn read(text: &str) -> Option<Self> {
        [Self::Node, Self::Operator, Self::Client].into_iter().find(|role| role.text() == text)
    }
    fn text(&self) -> String {
        match self {
            Self::Node => "node",
            Self::Operator => "operator",
            Self::Client => "client",
        }
        .to_string()
    }
}

/// A column that holds a textual value.
pub(super) struct Text<T>(pub(super) T);

impl<T: Textual> FromSql for Text<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let text = value.as_str()?;
        T::read(text).map(Self).ok_or_else(|| FromSqlError::Other(format!("{text:?} is not a {}", T::KIND).into()))
    }
}

/// A column that holds a JSON document.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned> FromSql for Json<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        serde_json::from_str(value.as_str()?).map(Self).map_err(|e| FromSqlError::Other(Box::new(e)))
    }
}

/// A count or a time in milliseconds; SQLite's integers end at 2⁶³ − 1.
pub(super) struct Count(pub(super) u64);

impl FromSql for Count {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let number = value.as_i64()?;
        u64::try_from(number).map(Self).map_err(|_| FromSqlError::OutOfRange(number))
    }
}

/// `1 input`, `2 inputs`.
pub(super) fn counted(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// The value as a column takes it.
pub(super) fn text(value: &impl Textual) -> String {
    value.text()
}

/// The document as a column takes it.
pub(super) fn json(value: &impl Serialize) -> Result<String, rusqlite::Error> {
    serde_json::to_string(value).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))
}

/// The count as a column takes it; what is beyond SQLite's range is as good as never.
pub(super) fn count(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_and_role_reads_back() {
        for class in FailureClass::ALL {
            assert_eq!(FailureClass::read(&class.text()), Some(class));
        }
        for role in [EnrolledAs::Node, EnrolledAs::Operator, EnrolledAs::Client] {
            assert_eq!(EnrolledAs::read(&role.text()), Some(role));
        }
    }
}
