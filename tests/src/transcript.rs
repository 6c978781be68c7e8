//! Golden transcripts: commands with their whole output in a text file, run against a real fleet and compared.
//!
//! A line that begins with `$ ` is a command; the lines below it are what it writes to standard output, then what it writes
//! to standard error with `! ` before each line, then `[exit N]` where N is not 0. What differs from run to run is replaced
//! before the comparison: ids, times of day, numbers. `OURO_BLESS=1` writes the file anew.

use crate::ouroctl::{Ouroctl, Outcome};
use std::fmt::Write as _;
use std::path::Path;

/// Runs the commands of a transcript and compares what they print.
///
/// `words` are replaced in the commands before they run, and back in the output: (placeholder, value).
///
/// # Panics
/// When the output is another; the whole new transcript is in the message.
pub fn check_transcript(path: &Path, ouroctl: &Ouroctl, words: &[(&str, &str)]) {
    let golden = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut fresh = String::new();
    for line in golden.lines() {
        match line.strip_prefix("$ ") {
            Some(command) => {
                let outcome = ouroctl.run(&split(command, words).iter().map(String::as_str).collect::<Vec<_>>());
                let _ = writeln!(fresh, "$ {command}\n{}", written(&outcome, words));
            }
            None if line.starts_with('#') => {
                let _ = writeln!(fresh, "{line}");
            }
            None => {}
        }
    }
    if std::env::var_os("OURO_BLESS").is_some_and(|v| v == "1") {
        std::fs::write(path, &fresh).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        return;
    }
    let golden = format!("{}\n", golden.trim_end());
    let fresh = format!("{}\n", fresh.trim_end());
    assert!(
        golden == fresh,
        "{} differs from what was printed now; if the new one is right, run the test with OURO_BLESS=1\n{}",
        path.display(),
        difference(&golden, &fresh)
    );
}

/// The command's words after `ouroctl`; quotes hold words together.
fn split(command: &str, words: &[(&str, &str)]) -> Vec<String> {
    let mut parts: Vec<String> = vec![];
    let (mut part, mut open, mut quoted) = (String::new(), false, false);
    for c in command.chars() {
        match c {
            '"' => (open, quoted) = (true, !quoted),
            c if c.is_whitespace() && !quoted => {
                if open {
                    parts.push(std::mem::take(&mut part));
                }
                open = false;
            }
            c => {
                open = true;
                part.push(c);
            }
        }
    }
    if open {
        parts.push(part);
    }
    let filled = |part: String| words.iter().fold(part, |part, (placeholder, value)| part.replace(placeholder, value));
    let mut parts = parts.into_iter().map(filled);
    assert_eq!(parts.next().as_deref(), Some("ouroctl"), "a command of a transcript is ouroctl's: {command}");
    parts.collect()
}

/// What a command wrote, as the transcript has it.
fn written(outcome: &Outcome, words: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for line in outcome.stdout.lines() {
        let _ = writeln!(text, "{}", plain(line, words));
    }
    for line in outcome.stderr.lines() {
        let _ = writeln!(text, "! {}", plain(line, words));
    }
    if outcome.code != Some(0) {
        let _ = writeln!(text, "[exit {}]", outcome.code.map_or_else(|| "by a signal".into(), |c| c.to_string()));
    }
    text
}

/// A line without what differs from run to run.
fn plain(line: &str, words: &[(&str, &str)]) -> String {
    let line = words.iter().fold(line.to_string(), |line, (placeholder, value)| line.replace(value, placeholder));
    let mut tokens: Vec<String> = vec![];
    for token in line.split_whitespace() {
        // A slow moment turns `980 ms` into `1.02 s`.
        match tokens.last_mut() {
            Some(last) if last == "N" && ["ms", "s", "min"].contains(&token) => *last = "TIME".into(),
            _ => tokens.push(masked(token)),
        }
    }
    // Columns are as wide as their numbers, so blanks within a line count as one, and before a number as none.
    let indent = line.len() - line.trim_start().len();
    let numeric = tokens.first().is_some_and(|t| t.starts_with(['N', '+', '<']));
    format!("{}{}", " ".repeat(if numeric { 0 } else { indent }), tokens.join(" "))
}

/// `12.5` → `N`, `03:14:15` → `TIME`, `2026-11-21T03:14:15Z` → `MOMENT`, ids → `ID`. Digits within a word, like those of `UTF-8`, are part of the promise.
fn masked(token: &str) -> String {
    let bare = token.trim_matches(|c: char| !c.is_alphanumeric());
    let hexadecimal = bare.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    if bare.len() >= 8 && hexadecimal && bare.chars().any(|c| c.is_ascii_digit()) {
        return token.replace(bare, "ID");
    }
    if bare.len() == 8 && bare.split(':').count() == 3 && bare.chars().all(|c| c.is_ascii_digit() || c == ':') {
        return token.replace(bare, "TIME");
    }
    if bare.len() == 20 && bare.ends_with('Z') && bare.as_bytes()[10] == b'T' {
        return token.replace(bare, "MOMENT");
    }
    if !bare.starts_with(|c: char| c.is_ascii_digit()) || token.contains(':') {
        return token.to_string();
    }
    let (mut out, mut in_number) = (String::new(), false);
    for c in token.trim_start_matches('<').chars() {
        let digit = c.is_ascii_digit() || (in_number && c == '.');
        if digit && !in_number {
            out.push('N');
        } else if !digit {
            out.push(c);
        }
        in_number = digit;
    }
    out
}

/// The lines that differ, each side marked.
fn difference(golden: &str, fresh: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (golden.lines().collect(), fresh.lines().collect());
    let same = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let context = same.saturating_sub(3);
    let show = |mark: &str, lines: &[&str]| lines.iter().skip(context).take(30).map(|l| format!("{mark}{l}\n")).collect::<String>();
    format!("from line {}:\n{}{}", same + 1, show("- ", &old), show("+ ", &new))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_split_and_lines_are_freed_of_what_changes() {
        let words = [("DOC", "/tmp/x/letter.txt")];
        let parts = split("ouroctl submit \"What is  this?\" --file text=DOC \"\"", &words);
        assert_eq!(parts, ["submit", "What is  this?", "--file", "text=/tmp/x/letter.txt", ""]);
        assert_eq!(plain("  request 0198b5d2-7a0c-7d3e  12.5 ms   /tmp/x/letter.txt", &words), "  request ID TIME DOC");
        assert_eq!(plain("langid:1.0.0 is UTF-8  (3/4) at 03:14:15", &words), "langid:1.0.0 is UTF-8 (N/N) at TIME");
        assert_eq!(plain("2026-11-21T05:21:26Z  lost", &words), "MOMENT lost");
        assert_eq!(plain("     +12 ms  <0.001 127.0.0.1:7443 [OB0022 X]", &words), "+N ms N 127.0.0.1:7443 [OB0022 X]");
    }

    #[test]
    fn a_difference_shows_both_sides() {
        assert_eq!(difference("a\nb\n", "a\nc\n"), "from line 2:\n- a\n- b\n+ a\n+ c\n");
    }
}
