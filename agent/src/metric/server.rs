//! The one page over HTTP/1.1 on loopback, with nothing that a stranger could hold open.
//!
//! Only loopback addresses are bound, and a request must name one as its host: a web page in a browser on this machine could
//! otherwise read the metrics through a name that it makes resolve to 127.0.0.1.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// The longest head of a request.
const HEAD_LIMIT: usize = 8 * 1024;
/// How long one request may take, from connection to answer.
const TIME_LIMIT: Duration = Duration::from_secs(5);
/// Connections at once; more wait in the kernel's queue.
const CONNECTIONS: usize = 8;

/// Why there are no metrics.
#[derive(Debug, thiserror::Error)]
pub enum MetricError {
    /// The address is reachable from elsewhere.
    #[error("metrics are served on loopback only, and {0} is not; use 127.0.0.1 or [::1], and a proxy with a login for others")]
    NotLoopback(SocketAddr),
    /// The address cannot be bound.
    #[error("metrics cannot be served on {address}: {source}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// A bound server of `/metrics`.
#[derive(Debug)]
pub struct MetricServer {
    listener: TcpListener,
    time_limit: Duration,
}

impl MetricServer {
    /// Binds `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// [`MetricError`] when it is no loopback address, or it is taken.
    pub async fn bind(address: SocketAddr) -> Result<Self, MetricError> {
        if !address.ip().is_loopback() {
            return Err(MetricError::NotLoopback(address));
        }
        let listener = TcpListener::bind(address).await.map_err(|source| MetricError::Bind { address, source })?;
        Ok(Self { listener, time_limit: TIME_LIMIT })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until it is dropped; `page` is asked at each scrape.
    pub async fn serve(self, page: impl Fn() -> String + Send + Sync + 'static) {
        let (page, slots) = (Arc::new(page), Arc::new(Semaphore::new(CONNECTIONS)));
        // Dropped with this future, and every connection with it.
        let mut connections = tokio::task::JoinSet::new();
        let limit = self.time_limit;
        loop {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
                return;
            };
            while connections.try_join_next().is_some() {}
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let page = Arc::clone(&page);
                    connections.spawn(async move {
                        let _slot = slot;
                        // A slow or vanished client is its own problem.
                        let _late = tokio::time::timeout(limit, answer(stream, &*page)).await;
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection to the metrics failed");
                    // Out of file descriptors, for one, which does not pass in no time.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

async fn answer(mut stream: TcpStream, page: &(dyn Fn() -> String + Send + Sync)) -> io::Result<()> {
    let (status, body) = match read_head(&mut stream).await? {
        Some(head) => match judge(&head) {
            Ok(()) => ("200 OK", page()),
            Err(status) => (status, format!("{status}\n")),
        },
        None => (TOO_LONG, format!("{TOO_LONG}\n")),
    };
    let allow = if status == WRONG_METHOD { "Allow: GET\r\n" } else { "" };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\nCache-Control: no-store\r\n{allow}\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await?;
    // Closed with unread bytes, the connection would be reset and the answer lost; the time limit ends who never stops.
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

/// The request's head; `None` if it is too long.
async fn read_head(stream: &mut TcpStream) -> io::Result<Option<String>> {
    let mut head = Vec::new();
    let mut chunk = [0; 1024];
    loop {
        let count = stream.read(&mut chunk).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        head.extend_from_slice(&chunk[..count]);
        if head.windows(4).any(|end| end == b"\r\n\r\n") {
            return Ok(Some(String::from_utf8_lossy(&head).into_owned()));
        }
        if head.len() > HEAD_LIMIT {
            return Ok(None);
        }
    }
}

const BAD: &str = "400 Bad Request";
const WRONG_HOST: &str = "403 Forbidden";
const NOT_FOUND: &str = "404 Not Found";
const WRONG_METHOD: &str = "405 Method Not Allowed";
const TOO_LONG: &str = "431 Request Header Fields Too Large";

/// Whether the request is a scrape; the status if not.
fn judge(head: &str) -> Result<(), &'static str> {
    let mut lines = head.split("\r\n");
    let mut request = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(path), Some(version), None) = (request.next(), request.next(), request.next(), request.next()) else {
        return Err(BAD);
    };
    if !matches!(version, "HTTP/1.1" | "HTTP/1.0") {
        return Err(BAD);
    }
    let hosts: Vec<&str> = lines
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, _)| name.eq_ignore_ascii_case("host"))
        .map(|(_, host)| host.trim())
        .collect();
    match hosts[..] {
        [] if version == "HTTP/1.0" => {}
        [host] if is_loopback_host(host) => {}
        [_] => return Err(WRONG_HOST),
        _ => return Err(BAD),
    }
    if path.split('?').next() != Some("/metrics") {
        return Err(NOT_FOUND);
    }
    if method == "GET" { Ok(()) } else { Err(WRONG_METHOD) }
}

fn is_loopback_host(host: &str) -> bool {
    let is_loopback = |ip: &str| ip.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    // With a port, or a bare IPv6 address in brackets.
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    name.eq_ignore_ascii_case("localhost") || is_loopback(name.trim_start_matches('[').trim_end_matches(']'))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(address: SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        let _closed = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn a_scrape_is_answered_and_everything_else_is_refused() {
        let server = MetricServer::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = server.address().unwrap();
        let serving = tokio::spawn(server.serve(|| "x 1\n".to_string()));
        let good = ask(address, b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:9100\r\n\r\n").await;
        assert!(good.starts_with("HTTP/1.1 200 OK\r\n") && good.ends_with("\r\n\r\nx 1\n"), "{good}");
        assert!(good.contains("version=0.0.4") && good.contains("Content-Length: 4\r\n"), "{good}");
        let long = format!("GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(2 * HEAD_LIMIT));
        for (request, status) in [
            ("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "404"),
            ("POST /metrics HTTP/1.1\r\nHost: [::1]:1\r\n\r\n", "405"),
            ("GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n", "403"),
            ("GET /metrics HTTP/1.1\r\n\r\n", "400"),
            ("GET /metrics HTTP/2\r\nHost: localhost\r\n\r\n", "400"),
            ("\r\n\r\n", "400"),
            (long.as_str(), "431"),
        ] {
            let answer = ask(address, request.as_bytes()).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request:?}: {answer}");
        }
        serving.abort();
    }

    #[tokio::test]
    async fn connections_that_say_nothing_do_not_keep_others_out() {
        let bound = MetricServer::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let server = MetricServer { time_limit: Duration::from_millis(300), ..bound };
        let address = server.address().unwrap();
        let serving = tokio::spawn(server.serve(|| "x 1\n".to_string()));
        let mut silent = Vec::new();
        for _ in 0..CONNECTIONS {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let answer = ask(address, b"GET /metrics HTTP/1.0\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        serving.abort();
    }

    #[tokio::test]
    async fn addresses_that_others_can_reach_are_refused() {
        for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:9100"] {
            let refused = MetricServer::bind(address.parse().unwrap()).await.unwrap_err();
            assert!(matches!(refused, MetricError::NotLoopback(_)), "{refused}");
        }
        assert!(is_loopback_host("localhost:1") && is_loopback_host("[::1]") && !is_loopback_host("localhost.evil"));
    }
}
