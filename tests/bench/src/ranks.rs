//! Whether forecasts rank nodes as they really finish: real steps of several kinds on agents with different shares of the processor,
//! behind lines of different length, pinned to each node in turn; what was predicted beside what each took, by the server's clock.
//!
//! What others do on the machine is held out: the nodes read a recorded machine, whose load stands still, and run before others. The measure is Kendall's τ-b over all pairs of nodes, for each kind of step and each round. In the first round nothing has been
//! learned of a node; before each later one it has run the step that often.

use crate::Machine;
use anyhow::{Context as _, ensure};
use ouro_common::document::ContainerView;
use ouro_common::envelope::{Envelope, Privacy};
use ouro_common::mfpi::threshold::Gate;
use ouro_common::step::RequestState;
use ouro_tests::{Client, CpuQuota, Fleet, LONG, Node, NodeOptions, Relay, assets, eventually, request, single_step, texts};
use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;
use std::fmt::Write as _;
use std::process::Command;
use std::time::Duration;

/// Processors that each agent may use, and how much later each piece of its line arrives, ms. The quickest line is not the fastest node's.
const NODES: [(f64, u64); 6] = [(1.6, 40), (0.8, 0), (0.4, 80), (0.25, 10), (0.15, 25), (0.08, 4)];

/// The machine that all nodes play: an idle one.
const MACHINE: &str = "minipc-arc";
/// How long others on the machine are waited for.
const PATIENCE: Duration = Duration::from_secs(600);

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct RankOptions {
    /// Runs of each kind on each node.
    pub rounds: u32,
}

/// A kind of step.
struct Kind {
    name: &'static str,
    container: &'static str,
    /// Bytes that it reads.
    input_bytes: usize,
}

const KINDS: [Kind; 4] = [
    Kind { name: "nothing to do", container: "noop", input_bytes: 0 },
    Kind { name: "a page to read", container: "keywords", input_bytes: 20_000 },
    Kind { name: "much to compute", container: "summarize", input_bytes: 2 << 20 },
    Kind { name: "much to carry", container: "noop", input_bytes: 12 << 20 },
];

/// A step on a node.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Run {
    predicted_s: f64,
    took_s: f64,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranks {
    /// For each kind and round the runs on all nodes, in their order.
    runs: Vec<Vec<Vec<Run>>>,
    /// The machine's load before and after.
    load: (Option<f64>, Option<f64>),
}

/// Starts a fleet and measures.
///
/// # Errors
/// When there are no cgroups here, or a step does not end well.
pub fn ranks(options: &RankOptions) -> anyhow::Result<Ranks> {
    let load_before = Machine::look().load_1min;
    let mut fleet = Fleet::new();
    for (n, (processors, delay_ms)) in NODES.into_iter().enumerate() {
        let relay = Relay::to(fleet.server.address(), Duration::from_millis(delay_ms));
        let name = name(n);
        let node = Node::prepare(
            &fleet.path(&name),
            &NodeOptions::new(&name, &["keywords", "summarize"]).slots(1).recorded(assets::recorded_machine(MACHINE)),
        );
        node.join(&relay.address(), &fleet.server.join_token());
        let mut node = node
            .wrapped(before_others)
            .limited(CpuQuota::new(processors).map_err(anyhow::Error::msg).context("a cgroup is needed")?);
        node.start();
        fleet.nodes.push(node);
    }
    (0..NODES.len()).for_each(|n| fleet.wait_container(&name(n), "summarize"));
    let mut client = fleet.client();
    // An agent that may use little of the processor may never come to measure the machine; it is all the same machine.
    eventually("round trips of all lines, and the machine measured", LONG, || {
        let nodes = client.nodes().nodes;
        let measured = nodes.iter().filter(|n| n.mfpi.is_some()).count() * 2 >= NODES.len();
        let found = |(n, (_, delay_ms)): (usize, &(f64, u64))| {
            let rtt_ms = nodes.iter().find(|node| node.name == name(n))?.rtt_ms?;
            (rtt_ms >= *delay_ms as f64).then_some(())
        };
        (measured && NODES.iter().enumerate().all(|node| found(node).is_some())).then_some(())
    });
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut runs = vec![vec![vec![]; options.rounds as usize]; KINDS.len()];
    for round in 0..options.rounds as usize {
        for (kind, runs) in KINDS.iter().zip(&mut runs) {
            let mut order: Vec<usize> = (0..NODES.len()).collect();
            order.shuffle(&mut rng);
            let mut found = vec![Run { predicted_s: f64::NAN, took_s: f64::NAN }; NODES.len()];
            for n in order {
                unhindered(&mut client, &name(n));
                found[n] = run(&fleet, &mut client, kind, &name(n)).with_context(|| format!("{} on {}", kind.name, name(n)))?;
            }
            runs[round] = found;
        }
    }
    Ok(Ranks { runs, load: (load_before, Machine::look().load_1min) })
}

/// Ahead of what else runs on this machine.
fn before_others(command: Command) -> Command {
    let mut ahead = Command::new("nice");
    ahead.args(["-n", "-10"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            ahead.env(name, value);
        }
    }
    ahead
}

fn name(n: usize) -> String {
    format!("n{}", n + 1)
}

/// Waits until nothing else on the machine keeps a node from work: then the others on it are measured, not the nodes.
fn unhindered(client: &mut Client, node: &str) {
    eventually(&format!("the machine to have time for {node}"), PATIENCE, || {
        let nodes = client.nodes().nodes;
        nodes.iter().find(|n| n.name == node).filter(|n| n.gate == Gate::Normal).map(drop)
    });
}

