//! Another path for a relayed datagram: around a link that has failed, or on from the end of a part.
//!
//! Both take this router's own route to the destination, which the header names; mesh has computed it, and avoids
//! with it whatever this router knows to have failed. The header's marks name what others on the way have found,
//! which mesh may not have heard of yet: a route over a marked link is no way. Nothing is computed here.
//!
//! 1. *Find*: one search for the destination, one atomic load of the route to it.
//! 2. *Judge*: marks against the route's links; at the end of a part, cost against cost.
//! 3. *Write*: the datagram is copied into the thread's buffer behind a new header, which may be longer, and sent
//!    like any that this router relays. The source is told nothing: it hears of the link as everybody does.

use super::peer::{Peer, Way};
use super::seal::{hop, stamp};
use super::{Plane, Scratch, Sink};
use crate::wire::marks::Mark;
use crate::wire::relay::RelayHeader;
use mesh::{DropReason, Instant};
use std::sync::Arc;

/// A new path for a datagram.
pub(super) struct NewWay {
    /// With the new path in it.
    header: RelayHeader,
    /// The length of the one it replaces.
    old: usize,
    /// Whom to send it to.
    first: Arc<Peer>,
}

impl Plane {
    /// A way around the link to `neighbor`, which has failed.
    pub(super) fn detour(&self, header: &RelayHeader, neighbor: &Peer) -> Result<NewWay, DropReason> {
        let failed = Mark::of(self.config.id.short(), neighbor.short);
        let mut marks = header.marks;
        // Who wrote this path knew that. Each mark is good for one detour, so that they come to an end.
        if marks.has(failed) {
            return Err(DropReason::NoDetour);
        }
        if !marks.add(failed) {
            return Err(DropReason::MarksFull);
        }
        let (peer, way) = self.way_to(header).ok_or(DropReason::NoDetour)?;
        new_way(header, &RelayHeader { marks, ..*header }, peer, &way)
    }

    /// The way on from here, where a part of the path ends.
    pub(super) fn next_part(&self, header: &RelayHeader, rest: u32) -> Result<NewWay, DropReason> {
        let (peer, way) = self.way_to(header).ok_or(DropReason::NoRoute)?;
        if way.cost >= rest {
            return Err(DropReason::NotNearer);
        }
        new_way(header, header, peer, &way)
    }

    fn way_to(&self, header: &RelayHeader) -> Option<(Arc<Peer>, Arc<Way>)> {
        let peer = self.by_short(header.destination)?;
        let way = peer.way.load_full()?;
        Some((peer, way))
    }
}

fn new_way(
    old: &RelayHeader,
    header: &RelayHeader,
    peer: Arc<Peer>,
    way: &Way,
) -> Result<NewWay, DropReason> {
    if header.marks.meet(&way.links) {
        return Err(DropReason::NoDetour);
    }
    let (first, labels) = match &way.relays {
        Some(relays) => (Arc::clone(&relays.first), &*relays.labels),
        None => (peer, &[][..]),
    };
    Ok(NewWay {
        header: header.along(labels, way.rest()).ok_or(DropReason::NoDetour)?,
        old: old.length(),
        first,
    })
}

impl NewWay {
    /// Sends a datagram that was read with the old header.
    pub(super) fn send(
        self,
        now: Instant,
        datagram: &[u8],
        scratch: &mut Scratch,
        sink: &mut dyn Sink,
    ) -> Result<(), DropReason> {
        let hop = hop(now, &self.first)?;
        let out = &mut scratch.out;
        out.clear();
        out.resize(self.header.length(), 0);
        out.extend_from_slice(&datagram[self.old..]);
        hop.fits(out)?;
        stamp(self.header, &hop.session, |header, tag| header.write(out, tag))?;
        sink.datagram(hop.direct.address, out);
        Ok(())
    }
}
