//! What is asked of the modelled machines: three language models of different size, and requests of a trace's lengths.

use super::machines::{MEAN_FOREIGN_LOAD, Machine};
use super::policy::Seen;
use super::trace::Arrival;
use crate::scheduler::predict::nominal_cost;
use crate::scheduler::snapshot::{InputState, StepState};
use ouro_common::container::{Manifest, ManifestError};
use ouro_common::id::{Digest, RequestId};
use ouro_common::mfpi::{NodeFactors, PlugState, Residuals, StepCost, Terms, predict};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes of text for each token, as the scheduler reckons.
const BYTES_PER_TOKEN: f64 = 4.0;

/// The models: parameters, bytes of weights, cache bytes per token, how many in ten requests ask for it.
pub(super) const MODELS: [(f64, f64, f64, u32); 3] =
    [(1.5e9, 1.0e9, 28_672.0, 3), (3.8e9, 2.4e9, 393_216.0, 5), (7.2e9, 4.4e9, 131_072.0, 2)];

/// A container of the simulation.
#[derive(Debug, Clone)]
pub(super) struct Model {
    pub(super) digest: Digest,
    pub(super) manifest: Arc<Manifest>,
    /// What it takes in memory, bytes.
    pub(super) memory_bytes: u64,
}

/// The three models; `output_tokens` is what their manifests expect.
///
/// # Errors
/// Never with finite lengths: the manifests are read as any other.
pub(super) fn models(output_tokens: f64) -> Result<Vec<Model>, ManifestError> {
    let model = |(i, (params, weights, kv, _)): (usize, &(f64, f64, f64, u32))| {
        let memory_bytes = (*weights * 1.1) as u64;
        let text = format!(
            "name = \"model-{i}\"\nversion = \"1.0.0\"\nsummary = \"A language model\"\nruntime = \"gguf\"\n\
             inputs = [{{ port = \"prompt\", media = \"text/plain\" }}]\noutputs = [{{ port = \"answer\", media = \"text/plain\" }}]\n\
             [needs]\nmemory_bytes = {memory_bytes}\n[cost]\nweights_bytes = {}\ninit_s = 0.5\nactive_params = {params:?}\n\
             kv_bytes_per_token = {kv:?}\noutput_tokens = {output_tokens:?}\noutput_bytes = {}\n",
            *weights as u64,
            (output_tokens * BYTES_PER_TOKEN) as u64,
        );
        let manifest = Arc::new(Manifest::from_toml(&text)?);
        Ok(Model { digest: Digest::sha256([i as u8; 32]), manifest, memory_bytes })
    };
    MODELS.iter().enumerate().map(model).collect()
}

/// The containers of the simulation, for those who want a fleet to decide about.
///
/// # Errors
/// Never: the manifests are read as any other.
pub fn containers() -> Result<BTreeMap<Digest, Arc<Manifest>>, ManifestError> {
    Ok(models(128.0)?.into_iter().map(|m| (m.digest, m.manifest)).collect())
}

/// A request.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) request: RequestId,
    pub(super) at_s: f64,
    pub(super) model: usize,
    prompt_tokens: f64,
    output_tokens: f64,
    /// What it takes, as a multiple of what the formula says.
    noise: f64,
}

impl Job {
    pub(super) fn of(n: usize, arrival: &Arrival, noise: f64, rng: &mut ChaCha8Rng) -> Self {
        let mut random = [0; 10];
        random[2..].copy_from_slice(&(n as u64).to_be_bytes());
        let mut drawn = rng.random_range(0..10u32);
        let model = MODELS.iter().position(|(_, _, _, share)| {
            let hit = drawn < *share;
            drawn = drawn.saturating_sub(*share);
            hit
        });
        Self {
            request: RequestId::from_parts(0, random),
            at_s: arrival.at_s,
            model: model.unwrap_or(0),
            prompt_tokens: arrival.prompt_tokens,
            output_tokens: arrival.output_tokens,
            noise,
        }
    }

    pub(super) fn bytes_in(&self) -> f64 {
        self.prompt_tokens * BYTES_PER_TOKEN
    }

    pub(super) fn bytes_out(&self) -> f64 {
        self.output_tokens * BYTES_PER_TOKEN
    }

    /// As the scheduler sees it.
    pub(super) fn step(&self, models: &[Model]) -> StepState {
        StepState {
            request: self.request,
            plan: 1,
            step: models[self.model].manifest.name.clone(),
            container: models[self.model].digest,
            inputs: vec![InputState { size_bytes: self.bytes_in() as u64, holders: vec![] }],
            failed_on: vec![],
            too_large_for: vec![],
            alone: false,
            private_owner: None,
            remaining_s: 600.0,
            waited: false,
        }
    }

