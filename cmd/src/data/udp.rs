//! The UDP thread. For each datagram:
//!
//! 1. received, many per call (GRO), into buffers that live as long as the thread;
//! 2. told apart by the first byte (RFC 9000, section 17: QUIC's fixed bit), after GRO is undone;
//! 3. QUIC goes to the control plane's queue (one allocation);
//! 4. sleeve is checked, opened in place and written to the TAP, or sent on, by the plane: no allocation.

use super::Shore;
use crate::link::{ConnectionIds, QuicQueue};
use crate::net::canonical;
use mesh::DropReason;
use quinn::udp::RecvMeta;
use sleeve::Scratch;
use std::io::{self, IoSliceMut};
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
        for (buffer, meta) in buffers.iter_mut().zip(&meta).take(count) {
            let stride = meta.stride.max(1);
            for datagram in buffer[..meta.len].chunks_mut(stride) {
                self.datagram(meta, datagram, scratch);
            }
        }
        Some(count)
    }

    fn datagram(&mut self, meta: &RecvMeta, datagram: &mut [u8], scratch: &mut Scratch) {
        let Some(first) = datagram.first() else {
            self.shore.drops.count(DropReason::Truncated);
            return;
        };
        if first & QUIC_BIT == 0 {
            let now = self.shore.clock.now();
            let plane = self.shore.plane.clone();
            plane.inbound(now, canonical(meta.addr), datagram, scratch, &mut self.shore);
        } else if !self.ids.plausible(datagram) && !self.ids.is_linked(&canonical(meta.addr)) {
            self.shore.drops.count(DropReason::Garbage);
        } else if !self.queue.push(meta, datagram) {
            self.shore.drops.count(DropReason::Overflow);
        }
    }
}
