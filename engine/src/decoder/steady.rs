//! Steps in which a row computes the same bits whoever is beside it: what requests need that share a model and know nothing of
//! each other.
//!
//! Many rows are multiplied panel by panel, few by dot products, and the two add up in another order. Here what a row is decides, not
//! how many there are: rows of a prompt go panel by panel, a single token by dot products.

use super::layer::Layer;
use super::matrix::Matrix;
use super::rows::{Parts, Row};
use super::{Decoder, DecoderError, Sequence};

impl Decoder {
    /// As [`Decoder::forward`], and what a row computes depends on its own sequence alone, to the last bit: the first `prompt` rows
    /// are those of one sequence's prompt, each of the others is the only one of its sequence. Logits are not looked at: those of
    /// a damaged sequence, which are no numbers, do not concern the others.
    ///
    /// # Errors
    /// As [`Decoder::forward`], but for what is not finite.
    pub fn forward_steadily(
        &self,
        sequences: &mut [&mut Sequence],
        (rows, prompt): (&[Row], usize),
        want: &[usize],
        cancel: &dyn Fn() -> bool,
    ) -> Result<Option<Vec<f32>>, DecoderError> {
        self.compute(sequences, rows, want, Parts::Steady { prompt: prompt.min(rows.len()) }, cancel)
    }

    /// Whether a prompt may be cut anywhere between pages without a bit of its results changing; if not, all must be cut alike.
    pub fn cuts_freely(&self) -> bool {
        self.layers.iter().flat_map(Layer::matrices).all(Matrix::is_mapped)
    }

    /// A sequence of so many tokens that was saved; `None` when `rest`, from which it is taken, does not hold it.
    pub(crate) fn restored(&self, length: usize, rest: &mut &[u8]) -> Option<Sequence> {
        Sequence::restored(self.cache_shape(), length, rest)
    }

    /// Bytes of cache that a sequence of so many tokens takes: whole pages.
    pub fn cache_bytes(&self, tokens: usize) -> u64 {
        self.sequence(tokens).bytes_of(tokens) as u64
    }
}
