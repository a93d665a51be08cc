//! The data threads, one for each lane: frames between the TAP and the UDP port, without a detour through the control
//! plane.
//!
//! ```text
//! container ─ bridge ─ TAP ──►  lane ── Plane::outbound ──► UDP port ──► next router
//!                      TAP ◄──  lane ◄─ Plane::inbound ◄─── UDP port ◄── some router
//!                                └── QUIC ──► QuicQueue ──► links
//! ```
//! A lane blocks in `epoll_wait` when there is nothing to do. News for the control plane (messages inside sessions, routers
//! that need a session) go over a bounded channel; when it is full they are dropped and counted.

mod bell;
mod lane;
mod tap;
mod taps;
mod udp;
mod watch;

pub(crate) use bell::Bell;
pub(crate) use lane::Lane;
pub(crate) use taps::Taps;

use crate::link::SharedSocket;
use fastpath::tap::{Offloads, Tap};
use mesh::{DropReason, Drops, Instant, PeerId, ShortId, Vni};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sleeve::inbox::Gathers;
use sleeve::offload::{Offload, Transport};
use sleeve::{Plane, Sink, Via};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::mpsc;

/// How long a full send buffer is waited for, and how often.
const FULL_WAIT: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 5_000_000,
};
const FULL_TRIES: usize = 4;

/// What the data threads tell the router.
#[derive(Debug)]
pub(crate) enum Event {
    /// A message inside a session.
    Message {
        from: PeerId,
        via: Via,
        bytes: Vec<u8>,
    },
    /// Traffic waits for a session or a direct path.
    Need {
        peer: PeerId,
    },
    /// An authenticated packet came straight from this router.
    Alive {
        peer: PeerId,
    },
    /// Containers send to groups in a network with trees.
    Group {
        vni: Vni,
    },
    Tree {
        vni: Vni,
        source: ShortId,
    },
    /// The TAP device of a network is gone.
    TapLost {
        vni: Vni,
    },
    /// A data thread ended although nobody told it to.
    ThreadEnded {
        name: &'static str,
    },
}

/// What all lanes share, and which one of them this is.
#[derive(Clone)]
pub(crate) struct Shore {
    pub(crate) plane: Arc<Plane>,
    /// This lane's.
    pub(crate) socket: Arc<SharedSocket>,
    pub(crate) lane: usize,
    pub(crate) taps: Arc<Taps>,
    /// What TAPs are asked for. With none, datagrams leave one by one as well.
    pub(crate) offloads: Offloads,
    pub(crate) drops: Arc<Drops>,
    pub(crate) news: mpsc::Sender<Event>,
    pub(crate) clock: Clock,
    pub(crate) bell: Arc<Bell>,
    /// The network to whose TAP this copy wrote last.
    pub(crate) wrote: Option<Vni>,
}

impl Shore {
    /// How many datagrams leave in one run.
    fn most_in_run(&self) -> usize {
        match self.offloads {
            Offloads::None => 1,
            _ => self.socket.most_in_run(),
        }
    }

    /// What the TAP takes put together.
    fn gathers(&self) -> Gathers {
        match self.taps.offloads() {
            None | Some(Offloads::None) => Gathers::Nothing,
            Some(Offloads::Tcp) => Gathers::Tcp,
            Some(Offloads::TcpAndUdp) => Gathers::TcpAndUdp,
        }
    }

    fn put(&mut self, vni: Vni, write: impl FnOnce(&Tap) -> io::Result<usize>) {
        self.wrote = Some(vni);
        match self.taps.with(vni, self.lane, write) {
            Some(Ok(_)) => {}
            Some(Err(_)) => self.drops.count(DropReason::SendFailed),
            None => self.drops.count(DropReason::UnknownDestination),
        }
    }

    fn tell(&self, event: Event) {
        if self.news.try_send(event).is_err() {
            self.drops.count(DropReason::Overflow);
        }
    }
}

