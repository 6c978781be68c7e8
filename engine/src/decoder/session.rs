//! One sequence over a model, fed in order: the plain way to use a decoder.

use super::cache::Sequence;
use super::rows::Row;
use super::{Decoder, DecoderError};

/// Tokens of a prompt that are computed together: enough to use the matrices well, few enough to keep memory small.
const PREFILL_CHUNK: usize = 128;

/// One sequence over a model.
#[derive(Debug)]
pub struct Session<'m> {
    decoder: &'m Decoder,
    sequence: Sequence,
}

impl<'m> Session<'m> {
    pub(super) fn new(decoder: &'m Decoder, sequence: Sequence) -> Self {
        Self { decoder, sequence }
    }

    /// Tokens so far.
    pub fn position(&self) -> usize {
        self.sequence.length()
    }

    /// What was computed so far: to begin others from it.
    pub fn sequence(&self) -> &Sequence {
        &self.sequence
    }

    /// Adds tokens and gives the logits of what may follow the last one; `None` when `cancel` said so in between or there
    /// were no tokens. What was computed before a cancellation stays.
    pub fn extend(&mut self, ids: &[u32], cancel: &dyn Fn() -> bool) -> Result<Option<Vec<f32>>, DecoderError> {
        let needed = self.position() + ids.len();
        if needed > self.sequence.capacity() {
            return Err(DecoderError::ContextFull { needed, capacity: self.sequence.capacity() });
        }
        let mut logits = None;
        // A token alone is an answer's; several are a prompt's, the last one of it that was cut off too.
        let is_prompt = ids.len() > 1;
        let chunks = ids.len().div_ceil(PREFILL_CHUNK);
        for (index, chunk) in ids.chunks(PREFILL_CHUNK).enumerate() {
            let start = self.position();
            let row = |(at, &token): (usize, &u32)| Row { sequence: 0, position: start + at, token };
            let rows: Vec<Row> = chunk.iter().enumerate().map(row).collect();
            let want: &[usize] = if index + 1 == chunks { &[chunk.len() - 1] } else { &[] };
            let prompt = if is_prompt { rows.len() } else { 0 };
            logits = self.decoder.forward_steadily(&mut [&mut self.sequence], (&rows, prompt), want, cancel)?;
            match &logits {
                None => return Ok(None),
                Some(logits) if logits.iter().all(|logit| logit.is_finite()) => {}
                Some(_) => return Err(DecoderError::NotFinite { position: self.position() - 1 }),
            }
        }
        Ok(logits)
    }
}
