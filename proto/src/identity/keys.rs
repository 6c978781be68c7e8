//! Keys and where an identity lies on disk: `identity/{key.pem, chain.pem, ca.pem}`, the key readable by its owner only.

use rcgen::{CertificateParams, DistinguishedName, DnType, PublicKeyData as _};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// An identity's files could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Its words.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path} holds no usable {what}; join again or restore it from a backup")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What was expected in it.
        what: &'static str,
    },
    /// A key could not be made.
    #[error("a key could not be made: {0}")]
    Key(#[from] rcgen::Error),
}

/// A P-256 key pair.
pub struct KeyPair(pub(super) rcgen::KeyPair);

impl KeyPair {
    /// A new key from the system's randomness.
    pub fn generate() -> Result<Self, IdentityError> {
        Ok(Self(rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?))
    }

    /// From PKCS #8 in PEM.
    pub fn from_pem(pem: &str) -> Result<Self, IdentityError> {
        Ok(Self(rcgen::KeyPair::from_pem(pem)?))
    }

    /// PKCS #8 in PEM.
    pub fn to_pem(&self) -> String {
        self.0.serialize_pem()
    }

    /// SubjectPublicKeyInfo in DER.
    pub fn spki_der(&self) -> Vec<u8> {
        self.0.subject_public_key_info()
    }

    /// A certificate signing request in DER. Its subject is decoration: the server decides what it signs.
    pub fn signing_request(&self, name: &str) -> Result<Vec<u8>, IdentityError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        Ok(params.serialize_request(&self.0)?.der().to_vec())
    }
}

/// The folder that holds an identity.
#[derive(Debug, Clone)]
pub struct IdentityFiles {
    folder: PathBuf,
}

impl IdentityFiles {
    /// The identity in `folder`, which need not exist yet.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// The folder itself.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether an identity is there.
    pub fn exists(&self) -> bool {
        self.folder.join("chain.pem").exists()
    }

    /// The key in `key.pem`; made and written there first if it is missing, so that a repeated `join` uses the same one.
    pub fn key_or_new(&self) -> Result<KeyPair, IdentityError> {
        let path = self.folder.join("key.pem");
        match fs::read_to_string(&path) {
            Ok(pem) => KeyPair::from_pem(&pem).map_err(|_| IdentityError::Malformed { path, what: "private key" }),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let key = KeyPair::generate()?;
                self.write("key.pem", &key.to_pem())?;
                Ok(key)
            }
            Err(source) => Err(IdentityError::Io { path, source }),
        }
    }

    /// Writes the certificate chain and the CA it ends in. `chain.pem` comes last: its presence means "joined".
    pub fn save(&self, chain_pem: &str, ca_pem: &str) -> Result<(), IdentityError> {
        self.write("ca.pem", ca_pem)?;
        self.write("chain.pem", chain_pem)
    }

    /// The certificate chain, leaf first.
    pub fn chain(&self) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
        self.certificates("chain.pem")
    }

    /// The CA's certificate.
    pub fn authority(&self) -> Result<CertificateDer<'static>, IdentityError> {
        let path = self.folder.join("ca.pem");
        self.certificates("ca.pem")?.into_iter().next().ok_or(IdentityError::Malformed { path, what: "certificate" })
    }

    /// The private key for TLS.
    pub fn private_key(&self) -> Result<PrivateKeyDer<'static>, IdentityError> {
        let path = self.folder.join("key.pem");
        let pem = fs::read(&path).map_err(|source| IdentityError::Io { path: path.clone(), source })?;
        PrivateKeyDer::from_pem_slice(&pem).map_err(|_| IdentityError::Malformed { path, what: "private key" })
    }

    fn certificates(&self, file: &str) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
        let path = self.folder.join(file);
        let pem = fs::read(&path).map_err(|source| IdentityError::Io { path: path.clone(), source })?;
        let list: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        list.ok().filter(|l| !l.is_empty()).ok_or(IdentityError::Malformed { path, what: "certificate" })
    }

    /// Writes a file whole or not at all: to a neighbour first, fsynced, then renamed.
    pub fn write(&self, file: &str, content: &str) -> Result<(), IdentityError> {
        let path = self.folder.join(file);
        let neighbour = self.folder.join(format!(".{file}.new"));
        let io = |source| IdentityError::Io { path: path.clone(), source };
        fs::create_dir_all(&self.folder).map_err(io)?;
        let mut out = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&neighbour).map_err(io)?;
        out.write_all(content.as_bytes()).and_then(|()| out.sync_all()).map_err(io)?;
        fs::rename(&neighbour, &path).map_err(io)?;
        fs::File::open(&self.folder).and_then(|d| d.sync_all()).map_err(io)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_key_is_made_once_and_only_its_owner_can_read_it() {
        let home = tempfile::tempdir().unwrap();
        let files = IdentityFiles::new(home.path().join("identity"));
        let first = files.key_or_new().unwrap().spki_der();
        assert_eq!(files.key_or_new().unwrap().spki_der(), first);
        let mode = fs::metadata(files.folder().join("key.pem")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!files.exists(), "a key alone is no identity");
        fs::write(files.folder().join("key.pem"), "garbage").unwrap();
        assert!(files.key_or_new().is_err_and(|e| e.to_string().contains("key.pem")), "a damaged key is never replaced");
    }
}
