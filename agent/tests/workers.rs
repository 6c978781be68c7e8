//! Real workers of the real program: they run, die, are cancelled, and the agent knows why.

use ouro_agent::logs::LogWriter;
use ouro_agent::modules::{Installed, Source, builtin_container};
use ouro_agent::runtimes::{BatchLimits, Job};
use ouro_agent::sensing::host_root::HostRoot;
use ouro_agent::sensing::resident::resident_bytes;
use ouro_agent::workers::load_policy::LoadPolicies;
use ouro_agent::workers::probe::{Finding, probe};
use ouro_agent::workers::protocol::ProbeOrder;
use ouro_agent::workers::{Pool, PoolOptions, RunFailure, WorkerOptions};
use ouro_common::step::{Evidence, FailureClass};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

fn workers() -> WorkerOptions {
    WorkerOptions { program: env!("CARGO_BIN_EXE_ouro-agent").into(), address_space_bytes: None, threads: Some(1) }
}

fn pool_options(workers: WorkerOptions, idle_timeout: Duration) -> PoolOptions {
    let policies = LoadPolicies { idle_timeout, ..LoadPolicies::default() };
    PoolOptions {
        workers,
        policies,
        memory_bytes: u64::MAX,
        sessions: None,
        onnxruntime: None,
        batch: BatchLimits::default(),
    }
}

fn pool(idle_timeout: Duration) -> Pool {
    Pool::new(pool_options(workers(), idle_timeout))
}

fn noop() -> Installed {
    Installed { container: builtin_container("noop").unwrap(), source: Source::Program, hold: None }
}

fn job(folder: &Path, params: serde_json::Value) -> Job {
    std::fs::create_dir_all(folder.join("out")).unwrap();
    Job { folder: folder.into(), params, inputs: vec![], stream: false, scope: None }
}

