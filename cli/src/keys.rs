//! Keys for signing modules, in minisign's own files: what one makes, the other takes, with a password or without.

use minisign::{KeyPair, PublicKey, SecretKey, SecretKeyBox};
use ouro_common::error::{Fault, FaultCode};
use ouro_common::id::Digest;
use ouro_common::module::TrustedKey;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// The longest key file that is read: minisign writes some 300 bytes.
const MAX_KEY_BYTES: u64 = 4096;

/// Where a key's public half lies: beside it, with `.pub` at the end.
pub(crate) fn public_path(secret: &Path) -> PathBuf {
    secret.with_extension("pub")
}

/// Makes a key pair and writes it; with no password the secret half lies open.
///
/// # Errors
/// A file is there already, or cannot be written.
pub(crate) fn make(secret: &Path, password: Option<String>) -> Result<TrustedKey, Fault> {
    let public = public_path(secret);
    if public == secret {
        return Err(invalid(secret, "a secret key is not called .pub").remedy("choose another name, like module.key"));
    }
    for path in [secret, &public] {
        if path.exists() {
            return Err(Fault::new(FaultCode::AlreadyExists, "there is a key already; a lost key cannot be made again")
                .at(path.display())
                .remedy("choose another file with -o, or move this one away"));
        }
    }
    let internal = |e: minisign::PError| Fault::new(FaultCode::Internal, format!("no key could be made: {e}"));
    let pair = match password {
        Some(password) => KeyPair::generate_encrypted_keypair(Some(password)),
        None => KeyPair::generate_unencrypted_keypair(),
    };
    let pair = pair.map_err(internal)?;
    let public_text = pair.pk.to_box().map_err(internal)?.into_string();
    let key: TrustedKey = public_text.parse().map_err(|e| Fault::new(FaultCode::Internal, format!("{e}")))?;
    let secret_text = pair.sk.to_box(Some("minisign secret key")).map_err(internal)?.into_string();
    write_new(secret, &secret_text, 0o600).map_err(|e| invalid(secret, format!("it cannot be written: {e}")))?;
    write_new(&public, &public_text, 0o644).map_err(|e| invalid(&public, format!("it cannot be written: {e}")))?;
    Ok(key)
}

fn write_new(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    writeln!(file, "{}", text.trim_end())?;
    file.sync_all()
}

fn invalid(path: &Path, problem: impl Into<String>) -> Fault {
    Fault::new(FaultCode::InvalidArgument, problem).at(path.display())
}

fn read(path: &Path) -> Result<String, Fault> {
    let bytes = fs::metadata(path).map_err(|e| invalid(path, format!("the key cannot be read: {e}")))?.len();
    if bytes > MAX_KEY_BYTES {
        return Err(invalid(path, format!("a key file has a few hundred bytes, this one has {bytes}")));
    }
    fs::read_to_string(path).map_err(|e| invalid(path, format!("the key cannot be read: {e}")))
}

/// A secret key that can sign.
pub(crate) struct Signer {
    secret: SecretKey,
    public: TrustedKey,
}

impl Signer {
    /// Reads a secret key; `password` is asked only if it has one.
    ///
    /// # Errors
    /// It is no secret key, or the password is wrong.
    pub(crate) fn read(path: &Path, password: &mut dyn FnMut() -> Result<String, Fault>) -> Result<Self, Fault> {
        let wrong = |problem: String| {
            invalid(path, problem).remedy("name the secret key: the file that `ouroctl module keygen` or `minisign -G` wrote, not the .pub")
        };
        let text = read(path)?;
        let secret = match form(&text) {
            SecretForm::Open => SecretKeyBox::from_string(&text).and_then(SecretKeyBox::into_unencrypted_secret_key),
            SecretForm::OpenUnchecked(bytes) => SecretKey::from_bytes(&bytes),
            SecretForm::Encrypted => {
                let password = password()?;
                let key = SecretKeyBox::from_string(&text).and_then(|key| key.into_secret_key(Some(password)));
                Ok(key.map_err(|e| invalid(path, format!("the key cannot be opened: {e}")).remedy("is the password right?"))?)
            }
            SecretForm::None => return Err(wrong("it is no minisign secret key".into())),
        };
        let secret = secret.map_err(|e| wrong(format!("the key cannot be read: {e}")))?;
        let public = PublicKey::from_secret_key(&secret).map_err(|e| wrong(format!("it has no public half: {e}")))?;
        let public = public.to_base64().parse().map_err(|e| wrong(format!("{e}")))?;
        Ok(Self { secret, public })
    }

    /// The public half.
    pub(crate) fn public(&self) -> &TrustedKey {
        &self.public
    }