/// One step on a node: private requests go to their owner's nodes only.
fn run(fleet: &Fleet, client: &mut Client, kind: &Kind, node: &str) -> anyhow::Result<Run> {
    let label = |change: &[&str]| fleet.operator().run(&[&["node", "label", node], change].concat()).exits(0);
    let _ = label(&["--set", "owner=admin"]);
    let asking = client.asking();
    let container: ContainerView = client.wait_for(async { asking.container(kind.container).await })?;
    let text = texts::register(kind.input_bytes);
    let input = [("text", "text/plain", text.as_bytes())];
    let inputs = if kind.input_bytes == 0 { &[][..] } else { &input[..] };
    let mut plan = single_step(&container, serde_json::json!({}));
    if !inputs.is_empty() {
        let text: ouro_common::id::Name = "text".parse()?;
        plan.steps[0].inputs.values_mut().for_each(|tags| *tags = ouro_common::plan::Tags::One(text.clone()));
    }
    let envelope = Envelope { approved_plan: Some(plan), privacy: Privacy::Private, ..request("rank", inputs) };
    let bytes: Vec<&[u8]> = inputs.iter().map(|(.., bytes)| *bytes).collect();
    let id = client.submit(&envelope, &bytes)?;
    let result = client.finished(id);
    ensure!(result.state == RequestState::Done, "{id} is {}: {:?}", result.state, result.fault);
    let step = client.trace(id).steps.remove(0);
    let _ = label(&["--unset", "owner"]);
    ensure!(step.node_name.as_deref() == Some(node) && step.attempts.len() == 1, "it ran on {:?}", step.attempts);
    let ms = step.predicted_ms.zip(step.actual_ms).context("a step that is done has both figures")?;
    Ok(Run { predicted_s: ms.0 / 1e3, took_s: ms.1 / 1e3 })
}

/// Kendall's τ-b of two rankings: 1 the same, −1 the opposite, 0 unrelated.
fn kendall(pairs: &[(f64, f64)]) -> f64 {
    let (mut agree, mut only_a, mut only_b) = (0_i32, 0_i32, 0_i32);
    for (i, (a, b)) in pairs.iter().enumerate() {
        for (c, d) in &pairs[..i] {
            let (x, y) = (a.total_cmp(c) as i32, b.total_cmp(d) as i32);
            agree += x * y;
            only_a += x * x;
            only_b += y * y;
        }
    }
    f64::from(agree) / (f64::from(only_a) * f64::from(only_b)).sqrt()
}

impl Ranks {
    fn tau(runs: &[Run]) -> f64 {
        kendall(&runs.iter().map(|run| (run.predicted_s, run.took_s)).collect::<Vec<_>>())
    }

    /// The mean of τ over kinds of steps in each round.
    pub fn by_round(&self) -> Vec<f64> {
        let rounds = self.runs.first().map_or(0, Vec::len);
        (0..rounds)
            .map(|round| self.runs.iter().map(|kind| Self::tau(&kind[round])).sum::<f64>() / self.runs.len() as f64)
            .collect()
    }

    /// The mean of τ between what steps took in one round and in the next: how well reality ranks itself, and so the most that a forecast can.
    pub fn repeats(&self) -> f64 {
        let taus: Vec<f64> = self
            .runs
            .iter()
            .flat_map(|rounds| rounds.windows(2))
            .map(|two| kendall(&two[0].iter().zip(&two[1]).map(|(a, b)| (a.took_s, b.took_s)).collect::<Vec<_>>()))
            .collect();
        taus.iter().sum::<f64>() / taus.len() as f64
    }

    /// For people.
    pub fn table(&self) -> String {
        let figure = |load: Option<f64>| load.map_or_else(|| "unknown".to_string(), |load| format!("{load:.1}"));
        let mut text = format!("load of the machine (1 min): {} before, {} after\n", figure(self.load.0), figure(self.load.1));
        text.push_str("node: processors, delay each way       ");
        for (n, (processors, delay_ms)) in NODES.iter().enumerate() {
            let _ = write!(text, " {:>14}", format!("{}: {processors}, {delay_ms} ms", name(n)));
        }
        text.push('\n');
        for (kind, rounds) in KINDS.iter().zip(&self.runs) {
            let last = rounds.len().saturating_sub(1);
            for (what, round) in [("first", 0), ("last", last)] {
                let _ = write!(text, "{:<16} {what:<5} predicted, took, s", kind.name);
                for run in &rounds[round] {
                    let _ = write!(text, " {:>14}", format!("{:.3} {:.3}", run.predicted_s, run.took_s));
                }
                text.push('\n');
            }
            let taus: Vec<String> = rounds.iter().map(|runs| format!("{:.2}", Self::tau(runs))).collect();
            let _ = writeln!(text, "{:<16} τ by round {}", kind.name, taus.join(" "));
        }
        let all: Vec<String> = self.by_round().iter().map(|tau| format!("{tau:.2}")).collect();
        let _ = writeln!(text, "Kendall's τ, mean of all kinds, by round    {}", all.join(" "));
        let _ = writeln!(text, "the same of what one round and the next took {:.2}", self.repeats());
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rankings_are_compared_pair_by_pair() {
        let pairs = |b: [f64; 4]| [1.0, 2.0, 3.0, 4.0].into_iter().zip(b).collect::<Vec<_>>();
        assert_eq!(kendall(&pairs([10.0, 20.0, 30.0, 40.0])), 1.0);
        assert_eq!(kendall(&pairs([4.0, 3.0, 2.0, 1.0])), -1.0);
        assert!((kendall(&pairs([1.0, 3.0, 2.0, 4.0])) - 4.0 / 6.0).abs() < 1e-12, "one of six pairs is the other way round");
        assert!((kendall(&pairs([1.0, 1.0, 2.0, 3.0])) - 5.0 / 30.0_f64.sqrt()).abs() < 1e-12, "ties count less");
    }
}
