//! What a denial and an "only" reach.
//!
//! A denial reaches forward to the end of its clause: a comma (unless a list with "or" goes on), a contrast ("but"), or
//! a new verb of asking once something has been denied. Languages that put it behind ("要約しないで", "Zusammenfassung
//! brauche ich nicht") deny what stands before. An "only" drops what earlier clauses asked for.

use super::grammar::Mark;
use super::phrases::Found;
use super::words::{Gap, Word};

/// What a phrase of a request is, as far as scope is concerned.
pub(crate) trait Scoped {
    /// The mark it is, if it is one.
    fn mark(&self) -> Option<Mark>;
    /// Whether it asks for something.
    fn asks(&self) -> bool;
}

/// For each of `found` (ascending): whether it is denied or dropped.
pub(crate) fn denied<T: Scoped>(text: &[Word], found: &[Found<T>]) -> Vec<bool> {
    let mut scope = Scope { text, found, denied: found.iter().map(|f| f.negated).collect() };
    scope.forward();
    scope.backward();
    scope.only();
    scope.denied
}

struct Scope<'a, T> {
    text: &'a [Word],
    found: &'a [Found<T>],
    denied: Vec<bool>,
}

impl<T: Scoped> Scope<'_, T> {
    fn mark(&self, i: usize) -> Option<Mark> {
        self.found[i].meaning.mark()
    }

    fn asks(&self, i: usize) -> bool {
        self.found[i].meaning.asks()
    }

    /// The strongest gap between the last word of `a` and the first of a later `b`.
    fn gap(&self, from_word: usize, to_word: usize) -> Gap {
        self.text.get(from_word + 1..=to_word).unwrap_or_default().iter().map(|w| w.gap).max().unwrap_or(Gap::Space)
    }

    fn forward(&mut self) {
        let mut denying: Option<bool> = None;
        let mut last_word = 0;
        for i in 0..self.found.len() {
            let first = self.found[i].first();
            let gap = if first > last_word { self.gap(last_word, first) } else { Gap::Space };
            if gap >= Gap::Break || (gap == Gap::Comma && !self.list_goes_on(i, denying)) {
                denying = None;
            }
            match self.mark(i) {
                Some(Mark::Not | Mark::NotEither | Mark::AllBut) => denying = self.denies_around(i).then_some(true).or(Some(false)),
                Some(Mark::But | Mark::Only) => denying = None,
                Some(Mark::Asking | Mark::Generic) if denying == Some(true) => denying = None,
                _ => {}
            }
            if self.asks(i) && denying.is_some() {
                self.denied[i] = true;
                denying = Some(true);
            }
            last_word = last_word.max(first);
        }
    }

    /// A denial inside a phrase ("fasse es nicht zusammen") denies that phrase.
    fn denies_around(&mut self, i: usize) -> bool {
        let at = self.found[i].first();
        let around = (0..i).rev().find(|&k| self.asks(k) && self.found[k].first() < at && at < self.found[k].last());
        around.inspect(|&k| self.denied[k] = true).is_some()
    }

    /// After "no summary," whether "mood or keywords" is still denied.
    fn list_goes_on(&self, i: usize, denying: Option<bool>) -> bool {
        if denying != Some(true) {
            return false;
        }
        for k in i..self.found.len() {
            if k > i && self.gap(self.found[k - 1].first(), self.found[k].first()) >= Gap::Break {
                return false;
            }
            match self.mark(k) {
                Some(Mark::Or) => return true,
                Some(Mark::Asking | Mark::Only | Mark::But | Mark::Not | Mark::NotEither | Mark::Generic) => return false,
                _ => {}
            }
        }
        false
    }

    fn backward(&mut self) {
        for i in 0..self.found.len() {
            let reaches_back = match self.mark(i) {
                Some(Mark::NotBefore) => true,
                Some(Mark::NotEither) => !self.clause_after(i).any(|k| self.asks(k)) && !self.inside_a_phrase(i),
                _ => false,
            };
            if reaches_back {
                let before: Vec<usize> =
                    self.clause_before(i).take_while(|&k| !self.closes_backward(k)).filter(|&k| self.asks(k)).collect();
                before.into_iter().for_each(|k| self.denied[k] = true);
            }
        }
    }

    fn inside_a_phrase(&self, i: usize) -> bool {
        let at = self.found[i].first();
        (0..i).any(|k| self.asks(k) && self.found[k].first() < at && at < self.found[k].last())
    }

    fn closes_backward(&self, k: usize) -> bool {
        matches!(self.mark(k), Some(Mark::Asking | Mark::Only | Mark::But | Mark::Not | Mark::NotEither | Mark::NotBefore))
    }

    fn clause_after(&self, i: usize) -> impl Iterator<Item = usize> {
        let from = self.found[i].last();
        (i + 1..self.found.len()).take_while(move |&k| {
            self.gap(from, self.found[k].first()) < Gap::Comma && !matches!(self.mark(k), Some(Mark::But | Mark::Only))
        })
    }

    fn clause_before(&self, i: usize) -> impl Iterator<Item = usize> {
        let to = self.found[i].first();
        (0..i).rev().take_while(move |&k| self.gap(self.found[k].last(), to) < Gap::Comma)
    }

    /// Drops what clauses before an "only" asked for, if the clause of the "only" asks for something itself.
    fn only(&mut self) {
        for i in 0..self.found.len() {
            if self.mark(i) != Some(Mark::Only) {
                continue;
            }
            let start = self.clause_before(i).take_while(|&k| self.mark(k) != Some(Mark::But)).last().unwrap_or(i);
            let end = self.clause_after(i).last().unwrap_or(i);
            let wanted = (start..=end).any(|k| self.asks(k) && !self.denied[k]);
            let added = (start..i).any(|k| matches!(self.mark(k), Some(Mark::And | Mark::Asking)) && !self.asks_before(start, k));
            if wanted && !(added && self.mark(start) == Some(Mark::And)) {
                (0..start).filter(|&k| self.asks(k)).collect::<Vec<_>>().into_iter().for_each(|k| self.denied[k] = true);
            }
        }
    }

    fn asks_before(&self, start: usize, k: usize) -> bool {
        (start..k).any(|j| self.asks(j))
    }
}

