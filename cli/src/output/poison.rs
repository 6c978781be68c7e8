//! `ouroctl poison`: work that is kept away, and why.

use super::page::Page;
use super::table::{Column, Table};
use super::{Style, text};
use ouro_common::clock::WallTime;
use ouro_common::document::{PoisonDocument, PoisonEntry};
use ouro_common::step::Evidence;

/// A line each.
pub(crate) fn render(document: &PoisonDocument, style: Style) -> String {
    if document.poison.is_empty() {
        return "Nothing is poison: no work has killed workers on two nodes.\n".into();
    }
    let columns = [
        ("ID", Column::Left),
        ("CONTAINER", Column::Left),
        ("SINCE (UTC)", Column::Left),
        ("REQUEST", Column::Left),
        ("KILLED WORKERS ON", Column::Flexible),
    ];
    let mut table = Table::new(style, &columns);
    for entry in &document.poison {
        let nodes: Vec<_> = entry.deaths.iter().map(|death| death.node_name.as_str()).collect();
        table.row(vec![
            entry.id.as_str().into(),
            text::cut(&entry.container.to_string(), 30).into(),
            WallTime(entry.since_unix_ms).to_string().into(),
            entry.request.short().into(),
            nodes.join(", ").into(),
        ]);
    }
    table.render(0)
}

/// One entry whole.
pub(crate) fn render_entry(document: &PoisonDocument, style: Style) -> String {
    let mut page = Page::new(style);
    for entry in &document.poison {
        page.heading(&entry.id, &format!("{} since {}", entry.container, WallTime(entry.since_unix_ms)));
        page.item(2, "request", &entry.request.to_string());
        page.item(2, "step", entry.step.as_str());
        page.item(2, "work", &entry.step_key.to_string());
        page.item(2, "container", &entry.container_digest.to_string());
        deaths(&mut page, entry);
        page.item(2, "release", &format!("ouroctl poison release {}", entry.id));
    }
    page.finish()
}

fn deaths(page: &mut Page, entry: &PoisonEntry) {
    for death in &entry.deaths {
        let evidence = match &death.evidence {
            Evidence::Signal { number } => format!("signal {number}"),
            Evidence::OomKill => "killed for memory".into(),
            Evidence::Limit { what } => format!("limit of {what}"),
            Evidence::Rebooted => "the machine came back with a new boot".into(),
        };
        page.item(2, "death", &format!("on {}: {}, {}; evidence: {evidence}", death.node_name, death.class.name(), death.why));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ouro_common::document::PoisonDeath;
    use ouro_common::id::{Digest, NodeId, RequestId};
    use ouro_common::step::FailureClass;

    fn document() -> PoisonDocument {
        let death = |name: &str, evidence| PoisonDeath {
            node: NodeId::from_parts(1, [1; 10]),
            node_name: name.into(),
            class: FailureClass::Crashed,
            why: "the worker ended by SIGSEGV".into(),
            evidence,
        };
        let key = Digest::blake3(b"work");
        let entry = PoisonEntry {
            id: key.short(),
            step_key: key,
            container: "digits:1.0.0".parse().unwrap(),
            container_digest: Digest::sha256([7; 32]),
            request: RequestId::from_parts(9, [9; 10]),
            step: "digits".parse().unwrap(),
            since_unix_ms: 1_795_230_000_000,
            deaths: vec![death("lena", Evidence::Signal { number: 11 }), death("odin", Evidence::OomKill)],
        };
        PoisonDocument { schema: PoisonDocument::SCHEMA.into(), poison: vec![entry] }
    }

    #[test]
    fn the_list_and_one_entry_read_well() {
        insta::assert_snapshot!(render(&document(), Style::PLAIN) + "\n" + &render_entry(&document(), Style::PLAIN));
    }

    #[test]
    fn nothing_is_said_to_be_nothing() {
        let empty = PoisonDocument { schema: PoisonDocument::SCHEMA.into(), poison: vec![] };
        assert!(render(&empty, Style::PLAIN).starts_with("Nothing is poison"));
    }
}
