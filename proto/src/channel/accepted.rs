//! An accepted connection, and what the kernel knows of the way to its other end (`TCP_INFO`, `linux/tcp.h`).

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::{Connected, TcpConnectInfo, TlsConnectInfo};

/// A TLS stream that says, beside the peer's certificate, which socket it is.
#[derive(Debug)]
pub struct Accepted(pub(super) TlsStream<TcpStream>);

/// What every call on a connection is told of it.
#[derive(Debug, Clone)]
pub struct ConnectInfo {
    /// The peer's address and certificates.
    pub tls: TlsConnectInfo<TcpConnectInfo>,
    /// The socket.
    pub socket: PeerSocket,
}

/// A connection's socket, by its number. It may be closed at any time: then nothing is known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerSocket {
    fd: RawFd,
    /// The other end; tells another socket that was given the same number.
    peer: Option<SocketAddr>,
}

/// What the kernel measured on a connection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TcpFigures {
    /// Smoothed round trip.
    pub srtt: Duration,
    /// Its mean deviation.
    pub rttvar: Duration,
    /// The shortest one lately.
    pub min_rtt: Duration,
    /// Bytes per second that were delivered to the peer; `None` if the application, not the network, set the pace.
    pub delivered_bytes_per_s: Option<f64>,
}

impl Connected for Accepted {
    type ConnectInfo = ConnectInfo;
    fn connect_info(&self) -> ConnectInfo {
        let tcp = self.0.get_ref().0;
        let socket = PeerSocket { fd: tcp.as_raw_fd(), peer: tcp.peer_addr().ok() };
        ConnectInfo { tls: self.0.connect_info(), socket }
    }
}

impl AsyncRead for Accepted {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, parts: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, parts)
    }
    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}

/// Where `struct tcp_info` has its fields, bytes from its beginning; the kernel only ever adds to its end.
mod offset {
    /// Bit 0: `tcpi_delivery_rate_app_limited`.
    pub(super) const FLAGS: usize = 7;
    pub(super) const RTT_US: usize = 68;
    pub(super) const RTTVAR_US: usize = 72;
    pub(super) const MIN_RTT_US: usize = 148;
    pub(super) const DELIVERY_RATE: usize = 160;
    pub(super) const END: usize = 168;
}

impl PeerSocket {
    /// What the kernel knows now; `None` once the connection is closed, or before anything was acknowledged.
    pub fn figures(&self) -> Option<TcpFigures> {
        let mut info = [0u8; 256];
        let mut length = info.len() as libc::socklen_t;
        // SAFETY: the kernel writes at most `length` bytes into `info`, which lives through the call; a number that is no socket
        // is refused with an error.
        let read = unsafe { libc::getsockopt(self.fd, libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &raw mut length) };
        if read != 0 || self.peer.is_none() || peer_of(self.fd) != self.peer {
            return None;
        }
        figures(info.get(..length as usize)?)
    }
}

fn figures(info: &[u8]) -> Option<TcpFigures> {
    let u32_at = |at: usize| Some(u32::from_ne_bytes(info.get(at..at + 4)?.try_into().ok()?));
    let srtt = Duration::from_micros(u32_at(offset::RTT_US)?.into());
    let rttvar = Duration::from_micros(u32_at(offset::RTTVAR_US)?.into());
    // A kernel before 4.6 does not say which was the shortest, one before 4.9 has no rate.
    let min_rtt = u32_at(offset::MIN_RTT_US).map_or(srtt, |us| Duration::from_micros(us.into()));
    let rate = info.get(offset::DELIVERY_RATE..offset::END).and_then(|b| Some(u64::from_ne_bytes(b.try_into().ok()?)));
    let limited_by_application = info.get(offset::FLAGS)? & 1 != 0;
    let delivered_bytes_per_s = rate.filter(|rate| *rate > 0 && !limited_by_application).map(|rate| rate as f64);
    (!srtt.is_zero()).then_some(TcpFigures { srtt, rttvar, min_rtt, delivered_bytes_per_s })
}

/// The other end of whatever socket has this number now.
fn peer_of(fd: RawFd) -> Option<SocketAddr> {
    let mut storage = [0u8; size_of::<libc::sockaddr_storage>()];
    let mut length = storage.len() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes into `storage`, which lives through the call.
    if unsafe { libc::getpeername(fd, storage.as_mut_ptr().cast(), &raw mut length) } != 0 {
        return None;
    }
    let family = i32::from(u16::from_ne_bytes([storage[0], storage[1]]));
    let port = u16::from_be_bytes([storage[2], storage[3]]);
    match family {
        libc::AF_INET => Some((<[u8; 4]>::try_from(&storage[4..8]).ok()?, port).into()),
        libc::AF_INET6 => {
            let scope = u32::from_ne_bytes(storage[24..28].try_into().ok()?);
            let flow = u32::from_ne_bytes(storage[4..8].try_into().ok()?);
            let address = <[u8; 16]>::try_from(&storage[8..24]).ok()?;
            Some(std::net::SocketAddrV6::new(address.into(), port, flow, scope).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};

    #[test]
    fn a_connection_is_measured_until_it_is_closed() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = std::net::TcpListener::bind(address) else {
                continue;
            };
            let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (mut server, peer) = listener.accept().unwrap();
            server.write_all(&[7; 1000]).unwrap();
            client.read_exact(&mut [0; 1000]).unwrap();
            let socket = PeerSocket { fd: server.as_raw_fd(), peer: Some(peer) };
            let figures = socket.figures().unwrap();
            assert!(figures.srtt > Duration::ZERO && figures.srtt < Duration::from_secs(1), "{figures:?}");
            let other = PeerSocket { peer: Some("127.0.0.1:1".parse().unwrap()), ..socket };
            assert_eq!(other.figures(), None, "the number is another connection's");
            drop(server);
            assert_eq!(socket.figures(), None);
        }
    }

    #[test]
    fn a_rate_that_the_application_set_is_none() {
        let mut info = [0u8; offset::END];
        info[offset::RTT_US..][..4].copy_from_slice(&20_000u32.to_ne_bytes());
        info[offset::RTTVAR_US..][..4].copy_from_slice(&5_000u32.to_ne_bytes());
        info[offset::DELIVERY_RATE..].copy_from_slice(&12_500_000u64.to_ne_bytes());
        info[offset::MIN_RTT_US..][..4].copy_from_slice(&11_000u32.to_ne_bytes());
        let (srtt, rttvar, min_rtt) = (Duration::from_millis(20), Duration::from_millis(5), Duration::from_millis(11));
        assert_eq!(figures(&info), Some(TcpFigures { srtt, rttvar, min_rtt, delivered_bytes_per_s: Some(12.5e6) }));
        info[offset::FLAGS] = 1;
        assert_eq!(figures(&info), Some(TcpFigures { srtt, rttvar, min_rtt, delivered_bytes_per_s: None }));
        assert_eq!(figures(&info[..104]).map(|f| f.delivered_bytes_per_s), Some(None), "an old kernel");
        assert_eq!(figures(&[0; 8]), None);
    }
}
