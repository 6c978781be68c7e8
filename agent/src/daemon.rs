//! `ouro-agent run`: wires the parts, and lets go of them in order when it is told to stop.

use crate::clock::unix_ms;
use crate::config::{Config, with_port};
use crate::first_pass::{FirstPass, FirstPassOptions};
use crate::home::{AgentHome, HomeLock, JoinedAs, file_fault};
use crate::local_api::{ApiOptions, LocalApi, StatusSource};
use crate::logs::LogBook;
use crate::metric::{MetricServer, render};
use crate::modules::{DevicesOptions, ModuleFolder, Modules, ModulesOptions, ModulesService, TrustedKeys};
use crate::oci::OciOptions;
use crate::profile::{self, Containers, Figures, ProfileKeeper, ProfileKeeperOptions, ProfileOptions, Search, SearchOptions};
use crate::requests::{Journal, Requests, RequestsOptions};
use crate::runtimes::BatchLimits;
use crate::sensing::doorbell::Doorbell;
use crate::sensing::host_root::HostRoot;
use crate::spool::{Spool, clear_folder};
use crate::steps::{Outbox, Steps, StepsOptions};
use crate::uplink::{Line, Link, Uplink, UplinkOptions};
use crate::vitals::{Vitals, VitalsOptions};
use crate::workers::{Pool, PoolOptions, WorkerOptions};
use ouro_common::device::{NodeProfile, Readings};
use ouro_common::error::{Fault, FaultCode};
use ouro_common::id::{AgentRunId, BootId};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The time the parts have to end after a signal, before the process does.
const DRAIN: Duration = Duration::from_secs(4);

/// How long the first announcement waits for runtimes that are being tried; what is found later is told later.
const FIRST_LOOK: Duration = Duration::from_secs(5);

/// What an agent needs from outside.
pub struct Options {
    /// Where everything lies.
    pub home: AgentHome,
    /// The configuration.
    pub config: Config,
    /// The program whose `worker` command runs models: this one.
    pub program: PathBuf,
    /// Which run of the agent this is.
    pub run: AgentRunId,
    /// The seed of jitter.
    pub seed: u64,
}

/// An agent that has its home and has read its state.
pub struct Service {
    options: Options,
    joined: JoinedAs,
    boot: BootId,
    outbox: Outbox,
    spool: Spool,
    journal: Journal,
    logs: LogBook,
    _lock: HomeLock,
}

/// The parts, wired and not yet running.
struct Parts {
    watcher: ModulesService,
    vitals: Vitals,
    keeper: ProfileKeeper,
    uplink: Uplink,
    requests: Requests,
    api: LocalApi,
    steps: Steps,
    pool: Pool,
    search: Search,
    metrics: Option<(MetricServer, Metrics)>,
}

/// What `/metrics` shows.
type Metrics = (watch::Receiver<Arc<NodeProfile>>, watch::Receiver<Arc<Readings>>);

fn metric_fault(error: impl std::fmt::Display) -> Fault {
    Fault::new(FaultCode::InvalidArgument, error.to_string()).remedy("choose another address for `metrics` in agent.toml")
}

impl Service {
    /// Takes the home and reads what an earlier run left.
    ///
    /// # Errors
    /// `HOME_IN_USE`; that this machine has not joined; or what the file system says.
    pub fn open(options: Options) -> Result<Self, Fault> {
        let home = &options.home;
        let joined = home.joined()?.filter(|_| home.identity().exists()).ok_or_else(|| {
            Fault::new(FaultCode::NotFound, "this machine has not joined a fleet")
                .at(home.root().display())
                .remedy("ouro-agent join SERVER --token ouro1.…")
        })?;
        let lock = home.lock()?;
        let boot = profile::boot_id()?;
        let outbox = Outbox::open(&home.agent("attempts"), boot).map_err(|e| file_fault(&e))?;
        let spool = Spool::open(home.agent("spool"), options.config.spool_max_bytes.0).map_err(|e| file_fault(&e))?;
        let journal = Journal::open(home.agent("requests"), unix_ms()).map_err(|e| file_fault(&e))?;
        let logs = LogBook::open(home.agent("logs")).map_err(|e| file_fault(&e))?;
        for folder in ["running", "sessions"] {
            clear_folder(&home.agent(folder)).map_err(|e| file_fault(&e))?;
        }
        Ok(Self { joined, boot, outbox, spool, journal, logs, _lock: lock, options })
    }

