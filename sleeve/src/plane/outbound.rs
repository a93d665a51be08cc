//! A frame's way from a container to the network.
//!
//! 1. *Guard*: under one read lock, the sender's port is looked up by the frame's MAC address, and the frame read
//!    as far as its transport header. What a container may not send ends here.
//! 2. *Local answers*: only for frames to a group address: one lookup for those that ask for a neighbour.
//! 3. *Lookup*: under the same lock; the destination's entry, or those of all members for a group address.
//!    Unknown unicast ends here. In large networks the frame goes [along the tree](super::group) instead, and the
//!    steps that follow are for those members only that the tree does not reach.
//! 4. *Session and route*: atomic loads. Without either the control half is told (once a second). There is no frame
//!    without a session: one to a single router may wait for it, others are dropped.
//! 5. *Fit*: compares lengths. A frame too big is answered for, or split in two.
//! 6. *Seal*: one copy into the thread's buffer, one AEAD pass over it; relayed ones a second, short tag.
//! 7. *Send*: the sink.

use super::group::Cast;
use super::group::send::GroupFrame;
use super::peer::{Peer, due};
use super::seal::{Packet, Path};
use super::session::Session;
use super::tables::read;
use super::{Plane, Scratch, Sink};
use crate::sessions::RENEW_AFTER_PACKETS;
use crate::wire::inner;
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

impl Plane {
    /// Takes an Ethernet frame that a container in network `vni` sent. What can't be sent is counted.
    pub fn outbound(&self, now: Instant, frame: &[u8], vni: Vni, scratch: &mut Scratch, sink: &mut dyn Sink) {
        match self.target(frame, vni, scratch) {
            Ok(Target::Answered(length)) => sink.frame(vni, &scratch.whole[..length]),
            Ok(Target::One(peer)) => self.count(self.to_peer(now, &peer, vni, frame, scratch, sink)),
            Ok(Target::Many(peers, cast)) => {
                let group = GroupFrame { vni, frame };
                let rest = cast
                    .as_deref()
                    .and_then(|cast| self.along_tree(now, cast, group, scratch, sink));
                for peer in rest.unwrap_or(&peers) {
                    self.count(self.forward(now, peer, vni, frame, scratch, sink));
                }
            }
            Err(reason) => self.config.drops.count(reason),
        }
    }

    fn target(&self, frame: &[u8], vni: Vni, scratch: &mut Scratch) -> Result<Target, DropReason> {
        let networks = read(&self.networks);
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

    /// Sends a frame to one router; without a session it may wait for one.
    fn to_peer(
        &self,
        now: Instant,
        peer: &Peer,
        vni: Vni,
        frame: &[u8],
        scratch: &mut Scratch,
        sink: &mut dyn Sink,
    ) -> Result<(), DropReason> {
        let result = self.forward(now, peer, vni, frame, scratch, sink);
        match result {
            Err(DropReason::NoSession) if peer.sending(now).is_none() => self.wait(now, peer.id, vni, frame),
            result => result,
        }
    }

    /// Sends a frame to one router.
    pub(super) fn forward(
        &self,
        now: Instant,
        peer: &Peer,
        vni: Vni,
        frame: &[u8],
        scratch: &mut Scratch,
        sink: &mut dyn Sink,
    ) -> Result<(), DropReason> {
        peer.touch(now);
        let way = peer.way.load();
        let found = peer.sending(now).ok_or(DropReason::NoSession);
        let found = found.and_then(|session| Ok((session, self.path(now, peer, way.as_deref())?)));
        // Traffic over relays is what asks for a direct path; a session used up asks for another.
        let content = |session: &Session, path: &Path<'_>| {
            path.relay.is_none() && session.sealed() < RENEW_AFTER_PACKETS
        };
        let content = matches!(&found, Ok((session, path)) if content(session, path));
        if !content && due(&peer.needed, now, NEED_EVERY) {
            sink.need(peer.id);
        }
        let (session, path) = found?;
        let prefix = inner::frame_prefix(vni);
        if prefix.len() + frame.len() <= path.room {
            let packet = Packet {
                peer,
                session: &session,
                parts: &[&prefix, frame],
                frame: true,
            };
            return self.send(&packet, &path, &mut scratch.out, sink);
        }
        let room = path.room.saturating_sub(prefix.len());
        if let Some(length) = self.too_big(now, peer, frame, room, scratch) {
            sink.frame(vni, &scratch.whole[..length]);
            return Ok(());
        }
        self.split(peer, &session, &path, [&prefix, frame], &mut scratch.out, sink)
    }

    /// Sends a plaintext as exactly two datagrams.
    fn split(
        &self,
        peer: &Peer,
        session: &Session,
        path: &Path<'_>,
        [prefix, frame]: [&[u8]; 2],
        out: &mut Vec<u8>,
        sink: &mut dyn Sink,
    ) -> Result<(), DropReason> {
        let first = (prefix.len() + frame.len()).div_ceil(2);
        if first + inner::HALF > path.room {
            return Err(DropReason::TooBig);
        }
        // The first half is never shorter than the prefix: a frame that does not fit is longer than that.
        let (head, tail) = frame.split_at(first.saturating_sub(prefix.len()));
        let id = peer.split.fetch_add(1, Ordering::Relaxed);
        let half = |second| inner::half_prefix(id, second);
        let parts: &[&[u8]] = &[&half(false), prefix, head];
        self.send(
            &Packet {
                peer,
                session,
                parts,
                frame: true,
            },
            path,
            out,
            sink,
        )?;
        let parts: &[&[u8]] = &[&half(true), tail];
        self.send(
            &Packet {
                peer,
                session,
                parts,
                frame: true,
            },
            path,
            out,
            sink,
        )
    }

    pub(super) fn count(&self, result: Result<(), DropReason>) {
        if let Err(reason) = result {
            self.config.drops.count(reason);
        }
    }
}
