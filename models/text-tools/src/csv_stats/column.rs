//! One column: its kind, what is missing, its values' frequencies, and moments by Welford's method (Technometrics 4:3, 1962).

use super::quantiles::Quantiles;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::collections::HashMap;

/// How many different values a column tells apart at most; beyond it `distinct` is a lower bound.
const MOST_DISTINCT: usize = 10_000;
/// And all columns together, so that a wide table does not fill the memory.
const MOST_DISTINCT_TOGETHER: usize = 400_000;
/// A longer field is kept as its beginning and its hash.
const LONG_BYTES: usize = 400;
/// How many of the most frequent values are given.
const MOST_FREQUENT: usize = 5;
/// How many characters of a frequent value are given.
const MOST_CHARS: usize = 100;

/// What has been seen of a column.
pub(super) struct Column {
    name: String,
    count: u64,
    missing: u64,
    numbers: u64,
    values: HashMap<String, (u64, u64)>,
    most_distinct: usize,
    all_distinct_known: bool,
    mean: f64,
    squares: f64,
    min: f64,
    max: f64,
    quantiles: Quantiles,
}

impl Column {
    /// One of `of` columns.
    pub(super) fn new(name: String, of: usize) -> Self {
        Self {
            name,
            count: 0,
            missing: 0,
            numbers: 0,
            values: HashMap::new(),
            most_distinct: MOST_DISTINCT.min(MOST_DISTINCT_TOGETHER / of.max(1)),
            all_distinct_known: true,
            mean: 0.0,
            squares: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            quantiles: Quantiles::new(of),
        }
    }

    /// Takes the next field; one of nothing but white space is missing.
    pub(super) fn add(&mut self, field: &str, decimal_comma: bool) {
        let field = field.trim();
        if field.is_empty() {
            self.missing += 1;
            return;
        }
        self.count += 1;
        let key = key(field);
        if let Some((seen, _)) = self.values.get_mut(key.as_ref()) {
            *seen += 1;
        } else if self.values.len() < self.most_distinct {
            self.values.insert(key.into_owned(), (1, self.count));
        } else {
            self.all_distinct_known = false;
        }
        if let Some(value) = number(field, decimal_comma) {
            self.numbers += 1;
            let before = value - self.mean;
            self.mean += before / self.numbers as f64;
            self.squares += before * (value - self.mean);
            self.min = self.min.min(value);
            self.max = self.max.max(value);
            self.quantiles.add(value);
        }
    }

    /// `number` if every filled field is one, `empty` if none is filled, else `text`.
    fn kind(&self) -> &'static str {
        match (self.count, self.numbers) {
            (0, _) => "empty",
            (count, numbers) if count == numbers => "number",
            _ => "text",
        }
    }

    pub(super) fn json(mut self) -> Value {
        let kind = self.kind();
        let mut object = Map::new();
        object.insert("name".into(), json!(self.name));
        object.insert("kind".into(), json!(kind));
        object.insert("count".into(), json!(self.count));
        object.insert("missing".into(), json!(self.missing));
        object.insert("distinct".into(), json!(self.values.len()));
        object.insert("distinct_exact".into(), json!(self.all_distinct_known));
        if kind == "number" {
            let deviation = (self.numbers > 1).then(|| (self.squares / (self.numbers - 1) as f64).sqrt());
            let [lower, median, upper] = self.quantiles.quartiles();
            let figures = [("min", Some(self.min)), ("max", Some(self.max)), ("mean", Some(self.mean)), ("standard_deviation", deviation)];
            for (key, value) in figures.into_iter().chain([("quartile_1", lower), ("median", median), ("quartile_3", upper)]) {
                // A deviation of one value, or a sum beyond what f64 holds, is no figure.
                object.insert(key.into(), value.filter(|v| v.is_finite()).map_or(Value::Null, |v| json!(v)));
            }
            object.insert("quartiles_exact".into(), json!(self.quantiles.exact()));
        } else if kind == "text" && self.numbers > 0 {
            object.insert("numbers".into(), json!(self.numbers));
        }
        let mut frequent: Vec<_> = self.values.into_iter().collect();
        frequent.sort_by(|(_, (a, first_a)), (_, (b, first_b))| b.cmp(a).then(first_a.cmp(first_b)));
        let shown = |(value, (count, _)): (String, (u64, u64))| json!({ "value": value.chars().take(MOST_CHARS).collect::<String>(), "count": count });
        object.insert("most_frequent".into(), frequent.into_iter().take(MOST_FREQUENT).map(shown).collect());
        Value::Object(object)
    }
}