    fn workers(&self, threads: Option<usize>) -> WorkerOptions {
        let address_space_bytes = self.options.config.workers.address_space_bytes;
        WorkerOptions { program: self.options.program.clone(), address_space_bytes, threads }
    }

    fn module_folders(&self) -> Vec<ModuleFolder> {
        match &self.options.config.modules {
            Some(folders) => folders.iter().map(|path| ModuleFolder { path: path.clone(), required: true }).collect(),
            None => vec![ModuleFolder { path: self.options.home.modules(), required: false }],
        }
    }

    fn modules(&self, root: &HostRoot, keys: &TrustedKeys, doorbell: Option<Arc<Doorbell>>) -> ModulesOptions {
        let (home, config) = (&self.options.home, &self.options.config.devices);
        let devices = DevicesOptions {
            root: root.clone(),
            config: config.clone(),
            mounts: home.agent("mounts"),
            intents: home.agent("intents"),
            asleep: home.agent("asleep"),
            boot: self.boot,
        };
        ModulesOptions {
            folders: self.module_folders(),
            trust_folders: config.trust_folders,
            devices: Some(devices),
            keys: keys.clone(),
            doorbell,
        }
    }

    fn first_pass(&self, pool: &Pool) -> FirstPass {
        let config = &self.options.config;
        let options = FirstPassOptions {
            config: config.first_pass.clone(),
            workers: self.workers(config.first_pass.threads),
            digests: Some(self.options.home.agent("model-digests.json")),
            offload_always: config.policy.offload_always,
        };
        FirstPass::new(options, pool.clone())
    }

    /// What one step may compute with, where all slots are taken.
    fn threads(&self) -> u32 {
        let cpus = profile::logical_cpus();
        (cpus / self.options.config.slots(cpus)).max(1)
    }

    /// How containers that are programs are run.
    fn oci(&self, root: &HostRoot) -> OciOptions {
        let node = self.joined.node.to_string();
        let agent = node.get(node.len().saturating_sub(12)..).unwrap_or(&node).to_string();
        OciOptions {
            runtimes: self.options.config.oci.runtimes.clone(),
            home: self.options.home.agent("oci"),
            runs: self.options.home.runs(&agent),
            agent,
            cache_max_bytes: self.options.config.oci.cache_max_bytes,
            cpus: self.threads(),
            root: root.clone(),
        }
    }

    /// Begins to look for what runs containers here.
    fn search(&self, root: &HostRoot, figures: &Figures) -> Search {
        Search::begin(SearchOptions {
            workers: self.workers(None),
            onnxruntime: self.options.config.onnxruntime.clone(),
            measure: figures.wanted(&self.options.home),
            oci: self.oci(root),
        })
    }

    fn steps(&self, modules: &Modules, link: &Link, containers: Containers) -> (Pool, Steps) {
        let slots = self.options.config.slots(profile::logical_cpus());
        let threads = usize::try_from(self.threads()).unwrap_or(1);
        let (workers, memory) = (&self.options.config.workers, profile::memory_bytes());
        let cache_bytes = workers.cache_bytes(memory);
        let pool = Pool::new(PoolOptions {
            workers: self.workers(Some(threads)),
            policies: workers.load_policies(),
            memory_bytes: workers.memory_bytes(memory),
            sessions: Some(self.options.home.agent("sessions")),
            onnxruntime: self.options.config.onnxruntime.clone(),
            batch: BatchLimits { most: workers.batch, cache_bytes },
        });
        let steps = Steps::new(StepsOptions {
            work: self.options.home.agent("running"),
            slots,
            pool: pool.clone(),
            containers,
            logs: self.logs.clone(),
            modules: modules.clone(),
            spool: self.spool.clone(),
            outbox: self.outbox.clone(),
            link: link.clone(),
        });
        (pool, steps)
    }

    fn profile_options(&self, root: &HostRoot) -> ProfileOptions {
        ProfileOptions {
            home: self.options.home.clone(),
            config: self.options.config.clone(),
            root: root.clone(),
            workers: self.workers(None),
            boot: self.boot,
        }
    }

