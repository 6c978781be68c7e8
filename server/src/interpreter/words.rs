//! Text into words: lower case, without accents, apostrophes resolved, one token for each ideograph.
//!
//! Scripts without spaces become one token a character, so that one matcher of token sequences serves every language.

/// What separates a word from the one before it; the strongest wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Gap {
    /// A space, or nothing between two ideographs.
    Space,
    /// A comma.
    Comma,
    /// A colon, a dash, a bracket or a quotation mark.
    Break,
    /// The end of a sentence or a line.
    Stop,
}

/// A word with the place it was found at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word {
    /// Lower case, as written.
    pub(crate) raw: String,
    /// Lower case, without accents.
    pub(crate) plain: String,
    /// What stands before it.
    pub(crate) gap: Gap,
    /// Byte offset of its first character in the prompt.
    pub(crate) at: usize,
}

impl Word {
    /// Whether it is one character of a script written without spaces.
    pub(crate) fn is_ideograph(&self) -> bool {
        self.plain.chars().next().is_some_and(is_unspaced)
    }
}

/// What may stand before an apostrophe as a word of its own (l'humeur, dell'umore).
const ELISIONS: &[&str] = &[
    "l", "d", "j", "n", "s", "m", "t", "c", "qu", "dell", "nell", "sull", "all", "un", "quest", "quell", "jusqu", "lorsqu", "puisqu",
];

/// Splits `text` into words; byte offsets are relative to `text`.
pub(crate) fn words(text: &str) -> Vec<Word> {
    let mut splitter = Splitter::default();
    let mut chars = text.char_indices().peekable();
    let mut before = ' ';
    while let Some((at, c)) = chars.next() {
        let after = chars.peek().map_or(' ', |(_, c)| *c);
        splitter.take(at, c, before, after);
        before = c;
    }
    splitter.end_word();
    splitter.words
}

/// The plain form of a text: for comparing names and lexicon entries.
pub(crate) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    text.chars().flat_map(char::to_lowercase).for_each(|c| push_plain(c, &mut out));
    out
}

struct Splitter {
    words: Vec<Word>,
    raw: String,
    start: usize,
    gap: Gap,
}

impl Default for Splitter {
    fn default() -> Self {
        Self { words: Vec::new(), raw: String::new(), start: 0, gap: Gap::Stop }
    }
}

impl Splitter {
    fn take(&mut self, at: usize, c: char, before: char, after: char) {
        let c = narrow(c);
        if is_unspaced(c) || is_pictograph(c) {
            self.end_word();
            self.start = at;
            self.raw.push(c);
            self.end_word();
        } else if c.is_alphanumeric() || is_mark(c) {
            if self.raw.is_empty() {
                self.start = at;
            }
            self.raw.extend(c.to_lowercase());
        } else if is_apostrophe(c) && before.is_alphanumeric() && after.is_alphanumeric() {
            if after.is_alphabetic() && ELISIONS.contains(&self.raw.as_str()) {
                self.end_word();
            }
        } else if matches!(c, ';' | ':' | '/' | '-' | '.') && after.eq_ignore_ascii_case(&'d') && self.raw == "tl" {
            // "tl;dr" is one word whatever people put into it.
        } else if !(c == '.' && before.is_ascii_digit() && after.is_ascii_digit()) {
            self.end_word();
            self.gap = self.gap.max(gap_of(c, before, after));
        }
    }

    fn end_word(&mut self) {
        if self.raw.is_empty() {
            return;
        }
        let raw = std::mem::take(&mut self.raw);
        let plain = plain(&raw);
        if !plain.is_empty() {
            self.words.push(Word { raw, plain, gap: self.gap, at: self.start });
            self.gap = Gap::Space;
        }
    }
}

