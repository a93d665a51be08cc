//! Another path for a relayed datagram: around a link that has failed, or on from the end of a part.
//!
//! Where a part ends, this router's own route to the destination leads on, which the header names. Around a failed
//! link that is tried first, too: mesh avoids with it whatever this router knows to have failed. Until mesh has seen
//! to that, or if its route is no way, one of the [ways round](mesh::Output::Detour) this router's neighbours is,
//! which mesh works out before they are needed: it leads back to the path behind the neighbour, and takes the place of
//! that neighbour's label and this router's own.
//!
//! The header's marks name what others on the way have found, which mesh may not have heard of yet: what leads over a
//! marked link is no way. Nothing is computed here.
//!
//! 1. *Find*: one search for the destination, one atomic load of the route to it; or one search for the way round.
//! 2. *Judge*: marks against the links; at the end of a part, cost against cost; whether its first hop can be sent to.
//! 3. *Write*: the datagram is copied into the thread's buffer behind a new header, which may be longer, and sent
//!    like any that this router relays. The source is told nothing: it hears of the link as everybody does.

use super::peer::{Peer, Way};
use super::seal::{Hop, hop, stamp};
use super::tables::{Detour, read};
use super::{Plane, Scratch, Sink};
use crate::wire::marks::Mark;
use crate::wire::relay::RelayHeader;
use mesh::{DropReason, Instant, LinkLabel};
use std::sync::Arc;

/// A new path for a datagram.
pub(super) struct NewWay {
    /// With the new path in it.
    header: RelayHeader,
    /// The length of the one it replaces.
    old: usize,
    /// Whom to send it to.
    first: Hop,
}

impl Plane {
    /// A way around the link to `neighbor`, which has failed. The header's cursor is at that link's label.
    pub(super) fn detour(
        &self,
        now: Instant,
        header: &RelayHeader,
        neighbor: &Peer,
    ) -> Result<NewWay, DropReason> {
        let failed = Mark::of(self.config.id.short(), neighbor.short);
        let mut marks = header.marks;
        // Who wrote this path knew that. Each mark is good for one detour, so that they come to an end.
        if marks.has(failed) {
            return Err(DropReason::NoDetour);
        }
        if !marks.add(failed) {
            return Err(DropReason::MarksFull);
        }
        let marked = RelayHeader { marks, ..*header };
        self.own_way(now, header, &marked)
            .or_else(|| self.way_round(now, header, &marked, neighbor))
            .ok_or(DropReason::NoDetour)
    }

    /// The way on from here, where a part of the path ends.
    pub(super) fn next_part(
        &self,
        now: Instant,
        header: &RelayHeader,
        rest: u32,
    ) -> Result<NewWay, DropReason> {
        let (peer, way) = self.way_to(header).ok_or(DropReason::NoRoute)?;
        if way.cost >= rest {
            return Err(DropReason::NotNearer);
        }
        new_way(now, header, header, (&peer, &way), way.labels(), way.rest()).ok_or(DropReason::NoDetour)
    }

    /// This router's own route, all the way to the destination.
    fn own_way(&self, now: Instant, old: &RelayHeader, marked: &RelayHeader) -> Option<NewWay> {
        let (peer, way) = self.way_to(marked)?;
        new_way(now, old, marked, (&peer, &way), way.labels(), way.rest())
    }

    /// The way round `neighbor` to whom its label in the header names, and as before from there.
    fn way_round(
        &self,
        now: Instant,
        old: &RelayHeader,
        marked: &RelayHeader,
        neighbor: &Peer,
    ) -> Option<NewWay> {
        let mut behind = old.labels().get(usize::from(old.cursor) + 1..)?.iter();
        let label = LinkLabel(behind.next().copied().unwrap_or(0));
        let detour = self.known_detour(neighbor, label)?;
        let Detour { end, way } = &*detour;
        let labels = way.labels().chain(behind.map(|&label| LinkLabel(label)));
        new_way(now, old, marked, (end, way), labels, old.rest)
    }

    /// The way round `neighbor` to whom its `label` names.
    pub(super) fn known_detour(&self, neighbor: &Peer, label: LinkLabel) -> Option<Arc<Detour>> {
        read(&self.detours).get(&(neighbor.id, label)).cloned()
    }

    fn way_to(&self, header: &RelayHeader) -> Option<(Arc<Peer>, Arc<Way>)> {
        let peer = self.by_short(header.destination)?;
        let way = peer.way.load_full()?;
        Some((peer, way))
    }
}

/// `labels` are those of the new path, which begins with `way` to `end`.
fn new_way(
    now: Instant,
    old: &RelayHeader,
    header: &RelayHeader,
    (end, way): (&Arc<Peer>, &Way),
    labels: impl IntoIterator<Item = LinkLabel>,
    rest: Option<u32>,
) -> Option<NewWay> {
    if header.marks.meet(&way.links) {
        return None;
    }
    let first = way.relays.as_ref().map_or(end, |relays| &relays.first);
    Some(NewWay {
        header: header.along(labels, rest)?,
        old: old.length(),
        first: hop(now, first).ok()?,
    })
}

impl NewWay {
    /// Sends a datagram that was read with the old header.
    pub(super) fn send(
        self,
        datagram: &[u8],
        scratch: &mut Scratch,
        sink: &mut dyn Sink,
    ) -> Result<(), DropReason> {
        let hop = self.first;
        let outbox = &mut scratch.outbox;
        let lane = outbox.lane();
        let place = outbox.begin(hop.direct.address, sink);
        let out = outbox.bytes(&place);
        out.resize(place.start + self.header.length(), 0);
        out.extend_from_slice(&datagram[self.old..]);
        let out = &mut out[place.start..];
        let made = hop.fits(out).and_then(|()| {
            stamp(self.header, &hop.session, lane, |header, tag| {
                header.write(out, tag)
            })
        });
        match made {
            Ok(()) => outbox.finish(&place, sink),
            Err(_) => outbox.give_up(&place),
        }
        made
    }
}
