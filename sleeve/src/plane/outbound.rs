//! A frame's way from a container to the network.
//!
//! 1. *Guard*: under one read lock, which is this lane's, the sender's port is looked up by the frame's MAC address, and the frame read
//!    as far as its transport header. What a container may not send ends here.
//! 2. *Local answers*: only for frames to a group address: one lookup for those that ask for a neighbour.
//! 3. *Lookup*: under the same lock; the destination's entry, or those of all members for a group address.
//!    Unknown unicast ends here. In large networks the frame goes [along the tree](super::group) instead, and the
//!    steps that follow are for those members only that the tree does not reach.
//! 4. *Session and route*: atomic loads. Without either the control half is told (once a second). There is no frame
//!    without a session: one to a single router may wait for it, others are dropped.
//! 5. *Fit*: compares lengths. A frame too big is answered for, or split in two.
//! 6. *Seal*: one copy to the end of the [run](crate::outbox) of its next hop, one AEAD pass over it; relayed ones a
//!    second, short tag.
//! 7. *Send*: the sink, when the run is full or flushed.
//!
//! A super-frame takes steps 1 to 4 once. If there is a way, the frames it stands for are [cut](crate::offload)
//! as it has room for them while they are copied in step 6; if not, they go singly and meet with what single frames
//! meet with.

use super::group::Cast;
use super::group::send::GroupFrame;
use super::peer::{Peer, due};
use super::seal::{Packet, Path};
use super::session::Session;
use super::{Plane, Scratch, Sink};
use crate::offload::{Gso, Offload, Partial, Segments, Transport};
use crate::outbox::Outbox;
use crate::sessions::RENEW_AFTER_PACKETS;
use crate::wire::inner::{self, Prefix};
use mesh::{DropReason, Instant, Vni};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How often the control half is told that a router is needed.
const NEED_EVERY: Duration = Duration::from_secs(1);

/// Where a frame goes.
enum Target {
    /// Answered here, with so many bytes.
    Answered(usize),
    One(Arc<Peer>),
    Many(Arc<[Arc<Peer>]>, Option<Arc<Cast>>),
}

/// A frame, its network, and where its checksum is to be made if it is not there.
#[derive(Clone, Copy)]
pub(super) struct Outgoing<'a> {
    pub vni: Vni,
    pub frame: &'a [u8],
    pub partial: Option<Partial>,
}

impl Plane {
    /// Takes an Ethernet frame that a container in network `vni` sent. What can't be sent is counted.
    pub fn outbound(&self, now: Instant, frame: &[u8], vni: Vni, scratch: &mut Scratch, sink: &mut dyn Sink) {
        self.outbound_batched(now, frame, Offload::default(), vni, scratch, sink);
        scratch.flush(sink);
    }

    /// As [`Self::outbound`], of a frame with which something is left to do; and datagrams wait for others until
    /// [`Scratch::flush`].
    pub fn outbound_batched(
        &self,
        now: Instant,
        frame: &[u8],
        offload: Offload,
        vni: Vni,
        scratch: &mut Scratch,
        sink: &mut dyn Sink,
    ) {
        if let Some(partial) = offload.checksum
            && offload.segments.is_none()
            && Transport::parse(frame).map(|transport| transport.partial()) != Some(partial)
        {
            return self.outbound_completed(now, frame, partial, vni, scratch, sink);
        }
        let target = match self.target(frame, vni, scratch) {
            Ok(target) => target,
            Err(reason) => return self.config.drops.count(reason),
        };
        let Offload {
            checksum: partial,
            segments,
        } = offload;
        let outgoing = Outgoing { vni, frame, partial };
        match segments {
            None => self.to_target(now, &target, outgoing, scratch, sink),
            Some(gso) => self.cut(now, &target, outgoing, gso, scratch, sink),
        }
    }