    /// A signature over an index, as the text of a `.minisig` file.
    ///
    /// # Errors
    /// The system gave no random numbers.
    pub(crate) fn sign(&self, index: &[u8], digest: &Digest) -> Result<String, Fault> {
        let comment = format!("ouroboros module {digest}");
        let signature = minisign::sign(None, &self.secret, index, Some(&comment), Some("signature of an Ouroboros module"));
        Ok(signature.map_err(|e| Fault::new(FaultCode::Internal, format!("it could not be signed: {e}")))?.into_string())
    }
}

/// How a secret key is kept.
enum SecretForm {
    /// Without a password.
    Open,
    /// The same without the checksum, which minisign 0.11 leaves empty then.
    OpenUnchecked(Vec<u8>),
    /// With one.
    Encrypted,
    /// It is none.
    None,
}

/// A secret key is 158 bytes in base64 in the second line: two name the signature, two the derivation from a password, two
/// the checksum, which is the last 32 (minisign, "Key format").
fn form(text: &str) -> SecretForm {
    let line = text.lines().nth(1).unwrap_or_default();
    let bytes = data_encoding::BASE64.decode(line.trim().as_bytes()).unwrap_or_default();
    match bytes.get(2..4) {
        _ if bytes.len() != 158 => SecretForm::None,
        Some([0, 0]) if bytes[126..].iter().all(|b| *b == 0) => SecretForm::OpenUnchecked(bytes),
        Some([0, 0]) => SecretForm::Open,
        Some(b"Sc") => SecretForm::Encrypted,
        _ => SecretForm::None,
    }
}

/// A public key: the line itself, or a file with it.
///
/// # Errors
/// It is neither.
pub(crate) fn public(text_or_path: &str) -> Result<TrustedKey, Fault> {
    if let Ok(key) = text_or_path.parse() {
        return Ok(key);
    }
    let path = Path::new(text_or_path);
    read(path)?
        .parse()
        .map_err(|e| invalid(path, format!("{e}")).remedy("name the .pub file, or give the line in it that begins with RW"))
}

/// The password in a file's first line; `-` is standard input, which `stdin` reads.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn password_from(path: &Path, stdin: impl FnOnce(u64) -> io::Result<Vec<u8>>) -> Result<String, Fault> {
    let bytes = if path.as_os_str() == "-" {
        stdin(MAX_KEY_BYTES)
    } else {
        File::open(path).and_then(|file| {
            let mut bytes = vec![];
            io::Read::read_to_end(&mut io::Read::take(file, MAX_KEY_BYTES), &mut bytes).map(|_| bytes)
        })
    };
    let bytes = bytes.map_err(|e| invalid(path, format!("the password cannot be read: {e}")))?;
    let text = String::from_utf8(bytes).map_err(|_| invalid(path, "the password is not UTF-8 text"))?;
    Ok(text.lines().next().unwrap_or_default().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ouro_common::module::{Verdict, sha256, verify};

    fn no_password() -> Result<String, Fault> {
        panic!("an open key asks for no password")
    }

    #[test]
    fn a_key_signs_and_is_never_overwritten() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("deep/module.key");
        let key = make(&path, None).unwrap();
        assert_eq!(public(&public_path(&path).display().to_string()).unwrap(), key);
        assert_eq!(public(key.base64()).unwrap(), key);
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        let signer = Signer::read(&path, &mut no_password).unwrap();
        assert_eq!(signer.public(), &key);
        let signature = signer.sign(b"index", &sha256(b"index")).unwrap();
        let comment = format!("ouroboros module {}", sha256(b"index"));
        assert_eq!(
            verify(b"index", signature.as_bytes(), std::slice::from_ref(&key)),
            Verdict::Trusted { key: key.id(), comment }
        );
        assert_eq!(make(&path, None).unwrap_err().code, FaultCode::AlreadyExists);
    }

    #[test]
    fn what_is_no_secret_key_is_refused_without_asking() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("module.key");
        make(&path, None).unwrap();
        let junk = home.path().join("junk");
        fs::write(&junk, "junk\njunk\n").unwrap();
        for bad in [public_path(&path), junk, home.path().join("absent"), home.path().to_path_buf()] {
            assert!(Signer::read(&bad, &mut no_password).is_err(), "{}", bad.display());
        }
        assert!(public(&path.display().to_string()).is_err(), "a secret key is no public key");
        assert!(make(&home.path().join("x.pub"), None).is_err());
    }

    #[test]
    fn a_password_is_a_line() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("password");
        fs::write(&path, "correct horse\n").unwrap();
        let none = |_| Ok(vec![]);
        assert_eq!(password_from(&path, none).unwrap(), "correct horse");
        assert_eq!(password_from(Path::new("-"), |_| Ok(b"staple\nmore".to_vec())).unwrap(), "staple");
    }
}
