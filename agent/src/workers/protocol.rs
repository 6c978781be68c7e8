//! What agent and worker say to each other: JSON, a line each, orders in on the worker's stdin and words out on its stdout.
//!
//! Inputs and outputs are files; only their names travel here, so a line stays short. Longer ones are refused.

use crate::runtimes::{Job, JobError, Load};
use crate::sensing::speeds::Speeds;
use ouro_common::device::{Achieved, RuntimeAvailability};
use ouro_common::document::BatchState;
use ouro_common::envelope::FirstPassReport;
use ouro_common::step::FailureClass;
use ouro_engine::deferral::Wish;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, Write};
use std::path::PathBuf;

/// The longest line either side accepts, in bytes: a prompt of 1 MiB, escaped at its worst, with room.
pub const MAX_LINE_BYTES: usize = 8 << 20;

/// What a worker is told to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case")]
pub enum Order {
    /// Load a container; the first order of a worker that runs steps.
    Load(Box<Load>),
    /// Run a job in it.
    Run(Box<Job>),
    /// Compute a job of a language model together with those that are there.
    Join {
        /// The number by which it is spoken of.
        job: u64,
        /// What is to be done.
        work: Box<Job>,
    },
    /// A job of a language model is not wanted any more.
    Leave {
        /// Which.
        job: u64,
    },
    /// Leave what is kept of earlier jobs of a language model in a file.
    Park {
        /// A file that is not there.
        file: PathBuf,
    },
    /// Say which runtimes work here, and measure the machine.
    Probe(ProbeOrder),
    /// Open the model of the first pass; the first order of its worker.
    Open {
        /// The GGUF file, or the folder.
        model: PathBuf,
        /// What was found of its answers, if the configuration names it.
        calibration: Option<PathBuf>,
        /// Where digests of models are kept.
        digests: Option<PathBuf>,
    },
    /// Try to answer a prompt with it.
    Attempt(Box<AttemptOrder>),
    /// Answer a prompt with it, however unsure: nobody else is there.
    Answer {
        /// The prompt.
        prompt: String,
        /// The most tokens of answer.
        max_tokens: u32,
    },
}

/// What a probe is to find out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeOrder {
    /// The ONNX Runtime library the configuration names.
    pub onnxruntime: Option<PathBuf>,
    /// Whether it is to say which runtimes work.
    pub runtimes: bool,
    /// The agent's folder, whose medium is measured together with bandwidth, compute and hashing; that takes up to two seconds and a
    /// half. Without it nothing is measured.
    pub measure: Option<PathBuf>,
}

/// A prompt for the first pass.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptOrder {
    /// The prompt.
    pub prompt: String,
    /// How many inputs travel with it.
    pub inputs: usize,
    /// The most tokens of answer.
    pub max_tokens: u32,
    /// The time the request has, ms.
    pub budget_ms: u64,
    /// What the threshold is compared with, if the configuration says so.
    pub feature: Option<String>,
    /// The threshold, if the configuration says so.
    pub threshold: Option<f64>,
    /// What is wanted of the calibration's threshold, if the configuration says so.
    pub wish: Option<Wish>,
}

/// What a worker answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "word", rename_all = "snake_case")]
pub enum Word {
    /// What was to be loaded is loaded.
    Ready,
    /// Text, as it is made.
    Chunk {
        /// The next piece.
        text: String,
    },
    /// The job is done; its outputs are in its folder.
    Done,
    /// The order could not be carried out.
    Failed {
        /// What kind of failure.
        class: FailureClass,
        /// What was wrong.
        why: String,
    },
    /// A word about one of several jobs.
    Of {
        /// Which.
        job: u64,
        /// Chunk, done or failed.
        is: Box<Word>,
    },
    /// How many jobs a language model has, and what they take; told when it has changed.
    Batch {
        /// The figures.
        state: BatchState,
    },
    /// What was left in a file.
    Parked {
        /// Beginnings of prompts.
        prefixes: u32,
        /// Bytes of the file.
        bytes: u64,
    },
    /// Whether a runtime works on this machine; one of several words of a probe.
    Works {
        /// Which, and why not.
        runtime: RuntimeAvailability,
    },
    /// What was measured; one of several words of a probe.
    Measured {
        /// The figures.
        achieved: Achieved,
    },
    /// How fast disk and hashing are.
    Speeds {
        /// What was measured.
        speeds: Speeds,
    },
    /// What came of an attempt at the first pass. Chunks before it are an answer that may be shown.
    Attempted {
        /// What was found and decided.
        report: Box<FirstPassReport>,
        /// The answer, whole; empty when it was offloaded.
        text: String,
    },
    /// The whole answer to an order to answer.
    Answered {
        /// The text.
        text: String,
    },
}

impl From<JobError> for Word {
    fn from(error: JobError) -> Self {
        Self::Failed { class: error.class, why: error.why }
    }
}

/// A value as a line.
pub fn line<T: Serialize>(value: &T) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line
}

/// Writes a value as a line and flushes it.
///
/// # Errors
/// What the pipe said.
pub fn say<T: Serialize>(out: &mut dyn Write, value: &T) -> io::Result<()> {
    out.write_all(&line(value))?;
    out.flush()
}

/// Reads the next line; `None` at the end.
///
/// # Errors
/// `InvalidData` when a line is too long or not what it should be; else what the pipe said.
pub fn hear<T: DeserializeOwned>(input: &mut dyn BufRead) -> io::Result<Option<T>> {
    let mut line = vec![];
    let read = io::Read::take(&mut *input, MAX_LINE_BYTES as u64 + 1).read_until(b'\n', &mut line)?;
    if read == 0 {
        return Ok(None);
    }
    if read > MAX_LINE_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the line is longer than 8 MiB"));
    }
    serde_json::from_slice(&line).map(Some).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_heard_as_they_were_said_and_nonsense_is_refused() {
        let mut pipe = vec![];
        let words = [Word::Ready, Word::Chunk { text: "two\nlines".into() }, Word::from(JobError::input("no"))];
        for word in &words {
            say(&mut pipe, word).unwrap();
        }
        let mut reader = pipe.as_slice();
        for word in &words {
            assert_eq!(hear::<Word>(&mut reader).unwrap().as_ref(), Some(word));
        }
        assert_eq!(hear::<Word>(&mut reader).unwrap(), None);
        assert!(hear::<Word>(&mut b"{\"word\":\"shout\"}\n".as_slice()).is_err());
        let endless = vec![b' '; MAX_LINE_BYTES + 10];
        assert_eq!(hear::<Word>(&mut endless.as_slice()).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
