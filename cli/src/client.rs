//! The one place that speaks the wire: everything behind it speaks documents, envelopes and faults.

pub(crate) use enrol::enrol;
pub(crate) use operator::TokenSpec;
pub(crate) use requests::{Event, Submission, Submitted};
pub(crate) use route::{Route, Target, for_agent, for_operators, for_requests, with_port};

mod agent;
mod enrol;
mod operator;
mod requests;
mod route;
#[cfg(test)]
mod scripted;

use hyper_util::rt::TokioIo;
use ouro_common::error::{Fault, FaultCode};
use ouro_proto::channel::{ClientTls, ConnectError, connect};
use ouro_proto::identity::IdentityFiles;
use std::path::Path;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

/// The largest document or answer part that is taken.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// An open connection to an agent or to the server.
pub(crate) struct Client {
    channel: Channel,
    route: Route,
}

impl Client {
    /// Opens a connection along the first route that answers.
    ///
    /// # Errors
    /// The first route's fault, when none does: that is the one the user expects to work.
    pub(crate) async fn open(routes: &[Route]) -> Result<Self, Fault> {
        let mut first = None;
        for route in routes {
            match dial(route).await {
                Ok(channel) => return Ok(Self { channel, route: route.clone() }),
                Err(fault) => first = first.or(Some(fault)),
            }
        }
        Err(first.unwrap_or_else(|| Fault::new(FaultCode::Internal, "there is nothing to connect to")))
    }

    /// Opens the same connection again.
    pub(crate) async fn reopen(&mut self) -> Result<(), Fault> {
        self.channel = dial(&self.route).await?;
        Ok(())
    }

    /// Whom it is connected to.
    pub(crate) fn route(&self) -> &Route {
        &self.route
    }
}

async fn dial(route: &Route) -> Result<Channel, Fault> {
    match route {
        Route::Agent(socket) => dial_socket(socket).await,
        Route::Server { address, identity } => {
            let tls = ClientTls::with_identity(&IdentityFiles::new(identity)).map_err(|e| connect_fault(&e))?;
            connect(address, &tls).await.map_err(|e| connect_fault(&e))
        }
    }
}

/// Connects to an agent's Unix socket. Its file system permissions and the agent's check of our credentials stand for TLS.
async fn dial_socket(socket: &Path) -> Result<Channel, Fault> {
    let path = socket.to_path_buf();
    let connector = tower::service_fn(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    // The connector decides where this goes; the address only names it.
    Endpoint::from_static("http://agent.ouroboros.internal")
        .connect_with_connector(connector)
        .await
        .map_err(|error| {
            let mut cause: &dyn std::error::Error = &error;
            while let Some(next) = cause.source() {
                cause = next;
            }
            Fault::new(FaultCode::ServerUnreachable, format!("the agent on this machine does not answer: {cause}"))
                .at(socket.display())
                .remedy("start it with `ouro-agent run`, or go to the server with --direct")
        })
}

pub(crate) fn connect_fault(error: &ConnectError) -> Fault {
    match error {
        ConnectError::Unreachable { address, problem } => {
            Fault::new(FaultCode::ServerUnreachable, format!("the server cannot be reached: {problem}"))
                .at(address)
                .remedy("check that `ouro-server run` runs there and that the address is right")
        }
        ConnectError::Untrusted { address, problem } => {
            Fault::new(FaultCode::Unauthenticated, format!("the server and this identity are not of the same fleet: {problem}"))
                .at(address)
                .remedy("check the address, or log in to that fleet with `ouroctl login SERVER --token …`")
        }
        ConnectError::Identity(problem) => Fault::new(FaultCode::Unauthenticated, format!("the identity cannot be used: {problem}"))
            .remedy("log in with `ouroctl login SERVER --token …`"),
        ConnectError::Tls(problem) => Fault::new(FaultCode::Unauthenticated, format!("TLS cannot be set up: {problem}")),
    }
}
