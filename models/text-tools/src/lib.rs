//! Text tools where no model is needed: key phrases, key sentences, statistics of a table. Plain functions over text.
//!
//! The agent has them as builtins, and the program beside this library is all that is in the sample `oci` containers.

pub mod csv_stats;
pub mod keywords;
mod stopwords;
pub mod summarize;

/// A tool gave no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The input is not what the tool takes; no other machine will do better.
    #[error("{0}")]
    Input(String),
    /// The input could not be read.
    #[error("{0}")]
    Failed(String),
}

/// A whole-number parameter within its limits; `None` where it is not given.
///
/// # Errors
/// [`Refusal::Input`] when it is something else.
pub fn parameter(params: &serde_json::Value, name: &str, range: std::ops::RangeInclusive<u64>) -> Result<Option<usize>, Refusal> {
    match params.get(name) {
        None | Some(serde_json::Value::Null) => Ok(None),
        Some(value) => {
            let number = value.as_u64().filter(|v| range.contains(v)).and_then(|v| usize::try_from(v).ok());
            let must = || format!("the parameter {name} must be a whole number from {} to {}, not {value}", range.start(), range.end());
            number.map(Some).ok_or_else(|| Refusal::Input(must()))
        }
    }
}
