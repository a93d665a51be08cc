//! The last steps of every packet on its way out: which way, how much room, seal, send.

use super::peer::{Direct, Peer, Way};
use super::session::{Sealing, Session};
use super::{How, Plane, Scratch, Sink};
use crate::outbox::Outbox;
use crate::wire::marks::{Mark, Marks};
use crate::wire::relay::{MAX_LABELS, RelayHeader};
use crate::wire::{self, size};
use mesh::{DropReason, Instant, LinkLabel, PeerId};
use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

/// A way that can be used now.
pub(super) struct Path<'a> {
    /// Where the packet goes first.
    address: SocketAddr,
    /// The longest plaintext that fits.
    pub room: usize,
    /// Frames may go unencrypted.
    plain: bool,
    pub relay: Option<Relay<'a>>,
}

/// The relays of a way.
pub(super) struct Relay<'a> {
    /// With the first of them.
    session: Arc<Session>,
    labels: Cow<'a, [LinkLabel]>,
    rest: Option<u32>,
    /// Links that it leads around.
    marks: Marks,
}

/// What is to be sealed, and for whom.
pub(super) struct Packet<'a> {
    pub peer: &'a Peer,
    pub session: &'a Session,
    /// The plaintext, in pieces.
    pub parts: &'a [&'a [u8]],
    /// It is a frame: it may go unencrypted where the path allows that.
    pub frame: bool,
}

impl Plane {
    /// Seals a control message for `peer` and sends it. `message` begins with its kind byte.
    ///
    /// # Errors
    /// Why it was not sent; the caller decides whether that counts as a drop.
    pub fn send_control(
        &self,
        now: Instant,
        peer: &PeerId,
        message: &[u8],
        how: How<'_>,
        scratch: &mut Scratch,
        sink: &mut dyn Sink,
    ) -> Result<(), DropReason> {
        let peer = self.known(peer).ok_or(DropReason::NoSession)?;
        let session = peer.sending(now).ok_or(DropReason::NoSession)?;
        let way = peer.way.load();
        let path = match how {
            How::Direct(address) => Path {
                address,
                room: size::MAX_DATAGRAM - size::SEAL,
                plain: false,
                relay: None,
            },
            How::Route => self.path(now, &peer, way.as_deref())?,
            How::Via {
                first, labels: [], ..
            } => direct(&*self.known(&first).ok_or(DropReason::NoRoute)?)?,
            How::Via { first, labels, rest } => {
                let first = self.known(&first).ok_or(DropReason::NoRoute)?;
                relayed(hop(now, &first)?, u16::MAX, labels.into(), rest)
            }
        };
        if message.len() > path.room {
            return Err(DropReason::TooBig);
        }
        let packet = Packet {
            peer: &peer,
            session: &session,
            parts: &[message],
            frame: false,
        };
        self.send(&packet, &path, &mut scratch.outbox, sink)?;
        scratch.outbox.flush(sink);
        Ok(())
    }

    /// True if there are a session with `peer` and a way to it.
    pub(crate) fn has_way(&self, now: Instant, peer: &PeerId) -> bool {
        self.known(peer).is_some_and(|peer| {
            let way = peer.way.load();
            peer.sending(now).is_some() && self.path(now, &peer, way.as_deref()).is_ok()
        })
    }

    /// Seals one packet, whose size has been seen to, where it waits to be sent.
    pub(super) fn send(
        &self,
        packet: &Packet<'_>,
        path: &Path<'_>,
        outbox: &mut Outbox,
        sink: &mut dyn Sink,
    ) -> Result<(), DropReason> {
        let header = match &path.relay {
            None => None,
            Some(relay) => {
                let (source, destination) = (self.config.id.short(), packet.peer.short);
                let header = RelayHeader::new(&relay.labels, relay.rest, source, destination);
                let header = header.ok_or(DropReason::NoRoute)?;
                let marks = relay.marks;
                Some((RelayHeader { marks, ..header }, relay))
            }
        };
        let lane = outbox.lane();
        let place = outbox.begin(path.address, sink);
        let out = outbox.bytes(&place);
        let inner = place.start + header.as_ref().map_or(0, |(header, _)| header.length());
        out.resize(inner + wire::data::LENGTH, 0);
        for part in packet.parts {
            out.extend_from_slice(part);
        }
        let kind = Sealing {
            lane,
            plain: path.plain && packet.frame,
            relayed: header.is_some(),
        };
        let sealed = packet.session.seal(kind, out, inner).and_then(|()| match header {
            None => Ok(()),
            Some((header, relay)) => {
                let out = &mut out[place.start..];
                stamp(header, &relay.session, lane, |header, tag| header.write(out, tag))
            }
        });
        match sealed {
            Ok(()) => outbox.finish(&place, sink),
            Err(_) => outbox.give_up(&place),
        }
        sealed
    }

