//! A datagram's way from the network to a container. No step allocates; every refusal is counted.
//!
//! 1. *Kind*: the first byte. Garbage ends here; [relayed](super::relay) and [group](super::group) datagrams go their
//!    own way.
//! 2. *Session*: one array read, by index and [lane](super::session).
//! 3. *Replay and open*: a short lock to look, one AEAD pass in place, a short lock to note the counter. Forgeries
//!    end here and have changed nothing.
//! 4. *News*: the first packet of a session confirms it; once a second the control half hears that the sender is
//!    alive.
//! 5. *Inside*: messages go to the control half; halves wait for each other (the one copy on this way); frames
//!    go on.
//! 6. *Deliver*: what goes on a frame before it [joins](crate::inbox) that one; else one table read: the network must
//!    have a port here, and the sender must not pretend to be it.

use super::peer::{Peer, due};
use super::session::{Session, TagCheck};
use super::sessions::{Entry, Found};
use super::{Plane, Scratch, Sink};
use crate::Via;
use crate::inbox::Arrived;
use crate::trust::trusts;
use crate::wire::inner::{self, Inner, Partial};
use crate::wire::{DataHeader, Kind};
use mesh::{DropReason, Instant, Mac, ShortId, Vni};
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// How often the control half is told that a router is alive.
const ALIVE_EVERY: Duration = Duration::from_secs(1);

/// How a datagram came, and what its outside says of its origin.
#[derive(Clone, Copy)]
pub(super) struct Arrival {
    pub via: Via,
    /// The source a relay header names; it must be the one that sealed what is inside.
    pub source: Option<ShortId>,
}

/// What a datagram says of its last hop, and where it came from.
pub(super) struct Hop {
    pub from: SocketAddr,
    pub index: u32,
    pub lane: u8,
    pub counter: u64,
}

impl Plane {
    /// Takes a datagram that came to the data port from `from`. It is opened in place. What is refused is counted.
    pub fn inbound(
        &self,
        now: Instant,
        from: SocketAddr,
        datagram: &mut [u8],
        scratch: &mut Scratch,
        sink: &mut dyn Sink,
    ) {
        self.inbound_batched(now, from, datagram, scratch, sink);
        scratch.flush(sink);
    }

    /// As [`Self::inbound`], but what comes of it waits for others until [`Scratch::flush`].
    pub fn inbound_batched(
        &self,
        now: Instant,
        from: SocketAddr,
        datagram: &mut [u8],
        scratch: &mut Scratch,
        sink: &mut dyn Sink,
    ) {
        // A socket for both families shows IPv4 addresses as IPv6 ones; here an address has one form.
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        let result = match Kind::of(datagram) {
            None => Err(DropReason::Garbage),
            Some(Kind::Relay) => self.relay(now, from, datagram, scratch, sink),
            Some(Kind::Group) => self.spread(now, from, datagram, scratch, sink),
            Some(Kind::Sealed | Kind::Plain) => {
                let arrival = Arrival {
                    via: Via::Direct(from),
                    source: None,
                };
                self.open(now, arrival, datagram, scratch, sink)
            }
        };
        self.count(result);
    }

