//! A request, read: what is asked for, what is not wanted, and whether the text it is about stands in the prompt.

use super::asks::{Ask, Target, asks, is_named, refers};
use super::capability::Capability;
use super::grammar::{EMPTY, EMPTY_IDEOGRAPHS, Mark};
use super::lexicon::{Concept, LANGUAGE_NAMES};
use super::payload::{Says, part};
use super::phrases::{Book, Found, resolve};
use super::scope::{Scoped, denied};
use super::words::{Gap, Word, plain, words};
use super::{InterpreterRequest, RequestInput, spelling};
use ouro_common::id::Name;
use std::collections::{BTreeMap, BTreeSet};

/// What a phrase means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// A small word that changes the others.
    Mark(Mark),
    /// An ability.
    Concept(Concept),
    /// A container, by its name or one of its keywords.
    Container(Name),
    /// An input, by its tag or file name.
    Input(usize),
}

impl Meaning {
    /// The concept it is, if it is one.
    pub(crate) fn concept(&self) -> Option<Concept> {
        if let Self::Concept(concept) = self { Some(*concept) } else { None }
    }
}

impl Scoped for Meaning {
    fn mark(&self) -> Option<Mark> {
        if let Self::Mark(mark) = self { Some(*mark) } else { None }
    }
    fn asks(&self) -> bool {
        matches!(self, Self::Concept(_) | Self::Container(_))
    }
}

/// A request, read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    /// What is asked for, in order, each once.
    pub(crate) asks: Vec<Ask>,
    /// What is expressly not wanted.
    pub(crate) unwanted: BTreeSet<Target>,
    /// Everything that fits is asked for.
    pub(crate) all: bool,
    /// Nothing in particular is asked for ("analyse this"), or nothing is said at all.
    pub(crate) generic: bool,
    /// Each input is meant.
    pub(crate) each: bool,
    /// How sure it is that a text to work on stands in the prompt.
    pub(crate) text: TextInPrompt,
    /// The words that no rule knows: what the request is about.
    pub(crate) content: Vec<String>,
    /// Languages that are named, by their plain words.
    pub(crate) languages: Vec<String>,
    /// The words of the request without a text that came with it.
    pub(crate) words: Vec<Word>,
}

/// Whether the prompt brings its own text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum TextInPrompt {
    /// There is none, or no more than a few words that may be one.
    #[default]
    Missing,
    /// A few words without a mark: enough for telling a language or a mood.
    Words,
    /// It is marked, or long.
    Certain,
}

/// The phrases and small words every reading needs; built once.
#[derive(Debug, Clone)]
pub(crate) struct Reader {
    pub(crate) book: Book<Meaning>,
    vocabulary: BTreeMap<String, bool>,
    empty: BTreeSet<String>,
    ideographs: BTreeSet<char>,
}

/// Ordinary words that are one slip away from a phrase and mean something else.
const ORDINARY: &str = "summer summers station stations letter letters motion notion mention mentions tonic toxic colour colours volume volumes average weather leather moody modern model models \
    mobile poster posted number numbers member remember sweet street please little better matter later water paper start state states stated statue status";

impl Reader {
    /// Builds the book of phrases.
    pub(crate) fn new() -> Self {
        let names = LANGUAGE_NAMES.iter().flat_map(|line| line.split_whitespace()).map(plain);
        let mut book = Book::new(names);
        for concept in Concept::ALL {
            concept.phrases().iter().for_each(|line| book.add(line, &Meaning::Concept(concept)));
        }
        for (mark, phrases) in Mark::PHRASES {
            book.add(phrases, &Meaning::Mark(mark));
        }
        let vocabulary = book.vocabulary();
        let empty = EMPTY.split_whitespace().map(plain).collect();
        Self { book, vocabulary, empty, ideographs: EMPTY_IDEOGRAPHS.chars().collect() }
    }

    /// Whether a plain word carries nothing of what a text is about.
    pub(crate) fn is_empty(&self, word: &str) -> bool {
        self.empty.contains(word)
    }

