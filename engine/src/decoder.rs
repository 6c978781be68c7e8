//! Decoder-only transformers from GGUF files and SafeTensors folders, computed on the CPU: `phi3`, `llama` (which is also Mistral), `qwen2` and `qwen3`.
//!
//! What differs between the architectures is data ([`Config`]) and how projections are laid out in the file; the arithmetic
//! is one, over rows of (sequence, position, token) ([`Row`]). Quantised matrices stay mapped and are multiplied by
//! [`crate::kernels`]; candle holds the matrices of formats and processors without kernels. Everything between them is here,
//! in `f32`; keys and values are kept in half precision.

pub use cache::{PAGE, Sequence};
pub use config::{Architecture, Config, RopeScaling, Rotation};
pub use error::DecoderError;
pub use rows::Row;
pub use session::Session;

use crate::gguf::Gguf;
use crate::pool::Pool;
use crate::safetensors::Checkpoint;
use attention::TOGETHER;
use cache::CacheShape;
use layer::{Layer, Scratch, Step, norm_rows};
pub(crate) use matrix::stays_mapped;
use matrix::{Input, Matrix, Results};
use published::Published;
use rope::Rope;
use rows::Parts;
use std::ops::Range;
use std::sync::Arc;
use weights::Weights;

mod attention;
mod cache;
mod config;
mod error;
mod halves;
mod instructions;
mod layer;
mod matrix;
mod published;
mod rope;
mod rows;
mod session;
mod steady;
mod vectors;
mod weights;

#[cfg(test)]
pub(crate) mod random_model;
#[cfg(test)]
mod reference;

/// A loaded model, or some of its layers. It is not changed by use; each [`Sequence`] has its own cache.
#[derive(Debug)]
pub struct Decoder {
    config: Config,
    range: Range<usize>,
    /// Only where the first layer is.
    embedding: Option<Matrix>,
    layers: Vec<Layer>,
    /// Only where the last layer is: the norm and the projection onto the vocabulary.
    output: Option<(Vec<f32>, Matrix)>,
    rope: Rope,
}

impl Decoder {
    /// Loads the model of a file. Matrices that there are kernels for stay where they are mapped; the rest goes into memory.
    pub fn load(file: &Arc<Gguf>) -> Result<Self, DecoderError> {
        file.map().read_ahead();
        Self::load_layers(file, 0..usize::MAX)
    }

    /// Loads some layers of a file's model: the embedding with the first, the output with the last.
    pub fn load_layers(file: &Arc<Gguf>, range: Range<usize>) -> Result<Self, DecoderError> {
        Self::from_weights(Weights::Gguf(file), Config::from_gguf(file)?, range)
    }

    /// Loads the model of a folder. Halves stay where they are mapped, the rest goes into memory in `f32`.
    pub fn load_folder(checkpoint: &Checkpoint) -> Result<Self, DecoderError> {
        checkpoint.read_ahead();
        Self::load_folder_layers(checkpoint, 0..usize::MAX)
    }

    /// Loads some layers of a folder's model, as [`Decoder::load_layers`] does of a file's.
    pub fn load_folder_layers(checkpoint: &Checkpoint, range: Range<usize>) -> Result<Self, DecoderError> {
        let published = Published::read(checkpoint)?;
        Self::from_weights(Weights::Folder(checkpoint, &published), published.config.clone(), range)
    }

    fn from_weights(weights: Weights<'_>, config: Config, range: Range<usize>) -> Result<Self, DecoderError> {
        let range = range.start.min(config.layers)..range.end.min(config.layers);
        let layers = range.clone().map(|index| Layer::load(weights, &config, index)).collect::<Result<_, _>>()?;
        let (rows, width) = (config.vocabulary, config.hidden);
        let embedding = || weights.matrix("token_embd.weight", rows, width);
        let output = if range.end < config.layers {
            None
        } else {
            let norm = weights.vector("output_norm.weight", width)?;
            let matrix = if weights.has("output.weight") { weights.matrix("output.weight", rows, width)? } else { embedding()? };
            Some((norm, matrix))
        };
        let embedding = if range.start == 0 { Some(embedding()?) } else { None };
        let rope = Rope::load(weights, &config)?;
        Ok(Self { config, range, embedding, layers, output, rope })
    }