    /// Takes a sealed or plain datagram.
    pub(super) fn open(
        &self,
        now: Instant,
        arrival: Arrival,
        datagram: &mut [u8],
        scratch: &mut Scratch,
        sink: &mut dyn Sink,
    ) -> Result<(), DropReason> {
        let header = DataHeader::parse(datagram).ok_or(DropReason::Truncated)?;
        if header.plain && !self.takes_plain(arrival.via) {
            return Err(DropReason::PlainRefused);
        }
        let found = self.lookup(now, header.index);
        let found = found.ok_or(DropReason::UnknownSession)?;
        let Entry { session, peer } = &*found;
        let range = session.open(&header, datagram)?;
        if header.relayed != arrival.source.is_some()
            || arrival.source.is_some_and(|source| source != peer.short)
        {
            return Err(DropReason::Malformed);
        }
        self.news(now, arrival.via, session, peer, sink);
        match inner::parse(&mut datagram[range]).ok_or(DropReason::Malformed)? {
            Inner::Frame { vni, partial, frame } => {
                peer.touch(now);
                self.deliver(vni, partial, frame, scratch, sink)
            }
            Inner::Half(half) => {
                peer.touch(now);
                let mut table = self.halves.lock().unwrap_or_else(PoisonError::into_inner);
                let whole = table.take(now, &peer.id, half, &mut scratch.whole, &self.config.drops);
                drop(table);
                if whole {
                    self.deliver_whole(scratch, sink)
                } else {
                    Ok(())
                }
            }
            // Handshakes and probes are for the control half only, and always encrypted.
            Inner::Message(_) if header.plain => Err(DropReason::PlainRefused),
            Inner::Message(message) => {
                sink.control(peer.id, arrival.via, message);
                Ok(())
            }
        }
    }

    /// The session with the neighbour that a datagram came from, which tagged it: `tagged` compares.
    pub(super) fn hop_before(
        &self,
        now: Instant,
        hop: &Hop,
        tagged: impl FnOnce(&TagCheck<'_>) -> bool,
        sink: &mut dyn Sink,
    ) -> Result<Found, DropReason> {
        let found = self.lookup(now, hop.index);
        let found = found.ok_or(DropReason::UnknownSession)?;
        found.session.hop_check(hop.lane, hop.counter, tagged)?;
        self.news(now, Via::Direct(hop.from), &found.session, &found.peer, sink);
        Ok(found)
    }

    /// An authenticated packet came.
    pub(super) fn news(
        &self,
        now: Instant,
        via: Via,
        session: &Arc<Session>,
        peer: &Peer,
        sink: &mut dyn Sink,
    ) {
        if session.hear(now) {
            let (_, displaced) = peer.confirm(session);
            self.uninstall(&[displaced]);
        }
        if matches!(via, Via::Direct(_)) && due(&peer.alive, now, ALIVE_EVERY) {
            sink.alive(peer.id);
        }
    }

    /// Unencrypted packets are taken only straight from trusted addresses.
    fn takes_plain(&self, via: Via) -> bool {
        matches!(via, Via::Direct(from) if trusts(&self.config.trusted, from.ip()))
    }

    fn deliver_whole(&self, scratch: &mut Scratch, sink: &mut dyn Sink) -> Result<(), DropReason> {
        let mut whole = std::mem::take(&mut scratch.whole);
        let result = match inner::parse(&mut whole) {
            Some(Inner::Frame { vni, partial, frame }) => self.deliver(vni, partial, frame, scratch, sink),
            _ => Err(DropReason::Malformed),
        };
        scratch.whole = whole;
        result
    }

    /// Takes a frame from outside to the TAP.
    pub(super) fn deliver(
        &self,
        vni: Vni,
        partial: Option<Partial>,
        frame: &mut [u8],
        scratch: &mut Scratch,
        sink: &mut dyn Sink,
    ) -> Result<(), DropReason> {
        let inbox = &mut scratch.inbox;
        let arrived = Arrived::new(vni, frame, partial, inbox.gathers()).ok_or(DropReason::Malformed)?;
        // What follows a frame that was judged, in the same network and with the same MAC addresses, is judged.
        if inbox.join(&arrived, sink) {
            return Ok(());
        }
        let source = arrived
            .frame
            .get(6..)
            .and_then(<[u8]>::first_chunk)
            .ok_or(DropReason::Malformed)?;
        {
            let networks = self.networks.read(scratch.outbox.lane());
            let ports = networks
                .get(&vni)
                .map(|network| &network.ports)
                .filter(|ports| !ports.is_empty());
            // A frame from outside under the MAC of a port here would pull that port's traffic to the TAP.
            if ports
                .ok_or(DropReason::UnknownDestination)?
                .contains_key(&Mac(*source))
            {
                return Err(DropReason::SpoofedMac);
            }
        }
        inbox.begin(arrived, sink);
        Ok(())
    }
}
