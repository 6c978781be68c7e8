//! How a table is written, recognised from its beginning: its delimiter, and whether its first row is a header.

use super::column::number;

/// In the order that decides between equals.
const DELIMITERS: [u8; 4] = *b",;\t|";
/// How many rows the dialect is recognised from.
const ROWS: usize = 50;

/// How a table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dialect {
    pub(super) delimiter: u8,
    pub(super) header: bool,
}

impl Dialect {
    /// The dialect of a table that begins so; `None` if there is no row in it.
    ///
    /// The delimiter is the one that divides most rows into the same number of fields, two or more; a table where none does
    /// has one column. The first row is a header if all of its fields are filled, different, and no numbers, and either some
    /// column below holds a number in its first filled field or the first row's fields occur nowhere below in their columns.
    pub(super) fn recognise(sample: &[u8]) -> Option<Self> {
        let sample = sample.strip_prefix(b"\xef\xbb\xbf").unwrap_or(sample);
        let text = String::from_utf8_lossy(sample);
        let split = |delimiter: u8| -> Vec<Vec<String>> {
            let reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).delimiter(delimiter).from_reader(text.as_bytes());
            let rows = reader.into_records().take(ROWS).map_while(Result::ok);
            rows.map(|row| row.iter().map(str::to_string).collect()).collect()
        };
        let agreeing = |rows: &[Vec<String>]| {
            let width = rows.first().map_or(0, Vec::len);
            if width < 2 { (0, 0) } else { (rows.iter().filter(|row| row.len() == width).count(), width) }
        };
        let candidates = DELIMITERS.iter().map(|delimiter| (*delimiter, split(*delimiter)));
        let scored = candidates.map(|(delimiter, rows)| (agreeing(&rows), delimiter, rows));
        // Of equals the first: `max_by` keeps the last, so the order is turned round.
        let best = scored.collect::<Vec<_>>().into_iter().rev().max_by_key(|(score, _, _)| *score);
        let (_, delimiter, rows) = best.filter(|(_, _, rows)| rows.iter().any(|row| row.iter().any(|field| !field.trim().is_empty())))?;
        Some(Self { delimiter, header: has_header(&rows, delimiter == b';') })
    }

    /// Whether numbers may have a decimal comma: only where the comma divides no fields, and by custom.
    pub(super) fn decimal_comma(self) -> bool {
        self.delimiter == b';'
    }
}

fn has_header(rows: &[Vec<String>], decimal_comma: bool) -> bool {
    let Some((first, below)) = rows.split_first() else { return false };
    let filled = first.iter().all(|field| !field.trim().is_empty() && number(field, decimal_comma).is_none());
    let different = first.iter().enumerate().all(|(n, field)| !first[..n].contains(field));
    let column = |n: usize| below.iter().filter_map(move |row| row.get(n)).filter(|field| !field.trim().is_empty());
    let numbers_below = (0..first.len()).any(|n| column(n).next().is_some_and(|field| number(field, decimal_comma).is_some()));
    let new = first.iter().enumerate().all(|(n, field)| column(n).all(|other| other != field));
    filled && different && !below.is_empty() && (numbers_below || new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delimiters_and_headers_are_recognised() {
        let cases = [
            ("a,b\n1,2\n", b',', true),
            ("1,2\n3,4\n", b',', false),
            ("name;price\nx;1,5\ny;2,25\n", b';', true),
            ("a\tb\nx, y\tz, w\n", b'\t', true),
            ("id|text\n1|a,b,c\n2|d\n", b'|', true),
            ("x,y\nx,z\nx,y\n", b',', false),
            ("word\nother\n", b',', true),
            ("only\n", b',', false),
            ("\"a,b\";\"c\"\n\"d,e\";\"1\"\n", b';', true),
        ];
        for (text, delimiter, header) in cases {
            assert_eq!(Dialect::recognise(text.as_bytes()), Some(Dialect { delimiter, header }), "{text:?}");
        }
        assert_eq!(Dialect::recognise(b" \n"), None);
    }
}
