//! What a decision costs: `decide_over` on the columns of a modelled fleet, one step at a time, in processor time of one core.
//!
//! Every node holds the container and nearly every one passes the filters, so nothing is spared by refusing early.

use anyhow::Context as _;
use ouro_common::clock::Instant as StoreInstant;
use ouro_common::id::{NodeId, RequestId};
use ouro_server::scheduler::snapshot::{InputState, NodeState, StepState, WorkState};
use ouro_server::scheduler::{Columns, decide_over};
use ouro_server::simulate::{FleetKind, containers, fleet};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// Nodes whose readings change between two decisions of the second measurement: of ten thousand, two thousand send a heartbeat
/// each second, and a hundred decisions are taken in that time.
const CHANGES: usize = 20;
/// One node in so many has work.
const BUSY: usize = 10;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct DecisionOptions {
    /// Nodes in the fleet.
    pub nodes: u32,
    /// Decisions in each measurement.
    pub decisions: u32,
}

/// What was measured, µs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decisions {
    /// Nodes in the fleet.
    pub nodes: u32,
    /// Decisions in each measurement.
    pub decisions: u32,
    /// Nothing has changed since the last decision: half were taken within this.
    pub still_p50_us: f64,
    /// 99 % were.
    pub still_p99_us: f64,
    /// Twenty nodes have changed; taking that over is part of it.
    pub moving_p50_us: f64,
    /// 99 % were.
    pub moving_p99_us: f64,
    /// Making the columns of the whole fleet anew.
    pub columns_us: f64,
}

/// Measures.
///
/// # Errors
/// When no step was placed: then something else was measured.
pub fn decisions(options: &DecisionOptions) -> anyhow::Result<Decisions> {
    let containers = containers()?;
    let digests: Vec<_> = containers.keys().copied().collect();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut nodes: Vec<NodeState> = fleet(FleetKind::Mixed, options.nodes, &digests, &mut rng).into_iter().map(|m| m.state).collect();
    nodes.iter_mut().step_by(BUSY).for_each(|n| n.ends.push(StoreInstant(5_000)));
    let container = *digests.first().context("there are containers")?;
    let step = containers[&container].name.clone();
    let work = |n: u32| WorkState {
        steps: vec![StepState {
            request: RequestId::from_parts(u64::from(n), [0; 10]),
            plan: 1,
            step: step.clone(),
            container: digests[n as usize % digests.len()],
            inputs: vec![InputState { size_bytes: 4_000, holders: vec![NodeId::from_parts(0, [0; 10])] }],
            failed_on: vec![],
            too_large_for: vec![],
            alone: false,
            private_owner: None,
            remaining_s: 600.0,
            waited: false,
        }],
        containers: containers.clone(),
        ..WorkState::default()
    };
    let begin = processor_time();
    let mut columns = Columns::new(nodes.iter().cloned().map(Arc::new).collect());
    let columns_us = micros(processor_time().saturating_sub(begin));
    // The first decision about a container makes its columns.
    (0..digests.len() as u32).for_each(|n| drop(decide_over(&mut columns, &work(n), StoreInstant(1), 0)));
    let mut measure = |changes: usize| -> anyhow::Result<Vec<Duration>> {
        let mut times = Vec::new();
        for n in 0..options.decisions {
            let first = n as usize * CHANGES;
            let changed: Vec<_> = (first..first + changes)
                .map(|i| {
                    let mut node = nodes[i % nodes.len()].clone();
                    node.readings.foreign_load = Some(f64::from(n % 10) / 20.0);
                    Arc::new(node)
                })
                .collect();
            let work = work(n);
            let begin = processor_time();
            changed.into_iter().for_each(|node| columns.put(node));
            let decision = decide_over(&mut columns, &work, StoreInstant(u64::from(n)), u64::from(n));
            times.push(processor_time().saturating_sub(begin));
            anyhow::ensure!(!decision.actions.is_empty(), "a step was not placed: {:?}", decision.report[0].view.remedy);
        }
        Ok(times)
    };
    let (still, moving) = (measure(0)?, measure(CHANGES)?);
    let at = |times: &[Duration], share| crate::noop::quantile_ms(times, share) * 1e3;
    Ok(Decisions {
        nodes: options.nodes,
        decisions: options.decisions,
        still_p50_us: at(&still, 0.5),
        still_p99_us: at(&still, 0.99),
        moving_p50_us: at(&moving, 0.5),
        moving_p99_us: at(&moving, 0.99),
        columns_us,
    })
}

/// What this thread has had of a processor: what others do on the machine is not part of a decision.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

impl Decisions {
    /// For people.
    pub fn table(&self) -> String {
        format!(
            "nodes                                          {}\n\
             decisions in each measurement                  {}\n\
             nothing has changed since the last: P50        {:.0} µs\n\
             nothing has changed since the last: P99        {:.0} µs\n\
             {CHANGES} nodes have changed: P50                      {:.0} µs\n\
             {CHANGES} nodes have changed: P99                      {:.0} µs\n\
             making all columns anew                        {:.0} µs\n",
            self.nodes, self.decisions, self.still_p50_us, self.still_p99_us, self.moving_p50_us, self.moving_p99_us, self.columns_us
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_fleet_is_measured() {
        let measured = decisions(&DecisionOptions { nodes: 100, decisions: 20 }).unwrap();
        assert!(measured.still_p50_us > 0.0 && measured.still_p50_us <= measured.still_p99_us);
        assert!(measured.table().contains("nodes have changed"));
    }
}
