//! `ouroctl nodes`: who is there, how fast, on what power, how hot, how far away, what is free.

use super::page::Page;
use super::quantity::{UNKNOWN, bytes, decimals, gib, rate, span_ms};
use super::table::{Cell, Column, Table};
use super::{Style, Tone, text};
use ouro_common::device::PowerSource;
use ouro_common::document::{NodeView, NodesDocument};
use ouro_common::mfpi::Gate;
use ouro_common::step::AdminState;

/// Warnings of one node that are shown without `--wide`.
const WARNINGS_SHOWN: usize = 2;

/// The table, with a paragraph for each node when `wide`.
pub(crate) fn render(document: &NodesDocument, style: Style, wide: bool) -> String {
    let mut page = Page::new(style);
    if document.nodes.is_empty() {
        page.text(
            0,
            "No nodes yet. Make a token with `ouroctl token create`, then run `ouro-agent join SERVER --token …` on a machine.",
        );
        return page.finish();
    }
    page.block(&table(document.nodes.iter(), style));
    if document.nodes.iter().any(|n| n.recorded) {
        page.toned(0, "* its hardware is read from a recorded machine", Some(Tone::Dim));
    }
    spared(&mut page, &document.nodes);
    warnings(&mut page, &document.nodes, wide);
    if wide {
        for node in &document.nodes {
            details(&mut page, node);
        }
    }
    page.finish()
}

/// The rows of some nodes under their headings.
pub(crate) fn table<'a>(nodes: impl Iterator<Item = &'a NodeView>, style: Style) -> String {
    use Column::{Flexible, Left, Right};
    let columns = [
        ("NAME", Flexible),
        ("STATE", Left),
        ("KIND", Left),
        ("CPU", Right),
        ("GiB FREE", Right),
        ("POWER", Left),
        ("HEAT", Right),
        ("RTT", Right),
        ("GB/s", Right),
        ("SLOTS", Right),
        ("MFPI", Right),
        ("CTRS", Right),
    ];
    let mut table = Table::new(style, &columns);
    for node in nodes {
        table.row(row(node));
    }
    table.render(0)
}

fn row(node: &NodeView) -> Vec<Cell> {
    // The mark stands in a column that is never cut.
    let kind = format!("{}{}", text::cut(&node.kind, 8), if node.recorded { "*" } else { "" });
    let (state, tone) = state(node);
    // Whom the operators keep work from needs no second mark.
    let (mark, tone) = match &node.gate {
        Gate::Light(_) if node.admin == AdminState::Active => (" ½", Tone::Warn),
        Gate::Refuse(_) if node.admin == AdminState::Active => (" ✕", Tone::Bad),
        _ => ("", tone),
    };
    let known = |value: Option<f64>, show: fn(f64) -> String| value.map_or_else(|| UNKNOWN.to_string(), show);
    vec![
        text::cut(&node.name, 30).into(),
        Cell::toned(format!("{}{mark}", text::cut(&state, 11)), tone),
        kind.into(),
        node.logical_cpus.map_or_else(|| UNKNOWN.into(), |n| format!("{n}")).into(),
        format!("{}/{}", gib(node.memory_available_bytes), gib(node.memory_bytes)).into(),
        power(node).into(),
        known(node.max_c, |c| format!("{c:.0} °C")).into(),
        known(node.rtt_ms, rtt).into(),
        known(node.bandwidth_bytes_per_s, |b| decimals(b / 1e9)).into(),
        format!("{}/{}", node.busy, node.slots).into(),
        known(node.mfpi, decimals).into(),
        node.containers.len().to_string().into(),
    ]
}

/// One word for the operators' decision and the session together: whichever keeps work away comes first.
pub(crate) fn state(node: &NodeView) -> (String, Tone) {
    match (node.admin, node.session.as_str()) {
        (AdminState::Active, "online") => ("online".into(), Tone::Good),
        (AdminState::Active, "suspect") => ("suspect".into(), Tone::Warn),
        (AdminState::Active, other) => (other.into(), Tone::Bad),
        (AdminState::Quarantined | AdminState::Removed, _) => (node.admin.to_string(), Tone::Bad),
        (admin, _) => (admin.to_string(), Tone::Warn),
    }
}

fn rtt(ms: f64) -> String {
    if ms < 10.0 { format!("{ms:.1} ms") } else { format!("{ms:.0} ms") }
}

