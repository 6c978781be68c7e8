//! The first pass: the small model's worker, asked one prompt at a time, and the rules about when it is not asked at all.
//!
//! The worker decides before anything is shown; text that arrives from it is an answer.

use crate::config::FirstPassConfig;
use crate::runtimes::model_digest;
use crate::workers::RunFailure;
use crate::workers::WorkerOptions;
use crate::workers::process::Process;
use crate::workers::protocol::{AttemptOrder, Order, Word};
use ouro_common::device::{PowerSource, Readings};
use ouro_common::envelope::{Envelope, FirstPassReport, OffloadFlag};
use ouro_common::step::FailureClass;
use ouro_engine::deferral::{Situation, before_start};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

/// Below this charge, on battery, the machine is spared.
const LOW_BATTERY_PERCENT: f64 = 15.0;
/// So close to the temperature at which the machine protects itself, it is spared.
const HEAT_MARGIN_C: f64 = 5.0;
/// Memory a model needs beside its weights: the cache and what is computed.
const MEMORY_SHARE: f64 = 1.25;

/// What the first pass needs.
#[derive(Debug, Clone)]
pub struct FirstPassOptions {
    /// `[first_pass]` of the configuration.
    pub config: FirstPassConfig,
    /// How its worker is started.
    pub workers: WorkerOptions,
    /// How long the unused model stays in memory.
    pub idle_timeout: Duration,
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

struct Kept {
    process: Process,
    used: Instant,
}

/// The first pass of this machine. Clones share its worker.
#[derive(Clone)]
pub struct FirstPass {
    options: Arc<FirstPassOptions>,
    worker: Arc<Mutex<Option<Kept>>>,
}

impl FirstPass {
    /// A first pass whose worker is started when the first prompt comes.
    pub fn new(options: FirstPassOptions) -> Self {
        Self { options: Arc::new(options), worker: Arc::default() }
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
        spared(readings, size)
    }

    /// Tries to answer. What goes to `chunks` may be shown at once.
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
        match self.ask(&order, chunks, cancel).await? {
            Word::Attempted { report, text } => Ok(Attempted { report: *report, text }),
            _ => Err(RunFailure::new(FailureClass::Error, "the first pass gave no report")),
        }
    }

    /// Answers however unsure the model is, because nobody else can be reached.
    ///
    /// # Errors
    /// When the model cannot be used or its worker died.
    pub async fn answer(&self, prompt: &str, chunks: mpsc::Sender<String>, cancel: &CancellationToken) -> Result<String, RunFailure> {
        let order = Order::Answer { prompt: prompt.to_string(), max_tokens: self.options.config.max_tokens };
        match self.ask(&order, chunks, cancel).await? {
            Word::Answered { text } => Ok(text),
            _ => Err(RunFailure::new(FailureClass::Error, "the first pass gave no answer")),
        }
    }

    /// One order after the other: the worker holds one model and computes with all its threads.
    async fn ask(&self, order: &Order, chunks: mpsc::Sender<String>, cancel: &CancellationToken) -> Result<Word, RunFailure> {
        let asked = async {
            let mut kept = self.worker.lock().await;
            // Taken out, so that a worker whose asker goes away is dropped, and that kills it.
            let mut process = match kept.take() {
                Some(kept) => kept.process,
                None => self.open().await?,
            };
            let answer = converse(&mut process, order, Some(&chunks)).await;
            let word = match answer {
                Some(word) => word,
                None => return Err(process.autopsy().await.into()),
            };
            *kept = Some(Kept { process, used: Instant::now() });
            refused(word)
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(RunFailure::new(FailureClass::Drained, "the request was cancelled")),
            result = asked => result,
        }
    }

    async fn open(&self) -> Result<Process, RunFailure> {
        let model = self.model().ok_or_else(|| RunFailure::new(FailureClass::LoadFailed, "there is no model"))?;
        let mut process = Process::start(&self.options.workers)
            .map_err(|e| RunFailure::new(FailureClass::LoadFailed, format!("a worker cannot be started: {e}")))?;
        let (config, digests) = (&self.options.config, self.options.digests.clone());
        let order = Order::Open { model: model.clone(), calibration: config.calibration.clone(), digests };
        match converse(&mut process, &order, None).await {
            Some(word) => refused(word).map(|_| process),
            None => Err(process.autopsy().await.into()),
        }
    }

    /// Gives the worker up when it has been idle for too long.
    pub fn tidy(&self) {
        if let Ok(mut kept) = self.worker.try_lock()
            && kept.as_ref().is_some_and(|k| k.used.elapsed() >= self.options.idle_timeout)
        {
            *kept = None;
        }
    }
}

/// Gives an order and passes its text on; its last word, or `None` when the worker is gone.
async fn converse(process: &mut Process, order: &Order, chunks: Option<&mpsc::Sender<String>>) -> Option<Word> {
    process.tell(order).await.ok()?;
    loop {
        match process.next().await.ok()?? {
            Word::Chunk { text } => {
                if let Some(chunks) = chunks {
                    let _ = chunks.send(text).await;
                }
            }
            word => return Some(word),
        }
    }
}

fn refused(word: Word) -> Result<Word, RunFailure> {
    match word {
        Word::Failed { class, why } => Err(RunFailure::new(class, why)),
        word => Ok(word),
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
