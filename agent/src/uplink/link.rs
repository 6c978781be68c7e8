//! The connections as the other parts see them: there, or not there and then a fault that says so.
//!
//! What must not wait has a connection of its own: control, with the chunks of answers. Blobs have another, and what the users of this
//! machine ask a third, so that no file and no long answer delays a heartbeat.

use ouro_common::error::{Fault, FaultCode};
use ouro_proto::channel::{ClientTls, connect};
use ouro_proto::convert::fault_of;
use std::sync::Arc;
use tokio::sync::{Notify, OnceCell, watch};
use tonic::transport::Channel;
use tonic::{Code, Status};

/// The connections of one session.
pub(super) struct Connection {
    /// Session and chunks.
    control: Channel,
    /// Blobs; dialled when the first one moves.
    bulk: OnceCell<Channel>,
    /// Requests with their files and answers; dialled when somebody asks.
    requests: OnceCell<Channel>,
    address: String,
    tls: ClientTls,
}

impl Connection {
    pub(super) fn new(control: Channel, address: String, tls: ClientTls) -> Self {
        Self { control, bulk: OnceCell::new(), requests: OnceCell::new(), address, tls }
    }
}

/// The way to the server. Clones share it.
#[derive(Clone)]
pub struct Link {
    current: watch::Receiver<Option<Arc<Connection>>>,
    bell: Arc<Notify>,
}

impl Link {
    pub(super) fn new() -> (watch::Sender<Option<Arc<Connection>>>, Arc<Notify>, Self) {
        let ((sender, current), bell) = (watch::channel(None), Arc::new(Notify::new()));
        (sender, bell.clone(), Self { current, bell })
    }

    /// Somebody waits for the server: the next dial comes at once instead of when its turn is.
    pub fn hurry(&self) {
        self.bell.notify_one();
    }

    fn connection(&self) -> Result<Arc<Connection>, Fault> {
        self.current.borrow().clone().ok_or_else(unreachable_fault)
    }

    /// The channel for chunks.
    ///
    /// # Errors
    /// `SERVER_UNREACHABLE` when there is no session.
    pub(super) fn control(&self) -> Result<Channel, Fault> {
        Ok(self.connection()?.control.clone())
    }

    /// The channel for blobs.
    ///
    /// # Errors
    /// `SERVER_UNREACHABLE` when there is no session or the second connection fails.
    pub(super) async fn bulk(&self) -> Result<Channel, Fault> {
        let connection = self.connection()?;
        dialled(&connection, &connection.bulk).await
    }

    /// The channel for requests.
    ///
    /// # Errors
    /// `SERVER_UNREACHABLE` when there is no session or the third connection fails.
    pub async fn requests(&self) -> Result<Channel, Fault> {
        let connection = self.connection()?;
        dialled(&connection, &connection.requests).await
    }
}

async fn dialled(connection: &Connection, channel: &OnceCell<Channel>) -> Result<Channel, Fault> {
    let dialled = channel.get_or_try_init(|| connect(&connection.address, &connection.tls)).await;
    dialled.cloned().map_err(|e| Fault::new(FaultCode::ServerUnreachable, e.to_string()))
}

/// What a call's failure means. One without a fault of the server's in it is the line's: the call may be made again.
pub(crate) fn call_fault(status: &Status) -> Fault {
    let fault = fault_of(status);
    let of_the_line = matches!(status.code(), Code::Unavailable | Code::Cancelled | Code::Unknown | Code::Internal);
    if status.details().is_empty() && of_the_line {
        return Fault::new(FaultCode::ServerUnreachable, format!("the line to the server broke: {}", fault.problem));
    }
    fault
}

fn unreachable_fault() -> Fault {
    Fault::new(FaultCode::ServerUnreachable, "this node has no session with its server now")
        .remedy("see `ouro-agent status`; the agent dials again by itself")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ouro_proto::convert::status_of;

    #[test]
    fn a_broken_line_is_told_from_a_refusal() {
        for broken in [Status::cancelled("connection closed"), Status::unknown("h2"), Status::unavailable("gone")] {
            assert_eq!(call_fault(&broken).code, FaultCode::ServerUnreachable);
        }
        for code in [FaultCode::Cancelled, FaultCode::Internal, FaultCode::DiskFull] {
            assert_eq!(call_fault(&status_of(&Fault::new(code, "no"))).code, code, "the server said so itself");
        }
        assert_eq!(call_fault(&Status::permission_denied("no")).code, FaultCode::PermissionDenied);
    }
}
