//! The next token of an answer, freely or held to a form: the one place where a grammar meets the choice.

use super::LanguageModel;
use crate::grammar::{Grammar, GrammarError, Grammars};
use crate::sampling::{Choice, Sampler};
use serde_json::Value;

impl LanguageModel {
    /// The form of answers that a JSON schema allows.
    pub(super) fn grammar(&self, schema: &Value) -> Result<Grammar, GrammarError> {
        let grammars = match self.grammars.get() {
            Some(grammars) => grammars,
            None => {
                let made = Grammars::new(&self.tokenizer)?;
                self.grammars.get_or_init(|| made)
            }
        };
        grammars.json_schema(schema)
    }

    /// Chooses a token, and says whether the answer ends with it; `None` when there is none to choose.
    pub(super) fn choose(
        &self,
        sampler: &mut Sampler,
        grammar: Option<&mut Grammar>,
        logits: &[f32],
    ) -> Result<Option<(Choice, bool)>, GrammarError> {
        let Some(grammar) = grammar else {
            let choice = sampler.choose(logits, None);
            return Ok(choice.map(|choice| (choice, self.tokenizer.is_stop(choice.id))));
        };
        let mask = grammar.mask()?;
        let allowed = |id| if self.tokenizer.is_stop(id) { mask.may_end } else { mask.allows(id) };
        match sampler.choose(logits, Some(&allowed)) {
            None => Ok(None),
            Some(choice) if self.tokenizer.is_stop(choice.id) => Ok(Some((choice, true))),
            Some(choice) => {
                grammar.accept(choice.id)?;
                Ok(Some((choice, grammar.is_complete())))
            }
        }
    }
}
