//! Decoder-only transformers from GGUF files, computed on the CPU: `phi3`, and `llama` (which is also Mistral).
//!
//! What differs between the architectures is data ([`Config`]) and how projections are laid out in the file; the arithmetic
//! is one. Quantised matrices stay mapped and are multiplied by [`crate::kernels`]; candle does everything else, and holds the
//! matrices of formats and processors without kernels. Floating-point weights are computed in `f32`.

pub use config::{Architecture, Config, RopeScaling};
pub use session::Session;

use crate::gguf::{Gguf, GgufError, GgufProblem};
use layer::Layer;
use matrix::Matrix;
use std::sync::Arc;
use weights::Weights;

mod config;
mod layer;
mod matrix;
mod rope;
mod session;
mod weights;

#[cfg(test)]
pub(crate) mod random_model;
#[cfg(test)]
mod reference;

/// A model cannot be loaded or computed.
#[derive(Debug, thiserror::Error)]
pub enum DecoderError {
    /// The file is not usable.
    #[error(transparent)]
    File(#[from] GgufError),
    /// A computation failed, most likely for want of memory.
    #[error("{what} failed: {problem}; free memory or choose a smaller model")]
    Compute {
        /// Which part.
        what: &'static str,
        /// What candle said.
        problem: candle_core::Error,
    },
    /// A token that the model does not have.
    #[error("token {id} is outside the model's vocabulary of {vocabulary}; the tokenizer does not belong to this model")]
    NoSuchToken {
        /// The token.
        id: u32,
        /// How many there are.
        vocabulary: usize,
    },
    /// More tokens than the session was made for.
    #[error("{needed} tokens do not fit a context of {capacity}; shorten the prompt or allow fewer tokens of answer")]
    ContextFull {
        /// How many there would be.
        needed: usize,
        /// How many there may be.
        capacity: usize,
    },
    /// The model computed something that is no number.
    #[error("the model's output is not finite at token {position}; its weights are damaged: fetch the file again")]
    NotFinite {
        /// Where in the context.
        position: usize,
    },
}

impl DecoderError {
    fn compute(what: &'static str) -> impl FnOnce(candle_core::Error) -> Self {
        move |problem| Self::Compute { what, problem }
    }
}

/// A loaded model. It is not changed by use; each [`Session`] has its own cache.
#[derive(Debug)]
pub struct Decoder {
    config: Config,
    embedding: Matrix,
    layers: Vec<Layer>,
    output_norm: candle_core::Tensor,
    output: Matrix,
    rope_factors: rope::Factors,
}

impl Decoder {
    /// Loads the model of a file. Matrices that there are kernels for stay where they are mapped; the rest goes into memory.
    pub fn load(file: &Arc<Gguf>) -> Result<Self, DecoderError> {
        let config = Config::from_gguf(file)?;
        let weights = Weights::new(file);
        let layers = (0..config.layers).map(|index| Layer::load(&weights, &config, index)).collect::<Result<_, _>>()?;
        let (rows, width) = (config.vocabulary, config.hidden);
        let embedding = weights.matrix("token_embd.weight", rows, width)?;
        let output = if weights.has("output.weight") { weights.matrix("output.weight", rows, width)? } else { embedding.clone() };
        let output_norm = weights.vector("output_norm.weight", width)?;
        let rope_factors = rope::Factors::load(&weights, &config)?;
        Ok(Self { config, embedding, layers, output_norm, output, rope_factors })
    }

    /// What the model is.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// A session for at most `capacity` tokens of prompt and answer; less if the model's context is shorter.
    pub fn session(&self, capacity: usize) -> Result<Session<'_>, DecoderError> {
        Session::new(self, capacity.clamp(1, self.config.context))
    }
}

