//! Lines of a report: a name, a text wrapped under its own beginning, and at the right edge where it was read.

/// The terminal's width that everything must fit.
const WIDTH: usize = 100;
/// Where the text of a line begins again after wrapping.
const INDENT: usize = 16;
/// Where the text ends, and two columns later the source begins: room for a PCI device's place in sysfs.
const TEXT_END: usize = 66;

/// Lines of text, none wider than a hundred columns.
#[derive(Default)]
pub(super) struct Page(String);

impl Page {
    /// A new section.
    pub(super) fn section(&mut self, title: &str) {
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        self.cut(title);
    }

    /// A name, its text, and where that was read; a source too long for the space beside the text stands below it.
    pub(super) fn line(&mut self, name: &str, text: &str, source: &str) {
        let mut lines = Vec::new();
        let mut line = format!("  {name:<14}");
        for word in text.split(' ') {
            if line.chars().count() + 1 + word.chars().count() > TEXT_END {
                lines.push(std::mem::replace(&mut line, " ".repeat(INDENT)));
            }
            line.push(' ');
            line.push_str(word);
        }
        lines.push(line);
        let source = source.trim_start_matches('/');
        let fits = source.chars().count() <= WIDTH - TEXT_END - 2;
        for (number, line) in lines.iter().enumerate() {
            if number == 0 && fits && !source.is_empty() {
                let fill = TEXT_END.saturating_sub(line.chars().count());
                self.cut(&format!("{line}{}  {source}", " ".repeat(fill)));
            } else {
                self.cut(line);
            }
        }
        if !fits {
            self.cut(&format!("{} {source}", " ".repeat(INDENT)));
        }
    }

    /// One line; what no wrapping can save is cut.
    pub(super) fn cut(&mut self, line: &str) {
        let line = line.trim_end();
        if line.chars().count() > WIDTH {
            self.0.extend(line.chars().take(WIDTH - 1));
            self.0.push('…');
        } else {
            self.0.push_str(line);
        }
        self.0.push('\n');
    }

    pub(super) fn into_text(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_wraps_under_itself_and_its_source_stands_at_the_right() {
        let mut page = Page::default();
        page.section("Memory");
        page.line("total", "15.6 GiB", "/a/b/meminfo");
        page.line("why", &"word ".repeat(14), "/x");
        page.line("far", "away", &format!("/s/{}", "x".repeat(40)));
        page.line("cut", &"é".repeat(120), "");
        let text = page.into_text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], format!("  total          15.6 GiB{}a/b/meminfo", " ".repeat(68 - 25)));
        assert!(lines[2].ends_with("  x") && lines[3].starts_with("                 word"), "{text}");
        let far = format!("{}s/{}", " ".repeat(INDENT + 1), "x".repeat(40));
        assert!(lines.contains(&"  far            away") && lines.contains(&far.as_str()), "{text}");
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH));
    }
}
