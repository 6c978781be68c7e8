//! Tables without lines: aligned columns, two spaces between them, one column that gives way when space is short.

use super::{Style, Tone, WIDTH};
use comfy_table::{Attribute, CellAlignment, Color, ColumnConstraint, ContentArrangement, Row, presets};

/// How a column stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Column {
    /// Text, as wide as its longest cell.
    Left,
    /// Numbers.
    Right,
    /// Text that is cut when the table would be too wide.
    Flexible,
}

/// A cell and its meaning.
pub(crate) struct Cell {
    text: String,
    tone: Option<Tone>,
}

impl Cell {
    /// A cell in a colour.
    pub(crate) fn toned(text: impl AsRef<str>, tone: Tone) -> Self {
        Self { text: super::text::one_line(text.as_ref()), tone: Some(tone) }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: super::text::one_line(text.as_ref()), tone: None }
    }
}

/// A table that grows by rows.
pub(crate) struct Table {
    inner: comfy_table::Table,
    columns: Vec<Column>,
    style: Style,
}

impl Table {
    /// A table with its headings.
    pub(crate) fn new(style: Style, columns: &[(&str, Column)]) -> Self {
        let mut inner = comfy_table::Table::new();
        inner.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
        if style.colour {
            inner.enforce_styling();
        } else {
            inner.force_no_tty();
        }
        inner.set_truncation_indicator("…");
        inner.set_header(columns.iter().map(|(name, _)| comfy_table::Cell::new(name).add_attribute(Attribute::Bold)));
        Self { inner, columns: columns.iter().map(|(_, c)| *c).collect(), style }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: Vec<Cell>) {
        let mut row = Row::from(cells.into_iter().map(comfy_cell).collect::<Vec<_>>());
        row.max_height(1);
        self.inner.add_row(row);
    }

    /// The table as lines, each behind `indent` spaces.
    pub(crate) fn render(mut self, indent: usize) -> String {
        let width = u16::try_from(WIDTH - indent).unwrap_or(u16::MAX);
        // The last column's padding is trimmed away, so it does not count.
        self.inner.set_width(width + 2);
        for (index, kind) in self.columns.iter().enumerate() {
            let Some(column) = self.inner.column_mut(index) else { continue };
            column.set_padding((0, 2));
            match kind {
                Column::Left => column.set_constraint(ColumnConstraint::ContentWidth),
                Column::Right => column.set_constraint(ColumnConstraint::ContentWidth).set_cell_alignment(CellAlignment::Right),
                Column::Flexible => column,
            };
        }
        let mut out = String::new();
        for line in self.inner.lines() {
            out.push_str(&" ".repeat(indent));
            out.push_str(if self.style.colour { &line } else { line.trim_end() });
            out.push('\n');
        }
        out
    }
}

fn comfy_cell(cell: Cell) -> comfy_table::Cell {
    let out = comfy_table::Cell::new(cell.text);
    match cell.tone {
        None => out,
        Some(Tone::Strong) => out.add_attribute(Attribute::Bold),
        Some(Tone::Dim) => out.add_attribute(Attribute::Dim),
        Some(Tone::Good) => out.fg(Color::DarkGreen),
        Some(Tone::Warn) => out.fg(Color::DarkYellow),
        Some(Tone::Bad) => out.fg(Color::DarkRed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::text::width;

    #[test]
    fn the_flexible_column_gives_way() {
        let mut table = Table::new(Style::PLAIN, &[("NAME", Column::Left), ("N", Column::Right), ("TEXT", Column::Flexible)]);
        table.row(vec!["a".into(), "1".into(), "short".into()]);
        table.row(vec!["a longer name".into(), "12345".into(), "words ".repeat(40).into()]);
        let text = table.render(2);
        assert!(text.lines().all(|l| width(l) <= WIDTH), "{text}");
        assert_eq!(text.lines().count(), 3);
        assert!(text.starts_with("  NAME               N  TEXT\n  a                  1  short\n"), "{text}");
        assert!(text.contains('…'));
    }
}
