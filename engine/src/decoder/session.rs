//! A sequence of tokens in the making: the caches of all blocks and how far they are filled.

use super::layer::Place;
use super::rope::Rotation;
use super::{Decoder, DecoderError};
use candle_core::{Device, Result as CandleResult, Tensor};
use candle_nn::kv_cache::KvCache;

/// Tokens of prompt that are computed together: enough to use the matrices well, few enough to be cancelled soon.
const PREFILL_CHUNK: usize = 128;
/// Tokens of cache that are allocated at first; it grows by as many.
const CACHE_STEP: usize = 512;

/// One sequence over a model.
#[derive(Debug)]
pub struct Session<'m> {
    decoder: &'m Decoder,
    caches: Vec<KvCache>,
    rotation: Rotation,
    position: usize,
    capacity: usize,
}

impl<'m> Session<'m> {
    pub(super) fn new(decoder: &'m Decoder, capacity: usize) -> Result<Self, DecoderError> {
        let rotation =
            Rotation::new(&decoder.config, &decoder.rope_factors, capacity).map_err(DecoderError::compute("preparing positions"))?;
        let caches = (0..decoder.config.layers).map(|_| KvCache::new(1, capacity.min(CACHE_STEP))).collect();
        Ok(Self { decoder, caches, rotation, position: 0, capacity })
    }

    /// Tokens so far.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Adds tokens and gives the logits of what may follow the last one; `None` when `cancel` said so in between or there
    /// were no tokens. A cancelled session must not be used further.
    pub fn extend(&mut self, ids: &[u32], cancel: &dyn Fn() -> bool) -> Result<Option<Vec<f32>>, DecoderError> {
        let vocabulary = self.decoder.config.vocabulary;
        if let Some(&id) = ids.iter().find(|&&id| id as usize >= vocabulary) {
            return Err(DecoderError::NoSuchToken { id, vocabulary });
        }
        let needed = self.position + ids.len();
        if needed > self.capacity {
            return Err(DecoderError::ContextFull { needed, capacity: self.capacity });
        }
        let mut last = None;
        for chunk in ids.chunks(PREFILL_CHUNK) {
            if cancel() {
                return Ok(None);
            }
            last = Some(self.blocks(chunk).map_err(DecoderError::compute("a transformer block"))?);
            self.position += chunk.len();
        }
        let Some(last) = last else { return Ok(None) };
        let logits = self.logits(&last).map_err(DecoderError::compute("the output projection"))?;
        if logits.iter().any(|logit| !logit.is_finite()) {
            return Err(DecoderError::NotFinite { position: self.position - 1 });
        }
        Ok(Some(logits))
    }

    /// Runs a chunk through all blocks; gives the last token's row.
    fn blocks(&mut self, chunk: &[u32]) -> CandleResult<Tensor> {
        let mut x = self.decoder.embedding.embedding(chunk)?;
        let mask = self.mask(chunk.len())?;
        let place = Place { rotation: &self.rotation, position: self.position, mask: mask.as_ref() };
        for (layer, cache) in self.decoder.layers.iter().zip(&mut self.caches) {
            x = layer.forward(&x, cache, &place)?;
        }
        x.narrow(0, chunk.len() - 1, 1)?.contiguous()
    }

    fn logits(&self, row: &Tensor) -> CandleResult<Vec<f32>> {
        let normal = candle_nn::ops::rms_norm(row, &self.decoder.output_norm, self.decoder.config.norm_epsilon as f32)?;
        self.decoder.output.forward(&normal)?.flatten_all()?.to_vec1()
    }

    /// Who sees whom: nobody the future, and nobody further back than the window. `None` when all is visible.
    fn mask(&self, tokens: usize) -> CandleResult<Option<Tensor>> {
        let seen = self.position + tokens;
        let window = self.decoder.config.window.unwrap_or(usize::MAX);
        if tokens == 1 && seen <= window {
            return Ok(None);
        }
        let visible = |token: usize, other: usize| {
            let token = self.position + token;
            other <= token && token - other < window
        };
        let row = |token: usize| (0..seen).map(move |other| if visible(token, other) { 0.0 } else { f32::NEG_INFINITY });
        let values: Vec<f32> = (0..tokens).flat_map(row).collect();
        Tensor::from_vec(values, (tokens, seen), &Device::Cpu).map(Some)
    }
}
