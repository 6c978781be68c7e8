//! Answers in a given form: a JSON schema becomes, token by token, the set of tokens that may come next.
//!
//! The parser is llguidance's, which is seen nowhere else. What a schema asks for and llguidance does not know is refused, never
//! ignored. Schemas come from strangers: their size and the work of each step are bounded.

use crate::tokens::Tokenizer;
use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{ApproximateTokEnv, SimpleVob, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};
use std::sync::Arc;

/// Longer tokens are never needed to write JSON, and no set has room for tokens of any length.
const MAX_TOKEN_BYTES: usize = 256;
/// More bytes than the tokens of any vocabulary have together; what the library's tree holds.
const MAX_VOCABULARY_BYTES: usize = 4_000_000;
/// White space between the parts of an answer: enough to indent it, not enough to lose a model in it.
const WHITE_SPACE: &str = r"[ \n\r\t]{1,20}";

/// A schema cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GrammarError {
    /// The schema itself.
    #[error("the JSON schema cannot be used: {problem}; see json-schema.org, and leave out what is named here")]
    Schema {
        /// What llguidance said.
        problem: String,
    },
    /// The model's vocabulary.
    #[error("the model's vocabulary of {tokens} tokens cannot be held to a form: {problem}; choose another model")]
    Vocabulary {
        /// How many tokens.
        tokens: usize,
        /// Why not.
        problem: String,
    },
    /// The schema is sound, but following it took too much.
    #[error("the answer's form could not be followed any further: {problem}; make the schema simpler")]
    Failed {
        /// What llguidance said.
        problem: String,
    },
}

/// Makes grammars for the vocabulary of a model. Made once a model: a large vocabulary takes a second.
pub struct Grammars {
    factory: ParserFactory,
}

impl std::fmt::Debug for Grammars {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grammars")
            .field("tokens", &self.factory.tok_env().tok_trie().vocab_size())
            .finish_non_exhaustive()
    }
}

impl Grammars {
    /// Takes in a vocabulary.
    pub fn new(tokenizer: &Tokenizer) -> Result<Self, GrammarError> {
        let tokens = tokenizer.size();
        let refuse = |problem: String| GrammarError::Vocabulary { tokens, problem };
        // Which tokens end an answer is the tokenizer's business, so the end has a number behind all of them here.
        let end = u32::try_from(tokens).ok().filter(|&end| end < 1 << 24).ok_or_else(|| refuse("there are too many".into()))?;
        let mut words: Vec<Vec<u8>> = (0..end).map(|id| spelled(tokenizer, id)).collect();
        if words.iter().map(Vec::len).sum::<usize>() > MAX_VOCABULARY_BYTES {
            return Err(refuse(format!("together they have more than {MAX_VOCABULARY_BYTES} bytes")));
        }
        words.push([&[TokTrie::SPECIAL_TOKEN_MARKER], "<end>".as_bytes()].concat());
        let trie = TokTrie::from(&TokRxInfo::new(end + 1, end), &words);
        let environment: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let mut factory = ParserFactory::new_simple(&environment).map_err(|e| refuse(e.to_string()))?;
        factory.quiet().limits_mut().verbose_errors = false;
        Ok(Self { factory })
    }

    /// A grammar at its beginning, whose texts are the JSON values that a schema allows.
    pub fn json_schema(&self, schema: &Value) -> Result<Grammar, GrammarError> {
        let mut schema = schema.clone();
        match &mut schema {
            Value::Object(keys) => _ = keys.entry("x-guidance").or_insert_with(|| json!({"whitespace_pattern": WHITE_SPACE})),
            Value::Bool(_) => {}
            other => return Err(GrammarError::Schema { problem: format!("it is {other}, expected an object") }),
        }
        let matcher = Matcher::new(self.factory.create_parser(TopLevelGrammar::from_json_schema(schema)));
        match matcher.get_error() {
            Some(problem) => Err(GrammarError::Schema { problem: problem.trim().to_string() }),
            None => Ok(Grammar { matcher }),
        }
    }
}

/// What a token adds to a text; nothing for those that never help.
fn spelled(tokenizer: &Tokenizer, id: u32) -> Vec<u8> {
    let bytes = tokenizer.bytes(id);
    let usable = bytes.len() <= MAX_TOKEN_BYTES && bytes.first() != Some(&TokTrie::SPECIAL_TOKEN_MARKER) && !tokenizer.is_stop(id);
    if usable { bytes } else { vec![] }
}

/// A form that an answer is held to, as far as the answer has come.
pub struct Grammar {
    matcher: Matcher,
}

impl std::fmt::Debug for Grammar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grammar").field("complete", &self.is_complete()).finish_non_exhaustive()
    }
}

/// The tokens that may come next.
#[derive(Debug)]
pub struct Mask {
    tokens: SimpleVob,
    /// Whether the answer may end here.
    pub may_end: bool,
}

impl Mask {
    /// Whether a token may come; those that end an answer are not among them.
    pub fn allows(&self, id: u32) -> bool {
        (id as usize) < self.tokens.len() && self.tokens.is_allowed(id)
    }
}

impl Grammar {
    /// What may come next.
    pub fn mask(&mut self) -> Result<Mask, GrammarError> {
        let tokens = self.matcher.compute_mask_or_eos().map_err(failed)?;
        let may_end = self.is_complete() || self.matcher.is_accepting().map_err(failed)?;
        Ok(Mask { tokens, may_end })
    }

    /// Goes on by a token that the mask allowed.
    pub fn accept(&mut self, id: u32) -> Result<(), GrammarError> {
        self.matcher.consume_token(id).map_err(failed)
    }

