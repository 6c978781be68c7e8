//! Which nodes are meant: names with `*`, and filters over labels and state. Whoever names a node that is not there is told
//! which ones are nearly called so.
//!
//! Names widen the choice (any of them), filters narrow it (all of them).

use crate::output::nodes::state;
use clap::Args;
use ouro_common::document::NodeView;
use ouro_common::error::{Fault, FaultCode};
use std::str::FromStr;

/// Names that are offered when one is wrong.
const NEAREST: usize = 3;
/// Names less like the wrong one than this are not offered; Jaro-Winkler goes from 0 to 1.
const LIKE: f64 = 0.7;

/// The filters of verbs that take nodes.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Filters {
    /// Only nodes with this: LABEL=VALUE, LABEL!=VALUE, state=, kind= or name=; `*` stands for anything; may be repeated
    #[arg(long = "filter", short = 'l', value_name = "KEY=VALUE")]
    terms: Vec<Term>,
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Term {
    key: String,
    value: String,
    wanted: bool,
}

impl FromStr for Term {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE or KEY!=VALUE")?;
        let (key, wanted) = key.strip_suffix('!').map_or((key, true), |key| (key, false));
        if key.trim().is_empty() {
            return Err("the key before `=` is missing".into());
        }
        Ok(Self { key: key.trim().to_string(), value: value.trim().to_string(), wanted })
    }
}

impl Term {
    fn holds(&self, node: &NodeView) -> bool {
        let is = |text: &str| matches(&self.value, text);
        let found = match self.key.as_str() {
            // The word that the table shows, and the two that it is made of.
            "state" => is(&state(node).0) || is(node.admin.as_str()) || is(&node.session),
            "kind" => is(&node.kind),
            "name" => is(&node.name),
            label => node.labels.get(label).is_some_and(|value| is(value)),
        };
        found == self.wanted
    }
}

impl Filters {
    /// Whether nothing is filtered.
    pub(crate) fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Whether a node passes all of them.
    pub(crate) fn pass(&self, node: &NodeView) -> bool {
        self.terms.iter().all(|term| term.holds(node))
    }
}

/// The nodes that are meant, in their order; all that pass the filters when no names are given.
///
/// # Errors
/// `NOT_FOUND` for a name that no node has, with the nearest ones; and when no node passes.
pub(crate) fn select<'a>(nodes: &'a [NodeView], names: &[String], filters: &Filters) -> Result<Vec<&'a NodeView>, Fault> {
    for name in names {
        if !nodes.iter().any(|node| is_called(node, name)) {
            return Err(unknown(nodes, name));
        }
    }
    let named = |node: &&NodeView| names.is_empty() || names.iter().any(|name| is_called(node, name));
    let chosen: Vec<_> = nodes.iter().filter(named).filter(|node| filters.pass(node)).collect();
    if chosen.is_empty() {
        let problem = if nodes.is_empty() { "there are no nodes yet" } else { "no node passes the filters" };
        return Err(Fault::new(FaultCode::NotFound, problem).remedy("`ouroctl nodes --wide` shows names, states and labels"));
    }
    Ok(chosen)
}

/// By name, by id, or by the end of the id that people are shown.
fn is_called(node: &NodeView, name: &str) -> bool {
    matches(name, &node.name) || node.id.to_string() == name || (name.len() >= 6 && node.id.to_string().ends_with(name))
}

fn unknown(nodes: &[NodeView], name: &str) -> Fault {
    let mut near: Vec<(f64, &str)> = nodes.iter().map(|node| (strsim::jaro_winkler(&node.name, name), node.name.as_str())).collect();
    near.retain(|(likeness, _)| *likeness >= LIKE);
    near.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    let names: Vec<_> = near.into_iter().take(NEAREST).map(|(_, name)| name).collect();
    let remedy = match names.as_slice() {
        [] => "`ouroctl nodes` lists them all".to_string(),
        names => format!("did you mean {}?", names.join(" or ")),
    };
    Fault::new(FaultCode::NotFound, format!("there is no node {name:?}")).remedy(remedy)
}

/// Whether `text` is `pattern`, in which each `*` stands for any characters.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|head| text.strip_prefix(head)) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(tail) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(tail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::sample;

    fn chosen(names: &[&str], terms: &[&str]) -> Result<Vec<String>, Fault> {
        let document = sample::nodes();
        let filters = Filters { terms: terms.iter().map(|t| t.parse().unwrap()).collect() };
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        let found = select(&document.nodes, &names, &filters)?;
        Ok(found.into_iter().map(|n| n.name.clone()).collect())
    }

    #[test]
    fn names_widen_and_filters_narrow() {
        assert_eq!(chosen(&["odin", "l*"], &[]).unwrap(), ["lena", "odin"]);
        assert_eq!(chosen(&["odin", "l*"], &["kind=server"]).unwrap(), ["odin"]);
        assert_eq!(chosen(&[], &["owner=a*", "state=online"]).unwrap(), ["odin"]);
        assert_eq!(chosen(&[], &["state=quarantined"]).unwrap().len(), 1);
        assert!(chosen(&[], &["owner!=ada"]).is_err() || chosen(&[], &["owner!=ada"]).unwrap().iter().all(|n| n != "odin"));
        assert_eq!(chosen(&["odin"], &["kind=phone"]).unwrap_err().code, FaultCode::NotFound);
    }

    #[test]
    fn a_wrong_name_lists_the_nearest() {
        let fault = chosen(&["lean"], &[]).unwrap_err();
        assert!(fault.remedy.contains("lena") && !fault.remedy.contains("odin"), "{fault}");
        assert!(chosen(&["zzz*"], &[]).unwrap_err().remedy.contains("ouroctl nodes"));
    }

    #[test]
    fn stars_stand_for_anything() {
        for (pattern, text, holds) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "ab", true),
            ("*b", "ab", true),
            ("a*c*e", "abcde", true),
            ("a*c*e", "ace", true),
            ("a*a", "a", false),
            ("*", "", true),
            ("**", "x", true),
            ("", "x", false),
        ] {
            assert_eq!(matches(pattern, text), holds, "{pattern} on {text}");
        }
        assert!("nonsense".parse::<Term>().is_err() && "=x".parse::<Term>().is_err() && "!=x".parse::<Term>().is_err());
    }
}
