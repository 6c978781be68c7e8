//! Where the request ends and the text it is about begins, when both stand in the prompt.
//!
//! Only what is clearly marked is cut off: quotation marks, a colon, a line of its own. A request that says nothing
//! without the part in question keeps it.

/// How much a piece of text says as a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Says {
    /// Nothing.
    Nothing,
    /// Something general ("analyse").
    Generic,
    /// Something definite.
    Ask,
}

/// A prompt, parted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parted {
    /// What is asked.
    pub(crate) request: String,
    /// Whether a text to work on was cut off.
    pub(crate) has_text: bool,
}

/// The most characters of a prompt that are read as a request: from its beginning, and from its end.
const HEAD: usize = 2_000;
const TAIL: usize = 600;

/// Parts `prompt`; `attached` tells whether there is anything else to work on.
pub(crate) fn part(prompt: &str, attached: bool, says: &dyn Fn(&str) -> Says) -> Parted {
    let (prompt, shortened) = shorten(prompt);
    let (outside, quoted) = without_quotes(&prompt);
    let mut parted = Parted { request: prompt.clone(), has_text: shortened };
    if quoted && says(&outside) > Says::Nothing {
        parted = Parted { request: outside, has_text: true };
    }
    if attached {
        return parted;
    }
    if let Some(request) = before_colon(&parted.request, says).or_else(|| line_of_its_own(&parted.request, says)) {
        parted = Parted { request, has_text: true };
    }
    parted
}

fn shorten(prompt: &str) -> (String, bool) {
    let count = prompt.chars().take(HEAD + TAIL + 1).count();
    if count <= HEAD + TAIL {
        return (prompt.to_string(), false);
    }
    let head: String = prompt.chars().take(HEAD).collect();
    let mut tail: Vec<char> = prompt.chars().rev().take(TAIL).collect();
    tail.reverse();
    (format!("{head}\n{}", tail.into_iter().collect::<String>()), true)
}

/// The text without what stands in quotation marks, and whether anything did.
fn without_quotes(text: &str) -> (String, bool) {
    const PAIRS: [(char, &[char]); 8] = [
        ('"', &['"']),
        ('“', &['”', '“', '"']),
        ('„', &['“', '”', '"']),
        ('«', &['»']),
        ('»', &['«']),
        ('「', &['」']),
        ('『', &['』']),
        ('\'', &['\'']),
    ];
    let chars: Vec<char> = text.chars().collect();
    let (mut out, mut found, mut i) = (String::new(), false, 0);
    while i < chars.len() {
        let pair = PAIRS.iter().find(|(open, _)| *open == chars[i]);
        let end = pair.and_then(|(open, close)| closing(&chars, i, *open, close));
        match end {
            Some(end) => {
                found |= chars[i + 1..end].iter().any(|c| c.is_alphanumeric());
                out.push_str(" \" ");
                i = end + 1;
            }
            None => {
                out.push(chars[i]);
                i += 1;
            }
        }
    }
    (out, found)
}

/// Where a quotation that opens at `i` closes. Single quotes must stand like quotes, not like apostrophes.
fn closing(chars: &[char], i: usize, open: char, close: &[char]) -> Option<usize> {
    let apostrophe = open == '\'';
    if apostrophe && i > 0 && chars[i - 1].is_alphanumeric() {
        return None;
    }
    (i + 1..chars.len()).find(|&k| close.contains(&chars[k]) && (!apostrophe || !chars.get(k + 1).is_some_and(|c| c.is_alphanumeric())))
}

fn before_colon(text: &str, says: &dyn Fn(&str) -> Says) -> Option<String> {
    for (at, c) in text.char_indices().filter(|(_, c)| matches!(c, ':' | '：')).take(4) {
        let (before, after) = (&text[..at], &text[at + c.len_utf8()..]);
        let stands_free = c == '：' || after.starts_with(char::is_whitespace);
        if !stands_free || !after.chars().any(char::is_alphanumeric) {
            continue;
        }
        match says(before) {
            Says::Ask => return Some(before.to_string()),
            Says::Generic if says(after) < Says::Ask => return Some(before.to_string()),
            _ => {}
        }
    }
    None
}

/// The first or the last line, if it is the request and the other lines are not.
fn line_of_its_own(text: &str, says: &dyn Fn(&str) -> Says) -> Option<String> {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    let (first, last) = (lines.first()?, lines.last()?);
    if lines.len() < 2 {
        return None;
    }
    let is_list = |lines: &[&str]| lines.iter().all(|l| says(l) == Says::Ask && l.split_whitespace().count() <= 8);
    if says(first) > Says::Nothing && !is_list(&lines[1..]) {
        return Some((*first).to_string());
    }
    if says(last) == Says::Ask && says(first) < Says::Ask {
        return Some((*last).to_string());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parted(prompt: &str) -> (String, bool) {
        let says = |t: &str| if t.contains("language") { Says::Ask } else { Says::Nothing };
        let parted = part(prompt, false, &says);
        (parted.request.split_whitespace().collect::<Vec<_>>().join(" "), parted.has_text)
    }

    #[test]
    fn marked_texts_are_cut_off() {
        assert_eq!(parted("What language is this: Guten Morgen"), ("What language is this".into(), true));
        assert_eq!(parted("What language is 'l'été'?"), ("What language is \" ?".into(), true));
        assert_eq!(parted("Bonjour tout le monde\nWhich language?"), ("Which language?".into(), true));
        assert_eq!(parted("which language\nBonjour tout le monde"), ("which language".into(), true));
        assert_eq!(parted("Do this: the language"), ("Do this: the language".into(), false));
        assert_eq!(parted("what's the language"), ("what's the language".into(), false));
    }

    #[test]
    fn long_prompts_are_read_from_both_ends() {
        let long = format!("which language\n{}", "bla ".repeat(5_000));
        assert_eq!(parted(&long), ("which language".into(), true));
    }
}