/// What tells a value apart: itself, or for a long one what is shown of it and its hash.
fn key(field: &str) -> Cow<'_, str> {
    match field.len() {
        0..=LONG_BYTES => Cow::Borrowed(field),
        _ => Cow::Owned(field.chars().take(MOST_CHARS).chain(blake3::hash(field.as_bytes()).to_hex().chars()).collect()),
    }
}

/// A finite decimal number; with `decimal_comma` also 1,5 and 1.234,5, where points only divide thousands.
///
/// Words that Rust takes for numbers (`nan`, `inf`) are text.
pub(super) fn number(field: &str, decimal_comma: bool) -> Option<f64> {
    let field = field.trim();
    if !field.bytes().all(|b| b.is_ascii_digit() || b"+-.,eE".contains(&b)) {
        return None;
    }
    let plain = match field.split_once(',') {
        Some((whole, part)) if decimal_comma => format!("{}.{part}", without_points(whole)?),
        Some(_) => return None,
        None => field.to_string(),
    };
    plain.parse().ok().filter(|value: &f64| value.is_finite())
}

/// `1.234` as `1234`; `None` if the points do not divide thousands.
fn without_points(whole: &str) -> Option<String> {
    let mut groups = whole.split('.');
    let first = groups.next()?;
    let rest: Vec<&str> = groups.collect();
    let digits = first.trim_start_matches(['+', '-']).len();
    (rest.is_empty() || ((1..=3).contains(&digits) && rest.iter().all(|group| group.len() == 3)))
        .then(|| format!("{first}{}", rest.concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_from_text() {
        for (field, comma, value) in [
            ("1.5", false, 1.5),
            (" -2e3 ", false, -2000.0),
            ("1,5", true, 1.5),
            ("-1.234.567,5", true, -1_234_567.5),
            ("1.5", true, 1.5),
        ] {
            assert_eq!(number(field, comma), Some(value), "{field}");
        }
        for (field, comma) in [
            ("1,5", false),
            ("nan", false),
            ("inf", false),
            ("1e999", false),
            ("12.34,5", true),
            ("1,2,3", true),
            ("-", false),
            ("1 000", false),
        ] {
            assert_eq!(number(field, comma), None, "{field}");
        }
    }

    #[test]
    fn beyond_the_cap_distinct_is_a_lower_bound() {
        let mut column = Column::new("n".into(), 1);
        for n in 0..MOST_DISTINCT + 5 {
            column.add(&n.to_string(), false);
        }
        let found = column.json();
        assert_eq!(
            (&found["distinct"], &found["distinct_exact"], &found["count"]),
            (&json!(10_000), &json!(false), &json!(10_005))
        );
        assert_eq!(Column::new("n".into(), 4000).most_distinct, 100);
    }

    #[test]
    fn long_values_are_told_apart_by_their_ends() {
        let mut column = Column::new("n".into(), 1);
        let long = "x".repeat(1000);
        [format!("{long}a"), format!("{long}b"), format!("{long}a")].iter().for_each(|field| column.add(field, false));
        let found = column.json();
        assert_eq!((&found["distinct"], &found["most_frequent"][0]), (&json!(2), &json!({"value": "x".repeat(100), "count": 2})));
    }
}
