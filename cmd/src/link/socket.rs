//! One UDP port for QUIC and sleeve: datagrams are told apart by their first byte.
//!
//! Lanes own receiving. What is QUIC they put into a [`QuicQueue`], from which quinn reads; both send
//! through the same descriptor.

use super::refusals::Refusals;
use aws_lc_rs::hmac;
use fastpath::steer;
use quinn::udp::{EcnCodepoint, RecvMeta, Transmit, UdpSocketState};
use quinn::{AsyncUdpSocket, ConnectionId, ConnectionIdGenerator, UdpPoller};
use rand_core::{OsRng, RngCore};
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_reuseport;
use sleeve::wire;
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::{HashSet, VecDeque};
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// Most QUIC datagrams that wait for the control plane; more are dropped, as by a full socket buffer.
const QUEUE: usize = 2048;
/// Datagrams in a run that every kernel takes that takes runs.
const SEGMENTS: usize = 64;
/// Socket buffers, in bytes; the kernel may grant less.
const BUFFER: usize = 4 << 20;

/// Where sleeve's datagrams say their lane ([`sleeve::wire::lane`]).
const LANED: [steer::Kind; 4] = [
    laned(wire::SEALED, 2, 0),
    laned(wire::PLAIN, 2, 0),
    laned(wire::GROUP, 2, 0),
    laned(wire::RELAY, 3, 4),
];

const fn laned(first: u8, at: u8, shift: u8) -> steer::Kind {
    steer::Kind { first, at, shift }
}

/// The router's UDP socket: non-blocking, never fragmenting, with GSO and GRO.
#[derive(Debug)]
pub(crate) struct SharedSocket {
    socket: UdpSocket,
    state: UdpSocketState,
    mapped: bool,
    /// Datagrams that the kernel takes in one run.
    segments: usize,
    /// The kernel takes runs.
    takes_runs: bool,
    refusals: Refusals,
}

