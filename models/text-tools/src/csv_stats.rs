//! `csv-stats`: statistics for each column of a CSV table, in one pass over the file.
//!
//! The same bytes give the same JSON. Figures that need every value are exact up to a cap and say so: `distinct` has
//! `distinct_exact`, quartiles have `quartiles_exact`. What is odd about a table (rows with too many or too few fields,
//! a number in a text column) is reported and never fatal; only what is no table at all is refused.

mod column;
mod dialect;
mod quantiles;

use crate::Refusal;
use column::Column;
use dialect::Dialect;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};

/// The most columns that are told apart.
const MOST_COLUMNS: usize = 4096;
/// Of how many ragged rows the line is given; all are counted.
const MOST_RAGGED_LINES: usize = 20;
/// How much of the file the dialect is recognised from.
const SAMPLE_BYTES: u64 = 64 * 1024;

/// The statistics of a table, as JSON.
///
/// # Errors
/// [`Refusal::Input`] when it is no table; [`Refusal::Failed`] when it cannot be read.
pub fn run(mut table: File) -> Result<Value, Refusal> {
    let unreadable = |e: std::io::Error| Refusal::Failed(format!("the table cannot be read: {e}"));
    let mut sample = vec![];
    (&table).take(SAMPLE_BYTES).read_to_end(&mut sample).map_err(unreadable)?;
    table.seek(SeekFrom::Start(0)).map_err(unreadable)?;
    statistics(&sample, table)
}

/// What is counted over the rows.
struct Table {
    dialect: Dialect,
    columns: Vec<Column>,
    rows: u64,
    ragged: u64,
    ragged_lines: Vec<Value>,
}

fn statistics(sample: &[u8], table: impl std::io::Read) -> Result<Value, Refusal> {
    let Some(dialect) = Dialect::recognise(sample) else {
        return Err(Refusal::Input("the table is empty: there is no row in it".into()));
    };
    let reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).delimiter(dialect.delimiter).from_reader(table);
    let mut found = Table { dialect, columns: vec![], rows: 0, ragged: 0, ragged_lines: vec![] };
    found.read(reader)?;
    Ok(found.json())
}

impl Table {
    fn read(&mut self, mut reader: csv::Reader<impl std::io::Read>) -> Result<(), Refusal> {
        let mut record = csv::ByteRecord::new();
        let mut first = true;
        loop {
            match reader.read_byte_record(&mut record) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(e) => return Err(Refusal::Failed(format!("the table cannot be read: {e}"))),
            }
            let line = record.position().map_or(0, csv::Position::line);
            let fields: Vec<&str> = record.iter().map(|field| field_text(field, line)).collect::<Result<_, _>>()?;
            if std::mem::take(&mut first) {
                self.begin(&fields)?;
                if self.dialect.header {
                    continue;
                }
            }
            self.row(&fields, line);
        }
    }

    fn begin(&mut self, fields: &[&str]) -> Result<(), Refusal> {
        if fields.len() > MOST_COLUMNS {
            return Err(Refusal::Input(format!("the table has {} columns, at most {MOST_COLUMNS} are read", fields.len())));
        }
        let header = self.dialect.header;
        let name = |(n, field): (usize, &&str)| match field.trim() {
            name if header && !name.is_empty() => name.to_string(),
            _ => format!("column {}", n + 1),
        };
        self.columns = fields.iter().enumerate().map(name).map(|name| Column::new(name, fields.len())).collect();
        Ok(())
    }

    fn row(&mut self, fields: &[&str], line: u64) {
        self.rows += 1;
        if fields.len() != self.columns.len() {
            self.ragged += 1;
            if self.ragged_lines.len() < MOST_RAGGED_LINES {
                self.ragged_lines.push(json!({ "line": line, "fields": fields.len() }));
            }
        }
        let decimal_comma = self.dialect.decimal_comma();
        for (n, column) in self.columns.iter_mut().enumerate() {
            column.add(fields.get(n).copied().unwrap_or(""), decimal_comma);
        }
    }

    fn json(self) -> Value {
        json!({
            "rows": self.rows,
            "columns": self.columns.len(),
            "header": self.dialect.header,
            "delimiter": char::from(self.dialect.delimiter).to_string(),
            "ragged_rows": self.ragged,
            "ragged": self.ragged_lines,
            "statistics": self.columns.into_iter().map(Column::json).collect::<Vec<_>>(),
        })
    }
}