    /// Whether the answer is whole and nothing can follow.
    pub fn is_complete(&self) -> bool {
        self.matcher.is_stopped() && !self.matcher.is_error()
    }
}

fn failed(problem: impl std::fmt::Display) -> GrammarError {
    GrammarError::Failed { problem: problem.to_string().trim().to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::writer::GgufWriter;
    use crate::language_model::tests_of_answers::{CALM, model};
    use crate::language_model::{Finish, GenerateOptions, ModelError};
    use crate::sampling::Sampling;
    use crate::tokens::tests::{open, write_byte_level};
    use proptest::prelude::*;
    use std::ops::ControlFlow;

    fn tokenizer() -> Tokenizer {
        let mut writer = GgufWriter::new();
        write_byte_level(&mut writer, "qwen2");
        Tokenizer::from_gguf(&open(&writer)).unwrap()
    }

    /// Whether a text is what a schema allows, token by token.
    fn accepts(schema: &Value, text: &str) -> bool {
        let tokenizer = tokenizer();
        let mut grammar = Grammars::new(&tokenizer).unwrap().json_schema(schema).unwrap();
        for id in tokenizer.encode(text).unwrap() {
            if grammar.is_complete() || !grammar.mask().unwrap().allows(id) {
                return false;
            }
            grammar.accept(id).unwrap();
        }
        grammar.mask().unwrap().may_end
    }

    #[test]
    fn texts_are_judged_as_the_schema_says() {
        let schema = json!({
            "type": "object",
            "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer", "minimum": 0}, "kind": {"enum": ["cat", "hello"]}},
            "required": ["name", "age"], "additionalProperties": false
        });
        for right in [
            r#"{"name":"hello","age":4}"#,
            "{\n  \"name\": \"Grüße\",\n  \"age\": 40, \"kind\": \"hello\" }",
            r#"{"name": "a\nb", "age": 0}"#,
        ] {
            assert!(accepts(&schema, right), "{right}");
        }
        for wrong in [
            r#"{"name":"hello"}"#,
            r#"{"name":"hello","age":-1}"#,
            r#"{"name":"much too long","age":1}"#,
            r#"{"name":"a","age":1,"more":2}"#,
            r#"{"name":"a","age":1,"kind":"dog"}"#,
            r#"{"name":"a","age":1}}"#,
            r#"["name"]"#,
            "hello",
            "",
        ] {
            assert!(!accepts(&schema, wrong), "{wrong}");
        }
    }

    #[test]
    fn what_cannot_be_followed_is_refused() {
        let grammars = Grammars::new(&tokenizer()).unwrap();
        for (schema, words) in [
            (json!([1]), "expected an object"),
            (json!({"type": "nonsense"}), "nonsense"),
            (json!({"type": "object", "minProperties": 1, "unevaluatedProperties": false}), "nevaluated"),
            (json!({"type": "string", "pattern": "(["}), "cannot be used"),
            (json!({"$ref": "#/nowhere"}), "nowhere"),
            (json!({"type": "integer", "minimum": 5, "maximum": 4}), "cannot be used"),
        ] {
            let error = grammars.json_schema(&schema).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        /// A model of random weights says nonsense; held to a schema it says nonsense in that form.
        #[test]
        fn a_random_model_answers_in_the_form_that_was_asked_for(seed in any::<u64>(), temperature in 0.0..1.5_f64) {
            let schema = json!({
                "type": "object",
                "properties": {"a": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3}, "b": {"enum": ["x", "yz", null]}},
                "required": ["a", "b"], "additionalProperties": false
            });
            let options = GenerateOptions { max_tokens: 90, sampling: Sampling { temperature, seed, ..Sampling::GREEDY } };
            let mut shown = String::new();
            let answer = model(seed % 4, |_| {}).generate_json("hello", &schema, &options, &CALM, &mut |event| {
                shown.push_str(&event.text);
                ControlFlow::Continue(())
            }).unwrap();
            prop_assert_eq!(&shown, &answer.text);
            if answer.finish == Finish::Stop {
                let value: Value = serde_json::from_str(&answer.text).unwrap();
                prop_assert!(value["a"].as_array().is_some_and(|a| a.len() <= 3 && a.iter().all(Value::is_boolean)), "{}", answer.text);
                prop_assert!([json!("x"), json!("yz"), Value::Null].contains(&value["b"]) && value.as_object().unwrap().len() == 2);
            } else {
                prop_assert!(answer.prompt_tokens + answer.tokens.len() == 96 || answer.tokens.len() == 90, "{:?}", answer.finish);
            }
        }

        #[test]
        fn any_schema_is_refused_or_followed(text in "[\\{\\}\\[\\]\":,a-z$#/0-9 ]{0,60}", key in prop::sample::select(vec!["type", "enum", "anyOf", "items", "properties", "$ref", "pattern", "const"])) {
            let value: Value = serde_json::from_str(&text).unwrap_or(Value::String(text));
            let schema = json!({key: value});
            if let Ok(mut grammar) = Grammars::new(&tokenizer()).unwrap().json_schema(&schema) {
                let _ = grammar.mask();
            }
        }
    }

    #[test]
    fn a_model_refuses_a_bad_schema_before_it_computes() {
        let refused = model(1, |_| {}).generate_json("x", &json!(3), &GenerateOptions::default(), &CALM, &mut |_| panic!("a token"));
        assert!(matches!(refused, Err(ModelError::Grammar(GrammarError::Schema { .. }))));
    }
}
