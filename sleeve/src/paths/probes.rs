//! Probes on their way.

use crate::context::Context;
use crate::message::{Message, Probe};
use mesh::{Instant, PeerId};
use std::net::SocketAddr;
use std::time::Duration;

/// Most probes to one router that are remembered, and for how long.
const MAX: usize = 64;
const PATIENCE: Duration = Duration::from_secs(5);

/// A probe that was sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    nonce: u64,
    pub address: SocketAddr,
    /// Bytes of the whole outer packet; 0: as small as it gets.
    pub size: u16,
    pub at: Instant,
}

/// The probes to one router that may still be answered.
#[derive(Debug, Default)]
pub(super) struct Probes(Vec<Sent>);

impl Probes {
    /// Sends a probe of `size` bytes to `address`. Nothing happens without a session.
    pub(super) fn send(
        &mut self,
        cx: &mut Context,
        now: Instant,
        peer: &PeerId,
        address: SocketAddr,
        size: u16,
    ) {
        let nonce = cx.rng.next_u64();
        let probe = Message::Probe(Probe {
            nonce,
            trusted: cx.trusts(address.ip()),
        });
        if cx.send_padded(now, peer, &probe, address, size).is_err() {
            return;
        }
        self.0.retain(|sent| now.since(sent.at) < PATIENCE);
        if self.0.len() == MAX {
            self.0.remove(0);
        }
        self.0.push(Sent {
            nonce,
            address,
            size,
            at: now,
        });
    }

    /// The probe that `nonce` answers; each is answered once.
    pub(super) fn take(&mut self, nonce: u64) -> Option<Sent> {
        let place = self.0.iter().position(|sent| sent.nonce == nonce)?;
        Some(self.0.swap_remove(place))
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