    /// A frame whose checksum stands where TCP and UDP have none: made here, so that the guard sees what it makes of the
    /// frame. A container that says where may choose two bytes, be it in its source address.
    fn outbound_completed(
        &self,
        now: Instant,
        frame: &[u8],
        partial: Partial,
        vni: Vni,
        scratch: &mut Scratch,
        sink: &mut dyn Sink,
    ) {
        let mut whole = std::mem::take(&mut scratch.cut);
        whole.clear();
        whole.extend_from_slice(frame);
        if partial.complete(&mut whole) {
            self.outbound_batched(now, &whole, Offload::default(), vni, scratch, sink);
        } else {
            self.config.drops.count(DropReason::Malformed);
        }
        scratch.cut = whole;
    }

    fn target(&self, frame: &[u8], vni: Vni, scratch: &mut Scratch) -> Result<Target, DropReason> {
        let networks = self.networks.read(scratch.outbox.lane());
        let network = networks.get(&vni).ok_or(DropReason::UnknownDestination)?;
        let destination = network.guard(frame)?;
        if !destination.is_group() {
            let remote = network
                .remote
                .get(&destination)
                .ok_or(DropReason::UnknownDestination)?;
            return Ok(Target::One(Arc::clone(&remote.peer)));
        }
        match network.answer(frame, scratch.reply()) {
            Some(length) => Ok(Target::Answered(length)),
            None => Ok(Target::Many(Arc::clone(&network.members), network.cast.clone())),
        }
    }

    /// Sends a single frame.
    fn to_target(
        &self,
        now: Instant,
        target: &Target,
        outgoing: Outgoing<'_>,
        scratch: &mut Scratch,
        sink: &mut dyn Sink,
    ) {
        match target {
            Target::Answered(length) => sink.frame(outgoing.vni, &scratch.whole[..*length]),
            Target::One(peer) => self.count(self.to_peer(now, peer, outgoing, scratch, sink)),
            Target::Many(peers, cast) => {
                let Outgoing { vni, frame, partial } = outgoing;
                let group = GroupFrame { vni, frame, partial };
                let rest = cast
                    .as_deref()
                    .and_then(|cast| self.along_tree(now, cast, group, scratch, sink));
                for peer in rest.unwrap_or(peers) {
                    self.count(self.forward(now, peer, outgoing, scratch, sink));
                }
            }
        }
    }

    /// Sends the frames that a super-frame stands for.
    fn cut(
        &self,
        now: Instant,
        target: &Target,
        outgoing: Outgoing<'_>,
        gso: Gso,
        scratch: &mut Scratch,
        sink: &mut dyn Sink,
    ) {
        let Some(mut segments) = Segments::new(outgoing.frame, gso, outgoing.partial) else {
            return self.config.drops.count(DropReason::Malformed);
        };
        if let Target::One(peer) = target
            && self.cut_in_place(now, peer, outgoing.vni, &mut segments, scratch, sink)
        {
            return;
        }
        let mut piece = std::mem::take(&mut scratch.cut);
        while let Some(segment) = segments.next() {
            segment.write(&mut piece);
            let outgoing = Outgoing {
                frame: &piece,
                partial: None,
                ..outgoing
            };
            self.to_target(now, target, outgoing, scratch, sink);
        }
        scratch.cut = piece;
    }

    /// Cuts a super-frame where its datagrams are made. False if there is no way that it fits, and nothing was done.
    fn cut_in_place(
        &self,
        now: Instant,
        peer: &Peer,
        vni: Vni,
        segments: &mut Segments<'_>,
        scratch: &mut Scratch,
        sink: &mut dyn Sink,
    ) -> bool {
        let way = peer.way.load();
        let Ok((session, path)) = self.way_out(now, peer, way.as_deref(), sink) else {
            return false;
        };
        if !segments.fit(path.room.saturating_sub(inner::FLAGGED)) {
            return false;
        }
        while let Some(segment) = segments.next() {
            let prefix = Prefix::new(vni, Some(segment.checksum));
            let packet = Packet {
                peer,
                session: &session,
                parts: &[&prefix, segment.headers, segment.payload],
                frame: true,
            };
            self.count(self.send(&packet, &path, &mut scratch.outbox, sink));
        }
        true
    }

