//! A scheduler's decision: every candidate with its seconds per term, and the refused nodes by reason.

use super::page::Page;
use super::quantity::{counted, decimals, span_ms};
use super::table::{Cell, Column, Table};
use super::{Tone, text};
use ouro_common::document::{Candidate, DecisionView};
use ouro_common::mfpi::Terms;

/// The candidates as a table, then the refusals, then the remedy.
pub(crate) fn render(page: &mut Page, indent: usize, decision: &DecisionView) {
    if !decision.candidates.is_empty() {
        page.block(&candidates(page, indent, decision));
        unknown_factors(page, indent, decision);
    }
    refusals(page, indent, decision);
    if let Some(remedy) = &decision.remedy {
        page.toned_item(indent, "remedy", remedy, Some(Tone::Strong));
    }
}

fn candidates(page: &Page, indent: usize, decision: &DecisionView) -> String {
    use Column::{Flexible, Right};
    let columns = [
        ("  CANDIDATE", Flexible),
        ("SECONDS", Right),
        ("NET", Right),
        ("QUEUE", Right),
        ("PLUG", Right),
        ("PRE", Right),
        ("DEC", Right),
        ("RETRY", Right),
        ("MFPI", Right),
    ];
    let mut table = Table::new(page.style(), &columns);
    for candidate in &decision.candidates {
        let won = decision.winner == Some(candidate.node);
        let tone = if won { Tone::Good } else { Tone::Dim };
        let name = format!("{} {}", if won { "→" } else { "·" }, text::cut(&candidate.name, 30));
        let terms = &candidate.terms;
        let mut cells = vec![
            if won { Cell::toned(name, Tone::Good) } else { Cell::from(name) },
            Cell::toned(seconds(candidate.total_s), tone),
        ];
        cells.extend(TERMS.iter().map(|(_, of)| Cell::from(seconds(of(terms)))));
        cells.push(decimals(candidate.mfpi).into());
        table.row(cells);
    }
    table.render(indent)
}

type Term = (&'static str, fn(&Terms) -> f64);
/// The terms in the formula's order, in words.
const TERMS: [Term; 6] = [
    ("network", |t| t.net_s),
    ("queue", |t| t.queue_s),
    ("plugging", |t| t.plug_s),
    ("prompt phase", |t| t.pre_s),
    ("decoding", |t| t.dec_s),
    ("risk of a retry", |t| t.retry_s),
];

/// Seconds with millisecond precision where that says something; exactly nothing is a dash.
fn seconds(s: f64) -> String {
    match s {
        0.0 => "-".into(),
        s if s < 0.0005 => "<0.001".into(),
        s if s < 100.0 => format!("{s:.3}"),
        s => format!("{s:.0}"),
    }
}

fn unknown_factors(page: &mut Page, indent: usize, decision: &DecisionView) {
    for candidate in decision.candidates.iter().filter(|c| !c.unknown.is_empty()) {
        let what = candidate.unknown.join(", ");
        let line = format!("{}: not known, a pessimistic figure was used: {what}", candidate.name);
        page.toned(indent + 2, &line, Some(Tone::Dim));
    }
}

/// The refused nodes by reason, with examples.
pub(crate) fn refusals(page: &mut Page, indent: usize, decision: &DecisionView) {
    for (index, refusal) in decision.refusals.iter().enumerate() {
        let shown = refusal.examples.len();
        let rest = usize::try_from(refusal.count).unwrap_or(usize::MAX).saturating_sub(shown);
        let more = if shown > 0 && rest > 0 { format!(" and {rest} more") } else { String::new() };
        let examples = if shown > 0 { format!(": {}{more}", refusal.examples.join("; ")) } else { String::new() };
        page.item(indent, if index == 0 { "refused" } else { "" }, &format!("{} × {}{examples}", refusal.count, refusal.reason));
    }
}

/// A decision in one line: `odin in 0.31 s (of 3 that could)`.
pub(crate) fn short(decision: &DecisionView) -> String {
    match winner(decision) {
        Some(best) => format!(
            "{} in {} (MFPI {}, of {})",
            best.name,
            span_ms(best.total_s * 1000.0),
            decimals(best.mfpi),
            counted(decision.candidates.len(), "candidate", "candidates"),
        ),
        None => match decision.refusals.first() {
            Some(first) => format!("nowhere: {}", first.reason),
            None => "nowhere: there are no nodes".into(),
        },
    }
}

/// The same in two or three words, for the tree: `odin, 312 ms`.
pub(crate) fn brief(decision: &DecisionView) -> String {
    winner(decision).map_or_else(|| "nowhere yet".into(), |best| format!("{}, {}", best.name, span_ms(best.total_s * 1000.0)))
}

/// The candidate that won.
pub(crate) fn winner(decision: &DecisionView) -> Option<&Candidate> {
    decision.candidates.iter().find(|c| Some(c.node) == decision.winner)
}

/// Candidates nearer than this are told as equal, seconds.
const AS_GOOD_S: f64 = 0.0005;

/// Why the winner won, in one sentence: by how much, and where the difference lies.
pub(crate) fn why(decision: &DecisionView) -> Option<String> {
    let best = winner(decision)?;
    let time = |s: f64| span_ms(s * 1000.0);
    let Some(next) = decision.candidates.iter().filter(|c| c.node != best.node).min_by(|a, b| a.total_s.total_cmp(&b.total_s)) else {
        return Some(format!("{} is the only node that could run it, in {}", best.name, time(best.total_s)));
    };
    let difference = next.total_s - best.total_s;
    let (term, larger) = TERMS.iter().map(|(name, of)| (name, of(&next.terms) - of(&best.terms))).max_by(|a, b| a.1.total_cmp(&b.1))?;
    let where_it_lies = if larger > 0.0 { format!(", most of it {term}") } else { String::new() };
    Some(match difference {
        d if d >= AS_GOOD_S => format!(
            "{} would finish soonest, in {}; {} would take {} ({} more{where_it_lies})",
            best.name,
            time(best.total_s),
            next.name,
            time(next.total_s),
            time(d),
        ),
        _ => format!("{} in {}; {} would be as good", best.name, time(best.total_s), next.name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Style, sample};

    #[test]
    fn the_reason_names_the_term_that_decides() {
        let decision = sample::decision();
        assert_eq!(
            why(&decision).unwrap(),
            "odin would finish soonest, in 312 ms; lena would take 1.41 s (1.10 s more, most of it plugging)"
        );
        assert_eq!(short(&decision), "odin in 312 ms (MFPI 1.82, of 2 candidates)");
        let alone = DecisionView { candidates: decision.candidates[..1].to_vec(), ..decision };
        assert!(why(&alone).unwrap().contains("only node"));
        assert_eq!(why(&sample::no_decision()), None);
        assert_eq!(short(&sample::no_decision()), "nowhere: container not present");
    }

    #[test]
    fn candidates_refusals_and_remedy_are_all_shown() {
        let mut page = Page::new(Style::PLAIN);
        render(&mut page, 2, &sample::decision());
        render(&mut page, 2, &sample::no_decision());
        insta::assert_snapshot!(page.finish());
    }
}
