//! Results in JSON as lines that people read: the same in an answer composed by a node and on a person's screen.
//!
//! What has a `label`-like shape (a key, a `name`, a `confidence`) becomes a sentence, `Language: German (98 % sure)`;
//! every other object becomes a line a field, and a list a line an entry.

use serde_json::{Map, Value};

/// `key-points` → `Key points`. A trailing number that only keeps tags apart is left out.
pub fn heading_of(tag: &str) -> String {
    let words = tag.replace(['-', '_', '.'], " ");
    let words = words.trim_end_matches(|c: char| c.is_ascii_digit() || c == ' ');
    let words = if words.is_empty() { tag } else { words };
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// A result in JSON as people read it, without a line's end.
pub fn json_as_text(heading: &str, value: &Value) -> String {
    match value {
        Value::Object(fields) => match label(fields) {
            Some(sentence) => sentence,
            None if fields.len() == 1 => match fields.iter().next() {
                // An object with one list in it is that list under its own name: {"keywords": […]}.
                Some((key, Value::Array(list))) => listing(&heading_of(key), list),
                Some((key, value)) => format!("{}: {}", heading_of(key), inline(value)),
                None => String::new(),
            },
            None => {
                let lines = fields.iter().map(|(key, value)| format!("  {}: {}", heading_of(key), inline(value)));
                std::iter::once(heading.to_string()).chain(lines).collect::<Vec<_>>().join("\n")
            }
        },
        Value::Array(list) => listing(heading, list),
        scalar => format!("{heading}: {}", inline(scalar)),
    }
}

/// A classification: some key with a short value, its `name` for people, and its `confidence` from 0 to 1.
fn label(fields: &Map<String, Value>) -> Option<String> {
    let confidence = fields.get("confidence")?.as_f64().filter(|c| (0.0..=1.0).contains(c))?;
    let plain = |v: &Value| v.as_str().map(str::to_string).or_else(|| v.as_u64().map(|n| n.to_string()));
    let (key, id) = fields.iter().find_map(|(k, v)| (k != "name" && k != "confidence").then(|| Some((k, plain(v)?)))?)?;
    let name = fields.get("name").and_then(Value::as_str).map_or(id, str::to_string);
    Some(format!("{}: {name} ({} % sure)", heading_of(key), (confidence * 100.0).round()))
}

fn listing(heading: &str, list: &[Value]) -> String {
    if list.is_empty() {
        return format!("{heading}: none");
    }
    let entry = |value: &Value| match value {
        Value::Object(fields) => {
            let named = ["phrase", "text", "name", "label"].iter().find_map(|k| fields.get(*k)).and_then(Value::as_str);
            named.map_or_else(|| inline(value), str::to_string)
        }
        other => inline(other),
    };
    let lines = list.iter().map(|value| format!("  - {}", entry(value)));
    std::iter::once(heading.to_string()).chain(lines).collect::<Vec<_>>().join("\n")
}

/// A value within a line; what nests deeper is flattened with commas.
fn inline(value: &Value) -> String {
    match value {
        Value::Null => "not known".into(),
        Value::Bool(b) => if *b { "yes" } else { "no" }.into(),
        Value::Number(n) => number(n),
        Value::String(s) => s.trim().to_string(),
        Value::Array(list) => list.iter().map(inline).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => {
            fields.iter().map(|(k, v)| format!("{} {}", k.replace('_', " "), inline(v))).collect::<Vec<_>>().join(", ")
        }
    }
}

/// At most four digits after the point, none that say nothing.
fn number(n: &serde_json::Number) -> String {
    match n.as_f64() {
        Some(f) if !n.is_i64() && !n.is_u64() => {
            let text = format!("{f:.4}");
            text.trim_end_matches('0').trim_end_matches('.').to_string()
        }
        _ => n.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn labels_lists_and_records_read_well() {
        let text = |tag: &str, value: Value| json_as_text(&heading_of(tag), &value);
        let language = json!({"language": "de", "name": "German", "confidence": 0.984});
        assert_eq!(text("language", language), "Language: German (98 % sure)");
        assert_eq!(text("x", json!({"keywords": [{"phrase": "solar power"}, "grid"]})), "Keywords\n  - solar power\n  - grid");
        assert_eq!(text("stats-2", json!({"rows": 3, "mean_age": 41.5})), "Stats\n  Rows: 3\n  Mean age: 41.5");
        assert_eq!(text("y", json!(null)), "Y: not known");
    }
}
