//! All services behind the authorization layer, over accepted TLS streams.

use super::authorize::AuthorizeLayer;
use super::blobs::BlobService;
use super::enrollment::EnrollmentService;
use super::operator::OperatorService;
use super::requests::RequestsService;
use super::session::FleetService;
use crate::world::World;
use ouro_proto::channel::{CONNECTION_WINDOW_BYTES, Incoming, STREAM_WINDOW_BYTES};
use ouro_proto::wire::blobs_server::BlobsServer;
use ouro_proto::wire::chunks_server::ChunksServer;
use ouro_proto::wire::enrollment_server::EnrollmentServer;
use ouro_proto::wire::fleet_server::FleetServer;
use ouro_proto::wire::operator_server::OperatorServer;
use ouro_proto::wire::requests_server::RequestsServer;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tonic::transport::Server;

/// The largest message that is read: an envelope with a prompt of 1 MiB has room, a flood has not.
const MAX_MESSAGE_BYTES: usize = 4 << 20;
/// Open streams on one connection.
const MAX_STREAMS: u32 = 256;

/// Serves until `drain` turns true.
///
/// # Errors
/// When the transport fails as a whole.
pub async fn serve(world: Arc<World>, incoming: Incoming, mut drain: watch::Receiver<bool>) -> Result<(), tonic::transport::Error> {
    let blobs = BlobService(world.clone());
    let limit = MAX_MESSAGE_BYTES;
    Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(10)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .layer(AuthorizeLayer { ticker: world.ticker.clone() })
        .add_service(EnrollmentServer::new(EnrollmentService(world.clone())).max_decoding_message_size(64 << 10))
        .add_service(FleetServer::new(FleetService(world.clone())).max_decoding_message_size(limit))
        .add_service(BlobsServer::new(blobs.clone()).max_decoding_message_size(limit))
        .add_service(ChunksServer::new(blobs).max_decoding_message_size(limit))
        .add_service(RequestsServer::new(RequestsService(world.clone())).max_decoding_message_size(limit))
        .add_service(OperatorServer::new(OperatorService(world)).max_decoding_message_size(64 << 10))
        .serve_with_incoming_shutdown(incoming, async move {
            let _ = drain.wait_for(|draining| *draining).await;
        })
        .await
}