/// Refuses what would be computed wrongly in silence: biases this build does not add.
fn refuse_bias(file: &Gguf, name: &str) -> Result<(), GgufError> {
    let bias = format!("{}.bias", name.trim_end_matches(".weight"));
    match file.tensor(&bias) {
        None => Ok(()),
        Some(_) => {
            let expected = "models with biases are not supported".to_string();
            Err(file.error(format!("tensor {bias:?}"), GgufProblem::OutOfRange { value: "a bias".into(), expected }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::random_model::RandomModel;
    use super::*;
    use crate::gguf::TensorType;
    use crate::gguf::writer::GgufWriter;
    use crate::tokens::tests::open;

    type Change<'a> = &'a dyn Fn(&mut GgufWriter);

    const IDS: [u32; 12] = [3, 49, 0, 17, 17, 8, 21, 5, 33, 2, 40, 11];

    /// The largest difference to the reference, relative to the largest logit, over all positions and two ways of feeding.
    fn deviation(model: &RandomModel) -> f64 {
        let made = model.make();
        let decoder = Decoder::load(&Arc::new(open(&made.writer))).unwrap();
        let long = model.original_context.is_some_and(|original| model.context > original);
        let expected = reference::logits(model, &made, &IDS, long);
        let largest = expected.iter().flatten().fold(0.0_f64, |most, x| most.max(x.abs()));
        let mut worst = 0.0_f64;
        let mut compare = |logits: &[f32], position: usize| {
            assert_eq!(logits.len(), model.vocabulary);
            for (found, expected) in logits.iter().zip(&expected[position]) {
                worst = worst.max((f64::from(*found) - expected).abs() / largest);
            }
        };
        for split in [1, 5, IDS.len()] {
            let mut session = decoder.session(model.context).unwrap();
            let logits = session.extend(&IDS[..split], &|| false).unwrap().unwrap();
            compare(&logits, split - 1);
            for position in split..IDS.len() {
                let logits = session.extend(&IDS[position..=position], &|| false).unwrap().unwrap();
                compare(&logits, position);
            }
        }
        worst
    }

    #[test]
    fn logits_agree_with_plain_arithmetic() {
        let phi3 = RandomModel::default();
        let cases = [
            phi3.clone(),
            RandomModel { window: Some(4), ..phi3.clone() },
            RandomModel { original_context: Some(32), ..phi3.clone() },
            RandomModel { original_context: Some(64), seed: 2, ..phi3.clone() },
            RandomModel { rope_width: 12, kv_heads: 4, ..phi3.clone() },
            RandomModel { tied: true, kv_heads: 1, ..phi3.clone() },
            RandomModel { architecture: "llama", ..phi3.clone() },
            RandomModel { architecture: "mistral", window: Some(5), ..phi3.clone() },
            RandomModel { matrices: TensorType::F16, ..phi3 },
        ];
        for model in cases {
            let worst = deviation(&model);
            assert!(worst < 1e-4, "{worst} for {model:?}");
        }
    }

    #[test]
    fn quantised_logits_are_near() {
        for (matrices, hidden) in [(TensorType::Q8_0, 64), (TensorType::Q4K, 256)] {
            let model = RandomModel { matrices, hidden, feed_forward: 256, rope_width: hidden / 4, ..RandomModel::default() };
            let worst = deviation(&model);
            assert!(worst < 0.06, "{worst} for {model:?}");
        }
    }

    #[test]
    fn a_file_that_does_not_fit_together_is_named() {
        let good = RandomModel::default();
        let refusal = |change: Change<'_>| {
            let mut made = good.make();
            change(&mut made.writer);
            Decoder::load(&Arc::new(open(&made.writer))).unwrap_err().to_string()
        };
        let cases: [(Change<'_>, &[&str]); 7] = [
            (&|w| w.string("general.architecture", "gemma"), &["gemma", "phi3, llama, mistral"]),
            (&|w| w.u32("phi3.embedding_length", 68), &["blk.0.attn_qkv.weight", "[128, 64], expected [136, 68]"]),
            (&|w| w.u32("phi3.block_count", 3), &["blk.2.", "missing"]),
            (&|w| w.u32("phi3.block_count", u32::MAX), &["phi3.block_count", "1 to 1024"]),
            (&|w| w.u32("phi3.attention.head_count_kv", 3), &["head_count_kv", "divide"]),
            (&|w| w.remove_tensor("blk.1.ffn_down.weight"), &["blk.1.ffn_down.weight", "missing", "convert"]),
            (&|w| w.tensor_f32("blk.0.attn_qkv.bias", &[128], &[0.0; 128]), &["attn_qkv.bias", "biases"]),
        ];
        for (change, words) in cases {
            let message = refusal(change);
            assert!(words.iter().all(|word| message.contains(word)), "{message}");
            assert!(message.contains("model.gguf"), "{message}");
        }
    }

    #[test]
    fn a_session_keeps_its_bounds() {
        let made = RandomModel::default().make();
        let decoder = Decoder::load(&Arc::new(open(&made.writer))).unwrap();
        let mut session = decoder.session(1_000_000).unwrap();
        let never = || false;
        assert!(matches!(session.extend(&[0; 65], &never), Err(DecoderError::ContextFull { needed: 65, capacity: 64 })));
        assert!(matches!(session.extend(&[50], &never), Err(DecoderError::NoSuchToken { id: 50, vocabulary: 50 })));
        assert!(session.extend(&[1], &|| true).unwrap().is_none());
        assert!(session.extend(&[1; 64], &never).unwrap().is_some());
        let broken = {
            let mut made = RandomModel::default().make();
            made.writer.tensor_f32("output_norm.weight", &[64], &[f32::NAN; 64]);
            Decoder::load(&Arc::new(open(&made.writer))).unwrap()
        };
        let error = broken.session(8).unwrap().extend(&[1], &never).unwrap_err();
        assert!(matches!(error, DecoderError::NotFinite { position: 0 }), "{error}");
    }
}