#[cfg(test)]
mod tests {
    use super::super::InterpreterRequest;
    use super::super::asks::Target;
    use super::super::reading::Reader;

    /// How many things are asked for, and how many are not wanted.
    fn counts(prompt: &str) -> (usize, usize) {
        let reading = Reader::new().read(&InterpreterRequest { prompt: prompt.into(), inputs: Vec::new() }, &[]);
        assert!(reading.asks.iter().all(|a| matches!(a.target, Target::Concept(_))));
        (reading.asks.len(), reading.unwanted.len())
    }

    #[test]
    fn a_denial_ends_where_its_clause_ends() {
        for (prompt, expected) in [
            ("do not summarise, tell me the language", (1, 1)),
            ("no summary and no keywords but the language", (1, 2)),
            ("neither mood nor keywords", (0, 2)),
            ("fass es nicht zusammen sag mir die Sprache", (1, 1)),
            ("Zusammenfassung brauche ich nicht, Sprache schon", (1, 1)),
            ("I don't know the language", (1, 0)),
            ("is it positive or not", (1, 0)),
            ("要約しないで、言語", (1, 1)),
        ] {
            assert_eq!(counts(prompt), expected, "{prompt}");
        }
    }

    #[test]
    fn an_only_drops_what_was_said_before_but_not_what_it_is_joined_to() {
        assert_eq!(counts("here is a summary of mine, just tell me the mood"), (1, 1));
        assert_eq!(counts("the language and only a short summary"), (2, 0));
        assert_eq!(counts("just the language and the keywords"), (2, 0));
    }
}
