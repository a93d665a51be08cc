//! The UDP thread. For each datagram:
//!
//! 1. received, many per call (`recvmmsg`, and GRO within it), into buffers that live as long as the thread;
//! 2. told apart by the first byte (RFC 9000, section 17: QUIC's fixed bit), after GRO is undone;
//! 3. QUIC goes to the control plane's queue (one allocation);
//! 4. sleeve is checked and opened in place, by the plane: no allocation. Frames for containers are put together,
//!    datagrams for the next router gathered in runs;
//! 5. after each call, both are written: super-frames to the TAP, runs to the port. Nothing waits for more to come.

use super::Shore;
use crate::link::{ConnectionIds, QuicQueue};
use crate::net::canonical;
use mesh::DropReason;
use quinn::udp::RecvMeta;
use sleeve::Scratch;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// Receives per call. Each may hold many datagrams.
const BATCH: usize = 8;
/// Largest receive: what GRO may put together.
const BUFFER: usize = 65_536;
type Buffers = [Box<[u8]>; BATCH];
/// QUIC's fixed bit in the first byte.
const QUIC_BIT: u8 = 0x40;

/// Owns receiving on the UDP port.
pub(crate) struct UdpThread {
    pub(crate) shore: Shore,
    pub(crate) queue: Arc<QuicQueue>,
    pub(crate) ids: ConnectionIds,
}

impl UdpThread {
    /// Starts the thread.
    pub(crate) fn start(self) -> io::Result<JoinHandle<()>> {
        thread::Builder::new()
            .name("udp".into())
            .spawn(move || self.run())
    }

    fn run(mut self) {
        let _tripwire = super::Tripwire {
            name: "udp",
            news: self.shore.news.clone(),
        };
        let mut buffers: Buffers = std::array::from_fn(|_| vec![0; BUFFER].into_boxed_slice());
        let mut scratch = Scratch::default();
        let stop = self.shore.stop.clone();
        let socket = self.shore.socket.clone();
        while matches!(stop.wait_readable(socket.as_socket()), Ok(true)) {
            while let Some(count) = self.receive(&mut buffers, &mut scratch) {
                if count < BATCH {
                    break;
                }
            }
        }
    }

    /// Handles one batch. `None` when there was nothing to receive.
    fn receive(&mut self, buffers: &mut Buffers, scratch: &mut Scratch) -> Option<usize> {
        let mut meta = [RecvMeta::default(); BATCH];
        let count = {
            let mut slices = buffers.each_mut().map(|buffer| IoSliceMut::new(buffer));
            // Errors are ICMP messages for earlier sends, or "nothing there".
            self.shore.socket.receive(&mut slices, &mut meta).ok()?
        };
        let (plane, now) = (self.shore.plane.clone(), self.shore.clock.now());
        scratch.outbox.set_most(self.shore.most_in_run());
        scratch.inbox.set_gathers(self.shore.gathers());
        // 64 or 128.
        scratch.inbox.set_most(self.shore.socket.segments() as u16);
        for (buffer, meta) in buffers.iter_mut().zip(&meta).take(count) {
            let stride = meta.stride.max(1);
            let from = canonical(meta.addr);
            for datagram in buffer[..meta.len].chunks_mut(stride) {
                match datagram.first() {
                    None => self.shore.drops.count(DropReason::Truncated),
                    Some(first) if first & QUIC_BIT == 0 => {
                        plane.inbound_batched(now, from, datagram, scratch, &mut self.shore);
                    }
                    Some(_) => self.quic(meta, from, datagram),
                }
            }
        }
        scratch.flush(&mut self.shore);
        Some(count)
    }

    fn quic(&mut self, meta: &RecvMeta, from: SocketAddr, datagram: &[u8]) {
        if !self.ids.plausible(datagram) && !self.ids.is_linked(&from) {
            self.shore.drops.count(DropReason::Garbage);
        } else if !self.queue.push(meta, datagram) {
            self.shore.drops.count(DropReason::Overflow);
        }
    }
}
