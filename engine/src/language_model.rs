//! A language model as the rest of the fleet uses it: open a file, put a prompt, get text with its log-probabilities.
//!
//! The clock and the wish to stop come in as functions, tokens go out through a sink, and nothing is printed or shared: a
//! model may be used from several threads at once, each answer with its own session.

pub use first_pass::{FirstPass, FirstPassOptions};
pub use generate::{Finish, GenerateOptions, Generation, Hooks, Timing, TokenEvent};

use crate::decoder::{Config, Decoder, DecoderError};
use crate::deferral::Rule;
use crate::gguf::{Gguf, GgufError, GgufProblem};
use crate::tokens::{Tokenizer, TokenizerError};
use std::path::Path;
use std::sync::Arc;

mod first_pass;
mod generate;

/// A model cannot be opened or used.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The file is not usable.
    #[error(transparent)]
    File(#[from] GgufError),
    /// Its tokenizer is not usable, or a text cannot be encoded.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The model cannot be loaded or computed.
    #[error(transparent)]
    Decoder(#[from] DecoderError),
    /// The prompt leaves no room for an answer.
    #[error("the prompt has {tokens} tokens and the model's context is {context}; shorten it or choose a model with a longer context")]
    PromptTooLong {
        /// Tokens of the templated prompt.
        tokens: usize,
        /// The model's context.
        context: usize,
    },
    /// There is nothing to continue.
    #[error("the prompt is empty; write something")]
    PromptEmpty,
}

/// A loaded model with its tokenizer.
#[derive(Debug)]
pub struct LanguageModel {
    decoder: Decoder,
    tokenizer: Tokenizer,
    rule: Rule,
    file_bytes: u64,
    quantisation: String,
}

impl LanguageModel {
    /// Opens, validates and loads a GGUF file. The threads it computes with are those of the process ([`crate::threads`]).
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let file = Arc::new(Gguf::open(path)?);
        let tokenizer = Tokenizer::from_gguf(&file)?;
        let rule = Rule::from_gguf(&file)?;
        let decoder = Decoder::load(&file)?;
        let (tokens, rows) = (tokenizer.size(), decoder.config().vocabulary);
        if tokens > rows {
            let expected = format!("the model has only {rows} rows of embedding");
            let problem = GgufProblem::OutOfRange { value: format!("{tokens} tokens"), expected };
            return Err(file.error("tokenizer.ggml.tokens", problem).into());
        }
        Ok(Self { decoder, tokenizer, rule, file_bytes: file.size_bytes(), quantisation: file.quantisation() })
    }

    /// What the model is.
    pub fn config(&self) -> &Config {
        self.decoder.config()
    }

    /// Its tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The rule the file brings for trusting its answers, or the default.
    pub fn rule(&self) -> Rule {
        self.rule
    }

    /// The size of its file: about what its weights take in memory when they are quantised, and read for every token.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// The types of its matrices, the one with most bytes first.
    pub fn quantisation(&self) -> &str {
        &self.quantisation
    }

    /// The tokens of a prompt in the model's chat template.
    pub fn count_tokens(&self, prompt: &str) -> Result<usize, ModelError> {
        Ok(self.tokenizer.encode_chat(prompt)?.len())
    }
}

#[cfg(test)]
mod tests {
    use super::generate::tests::CALM;
    use super::*;
    use crate::decoder::random_model::RandomModel;
    use crate::gguf::writer::GgufWriter;
    use crate::tokens::tests::write_byte_level;
    use proptest::prelude::*;
    use std::ops::ControlFlow;

    fn file() -> Vec<u8> {
        let vocabulary = write_byte_level(&mut GgufWriter::new(), "qwen2");
        let mut made = RandomModel { vocabulary, hidden: 16, rope_width: 4, feed_forward: 8, layers: 1, ..RandomModel::default() }.make();
        write_byte_level(&mut made.writer, "qwen2");
        made.writer.finish()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        /// Bytes of the metadata changed at will: an error or a model that works, never a panic.
        #[test]
        fn a_damaged_file_is_an_error_or_a_model(flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4), early in any::<bool>()) {
            let mut bytes = file();
            let span = if early { 1_500 } else { bytes.len() };
            for (index, with) in flips {
                bytes[index.index(span)] = with;
            }
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("damaged.gguf");
            std::fs::write(&path, bytes).unwrap();
            match LanguageModel::open(&path) {
                Ok(model) => {
                    let options = GenerateOptions { max_tokens: 2, ..GenerateOptions::default() };
                    let _ = model.generate("hello <|end|>", &options, &CALM, &mut |_| ControlFlow::Continue(()));
                }
                Err(error) => prop_assert!(error.to_string().contains("damaged.gguf"), "{error}"),
            }
        }
    }

    /// Many more damaged files than the property above: whatever is changed, added or cut off, opening and answering end in
    /// an error or an answer. Runs for a second, or for `OURO_FUZZ_SECONDS`.
    #[test]
    fn a_model_file_survives_anything() {
        use rand::{Rng as _, SeedableRng as _};
        use std::time::{Duration, Instant};
        let seconds = std::env::var("OURO_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
        let time = Duration::from_secs_f64(seconds.filter(|s: &f64| s.is_finite() && *s > 0.0).unwrap_or(1.0));
        let (good, directory) = (file(), tempfile::tempdir().unwrap());
        let path = directory.path().join("damaged.gguf");
        let (started, mut cases, mut opened) = (Instant::now(), 0_u64, 0_u64);
        while started.elapsed() < time || cases == 0 {
            let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(cases);
            let mut bytes = good.clone();
            for _ in 0..random.random_range(1..5) {
                let span = if random.random_bool(0.8) { 2_000.min(bytes.len()) } else { bytes.len() };
                let at = random.random_range(0..span);
                match random.random_range(0..5) {
                    0 => bytes[at] ^= 1 << random.random_range(0..8),
                    1 => bytes[at] = [0, 1, 127, 128, 255][random.random_range(0..5)],
                    2 => bytes[at..(at + 8).min(span)].fill(255),
                    3 => bytes.truncate(at.max(1)),
                    _ => bytes.insert(at, random.random()),
                }
            }
            std::fs::write(&path, bytes).unwrap();
            match LanguageModel::open(&path) {
                Ok(model) => {
                    opened += 1;
                    let options = GenerateOptions { max_tokens: 2, ..GenerateOptions::default() };
                    let _ = model.generate("hello <|end|>", &options, &CALM, &mut |_| ControlFlow::Continue(()));
                }
                Err(error) => assert!(error.to_string().contains("damaged.gguf"), "case {cases}: {error}"),
            }
            cases += 1;
        }
        let rate = cases as f64 / started.elapsed().as_secs_f64();
        let line = format!("a model file: {cases} cases, {opened} of them usable, {rate:.0} a second\n");
        std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).unwrap();
    }

    #[test]
    fn a_vocabulary_without_embeddings_is_refused() {
        let mut made = RandomModel::default().make();
        write_byte_level(&mut made.writer, "qwen2");
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.gguf");
        std::fs::write(&path, made.writer.finish()).unwrap();
        let error = LanguageModel::open(&path).unwrap_err().to_string();
        assert!(error.contains("266 tokens") && error.contains("50 rows"), "{error}");
    }
}
