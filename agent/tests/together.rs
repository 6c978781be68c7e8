//! Jobs of a language model in one worker: one that is given up or dies costs the others nothing.

use ouro_agent::logs::LogWriter;
use ouro_agent::modules::{Installed, Source};
use ouro_agent::runtimes::{BatchLimits, Job, JobInput};
use ouro_agent::workers::load_policy::LoadPolicies;
use ouro_agent::workers::{Pool, PoolOptions, RunFailure, WorkerOptions};
use ouro_common::container::{Container, LoadPolicy, Manifest};
use ouro_common::id::Digest;
use ouro_common::step::{Evidence, FailureClass};
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const MANIFEST: &str = "name = \"talk\"\nversion = \"1.0.0\"\nsummary = \"Answers\"\nruntime = \"gguf\"\n\
    inputs = [{ port = \"prompt\", media = \"text/plain\" }]\noutputs = [{ port = \"answer\", media = \"text/plain\" }]\n";

fn pool(most: u32, cache_bytes: u64) -> Pool {
    Pool::new(options(most, cache_bytes))
}

fn options(most: u32, cache_bytes: u64) -> PoolOptions {
    let program = env!("CARGO_BIN_EXE_ouro-agent").into();
    PoolOptions {
        workers: WorkerOptions { program, address_space_bytes: None, threads: Some(1) },
        policies: LoadPolicies::default(),
        memory_bytes: u64::MAX,
        sessions: None,
        onnxruntime: None,
        batch: BatchLimits { most, cache_bytes },
    }
}

fn talk() -> Installed {
    container(5)
}

/// A container of its own with the same model.
fn container(n: u8) -> Installed {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/first-pass-tiny/first-pass-tiny.gguf");
    let container = Container { digest: Digest::sha256([n; 32]), manifest: Manifest::from_toml(MANIFEST).unwrap() };
    Installed { container, source: Source::Model(model), hold: None }
}

/// A job that runs, and what it says as it is made.
struct Running {
    folder: PathBuf,
    chunks: mpsc::Receiver<String>,
    cancel: CancellationToken,
    task: JoinHandle<Result<(), RunFailure>>,
}

impl Running {
    /// A job whose answer is drawn at random, so that it is long; the seed makes it the same each time.
    fn begin(pool: &Pool, home: &Path, seed: u64, max_tokens: u32) -> Self {
        let params = serde_json::json!({"max_tokens": max_tokens, "temperature": 5.0, "seed": seed});
        let folder = home.join(format!("{seed}-{}", pool.kept().len()));
        Self::ask(pool, talk(), folder, (&format!("What is {seed} plus {seed}?"), params))
    }

    fn ask(pool: &Pool, installed: Installed, folder: PathBuf, (prompt, params): (&str, serde_json::Value)) -> Self {
        std::fs::create_dir_all(folder.join("out")).unwrap();
        let file = folder.join("prompt");
        std::fs::write(&file, prompt).unwrap();
        let (sender, chunks) = mpsc::channel(1024);
        let cancel = CancellationToken::new();
        let job = Job {
            folder: folder.clone(),
            params,
            inputs: vec![JobInput { port: "prompt".parse().unwrap(), tag: "prompt".parse().unwrap(), media: "text/plain".into(), file }],
            stream: true,
            scope: Some("ada".into()),
        };
        let (pool, token) = (pool.clone(), cancel.clone());
        let run = async move { pool.run(&installed, job, Some(sender), &LogWriter::nowhere(), &token).await.map(drop) };
        Self { folder, chunks, cancel, task: tokio::spawn(run) }
    }

    /// What it answered, after `said`; all of it must have been streamed, and nothing twice.
    async fn answer(mut self, mut said: String) -> String {
        self.task.await.unwrap().unwrap();
        while let Some(chunk) = self.chunks.recv().await {
            said.push_str(&chunk);
        }
        assert_eq!(std::fs::read_to_string(self.folder.join("out/answer")).unwrap(), said);
        said
    }

    async fn first_words(&mut self) -> String {
        tokio::time::timeout(Duration::from_secs(60), self.chunks.recv()).await.unwrap().unwrap()
    }
}

/// The only worker.
fn worker(pool: &Pool) -> Pid {
    let &[id] = &pool.ids()[..] else { panic!("{:?}", pool.ids()) };
    Pid::from_raw(i32::try_from(id).unwrap()).unwrap()
}

