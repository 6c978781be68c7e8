//! A raw client of the protocol: with any certificate, any plan and any bytes, for what `ouroctl` would never send.

pub use asking::{Asking, request, single_step, wide_plan};
pub use liar::{Claims, Conduct, Liar};

mod asking;
mod liar;

use ouro_common::document::{NodesDocument, ResultDocument, TraceDocument};
use ouro_common::envelope::Envelope;
use ouro_common::error::Fault;
use ouro_common::id::RequestId;
use ouro_proto::channel::{ClientTls, ConnectError};
use ouro_proto::identity::{Authority, IdentityFiles, KeyPair, Role};
use std::future::Future;
use std::path::Path;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// What a client shows to the server.
#[derive(Debug)]
pub struct Identity {
    files: IdentityFiles,
    // An identity of the test's own lies here.
    _folder: Option<TempDir>,
}

impl Identity {
    /// The identity in a folder of some home.
    pub fn read(folder: &Path) -> Self {
        Self { files: IdentityFiles::new(folder), _folder: None }
    }

    /// An identity that `authority` signs, for a client that trusts the CA of the home at `server`.
    pub fn signed_by(authority: &Authority, role: &Role, server: &Path) -> Self {
        Self::signed_at(authority, role, server, 0)
    }

    /// The same, signed so many seconds from now, or before now.
    pub fn signed_at(authority: &Authority, role: &Role, server: &Path, seconds: i64) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let files = IdentityFiles::new(folder.path());
        let key = files.key_or_new().expect("a key can be made");
        let chain = authority
            .issue(&key.signing_request("test").expect("a request can be made"), role, unix_seconds() + seconds)
            .expect("the CA can sign");
        let ca = std::fs::read_to_string(server.join("server/ca.pem")).expect("the server has a CA");
        files.save(&chain, &ca).expect("the identity can be written");
        Self { files, _folder: Some(folder) }
    }

    /// The fleet's own CA, as its server has it.
    pub fn authority_of(server: &Path) -> Authority {
        let read = |name: &str| std::fs::read_to_string(server.join("server").join(name)).expect("the server has a CA");
        Authority::from_pem(&read("ca.pem"), &read("ca-key.pem")).expect("the CA can be read")
    }

    /// Another fleet's CA.
    pub fn stranger() -> Authority {
        Authority::create(unix_seconds()).expect("a CA can be made")
    }

    /// A key that nobody has signed.
    pub fn fresh_key() -> KeyPair {
        KeyPair::generate().expect("a key can be made")
    }

    /// Its files.
    pub fn files(&self) -> &IdentityFiles {
        &self.files
    }
}

/// Seconds since the Unix epoch.
fn unix_seconds() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("the clock is after 1970");
    i64::try_from(now.as_secs()).expect("the clock is before the end of time")
}

/// A connection to a server whose calls wait.
pub struct Client {
    runtime: Runtime,
    asking: Asking,
}

impl Client {
    /// Connects with an identity.
    ///
    /// # Panics
    /// When the server cannot be reached or does not trust it.
    pub fn connect(address: &str, identity: &Identity) -> Self {
        Self::try_connect(address, identity).unwrap_or_else(|e| panic!("{e}"))
    }

    /// Connects with an identity.
    ///
    /// # Errors
    /// When the server cannot be reached, or one of the two does not trust the other.
    pub fn try_connect(address: &str, identity: &Identity) -> Result<Self, ConnectError> {
        Self::over(address, &ClientTls::with_identity(identity.files())?)
    }

    /// Connects without a certificate, knowing the CA only by its fingerprint, as `join` does.
    ///
    /// # Errors
    /// When the server cannot be reached, or is not of that CA.
    pub fn try_anonymous(address: &str, ca_sha256: [u8; 32]) -> Result<Self, ConnectError> {
        Self::over(address, &ClientTls::pinned(ca_sha256)?)
    }

    fn over(address: &str, tls: &ClientTls) -> Result<Self, ConnectError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime can be made");
        let asking = runtime.block_on(Asking::connect(address, tls))?;
        Ok(Self { runtime, asking })
    }

    /// Runs a future on this connection's runtime.
    pub fn wait_for<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// The asynchronous side of the same connection.
    pub fn asking(&self) -> Asking {
        self.asking.clone()
    }

    /// Who is in the fleet.
    pub fn nodes(&mut self) -> NodesDocument {
        let asking = self.asking();
        self.wait_for(async { asking.nodes().await }).unwrap_or_else(|e| panic!("{e}"))
    }

    /// Submits a request with its inputs' bytes.
    ///
    /// # Errors
    /// What the server says.
    pub fn submit(&mut self, envelope: &Envelope, inputs: &[&[u8]]) -> Result<RequestId, Fault> {
        let asking = self.asking();
        self.wait_for(async { asking.submit(envelope, inputs).await })
    }

    /// The end of a request.
    pub fn finished(&mut self, id: RequestId) -> ResultDocument {
        let asking = self.asking();
        self.wait_for(async { asking.finished(id).await }).unwrap_or_else(|e| panic!("{e}"))
    }

    /// A request's trace.
    pub fn trace(&mut self, id: RequestId) -> TraceDocument {
        let asking = self.asking();
        self.wait_for(async { asking.trace(id).await }).unwrap_or_else(|e| panic!("{e}"))
    }

    /// Calls a method with an empty message; what comes back is only whether the call was let through.
    ///
    /// # Errors
    /// The fault in the status.
    pub fn call(&mut self, method: &str) -> Result<(), Fault> {
        let asking = self.asking();
        self.wait_for(async { asking.call(method).await })
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}
