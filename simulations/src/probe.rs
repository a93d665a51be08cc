//! Probes of the round trip to a router that is not linked, as the daemon makes them: a QUIC packet of a version that
//! nobody speaks, which any QUIC server answers with those it does (RFC 9000, sections 6 and 17.2.1). Lost ones are
//! not sent again, and nobody tells their senders.

use crate::ways::Way;
use crate::world::Event;
use crate::{Class, HostId, World};
use mesh::{Instant, PeerId};
use sleeve::wire::size;
use std::net::SocketAddr;

/// Payload of a probe: less than this no server answers.
pub(crate) const QUESTION: usize = 1200;
/// Payload of the answer: a header with two connection ids, and a few versions.
pub(crate) const ANSWER: usize = 55;

/// A probe on its way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Probe {
    pub(crate) from: HostId,
    pub(crate) run: u64,
    pub(crate) to: HostId,
    /// Who is said to be there.
    pub(crate) peer: PeerId,
    /// Where it seems to come from.
    pub(crate) seen: SocketAddr,
    pub(crate) sent: Instant,
}

impl World {
    /// A router probes an address.
    pub(crate) fn probe(&mut self, from: HostId, peer: PeerId, address: SocketAddr) {
        let Some(Way { host: to, seen }) = self.way(from, address) else {
            return;
        };
        let probe = Probe {
            from,
            run: self.hosts[from.0].run,
            to,
            peer,
            seen,
            sent: self.clock.now(),
        };
        let passage = self.carry(from, to, QUESTION + size::outer(address), (Class::Probe, 1));
        if let Some(passage) = passage {
            self.clock.plan(passage.at, Event::Probe(probe));
        }
    }

    /// A probe arrives: if a router runs there, it answers, whoever asks.
    pub(crate) fn answer_probe(&mut self, probe: Probe) {
        let address = probe.seen;
        if self.hosts[probe.to.0].router.is_none() {
            return;
        }
        if self
            .way(probe.to, address)
            .is_none_or(|way| way.host != probe.from)
        {
            return;
        }
        let passage = self.carry(
            probe.to,
            probe.from,
            ANSWER + size::outer(address),
            (Class::Probe, 1),
        );
        if let Some(passage) = passage {
            self.clock.plan(passage.at, Event::Probed(probe));
        }
    }
}
