//! A language model as the rest of the fleet uses it: open a file, put a prompt, get text with its log-probabilities.
//!
//! The clock and the wish to stop come in as functions, tokens go out through a sink, and nothing is printed or shared: a
//! model may be used from several threads at once, each answer with its own session.

pub use batch::{Ask, Batch, BatchHooks, BatchOptions, Said};
pub use first_pass::{FirstPass, FirstPassOptions};
pub use generate::{Finish, GenerateOptions, Generation, Hooks, Timing, TokenEvent};
pub use origin::Origin;

use crate::decoder::{Config, Decoder, DecoderError};
use crate::deferral::Rule;
use crate::gguf::{Gguf, GgufError, GgufProblem};
use crate::grammar::{Grammar, GrammarError, Grammars};
use crate::safetensors::{Checkpoint, CheckpointError, CheckpointProblem};
use crate::tokens::{Tokenizer, TokenizerError};
use serde_json::Value;
use std::path::Path;
use std::sync::{Arc, OnceLock};

mod answer;
mod batch;
mod first_pass;
mod generate;
mod origin;

/// A model cannot be opened or used.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The file is not usable.
    #[error(transparent)]
    File(#[from] GgufError),
    /// The folder is not usable.
    #[error(transparent)]
    Folder(#[from] CheckpointError),
    /// Its tokenizer is not usable, or a text cannot be encoded.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The model cannot be loaded or computed.
    #[error(transparent)]
    Decoder(#[from] DecoderError),
    /// The answer cannot be held to the form that was asked for.
    #[error(transparent)]
    Grammar(#[from] GrammarError),
    /// The prompt leaves no room for an answer.
    #[error("the prompt has {tokens} tokens and the model's context is {context}; shorten it or choose a model with a longer context")]
    PromptTooLong {
        /// Tokens of the templated prompt.
        tokens: usize,
        /// The model's context.
        context: usize,
    },
    /// The keys and values of the request alone are more than all requests together may have.
    #[error(
        "{tokens} tokens need {needed} bytes of cache and there are {limit}; allow fewer tokens, or raise workers.cache_bytes in agent.toml"
    )]
    CacheTooSmall {
        /// Tokens of prompt and answer.
        tokens: usize,
        /// Bytes they need.
        needed: u64,
        /// Bytes there are.
        limit: u64,
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
    origin: Origin,
    /// Made when the first answer in a given form is wanted.
    grammars: OnceLock<Grammars>,
}

impl LanguageModel {
    /// Opens, validates and loads a GGUF file or a folder of SafeTensors. The threads it computes with are those of the process
    /// ([`crate::threads`]).
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        if path.is_dir() {
            return Self::open_folder(path);
        }
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
        let origin = Origin::of_file(&file, decoder.config().architecture);
        Ok(Self { decoder, tokenizer, rule, origin, grammars: OnceLock::new() })
    }

    fn open_folder(path: &Path) -> Result<Self, ModelError> {
        let checkpoint = Checkpoint::open(path)?;
        let tokenizer = Tokenizer::from_folder(path)?;
        let decoder = Decoder::load_folder(&checkpoint)?;
        let (tokens, rows) = (tokenizer.size(), decoder.config().vocabulary);
        if tokens > rows {
            let expected = format!("the model has only {rows} rows of embedding");
            let problem = CheckpointProblem::OutOfRange { value: format!("{tokens} tokens"), expected };
            return Err(CheckpointError::new(path.join("tokenizer.json"), "model.vocab", problem).into());
        }
        let origin = Origin::of_folder(&checkpoint, decoder.config().architecture);
        Ok(Self { decoder, tokenizer, rule: Rule::default(), origin, grammars: OnceLock::new() })
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

    /// What it was read from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The size of its file: about what its weights take in memory when they are quantised, and read for every token.
    pub fn file_bytes(&self) -> u64 {
        self.origin.bytes
    }

    /// The form of answers that a JSON schema allows.
    fn grammar(&self, schema: &Value) -> Result<Grammar, GrammarError> {
        let grammars = match self.grammars.get() {
            Some(grammars) => grammars,
            None => {
                let made = Grammars::new(&self.tokenizer)?;
                self.grammars.get_or_init(|| made)
            }
        };
        grammars.json_schema(schema)
    }

    /// A prompt's tokens in the model's chat template, with room for at least one of answer.
    fn encode(&self, prompt: &str) -> Result<Vec<u32>, ModelError> {
        // The template alone is not empty, but there would be nothing to answer.
        if prompt.trim().is_empty() {
            return Err(ModelError::PromptEmpty);
        }
        let ids = self.tokenizer.encode_chat(prompt)?;
        let context = self.config().context;
        match ids.len() {
            0 => Err(ModelError::PromptEmpty),
            tokens if tokens >= context => Err(ModelError::PromptTooLong { tokens, context }),
            _ => Ok(ids),
        }
    }

    /// The types of its tensors, those with most bytes first: `Q4_K, Q6_K, F32`.
    pub fn quantisation(&self) -> String {
        self.origin.types.iter().map(|(kind, _)| kind.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// The tokens of a prompt in the model's chat template.
    pub fn count_tokens(&self, prompt: &str) -> Result<usize, ModelError> {
        Ok(self.tokenizer.encode_chat(prompt)?.len())
    }
}

#[cfg(test)]
pub(crate) use generate::tests as tests_of_answers;

#[cfg(test)]
mod tests {
    use super::generate::tests::CALM;
    use super::*;
    use crate::decoder::random_model::RandomModel;
    use crate::gguf::writer::GgufWriter;
    use crate::safetensors::tiny_folder::files;
    use crate::tokens::tests::write_byte_level;
    use proptest::prelude::*;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;
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

    /// Changes, adds or cuts off some bytes, most of them among the first `early`.
    fn damage(bytes: &mut Vec<u8>, early: usize, random: &mut ChaCha8Rng) {
        for _ in 0..random.random_range(1..5) {
            let span = if random.random_bool(0.8) { early.min(bytes.len()) } else { bytes.len() };
            let at = random.random_range(0..span.max(1));
            match random.random_range(0..5) {
                _ if at >= bytes.len() => bytes.push(random.random()),
                0 => bytes[at] ^= 1 << random.random_range(0..8),
                1 => bytes[at] = [0, 1, 127, 128, 255][random.random_range(0..5)],
                2 => bytes[at..(at + 8).min(span)].fill(255),
                3 => bytes.truncate(at.max(1)),
                _ => bytes.insert(at, random.random()),
            }
        }
    }

    /// Damages what `damaged` writes, case after case: opening and answering end in an error that names the file or in an
    /// answer. Runs for a second, or for `OURO_FUZZ_SECONDS`.
    fn survive(what: &str, path: &Path, mut damaged: impl FnMut(&mut ChaCha8Rng)) {
        use std::time::{Duration, Instant};
        let seconds = std::env::var("OURO_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
        let time = Duration::from_secs_f64(seconds.filter(|s: &f64| s.is_finite() && *s > 0.0).unwrap_or(1.0));
        let (started, mut cases, mut opened) = (Instant::now(), 0_u64, 0_u64);
        while started.elapsed() < time || cases == 0 {
            damaged(&mut ChaCha8Rng::seed_from_u64(cases));
            match LanguageModel::open(path) {
                Ok(model) => {
                    opened += 1;
                    let options = GenerateOptions { max_tokens: 2, ..GenerateOptions::default() };
                    let _ = model.generate("hello <|end|>", &options, &CALM, &mut |_| ControlFlow::Continue(()));
                }
                Err(error) => assert!(error.to_string().contains("damaged"), "case {cases}: {error}"),
            }
            cases += 1;
        }
        let rate = cases as f64 / started.elapsed().as_secs_f64();
        let line = format!("{what}: {cases} cases, {opened} of them usable, {rate:.0} a second\n");
        std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).unwrap();
    }

    #[test]
    fn a_model_file_survives_anything() {
        let (good, directory) = (file(), tempfile::tempdir().unwrap());
        let path = directory.path().join("damaged.gguf");
        survive("a model file", &path, |random| {
            let mut bytes = good.clone();
            damage(&mut bytes, 2_000, random);
            std::fs::write(&path, bytes).unwrap();
        });
    }

    #[test]
    fn a_model_folder_survives_anything() {
        let (good, directory) = (files(), tempfile::tempdir().unwrap());
        let path = directory.path().join("damaged");
        std::fs::create_dir(&path).unwrap();
        survive("a model folder", &path, |random| {
            let victim = random.random_range(0..good.len());
            for (index, (name, bytes)) in good.iter().enumerate() {
                let mut bytes = bytes.clone();
                if index == victim {
                    damage(&mut bytes, 2_000, random);
                }
                std::fs::write(path.join(name), bytes).unwrap();
            }
        });
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
