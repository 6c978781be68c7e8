//! A relay between an agent and the server: counts what passes, delays it, and on command holds back what comes down or cuts the
//! line.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Bytes passed on at once.
const PIECE: usize = 64 << 10;
/// How often a piece that is held back looks whether it may go on.
const HOLD_LOOK: Duration = Duration::from_millis(2);

#[derive(Debug, Default)]
struct State {
    up_bytes: AtomicU64,
    down_bytes: AtomicU64,
    cut: AtomicBool,
    held: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

/// A running relay. It ends with the process.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    state: Arc<State>,
}

impl Relay {
    /// Passes connections on to `target`, each piece `delay` later, in both directions.
    ///
    /// # Panics
    /// When no port can be had.
    pub fn to(target: &str, delay: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port can be had");
        let address = listener.local_addr().expect("it has an address");
        let state = Arc::new(State::default());
        let (target, shared) = (target.to_string(), state.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if shared.cut.load(Ordering::SeqCst) {
                    continue;
                }
                if let Ok(server) = TcpStream::connect(&target) {
                    pass(&shared, client, server, delay);
                }
            }
        });
        Self { address, state }
    }

    /// Where it listens: what the agent joins.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Bytes so far, from those who connected and to them.
    pub fn bytes(&self) -> (u64, u64) {
        (self.state.up_bytes.load(Ordering::SeqCst), self.state.down_bytes.load(Ordering::SeqCst))
    }

    /// Lets nothing down to those who connected; what they say goes up as before.
    pub fn hold_down(&self) {
        self.state.held.store(true, Ordering::SeqCst);
    }

    /// Lets down what was held back, and what comes after it.
    pub fn release(&self) {
        self.state.held.store(false, Ordering::SeqCst);
    }

    /// Breaks every connection and takes no new ones.
    pub fn cut(&self) {
        self.state.cut.store(true, Ordering::SeqCst);
        for stream in self.state.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Takes connections again.
    pub fn mend(&self) {
        self.state.cut.store(false, Ordering::SeqCst);
    }
}

fn pass(state: &Arc<State>, client: TcpStream, server: TcpStream, delay: Duration) {
    let copies = (client.try_clone(), server.try_clone(), client.try_clone(), server.try_clone());
    let (Ok(client_out), Ok(server_out), Ok(client_kept), Ok(server_kept)) = copies else {
        return;
    };
    for stream in [&client, &server] {
        let _ = stream.set_nodelay(true);
    }
    state.open.lock().unwrap_or_else(PoisonError::into_inner).extend([client_kept, server_kept]);
    let (up, down, gate) = (state.clone(), state.clone(), state.clone());
    let count_up = move |n| {
        up.up_bytes.fetch_add(n, Ordering::SeqCst);
    };
    let count_down = move |n| {
        down.down_bytes.fetch_add(n, Ordering::SeqCst);
    };
    one_way(client, server_out, delay, (count_up, || false));
    one_way(server, client_out, delay, (count_down, move || gate.held.load(Ordering::SeqCst)));
}

/// Two threads, so that a piece on its way does not hold up the one behind it.
fn one_way(
    mut from: TcpStream,
    mut to: TcpStream,
    delay: Duration,
    (count, held): (impl Fn(u64) + Send + 'static, impl Fn() -> bool + Send + 'static),
) {
    let (sender, receiver) = std::sync::mpsc::channel::<(std::time::Instant, Vec<u8>)>();
    std::thread::spawn(move || {
        for (came, piece) in receiver {
            while held() {
                std::thread::sleep(HOLD_LOOK);
            }
            std::thread::sleep((came + delay).saturating_duration_since(std::time::Instant::now()));
            if to.write_all(&piece).is_err() {
                return;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
    std::thread::spawn(move || {
        let mut buffer = vec![0; PIECE];
        while let Ok(n @ 1..) = from.read(&mut buffer) {
            count(n as u64);
            if sender.send((std::time::Instant::now(), buffer[..n].to_vec())).is_err() {
                return;
            }
        }
    });
}
