//! `ouro-server run`: opens what the server needs, serves, and lets go of it in order.

use crate::api::serve;
use crate::blobs::Blobs;
use crate::init::{ServerFiles, io_fault, load_authority, store_fault};
use crate::interpreter::RuleInterpreter;
use crate::lock::HomeLock;
use crate::reconcile;
use crate::store::{SqliteStore, Store, Ticker};
use crate::ticker::unix_seconds;
use crate::trust::TrustedKeys;
use crate::world::{World, WorldParts};
use ouro_common::error::{Fault, FaultCode};
use ouro_common::home::Home;
use ouro_common::id::InstanceId;
use ouro_proto::channel::{Incoming, ServerTls};
use ouro_proto::identity::{Authority, IdentityFiles};
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Streams that are open when the server is told to stop get so long to end.
const DRAIN_TIME: Duration = Duration::from_secs(3);

/// What a server needs from outside.
pub struct Options {
    /// Where everything lies.
    pub home: Home,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// New requests are refused below so much free disk.
    pub min_free_bytes: u64,
    /// Whether every new node waits for approval, whatever its token says.
    pub require_approval: bool,
    /// Its clock.
    pub ticker: Arc<dyn Ticker>,
}

/// A server that is ready to serve.
pub struct Service {
    world: Arc<World>,
    incoming: Incoming,
    address: SocketAddr,
    home: Home,
    _lock: HomeLock,
}

impl Service {
    /// Opens everything and begins to listen.
    ///
    /// # Errors
    /// What is missing, in use or full, with the remedy.
    pub async fn open(options: Options) -> Result<Self, Fault> {
        let authority = load_authority(&options.home)?;
        let folder = options.home.server();
        let files = ServerFiles(&folder);
        let lock = HomeLock::take(&folder)?;
        let store = SqliteStore::open(&files.database(), options.ticker.clone()).map_err(|e| store_fault(&e))?;
        let blobs = Blobs::open(&files.blobs(), options.min_free_bytes)?;
        let instance = InstanceId::from_parts(options.ticker.wall().0, rand::random());
        store.renew_instance(instance).await.map_err(|e| store_fault(&e))?;
        let tls = server_tls(&options.home, &authority, unix_seconds(options.ticker.as_ref()))?;
        let listener = TcpListener::bind(options.listen).await.map_err(|e| {
            Fault::new(FaultCode::Internal, format!("cannot listen: {e}"))
                .at(options.listen)
                .remedy("is another server running? choose another address with --listen, port 0 takes a free one")
        })?;
        let address = listener.local_addr().map_err(|e| io_fault(&folder, &e))?;
        let parts = WorldParts {
            store: Arc::new(store),
            blobs,
            interpreter: Arc::new(RuleInterpreter::new()),
            authority,
            trusted: TrustedKeys::open(files.trusted_keys()),
            ticker: options.ticker,
            instance,
            require_approval: options.require_approval,
        };
        let lessons = parts.store.lessons().await.map_err(|e| store_fault(&e))?;
        let world = Arc::new(World::new(parts));
        let lessons = lessons.into_iter().map(|lesson| (lesson.node, lesson.container, lesson.residuals));
        world.lessons.lock().unwrap_or_else(PoisonError::into_inner).restore(lessons);
        let incoming = Incoming::new(listener, tls);
        Ok(Self { world, incoming, address, home: options.home, _lock: lock })
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `drain` turns true.
    ///
    /// # Errors
    /// When the transport fails as a whole.
    pub async fn run(self, drain: watch::Receiver<bool>) -> Result<(), Fault> {
        let path = self.home.server_address();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("address");
        IdentityFiles::new(self.home.server())
            .write(name, &format!("{}\n", self.address))
            .map_err(|e| Fault::new(FaultCode::Internal, e.to_string()))?;
        let reconciler = tokio::spawn(reconcile::run(self.world.clone(), drain.clone()));
        let mut told = drain.clone();
        let served = tokio::select! {
            served = serve(self.world.clone(), self.incoming, drain) => served,
            () = async {
                let _ = told.wait_for(|draining| *draining).await;
                tokio::time::sleep(DRAIN_TIME).await;
            } => Ok(()),
        };
        let _ = reconciler.await;
        let _ = std::fs::remove_file(&path);
        served.map_err(|e| Fault::new(FaultCode::Internal, format!("the server stopped: {e}")))
    }
}

/// The server's own certificate is made anew at every start, so it never expires in a running fleet that is updated.
fn server_tls(home: &Home, authority: &Authority, now: i64) -> Result<ServerTls, Fault> {
    let internal = |e: &dyn std::fmt::Display| Fault::new(FaultCode::Internal, e.to_string());
    let files = IdentityFiles::new(home.server().join("identity"));
    let key = files.key_or_new().map_err(|e| internal(&e))?;
    let chain = authority.issue_server(&key, now).map_err(|e| internal(&e))?;
    files.save(&chain, authority.certificate_pem()).map_err(|e| internal(&e))?;
    let (chain, key) = (files.chain().map_err(|e| internal(&e))?, files.private_key().map_err(|e| internal(&e))?);
    ServerTls::new(chain, key, authority.certificate().clone()).map_err(|e| internal(&e))
}
