//! A plan's graph as a small tree: each step stands under the last of the steps it reads from, with its tags.

use super::text;
use ouro_common::document::StepView;
use ouro_common::id::Name;
use ouro_common::plan::{Plan, Step, Tags};
use std::collections::BTreeMap;

/// A step as the tree shows it.
pub(crate) struct Node {
    id: String,
    container: String,
    reads: Vec<Name>,
    writes: Vec<Name>,
    /// What stands at the end of the line.
    pub(crate) remark: String,
}

impl Node {
    fn new(id: &Name, container: String, inputs: &BTreeMap<Name, Tags>, outputs: &BTreeMap<Name, Name>) -> Self {
        let mut reads: Vec<Name> = inputs.values().flat_map(Tags::iter).cloned().collect();
        reads.dedup();
        Self {
            id: id.to_string(),
            container,
            reads,
            writes: outputs.values().cloned().collect(),
            remark: String::new(),
        }
    }

    /// A step of a plan.
    pub(crate) fn of_plan(step: &Step, remark: String) -> Self {
        Self { remark, ..Self::new(&step.id, step.container.to_string(), &step.inputs, &step.outputs) }
    }

    /// A step of a trace.
    pub(crate) fn of_trace(step: &StepView, remark: String) -> Self {
        Self { remark, ..Self::new(&step.id, step.container.to_string(), &step.inputs, &step.outputs) }
    }
}

/// The steps of a plan, each with the remark that `remark` finds for it.
pub(crate) fn of_plan(plan: &Plan, remark: impl Fn(&Step) -> String) -> Vec<Node> {
    plan.steps.iter().map(|s| Node::of_plan(s, remark(s))).collect()
}

/// The tree, a line per step, in order.
pub(crate) fn render(nodes: &[Node], indent: usize) -> String {
    let parents: Vec<Option<usize>> = nodes
        .iter()
        .enumerate()
        .map(|(i, node)| nodes[..i].iter().rposition(|earlier| earlier.writes.iter().any(|tag| node.reads.contains(tag))))
        .collect();
    let mut lines = Vec::new();
    branch(nodes, &parents, None, "", &mut lines);
    let column = |take: fn(&(String, String, String)) -> &String| lines.iter().map(|l| text::width(take(l))).max().unwrap_or(0);
    let (first, second) = (column(|l| &l.0).min(44), column(|l| &l.1).min(44));
    let mut out = String::new();
    for (head, flow, remark) in &lines {
        let line = format!("{}  {}  {remark}", text::pad(head, first), text::pad(&text::cut(flow, 44), second));
        out.push_str(&" ".repeat(indent));
        out.push_str(text::cut_line(&line, super::WIDTH - indent).trim_end());
        out.push('\n');
    }
    out
}

/// Adds the children of `parent`, depth first.
fn branch(nodes: &[Node], parents: &[Option<usize>], parent: Option<usize>, stem: &str, lines: &mut Vec<(String, String, String)>) {
    let children: Vec<usize> = (0..nodes.len()).filter(|i| parents[*i] == parent).collect();
    for (position, index) in children.iter().enumerate() {
        let last = position + 1 == children.len();
        let node = &nodes[*index];
        let joint = if last { "└─ " } else { "├─ " };
        let flow = format!("{} → {}", names(&node.reads), names(&node.writes));
        lines.push((format!("{stem}{joint}{} {}", node.id, node.container), flow, text::one_line(&node.remark)));
        branch(nodes, parents, Some(*index), &format!("{stem}{}", if last { "   " } else { "│  " }), lines);
    }
}

fn names(tags: &[Name]) -> String {
    match tags {
        [] => "nothing".into(),
        some => some.iter().map(Name::as_str).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::sample;

    #[test]
    fn a_step_stands_under_the_last_step_it_reads_from() {
        let tree = render(&of_plan(&sample::plan().plan.unwrap(), |_| "here".into()), 2);
        insta::assert_snapshot!(tree);
    }
}