/// Seeds whose answers are long, with those answers, each made alone.
async fn long_ones(home: &Path, count: usize) -> Vec<(u64, String)> {
    let (pool, mut found, mut seed) = (pool(1, 1 << 30), vec![], 0);
    while found.len() < count {
        seed += 1;
        let answer = Running::begin(&pool, home, seed, 480).answer(String::new()).await;
        if answer.len() > 1_000 {
            found.push((seed, answer));
        }
        assert!(seed < 50, "hardly any answer is long");
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_given_up_leaves_and_the_worker_goes_on() {
    let home = tempfile::tempdir().unwrap();
    let long = long_ones(home.path(), 3).await;
    let pool = pool(4, 1 << 30);
    let mut running: Vec<Running> = long.iter().map(|(seed, _)| Running::begin(&pool, home.path(), *seed, 480)).collect();
    let mut first = running.remove(0);
    first.first_words().await;
    let before = worker(&pool);
    first.cancel.cancel();
    assert_eq!(first.task.await.unwrap().unwrap_err().class, FailureClass::Drained);
    for (other, (_, expected)) in running.into_iter().zip(&long[1..]) {
        assert_eq!(&other.answer(String::new()).await, expected);
    }
    assert_eq!(worker(&pool), before);
    let left = || {
        pool.kept()
            .first()
            .and_then(|kept| Some((kept.idle?, kept.batch?)))
            .is_some_and(|(_, batch)| batch.running == 0)
    };
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(if left() { 0 } else { 50 })).await;
    }
    assert!(left(), "{:?}", pool.kept());
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_worker_dies_each_of_its_jobs_is_done_again_alone() {
    let home = tempfile::tempdir().unwrap();
    let long = long_ones(home.path(), 3).await;
    let pool = pool(4, 1 << 30);
    let mut running: Vec<Running> = long.iter().map(|(seed, _)| Running::begin(&pool, home.path(), *seed, 480)).collect();
    let mut said = vec![];
    for job in &mut running {
        said.push(job.first_words().await);
    }
    let before = worker(&pool);
    kill_process(before, Signal::ABORT).unwrap();
    for ((job, said), (_, expected)) in running.into_iter().zip(said).zip(&long) {
        assert_eq!(&job.answer(said).await, expected);
    }
    assert_ne!(worker(&pool), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_dies_alone_has_evidence_against_it() {
    let home = tempfile::tempdir().unwrap();
    let long = long_ones(home.path(), 1).await;
    let pool = pool(4, 1 << 30);
    let mut job = Running::begin(&pool, home.path(), long[0].0, 480);
    job.first_words().await;
    kill_process(worker(&pool), Signal::ABORT).unwrap();
    let failure = job.task.await.unwrap().unwrap_err();
    assert_eq!((failure.class, failure.evidence), (FailureClass::Crashed, Some(Evidence::Signal { number: 6 })));
    assert!(pool.ids().is_empty(), "a dead worker is in no list");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_needs_more_cache_than_there_is_is_refused_and_says_what_to_raise() {
    let home = tempfile::tempdir().unwrap();
    let pool = pool(4, 64 << 10);
    let failure = Running::begin(&pool, home.path(), 1, 400).task.await.unwrap().unwrap_err();
    assert_eq!(failure.class, FailureClass::DoesNotFit);
    assert!(failure.why.contains("workers.cache_bytes"), "{}", failure.why);
    worker(&pool);
}

/// Whether a process is there, as the kernel says.
fn is_there(process: Pid) -> bool {
    rustix::process::test_kill_process(process).is_ok()
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..600 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it never came to that: {what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dummy_leaves_its_sessions_in_a_file_and_takes_them_up_again() {
    let home = tempfile::tempdir().unwrap();
    let sessions = home.path().join("sessions");
    std::fs::create_dir(&sessions).unwrap();
    let policies = LoadPolicies { node: Some(LoadPolicy::Dummy), idle_timeout: Duration::from_millis(100), ..LoadPolicies::default() };
    let pool = Pool::new(PoolOptions { policies, sessions: Some(sessions.clone()), ..options(4, 1 << 30) });
    let beginning = "Tell me what is 12 plus 7 and then say it again. ".repeat(4);
    let ask = |name: &str, end: &str| {
        let prompt = format!("{beginning}{end}");
        Running::ask(&pool, talk(), home.path().join(name), (&prompt, serde_json::json!({"max_tokens": 20}))).answer(String::new())
    };
    let first = ask("first", "one").await;
    let before = worker(&pool);
    until("it leaves memory", || {
        pool.tidy(|_, _| true);
        pool.ids().is_empty() && !pool.parked().is_empty()
    })
    .await;
    until("its process ends", || !is_there(before)).await;
    let [(_, prefixes, bytes)] = pool.parked()[..] else {
        panic!("one was parked")
    };
    let files = || std::fs::read_dir(&sessions).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    assert_eq!((prefixes, std::fs::metadata(&files()[0]).unwrap().len()), (1, bytes));
    assert_eq!(ask("again", "one").await, first, "the same bits from the file as computed anew");
    until("the model says what it reused", || pool.kept()[0].batch.is_some_and(|batch| batch.reused_tokens > 0)).await;
    assert!(pool.parked().is_empty() && files().is_empty(), "the file is gone");

    // What is damaged is computed anew.
    until("it leaves memory again", || {
        pool.tidy(|_, _| true);
        pool.ids().is_empty() && !pool.parked().is_empty()
    })
    .await;
    let mut kept = std::fs::read(&files()[0]).unwrap();
    let middle = kept.len() / 2;
    kept[middle] ^= 1;
    std::fs::write(&files()[0], kept).unwrap();
    assert_eq!(ask("damaged", "one").await, first);
    // When its module is gone, nothing of it stays.
    until("it leaves memory once more", || {
        pool.tidy(|_, _| true);
        pool.ids().is_empty() && !pool.parked().is_empty()
    })
    .await;
    pool.tidy(|_, _| false);
    assert!(files().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn several_models_share_a_limit_and_what_could_never_fit_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let size = std::fs::metadata(talk().source.model().unwrap()).unwrap().len();
    let pool = Pool::new(PoolOptions { memory_bytes: size * 3 / 2, ..options(4, 1 << 30) });
    let ask = |n: u8| Running::ask(&pool, container(n), home.path().join(format!("{n}")), ("What is 2+2?", serde_json::json!({})));
    let first = ask(1).answer(String::new()).await;
    let before = worker(&pool);
    let start = std::time::Instant::now();
    assert_eq!(ask(2).answer(String::new()).await, first);
    assert!(start.elapsed() > Duration::from_secs(4), "what was just used rests for a moment before it makes room");
    until("the first one's process ends", || !is_there(before)).await;
    assert_ne!(worker(&pool), before, "there is only one at a time");

    pool.pin(Digest::sha256([2; 32]), true);
    let refused = ask(3).task.await.unwrap().unwrap_err();
    assert!(refused.class == FailureClass::LoadFailed && refused.why.contains("pinned"), "{}", refused.why);
    let tiny = Pool::new(PoolOptions { memory_bytes: size / 2, ..options(4, 1 << 30) });
    let refused = Running::ask(&tiny, container(1), home.path().join("tiny"), ("x", serde_json::json!({})))
        .task
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(refused.class, FailureClass::LoadFailed);
    assert!(refused.why.contains(&size.to_string()) && refused.why.contains("workers.memory_bytes"), "{}", refused.why);
}

#[tokio::test(flavor = "multi_thread")]
async fn for_each_request_means_that_nothing_stays() {
    let home = tempfile::tempdir().unwrap();
    let policies = LoadPolicies { node: Some(LoadPolicy::PerRequest), ..LoadPolicies::default() };
    let pool = Pool::new(PoolOptions { policies, ..options(4, 1 << 30) });
    let mut job = Running::begin(&pool, home.path(), 1, 400);
    job.first_words().await;
    let process = worker(&pool);
    job.task.await.unwrap().unwrap();
    until("its process ends", || !is_there(process)).await;
    assert!(pool.ids().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_with_a_schema_is_json_and_whole_or_it_fails() {
    let home = tempfile::tempdir().unwrap();
    let pool = pool(2, 1 << 30);
    let schema = serde_json::json!({"type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"], "additionalProperties": false});
    let asked = |name: &str, schema: &serde_json::Value, max_tokens: u32| {
        let params = serde_json::json!({"schema": schema, "max_tokens": max_tokens});
        Running::ask(&pool, talk(), home.path().join(name), ("What is the capital of France?", params))
    };
    let (whole, free) = (asked("whole", &schema, 200), asked("free", &serde_json::Value::Null, 20));
    let value: serde_json::Value = serde_json::from_str(&whole.answer(String::new()).await).unwrap();
    assert!(value["city"] == "Paris" || value["city"] == "Rome", "{value}");
    assert_eq!(free.answer(String::new()).await.trim(), "Paris");
    let failed = asked("cut", &schema, 2).task.await.unwrap().unwrap_err();
    assert!(failed.class == FailureClass::InvalidInput && failed.why.contains("cut off after 2 tokens"), "{failed:?}");
    let failed = asked("bad", &serde_json::json!({"type": "mood"}), 20).task.await.unwrap().unwrap_err();
    assert!(failed.class == FailureClass::InvalidInput && failed.why.contains("mood"), "{failed:?}");
}
