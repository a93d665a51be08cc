//! Questions over UDP and TCP.

use super::Names;
use super::upstream::{Asker, Question};
use dns::{ResponseCode, Transport, Verdict, failure};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand_core::{OsRng, RngCore};
use rustix::net::{SendFlags, sockopt};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tracing::warn;

/// Bytes of a question over UDP; there are no longer ones.
const QUESTION: usize = 4096;
/// Connections at a time at one address.
const CONNECTIONS: usize = 128;
/// How long a connection may say nothing (RFC 7766, 6.2.3).
const IDLE: Duration = Duration::from_secs(10);
/// Pause after an error, so that one that lasts does not keep a core busy.
const PAUSE: Duration = Duration::from_millis(100);
/// How often it is looked whether it is over.
const LOOK: Duration = Duration::from_secs(1);
/// Connections that wait to be accepted.
const BACKLOG: i32 = 64;

/// Answers at an address for as long as it lives.
#[derive(Debug)]
pub(super) struct Listener {
    is_over: Arc<AtomicBool>,
    udp: Arc<UdpSocket>,
    /// None of its own where another listener takes them.
    connections: Option<AbortHandle>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        self.connections.iter().for_each(AbortHandle::abort);
    }
}

/// Serves names at an address, which need not be there yet. `only_v6`: all addresses of IPv6 are not all of IPv4 as well. Must
/// be called on the runtime.
pub(super) fn listen(
    address: SocketAddr,
    only_v6: bool,
    names: &Names,
    elsewhere: &mpsc::Sender<Question>,
) -> io::Result<Listener> {
    let bound = |kind, protocol| {
        let socket = socket(address, kind, protocol)?;
        if address.is_ipv6() && only_v6 {
            socket.set_only_v6(true)?;
        }
        socket.bind(&address.into())?;
        io::Result::Ok(socket)
    };
    let udp = bound(Type::DGRAM, Protocol::UDP)?;
    let tcp = bound(Type::STREAM, Protocol::TCP)?;
    tcp.listen(BACKLOG)?;
    tcp.set_nonblocking(true)?;
    let listener = TcpListener::from_std(tcp.into())?;
    let mut all = listen_for_datagrams(udp, address.ip(), names, elsewhere)?;
    let connections = tokio::spawn(connections(listener, names.clone(), elsewhere.clone()));
    all.connections = Some(connections.abort_handle());
    Ok(all)
}

/// Answers datagrams at one of the addresses that another listener has all of: that could not tell in which network they
/// are, nor from which address to answer. Connections tell it.
pub(super) fn listen_beside(
    all: &Listener,
    address: SocketAddr,
    names: &Names,
    elsewhere: &mpsc::Sender<Question>,
) -> io::Result<Listener> {
    let udp = socket(address, Type::DGRAM, Protocol::UDP)?;
    let of_all = SockRef::from(&*all.udp);
    // Both must allow it, but no third one gets in between afterwards.
    let share = |is_shared| {
        of_all.set_reuse_address(is_shared)?;
        udp.set_reuse_address(is_shared)
    };
    let bound = share(true).and_then(|()| udp.bind(&address.into()));
    bound.and(share(false))?;
    listen_for_datagrams(udp, address.ip(), names, elsewhere)
}

fn listen_for_datagrams(
    udp: Socket,
    at: IpAddr,
    names: &Names,
    elsewhere: &mpsc::Sender<Question>,
) -> io::Result<Listener> {
    let udp: Arc<UdpSocket> = Arc::new(udp.into());
    udp.set_read_timeout(Some(LOOK))?;
    let (socket, of_thread, to_ask) = (udp.clone(), names.clone(), elsewhere.clone());
    let is_over = Arc::new(AtomicBool::new(false));
    let over = is_over.clone();
    thread::Builder::new().name("names".into()).spawn(move || {
        datagrams((&socket, at), &of_thread, &to_ask, &over);
    })?;
    Ok(Listener {
        is_over,
        udp,
        connections: None,
    })
}