impl Shore {
    fn send(&self, to: SocketAddr, bytes: &[u8]) {
        if self.unless_full(|| self.socket.send(to, bytes)).is_err() {
            self.drops.count(DropReason::SendFailed);
        }
    }

    /// Sends; while the send buffer is full, waits for room: what is behind waits in the TAP meanwhile, and senders
    /// in containers notice.
    fn unless_full(&self, send: impl Fn() -> io::Result<()>) -> io::Result<()> {
        let mut result = send();
        for _ in 0..FULL_TRIES {
            match &result {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                _ => break,
            }
            let mut waited = [PollFd::new(self.socket.as_socket(), PollFlags::OUT)];
            // Whether there is room, the next try tells.
            let _ = poll(&mut waited, Some(&FULL_WAIT));
            result = send();
        }
        result
    }
}

impl Sink for Shore {
    fn datagram(&mut self, to: SocketAddr, bytes: &[u8]) {
        self.send(to, bytes);
    }

    fn datagrams(&mut self, to: SocketAddr, bytes: &[u8], size: usize) {
        let all = || bytes.chunks(size.max(1));
        if bytes.len() <= size || !self.socket.takes_run(to) {
            return all().for_each(|datagram| self.send(to, datagram));
        }
        let sent = self.unless_full(|| self.socket.send_run(to, bytes, size));
        match sent.map_err(|error| error.kind()) {
            Ok(()) => {}
            Err(io::ErrorKind::WouldBlock) => {
                all().for_each(|_| self.drops.count(DropReason::SendFailed));
            }
            // A network card that can't do it says so only now; then they go singly, and so do those of the next second.
            Err(_) => all().for_each(|datagram| self.send(to, datagram)),
        }
    }

    fn frame(&mut self, vni: Vni, frame: &[u8]) {
        self.put(vni, |tap| match tap.offloads() {
            Offloads::None => tap.write(frame),
            _ => tap.write_with(&Offload::default().header(0, false), frame),
        });
    }

    fn offloaded(&mut self, vni: Vni, frame: &mut [u8], offload: &Offload, transport: &Transport) {
        // Headers are far shorter than 2^16.
        let header = offload.header(transport.payload as u16, transport.six);
        let mut refused = false;
        self.put(vni, |tap| match tap.write_with(&header, frame) {
            // What some kernel does not take is not lost for that.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                refused = true;
                Ok(0)
            }
            written => written,
        });
        if refused {
            offload.undo(frame, |frame| self.frame(vni, frame));
        }
    }

    fn control(&mut self, from: PeerId, via: Via, message: &[u8]) {
        self.tell(Event::Message {
            from,
            via,
            bytes: message.to_vec(),
        });
    }

    fn need(&mut self, peer: PeerId) {
        self.tell(Event::Need { peer });
    }

    fn alive(&mut self, peer: PeerId) {
        self.tell(Event::Alive { peer });
    }

    fn group(&mut self, vni: Vni) {
        self.tell(Event::Group { vni });
    }

    fn tree(&mut self, vni: Vni, source: ShortId) {
        self.tell(Event::Tree { vni, source });
    }
}

/// The router's clock: microseconds since it started. The only place where time is read for the cores.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(std::time::Instant);

impl Clock {
    /// Starts at zero now.
    pub(crate) fn start() -> Self {
        Self(std::time::Instant::now())
    }

    /// Time since the start.
    pub(crate) fn now(self) -> Instant {
        Instant(u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// When `at` will be, for timers.
    pub(crate) fn at(self, at: Instant) -> std::time::Instant {
        self.0 + std::time::Duration::from_micros(at.0)
    }
}

/// Tells the router when the thread that holds it ends by a panic.
struct Tripwire {
    name: &'static str,
    news: mpsc::Sender<Event>,
}

impl Drop for Tripwire {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The router's task may be gone as well.
            let _ = self.news.blocking_send(Event::ThreadEnded { name: self.name });
        }
    }
}
