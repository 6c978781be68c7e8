//! The text format itself: families, samples, escaping.

use std::fmt::Write;

/// What a family's values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only goes up while the agent runs.
    Counter,
}

/// A page in the making.
#[derive(Debug, Default)]
pub(super) struct Page {
    text: String,
}

impl Page {
    /// A family with its samples; without samples it is left out.
    pub(super) fn family(&mut self, name: &str, kind: Kind, help: &str, samples: Vec<(String, f64)>) {
        if samples.is_empty() {
            return;
        }
        let kind = match kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
        };
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        // Writing to a string cannot fail.
        let _infallible = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in samples {
            let _infallible = writeln!(self.text, "{name}{labels} {}", number(value));
        }
    }

    /// A gauge with one value, if it is known.
    pub(super) fn one(&mut self, name: &str, help: &str, value: Option<f64>) {
        self.family(name, Kind::Gauge, help, value.map(|value| (String::new(), value)).into_iter().collect());
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }
}

/// `{name="value",…}`, with backslashes, quotes and line feeds escaped; nothing without labels.
pub(super) fn labels(pairs: &[(&str, String)]) -> String {
    let escaped = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let inside: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
    if inside.is_empty() { String::new() } else { format!("{{{}}}", inside.join(",")) }
}

fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_string()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf" } else { "-Inf" }.to_string()
    } else {
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_machines_call_themselves_cannot_break_out_of_its_quotes() {
        let evil = "a\\b\"} 1\nouro_node_cpu_threads 9".to_string();
        let mut page = Page::default();
        page.family("x", Kind::Counter, "one\ntwo \\", vec![(labels(&[("name", evil)]), f64::INFINITY)]);
        assert_eq!(
            page.into_text(),
            "# HELP x one\\ntwo \\\\\n# TYPE x counter\nx{name=\"a\\\\b\\\"} 1\\nouro_node_cpu_threads 9\"} +Inf\n"
        );
        assert_eq!(labels(&[]), "");
    }

    proptest::proptest! {
        #[test]
        fn a_sample_is_one_line(value in ".*", number in proptest::num::f64::ANY) {
            let mut page = Page::default();
            page.family("x", Kind::Gauge, &value, vec![(labels(&[("name", value.clone())]), number)]);
            let text = page.into_text();
            proptest::prop_assert_eq!(text.split('\n').count(), 4, "{:?}", text);
        }
    }
}
