//! Text from elsewhere, made fit for a screen: no control characters, a known width, broken between words.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Characters that steer a terminal or reorder what it shows (Unicode Standard Annex #9, explicit formatting).
fn steers(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

/// `text` on one line: line breaks and tabs are spaces, other control characters are shown as �.
pub(crate) fn one_line(text: &str) -> String {
    let clean: String = text
        .chars()
        .map(|c| {
            if c.is_whitespace() {
                ' '
            } else if steers(c) {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect();
    clean.split(' ').filter(|w| !w.is_empty()).collect::<Vec<_>>().join(" ")
}

/// `text` for a terminal: line breaks and tabs stay, other control characters are shown as �.
pub(crate) fn for_terminal(text: &str) -> String {
    text.chars().map(|c| if steers(c) && !matches!(c, '\n' | '\t') { '\u{fffd}' } else { c }).collect()
}

/// The columns `text` takes.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// `text` on one line of at most `columns`, with … where it was cut.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    let line = one_line(text);
    cut_line(&line, columns)
}

/// A line that is laid out already, of at most `columns`, with … where it was cut.
pub(crate) fn cut_line(line: &str, columns: usize) -> String {
    if width(line) <= columns {
        return line.to_string();
    }
    let mut out = String::new();
    for c in line.chars() {
        if width(&out) + c.width().unwrap_or(0) + 1 > columns {
            break;
        }
        out.push(c);
    }
    format!("{}…", out.trim_end())
}

/// `text` in lines of at most `columns`, broken between words; a longer word is broken where it must be.
pub(crate) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(8);
    let mut lines = Vec::new();
    for paragraph in text.split('\n') {
        let mut line = String::new();
        for word in one_line(paragraph).split(' ') {
            if !line.is_empty() && width(&line) + 1 + width(word) > columns {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            for c in word.chars() {
                if width(&line) + c.width().unwrap_or(0) > columns {
                    lines.push(std::mem::take(&mut line));
                }
                line.push(c);
            }
        }
        lines.push(line);
    }
    lines
}

/// `text` filled with spaces up to `columns`.
pub(crate) fn pad(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_the_terminal() {
        let hostile = "a\x1b[2Jb\u{9b}31m\u{202e}c\r\nd\te";
        assert_eq!(one_line(hostile), "a�[2Jb�31m�c d e");
        assert_eq!(for_terminal("a\x1b]0;x\x07\nb\t"), "a�]0;x�\nb\t");
    }

    #[test]
    fn lines_keep_within_their_width_by_columns_not_bytes() {
        assert_eq!(cut("größer als das", 8), "größer…");
        assert_eq!(cut("漢字漢字", 5), "漢字…");
        assert_eq!(cut("ok", 2), "ok");
        for line in wrap(&format!("some words and one {} that is long\n漢字漢字漢字漢字漢字", "x".repeat(50)), 20) {
            assert!(width(&line) <= 20, "{line:?}");
        }
        assert_eq!(wrap("a b\n\nc", 20), ["a b", "", "c"]);
    }
}