impl SharedSocket {
    /// Binds `address`. `[::]` takes IPv4 as well, and falls back to IPv4 alone on a host without IPv6.
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        let any_v6 = address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let socket = match open(address, false) {
            Err(_) if any_v6 && Socket::new(Domain::IPV6, Type::DGRAM, None).is_err() => {
                open(SocketAddr::from(([0, 0, 0, 0], address.port())), false)?
            }
            opened => opened?,
        };
        Self::prepare(socket, segments())
    }

    /// Adds sockets of the same port, so that there are `lanes`, and has the kernel give each what is for it. The port is
    /// free for nobody else for that: who binds it must allow that it is shared from the first, and nobody's first does.
    pub(crate) fn with_lanes(self, lanes: usize) -> io::Result<Vec<Self>> {
        let mut sockets = vec![self];
        let first = &sockets[0];
        if lanes < 2 {
            return Ok(sockets);
        }
        set_socket_reuseport(&first.socket, true)?;
        let (address, segments) = (first.local_addr()?, first.segments);
        while sockets.len() < lanes {
            sockets.push(Self::prepare(open(address, true)?, segments)?);
        }
        // At most eight.
        steer::by_lane(&sockets[0].socket, lanes as u8, &LANED)?;
        Ok(sockets)
    }

    fn prepare(socket: UdpSocket, segments: usize) -> io::Result<Self> {
        let state = UdpSocketState::new((&socket).into())?;
        // Beyond the system's limit for those who may; the others get as much as that allows.
        if rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER).is_err() {
            let _ = state.set_recv_buffer_size((&socket).into(), BUFFER);
        }
        if rustix::net::sockopt::set_socket_send_buffer_size_force(&socket, BUFFER).is_err() {
            let _ = state.set_send_buffer_size((&socket).into(), BUFFER);
        }
        let mapped = socket.local_addr()?.is_ipv6();
        Ok(Self {
            takes_runs: state.max_gso_segments() > 1,
            refusals: Refusals::default(),
            socket,
            state,
            mapped,
            segments,
        })
    }

    /// The bound address.
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// The descriptor, to poll.
    pub(crate) fn as_socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// Receives as many datagrams as are there, at most one batch; see [`UdpSocketState::recv`].
    pub(crate) fn receive(&self, buffers: &mut [IoSliceMut<'_>], meta: &mut [RecvMeta]) -> io::Result<usize> {
        self.state.recv((&self.socket).into(), buffers, meta)
    }

    /// Sends one sleeve datagram, without waiting.
    pub(crate) fn send(&self, to: SocketAddr, datagram: &[u8]) -> io::Result<()> {
        self.socket.send_to(datagram, self.form(to)).map(|_| ())
    }

    /// The most datagrams that [`Self::send_run`] takes; 1 where the kernel can't do that.
    pub(crate) fn most_in_run(&self) -> usize {
        if self.takes_runs { self.segments } else { 1 }
    }

    /// True if a run may be sent to `to`: none was refused lately.
    pub(crate) fn takes_run(&self, to: SocketAddr) -> bool {
        self.takes_runs && !self.refusals.has(Instant::now, to)
    }

    /// The most datagrams that this kernel takes for one, from a socket or from a TAP.
    pub(crate) fn segments(&self) -> usize {
        self.segments
    }

    /// Sends datagrams of `size` bytes each, of which the last may be shorter, in one call. Where that is refused, which is
    /// noted, they can still go one by one.
    pub(crate) fn send_run(&self, to: SocketAddr, bytes: &[u8], size: usize) -> io::Result<()> {
        let transmit = Transmit {
            destination: self.form(to),
            ecn: None,
            contents: bytes,
            segment_size: Some(size),
            src_ip: None,
        };
        let sent = self.state.try_send((&self.socket).into(), &transmit);
        if let Err(error) = &sent
            && matches!(Errno::from_io_error(error), Some(Errno::IO | Errno::INVAL))
        {
            self.refusals.note(Instant::now(), to);
        }
        sent
    }

    /// Sends what QUIC wants sent, without waiting; says only whether there was room. A run that can't be sent as one goes
    /// in single datagrams.
    fn send_quic(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let to = SocketAddr::new(
            transmit.destination.ip().to_canonical(),
            transmit.destination.port(),
        );
        let one_by_one = |size: usize| {
            transmit.contents.chunks(size.max(1)).try_for_each(|contents| {
                let single = Transmit {
                    contents,
                    segment_size: None,
                    ..*transmit
                };
                self.state.send((&self.socket).into(), &single)
            })
        };
        match transmit.segment_size {
            Some(size) if size < transmit.contents.len() => {
                if !self.takes_run(to) {
                    return one_by_one(size);
                }
                match self.state.try_send((&self.socket).into(), transmit) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
                    Err(_) => {
                        self.refusals.note(Instant::now(), to);
                        one_by_one(size)
                    }
                    Ok(()) => Ok(()),
                }
            }
            _ => self.state.send((&self.socket).into(), transmit),
        }
    }

    /// An address as this socket wants it.
    fn form(&self, to: SocketAddr) -> SocketAddr {
        match to {
            SocketAddr::V4(v4) if self.mapped => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()),
            other => other,
        }
    }
}

fn open(address: SocketAddr, shared: bool) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(address.ip() != IpAddr::V6(Ipv6Addr::UNSPECIFIED))?;
    }
    if shared {
        set_socket_reuseport(&socket, true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// How many datagrams this kernel takes in one run: 128 since Linux 6.9, 64 before. Tried on the loopback interface.
fn segments() -> usize {
    const NEW: usize = 128;
    let takes = |count: usize| -> io::Result<()> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let transmit = Transmit {
            destination: socket.local_addr()?,
            ecn: None,
            contents: &[0; NEW][..count],
            segment_size: Some(1),
            src_ip: None,
        };
        UdpSocketState::new((&socket).into())?.try_send((&socket).into(), &transmit)
    };
    if takes(NEW).is_ok() { NEW } else { SEGMENTS }
}

/// A QUIC datagram on its way from a lane to quinn.
#[derive(Debug)]
struct Received {
    from: SocketAddr,
    ecn: Option<EcnCodepoint>,
    local: Option<IpAddr>,
    bytes: Box<[u8]>,
}

#[derive(Debug, Default)]
struct QueueState {
    datagrams: VecDeque<Received>,
    waker: Option<Waker>,
}

/// QUIC datagrams between lanes and quinn.
#[derive(Debug, Default)]
pub(crate) struct QuicQueue(Mutex<QueueState>);

impl QuicQueue {
    fn state(&self) -> std::sync::MutexGuard<'_, QueueState> {
        // A panic while holding the lock leaves a queue that is still whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a datagram over. Returns false when the queue is full.
    pub(crate) fn push(&self, meta: &RecvMeta, bytes: &[u8]) -> bool {
        let mut state = self.state();
        if state.datagrams.len() >= QUEUE {
            return false;
        }
        let received = Received {
            from: meta.addr,
            ecn: meta.ecn,
            local: meta.dst_ip,
            bytes: bytes.into(),
        };
        state.datagrams.push_back(received);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }
}

/// The socket as quinn sees it.
#[derive(Debug)]
pub(crate) struct QuicSocket {
    pub(crate) socket: Arc<SharedSocket>,
    pub(crate) queue: Arc<QuicQueue>,
}

impl AsyncUdpSocket for QuicSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Writable {
            socket: self.socket.clone(),
            waiting: None,
        })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.socket.send_quic(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.queue.state();
        let mut count = 0;
        for (buffer, meta) in buffers.iter_mut().zip(meta) {
            let Some(received) = state.datagrams.pop_front() else {
                break;
            };
            let len = received.bytes.len().min(buffer.len());
            buffer[..len].copy_from_slice(&received.bytes[..len]);
            meta.addr = received.from;
            meta.len = len;
            meta.stride = len;
            meta.ecn = received.ecn;
            meta.dst_ip = received.local;
            count += 1;
        }
        if count > 0 {
            return Poll::Ready(Ok(count));
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        // What any kernel takes that takes runs; whether the way does, sending tells.
        self.socket.most_in_run().min(SEGMENTS)
    }

    fn may_fragment(&self) -> bool {
        self.socket.state.may_fragment()
    }
}