fn gap_of(c: char, before: char, after: char) -> Gap {
    match c {
        '\n' | '\r' | '!' | '?' | ';' | '。' | '؟' | '।' | '…' => Gap::Stop,
        // A dot inside a file name or a number ends no sentence.
        '.' if !after.is_alphanumeric() || before == ' ' => Gap::Stop,
        ',' | '、' | '،' => Gap::Comma,
        '-' | '/' | '_' | '.' | '@' | '#' if before.is_alphanumeric() && after.is_alphanumeric() => Gap::Space,
        ':' | '-' | '–' | '—' | '(' | ')' | '[' | ']' | '>' | '|' => Gap::Break,
        '"' | '“' | '”' | '„' | '«' | '»' | '「' | '」' | '『' | '』' => Gap::Break,
        _ => Gap::Space,
    }
}

fn is_apostrophe(c: char) -> bool {
    matches!(c, '\'' | '’' | 'ʼ' | '`' | '´' | '‘')
}

/// Full-width forms to their ordinary ones.
fn narrow(c: char) -> char {
    match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(c as u32 - 0xfee0).unwrap_or(c),
        '\u{3000}' => ' ',
        _ => c,
    }
}

/// Scripts written without spaces, and Hangul, whose particles stick to the words.
fn is_unspaced(c: char) -> bool {
    matches!(c, '\u{e01}'..='\u{e5b}' | '\u{3005}'..='\u{3007}' | '\u{3041}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}' | '\u{20000}'..='\u{2ffff}')
}

fn is_pictograph(c: char) -> bool {
    matches!(c, '\u{1f300}'..='\u{1faff}')
}

fn is_mark(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}')
}

fn push_plain(c: char, out: &mut String) {
    let text = match c {
        'à' | 'á' | 'â' | 'ã' | 'ä' | 'å' | 'ā' | 'ă' | 'ą' => "a",
        'ç' | 'ć' | 'č' => "c",
        'ď' | 'đ' | 'ð' => "d",
        'è' | 'é' | 'ê' | 'ë' | 'ē' | 'ė' | 'ę' | 'ě' => "e",
        'ğ' => "g",
        'ì' | 'í' | 'î' | 'ï' | 'ī' | 'ı' => "i",
        'ł' => "l",
        'ñ' | 'ń' | 'ň' => "n",
        'ò' | 'ó' | 'ô' | 'õ' | 'ö' | 'ø' | 'ő' => "o",
        'ř' => "r",
        'ś' | 'š' | 'ş' | 'ș' => "s",
        'ť' | 'ţ' | 'ț' => "t",
        'ù' | 'ú' | 'û' | 'ü' | 'ū' | 'ů' | 'ű' => "u",
        'ý' | 'ÿ' => "y",
        'ź' | 'ż' | 'ž' => "z",
        'ß' => "ss",
        'æ' => "ae",
        'œ' => "oe",
        'ё' => "е",
        c if is_mark(c) => "",
        c => return out.push(c),
    };
    out.push_str(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plains(text: &str) -> Vec<String> {
        words(text).into_iter().map(|w| w.plain).collect()
    }

    #[test]
    fn apostrophes_accents_and_scripts() {
        assert_eq!(plains("What's the TL;DR?"), ["whats", "the", "tldr"]);
        assert_eq!(plains("don’t l’humeur dell'umore"), ["dont", "l", "humeur", "dell", "umore"]);
        assert_eq!(plains("Überprüfe Größe, İyi ışık"), ["uberprufe", "grosse", "iyi", "isik"]);
        assert_eq!(plains("什么语言?"), ["什", "么", "语", "言"]);
        assert_eq!(plains("ＣＳＶ csv-stats 3.5"), ["csv", "csv", "stats", "35"]);
    }

    #[test]
    fn gaps_tell_sentences_from_file_names() {
        let gaps: Vec<Gap> = words("Read letter.txt. Now, go").into_iter().map(|w| w.gap).collect();
        assert_eq!(gaps, [Gap::Stop, Gap::Space, Gap::Space, Gap::Stop, Gap::Comma]);
    }
}