    /// Wires the parts, and finds out what this node is.
    async fn wire(&self) -> Result<Parts, Fault> {
        let root = profile::hardware_root(&self.options.config)?;
        let (line, link) = Line::new();
        let keys = TrustedKeys::open(self.options.home.agent("trusted-keys.json"));
        let doorbell = Doorbell::listen_to_modules().map(Arc::new);
        let (mut watcher, modules) = ModulesService::new(self.modules(&root, &keys, doorbell));
        let figures = Figures::look(&self.options.home).await;
        let search = self.search(&root, &figures);
        let (pool, steps) = self.steps(&modules, &link, search.containers());
        // It ends with the watcher.
        drop(tokio::spawn(pool.clone().follow(modules.clone())));
        let (mut vitals, readings) = Vitals::new(VitalsOptions {
            root: root.clone(),
            pool: pool.clone(),
            modules: modules.clone(),
            containers: search.containers(),
            on_unplug: self.options.config.power.on_unplug,
        });
        // The first announcement and the hello must be whole: what is missing in them counts as gone.
        let made_from = self.profile_options(&root);
        let later = search.found();
        let ((), found) = tokio::join!(watcher.look(), search.settle(FIRST_LOOK));
        let first = profile::describe(&made_from, figures, &found).await;
        // After the measuring: it would look like foreign load.
        vitals.look().await;
        drop(tokio::spawn(pool.clone().mind(readings.clone())));
        drop(tokio::spawn(steps.clone().keep_loaded()));
        let (keeper, profile) = ProfileKeeper::new(ProfileKeeperOptions { profile: made_from, steps: steps.clone(), found: later }, first);
        let first_pass = self.first_pass(&pool);
        let requests = Requests::new(RequestsOptions {
            journal: self.journal.clone(),
            first_pass: first_pass.clone(),
            link,
            readings: readings.clone(),
        });
        let metrics = match self.options.config.metrics {
            Some(address) => Some((MetricServer::bind(address).await.map_err(metric_fault)?, (profile.clone(), readings.clone()))),
            None => None,
        };
        let server = with_port(self.options.config.server.as_ref().unwrap_or(&self.joined.server));
        let (uplink, session) = Uplink::new(UplinkOptions {
            server: server.clone(),
            identity: self.options.home.identity(),
            boot: self.boot,
            run: self.options.run,
            profile: profile.clone(),
            readings,
            modules: modules.clone(),
            keys,
            steps: steps.clone(),
            spool: self.spool.clone(),
            line,
            seed: self.options.seed,
        });
        let joined = JoinedAs { server, ..self.joined.clone() };
        let spool = self.spool.clone();
        let status = StatusSource { joined, session, profile, modules, steps: steps.clone(), pool: pool.clone(), first_pass, spool };
        let api = LocalApi::open(ApiOptions {
            socket: self.options.home.socket().to_path_buf(),
            node: self.joined.node,
            requests: requests.clone(),
            status,
        })?;
        Ok(Parts { watcher, vitals, keeper, uplink, requests, api, steps, pool, search, metrics })
    }

    /// Runs until `stop`.
    ///
    /// # Errors
    /// When the server refuses this node for good, the socket cannot be opened, or the hardware cannot be read.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Fault> {
        let parts = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            parts = self.wire() => parts?,
        };
        let (drain, last) = (CancellationToken::new(), CancellationToken::new());
        let background = [
            tokio::spawn(parts.watcher.run(drain.clone())),
            tokio::spawn(parts.vitals.run(drain.clone())),
            tokio::spawn(parts.keeper.run(drain.clone())),
            tokio::spawn(parts.requests.run(drain.clone())),
            tokio::spawn(parts.api.run(drain.clone())),
        ];
        if let Some((server, (profile, readings))) = parts.metrics {
            let page = move || render(&profile.borrow().clone().hardware, &readings.borrow().clone(), &[]);
            // It has no state to let go of: it ends with the runtime.
            drop(tokio::spawn(server.serve(page)));
        }
        let mut session = tokio::spawn(parts.uplink.run(last.clone()));
        tracing::info!(node = %self.joined.node, name = self.joined.name, "the agent runs");
        let ended = tokio::select! {
            () = stop.cancelled() => None,
            ended = &mut session => Some(ended),
        };
        tracing::info!("stopping");
        let (steps, pool, search) = (parts.steps, parts.pool, parts.search);
        let goodbye = async {
            drain.cancel();
            steps.drain().await;
            pool.clear();
            let oci = search.containers().borrow().clone();
            if let Some(oci) = oci {
                oci.tidy().await;
            }
            last.cancel();
            let session = match ended {
                Some(ended) => ended,
                None => session.await,
            };
            for part in background {
                let _ = part.await;
            }
            session.unwrap_or_else(|e| Err(Fault::new(FaultCode::Internal, format!("the uplink ended: {e}"))))
        };
        // What has not ended by then ends with the process; everything that matters is on the disk.
        tokio::time::timeout(DRAIN, goodbye).await.unwrap_or(Ok(()))
    }
}
