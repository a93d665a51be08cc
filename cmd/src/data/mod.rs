//! The data threads: frames between the TAP and the UDP port, without a detour through the control plane.
//!
//! ```text
//! container ─ bridge ─ TAP ──► tap thread ── Plane::outbound ──► UDP port ──► next router
//!                      TAP ◄── udp thread ◄─ Plane::inbound ◄─── UDP port ◄── some router
//!                                  └── QUIC ──► QuicQueue ──► links
//! ```
//! Both threads block in `poll` when there is nothing to do. News for the control plane (messages inside
//! sessions, routers that need a session) go over a bounded channel; when it is full they are dropped and counted.

mod tap;
mod udp;

pub(crate) use tap::TapThread;
pub(crate) use udp::UdpThread;

use crate::link::SharedSocket;
use arc_swap::ArcSwapOption;
use fastpath::tap::Tap;
use mesh::{DropReason, Drops, Instant, PeerId, ShortId, Vni};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fd::{AsFd, OwnedFd};
use sleeve::{Plane, Sink, Via};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::mpsc;

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
    /// The TAP device is gone.
    TapLost,
    /// A data thread ended although nobody told it to.
    ThreadEnded {
        name: &'static str,
    },
}

/// What all data threads share.
#[derive(Clone)]
pub(crate) struct Shore {
    pub(crate) plane: Arc<Plane>,
    pub(crate) socket: Arc<SharedSocket>,
    pub(crate) tap: Arc<ArcSwapOption<Tap>>,
    pub(crate) drops: Arc<Drops>,
    pub(crate) news: mpsc::Sender<Event>,
    pub(crate) clock: Clock,
    pub(crate) stop: Arc<Stop>,
}

impl Shore {
    fn tell(&self, event: Event) {
        if self.news.try_send(event).is_err() {
            self.drops.count(DropReason::Overflow);
        }
    }
}

impl Sink for Shore {
    fn datagram(&mut self, to: SocketAddr, bytes: &[u8]) {
        if self.socket.send(to, bytes).is_err() {
            self.drops.count(DropReason::SendFailed);
        }
    }

    fn frame(&mut self, vni: Vni, frame: &[u8]) {
        if vni != Vni::DEFAULT {
            self.drops.count(DropReason::UnknownDestination);
            return;
        }
        if self
            .tap
            .load()
            .as_ref()
            .is_none_or(|tap| tap.write(frame).is_err())
        {
            self.drops.count(DropReason::SendFailed);
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

/// Wakes blocked threads for the last time.
#[derive(Debug)]
pub(crate) struct Stop(OwnedFd);

impl Stop {
    /// A signal not yet given.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// Tells all threads to end. Nobody reads the descriptor, so it stays readable.
    pub(crate) fn stop(&self) {
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Blocks until `descriptor` is readable (true) or the signal is given (false).
    fn wait_readable(&self, descriptor: impl AsFd) -> io::Result<bool> {
        let mut waited = [
            PollFd::new(&descriptor, PollFlags::IN),
            PollFd::new(&self.0, PollFlags::IN),
        ];
        loop {
            match poll(&mut waited, None) {
                Ok(_) => return Ok(waited[1].revents().is_empty()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
