//! Just enough of Rust's lexical grammar to tell code, literals and comments apart.
//!
//! A rule about code must not be tripped by a sentence in a comment or a string in a test, and a rule about literals
//! must not miss a raw one. Nested comments, raw strings, byte and C strings, characters and lifetimes are told apart
//! as in the Rust reference, chapter "Tokens".

/// A Rust source, told apart.
#[derive(Debug, Clone, Default)]
pub struct Rust {
    /// The code, line by line, with literals' contents and comments blanked out.
    pub code: Vec<String>,
    /// The comments, line by line, all else left out.
    pub comments: Vec<String>,
    /// The string literals: the line each begins on, from 1, and its content as written.
    pub literals: Vec<(usize, String)>,
}

impl Rust {
    /// Tells a source apart; anything is accepted, the compiler is the judge of what is Rust.
    pub fn read(source: &str) -> Self {
        let mut reader = Reader { rest: source, out: Self::default(), code: String::new(), comments: String::new() };
        while let Some(c) = reader.rest.chars().next() {
            reader.token(c);
        }
        reader.line_end();
        reader.out
    }

    /// The lines of code that contain `word` as a whole word, and the code from it to the line's end.
    pub fn words<'a>(&'a self, word: &'a str) -> impl Iterator<Item = (usize, &'a str)> {
        self.code
            .iter()
            .enumerate()
            .flat_map(move |(i, line)| find_words(line, word).map(move |at| (i + 1, &line[at..])))
    }
}

/// Where `word` stands in `text` with no identifier character directly before or after it.
pub(crate) fn find_words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let joins = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let ends_open = !joins(word.chars().last());
    text.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |&at| !joins(text[..at].chars().last()) && (ends_open || !joins(text[at + word.len()..].chars().next())))
}

struct Reader<'a> {
    rest: &'a str,
    out: Rust,
    code: String,
    comments: String,
}

impl Reader<'_> {
    fn token(&mut self, c: char) {
        let after_word = self.code.ends_with(|p: char| p.is_alphanumeric() || p == '_');
        if self.rest.starts_with("//") {
            let length = self.rest.find('\n').unwrap_or(self.rest.len());
            self.comment(length);
        } else if self.rest.starts_with("/*") {
            let length = block_comment_length(self.rest);
            self.comment(length);
        } else if let Some((prefix, hashes)) = raw_string_start(self.rest).filter(|_| !after_word) {
            let closing = format!("\"{}", "#".repeat(hashes));
            let body = &self.rest[prefix..];
            let length = body.find(&closing).unwrap_or(body.len());
            self.literal(prefix, length, (prefix + length + closing.len()).min(self.rest.len()));
        } else if c == '"' {
            let length = quoted_length(&self.rest[1..]);
            self.literal(1, length, (length + 2).min(self.rest.len()));
        } else if let Some(length) = character_length(self.rest) {
            self.code.push_str("' '");
            self.rest = &self.rest[length..];
        } else {
            if c == '\n' {
                self.line_end()
            } else {
                self.code.push(c)
            }
            self.rest = &self.rest[c.len_utf8()..];
        }
    }

    fn line_end(&mut self) {
        self.out.code.push(std::mem::take(&mut self.code));
        self.out.comments.push(std::mem::take(&mut self.comments));
    }

    fn comment(&mut self, length: usize) {
        let (text, rest) = self.rest.split_at(length);
        for (i, line) in text.split('\n').enumerate() {
            if i > 0 {
                self.line_end();
            }
            self.comments.push_str(line);
        }
        self.rest = rest;
    }

    fn literal(&mut self, prefix: usize, length: usize, whole: usize) {
        let content = &self.rest[prefix..prefix + length];
        self.out.literals.push((self.out.code.len() + 1, content.to_string()));
        self.code.push('"');
        for _ in content.matches('\n') {
            self.line_end();
        }
        self.code.push('"');
        self.rest = &self.rest[whole..];
    }
}

/// The length of a block comment, which may hold others.
fn block_comment_length(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// For a raw string: the bytes up to its content, and how many `#` close it.
fn raw_string_start(text: &str) -> Option<(usize, usize)> {
    let marks = ["br", "cr", "r"].into_iter().find(|p| text.starts_with(p))?.len();
    let hashes = text[marks..].bytes().take_while(|b| *b == b'#').count();
    text[marks + hashes..].starts_with('"').then_some((marks + hashes + 1, hashes))
}

/// The length of a quoted string's content, up to the quote that ends it.
fn quoted_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            '"' if !escaped => return at,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

/// The length of a character literal; `None` for a lifetime and for everything else.
fn character_length(text: &str) -> Option<usize> {
    let inner = text.strip_prefix('\'')?;
    if let Some(escape) = inner.strip_prefix('\\') {
        let first = escape.chars().next()?.len_utf8();
        return escape[first..].find('\'').map(|end| 1 + 1 + first + end + 1);
    }
    let first = inner.chars().next()?.len_utf8();
    inner[first..].starts_with('\'').then_some(1 + first + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_literals_and_comments_are_told_apart() {
        let rust =
            Rust::read("let a = \"x \\\" // y\"; // dbg!\nlet c = '\"'; /* a /* b */ \"no\" */ let d: &'static str = r#\"raw \"q\" \"#;\n");
        assert_eq!(rust.code, ["let a = \"\"; ", "let c = ' ';  let d: &'static str = \"\";", ""]);
        assert_eq!(rust.literals, [(1, "x \\\" // y".to_string()), (2, "raw \"q\" ".to_string())]);
        assert_eq!(rust.comments[0], "// dbg!");
    }

    #[test]
    fn lines_are_counted_through_literals_and_comments() {
        let rust = Rust::read("/* 1\n2 */ a(b\"3\n4\", '\\'');\nlast");
        assert_eq!(rust.words("last").map(|(line, _)| line).collect::<Vec<_>>(), [4]);
        assert_eq!(rust.literals, [(2, "3\n4".to_string())]);
    }

    #[test]
    fn words_are_whole() {
        let rust = Rust::read("sort::by(); ort::init(); my_ort::x();");
        assert_eq!(rust.words("ort::").map(|(_, rest)| rest).collect::<Vec<_>>(), ["ort::init(); my_ort::x();"]);
        assert_eq!(find_words("async asynchronous", "async").collect::<Vec<_>>(), [0]);
    }
}