/// Runs `noop` for a minute, does something to its worker, and says how it ended.
async fn disturbed(act: impl FnOnce(Pid, &CancellationToken)) -> (RunFailure, Duration, Pid) {
    let home = tempfile::tempdir().unwrap();
    let (pool, cancel) = (pool(Duration::from_secs(60)), CancellationToken::new());
    let installed = noop();
    let running = {
        let (pool, cancel, job) = (pool.clone(), cancel.clone(), job(home.path(), serde_json::json!({"sleep_ms": 60_000})));
        tokio::spawn(async move { pool.run(&installed, job, None, &LogWriter::nowhere(), &cancel).await })
    };
    let start = Instant::now();
    let id = loop {
        // The first word the worker's parent hears is that it is loaded; give the job time to begin after that.
        match pool.ids().first() {
            Some(id) if start.elapsed() > Duration::from_millis(500) => break *id,
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    let pid = Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
    let disturbed_at = Instant::now();
    act(pid, &cancel);
    let failure = running.await.unwrap().unwrap_err();
    assert!(pool.ids().is_empty(), "a dead worker is in no list");
    (failure, disturbed_at.elapsed(), pid)
}

#[tokio::test]
async fn a_worker_stays_loaded_and_a_refused_job_does_not_cost_it() {
    let home = tempfile::tempdir().unwrap();
    let (pool, cancel) = (pool(Duration::ZERO), CancellationToken::new());
    let installed = noop();
    let bad = job(home.path(), serde_json::json!({"output_bytes": -1}));
    let refused = pool.run(&installed, bad, None, &LogWriter::nowhere(), &cancel).await.unwrap_err();
    assert_eq!((refused.class, refused.evidence), (FailureClass::InvalidInput, None));
    let first = pool.ids();
    let good = job(home.path(), serde_json::json!({"output_bytes": 100_000}));
    let times = pool.run(&installed, good, None, &LogWriter::nowhere(), &cancel).await.unwrap();
    assert_eq!(std::fs::metadata(home.path().join("out/out")).unwrap().len(), 100_000);
    assert_eq!(pool.ids(), first, "the same worker did it");
    assert!(times.plug < Duration::from_millis(50), "it was loaded: {times:?}");
    pool.tidy(|_, _| true);
    assert!(pool.ids().is_empty(), "an idle worker past its time is given up");
}

/// Memory comes back because the process ends: what waited is gone from the kernel's list, what was pinned is not, and what works
/// is not disturbed.
#[tokio::test]
async fn unloading_ends_the_process_and_pinning_keeps_it() {
    let home = tempfile::tempdir().unwrap();
    let (pool, cancel, installed) = (pool(Duration::ZERO), CancellationToken::new(), noop());
    let digest = installed.container.digest;
    let host = HostRoot::live();
    let memory = |id: u32| resident_bytes(&host, &id.to_string());
    let gone = async |id: u32| {
        let start = Instant::now();
        while memory(id).is_some() {
            assert!(start.elapsed() < Duration::from_secs(10), "worker {id} still has memory");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(pool.plug(&installed, &LogWriter::nowhere()).await.unwrap());
    let [kept] = pool.kept()[..] else { panic!("{:?}", pool.kept()) };
    assert!(memory(kept.process).unwrap() > 100_000 && kept.idle.is_some() && kept.digest == digest);
    pool.pin(digest, true);
    pool.tidy(|_, _| true);
    assert_eq!((pool.ids(), pool.pinned()), (vec![kept.process], vec![digest]), "it is past its time, and pinned");
    pool.unload(&digest);
    assert!(pool.ids().is_empty() && pool.pinned().is_empty());
    gone(kept.process).await;

    let running = {
        let (pool, installed, job) = (pool.clone(), installed.clone(), job(home.path(), serde_json::json!({"sleep_ms": 1500})));
        tokio::spawn(async move { pool.run(&installed, job, None, &LogWriter::nowhere(), &cancel).await })
    };
    let start = Instant::now();
    let busy = loop {
        match pool.kept().first() {
            Some(kept) if start.elapsed() > Duration::from_millis(500) => break *kept,
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    assert_eq!(busy.idle, None);
    pool.unload(&digest);
    assert_eq!(pool.ids(), [busy.process], "it works on");
    running.await.unwrap().unwrap();
    assert!(pool.ids().is_empty(), "and ends when it is done");
    gone(busy.process).await;
    assert!(pool.plug(&installed, &LogWriter::nowhere()).await.unwrap(), "it may come back");
    assert_eq!(pool.ids().len(), 1);
}

#[tokio::test]
async fn an_abort_is_evidence_and_a_kill_is_none() {
    let (crash, _, _) = disturbed(|worker, _| kill_process(worker, Signal::ABORT).unwrap()).await;
    assert_eq!((crash.class, crash.evidence), (FailureClass::Crashed, Some(Evidence::Signal { number: 6 })));
    let (killed, _, _) = disturbed(|worker, _| kill_process(worker, Signal::KILL).unwrap()).await;
    assert_eq!((killed.class, killed.evidence), (FailureClass::Crashed, None), "anybody may have sent it");
}

#[tokio::test]
async fn cancelling_ends_the_worker_at_once() {
    let (failure, took, worker) = disturbed(|_, cancel| cancel.cancel()).await;
    assert_eq!(failure.class, FailureClass::Drained);
    assert!(took < Duration::from_secs(1), "{took:?}");
    let gone = async {
        while test_kill_process(worker).is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), gone).await.expect("the worker is gone");
}

#[tokio::test]
async fn a_program_that_is_no_worker_is_a_failure_to_load() {
    let home = tempfile::tempdir().unwrap();
    let options = WorkerOptions { program: "/bin/false".into(), ..workers() };
    let pool = Pool::new(pool_options(options, Duration::ZERO));
    let installed = noop();
    let job = job(home.path(), serde_json::json!({}));
    let failure = pool.run(&installed, job, None, &LogWriter::nowhere(), &CancellationToken::new()).await.unwrap_err();
    assert_eq!((failure.class, failure.evidence), (FailureClass::Crashed, None), "{}", failure.why);
}

#[tokio::test]
async fn a_missing_onnx_runtime_is_said_with_its_remedy() {
    let order = ProbeOrder { onnxruntime: Some("/nowhere/libonnxruntime.so".into()), runtimes: true, measure: None };
    let mut found = vec![];
    probe(&workers(), order, |finding| found.push(finding)).await.unwrap();
    let runtimes: Vec<_> = found.iter().filter_map(|f| if let Finding::Runtime(r) = f { Some(r) } else { None }).collect();
    let of = |name: &str| runtimes.iter().find(|r| r.runtime == name).unwrap();
    assert!(of("builtin").available && of("gguf").available && !of("onnx").available);
    assert!(of("onnx").detail.contains("/nowhere/libonnxruntime.so"), "{}", of("onnx").detail);
    assert_eq!(found.len(), 3, "and nothing was measured: {found:?}");
}
