//! `ouro-server init`: the fleet's CA, an operator's identity and a join token. Nothing that exists is overwritten.

use crate::lock::HomeLock;
use crate::store::{EnrolledAs, NewToken, SqliteStore, Ticker};
use crate::ticker::unix_seconds;
use ouro_common::error::{Fault, FaultCode};
use ouro_common::home::Home;
use ouro_common::id::Digest;
use ouro_proto::identity::{Authority, IdentityFiles, JoinToken, Role};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long the first token can be used.
const TOKEN_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// How many machines it can enrol.
const TOKEN_USES: u32 = 100;

/// The server's files within its folder.
pub struct ServerFiles<'a>(pub &'a Path);

impl ServerFiles<'_> {
    /// The CA's certificate.
    pub fn authority_certificate(&self) -> std::path::PathBuf {
        self.0.join("ca.pem")
    }
    /// The CA's key.
    pub fn authority_key(&self) -> std::path::PathBuf {
        self.0.join("ca-key.pem")
    }
    /// The database.
    pub fn database(&self) -> std::path::PathBuf {
        self.0.join("store.db")
    }
    /// Keys whose signature makes a module trusted, a file each.
    pub fn trusted_keys(&self) -> std::path::PathBuf {
        self.0.join("trusted-keys")
    }
    /// Inputs and answers.
    pub fn blobs(&self) -> std::path::PathBuf {
        self.0.join("blobs")
    }
}

/// What `init` made.
pub struct Initialised {
    /// The join token, also in a file.
    pub token: JoinToken,
}

/// Makes a fleet in `home`.
///
/// # Errors
/// `ALREADY_EXISTS` when there is one already; whatever the file system says.
pub async fn init(home: &Home, ticker: Arc<dyn Ticker>) -> Result<Initialised, Fault> {
    let folder = home.server();
    let files = ServerFiles(&folder);
    if files.authority_certificate().exists() {
        return Err(Fault::new(FaultCode::AlreadyExists, "there is a fleet in this home already; nothing was changed")
            .at(folder.display())
            .remedy("start it with `ouro-server run`, or set OUROBOROS_HOME to another folder"));
    }
    std::fs::create_dir_all(&folder).map_err(|e| io_fault(&folder, &e))?;
    restrict(&folder)?;
    let _lock = HomeLock::take(&folder)?;
    let now = unix_seconds(ticker.as_ref());
    let authority = Authority::create(now).map_err(internal)?;
    let store = SqliteStore::open(&files.database(), ticker).map_err(|e| store_fault(&e))?;
    let token = create_token(&store, &authority, TokenSpec::first()).await?;
    enrol_operator(home, &authority, now)?;
    let own = IdentityFiles::new(&folder);
    own.write("ca-key.pem", &authority.key_pem()).map_err(internal)?;
    write_secret(&home.join_token(), &format!("{token}\n"))?;
    // Last: its presence is what "initialised" means.
    own.write("ca.pem", authority.certificate_pem()).map_err(internal)?;
    Ok(Initialised { token })
}

/// What a token is to be.
pub struct TokenSpec {
    /// What it makes.
    pub role: EnrolledAs,
    /// How often it can be used.
    pub uses: u32,
    /// How long.
    pub lifetime: Duration,
    /// Labels for what it makes.
    pub labels: BTreeMap<String, String>,
    /// Whether nodes wait for approval.
    pub require_approval: bool,
}

impl TokenSpec {
    fn first() -> Self {
        Self {
            role: EnrolledAs::Node,
            uses: TOKEN_USES,
            lifetime: TOKEN_LIFETIME,
            labels: BTreeMap::new(),
            require_approval: false,
        }
    }
}

/// Makes a token and records its hash.
pub async fn create_token(store: &dyn crate::store::Store, authority: &Authority, spec: TokenSpec) -> Result<JoinToken, Fault> {
    let token = JoinToken::new(rand::random(), rand::random(), authority.sha256());
    let record = NewToken {
        id: token.id.clone(),
        secret_hash: Digest::blake3(&token.secret),
        role: spec.role,
        labels: spec.labels,
        uses: spec.uses,
        lifetime: spec.lifetime,
        require_approval: spec.require_approval,
    };
    store.create_token(record).await.map_err(|e| store_fault(&e))?;
    Ok(token)
}

fn enrol_operator(home: &Home, authority: &Authority, now: i64) -> Result<(), Fault> {
    let files = IdentityFiles::new(home.operator());
    if files.exists() {
        return Err(Fault::new(FaultCode::AlreadyExists, "an operator identity of another fleet is in this home")
            .at(files.folder().display())
            .remedy("move it away, or set OUROBOROS_HOME to another folder"));
    }
    let key = files.key_or_new().map_err(internal)?;
    let request = key.signing_request("operator").map_err(internal)?;
    let chain = authority.issue(&request, &Role::Operator("admin".into()), now).map_err(internal)?;
    files.save(&chain, authority.certificate_pem()).map_err(internal)
}

/// The CA of an initialised home.
pub fn load_authority(home: &Home) -> Result<Authority, Fault> {
    let folder = home.server();
    let files = ServerFiles(&folder);
    let read = |path: std::path::PathBuf| {
        std::fs::read_to_string(&path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => Fault::new(FaultCode::NotFound, "there is no fleet in this home yet")
                .at(folder.display())
                .remedy("make one with `ouro-server init`"),
            _ => io_fault(&path, &e),
        })
    };
    Authority::from_pem(&read(files.authority_certificate())?, &read(files.authority_key())?).map_err(internal)
}

fn restrict(folder: &Path) -> Result<(), Fault> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700)).map_err(|e| io_fault(folder, &e))
}

fn write_secret(path: &Path, text: &str) -> Result<(), Fault> {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    IdentityFiles::new(path.parent().unwrap_or(path)).write(name, text).map_err(internal)
}

fn internal(error: impl std::fmt::Display) -> Fault {
    Fault::new(FaultCode::Internal, error.to_string())
}

pub(crate) fn io_fault(path: &Path, error: &std::io::Error) -> Fault {
    let full = error.kind() == std::io::ErrorKind::StorageFull || error.kind() == std::io::ErrorKind::QuotaExceeded;
    if full {
        return Fault::new(FaultCode::DiskFull, "the disk is full")
            .at(path.display())
            .remedy("free some space there; nothing was lost");
    }
    Fault::new(FaultCode::Internal, error.to_string()).at(path.display())
}

pub(crate) fn store_fault(error: &crate::store::StoreError) -> Fault {
    use crate::store::StoreError;
    match error {
        StoreError::DiskFull { path } => Fault::new(FaultCode::DiskFull, "the disk is full; nothing was lost")
            .at(path)
            .remedy("free some space on that file system"),
        StoreError::NotFound { what, id } => Fault::new(FaultCode::NotFound, format!("there is no {what} {id}")),
        other => Fault::new(FaultCode::Internal, other.to_string()),
    }
}
