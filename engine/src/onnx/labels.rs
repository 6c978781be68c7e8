//! Probabilities to JSON, as manifests declare it (`kind = "labels"`): the best label, and the next two.

use super::OnnxError;
use ouro_common::container::{LabelEntry, OutputTensor};
use serde_json::{Map, Value, json};

/// How many labels stand beside the best one.
const ALTERNATIVES: usize = 2;

/// The declared labels, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Labels {
    name: String,
    key: String,
    labels: Vec<LabelEntry>,
}

impl Labels {
    pub(super) fn new(declared: &OutputTensor) -> Result<Self, OnnxError> {
        let OutputTensor::Labels { name, key, labels, .. } = declared;
        if labels.is_empty() {
            return Err(OnnxError::Tensors { field: "tensors.output.labels", problem: "there are no labels".into() });
        }
        if key.is_empty() || ["name", "confidence", "alternatives"].contains(&key.as_str()) {
            let problem = format!("{key:?} cannot be the key of the best label");
            return Err(OnnxError::Tensors { field: "tensors.output.key", problem });
        }
        Ok(Self { name: name.clone(), key: key.clone(), labels: labels.clone() })
    }

    pub(super) fn count(&self) -> usize {
        self.labels.len()
    }

    /// `{"KEY": id, "name": …, "confidence": …, "alternatives": [{"KEY": id, "confidence": …}, …]}`, confidences to six
    /// decimals; of equal ones the label that is declared first is the better.
    pub(super) fn json(&self, probabilities: &[f32]) -> Result<Vec<u8>, OnnxError> {
        let refuse = |problem| Err(OnnxError::Output { name: self.name.clone(), problem });
        if probabilities.len() != self.labels.len() {
            return refuse(format!("it has {} elements for {} labels", probabilities.len(), self.labels.len()));
        }
        if let Some(wrong) = probabilities.iter().find(|p| !p.is_finite()) {
            return refuse(format!("{wrong} is no probability"));
        }
        let mut order: Vec<usize> = (0..probabilities.len()).collect();
        order.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]).then(a.cmp(&b)));
        let confidence = |index: usize| json!((f64::from(probabilities[index]) * 1e6).round() / 1e6);
        let best = order[0];
        let mut object = Map::new();
        object.insert(self.key.clone(), json!(self.labels[best].id));
        object.insert("name".into(), json!(self.labels[best].name));
        object.insert("confidence".into(), confidence(best));
        let alternative = |&index: &usize| json!({ self.key.as_str(): self.labels[index].id, "confidence": confidence(index) });
        let alternatives = order.iter().skip(1).take(ALTERNATIVES).map(alternative).collect();
        object.insert("alternatives".into(), Value::Array(alternatives));
        Ok(Value::Object(object).to_string().into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(ids: &[&str]) -> Labels {
        let labels = ids.iter().map(|id| LabelEntry { id: (*id).into(), name: id.to_uppercase() }).collect();
        Labels { name: "p".into(), key: "language".into(), labels }
    }

    #[test]
    fn the_best_label_comes_with_the_next_two() {
        let json = labels(&["de", "fr", "en", "nl"]).json(&[0.1, 0.05, 0.75, 0.1]).unwrap();
        let expected = concat!(
            r#"{"language":"en","name":"EN","confidence":0.75,"#,
            r#""alternatives":[{"language":"de","confidence":0.1},{"language":"nl","confidence":0.1}]}"#
        );
        assert_eq!(String::from_utf8(json).unwrap(), expected);
        let one = labels(&["de"]).json(&[1.0]).unwrap();
        assert!(String::from_utf8(one).unwrap().ends_with(r#""alternatives":[]}"#));
    }

    #[test]
    fn an_output_that_is_no_distribution_over_the_labels_is_refused() {
        for output in [&[0.5][..], &[0.5, f32::NAN]] {
            assert!(matches!(labels(&["de", "fr"]).json(output), Err(OnnxError::Output { .. })));
        }
    }
}
