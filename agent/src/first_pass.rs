//! The first pass: the small model's worker, one of the pool's, asked one prompt at a time, and the rules about when it is not asked
//! at all.
//!
//! The worker decides before anything is shown; text that arrives from it is an answer.

use crate::config::FirstPassConfig;
use crate::runtimes::model_digest;
use crate::workers::protocol::{AttemptOrder, Order, Word};
use crate::workers::{FirstPassLoad, Lent, Pool, RunFailure, Unready, WorkerOptions};
use ouro_common::device::{PowerSource, Readings};
use ouro_common::envelope::{Envelope, FirstPassReport, OffloadFlag};
use ouro_common::step::FailureClass;
use ouro_engine::deferral::{Situation, before_start};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

/// Below this charge, on battery, the machine is spared.
const LOW_BATTERY_PERCENT: f64 = 15.0;
/// So close to the temperature at which the machine protects itself, it is spared.
const HEAT_MARGIN_C: f64 = 5.0;
/// Memory a model needs beside its weights: the cache and what is computed.
const MEMORY_SHARE: f64 = 1.25;

/// How often it is looked whether a model that is to stay is there.
const LOOKS_AGAIN: Duration = Duration::from_secs(5);

/// What the first pass needs.
#[derive(Debug, Clone)]
pub struct FirstPassOptions {
    /// `[first_pass]` of the configuration.
    pub config: FirstPassConfig,
    /// How its worker is started.
    pub workers: WorkerOptions,
    /// Where digests of models are kept.
    pub digests: Option<PathBuf>,
    /// Whether everything is offloaded by policy.
    pub offload_always: bool,
}

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempted {
    /// What was found and decided.
    pub report: FirstPassReport,
    /// The answer; empty when the request is to be offloaded.
    pub text: String,
}

/// The first pass of this machine. Clones share its worker, which is one of the pool's.
#[derive(Clone)]
pub struct FirstPass {
    options: Arc<FirstPassOptions>,
    pool: Pool,
    /// Held by who speaks with the worker.
    turn: Arc<Mutex<()>>,
}

impl FirstPass {
    /// A first pass whose worker is started when the first prompt comes.
    pub fn new(options: FirstPassOptions, pool: Pool) -> Self {
        Self { options: Arc::new(options), pool, turn: Arc::default() }
    }

    /// The model, if there is one to use.
    pub fn model(&self) -> Option<&PathBuf> {
        self.options.config.model.as_ref().filter(|_| self.options.config.enabled)
    }

    /// Why a request is offloaded without asking the model; `None` when it is asked.
    pub fn refuses(&self, envelope: &Envelope, skip: bool, readings: &Readings) -> Option<(OffloadFlag, String)> {
        let because = |flag, why: &str| Some((flag, why.to_string()));
        if skip || envelope.approved_plan.is_some() {
            return because(OffloadFlag::User, "the user asked for the fleet");
        }
        if self.options.offload_always {
            return because(OffloadFlag::Policy, "this node's configuration sends everything to the fleet");
        }
        // What needs no tokens to be counted is settled before a worker starts; the rest of the rule when it has the model.
        let (has_model, inputs) = (self.model().is_some(), envelope.inputs.len());
        if let Some(refusal) = before_start(&Situation { has_model, inputs, context: usize::MAX, ..Situation::default() }) {
            return Some((refusal.flag, refusal.why));
        }
        let model = self.model()?;
        let Ok(size) = model_digest::size_bytes(model) else {
            return Some((OffloadFlag::ModelMissing, format!("the model {} cannot be read", model.display())));
        };
        // What is loaded has its memory already.
        spared(readings, if self.pool.has_first_pass() { 0 } else { size })
    }

    /// Tries to answer. What goes to `chunks` may be shown at once. Where other models take the memory, the fleet is not waited with.
    ///
    /// # Errors
    /// When the model cannot be used or its worker died; then the text that was sent is void.
    pub async fn attempt(
        &self,
        envelope: &Envelope,
        chunks: mpsc::Sender<String>,
        cancel: &CancellationToken,
    ) -> Result<Attempted, RunFailure> {
        let config = &self.options.config;
        let order = Order::Attempt(Box::new(AttemptOrder {
            prompt: envelope.prompt.clone(),
            inputs: envelope.inputs.len(),
            max_tokens: config.max_tokens,
            budget_ms: envelope.budget_ms,
            feature: config.feature.clone(),
            threshold: config.threshold,
            wish: config.wish(),
        }));
        match self.ask(&order, chunks, cancel, Some(Duration::ZERO)).await {
            Ok(Word::Attempted { report, text }) => Ok(Attempted { report: *report, text }),
            Ok(_) => Err(RunFailure::new(FailureClass::Error, "the first pass gave no report")),
            Err(Unready::NoRoom(no_room)) => {
                let report = FirstPassReport { flags: vec![OffloadFlag::Memory], why: no_room.to_string(), ..FirstPassReport::default() };
                Ok(Attempted { report, text: String::new() })
            }
            Err(Unready::Failed(failure)) => Err(failure),
        }
    }

