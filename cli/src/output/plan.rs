//! `ouroctl submit --plan`: the graph and where each step would go, with predicted times.

use super::page::Page;
use super::quantity::{counted, span_ms};
use super::{Style, graph, placement, trace};
use ouro_common::document::{PlanDocument, PlannedStep};
use ouro_common::id::Name;
use ouro_common::plan::Plan;
use std::collections::BTreeMap;

/// The plan, or why there is none.
pub(crate) fn render(document: &PlanDocument, style: Style) -> String {
    let mut page = Page::new(style);
    if let Some(plan) = &document.plan {
        let total = predicted_s(plan, &document.placement).map(|s| format!(", about {} in all", span_ms(s * 1000.0)));
        let steps = counted(plan.steps.len(), "step", "steps");
        page.heading("Plan", &format!("by {}, {steps}, the answer is {}{}", plan.planner, plan.answer, total.unwrap_or_default()));
        let remark = |id: &Name| decision_of(&document.placement, id).map(|p| placement::brief(&p.decision)).unwrap_or_default();
        page.block(&graph::render(&graph::of_plan(plan, |step| remark(&step.id)), 2));
        for planned in &document.placement {
            let container = plan.steps.iter().find(|s| s.id == planned.step).map(|s| s.container.to_string()).unwrap_or_default();
            page.heading(&format!("Step {}", planned.step), &format!("{container}, {}", placement::short(&planned.decision)));
            placement::render(&mut page, 2, &planned.decision);
        }
    }
    if let Some(refusal) = &document.refusal {
        trace::refusal(&mut page, refusal);
    }
    page.finish()
}

fn decision_of<'a>(placement: &'a [PlannedStep], step: &Name) -> Option<&'a PlannedStep> {
    placement.iter().find(|p| p.step == *step)
}

/// The time along the graph's longest way, in seconds; `None` unless every step has a place.
fn predicted_s(plan: &Plan, placed: &[PlannedStep]) -> Option<f64> {
    let mut ends: BTreeMap<&Name, f64> = BTreeMap::new();
    for step in &plan.steps {
        let own = placement::winner(&decision_of(placed, &step.id)?.decision)?.total_s;
        let start = plan.dependencies(step).filter_map(|d| ends.get(d)).copied().fold(0.0, f64::max);
        ends.insert(&step.id, start + own);
    }
    ends.into_values().reduce(f64::max)
}

/// Whether every step would have a place now.
pub(crate) fn is_placeable(document: &PlanDocument) -> bool {
    document.plan.is_some() && document.placement.iter().all(|p| p.decision.winner.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::sample;

    #[test]
    fn the_graph_the_places_and_the_times_are_shown() {
        insta::assert_snapshot!(render(&sample::plan(), Style::PLAIN));
    }

    #[test]
    fn the_predicted_time_follows_the_longest_way() {
        let document = sample::plan();
        let total = predicted_s(document.plan.as_ref().unwrap(), &document.placement).unwrap();
        // s1 and s2 run beside each other, s3 after both; each takes as long.
        assert!((total - 2.0 * 0.312).abs() < 1e-9, "{total}");
        assert!(is_placeable(&document));
        let mut stuck = document;
        stuck.placement[2].decision = sample::no_decision();
        assert_eq!(predicted_s(stuck.plan.as_ref().unwrap(), &stuck.placement), None);
        assert!(!is_placeable(&stuck));
    }
}