    /// Reads `request`, knowing the containers' names and keywords and the inputs' tags.
    pub(crate) fn read(&self, request: &InterpreterRequest, capabilities: &[Capability<'_>]) -> Reading {
        let own = self.own_book(capabilities);
        let says = |text: &str| {
            let text = self.words_of(text);
            let found = self.find(&text, &own, &[]);
            let asks = found.iter().any(|f| f.meaning.asks() && !f.negated);
            let generic = found.iter().any(|f| matches!(f.meaning.mark(), Some(Mark::Generic | Mark::All | Mark::AllBut)));
            if asks {
                Says::Ask
            } else if generic {
                Says::Generic
            } else {
                Says::Nothing
            }
        };
        let parted = part(&request.prompt, !request.inputs.is_empty(), &says);
        let text = self.words_of(&parted.request);
        let found = self.find(&text, &own, &request.inputs);
        let mut reading = Reading::default();
        let kept = wanted(&text, found, &mut reading);
        reading.asks = asks(&text, &kept);
        reading.generic |= text.iter().all(|w| SILENT.split_whitespace().any(|s| s == w.plain));
        self.content(&text, &kept, &mut reading);
        reading.text = if parted.has_text { TextInPrompt::Certain } else { self.text_in_prompt(&text, &kept, &reading) };
        reading.words = text;
        reading
    }

    fn words_of(&self, text: &str) -> Vec<Word> {
        let mut text = words(text);
        let ordinary = |word: &str| self.is_empty(word) || ORDINARY.split_whitespace().any(|o| o == word);
        spelling::correct(&mut text, &self.vocabulary, ordinary);
        text
    }

    /// Names and keywords of the containers. Names that are ordinary words count only in a phrase of several words.
    fn own_book(&self, capabilities: &[Capability<'_>]) -> Book<Meaning> {
        let mut book = Book::new([]);
        for capability in capabilities.iter().filter(|c| !c.composes) {
            let meaning = Meaning::Container(capability.name().clone());
            let phrases = std::iter::once(capability.name().as_str()).chain(capability.manifest.keywords.iter().map(String::as_str));
            for phrase in phrases {
                let own = words(phrase);
                if own.len() > 1 || own.first().is_some_and(|w| !self.is_empty(&w.plain)) {
                    let entry: Vec<&str> = own.iter().map(|w| w.plain.as_str()).collect();
                    book.add(&entry.join(" "), &meaning);
                }
            }
        }
        book
    }

    fn find(&self, text: &[Word], own: &Book<Meaning>, inputs: &[RequestInput]) -> Vec<Found<Meaning>> {
        let (mut found, other): (Vec<_>, Vec<_>) =
            mentions(text, inputs).into_iter().partition(|f| refers(text, f.first()) && f.hits.len() == 1);
        let (named, own): (Vec<_>, Vec<_>) = own.candidates(text).into_iter().partition(|f| is_named(text, f.first()));
        let free = |f: &Found<Meaning>| !named.iter().any(|n| n.hits.iter().any(|h| f.hits.contains(h)));
        // A name that is the very word for an ability means the ability: "keywords".
        let whole =
            |f: &Found<Meaning>, general: &[Found<Meaning>]| general.iter().any(|g| g.hits == f.hits && g.meaning.concept().is_some());
        let general = self.book.candidates(text);
        found.extend(own.into_iter().filter(|f| !whole(f, &general)));
        found.extend(general);
        found.extend(other);
        found.retain(free);
        found.extend(named);
        let mut found = resolve(found, text.len());
        drop_accidental(&mut found);
        found
    }

    /// Notes the words no rule knows, and the names of languages.
    fn content(&self, text: &[Word], found: &[Found<Meaning>], reading: &mut Reading) {
        let used: BTreeSet<usize> = found.iter().flat_map(|f| f.hits.iter().copied()).collect();
        let names = LANGUAGE_NAMES.iter().flat_map(|line| line.split_whitespace()).map(plain).collect::<BTreeSet<_>>();
        for (i, word) in text.iter().enumerate() {
            if names.contains(&word.plain) {
                reading.languages.push(word.plain.clone());
            }
            let empty = if word.is_ideograph() { self.is_empty_ideograph(word) } else { self.is_empty(&word.plain) };
            if !used.contains(&i) && !empty {
                reading.content.push(word.plain.clone());
            }
        }
    }

    fn is_empty_ideograph(&self, word: &Word) -> bool {
        word.plain.chars().all(|c| self.ideographs.contains(&c) || matches!(c, '\u{3041}'..='\u{309f}'))
    }

    /// Whether unmarked words in the prompt are the text: sentences that ask nothing, or words beside the request that
    /// no "this letter" explains.
    fn text_in_prompt(&self, text: &[Word], found: &[Found<Meaning>], reading: &Reading) -> TextInPrompt {
        let weight = |from: usize, to: usize| -> usize {
            let used: BTreeSet<usize> = found.iter().flat_map(|f| f.hits.iter().copied()).collect();
            let unexplained = text[from..to].iter().enumerate().filter(|(i, w)| {
                let empty = if w.is_ideograph() { self.is_empty_ideograph(w) } else { self.is_empty(&w.plain) };
                !empty && !used.contains(&(from + i))
            });
            unexplained.count()
        };
        let starts: Vec<usize> = (0..text.len()).filter(|&i| text[i].gap == Gap::Stop).chain([text.len()]).collect();
        for pair in starts.windows(2) {
            let asks = found.iter().any(|f| f.meaning.asks() && f.first() >= pair[0] && f.first() < pair[1]);
            if !asks && weight(pair[0], pair[1]) >= 2 && !reading.asks.is_empty() {
                return TextInPrompt::Certain;
            }
        }
        let points = text.iter().any(|w| POINTING.split_whitespace().any(|p| p == w.plain) || is_pointing(w));
        match weight(0, text.len()) {
            count if count >= 14 => TextInPrompt::Certain,
            count if count >= if points { 4 } else { 1 } => TextInPrompt::Words,
            _ => TextInPrompt::Missing,
        }
    }
}

/// Words that say nothing beyond handing something over.
const SILENT: &str = "this that it here please pls the my a file letter text document attached hello hi bitte hier das dies voila ceci aqui esto ecco questo isto";

/// Words that point at something outside the prompt.
const POINTING: &str = "this these attached attachment my enclosed letter document file diese diesen dieser dieses dies anbei angehangte cette cet ces esta este esto estos adjunto questa questo queste allegato isto isso anexo \
    dit deze bijgevoegd bijlage ta ten tej tego этот это эту этого bu bunu sunu denna detta den bifogade spoken speak speaks official country countries";

fn is_pointing(word: &Word) -> bool {
    matches!(word.plain.as_str(), "这" | "這" | "此" | "本" | "이")
}

/// The inputs a text names, by tag or by file name with or without its ending.
fn mentions(text: &[Word], inputs: &[RequestInput]) -> Vec<Found<Meaning>> {
    let mut book = Book::new([]);
    for (i, input) in inputs.iter().enumerate() {
        let stem = input.file_name.as_deref().map(|f| f.rsplit_once('.').map_or(f, |(stem, _)| stem));
        for name in [Some(input.tag.as_str()), input.file_name.as_deref(), stem].into_iter().flatten() {
            let name: Vec<String> = words(name).into_iter().map(|w| w.plain).collect();
            if name.iter().map(|w| w.chars().count()).sum::<usize>() > 1 {
                book.add(&name.join(" "), &Meaning::Input(i));
            }
        }
    }
    book.candidates(text)
}

/// Drops a conversion or creation whose words merely stand around something else that is asked for: "read the number in
/// the picture" asks for the number, "write a summary of this letter" for a summary.
fn drop_accidental(found: &mut Vec<Found<Meaning>>) {
    let asked: Vec<usize> = found.iter().filter(|f| f.meaning.asks()).map(Found::first).collect();
    found.retain(|f| {
        let loose = f.meaning.concept().is_some_and(|c| c.converts() || c == Concept::Creation);
        !(loose && asked.iter().any(|&at| f.first() < at && at < f.last()))
    });
}

/// Separates what is wanted from what is not; weak phrases go if a strong one stays.
fn wanted(text: &[Word], found: Vec<Found<Meaning>>, reading: &mut Reading) -> Vec<Found<Meaning>> {
    let denied = denied(text, &found);
    let target = |f: &Found<Meaning>| match &f.meaning {
        Meaning::Concept(concept) => Some(Target::Concept(*concept)),
        Meaning::Container(name) => Some(Target::Container(name.clone())),
        _ => None,
    };
    let strong = found.iter().zip(&denied).any(|(f, denied)| f.meaning.asks() && !f.weak && !denied);
    let mut kept = Vec::new();
    for (f, denied) in found.into_iter().zip(denied) {
        match f.meaning.mark() {
            Some(Mark::All) => reading.all = true,
            Some(Mark::AllBut) => reading.all = true,
            Some(Mark::Generic) => reading.generic = true,
            Some(Mark::Each) => reading.each = true,
            _ => {}
        }
        if denied && f.meaning.asks() {
            reading.unwanted.extend(target(&f));
        } else if !(f.weak && strong) {
            kept.push(f);
        }
    }
    kept
}
