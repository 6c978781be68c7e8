//! What people ask for, in the words of many languages.
//!
//! A concept is an ability, not a container: containers are matched to concepts by what they say about themselves.
//! Concepts without a container matter too: who asks for a translation must hear that there is none.

mod abilities;
mod analysis;
mod languages;
mod numbers;

pub(crate) use languages::{CODES as LANGUAGE_CODES, NAMES as LANGUAGE_NAMES};

/// An ability that people ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Concept {
    /// In which language something is written.
    Language,
    /// Mood, tone, positive or negative.
    Sentiment,
    /// The main points in short.
    Summary,
    /// Key phrases, topics, tags.
    Keywords,
    /// A digit in an image.
    Digit,
    /// Statistics of a table.
    Table,
    /// Another language.
    Translation,
    /// The text in an image.
    Ocr,
    /// The text in a recording.
    Transcript,
    /// What an image shows.
    Caption,
    /// Spelling and grammar.
    Correction,
    /// Names of people and places in a text.
    Entities,
    /// Something new: a poem, a letter, a program.
    Creation,
}

impl Concept {
    /// Every concept.
    pub(crate) const ALL: [Self; 13] = [
        Self::Language,
        Self::Sentiment,
        Self::Summary,
        Self::Keywords,
        Self::Digit,
        Self::Table,
        Self::Translation,
        Self::Ocr,
        Self::Transcript,
        Self::Caption,
        Self::Correction,
        Self::Entities,
        Self::Creation,
    ];

    /// Its name for people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Language => "telling the language",
            Self::Sentiment => "telling the mood",
            Self::Summary => "a summary",
            Self::Keywords => "key phrases",
            Self::Digit => "recognising a digit",
            Self::Table => "statistics of a table",
            Self::Translation => "a translation",
            Self::Ocr => "reading text in an image",
            Self::Transcript => "writing down speech",
            Self::Caption => "describing an image",
            Self::Correction => "correcting a text",
            Self::Entities => "finding names",
            Self::Creation => "writing something new",
        }
    }

    /// The tag of its result, where the container's port has no telling name.
    pub(crate) fn tag(self) -> &'static str {
        match self {
            Self::Language => "language",
            Self::Sentiment => "sentiment",
            Self::Summary => "summary",
            Self::Keywords => "keywords",
            Self::Digit => "digit",
            Self::Table => "statistics",
            Self::Translation => "translation",
            Self::Ocr => "read",
            Self::Transcript => "transcript",
            Self::Caption => "description",
            Self::Correction => "corrected",
            Self::Entities => "names",
            Self::Creation => "written",
        }
    }

    /// Whether its result is the input in another form, so that later steps may read it instead.
    pub(crate) fn converts(self) -> bool {
        matches!(self, Self::Translation | Self::Ocr | Self::Transcript | Self::Correction | Self::Caption)
    }

    /// Whether its result says something of the input that cannot stand for it.
    pub(crate) fn analyses(self) -> bool {
        !self.converts() && self != Self::Creation
    }

    /// Its phrases, each line a language, in the notation of [`super::phrases`].
    pub(crate) fn phrases(self) -> &'static [&'static str] {
        match self {
            Self::Language => languages::LANGUAGE,
            Self::Sentiment => analysis::SENTIMENT,
            Self::Summary => analysis::SUMMARY,
            Self::Keywords => analysis::KEYWORDS,
            Self::Digit => numbers::DIGIT,
            Self::Table => numbers::TABLE,
            Self::Translation => abilities::TRANSLATION,
            Self::Ocr => abilities::OCR,
            Self::Transcript => abilities::TRANSCRIPT,
            Self::Caption => abilities::CAPTION,
            Self::Correction => abilities::CORRECTION,
            Self::Entities => abilities::ENTITIES,
            Self::Creation => abilities::CREATION,
        }
    }
}
