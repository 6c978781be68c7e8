//! The connections as the other parts see them: there, or not there and then a fault that says so.
//!
//! Control and bulk run over two connections, so that a large blob never delays a heartbeat.

use ouro_common::error::{Fault, FaultCode};
use ouro_proto::channel::{ClientTls, connect};
use std::sync::Arc;
use tokio::sync::{OnceCell, watch};
use tonic::transport::Channel;

/// The connections of one session.
pub(super) struct Connection {
    /// Session and requests.
    pub(super) control: Channel,
    /// Blobs and chunks, dialled when the first one moves.
    bulk: OnceCell<Channel>,
    address: String,
    tls: ClientTls,
}

impl Connection {
    pub(super) fn new(control: Channel, address: String, tls: ClientTls) -> Self {
        Self { control, bulk: OnceCell::new(), address, tls }
    }
}

/// The way to the server. Clones share it.
#[derive(Clone)]
pub struct Link {
    current: watch::Receiver<Option<Arc<Connection>>>,
}

impl Link {
    pub(super) fn new() -> (watch::Sender<Option<Arc<Connection>>>, Self) {
        let (sender, current) = watch::channel(None);
        (sender, Self { current })
    }

    /// A link that never connects, for an agent that has not joined.
    pub fn never() -> Self {
        Self::new().1
    }

    fn connection(&self) -> Result<Arc<Connection>, Fault> {
        self.current.borrow().clone().ok_or_else(unreachable_fault)
    }

    /// Whether there is a session.
    pub fn is_up(&self) -> bool {
        self.current.borrow().is_some()
    }

    /// Waits until there is a session.
    pub async fn up(&self) {
        let mut current = self.current.clone();
        if current.wait_for(Option::is_some).await.is_err() {
            // The uplink has ended for good; whoever waits has a time limit of its own.
            std::future::pending::<()>().await;
        }
    }

    /// The channel for requests.
    ///
    /// # Errors
    /// `SERVER_UNREACHABLE` when there is no session.
    pub fn control(&self) -> Result<Channel, Fault> {
        Ok(self.connection()?.control.clone())
    }

    /// The channel for blobs and chunks.
    ///
    /// # Errors
    /// `SERVER_UNREACHABLE` when there is no session or the second connection fails.
    pub async fn bulk(&self) -> Result<Channel, Fault> {
        let connection = self.connection()?;
        let dialled = connection.bulk.get_or_try_init(|| connect(&connection.address, &connection.tls)).await;
        dialled.cloned().map_err(|e| Fault::new(FaultCode::ServerUnreachable, e.to_string()))
    }
}

fn unreachable_fault() -> Fault {
    Fault::new(FaultCode::ServerUnreachable, "this node has no session with its server now")
        .remedy("see `ouro-agent status`; the agent dials again by itself")
}