    /// Answers however unsure the model is, because nobody else can be reached.
    ///
    /// # Errors
    /// When the model cannot be used or its worker died.
    pub async fn answer(&self, prompt: &str, chunks: mpsc::Sender<String>, cancel: &CancellationToken) -> Result<String, RunFailure> {
        let order = Order::Answer { prompt: prompt.to_string(), max_tokens: self.options.config.max_tokens };
        match self.ask(&order, chunks, cancel, None).await? {
            Word::Answered { text } => Ok(text),
            _ => Err(RunFailure::new(FailureClass::Error, "the first pass gave no answer")),
        }
    }

    /// One order after the other: the worker holds one model and computes with all its threads.
    async fn ask(
        &self,
        order: &Order,
        chunks: mpsc::Sender<String>,
        cancel: &CancellationToken,
        patience: Option<Duration>,
    ) -> Result<Word, Unready> {
        let asked = async {
            let _turn = self.turn.lock().await;
            // A worker whose asker goes away is dropped, and that kills it.
            let mut lent = self.open(patience).await?;
            let answer = lent.ask(order, &chunks).await;
            // Who refused is as good as before.
            if answer.as_ref().err().is_none_or(|failure| failure.class != FailureClass::Crashed) {
                lent.give_back();
            }
            answer.map_err(Unready::from)
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(RunFailure::new(FailureClass::Drained, "the request was cancelled").into()),
            result = asked => result,
        }
    }

    async fn open(&self, patience: Option<Duration>) -> Result<Lent, Unready> {
        let failed = |why: String| RunFailure::new(FailureClass::LoadFailed, why);
        let model = self.model().ok_or_else(|| failed("there is no model".into()))?;
        let bytes = model_digest::size_bytes(model).map_err(|e| failed(format!("{}: {e}", model.display())))?;
        let (config, digests) = (&self.options.config, self.options.digests.clone());
        let order = Order::Open { model: model.clone(), calibration: config.calibration.clone(), digests };
        self.pool.first_pass(FirstPassLoad { model, bytes, workers: &self.options.workers, order }, patience).await
    }

    /// Loads the model before anybody asks.
    ///
    /// # Errors
    /// When there is none, it cannot be used, or there is no room for it.
    pub async fn load(&self) -> Result<(), RunFailure> {
        let _turn = self.turn.lock().await;
        if !self.pool.has_first_pass() {
            self.open(None).await?.wait();
        }
        Ok(())
    }

    /// Keeps the model loaded where `agent.toml` says that it is to be, for ever.
    pub async fn keep_loaded(self) {
        let mut told = false;
        while self.pool.policies().preloads_first_pass() && self.model().is_some() {
            if !self.pool.is_strained()
                && let Err(failure) = self.load().await
                && !std::mem::replace(&mut told, true)
            {
                tracing::warn!(why = failure.why, "the model of the first pass cannot be kept loaded");
            }
            tokio::time::sleep(LOOKS_AGAIN).await;
        }
    }
}

/// Whether the machine is too weak just now to be bothered.
fn spared(readings: &Readings, model_bytes: u64) -> Option<(OffloadFlag, String)> {
    if readings.power == PowerSource::Battery
        && let Some(percent) = readings.battery_percent.filter(|p| *p < LOW_BATTERY_PERCENT)
    {
        return Some((OffloadFlag::Battery, format!("the battery is at {percent:.0} %, below {LOW_BATTERY_PERCENT:.0} %")));
    }
    if let (Some(hottest), Some(critical)) = (readings.max_c, readings.critical_c)
        && hottest > critical - HEAT_MARGIN_C
    {
        return Some((OffloadFlag::Thermal, format!("the machine is at {hottest:.0} °C and protects itself at {critical:.0} °C")));
    }
    let needed = model_bytes as f64 * MEMORY_SHARE;
    match readings.memory_available_bytes {
        Some(free) if (free as f64) < needed => {
            let mib = |bytes: f64| bytes / f64::from(1 << 20);
            Some((
                OffloadFlag::Memory,
                format!("{:.0} MiB are free and the model needs {:.0} MiB", mib(free as f64), mib(needed)),
            ))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_in_need_is_spared_and_unknown_is_no_reason() {
        let flag = |readings: &Readings| spared(readings, 100 << 20).map(|(flag, _)| flag);
        let fine = Readings::default();
        assert_eq!(flag(&fine), None);
        let battery = Readings { power: PowerSource::Battery, battery_percent: Some(9.0), ..fine.clone() };
        assert_eq!(flag(&battery), Some(OffloadFlag::Battery));
        assert_eq!(flag(&Readings { power: PowerSource::External, ..battery }), None);
        assert_eq!(flag(&Readings { max_c: Some(97.0), critical_c: Some(100.0), ..fine.clone() }), Some(OffloadFlag::Thermal));
        assert_eq!(flag(&Readings { memory_available_bytes: Some(110 << 20), ..fine }), Some(OffloadFlag::Memory));
    }
}
