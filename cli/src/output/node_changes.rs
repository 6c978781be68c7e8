//! What became of nodes that an operator changed: a line each.

use super::page::Page;
use super::table::{Cell, Column, Table};
use super::{Style, Tone};
use ouro_common::error::Fault;
use ouro_common::id::NodeId;
use serde::Serialize;

/// `ouroboros.node-changes/1`.
#[derive(Debug, Serialize)]
pub(crate) struct NodeChangesDocument {
    /// Always `ouroboros.node-changes/1`.
    pub(crate) schema: String,
    /// What was asked: `drain`, `label` …
    pub(crate) deed: String,
    /// Each node that was meant.
    pub(crate) changes: Vec<NodeChange>,
}

impl NodeChangesDocument {
    /// The name and version of this document.
    pub(crate) const SCHEMA: &str = "ouroboros.node-changes/1";
}

/// What became of a node.
#[derive(Debug, Serialize)]
pub(crate) struct NodeChange {
    /// Which.
    pub(crate) node: NodeId,
    /// Its name.
    pub(crate) name: String,
    /// The operators' decision before.
    pub(crate) before: String,
    /// And now.
    pub(crate) now: String,
    /// Whether anything is otherwise than before.
    pub(crate) changed: bool,
    /// Why it was refused.
    pub(crate) fault: Option<Fault>,
}

/// A line each.
pub(crate) fn render(document: &NodeChangesDocument, style: Style) -> String {
    let mut page = Page::new(style);
    let mut table = Table::new(style, &[("NODE", Column::Flexible), ("STATE", Column::Left), ("", Column::Left)]);
    for change in &document.changes {
        let (tone, words) = match (&change.fault, change.changed) {
            (Some(_), _) => (Tone::Bad, "refused".to_string()),
            (None, false) => (Tone::Dim, "as before".into()),
            (None, true) if change.before == change.now => (Tone::Good, "labels changed".into()),
            (None, true) => (Tone::Good, format!("was {}", change.before)),
        };
        table.row(vec![(&change.name).into(), Cell::toned(&change.now, tone), words.into()]);
    }
    page.block(&table.render(0));
    for (change, fault) in document.changes.iter().filter_map(|change| change.fault.as_ref().map(|fault| (change, fault))) {
        page.heading(&super::text::cut(&change.name, 40), &format!("{}; {} [{}]", fault.problem, fault.remedy, fault.code.code()));
    }
    page.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ouro_common::error::FaultCode;

    #[test]
    fn every_node_has_its_line() {
        let change = |name: &str, now: &str, changed| NodeChange {
            node: NodeId::from_parts(1, [1; 10]),
            name: name.into(),
            before: "active".into(),
            now: now.into(),
            changed,
            fault: None,
        };
        let fault = Fault::new(FaultCode::InvalidArgument, "a node that is pending cannot be told to drain").remedy("it gets no work");
        let refused = NodeChange { fault: Some(fault), ..change("pi", "pending", false) };
        let changes = vec![change("lena", "draining", true), change("odin", "draining", false), refused];
        let document = NodeChangesDocument { schema: NodeChangesDocument::SCHEMA.into(), deed: "drain".into(), changes };
        insta::assert_snapshot!(render(&document, Style::PLAIN));
    }
}
