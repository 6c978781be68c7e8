//! How fast weights are read, by adding them up and by decoding: where a file's pages lie decides about it as much as the machine
//! does. On one with several memories other pages may be read twice as fast at the same time.

use ouro_engine::decoder::Decoder;
use ouro_engine::rates;
use std::time::Instant;

/// What was read.
#[derive(Default)]
pub(super) struct Reading {
    /// The best pass, bytes per second.
    pub(super) best: Option<f64>,
    shares: Vec<f64>,
}

impl Reading {
    /// Reads all weights once, if they stay in the file; bytes of them, and bytes per second.
    pub(super) fn pass(&mut self, decoder: &Decoder) -> Option<(f64, f64)> {
        let weights = decoder.weights()?;
        let bytes = weights.iter().map(|bytes| bytes.len()).sum::<usize>() as f64;
        let started = Instant::now();
        rates::read_by_all(&weights);
        let rate = bytes / started.elapsed().as_secs_f64().max(1e-9);
        self.best = Some(self.best.map_or(rate, |best| best.max(rate)));
        Some((bytes, rate))
    }

    /// Notes tokens per second between two passes, of which this makes the second. Each token also reads the keys and values of
    /// those before it.
    pub(super) fn note(&mut self, before: Option<(f64, f64)>, tokens_per_s: f64, context_bytes: f64, decoder: &Decoder) {
        if let Some(((bytes, before), (_, after))) = before.zip(self.pass(decoder)) {
            self.shares.push(2.0 * tokens_per_s * (bytes + context_bytes) / (before + after));
        }
    }

    /// The median.
    pub(super) fn share(mut self) -> Option<f64> {
        self.shares.sort_by(f64::total_cmp);
        self.shares.get(self.shares.len().saturating_sub(1) / 2).copied()
    }
}
