//! Rotary position embedding: the sines and cosines of a session's positions.
//!
//! A model with two sets of factors (LongRoPE, arXiv 2402.13753) uses the long ones for sessions that may pass its original
//! context. The choice is made once a session, because keys that were rotated one way cannot be compared with the other.

use super::DecoderError;
use super::config::{Architecture, Config, RopeScaling};
use super::weights::Weights;
use candle_core::{D, Device, Result, Tensor};

/// What the frequencies are divided by; empty for nothing.
#[derive(Debug, Default)]
pub(super) struct Factors {
    short: Vec<f32>,
    long: Vec<f32>,
}

impl Factors {
    pub(super) fn load(weights: &Weights<'_>, config: &Config) -> std::result::Result<Self, DecoderError> {
        let load = |name: &str| -> std::result::Result<Vec<f32>, DecoderError> {
            if !weights.has(name) {
                return Ok(vec![]);
            }
            let vector = weights.vector(name, config.rope_width / 2)?;
            vector.to_vec1().map_err(DecoderError::compute("loading rotation factors"))
        };
        if matches!(config.rope_scaling, RopeScaling::Long { .. }) {
            return Ok(Self { short: load("rope_factors_short.weight")?, long: load("rope_factors_long.weight")? });
        }
        let all = load("rope_freqs.weight")?;
        Ok(Self { short: all.clone(), long: all })
    }
}

/// Sines and cosines for positions 0 to the session's capacity.
#[derive(Debug)]
pub(super) struct Rotation {
    sine: Tensor,
    cosine: Tensor,
    width: usize,
    architecture: Architecture,
}

impl Rotation {
    pub(super) fn new(config: &Config, factors: &Factors, capacity: usize) -> Result<Self> {
        let half = config.rope_width / 2;
        let (divisor, magnitude, factors) = match config.rope_scaling {
            RopeScaling::None => (1.0, 1.0, &factors.short),
            RopeScaling::Linear(factor) => (factor, 1.0, &factors.short),
            RopeScaling::Long { original_context, magnitude } if capacity > original_context => (1.0, magnitude, &factors.long),
            RopeScaling::Long { magnitude, .. } => (1.0, magnitude, &factors.short),
        };
        let frequency = |index: usize| {
            let factor = factors.get(index).copied().map_or(1.0, f64::from);
            config.rope_base.powf(-2.0 * index as f64 / config.rope_width as f64) / (factor * divisor)
        };
        let frequencies: Vec<f64> = (0..half).map(frequency).collect();
        let angles = || (0..capacity).flat_map(|position| frequencies.iter().map(move |f| position as f64 * f));
        let table = |of: fn(f64) -> f64| {
            let values: Vec<f32> = angles().map(|angle| (of(angle) * magnitude) as f32).collect();
            Tensor::from_vec(values, (capacity, half), &Device::Cpu)
        };
        Ok(Self {
            sine: table(f64::sin)?,
            cosine: table(f64::cos)?,
            width: config.rope_width,
            architecture: config.architecture,
        })
    }

    /// Rotates heads `[heads, tokens, width]` whose first token stands at `position`.
    pub(super) fn apply(&self, heads: &Tensor, position: usize) -> Result<Tensor> {
        let tokens = heads.dim(1)?;
        let cosine = self.cosine.narrow(0, position, tokens)?;
        let sine = self.sine.narrow(0, position, tokens)?;
        let head_width = heads.dim(D::Minus1)?;
        let turned = heads.narrow(D::Minus1, 0, self.width)?.contiguous()?.unsqueeze(0)?;
        let turned = match self.architecture {
            Architecture::Phi3 => candle_nn::rotary_emb::rope(&turned, &cosine, &sine)?,
            Architecture::Llama => candle_nn::rotary_emb::rope_i(&turned, &cosine, &sine)?,
        };
        let turned = turned.squeeze(0)?;
        if self.width == head_width {
            return Ok(turned);
        }
        let rest = heads.narrow(D::Minus1, self.width, head_width - self.width)?;
        Tensor::cat(&[&turned, &rest.contiguous()?], D::Minus1)
    }
}
