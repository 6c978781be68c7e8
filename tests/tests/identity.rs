//! Who gets in and what they may do: certificates, roles, join tokens. Everything not allowed is refused, with its reason.

use ouro_common::error::FaultCode;
use ouro_common::id::NodeId;
use ouro_proto::identity::{JoinToken, Role};
use ouro_proto::wire::EnrollRequest;
use ouro_tests::{Client, Fleet, Identity, Node, NodeOptions, SHORT, eventually};
use rustls::pki_types::ServerName;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

const SESSION: &str = "/ouroboros.poison.v1.Fleet/Session";
const ENROLL: &str = "/ouroboros.poison.v1.Enrollment/Enroll";
const CREATE_TOKEN: &str = "/ouroboros.poison.v1.Operator/CreateToken";
const NODES: &str = "/ouroboros.poison.v1.Requests/Nodes";

/// A handshake with the operator's certificate and only these versions of TLS, and a byte after it.
fn handshake(fleet: &Fleet, versions: &[&'static rustls::SupportedProtocolVersion]) -> Result<(), String> {
    let identity = Identity::read(&fleet.server.home().join("operator"));
    let files = identity.files();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(files.authority().unwrap()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(files.chain().unwrap(), files.private_key().unwrap());
    let mut config = config.unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from("server.ouroboros.internal").unwrap();
    let mut connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut socket = TcpStream::connect(fleet.server.address()).unwrap();
    socket.set_read_timeout(Some(SHORT)).unwrap();
    let mut stream = rustls::Stream::new(&mut connection, &mut socket);
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").map_err(|e| e.to_string())?;
    // The server's SETTINGS frame: only a peer that was let in gets one.
    stream.read_exact(&mut [0; 9]).map_err(|e| e.to_string())
}

#[test]
fn tls_1_2_is_refused_and_the_same_client_with_1_3_is_let_in() {
    let fleet = Fleet::new();
    handshake(&fleet, &[&rustls::version::TLS13]).unwrap();
    let refusal = handshake(&fleet, &[&rustls::version::TLS12]).unwrap_err();
    assert!(refusal.contains("ProtocolVersion"), "the refusal names the version: {refusal}");
}

#[test]
fn a_certificate_of_another_ca_is_refused_whatever_role_it_claims() {
    let fleet = Fleet::new();
    let role = Role::Operator("admin".into());
    let call = |authority| {
        let identity = Identity::signed_by(&authority, &role, fleet.server.home());
        let mut client = Client::try_connect(fleet.server.address(), &identity).map_err(|e| e.to_string())?;
        client.call(NODES).map_err(|f| f.to_string())
    };
    call(Identity::authority_of(fleet.server.home())).unwrap();
    call(Identity::stranger()).unwrap_err();
}

#[test]
fn without_a_certificate_every_method_but_enrolment_is_closed() {
    let fleet = Fleet::new();
    let token: JoinToken = fleet.server.join_token().parse().unwrap();
    let mut stranger = Client::try_anonymous(fleet.server.address(), token.ca_sha256).unwrap();
    let methods = ouro_proto::methods();
    assert!(methods.contains(&ENROLL.to_string()) && methods.len() >= 17, "{methods:?}");
    for method in methods {
        let fault = stranger.call(&method).unwrap_err();
        let closed = fault.code == FaultCode::Unauthenticated;
        assert_eq!(closed, method != ENROLL, "{method}: {fault}");
    }
}

#[test]
fn roles_open_their_own_methods_and_no_others() {
    let fleet = Fleet::new();
    let authority = Identity::authority_of(fleet.server.home());
    let node = Role::Node(NodeId::from_parts(1, [7; 10]));
    let cases = [
        (node.clone(), CREATE_TOKEN, Some(FaultCode::PermissionDenied)),
        (Role::Client("ada".into()), CREATE_TOKEN, Some(FaultCode::PermissionDenied)),
        (Role::Client("ada".into()), SESSION, Some(FaultCode::PermissionDenied)),
        (Role::Operator("eve".into()), SESSION, Some(FaultCode::PermissionDenied)),
        (Role::Client("ada".into()), NODES, None),
        (node, NODES, None),
    ];
    for (role, method, refused) in cases {
        let identity = Identity::signed_by(&authority, &role, fleet.server.home());
        let mut client = Client::connect(fleet.server.address(), &identity);
        let outcome = client.call(method).map_err(|f| f.code);
        assert_eq!(outcome.err(), refused, "{role:?} calls {method}");
    }
    // A server's certificate is for serving: TLS itself does not take it from a client.
    let server = Identity::signed_by(&authority, &Role::Server, fleet.server.home());
    let outcome = Client::try_connect(fleet.server.address(), &server).map(|mut client| client.call(NODES).is_ok());
    assert!(!matches!(outcome, Ok(true)));
}

/// Enrols a fresh key with a token.
fn enroll(stranger: &Client, token: &JoinToken) -> Result<String, (FaultCode, String)> {
    enroll_key(stranger, token, &Identity::fresh_key())
}

fn enroll_key(stranger: &Client, token: &JoinToken, key: &ouro_proto::identity::KeyPair) -> Result<String, (FaultCode, String)> {
    let csr_der = key.signing_request("test").unwrap();
    let message = EnrollRequest { token_id: token.id.clone(), token_secret: token.secret.to_vec(), csr_der, name: "test".into() };
    let asking = stranger.asking();
    let reply = stranger.wait_for(async { asking.enroll(message).await });
    reply.map(|r| r.chain_pem).map_err(|f| (f.code, f.problem))
}

#[test]
fn tokens_expire_run_out_and_cannot_be_guessed() {
    let fleet = Fleet::new();
    let operator = fleet.client();
    let create = |uses, lifetime_s| -> JoinToken {
        let asking = operator.asking();
        operator.wait_for(async { asking.create_token("node", uses, lifetime_s).await }).unwrap().parse().unwrap()
    };
    let once = create(1, 3600);
    let stranger = Client::try_anonymous(fleet.server.address(), once.ca_sha256).unwrap();

    let key = Identity::fresh_key();
    let chain = enroll_key(&stranger, &once, &key).unwrap();
    assert_eq!(enroll_key(&stranger, &once, &key).unwrap(), chain, "a retry with the same key gets the same certificate");
    let (code, why) = enroll(&stranger, &once).unwrap_err();
    assert!(code == FaultCode::TokenRefused && why.contains("used up"), "{why}");

    let brief = create(10_000, 1);
    let (code, why) = eventually("the token to expire", SHORT, || enroll(&stranger, &brief).err());
    assert!(code == FaultCode::TokenRefused && why.contains("expired"), "{why}");

    let guessed = JoinToken { secret: [9; 20], ..create(1, 3600) };
    let (code, _) = enroll(&stranger, &guessed).unwrap_err();
    assert_eq!(code, FaultCode::TokenRefused);
}

#[test]
fn a_server_that_is_not_the_token_s_is_not_joined() {
    let fleet = Fleet::new();
    let other = JoinToken { ca_sha256: [5; 32], ..fleet.server.join_token().parse().unwrap() };
    assert!(Client::try_anonymous(fleet.server.address(), other.ca_sha256).is_err());
    let node = Node::prepare(&fleet.path("n1"), &NodeOptions::new("n1", &[]));
    let joined = node.command(&["join", fleet.server.address(), "--token", &other.to_string()]);
    let said = String::from_utf8_lossy(&joined.stderr).to_lowercase();
    assert!(!joined.status.success() && said.contains("trust"), "{said}");
    assert!(!node.home().join("agent/identity/chain.pem").exists());
}

#[test]
fn bad_tokens_and_addresses_are_named_and_a_second_join_is_refused() {
    let fleet = Fleet::new();
    let node = Node::prepare(&fleet.path("n1"), &NodeOptions::new("n1", &[]));
    let token = fleet.server.join_token();
    let refused = |server: &str, token: &str, says: &str| {
        let outcome = node.command(&["join", server, "--token", token]);
        let said = String::from_utf8_lossy(&outcome.stderr).to_lowercase();
        assert!(!outcome.status.success() && said.contains(says), "join {server} should say {says:?}: {said}");
    };
    refused(fleet.server.address(), "nonsense", "malformed");
    refused(fleet.server.address(), &token[..token.len() - 3], "fingerprint");
    refused("127.0.0.1:1", &token, "cannot be reached");
    node.join(fleet.server.address(), &token);
    let first = std::fs::read(node.home().join("agent/identity/chain.pem")).unwrap();
    refused(fleet.server.address(), &token, "already");
    assert_eq!(std::fs::read(node.home().join("agent/identity/chain.pem")).unwrap(), first, "nothing was overwritten");
}

#[test]
fn the_key_is_readable_by_its_owner_alone_and_is_nowhere_else() {
    let mut fleet = Fleet::new();
    let node = fleet.add(&NodeOptions::new("n1", &[]));
    let path = node.home().join("agent/identity/key.pem");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let pem = std::fs::read_to_string(&path).unwrap();
    let secret = pem.lines().nth(2).unwrap().to_string();
    assert!(secret.len() > 40, "the middle of the key");
    fleet.wait_online("n1");
    let mut places = vec![];
    holders(fleet.folder(), secret.as_bytes(), &mut places);
    assert_eq!(places, [path], "the key lies in one file");
}

/// The files below `folder` that contain `needle`.
fn holders(folder: &std::path::Path, needle: &[u8], found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            holders(&path, needle, found);
        } else if kind.is_file() && std::fs::read(&path).is_ok_and(|bytes| bytes.windows(needle.len()).any(|w| w == needle)) {
            found.push(path);
        }
    }
}

