//! Tables without lines: aligned columns, two spaces between them, one column that gives way when space is short.

use super::{Style, Tone, WIDTH, text};
use comfy_table::{Attribute, CellAlignment, Color, ContentArrangement, presets};

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
        Self { text: text::one_line(text.as_ref()), tone: Some(tone) }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text::one_line(text.as_ref()), tone: None }
    }
}

/// A table that grows by rows.
pub(crate) struct Table {
    style: Style,
    columns: Vec<(&'static str, Column)>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table with its headings.
    pub(crate) fn new(style: Style, columns: &[(&'static str, Column)]) -> Self {
        Self { style, columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// The table as lines, each behind `indent` spaces.
    pub(crate) fn render(mut self, indent: usize) -> String {
        self.make_room(WIDTH - indent);
        let mut inner = comfy_table::Table::new();
        inner.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        if self.style.colour {
            inner.enforce_styling();
        } else {
            inner.force_no_tty();
        }
        inner.set_header(self.columns.iter().map(|(name, _)| comfy_table::Cell::new(name).add_attribute(Attribute::Bold)));
        inner.add_rows(self.rows.into_iter().map(|row| row.into_iter().map(comfy_cell).collect::<Vec<_>>()));
        for (column, (_, kind)) in inner.column_iter_mut().zip(&self.columns) {
            column.set_padding((0, 2));
            if *kind == Column::Right {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        inner.lines().map(|line| format!("{}{}\n", " ".repeat(indent), line.trim_end())).collect()
    }

    /// Cuts the cells of the flexible column to what the others leave.
    fn make_room(&mut self, columns: usize) {
        let widest = |index: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(index)).map(|cell| text::width(&cell.text));
            cells.chain([text::width(self.columns[index].0)]).max().unwrap_or(0)
        };
        let Some(flexible) = self.columns.iter().position(|(_, kind)| *kind == Column::Flexible) else {
            return;
        };
        let others: usize = (0..self.columns.len()).filter(|i| *i != flexible).map(|i| widest(i) + 2).sum();
        let room = columns.saturating_sub(others).max(4);
        for cell in self.rows.iter_mut().filter_map(|row| row.get_mut(flexible)) {
            cell.text = text::cut_line(&cell.text, room);
        }
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
        assert!(text.lines().all(|l| width(l) <= WIDTH) && text.lines().any(|l| width(l) > WIDTH - 8), "{text}");
        assert_eq!(text.lines().count(), 3);
        assert!(text.starts_with("  NAME               N  TEXT\n  a                  1  short\n"), "{text}");
        assert!(text.contains('…'));
    }
}