    /// Sends a frame to one router; without a session it may wait for one.
    fn to_peer(
        &self,
        now: Instant,
        peer: &Peer,
        outgoing: Outgoing<'_>,
        scratch: &mut Scratch,
        sink: &mut dyn Sink,
    ) -> Result<(), DropReason> {
        let result = self.forward(now, peer, outgoing, scratch, sink);
        match result {
            Err(DropReason::NoSession) if peer.sending(now).is_none() => self.wait(now, peer.id, outgoing),
            result => result,
        }
    }

    /// The session with `peer` and the way to it, if there are both. The control half is told what is wanted.
    fn way_out<'a>(
        &self,
        now: Instant,
        peer: &Peer,
        way: Option<&'a super::peer::Way>,
        sink: &mut dyn Sink,
    ) -> Result<(Arc<Session>, Path<'a>), DropReason> {
        peer.touch(now);
        let found = peer.sending(now).ok_or(DropReason::NoSession);
        let found = found.and_then(|session| Ok((session, self.path(now, peer, way)?)));
        // Traffic over relays is what asks for a direct path; a session used up asks for another.
        let content = |session: &Session, path: &Path<'_>| {
            path.relay.is_none() && session.sealed() < RENEW_AFTER_PACKETS
        };
        let content = matches!(&found, Ok((session, path)) if content(session, path));
        if !content && due(&peer.needed, now, NEED_EVERY) {
            sink.need(peer.id);
        }
        found
    }

    /// Sends a frame to one router.
    pub(super) fn forward(
        &self,
        now: Instant,
        peer: &Peer,
        outgoing: Outgoing<'_>,
        scratch: &mut Scratch,
        sink: &mut dyn Sink,
    ) -> Result<(), DropReason> {
        let Outgoing { vni, frame, partial } = outgoing;
        let way = peer.way.load();
        let (session, path) = self.way_out(now, peer, way.as_deref(), sink)?;
        let prefix = Prefix::new(vni, partial);
        if prefix.len() + frame.len() <= path.room {
            let packet = Packet {
                peer,
                session: &session,
                parts: &[&prefix, frame],
                frame: true,
            };
            return self.send(&packet, &path, &mut scratch.outbox, sink);
        }
        let room = path.room.saturating_sub(prefix.len());
        if let Some(length) = self.too_big(now, peer, frame, room, scratch) {
            sink.frame(vni, &scratch.whole[..length]);
            return Ok(());
        }
        self.split(peer, &session, &path, [&prefix, frame], &mut scratch.outbox, sink)
    }

    /// Sends a plaintext as exactly two datagrams.
    fn split(
        &self,
        peer: &Peer,
        session: &Session,
        path: &Path<'_>,
        [prefix, frame]: [&[u8]; 2],
        outbox: &mut Outbox,
        sink: &mut dyn Sink,
    ) -> Result<(), DropReason> {
        let first = (prefix.len() + frame.len()).div_ceil(2);
        if first + inner::HALF > path.room {
            return Err(DropReason::TooBig);
        }
        // The first half is never shorter than the prefix: a frame that does not fit is longer than that.
        let (head, tail) = frame.split_at(first.saturating_sub(prefix.len()));
        let id = peer.split.fetch_add(1, Ordering::Relaxed);
        let halves = [
            [&inner::half_prefix(id, false)[..], prefix, head],
            [&inner::half_prefix(id, true)[..], tail, &[]],
        ];
        for parts in &halves {
            let packet = Packet {
                peer,
                session,
                parts,
                frame: true,
            };
            self.send(&packet, path, outbox, sink)?;
        }
        Ok(())
    }

    pub(super) fn count(&self, result: Result<(), DropReason>) {
        if let Err(reason) = result {
            self.config.drops.count(reason);
        }
    }
}