#[test]
fn a_node_keeps_its_id_over_restarts() {
    let mut fleet = Fleet::new();
    fleet.add(&NodeOptions::new("n1", &[]));
    let before = fleet.wait_online("n1").id;
    fleet.node("n1").process().kill();
    fleet.node("n1").start();
    assert_eq!(fleet.wait_online("n1").id, before);
    assert_eq!(fleet.client().nodes().nodes.len(), 1);
}

#[test]
fn init_overwrites_nothing_and_one_home_has_one_server() {
    let fleet = Fleet::new();
    let ca = std::fs::read(fleet.server.home().join("server/ca.pem")).unwrap();
    let again = ouro_tests::Server::command(fleet.server.home(), &["init"]);
    assert!(!again.status.success());
    assert!(String::from_utf8_lossy(&again.stderr).contains("already"), "{again:?}");
    assert_eq!(std::fs::read(fleet.server.home().join("server/ca.pem")).unwrap(), ca);
    let second = ouro_tests::Server::command(fleet.server.home(), &["run", "--listen", "127.0.0.1:0"]);
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success() && said.contains("OB0018"), "{said}");
    fleet.client().nodes();
}

#[test]
fn secrets_are_not_readable_by_others() {
    let fleet = Fleet::new();
    for secret in ["server/ca-key.pem", "operator/key.pem", "join-token", "server/identity/key.pem"] {
        let mode = std::fs::metadata(fleet.server.home().join(secret)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{secret} has mode {mode:o}");
    }
}
