//! A node that speaks the protocol itself, with a certificate of its own and over real TLS: for what no honest agent would say.

use super::{Asking, Client, Identity};
use ouro_common::envelope::PROTOCOL_VERSION;
use ouro_common::id::Digest;
use ouro_common::step::FailureClass;
use ouro_proto::convert::digest_to_wire;
use ouro_proto::identity::{IdentityFiles, JoinToken};
use ouro_proto::wire::fleet_client::FleetClient;
use ouro_proto::wire::{
    Assign, Document, EnrollRequest, Heartbeat, Hello, NodeMessage, Output, Pong, StepFailed, StepResult, node_message, server_message,
};
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;
use tokio::sync::mpsc;

/// What it does with the steps it is given.
#[derive(Debug, Clone, Copy)]
pub enum Conduct {
    /// Says at once that they failed.
    Fails,
    /// Gives a right answer after this time, one after the other, and says that it took none.
    Dawdles(Duration),
}

/// A node of the fleet that is the test.
#[derive(Debug)]
pub struct Liar {
    client: Client,
}

/// What it says of itself, as JSON documents.
#[derive(Debug, Clone)]
pub struct Claims {
    /// `ouroboros.profile/1`.
    pub profile: String,
    /// `ouroboros.announcement/1`.
    pub announcement: String,
}

impl Liar {
    /// Joins the fleet of the server in `home` as `name`.
    ///
    /// # Panics
    /// When the server refuses.
    pub fn join(address: &str, home: &Path, token: &str, name: &str) -> Self {
        let token: JoinToken = token.parse().expect("init writes a token");
        let stranger = Client::try_anonymous(address, token.ca_sha256).unwrap_or_else(|e| panic!("{e}"));
        let folder = tempfile::tempdir().expect("a folder can be made");
        let files = IdentityFiles::new(folder.path());
        let key = files.key_or_new().expect("a key can be made");
        let csr_der = key.signing_request(name).expect("a request can be made");
        let message = EnrollRequest { token_id: token.id, token_secret: token.secret.to_vec(), csr_der, name: name.into() };
        let asking = stranger.asking();
        let reply = stranger.wait_for(async { asking.enroll(message).await }).unwrap_or_else(|e| panic!("{e}"));
        let ca = std::fs::read_to_string(home.join("server/ca.pem")).expect("the server has a CA");
        files.save(&reply.chain_pem, &ca).expect("the identity can be written");
        let identity = Identity { files, _folder: Some(folder) };
        Self { client: Client::connect(address, &identity) }
    }

    /// Takes part in the fleet, in a thread of its own, until the server goes.
    pub fn take_part(self, claims: Claims, conduct: Conduct) {
        std::thread::spawn(move || {
            let asking = self.client.asking();
            self.client.wait_for(session(&asking, claims, conduct));
        });
    }
}

async fn session(asking: &Asking, claims: Claims, conduct: Conduct) {
    let document = |schema: &str, json: String| Document { schema: schema.into(), json: json.into_bytes() };
    let hello = Hello {
        version_min: PROTOCOL_VERSION,
        version_max: PROTOCOL_VERSION,
        boot_id: super::asking::fresh_id().to_string(),
        agent_run: super::asking::fresh_id().to_string(),
        profile: Some(document("ouroboros.profile/1", claims.profile)),
        holding: vec![],
        spooled: vec![],
    };
    let announcement = document("ouroboros.announcement/1", claims.announcement);
    let (sender, messages) = mpsc::channel(64);
    say(&sender, node_message::Body::Hello(hello)).await;
    say(&sender, node_message::Body::Announcement(announcement)).await;
    let messages = tokio_stream::wrappers::ReceiverStream::new(messages);
    let Ok(opened) = FleetClient::new(asking.0.clone()).session(messages).await else {
        return;
    };
    let mut answers = opened.into_inner();
    let (steps, queue) = mpsc::channel(64);
    tokio::spawn(work(queue, sender.clone(), conduct));
    let mut beat = tokio::time::interval(Duration::from_secs(5));
    let mut sequence = 0;
    loop {
        tokio::select! {
            _ = beat.tick() => {
                sequence += 1;
                say(&sender, node_message::Body::Heartbeat(Heartbeat { sequence, readings: None })).await;
            }
            answer = answers.message() => match answer {
                Ok(Some(message)) => match message.body {
                    Some(server_message::Body::Assign(step)) => drop(steps.send(step).await),
                    Some(server_message::Body::Ping(ping)) => say(&sender, node_message::Body::Pong(Pong { nonce: ping.nonce })).await,
                    _ => {}
                },
                _ => return,
            },
        }
    }
}

async fn say(to: &mpsc::Sender<NodeMessage>, body: node_message::Body) {
    // When nobody listens the session is over.
    let _ = to.send(NodeMessage { body: Some(body) }).await;
}

async fn work(mut steps: mpsc::Receiver<Assign>, to: mpsc::Sender<NodeMessage>, conduct: Conduct) {
    while let Some(step) = steps.recv().await {
        let body = match conduct {
            Conduct::Fails => {
                let class = FailureClass::ALL.iter().position(|c| *c == FailureClass::Error).map_or(0, |n| n as u32 + 1);
                node_message::Body::StepFailed(StepFailed {
                    attempt: step.attempt,
                    failure_class: class,
                    why: "it does not work here".into(),
                    evidence: None,
                })
            }
            Conduct::Dawdles(time) => {
                tokio::time::sleep(time).await;
                let bytes = b"an answer".to_vec();
                let output = |port: &String| Output {
                    port: port.clone(),
                    media: "application/octet-stream".into(),
                    digest: Some(digest_to_wire(&Digest::blake3(&bytes))),
                    size_bytes: bytes.len() as u64,
                    inline: Some(bytes.clone()),
                    on_server: false,
                };
                let outputs = step.outputs.keys().map(output).collect();
                let phases_ms = HashMap::from([("plug".to_string(), 0.0), ("run".to_string(), 0.01)]);
                node_message::Body::StepResult(StepResult { attempt: step.attempt, outputs, phases_ms })
            }
        };
        say(&to, body).await;
    }
}