type Waiting = Pin<Box<dyn Future<Output = io::Result<()>> + Send + Sync>>;

/// Waits for room in the send buffer. The descriptor is registered only while somebody waits: otherwise every
/// datagram sent by the data threads would wake the control plane.
struct Writable {
    socket: Arc<SharedSocket>,
    waiting: Option<Waiting>,
}

impl std::fmt::Debug for Writable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writable").finish_non_exhaustive()
    }
}

impl UdpPoller for Writable {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.waiting.is_none() {
            let socket = self.socket.socket.try_clone()?;
            self.waiting = Some(Box::pin(async move {
                tokio::net::UdpSocket::from_std(socket)?.writable().await
            }));
        }
        let Some(waiting) = self.waiting.as_mut() else {
            return Poll::Ready(Ok(()));
        };
        let result = waiting.as_mut().poll(cx);
        if result.is_ready() {
            self.waiting = None;
        }
        result
    }
}

/// Makes this router's QUIC connection ids, and recognises datagrams that can be for it, so that noise at the
/// port is counted and dropped before it costs more than a hash.
///
/// An id is four random bytes and four of a keyed hash over them: unlinkable for others, checkable here.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionIds {
    key: hmac::Key,
    linked: Arc<RwLock<HashSet<SocketAddr>>>,
}

impl ConnectionIds {
    const RANDOM: usize = 4;
    const LEN: usize = 8;
    /// Shortest datagram with a long header that is not noise: header, two ids, and a tag.
    const SHORTEST_LONG: usize = 21;

    /// With a key that stays the same over restarts: packets of connections from before must get through to quinn,
    /// whose stateless resets tell the other end that they are gone.
    pub(crate) fn new(secret: &[u8; 32]) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, secret),
            linked: Arc::default(),
        }
    }

    /// These are the addresses with which there are connections now.
    pub(crate) fn set_linked(&self, addresses: HashSet<SocketAddr>) {
        *self.linked.write().unwrap_or_else(PoisonError::into_inner) = addresses;
    }

    /// True if there is a connection with this address. From there a stateless reset (RFC 9000, section 10.3) may
    /// come, which nobody but quinn can tell from noise.
    pub(crate) fn is_linked(&self, address: &SocketAddr) -> bool {
        self.linked
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(address)
    }

    fn own(&self, id: &[u8]) -> bool {
        let Some((random, mark)) = id.split_at_checked(Self::RANDOM) else {
            return false;
        };
        mark.len() == Self::LEN - Self::RANDOM && hmac::sign(&self.key, random).as_ref().starts_with(mark)
    }

    /// True if `datagram` is QUIC version 1, or the answer to it, to an id that may be ours (RFC 9000, section 17).
    pub(crate) fn plausible(&self, datagram: &[u8]) -> bool {
        match datagram {
            [first, version @ ..] if first & 0x80 != 0 => {
                matches!(version, [0, 0, 0, 0 | 1, ..]) && datagram.len() >= Self::SHORTEST_LONG
            }
            [_, rest @ ..] => rest.get(..Self::LEN).is_some_and(|id| self.own(id)),
            [] => false,
        }
    }
}