fn socket(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    socket.set_reuse_address(kind == Type::STREAM)?;
    // The host may get the address only later, with `weft expose`.
    match address {
        SocketAddr::V4(_) => sockopt::set_ip_freebind(&socket, true)?,
        SocketAddr::V6(_) => sockopt::set_ipv6_freebind(&socket, true)?,
    }
    Ok(socket)
}

fn seeded() -> StdRng {
    let mut seed = [0; 32];
    OsRng.fill_bytes(&mut seed);
    StdRng::from_seed(seed)
}

/// Answers datagrams until it is over.
fn datagrams(
    (socket, at): (&Arc<UdpSocket>, IpAddr),
    names: &Names,
    elsewhere: &mpsc::Sender<Question>,
    is_over: &AtomicBool,
) {
    let mut rng = seeded();
    let mut buffer = [0; QUESTION];
    while !is_over.load(Ordering::Acquire) {
        let (length, from) = match socket.recv_from(&mut buffer) {
            Ok(received) => received,
            Err(error) => {
                // An answer that could not be delivered comes back as an error of the next call; and it is time to look up.
                let passes = [io::ErrorKind::ConnectionRefused, io::ErrorKind::WouldBlock];
                if !passes.contains(&error.kind()) {
                    warn!("names: {error}");
                    thread::sleep(PAUSE);
                }
                continue;
            }
        };
        let bytes = &buffer[..length];
        let vni = names.network_at(at);
        let verdict = names.read(|zone| zone.answer(bytes, vni, Transport::Udp, &mut rng));
        match verdict {
            // Whoever can't be reached asks again.
            Verdict::Answer(answer) => send(socket, &answer, from),
            Verdict::Forward => drop(elsewhere.try_send(Question {
                bytes: bytes.to_vec(),
                asker: Asker::Udp(socket.clone(), from),
            })),
            Verdict::Silence => {}
        }
    }
}

/// Sends an answer, if there is room for it now: somebody who does not even answer ARP must not hold up the others.
pub(super) fn send(socket: &UdpSocket, answer: &[u8], to: SocketAddr) {
    // What is lost is asked for again.
    let _ = rustix::net::sendto(socket, answer, SendFlags::DONTWAIT, &to);
}

async fn connections(listener: TcpListener, names: Names, elsewhere: mpsc::Sender<Question>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (names, elsewhere) = (names.clone(), elsewhere.clone());
                tokio::spawn(async move {
                    // However it ends: the other side has gone, or said nothing for too long.
                    let _ = connection(stream, &names, &elsewhere).await;
                    drop(place);
                });
            }
            Err(error) => {
                warn!("names over TCP: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Answers question after question on a connection.
async fn connection(
    mut stream: TcpStream,
    names: &Names,
    elsewhere: &mpsc::Sender<Question>,
) -> io::Result<()> {
    let mut rng = seeded();
    let at = stream.local_addr()?.ip().to_canonical();
    loop {
        let bytes = timeout(IDLE, read(&mut stream)).await??;
        let vni = names.network_at(at);
        let verdict = names.read(|zone| zone.answer(&bytes, vni, Transport::Tcp, &mut rng));
        let answer = match verdict {
            Verdict::Answer(answer) => answer,
            Verdict::Forward => forwarded(bytes, elsewhere).await.unwrap_or_default(),
            Verdict::Silence => Vec::new(),
        };
        if answer.is_empty() {
            return Ok(());
        }
        timeout(IDLE, write(&mut stream, &answer)).await??;
    }
}

async fn forwarded(bytes: Vec<u8>, elsewhere: &mpsc::Sender<Question>) -> Option<Vec<u8>> {
    let failed = failure(&bytes, ResponseCode::ServFail);
    let (asker, answer) = oneshot::channel();
    let asker = Asker::Tcp(asker);
    if elsewhere.try_send(Question { bytes, asker }).is_err() {
        return failed;
    }
    answer.await.ok().or(failed)
}

/// A message on a stream has its length in front (RFC 1035, 4.2.2).
pub(super) async fn read(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut bytes = vec![0; length.into()];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// Writes a message with its length in front, in one piece.
pub(super) async fn write(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    stream.write_all(&[&length.to_be_bytes(), message].concat()).await
}
