//! Containers as a friend and as an enemy would send them, run by the real OCI runtime of this machine, fully enclosed.
//!
//! Needs root, a runtime that works and a static busybox (`packaging/prepare` installs both); without them each test says so on
//! stderr and ends.

use ouro_agent::logs::LogWriter;
use ouro_agent::modules::LayerFile;
use ouro_agent::oci::{Found, OciOptions, OciOrder, find};
use ouro_agent::runtimes::{Job, JobInput};
use ouro_agent::sensing::host_root::HostRoot;
use ouro_agent::workers::RunFailure;
use ouro_common::container::{Container, Manifest};
use ouro_common::id::Digest;
use ouro_common::module::{Layer, LayerKind, container_digest};
use ouro_common::step::{Evidence, FailureClass};
use sha2::{Digest as _, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

struct Ground {
    folder: tempfile::TempDir,
    runtime: Found,
    agent: String,
}

impl Ground {
    #[expect(clippy::print_stderr, reason = "a test that is skipped says why")]
    /// A runtime that works, with a home of its own; `None`, and why on stderr, where there is none.
    async fn new(agent: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let agent = format!("{agent}-{}", std::process::id());
        if !Path::new("/bin/busybox").is_file() {
            eprintln!("skipped: there is no /bin/busybox; install busybox-static");
            return None;
        }
        let finding = find(options(folder.path(), &agent)).await;
        eprintln!("{}", finding.says.detail);
        let Some(runtime) = finding.runtime else {
            assert!(!rustix::process::geteuid().is_root() || !installed(), "{}", finding.says.detail);
            eprintln!("skipped: {}", finding.says.detail);
            return None;
        };
        Some(Self { folder, runtime, agent })
    }

    async fn run(&self, script: &str, more: &str) -> Ran {
        self.run_until(script, more, &CancellationToken::new()).await
    }

    /// Runs a shell script in a container with one input and one output.
    async fn run_until(&self, script: &str, more: &str, cancel: &CancellationToken) -> Ran {
        let (container, layer) = self.container(script, more);
        let work = tempfile::tempdir_in(self.folder.path()).unwrap();
        fs::create_dir(work.path().join("out")).unwrap();
        fs::write(work.path().join("text"), "what was given").unwrap();
        let input = JobInput {
            port: "text".parse().unwrap(),
            tag: "prompt".parse().unwrap(),
            media: "text/plain".into(),
            file: work.path().join("text"),
        };
        let job = Job {
            folder: work.path().into(),
            params: serde_json::json!({"n": 3}),
            inputs: vec![input],
            stream: false,
            scope: None,
        };
        let log = LogWriter::nowhere();
        let order = OciOrder { container: &container, layers: &[layer], job: &job, log: log.clone() };
        let start = Instant::now();
        let result = self.runtime.run(order, cancel).await.map(|_| ());
        let out = fs::read_to_string(work.path().join("out/out")).ok();
        self.nothing_is_left().await;
        Ran { result, out, took: start.elapsed() }
    }

    fn container(&self, script: &str, more: &str) -> (Container, LayerFile) {
        let manifest = format!(
            "name = \"tool\"\nversion = \"1.0.0\"\nsummary = \"A tool\"\nruntime = \"oci\"\n\
             inputs = [{{ port = \"text\", media = \"text/plain\" }}]\n\
             outputs = [{{ port = \"out\", media = \"text/plain\", max_bytes = 1000000 }}]\n\
             [needs]\nmemory_bytes = 67108864\n[oci]\nargs = [\"/bin/sh\", \"-c\", {}]\n{more}\n",
            serde_json::to_string(script).unwrap()
        );
        let manifest = Manifest::from_toml(&manifest).unwrap();
        let path = self.folder.path().join("rootfs.tar");
        if !path.exists() {
            fs::write(&path, busybox()).unwrap();
        }
        let bytes = fs::read(&path).unwrap();
        let layer = Layer {
            kind: LayerKind::Tar,
            digest: Digest::sha256(Sha256::digest(&bytes).into()),
            size_bytes: bytes.len() as u64,
        };
        let digest = container_digest(&manifest, &[layer]).unwrap();
        (Container { digest, manifest }, LayerFile { path, layer })
    }

    /// No process, no mount and no cgroup; what was dropped is removed a moment later.
    async fn nothing_is_left(&self) {
        let start = Instant::now();
        loop {
            let left = left_of(&self.agent);
            if left.is_empty() {
                return;
            }
            assert!(start.elapsed() < Duration::from_secs(10), "{left:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = fs::remove_dir(format!("/run/ouroboros/test-{}", self.agent));
    }
}

struct Ran {
    result: Result<(), RunFailure>,
    out: Option<String>,
    took: Duration,
}

impl Ran {
    fn failure(self) -> RunFailure {
        self.result.unwrap_err()
    }
    fn output(self) -> String {
        self.result.unwrap();
        self.out.unwrap()
    }
}

fn options(folder: &Path, agent: &str) -> OciOptions {
    OciOptions {
        runtimes: ["crun", "runc"].map(String::from).to_vec(),
        home: folder.join("oci"),
        runs: PathBuf::from(format!("/run/ouroboros/test-{agent}")),
        agent: agent.into(),
        cache_max_bytes: 1 << 30,
        cpus: 1,
        root: HostRoot::live(),
    }
}

fn installed() -> bool {
    ["/usr/sbin/runc", "/usr/bin/crun", "/usr/bin/runc"].iter().any(|p| Path::new(p).exists())
}

fn busybox() -> Vec<u8> {
    let mut builder = tar::Builder::new(vec![]);
    let mut header = tar::Header::new_gnu();
    let program = fs::read("/bin/busybox").unwrap();
    header.set_size(program.len() as u64);
    header.set_mode(0o4755);
    builder.append_data(&mut header, "bin/busybox", program.as_slice()).unwrap();
    for name in [
        "sh", "cat", "ls", "id", "sleep", "head", "dd", "ln", "mkfifo", "mount", "wget", "touch", "yes", "wc", "chmod", "mknod", "seq",
    ] {
        let mut link = tar::Header::new_gnu();
        link.set_entry_type(tar::EntryType::Symlink);
        link.set_size(0);
        builder.append_link(&mut link, format!("bin/{name}"), "busybox").unwrap();
    }
    builder.into_inner().unwrap()
}

/// Everything on this machine that has the agent's name in it.
fn left_of(agent: &str) -> Vec<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mut left: Vec<String> = mounts.lines().filter(|l| l.contains(&format!("test-{agent}/"))).map(ToString::to_string).collect();
    let mut look = |folder: PathBuf| {
        let entries = fs::read_dir(folder.join("ouroboros").join(agent)).into_iter().flatten().flatten();
        left.extend(entries.filter(|e| e.path().is_dir()).map(|e| e.path().display().to_string()));
    };
    look("/sys/fs/cgroup".into());
    for entry in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        look(entry.path());
    }
    left
}

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_container_sees_its_inputs_and_nothing_else() {
    let Some(ground) = Ground::new("honest").await else { return };
    let script = "cat /in/text > /out/out; cat /in/.step.json >> /out/out; id -u >> /out/out; ls / >> /out/out; pwd >> /out/out; \
                  echo $GREETING >> /out/out; touch /tmp/a && echo tmp >> /out/out";
    let out = ground.run(script, "env = { GREETING = \"hello\" }\ncwd = \"/tmp\"").await.output();
    assert!(out.starts_with("what was given{\"params\":{\"n\":3}"), "{out}");
    for line in ["in", "out", "bin", "/tmp", "hello", "tmp"] {
        assert!(out.lines().any(|l| l == line), "{line}: {out}");
    }
    assert!(!out.lines().any(|l| ["etc", "home", "root", "sys", "run"].contains(&l)), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn its_processor_time_is_counted_and_kept_and_no_dead_process_stays() {
    let Some(ground) = Ground::new("time").await else { return };
    let before = ground.runtime.cpu_time();
    ground.run("i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo x > /out/out", "").await.output();
    let used = ground.runtime.cpu_time() - before;
    assert!(used > Duration::from_millis(50), "{used:?}");
    ground.run("echo x > /out/out", "").await.output();
    assert!(ground.runtime.cpu_time() > before + used, "the one that had ended is counted still");
    // A runtime that was tried in vain, too, leaves none.
    let dead = |id: &str| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        rest.starts_with(&format!("Z {} ", std::process::id()))
    };
    let dead: Vec<_> = fs::read_dir("/proc").unwrap().flatten().filter(|e| dead(&e.file_name().to_string_lossy())).collect();
    assert!(dead.is_empty(), "{dead:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_that_hangs_is_named_and_the_next_is_taken() {
    let Some(ground) = Ground::new("hangs").await else { return };
    let folder = tempfile::tempdir().unwrap();
    let hanging = folder.path().join("hanging");
    fs::write(&hanging, "#!/bin/sh\nexec sleep 1000\n").unwrap();
    fs::set_permissions(&hanging, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let with = |runtimes: &[&str]| OciOptions {
        runtimes: [&[hanging.to_str().unwrap()], runtimes].concat().into_iter().map(String::from).collect(),
        ..options(folder.path(), &format!("{}-2", ground.agent))
    };
    let alone = find(with(&[])).await;
    assert!(
        alone.runtime.is_none() && alone.says.detail.starts_with("hanging --version: it hangs"),
        "{}",
        alone.says.detail
    );
    assert!(find(with(&["crun", "runc"])).await.says.available);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_reaches_outside_is_refused() {
    let Some(ground) = Ground::new("outside").await else { return };
    let cases = [
        ("the network", "wget -T 2 -O /out/out http://1.1.1.1/"),
        (
            "another interface than its own",
            "ls /proc/net/dev > /out/out; cat /proc/net/dev | wc -l | { read n; [ $n -gt 3 ]; }",
        ),
        ("the host's files", "cat /etc/shadow > /out/out"),
        (
            "the host's processes",
            "ls /proc | grep -c '^[0-9]' > /out/out; [ -d /proc/$$ ] && [ $(ls -d /proc/[0-9]* | wc -l) -gt 8 ]",
        ),
        ("its root filesystem", "touch /bin/new"),
        ("its inputs", "echo x > /in/text"),
        ("mounting", "mount -t tmpfs none /tmp"),
        ("devices", "mknod /tmp/mem c 1 1"),
        ("the kernel's settings", "echo 1 > /proc/sys/vm/drop_caches"),
        ("the kernel's keys", "echo h > /proc/sysrq-trigger"),
    ];
    for (what, script) in cases {
        let failure = ground.run(script, "").await.failure();
        assert!(matches!(failure.class, FailureClass::Error | FailureClass::Crashed), "{what}: {failure:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_end_what_takes_too_much_and_are_evidence() {
    let Some(ground) = Ground::new("limits").await else { return };
    let limit = |what: &str| Some(Evidence::Limit { what: what.into() });
    let eater = ground.run("x=a; while :; do x=$x$x; done", "").await.failure();
    assert_eq!((eater.class, eater.evidence), (FailureClass::Crashed, Some(Evidence::OomKill)), "{}", eater.why);
    let bomb = ground.run("b() { b | b & b; }; b; exit 3", "time_s = 3\npids = 32").await.failure();
    assert!(bomb.evidence == limit("processes") || bomb.evidence == limit("time"), "{bomb:?}");
    let full = ground.run("cat /dev/zero > /out/out", "").await.failure();
    assert!(matches!(full.evidence, Some(Evidence::Limit { .. })), "{full:?}");
    let many = ground.run("cd /out; for n in $(seq 1 9999); do : > $n || exit 1; done", "").await.failure();
    assert_eq!(many.evidence, limit("out"), "{}", many.why);
    let deaf = ground.run("trap '' TERM INT HUP; while :; do sleep 1; done", "time_s = 1").await;
    assert!(deaf.took < Duration::from_secs(11));
    let deaf = deaf.failure();
    assert_eq!((deaf.class, deaf.evidence), (FailureClass::Timeout, limit("time")));
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_words_neither_fill_memory_nor_hold_up_the_end() {
    let Some(ground) = Ground::new("words").await else { return };
    let babbler = ground.run("yes 'again and again' & yes 'oh no' >&2", "time_s = 2").await;
    assert!(babbler.took < Duration::from_secs(20));
    let failure = babbler.failure();
    assert_eq!(failure.class, FailureClass::Timeout);
}

#[tokio::test(flavor = "multi_thread")]
async fn outputs_that_are_no_plain_files_are_not_taken() {
    let Some(ground) = Ground::new("outputs").await else { return };
    for script in ["ln -s /etc/shadow /out/out", "mkfifo /out/out", "ln -s /in /out/out"] {
        let ran = ground.run(script, "").await;
        assert_eq!(ran.out, None);
        let failure = ran.failure();
        assert_eq!(failure.class, FailureClass::Error, "{script}: {failure:?}");
    }
    let refused = ground.run("echo 'the text is empty' >&2; exit 65", "").await.failure();
    assert_eq!(refused.class, FailureClass::InvalidInput);
    assert!(refused.why.ends_with("it said: the text is empty"), "{}", refused.why);
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_kills_the_whole_tree() {
    let Some(ground) = Ground::new("cancel").await else { return };
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(700)).await;
        stop.cancel();
    });
    let script = "trap '' TERM; for n in 1 2 3; do (trap '' TERM; sleep 4242) & done; sleep 4242";
    let ran = ground.run_until(script, "", &cancel).await;
    assert!(ran.took < Duration::from_secs(10), "{:?}", ran.took);
    assert_eq!(ran.failure().class, FailureClass::Drained);
    let processes = fs::read_dir("/proc").unwrap().flatten().filter_map(|e| fs::read_to_string(e.path().join("cmdline")).ok());
    assert_eq!(processes.filter(|c| c.contains("sleep\u{0}4242")).count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_agent_left_is_removed_at_the_next_start() {
    let Some(ground) = Ground::new("left").await else { return };
    let (container, layer) = ground.container("sleep 4343 & sleep 4343", "");
    let work = tempfile::tempdir().unwrap();
    fs::create_dir(work.path().join("out")).unwrap();
    let job = Job {
        folder: work.path().into(),
        params: serde_json::json!({}),
        inputs: vec![],
        stream: false,
        scope: None,
    };
    let runtime = ground.runtime.clone();
    // A killed agent drops nothing: the future is leaked.
    let running = tokio::spawn(async move {
        let layers = [layer];
        let order = OciOrder { container: &container, layers: &layers, job: &job, log: LogWriter::nowhere() };
        let run = Box::leak(Box::new(Box::pin(runtime.run(order, &CancellationToken::new()).await)));
        run.is_ok()
    });
    let start = Instant::now();
    while left_of(&ground.agent).is_empty() && start.elapsed() < Duration::from_secs(10) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!left_of(&ground.agent).is_empty());
    let next = find(options(ground.folder.path(), &ground.agent)).await;
    assert!(next.runtime.is_some(), "{}", next.says.detail);
    ground.nothing_is_left().await;
    running.abort();
}
