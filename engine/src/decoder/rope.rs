//! Rotary position embedding: the sines and cosines of the rows of a step.
//!
//! A model with two sets of factors (LongRoPE, arXiv 2402.13753) uses the long ones for sequences that may pass its original
//! context. The choice is made once a sequence, because keys that were rotated one way cannot be compared with the other.

use super::DecoderError;
use super::config::{Config, RopeScaling, Rotation};
use super::weights::Weights;

/// How positions become angles.
#[derive(Debug)]
pub(super) struct Rope {
    short: Vec<f64>,
    long: Vec<f64>,
    magnitude: f64,
    /// Sequences that may get longer than this use the long frequencies.
    original_context: usize,
    rotation: Rotation,
}

/// The sines and cosines of a step's rows.
#[derive(Debug)]
pub(super) struct Turns {
    /// For each row, for each pair of dimensions: cosine and sine.
    pairs: Vec<[f32; 2]>,
    half: usize,
    rotation: Rotation,
}

impl Rope {
    pub(super) fn load(weights: Weights<'_>, config: &Config) -> Result<Self, DecoderError> {
        let half = config.rope_width / 2;
        let load = |name: &str| if weights.has(name) { weights.vector(name, half) } else { Ok(vec![]) };
        let (short, long) = if matches!(config.rope_scaling, RopeScaling::Long { .. }) {
            (load("rope_factors_short.weight")?, load("rope_factors_long.weight")?)
        } else {
            (load("rope_freqs.weight")?, vec![])
        };
        let (divisor, magnitude, original_context) = match config.rope_scaling {
            RopeScaling::None => (1.0, 1.0, usize::MAX),
            RopeScaling::Linear(factor) => (factor, 1.0, usize::MAX),
            RopeScaling::Long { original_context, magnitude } => (1.0, magnitude, original_context),
        };
        let frequencies = |factors: &[f32]| {
            let one = |index: usize| {
                let factor = factors.get(index).copied().map_or(1.0, f64::from);
                config.rope_base.powf(-2.0 * index as f64 / config.rope_width as f64) / (factor * divisor)
            };
            (0..half).map(one).collect()
        };
        let (short, long) = (frequencies(&short), frequencies(&long));
        Ok(Self { short, long, magnitude, original_context, rotation: config.rotation })
    }

    /// Whether a sequence of at most so many tokens uses the long frequencies.
    pub(super) fn is_long(&self, capacity: usize) -> bool {
        capacity > self.original_context
    }

    /// The turns of rows at these positions, each with its kind of frequencies.
    pub(super) fn turns(&self, places: impl Iterator<Item = (usize, bool)>) -> Turns {
        let mut pairs = vec![];
        for (position, long) in places {
            let frequencies = if long { &self.long } else { &self.short };
            pairs.extend(frequencies.iter().map(|frequency| {
                let (sine, cosine) = (position as f64 * frequency).sin_cos();
                [(cosine * self.magnitude) as f32, (sine * self.magnitude) as f32]
            }));
        }
        Turns { pairs, half: self.short.len(), rotation: self.rotation }
    }
}

impl Turns {
    /// Rotates one head of a row.
    pub(super) fn turn(&self, row: usize, head: &mut [f32]) {
        let turns = &self.pairs[row * self.half..][..self.half];
        match self.rotation {
            Rotation::Halves => {
                let (first, second) = head[..2 * self.half].split_at_mut(self.half);
                for (([cosine, sine], a), b) in turns.iter().zip(first).zip(second) {
                    (*a, *b) = (*a * cosine - *b * sine, *b * cosine + *a * sine);
                }
            }
            Rotation::Neighbours => {
                for ([cosine, sine], [a, b]) in turns.iter().zip(head.as_chunks_mut::<2>().0) {
                    (*a, *b) = (*a * cosine - *b * sine, *b * cosine + *a * sine);
                }
            }
        }
    }
}
