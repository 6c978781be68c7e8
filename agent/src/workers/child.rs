//! The worker's own life: shut itself in, then carry out one order after another until its stdin ends.

use super::protocol::{Order, Word, hear, say};
use super::{sandbox, talk};
use crate::runtimes::gguf::Talker;
use crate::runtimes::local_model::LocalModel;
use crate::runtimes::{self, Job, JobError, Plugged};
use ouro_common::container::Runtime;
use std::fs::File;
use std::io::{self, BufReader, Write};

/// How a worker is started.
#[derive(Debug, Clone, clap::Args)]
pub struct WorkerArgs {
    /// The agent's process id: the worker ends when it does.
    #[arg(long)]
    pub parent: u32,
    /// A limit on the address space, bytes.
    #[arg(long)]
    pub address_space_bytes: Option<u64>,
}

/// Runs the worker until its orders end. Must be called before any thread is started.
///
/// # Errors
/// When the worker cannot shut itself in, or the pipes to the agent break.
pub fn run(args: &WorkerArgs) -> anyhow::Result<()> {
    let mut out = take_stdout()?;
    sandbox::enter(args.parent, args.address_space_bytes)?;
    sandbox::come_second();
    Ok(serve(BufReader::new(io::stdin()), &mut out)?)
}

/// Keeps the pipe to the agent for the protocol alone: what a library prints goes to the log with stderr.
fn take_stdout() -> io::Result<File> {
    let pipe = rustix::io::dup(io::stdout())?;
    rustix::stdio::dup2_stdout(io::stderr())?;
    Ok(File::from(pipe))
}

fn serve(mut orders: impl io::BufRead + Send, out: &mut dyn Write) -> io::Result<()> {
    let mut plugged: Option<Box<dyn Plugged>> = None;
    let mut local: Option<LocalModel> = None;
    while let Some(order) = hear(&mut orders)? {
        let answer = match order {
            // Its jobs are done together, so orders are heard while it computes, until there are no more.
            Order::Load(load) if load.manifest.runtime == Runtime::Gguf => match Talker::open(&load) {
                Ok(talker) => {
                    say(out, &Word::Ready)?;
                    return talk::serve(&talker, orders, out);
                }
                Err(error) => error.into(),
            },
            Order::Park { .. } => JobError::load("nothing is kept in this worker").into(),
            Order::Join { job, .. } | Order::Leave { job } => {
                let error = JobError::load("no language model is loaded in this worker");
                Word::Of { job, is: Box::new(error.into()) }
            }
            Order::Load(load) => match runtimes::plug(&load) {
                Ok(container) => {
                    plugged = Some(container);
                    Word::Ready
                }
                Err(error) => error.into(),
            },
            Order::Run(job) => match plugged.as_mut() {
                Some(container) => run_job(container.as_mut(), &job, out)?,
                None => JobError::load("no container is loaded in this worker").into(),
            },
            Order::Probe(probe) => {
                runtimes::probe(&probe, &mut |word| say(out, &word))?;
                Word::Done
            }
            Order::Open { model, calibration, digests } => match LocalModel::open(&model, calibration.as_deref(), digests.as_deref()) {
                Ok(opened) => {
                    local = Some(opened);
                    Word::Ready
                }
                Err(error) => error.into(),
            },
            Order::Attempt(attempt) => streaming(out, |stream| with(&mut local, |model| model.attempt(&attempt, stream)))?,
            Order::Answer { prompt, max_tokens } => {
                streaming(out, |stream| with(&mut local, |model| model.answer(&prompt, max_tokens, stream)))?
            }
        };
        say(out, &answer)?;
    }
    Ok(())
}

fn with(model: &mut Option<LocalModel>, act: impl FnOnce(&mut LocalModel) -> Result<Word, JobError>) -> Result<Word, JobError> {
    model.as_mut().map_or_else(|| Err(JobError::load("no model is open in this worker")), act)
}

fn run_job(container: &mut dyn Plugged, job: &Job, out: &mut dyn Write) -> io::Result<Word> {
    let stream = job.stream;
    streaming(out, |chunks| {
        let mut forward = |text: &str| {
            if stream {
                chunks(text)
            }
        };
        container.run(job, &mut forward).map(|()| Word::Done)
    })
}

/// Carries out an order whose text is passed on as it is made; the last word is what it returns.
fn streaming(out: &mut dyn Write, act: impl FnOnce(&mut dyn FnMut(&str)) -> Result<Word, JobError>) -> io::Result<Word> {
    let mut broken = None;
    let mut stream = |text: &str| {
        if broken.is_none()
            && let Err(error) = say(out, &Word::Chunk { text: text.to_string() })
        {
            broken = Some(error);
        }
    };
    let result = act(&mut stream);
    match broken {
        Some(error) => Err(error),
        None => Ok(result.unwrap_or_else(Word::from)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workers::protocol::line;
    use ouro_common::step::FailureClass;

    #[test]
    fn orders_are_carried_out_in_turn_and_failures_end_no_worker() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("out")).unwrap();
        let manifest = crate::modules::builtin_container("noop").unwrap().manifest;
        let job = |params: &str| {
            let params = serde_json::from_str(params).unwrap();
            Order::Run(Box::new(Job { folder: home.path().into(), params, inputs: vec![], stream: false, scope: None }))
        };
        let load = runtimes::Load { manifest, model: None, onnxruntime: None, threads: None, batch: Default::default(), sessions: None };
        let orders = [job("{}"), Order::Load(Box::new(load)), job(r#"{"output_bytes": -1}"#), job(r#"{"output_bytes": 5}"#)];
        let orders: Vec<u8> = orders.iter().flat_map(line).collect();
        let mut out = vec![];
        serve(orders.as_slice(), &mut out).unwrap();
        let mut said = out.as_slice();
        let mut next = || hear::<Word>(&mut said).unwrap();
        assert!(matches!(next(), Some(Word::Failed { class: FailureClass::LoadFailed, .. })));
        assert_eq!(next(), Some(Word::Ready));
        assert!(matches!(next(), Some(Word::Failed { class: FailureClass::InvalidInput, .. })));
        assert_eq!(next(), Some(Word::Done));
        assert_eq!(std::fs::read(home.path().join("out/out")).unwrap(), [0, 1, 2, 3, 4]);
    }
}
