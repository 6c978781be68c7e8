//! `ouro-agent join`: one command makes this machine a node. A join that was cut off is simply repeated.

use crate::config::with_port;
use crate::home::{AgentHome, JoinedAs, file_fault};
use crate::uplink::enrol::{Enrolled, enrol};
use ouro_common::error::{Fault, FaultCode};
use ouro_proto::identity::JoinToken;
use sha2::{Digest as _, Sha256};
use std::io::Read;
use std::path::PathBuf;

/// Where the token comes from.
#[derive(Debug, Clone)]
pub enum TokenSource {
    /// From the command line.
    Text(String),
    /// From a file.
    File(PathBuf),
    /// From standard input.
    Stdin,
}

/// Reads and checks a token.
///
/// # Errors
/// What is wrong with it or its file.
pub fn read_token(source: &TokenSource, stdin: &mut dyn Read) -> Result<JoinToken, Fault> {
    let text = match source {
        TokenSource::Text(text) => Ok(text.clone()),
        TokenSource::File(path) => std::fs::read_to_string(path),
        TokenSource::Stdin => {
            let mut text = String::new();
            stdin.take(4096).read_to_string(&mut text).map(|_| text)
        }
    };
    let at = match source {
        TokenSource::Text(_) => "--token".to_string(),
        TokenSource::File(path) => path.display().to_string(),
        TokenSource::Stdin => "standard input".to_string(),
    };
    let text = text.map_err(|e| Fault::new(FaultCode::InvalidArgument, format!("the token cannot be read: {e}")).at(&at))?;
    text.parse()
        .map_err(|e: ouro_proto::identity::TokenError| Fault::new(FaultCode::InvalidArgument, e.to_string()).at(&at))
}

/// Enrols this machine and keeps what came of it.
///
/// # Errors
/// `ALREADY_EXISTS` when there is an identity already; else what enrolment or the file system says.
pub async fn join(home: &AgentHome, server: &str, token: &JoinToken, name: &str) -> Result<JoinedAs, Fault> {
    let identity = home.identity();
    if identity.exists() {
        let known = home.joined()?.map_or_else(String::new, |j| format!(", as node {} of {}", j.name, j.server));
        let fault = Fault::new(FaultCode::AlreadyExists, format!("this machine has joined already{known}")).at(identity.folder().display());
        return Err(fault.remedy("start it with `ouro-agent run`; to join another fleet, remove that folder first"));
    }
    let _lock = home.lock()?;
    let server = with_port(server);
    let key = identity.key_or_new().map_err(|e| Fault::new(FaultCode::Internal, e.to_string()))?;
    let enrolled = enrol(&server, token, &key, name).await?;
    let ca_pem = authority_of(&enrolled, token)?;
    let joined = JoinedAs { server, node: enrolled.node, name: enrolled.name };
    home.remember(&joined).map_err(|e| file_fault(&e))?;
    // Last: the chain's presence is what "joined" means.
    identity.save(&enrolled.chain_pem, &ca_pem).map_err(|e| Fault::new(FaultCode::Internal, e.to_string()))?;
    Ok(joined)
}

/// The certificate in the chain that the token pins.
fn authority_of(enrolled: &Enrolled, token: &JoinToken) -> Result<String, Fault> {
    let blocks = enrolled.chain_pem.split_inclusive("-----END CERTIFICATE-----").filter(|b| b.contains("BEGIN CERTIFICATE"));
    let pinned = blocks
        .filter(|block| der_of(block).is_some_and(|der| Sha256::digest(der).as_slice() == token.ca_sha256))
        .last();
    let missing = || Fault::new(FaultCode::Unauthenticated, "the server's answer does not end in the CA that the token pins");
    pinned.map(|block| format!("{}\n", block.trim())).ok_or_else(missing)
}

fn der_of(pem: &str) -> Option<Vec<u8>> {
    let body: String = pem.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with("-----")).collect();
    data_encoding::BASE64.decode(body.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ouro_common::id::NodeId;
    use ouro_proto::identity::{Authority, KeyPair, Role};

    #[test]
    fn tokens_come_from_anywhere_and_damage_is_named() {
        let token = JoinToken::new([1; 6], [2; 20], [3; 32]);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, format!("{token}\n")).unwrap();
        let mut stdin = token.to_string().into_bytes();
        stdin.push(b'\n');
        for source in [TokenSource::Text(token.to_string()), TokenSource::File(file.clone()), TokenSource::Stdin] {
            assert_eq!(read_token(&source, &mut stdin.as_slice()).unwrap(), token);
        }
        let missing = read_token(&TokenSource::File(folder.path().join("no")), &mut stdin.as_slice()).unwrap_err();
        assert!(missing.at.ends_with("no"), "{missing}");
        assert!(
            read_token(&TokenSource::Text("ouro1.x".into()), &mut stdin.as_slice())
                .unwrap_err()
                .problem
                .contains("malformed")
        );
    }

    #[test]
    fn only_the_pinned_ca_is_believed() {
        let now = 1_790_000_000;
        let (ca, other) = (Authority::create(now).unwrap(), Authority::create(now).unwrap());
        let node = NodeId::from_parts(1, [1; 10]);
        let request = KeyPair::generate().unwrap().signing_request("n").unwrap();
        let chain_pem = ca.issue(&request, &Role::Node(node), now).unwrap();
        let enrolled = Enrolled { chain_pem, node, name: "n".into() };
        let pinned = |ca: &Authority| authority_of(&enrolled, &JoinToken::new([1; 6], [1; 20], ca.sha256()));
        assert_eq!(pinned(&ca).unwrap().trim(), ca.certificate_pem().trim());
        assert_eq!(pinned(&other).unwrap_err().code, FaultCode::Unauthenticated);
    }
}