    fn cost(&self, model: &Model, plug: PlugState) -> StepCost {
        let nominal = nominal_cost(&self.step(std::slice::from_ref(model)), &model.manifest);
        StepCost { output_tokens: self.output_tokens, bytes_out: self.bytes_out(), plug, ..nominal }
    }
}

/// What a request really takes on a machine that begins with it now.
pub(super) fn true_terms(machine: &Machine, job: &Job, model: &Model) -> Terms {
    let plug = match machine.state.loaded.contains(&model.digest) {
        true => PlugState::Loaded,
        false => PlugState::Absent {
            missing_bytes: model.manifest.cost.weights_bytes as f64,
            unverified: true,
            init_s: model.manifest.cost.init_s,
            to_accelerator: false,
        },
    };
    let job = Job { model: 0, ..job.clone() };
    let terms = predict(&machine.truth, &job.cost(model, plug), &Residuals::default());
    Terms {
        plug_s: terms.plug_s * job.noise,
        pre_s: terms.pre_s * job.noise,
        dec_s: terms.dec_s * job.noise,
        ..terms
    }
}

/// The mean seconds of computing for one request of the trace, with everything loaded.
fn mean_s(factors: &NodeFactors, models: &[Model], arrivals: &[Arrival]) -> f64 {
    let sample: Vec<&Arrival> = arrivals.iter().step_by((arrivals.len() / 500).max(1)).collect();
    let of = |(model, weight): (&Model, u32)| {
        let seconds = |a: &&Arrival| {
            let job = Job {
                request: RequestId::from_parts(0, [0; 10]),
                at_s: 0.0,
                model: 0,
                prompt_tokens: a.prompt_tokens,
                output_tokens: a.output_tokens,
                noise: 1.0,
            };
            let terms = predict(factors, &job.cost(model, PlugState::Loaded), &Residuals::default());
            terms.pre_s + terms.dec_s
        };
        f64::from(weight) / 10.0 * sample.iter().map(seconds).sum::<f64>() / sample.len() as f64
    };
    models.iter().zip(MODELS).map(|(m, (_, _, _, share))| of((m, share))).sum()
}

/// Requests a second that all machines together could do if none ever waited.
pub(super) fn capacity(machines: &[Machine], models: &[Model], arrivals: &[Arrival]) -> f64 {
    let of = |m: &Machine| 1.0 / mean_s(&NodeFactors { foreign_load: MEAN_FOREIGN_LOAD, ..m.truth.clone() }, models, arrivals);
    machines.iter().map(of).sum()
}

/// What the simple rules know of the machines: the claims.
pub(super) fn seen(machines: &[Machine], models: &[Model]) -> Vec<Seen> {
    let typical = [Arrival { at_s: 0.0, prompt_tokens: 1200.0, output_tokens: models[0].manifest.cost.output_tokens }];
    let claims = |m: &Machine| {
        let profile = m.state.profile.as_deref();
        let claim = |figure: Option<f64>| figure.unwrap_or(0.0);
        let bandwidth = claim(profile.and_then(|p| p.bandwidth_bytes_per_s));
        let (flops, disk) = (claim(profile.and_then(|p| p.flops_per_s)), claim(profile.and_then(|p| p.disk_bytes_per_s)));
        (bandwidth, flops, disk, m.truth.link.srtt_s)
    };
    let all: Vec<_> = machines.iter().map(claims).collect();
    let most = |of: fn(&(f64, f64, f64, f64)) -> f64| all.iter().map(of).fold(f64::MIN_POSITIVE, f64::max);
    let most = (most(|c| c.0), most(|c| c.1), most(|c| c.2), most(|c| c.3));
    let one = |(m, c): (&Machine, &(f64, f64, f64, f64))| {
        let factors = NodeFactors { bandwidth_bytes_per_s: c.0, flops_per_s: c.1 * m.truth.clock_cap, clock_cap: 1.0, ..m.truth.clone() };
        Seen {
            eligible: true,
            queued: 0,
            capacity: 1.0 / mean_s(&factors, models, &typical),
            normal: [c.0 / most.0, c.1 / most.1, c.2 / most.2, 1.0 - c.3 / most.3, 1.0],
            loaded: false,
        }
    };
    machines.iter().zip(&all).map(one).collect()
}
