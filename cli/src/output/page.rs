//! A page of headings and indented lines, wrapped to the width.

use super::{Style, Tone, WIDTH, text};

/// Text that grows line by line.
pub(crate) struct Page {
    style: Style,
    out: String,
}

impl Page {
    /// An empty page.
    pub(crate) fn new(style: Style) -> Self {
        Self { style, out: String::new() }
    }

    /// How it may be coloured.
    pub(crate) fn style(&self) -> Style {
        self.style
    }

    /// A heading with what belongs beside it, after an empty line unless it is the first.
    pub(crate) fn heading(&mut self, title: &str, beside: &str) {
        if !self.out.is_empty() {
            self.out.push('\n');
        }
        let room = WIDTH.saturating_sub(text::width(title) + 2);
        let mut lines = text::wrap(beside, room).into_iter();
        let first = lines.next().unwrap_or_default();
        self.out.push_str(&self.style.paint(Tone::Strong, title));
        if !first.is_empty() {
            self.out.push_str("  ");
            self.out.push_str(&first);
        }
        self.out.push('\n');
        for line in lines {
            self.push_line(text::width(title) + 2, &line, None);
        }
    }

    /// Wrapped text behind `indent` spaces.
    pub(crate) fn text(&mut self, indent: usize, content: &str) {
        self.toned(indent, content, None);
    }

    /// Wrapped text in a colour.
    pub(crate) fn toned(&mut self, indent: usize, content: &str, tone: Option<Tone>) {
        for line in text::wrap(content, WIDTH - indent) {
            self.push_line(indent, &line, tone);
        }
    }

    /// A label in a column of its own, and wrapped text beside it.
    pub(crate) fn item(&mut self, indent: usize, label: &str, content: &str) {
        self.toned_item(indent, label, content, None);
    }

    /// The same in a colour.
    pub(crate) fn toned_item(&mut self, indent: usize, label: &str, content: &str, tone: Option<Tone>) {
        let column = indent + 12.max(text::width(label) + 2);
        for (index, line) in text::wrap(content, WIDTH - column).into_iter().enumerate() {
            let head = if index == 0 { text::pad(&format!("{}{label}", " ".repeat(indent)), column) } else { " ".repeat(column) };
            self.out.push_str(&self.style.paint(Tone::Dim, &head));
            let line = tone.map_or(line.clone(), |t| self.style.paint(t, &line));
            self.out.push_str(line.trim_end());
            self.out.push('\n');
        }
    }

    /// A block that is laid out already.
    pub(crate) fn block(&mut self, block: &str) {
        self.out.push_str(block);
    }

    /// The whole page.
    pub(crate) fn finish(self) -> String {
        self.out
    }

    fn push_line(&mut self, indent: usize, line: &str, tone: Option<Tone>) {
        if !line.is_empty() {
            self.out.push_str(&" ".repeat(indent));
            self.out.push_str(&tone.map_or(line.to_string(), |t| self.style.paint(t, line)));
        }
        self.out.push('\n');
    }
}