    /// What the model is.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// An empty sequence for at most `capacity` tokens; fewer if the model's context is shorter.
    pub fn sequence(&self, capacity: usize) -> Sequence {
        let capacity = capacity.clamp(1, self.config.context);
        Sequence::new(self.cache_shape(), capacity, self.rope.is_long(capacity))
    }

    fn cache_shape(&self) -> CacheShape {
        CacheShape { layers: self.layers.len(), heads: self.config.kv_heads, width: self.config.head_width }
    }

    /// A session for at most `capacity` tokens of prompt and answer; fewer if the model's context is shorter.
    pub fn session(&self, capacity: usize) -> Session<'_> {
        Session::new(self, self.sequence(capacity))
    }

    /// The matrices that every token goes through, in their order, where all of them stay in the file.
    pub fn weights(&self) -> Option<Vec<&[u8]>> {
        let matrices = self.layers.iter().flat_map(Layer::matrices).chain(self.output.iter().map(|(_, matrix)| matrix));
        matrices.map(Matrix::mapped_bytes).collect()
    }

    fn elsewhere(&self, part: &'static str) -> DecoderError {
        DecoderError::Elsewhere { part, layers: self.range.clone() }
    }

    /// Computes rows and gives the logits of those that are wanted, one after the other; `None` when `cancel` said so, and
    /// then the sequences are as they were.
    pub fn forward(
        &self,
        sequences: &mut [&mut Sequence],
        rows: &[Row],
        want: &[usize],
        cancel: &dyn Fn() -> bool,
    ) -> Result<Option<Vec<f32>>, DecoderError> {
        Ok(match self.compute(sequences, rows, want, Parts::Together, cancel)? {
            Some(logits) => {
                self.all_finite(&logits, rows, want)?;
                Some(logits)
            }
            None => None,
        })
    }

    fn compute(
        &self,
        sequences: &mut [&mut Sequence],
        rows: &[Row],
        want: &[usize],
        parts: Parts,
        cancel: &dyn Fn() -> bool,
    ) -> Result<Option<Vec<f32>>, DecoderError> {
        rows::runs(rows, sequences, self.config.vocabulary, usize::MAX)?;
        let mut hidden = self.embed(rows)?;
        if !self.run_layers(sequences, rows, &mut hidden, parts, cancel)? {
            return Ok(None);
        }
        let parts = if parts == Parts::Together { parts } else { Parts::Steady { prompt: 0 } };
        self.project(&hidden, want, parts).map(Some)
    }

    /// The first layer's input, a row of the model's width for each row.
    pub fn embed(&self, rows: &[Row]) -> Result<Vec<f32>, DecoderError> {
        let embedding = self.embedding.as_ref().ok_or_else(|| self.elsewhere("embedding"))?;
        let ids: Vec<u32> = rows.iter().map(|row| row.token).collect();
        embedding.embedding(&ids).map_err(DecoderError::compute("the embedding"))
    }

    /// Runs rows through the layers that are loaded; `false` when `cancel`, which is asked before each layer, said so, and
    /// then the sequences are as they were.
    pub fn blocks(
        &self,
        sequences: &mut [&mut Sequence],
        rows: &[Row],
        hidden: &mut [f32],
        cancel: &dyn Fn() -> bool,
    ) -> Result<bool, DecoderError> {
        self.run_layers(sequences, rows, hidden, Parts::Together, cancel)
    }

    fn run_layers(
        &self,
        sequences: &mut [&mut Sequence],
        rows: &[Row],
        hidden: &mut [f32],
        parts: Parts,
        cancel: &dyn Fn() -> bool,
    ) -> Result<bool, DecoderError> {
        let group = self.config.heads / self.config.kv_heads;
        // Runs are short enough that a step's attention is shared out evenly, long enough that pages are read together.
        let runs = rows::runs(rows, sequences, self.config.vocabulary, (4 * TOGETHER).div_ceil(group))?;
        let places = rows.iter().map(|row| (row.position, sequences[row.sequence].is_long()));
        let turns = self.rope.turns(places);
        let ends: Vec<usize> = (0..sequences.len())
            .map(|index| rows.iter().filter(|row| row.sequence == index).count() + sequences[index].length())
            .collect();
        for (sequence, &end) in sequences.iter_mut().zip(&ends) {
            sequence.reserve(end);
        }
        let mut scratch = Scratch::new(&self.config, rows.len());
        for (index, layer) in self.layers.iter().enumerate() {
            if cancel() {
                return Ok(false);
            }
            let mut step = Step { sequences, runs: &runs, turns: &turns, parts, pool: Pool::of_process(), layer: index };
            layer.forward(hidden, &mut step, &mut scratch).map_err(DecoderError::compute("a transformer block"))?;
        }
        for (sequence, end) in sequences.iter_mut().zip(ends) {
            sequence.set_length(end);
        }
        Ok(true)
    }

    /// The logits of the wanted rows of the last layer's output.
    pub fn logits(&self, hidden: &[f32], rows: &[Row], want: &[usize]) -> Result<Vec<f32>, DecoderError> {
        let logits = self.project(hidden, want, Parts::Together)?;
        self.all_finite(&logits, rows, want)?;
        Ok(logits)
    }

    fn project(&self, hidden: &[f32], want: &[usize], parts: Parts) -> Result<Vec<f32>, DecoderError> {
        let (norm, output) = self.output.as_ref().ok_or_else(|| self.elsewhere("output"))?;
        let (width, vocabulary, pool) = (self.config.hidden, self.config.vocabulary, Pool::of_process());
        let wanted: Vec<f32> = want.iter().flat_map(|&row| hidden[row * width..][..width].iter().copied()).collect();
        let mut normal = vec![0.0; wanted.len()];
        norm_rows(&wanted, norm, self.config.norm_epsilon as f32, &mut normal, pool);
        let mut logits = vec![0.0; want.len() * vocabulary];
        if want.is_empty() {
            return Ok(logits);
        }
        let results = Results { values: &mut logits, stride: vocabulary, first: 0 };
        output
            .multiply(&Input::new(&normal, width, parts), results, pool)
            .map_err(DecoderError::compute("the output projection"))?;
        Ok(logits)
    }

    fn all_finite(&self, logits: &[f32], rows: &[Row], want: &[usize]) -> Result<(), DecoderError> {
        let rows = want.iter().map(|&row| &rows[row]);
        match rows
            .zip(logits.chunks_exact(self.config.vocabulary))
            .find(|(_, logits)| !logits.iter().all(|logit| logit.is_finite()))
        {
            Some((row, _)) => Err(DecoderError::NotFinite { position: row.position }),
            None => Ok(()),
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
            let mut session = decoder.session(model.context);
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
            // A key or value that lies between two halves may be rounded otherwise than the reference does.
            assert!(worst < 2e-4, "{worst} for {model:?}");
        }
    }

    fn row(sequence: usize, position: usize) -> Row {
        Row { sequence, position, token: IDS[position] }
    }

    /// Each row of a step computes what it would alone: parts of a prompt and single tokens of others beside it change nothing.
    #[test]
    fn ragged_batches_compute_what_each_sequence_would_alone() {
        let model = RandomModel { matrices: TensorType::Q8_0, kv_heads: 2, window: Some(7), ..RandomModel::default() };
        let decoder = Decoder::load(&Arc::new(open(&model.make().writer))).unwrap();
        let never = || false;
        let alone: Vec<Vec<f32>> = {
            let mut session = decoder.session(64);
            IDS.iter().map(|id| session.extend(&[*id], &never).unwrap().unwrap()).collect()
        };
        let (mut a, mut b, mut c) = (decoder.sequence(64), decoder.sequence(64), decoder.sequence(64));
        // One begins with five tokens, then with one of its own, four and one of others beside it, and so on.
        let steps: [&[Row]; 3] = [
            &[row(0, 0), row(0, 1), row(0, 2), row(0, 3), row(0, 4)],
            &[row(1, 0), row(0, 5), row(1, 1), row(1, 2), row(2, 0), row(1, 3)],
            &[row(2, 1), row(2, 2), row(0, 6), row(1, 4), row(0, 7)],
        ];
        for rows in steps {
            let want: Vec<usize> = (0..rows.len()).collect();
            let logits = decoder.forward(&mut [&mut a, &mut b, &mut c], rows, &want, &never).unwrap().unwrap();
            for (row, logits) in rows.iter().zip(logits.chunks(model.vocabulary)) {
                for (found, expected) in logits.iter().zip(&alone[row.position]) {
                    assert!((found - expected).abs() < 1e-4, "{row:?}: {found} {expected}");
                }
            }
        }
        assert_eq!((a.length(), b.length(), c.length()), (8, 5, 3));
        // A fork goes on where it was taken, and leaves the original alone.
        let mut fork = a.fork(3);
        let logits = decoder.forward(&mut [&mut fork], &[row(0, 3)], &[0], &never).unwrap().unwrap();
        assert!(logits.iter().zip(&alone[3]).all(|(a, b)| (a - b).abs() < 1e-4));
        let logits = decoder.forward(&mut [&mut a], &[row(0, 8)], &[0], &never).unwrap().unwrap();
        assert!(logits.iter().zip(&alone[8]).all(|(a, b)| (a - b).abs() < 1e-4));
        assert!(matches!(
            decoder.forward(&mut [&mut a], &[row(0, 3)], &[0], &never),
            Err(DecoderError::OutOfOrder { found: 3, expected: 9, .. })
        ));
        assert!(matches!(
            decoder.forward(&mut [&mut a], &[row(1, 0)], &[0], &never),
            Err(DecoderError::NoSuchSequence { index: 1, count: 1 })
        ));
    }

    #[test]
    fn layers_in_two_places_compute_what_they_do_in_one() {
        let model = RandomModel { layers: 3, ..RandomModel::default() };
        let file = Arc::new(open(&model.make().writer));
        let rows: Vec<Row> = (0..IDS.len()).map(|position| row(0, position)).collect();
        let (whole, never) = (Decoder::load(&file).unwrap(), || false);
        let expected = whole.forward(&mut [&mut whole.sequence(64)], &rows, &[3, 11], &never).unwrap().unwrap();
        let (first, second) = (Decoder::load_layers(&file, 0..1).unwrap(), Decoder::load_layers(&file, 1..3).unwrap());
        let mut hidden = first.embed(&rows).unwrap();
        assert!(first.blocks(&mut [&mut first.sequence(64)], &rows, &mut hidden, &never).unwrap());
        assert!(second.blocks(&mut [&mut second.sequence(64)], &rows, &mut hidden, &never).unwrap());
        assert_eq!(second.logits(&hidden, &rows, &[3, 11]).unwrap(), expected);
        let error = first.logits(&hidden, &rows, &[0]).unwrap_err().to_string();
        assert!(error.contains("output") && error.contains("0..1"), "{error}");
        assert!(matches!(second.embed(&rows), Err(DecoderError::Elsewhere { part: "embedding", .. })));
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
            (&|w| w.string("general.architecture", "gemma"), &["gemma", "phi3, llama, mistral, qwen2, qwen3"]),
            (&|w| w.u32("phi3.embedding_length", 68), &["blk.0.attn_qkv.weight", "[128, 64], expected [136, 68]"]),
            (&|w| w.u32("phi3.block_count", 3), &["blk.2.", "missing"]),
            (&|w| w.u32("phi3.block_count", u32::MAX), &["phi3.block_count", "1 to 1024"]),
            (&|w| w.u32("phi3.attention.head_count_kv", 3), &["head_count_kv", "divide"]),
            (&|w| w.remove_tensor("blk.1.ffn_down.weight"), &["blk.1.ffn_down.weight", "missing", "convert"]),
            (&|w| w.tensor_f32("blk.0.attn_output.bias", &[64], &[0.0; 64]), &["attn_output.bias", "biases"]),
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
        let mut session = decoder.session(1_000_000);
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
        let error = broken.session(8).extend(&[1], &never).unwrap_err();
        assert!(matches!(error, DecoderError::NotFinite { position: 0 }), "{error}");
    }
}
