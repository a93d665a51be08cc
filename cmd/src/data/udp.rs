//! What a lane does with what comes to its socket. For each datagram:
//!
//! 1. received, many per call (`recvmmsg`, and GRO within it), into buffers that live as long as the lane;
//! 2. told apart by the first byte (RFC 9000, section 17: QUIC's fixed bit), after GRO is undone;
//! 3. QUIC goes to the control plane's queue (one allocation);
//! 4. sleeve is checked and opened in place, by the plane: no allocation. Frames for containers are put together,
//!    datagrams for the next router gathered in runs;
//! 5. after each call, both are written: super-frames to the TAP, runs to the port. Nothing waits for more to come.

use super::Shore;
use crate::link::{ConnectionIds, QuicQueue};
use crate::net::canonical;
use mesh::{DropReason, Vni};
use quinn::udp::RecvMeta;
use sleeve::Scratch;
use std::io::IoSliceMut;
use std::sync::Arc;

/// Receives per call. Each may hold many datagrams.
const BATCH: usize = 8;
/// Batches until the TAP has its turn.
const MOST_BATCHES: usize = 4;
/// Largest receive: what GRO may put together.
const BUFFER: usize = 65_536;
type Buffers = [Box<[u8]>; BATCH];
/// QUIC's fixed bit in the first byte.
const QUIC_BIT: u8 = 0x40;

/// Receives at a lane's socket.
pub(super) struct UdpReader {
    shore: Shore,
    buffers: Buffers,
    queue: Arc<QuicQueue>,
    ids: ConnectionIds,
}

impl UdpReader {
    pub(super) fn new(shore: Shore, queue: Arc<QuicQueue>, ids: ConnectionIds) -> Self {
        Self {
            shore,
            buffers: std::array::from_fn(|_| vec![0; BUFFER].into_boxed_slice()),
            queue,
            ids,
        }
    }

    /// The network to whose TAP frames went last, since this was last asked.
    pub(super) fn wrote(&mut self) -> Option<Vni> {
        self.shore.wrote.take()
    }

    /// Handles what is there, up to a few batches: what containers send has its turn as well. Says how many bytes that
    /// was.
    pub(super) fn receive_all(&mut self, scratch: &mut Scratch) -> usize {
        let mut all = 0;
        for _ in 0..MOST_BATCHES {
            let Some((count, bytes)) = self.receive(scratch) else {
                break;
            };
            all += bytes;
            if count < BATCH {
                break;
            }
        }
        all
    }

    /// Handles one batch, and says of how many receives and bytes. `None` when there was nothing.
    fn receive(&mut self, scratch: &mut Scratch) -> Option<(usize, usize)> {
        let mut meta = [RecvMeta::default(); BATCH];
        let Self {
            shore,
            buffers,
            queue,
            ids,
        } = self;
        let count = {
            let mut slices = buffers.each_mut().map(|buffer| IoSliceMut::new(buffer));
            // Errors are ICMP messages for earlier sends, or "nothing there".
            shore.socket.receive(&mut slices, &mut meta).ok()?
        };
        let (plane, now) = (shore.plane.clone(), shore.clock.now());
        scratch.outbox.set_most(shore.most_in_run());
        scratch.inbox.set_gathers(shore.gathers());
        // 64 or 128.
        scratch.inbox.set_most(shore.socket.segments() as u16);
        for (buffer, meta) in buffers.iter_mut().zip(&meta).take(count) {
            let stride = meta.stride.max(1);
            let from = canonical(meta.addr);
            for datagram in buffer[..meta.len].chunks_mut(stride) {
                match datagram.first() {
                    None => shore.drops.count(DropReason::Truncated),
                    Some(first) if first & QUIC_BIT == 0 => {
                        plane.inbound_batched(now, from, datagram, scratch, shore);
                    }
                    Some(_) if !ids.plausible(datagram) && !ids.is_linked(&from) => {
                        shore.drops.count(DropReason::Garbage);
                    }
                    Some(_) if !queue.push(meta, datagram) => shore.drops.count(DropReason::Overflow),
                    Some(_) => {}
                }
            }
        }
        scratch.flush(shore);
        Some((count, meta[..count].iter().map(|meta| meta.len).sum()))
    }
}