fn power(node: &NodeView) -> String {
    let charge = node.battery_percent.map(|p| format!("{p:.0} %"));
    match (node.charging, node.power, charge) {
        (Some(true), _, Some(charge)) => format!("chg {charge}"),
        (Some(true), _, None) => "charging".into(),
        (_, PowerSource::External, _) => "mains".into(),
        (_, PowerSource::Battery, Some(charge)) => format!("batt {charge}"),
        (_, PowerSource::Battery, None) => "battery".into(),
        (_, PowerSource::Unknown, _) => UNKNOWN.into(),
    }
}

/// Why nodes are given little or nothing: power, heat, others on the machine.
fn spared(page: &mut Page, nodes: &[NodeView]) {
    let spared: Vec<_> = nodes.iter().filter_map(|node| Some((node, node.gate.why()?))).collect();
    if spared.is_empty() {
        return;
    }
    page.heading("Spared", "½ light: nothing long, no model load; ✕ refuse: nothing new");
    for (node, why) in spared {
        let tone = if node.gate.level() == "light" { Tone::Warn } else { Tone::Bad };
        page.toned_item(2, &text::cut(&node.name, 20), &format!("{}: {why}", node.gate.level()), Some(tone));
    }
}

fn warnings(page: &mut Page, nodes: &[NodeView], wide: bool) {
    if nodes.iter().all(|n| n.warnings.is_empty()) {
        return;
    }
    page.heading("Warnings", "");
    for node in nodes {
        let shown = if wide { node.warnings.len() } else { WARNINGS_SHOWN };
        for warning in node.warnings.iter().take(shown) {
            page.toned_item(2, &text::cut(&node.name, 20), &format!("{}: {}", warning.path, warning.problem), Some(Tone::Warn));
        }
        let rest = node.warnings.len().saturating_sub(shown);
        if rest > 0 {
            page.item(2, &text::cut(&node.name, 20), &format!("and {rest} more, see `ouroctl nodes --wide`"));
        }
    }
}

fn details(page: &mut Page, node: &NodeView) {
    let since = node.session_for_ms.map(|ms| format!(", {} for {}", node.session, span_ms(ms as f64))).unwrap_or_default();
    page.heading(&text::cut(&node.name, 40), &format!("{}{since}", node.admin));
    page.item(2, "id", &node.id.to_string());
    page.item(2, "agent", node.agent_version.as_deref().unwrap_or(UNKNOWN));
    let threads = node.logical_cpus.map(|n| format!(", {n} threads")).unwrap_or_default();
    page.item(2, "cpu", &format!("{}{threads}", node.cpu.as_deref().unwrap_or(UNKNOWN)));
    if let Some(flops) = node.flops_per_s {
        page.item(2, "compute", &format!("{} GFLOP/s achieved", decimals(flops / 1e9)));
    }
    if let Some(bandwidth) = node.bandwidth_bytes_per_s {
        page.item(
            2,
            "memory",
            &format!("{} achieved, {} in all", rate(bandwidth), node.memory_bytes.map_or(UNKNOWN.into(), bytes)),
        );
    }
    let waits = [("cpu", node.pressure.cpu), ("memory", node.pressure.memory), ("io", node.pressure.io)];
    let waits: Vec<_> = waits
        .iter()
        .filter_map(|(name, stall)| Some(format!("{name} {} %", stall.as_ref()?.some.avg60_percent)))
        .collect();
    if !waits.is_empty() {
        page.item(2, "waiting", &format!("work waited over the last minute for {}", waits.join(", ")));
    }
    for accelerator in &node.accelerators {
        page.item(2, "accelerator", accelerator);
    }
    for runtime in &node.runtimes {
        let mark = if runtime.available { "" } else { "not available: " };
        page.item(2, "runtime", &format!("{}: {mark}{}", runtime.runtime, runtime.detail));
    }
    if !node.labels.is_empty() {
        let labels: Vec<_> = node.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
        page.item(2, "labels", &labels.join(" "));
    }
    let containers: Vec<_> = node.containers.iter().map(ToString::to_string).collect();
    page.item(2, "containers", if containers.is_empty() { "none".into() } else { containers.join(", ") }.as_str());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::sample;

    #[test]
    fn the_table_reads_well() {
        insta::assert_snapshot!(render(&sample::nodes(), Style::PLAIN, false));
    }

    #[test]
    fn the_wide_form_says_everything() {
        insta::assert_snapshot!(render(&sample::nodes(), Style::PLAIN, true));
    }

    #[test]
    fn an_empty_fleet_says_what_to_do() {
        let empty = NodesDocument { schema: "ouroboros.nodes/1".into(), nodes: vec![] };
        assert!(render(&empty, Style::PLAIN, false).contains("ouro-agent join"));
    }
}