/// The field as text; the reader has taken a byte order mark off already.
fn field_text(field: &[u8], line: u64) -> Result<&str, Refusal> {
    std::str::from_utf8(field).map_err(|_| Refusal::Input(format!("line {line} of the table is not UTF-8; convert it to UTF-8")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(table: &str) -> Value {
        statistics(table.as_bytes(), table.as_bytes()).unwrap()
    }

    #[test]
    fn a_table_with_a_mark_quotes_and_gaps() {
        let found = of("\u{feff}name,age,city\n\"Lovelace, Ada\",36,London\nGrace,85,\nAlan,41,London\n");
        assert_eq!((&found["rows"], &found["columns"], &found["header"]), (&json!(3), &json!(3), &json!(true)));
        let [name, age, city] = [0, 1, 2].map(|n| found["statistics"][n].clone());
        assert_eq!((&name["name"], &name["kind"], &name["distinct"]), (&json!("name"), &json!("text"), &json!(3)));
        assert_eq!(
            (&age["kind"], &age["min"], &age["median"], &age["max"]),
            (&json!("number"), &json!(36.0), &json!(41.0), &json!(85.0))
        );
        assert_eq!((&city["missing"], &city["most_frequent"][0]), (&json!(1), &json!({"value": "London", "count": 2})));
        assert_eq!(of("a,b\n1,2\n").to_string(), of("a,b\n1,2\n").to_string());
    }

    #[test]
    fn semicolons_bring_decimal_commas() {
        let found = of("ort;preis\nKöln;1,5\nBonn;2.500,25\n");
        assert_eq!(found["delimiter"], ";");
        assert_eq!((&found["statistics"][1]["min"], &found["statistics"][1]["max"]), (&json!(1.5), &json!(2500.25)));
    }

    #[test]
    fn ragged_rows_are_reported_with_their_lines() {
        let found = of("a,b\n1,2\n3\n\"x\ny\",4,5\n6,7\n");
        assert_eq!(found["ragged_rows"], 2);
        assert_eq!(found["ragged"], json!([{"line": 3, "fields": 1}, {"line": 4, "fields": 3}]));
        assert_eq!((&found["rows"], &found["statistics"][1]["missing"]), (&json!(4), &json!(1)));
    }

    #[test]
    fn what_is_no_table_is_invalid_input() {
        for bad in [&b""[..], b"\n\n", b"\xef\xbb\xbf", b"a,b\n1,\xff\n"] {
            let error = statistics(bad, bad).unwrap_err();
            assert!(matches!(error, Refusal::Input(_)), "{bad:?}");
        }
    }

    /// One column of numbers: the textbook's formulas over the whole list.
    fn naive(values: &[f64]) -> [f64; 5] {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let deviation = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let median = (sorted[(sorted.len() - 1) / 2] + sorted[sorted.len() / 2]) / 2.0;
        [sorted[0], sorted[sorted.len() - 1], mean, deviation, median]
    }

    proptest! {
        #[test]
        fn figures_agree_with_a_naive_reference(
            values in proptest::collection::vec(-1e6..1e6_f64, 2..200),
            delimiter in proptest::sample::select(vec![',', ';', '\t', '|']),
        ) {
            let mut table = format!("label{delimiter}value\n");
            for value in &values {
                table += &format!("x{delimiter}{}\n", value.to_string().replace('.', if delimiter == ';' { "," } else { "." }));
            }
            let found = of(&table);
            prop_assert_eq!(&found["delimiter"], &json!(delimiter.to_string()));
            prop_assert_eq!(&found["rows"], &json!(values.len()));
            let column = &found["statistics"][1];
            for (key, expected) in ["min", "max", "mean", "standard_deviation", "median"].into_iter().zip(naive(&values)) {
                let found = column[key].as_f64().unwrap();
                prop_assert!((found - expected).abs() <= 1e-6 * (1.0 + expected.abs()), "{}: {} {}", key, found, expected);
            }
            let mut distinct = values.clone();
            distinct.sort_by(f64::total_cmp);
            distinct.dedup();
            prop_assert_eq!(&column["distinct"], &json!(distinct.len()));
        }

        #[test]
        fn any_text_gives_statistics_or_a_refusal(table in "[a-c0-9,;|\"\\t\\n. -]{0,80}") {
            if let Ok(found) = statistics(table.as_bytes(), table.as_bytes()) {
                prop_assert_eq!(found["statistics"].as_array().unwrap().len() as u64, found["columns"].as_u64().unwrap());
            }
        }
    }
}