impl ConnectionIdGenerator for ConnectionIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; Self::LEN];
        OsRng.fill_bytes(&mut id[..Self::RANDOM]);
        let mark = hmac::sign(&self.key, &id[..Self::RANDOM]);
        id[Self::RANDOM..].copy_from_slice(&mark.as_ref()[..Self::LEN - Self::RANDOM]);
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        Self::LEN
    }

    fn cid_lifetime(&self) -> Option<std::time::Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_run_that_is_refused_stops_no_other() {
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let socket = SharedSocket::bind(local).unwrap();
        let far = UdpSocket::bind(local).unwrap();
        far.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let to = far.local_addr().unwrap();
        let most = socket.most_in_run();
        assert!(most > 1, "this kernel has no UDP_SEGMENT");
        // EINVAL: there is no such port.
        let nowhere = local;
        assert!(socket.takes_run(nowhere));
        assert!(socket.send_run(nowhere, &[1; 300], 100).is_err());
        assert!(!socket.takes_run(nowhere));
        assert_eq!((socket.most_in_run(), socket.takes_run(to)), (most, true));
        socket.send_run(to, &[2; 300], 100).unwrap();
        let mut buffer = [0; 1000];
        assert_eq!(far.recv(&mut buffer).unwrap(), 100);
        // Nor for good where it was.
        std::thread::sleep(Duration::from_millis(1100));
        assert!(socket.takes_run(nowhere));
    }

    #[test]
    fn quic_goes_one_by_one_where_runs_are_refused() {
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let socket = Arc::new(SharedSocket::bind(local).unwrap());
        let far = UdpSocket::bind(local).unwrap();
        far.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let to = far.local_addr().unwrap();
        socket.refusals.note(Instant::now(), to);
        let quic = QuicSocket {
            socket,
            queue: Arc::default(),
        };
        let transmit = Transmit {
            destination: to,
            ecn: None,
            contents: &[3; 250],
            segment_size: Some(100),
            src_ip: None,
        };
        quic.try_send(&transmit).unwrap();
        let mut buffer = [0; 1000];
        let lengths: Vec<_> = (0..3).map(|_| far.recv(&mut buffer).unwrap()).collect();
        assert_eq!(lengths, [100, 100, 50]);
    }

    #[test]
    fn only_plausible_quic_passes() {
        let mut ids = ConnectionIds::new(&[42; 32]);
        let own = ids.generate_cid();
        assert_eq!(own.len(), ConnectionIds::LEN);
        let mut short = vec![0x40];
        short.extend_from_slice(&own);
        short.extend_from_slice(&[0; 20]);
        assert!(ids.plausible(&short));
        short[3] ^= 1;
        assert!(!ids.plausible(&short));
        let mut long = vec![0xc0, 0, 0, 0, 1];
        long.extend_from_slice(&[0; 30]);
        assert!(ids.plausible(&long));
        long[1] = 7;
        assert!(!ids.plausible(&long));
        assert!(!ids.plausible(&[]) && !ids.plausible(&[0x40]) && !ids.plausible(&[0xc0, 0, 0, 0, 1]));
    }

    #[test]
    fn the_kernel_looks_for_lanes_where_sleeve_does() {
        for kind in LANED {
            let mut datagram = [0; 64];
            datagram[0] = kind.first;
            datagram[usize::from(kind.at)] = 5 << kind.shift;
            assert_eq!(wire::lane(&datagram), Some(5));
        }
    }

    #[test]
    fn any_address_takes_both_families() {
        let socket = SharedSocket::bind("[::]:0".parse().unwrap()).unwrap();
        let port = socket.local_addr().unwrap().port();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.send_to(b"hello", ("127.0.0.1", port)).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(50));
        let mut buffer = [0; 64];
        let (len, from) = socket.as_socket().recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..len], b"hello");
        socket.send(crate::net::canonical(from), b"back").unwrap();
        sender
            .set_read_timeout(Some(std::time::Duration::from_secs(2)))
            .unwrap();
        assert_eq!(sender.recv(&mut buffer).unwrap(), 4);
    }
}
