//! A large fleet in a few lines: how many of what, and which nodes want attention.

use super::nodes::{state, table};
use super::page::Page;
use super::quantity::{bytes, counted, decimals};
use super::{Style, Tone};
use ouro_common::document::{NodeView, NodesDocument};
use std::collections::BTreeMap;

/// Nodes that are listed although the others are not.
const SHOWN: usize = 20;

/// The sums, the nodes that are not simply online, and how to see the rest.
pub(crate) fn render(document: &NodesDocument, style: Style) -> String {
    let nodes = &document.nodes;
    let mut page = Page::new(style);
    page.heading(&counted(nodes.len(), "node", "nodes"), "");
    page.item(2, "state", &counts(nodes.iter().map(|node| state(node).0)));
    page.item(2, "kind", &counts(nodes.iter().map(|node| node.kind.clone())));
    let sum = |of: fn(&NodeView) -> u64| nodes.iter().map(of).sum::<u64>();
    page.item(2, "slots", &format!("{} of {} busy", sum(|n| n.busy.into()), sum(|n| n.slots.into())));
    let memory = format!(
        "{} free of {}",
        bytes(sum(|n| n.memory_available_bytes.unwrap_or(0))),
        bytes(sum(|n| n.memory_bytes.unwrap_or(0)))
    );
    page.item(2, "memory", &memory);
    let mut indexes: Vec<f64> = nodes.iter().filter_map(|node| node.mfpi).collect();
    indexes.sort_by(f64::total_cmp);
    if let (Some(least), Some(most)) = (indexes.first(), indexes.last()) {
        let middle = indexes[indexes.len() / 2];
        page.item(2, "mfpi", &format!("{} to {}, median {}", decimals(*least), decimals(*most), decimals(middle)));
    }
    attention(&mut page, nodes, style);
    page.toned(
        0,
        "Every row: `ouroctl nodes --all`; some: `ouroctl nodes 'lab-*' -l kind=laptop -l state=online`.",
        Some(Tone::Dim),
    );
    page.finish()
}

fn attention(page: &mut Page, nodes: &[NodeView], style: Style) {
    let wanting: Vec<_> = nodes.iter().filter(|node| state(node).1 != Tone::Good).collect();
    if wanting.is_empty() {
        return;
    }
    let rest = wanting.len().saturating_sub(SHOWN);
    page.heading("Not online", &if rest > 0 { format!("the first {SHOWN} of {}", wanting.len()) } else { String::new() });
    page.block(&table(wanting.into_iter().take(SHOWN), style));
    page.text(0, "");
}

/// `480 online, 15 offline`, the most frequent first.
fn counts(words: impl Iterator<Item = String>) -> String {
    let mut by_word: BTreeMap<String, usize> = BTreeMap::new();
    for word in words {
        *by_word.entry(word).or_default() += 1;
    }
    let mut sorted: Vec<_> = by_word.into_iter().collect();
    sorted.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    sorted.iter().map(|(word, n)| format!("{n} {word}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::sample;

    #[test]
    fn five_hundred_nodes_are_a_few_lines() {
        let sample = sample::nodes().nodes;
        let mut nodes: Vec<NodeView> = (0..496)
            .map(|n| NodeView { name: format!("rack-{n:03}"), ..sample.iter().find(|n| n.name == "odin").unwrap().clone() })
            .collect();
        nodes.extend(sample);
        let text = render(&NodesDocument { schema: "ouroboros.nodes/1".into(), nodes }, Style::PLAIN);
        insta::assert_snapshot!(text);
    }
}
