//! What a step of computation is: rows of (sequence, position, token), whatever they belong to.
//!
//! A prompt is many rows of one sequence, decoding one row, a batch one row of each of several sequences; parts of prompts
//! and single tokens go together in any mixture. What a row computes does not depend on which rows are beside it.

use super::DecoderError;
use super::cache::Sequence;

/// A token at its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Which of the sequences that are given with the rows.
    pub sequence: usize,
    /// Its place in the sequence: the rows of a sequence go on where it ends.
    pub position: usize,
    /// The token.
    pub token: u32,
}

/// How the matrices are multiplied with the rows of a step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Parts {
    /// All rows together, as costs least: the last bits of a row's results depend on how many rows there are.
    #[default]
    Together,
    /// Every row as if nothing but its own sequence were there: the first `prompt` rows, which are one sequence's, in one way, and
    /// each of the others in the other.
    Steady {
        /// Rows of a prompt.
        prompt: usize,
    },
}

/// Neighbouring rows of one sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) sequence: usize,
    /// The first row's number and position.
    pub(super) row: usize,
    pub(super) position: usize,
    pub(super) count: usize,
}

/// Checks rows against their sequences and splits them into runs of at most `most` rows.
pub(super) fn runs(rows: &[Row], sequences: &[&mut Sequence], vocabulary: usize, most: usize) -> Result<Vec<Run>, DecoderError> {
    let mut next: Vec<usize> = sequences.iter().map(|sequence| sequence.length()).collect();
    let mut runs: Vec<Run> = vec![];
    for (index, row) in rows.iter().enumerate() {
        let Some(expected) = next.get_mut(row.sequence) else {
            return Err(DecoderError::NoSuchSequence { index: row.sequence, count: sequences.len() });
        };
        if row.position != *expected {
            return Err(DecoderError::OutOfOrder { sequence: row.sequence, found: row.position, expected: *expected });
        }
        *expected += 1;
        if row.token as usize >= vocabulary {
            return Err(DecoderError::NoSuchToken { id: row.token, vocabulary });
        }
        match runs.last_mut() {
            Some(run) if run.sequence == row.sequence && run.count < most => run.count += 1,
            _ => runs.push(Run { sequence: row.sequence, row: index, position: row.position, count: 1 }),
        }
    }
    for (sequence, &needed) in sequences.iter().zip(&next) {
        if needed > sequence.capacity() {
            return Err(DecoderError::ContextFull { needed, capacity: sequence.capacity() });
        }
    }
    Ok(runs)
}
