//! A group datagram's way through a router that is not its source. No step allocates; every refusal is counted.
//!
//! 1. *Parse*, then *authenticate the hop*, as with relayed datagrams: the session with the neighbour it came from,
//!    its relay replay window, one tag over 40 bytes.
//! 2. *Parent*: one table read. Only from the parent in this source's tree, as this router sees it, is anything
//!    taken; for a moment after it changed also from those before ([`super::hold`]). Where this router knows no
//!    place, the control half is told, and asks for one.
//! 3. *Seen*: a member that opened it already passes it on no more, nor does a relay with several parents that had it
//!    from one of them. With one parent none takes a frame more often than its hop limit has steps, however views differ,
//!    and what routers throw at each other ends with that.
//! 4. *Pass on*: for each child a new hop's header, in place. What is inside is neither read nor changed; routers
//!    that are no members hold no key to it.
//! 5. *Open and deliver*: a member opens it in place, checks that the network under the seal is that of the header,
//!    and that it is for a group: whoever has a group's key could have made it, so nothing is learnt from it, and
//!    it reaches no container by its own address.

use super::send::hand_on;
use super::{Branch, Open, TELL_EVERY, TELL_UNKNOWN_EVERY};
use crate::plane::inbound::Hop;
use crate::plane::peer::due;
use crate::plane::session::TagCheck;
use crate::plane::tables::read;
use crate::plane::{Plane, Scratch, Sink};
use crate::wire::GroupHeader;
use crate::wire::inner::{self, Inner};
use mesh::{DropReason, Instant, Mac};
use std::net::SocketAddr;
use std::sync::Arc;

impl Plane {
    /// Takes a group datagram from `from`.
    pub(in crate::plane) fn spread(
        &self,
        now: Instant,
        from: SocketAddr,
        datagram: &mut [u8],
        scratch: &mut Scratch,
        sink: &mut dyn Sink,
    ) -> Result<(), DropReason> {
        let header = GroupHeader::parse(datagram).ok_or(DropReason::Truncated)?;
        let hop = Hop {
            from,
            index: header.index,
            lane: header.lane,
            counter: header.hop_counter,
        };
        let tagged = |check: &TagCheck<'_>| GroupHeader::check(datagram, check);
        let neighbor = self.hop_before(now, &hop, tagged, sink)?;
        let (branch, key) = self.place(now, &header);
        let Some(branch) = branch else {
            if due(&read(&self.groups).told, now, TELL_UNKNOWN_EVERY) {
                sink.tree(header.vni, header.source);
            }
            return Err(DropReason::NotMyParent);
        };
        if !branch.parents.contain(now, &neighbor.peer.id) {
            return Err(DropReason::NotMyParent);
        }
        if due(&branch.told, now, TELL_EVERY) {
            sink.tree(header.vni, header.source);
        }
        match &key {
            Some(key) => key.check(header.counter)?,
            None if branch.parents.is_held(now) && !branch.passed.is_first(&header) => {
                return Err(DropReason::Replayed);
            }
            None => {}
        }
        self.pass_on_group(now, &header, &branch, datagram, scratch, sink);
        match key {
            Some(key) => self.open_group(now, &header, &key, datagram, scratch, sink),
            None if self.is_member(header.vni) => Err(DropReason::UnknownGroupKey),
            None => Ok(()),
        }
    }

    /// This router's place in the tree, and the key if it has it.
    fn place(&self, now: Instant, header: &GroupHeader) -> (Option<Arc<Branch>>, Option<Arc<Open>>) {
        let groups = read(&self.groups);
        let place = (header.source, header.vni);
        let key = groups.keys.get(&place).and_then(|keys| keys.get(header.key));
        (
            groups
                .branches
                .get(&place)
                .filter(|branch| branch.parents.is_any(now))
                .cloned(),
            key.filter(|key| key.usable(now)).cloned(),
        )
    }

    fn pass_on_group(
        &self,
        now: Instant,
        header: &GroupHeader,
        branch: &Branch,
        datagram: &mut [u8],
        scratch: &mut Scratch,
        sink: &mut dyn Sink,
    ) {
        let present = branch.children.present();
        let mut left = branch.children.left(now).peekable();
        if present.is_empty() && left.peek().is_none() {
            return;
        }
        let Some(limit) = header.limit.checked_sub(1) else {
            return self.config.drops.count(DropReason::HopLimit);
        };
        let header = GroupHeader { limit, ..*header };
        for child in present {
            self.count(hand_on(now, header, child, datagram, &mut scratch.outbox, sink));
        }
        for child in left {
            // It may be gone.
            let _ = hand_on(now, header, child, datagram, &mut scratch.outbox, sink);
        }
    }

    fn open_group(
        &self,
        now: Instant,
        header: &GroupHeader,
        key: &Open,
        datagram: &mut [u8],
        scratch: &mut Scratch,
        sink: &mut dyn Sink,
    ) -> Result<(), DropReason> {
        let range = key.open(now, header, datagram)?;
        match inner::parse(&mut datagram[range]) {
            Some(Inner::Frame { vni, partial, frame }) if vni == header.vni && is_to_group(frame) => {
                self.deliver(vni, partial, frame, scratch, sink)
            }
            _ => Err(DropReason::Malformed),
        }
    }
}

fn is_to_group(frame: &[u8]) -> bool {
    frame.first_chunk().is_some_and(|to| Mac(*to).is_group())
}
