//! `ouroctl requests`: the latest requests, newest first.

use super::quantity::span_ms;
use super::table::{Cell, Column, Table};
use super::{Style, text, trace};
use ouro_common::clock::WallTime;
use ouro_common::document::RequestsDocument;

/// The table.
pub(crate) fn render(document: &RequestsDocument, style: Style) -> String {
    if document.requests.is_empty() {
        return "No requests yet. Ask something with `ouroctl submit \"…\"`.\n".into();
    }
    let columns = [
        ("ID", Column::Left),
        ("STATE", Column::Left),
        ("BY", Column::Left),
        ("STEPS", Column::Right),
        ("TOOK", Column::Right),
        ("ASKED (UTC)", Column::Left),
        ("PROMPT", Column::Flexible),
    ];
    let mut table = Table::new(style, &columns);
    for row in &document.requests {
        let steps = if row.steps_total == 0 { "-".into() } else { format!("{}/{}", row.steps_done, row.steps_total) };
        table.row(vec![
            row.id.short().into(),
            Cell::toned(format!("{}{}", row.state.as_str(), if row.last_heard { "?" } else { "" }), trace::tone(row.state)),
            text::cut(&row.served_by, 8).into(),
            steps.into(),
            span_ms(row.elapsed_ms as f64).into(),
            // RFC 3339 without the year and the zone: 11-21T01:33:00.
            WallTime(row.submitted_unix_ms).to_string()[5..19].replace('T', " ").into(),
            row.prompt.as_deref().map_or_else(|| "(private)".into(), |p| text::cut(p, 200)).into(),
        ]);
    }
    let unsure = document.requests.iter().any(|row| row.last_heard);
    let note = if unsure { "?  the server cannot be asked now; this is what was heard last\n" } else { "" };
    table.render(0) + note
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::sample;

    #[test]
    fn the_table_reads_well() {
        insta::assert_snapshot!(render(&sample::requests(), Style::PLAIN));
    }
}