    /// The way to `peer` as it can be used now.
    pub(super) fn path<'a>(
        &self,
        now: Instant,
        peer: &Peer,
        way: Option<&'a Way>,
    ) -> Result<Path<'a>, DropReason> {
        let way = way.ok_or(DropReason::NoRoute)?;
        let first = way.relays.as_ref().map_or(peer, |relays| &relays.first);
        let works = first
            .direct
            .load()
            .as_ref()
            .is_some_and(|direct| !direct.doubtful);
        if let Some(path) = (!works).then(|| self.path_round(now, first, way)).flatten() {
            return Ok(path);
        }
        let Some(relays) = &way.relays else {
            return direct(peer);
        };
        let first = hop(now, &relays.first)?;
        Ok(relayed(first, relays.mtu, (&*relays.labels).into(), way.rest()))
    }

    /// As `way`, but round its first hop, the link with which has just died.
    fn path_round(&self, now: Instant, first: &Peer, way: &Way) -> Option<Path<'static>> {
        let (mtu, mut labels) = match &way.relays {
            Some(relays) => (relays.mtu, relays.labels.iter().copied()),
            None => (u16::MAX, [].iter().copied()),
        };
        let label = labels.next().unwrap_or(LinkLabel(0));
        let detour = self.known_detour(first, label)?;
        let labels: Vec<_> = detour.way.labels().chain(labels).collect();
        let (hop, mtu) = match &detour.way.relays {
            Some(relays) => (hop(now, &relays.first).ok()?, mtu.min(relays.mtu)),
            None if labels.is_empty() => return direct(&detour.end).ok(),
            None => (hop(now, &detour.end).ok()?, mtu),
        };
        if hop.direct.doubtful || labels.len() > MAX_LABELS {
            return None;
        }
        let mut path = relayed(hop, mtu, labels.into(), way.rest());
        let failed = Mark::of(self.config.id.short(), first.short);
        let marked = path.relay.as_mut().is_some_and(|relay| relay.marks.add(failed));
        marked.then_some(path)
    }
}

/// A relay header for the next hop, which `session` is with, under the keys of `lane`; `write` puts it and its tag where they belong.
pub(super) fn stamp(
    header: RelayHeader,
    session: &Session,
    lane: u8,
    write: impl FnOnce(&RelayHeader, &dyn Fn(&[u8]) -> Option<[u8; wire::TAG]>) -> bool,
) -> Result<(), DropReason> {
    let (counter, keys) = session.next_relay(lane)?;
    let header = RelayHeader {
        lane,
        index: session.their_index,
        counter,
        ..header
    };
    if write(&header, &|bytes| keys.relay_tag(counter, bytes)) {
        Ok(())
    } else {
        Err(DropReason::NoSession)
    }
}

fn direct(peer: &Peer) -> Result<Path<'static>, DropReason> {
    let direct = peer.direct.load();
    let direct = direct.as_ref().ok_or(DropReason::NoRoute)?;
    let room = size::room(direct.mtu, direct.address);
    Ok(Path {
        address: direct.address,
        room,
        plain: direct.plain,
        relay: None,
    })
}

fn relayed(first: Hop, mtu: u16, labels: Cow<'_, [LinkLabel]>, rest: Option<u32>) -> Path<'_> {
    Path {
        address: first.direct.address,
        // The source sees its own first hop narrow before the others learn of it.
        room: size::relayed_room(mtu.min(first.direct.mtu)),
        plain: false,
        relay: Some(Relay {
            session: first.session,
            labels,
            rest,
            marks: Marks::default(),
        }),
    }
}

/// A neighbour that can be sent to now.
pub(super) struct Hop {
    pub direct: Direct,
    pub session: Arc<Session>,
}

impl Hop {
    /// Whether a datagram fits.
    pub(super) fn fits(&self, datagram: &[u8]) -> Result<(), DropReason> {
        let fits = datagram.len() + size::outer(self.direct.address) <= usize::from(self.direct.mtu);
        if fits { Ok(()) } else { Err(DropReason::TooBig) }
    }
}

/// What it takes to send to a neighbour.
pub(super) fn hop(now: Instant, neighbor: &Peer) -> Result<Hop, DropReason> {
    let direct = neighbor.direct.load();
    let direct = **direct.as_ref().ok_or(DropReason::NoRoute)?;
    let session = neighbor.sending(now).ok_or(DropReason::NoSession)?;
    Ok(Hop { direct, session })
}
