//! A group frame's way out of its source, along the tree.
//!
//! 1. *May it*: there is a key that all have whom the tree reaches, and they are all members still.
//! 2. *Can it*: each child has a session and a direct path, and the frame fits the tree's narrowest link. If not,
//!    every member gets a copy of this frame: a source decides that for each frame as a whole.
//! 3. *Seal*: once for all members.
//! 4. *Send*: for each child a hop's header and tag in front of the same bytes.

use super::{Cast, Plan};
use crate::outbox::Outbox;
use crate::plane::peer::{Peer, due};
use crate::plane::session::Session;
use crate::plane::{Plane, Scratch, Sink};
use crate::wire::inner::Partial;
use crate::wire::{GroupHeader, TAG, group, inner, size};
use mesh::{DropReason, Instant, Vni};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// How often the control half is told that a tree is used.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// A frame for all members of a network.
#[derive(Clone, Copy)]
pub(in crate::plane) struct GroupFrame<'a> {
    pub vni: Vni,
    pub frame: &'a [u8],
    pub partial: Option<Partial>,
}

impl Plane {
    /// Sends a frame along this router's tree. Returns the members that are to get copies of it besides; `None`:
    /// nothing was sent, and all are.
    pub(in crate::plane) fn along_tree<'a>(
        &self,
        now: Instant,
        cast: &'a Cast,
        group: GroupFrame<'_>,
        scratch: &mut Scratch,
        sink: &mut dyn Sink,
    ) -> Option<&'a [Arc<Peer>]> {
        let plan = &cast.plan;
        if due(&plan.told, now, TELL_EVERY) {
            sink.group(group.vni);
        }
        let seal = plan.seal.as_ref().filter(|seal| cast.fits && seal.usable(now))?;
        let prefix = inner::Prefix::new(group.vni, group.partial);
        if !plan.carries(now, prefix.len() + group.frame.len()) {
            return None;
        }
        let Scratch {
            group: out, outbox, ..
        } = scratch;
        out.clear();
        out.resize(group::LENGTH, 0);
        out.extend_from_slice(&prefix);
        out.extend_from_slice(group.frame);
        let header = GroupHeader {
            limit: plan.limit,
            lane: 0,
            index: 0,
            hop_counter: 0,
            source: self.config.id.short(),
            vni: group.vni,
            key: seal.id,
            counter: 0,
        };
        let header = seal.seal(header, out)?;
        for child in plan.children.present() {
            self.count(hand_on(now, header, child, out, outbox, sink));
        }
        for child in plan.children.left(now) {
            // It may be gone.
            let _ = hand_on(now, header, child, out, outbox, sink);
        }
        Some(&cast.rest)
    }
}

impl Plan {
    /// True if a plaintext of `length` bytes can be sent to every child now and fits all links behind them.
    fn carries(&self, now: Instant, length: usize) -> bool {
        length <= size::group_room(self.mtu)
            && self
                .children
                .present()
                .iter()
                .all(|child| hop(now, child, group::LENGTH + length + TAG).is_ok())
    }
}

/// How a datagram of `length` bytes gets to a neighbour.
fn hop(now: Instant, child: &Peer, length: usize) -> Result<(SocketAddr, Arc<Session>), DropReason> {
    let direct = child.direct.load();
    let direct = direct.as_ref().ok_or(DropReason::NoRoute)?;
    let session = child.sending(now).ok_or(DropReason::NoSession)?;
    if length + size::outer(direct.address) > usize::from(direct.mtu) {
        return Err(DropReason::TooBig);
    }
    Ok((direct.address, session))
}

/// Sends a sealed group datagram to one child, under a new header of this hop.
pub(super) fn hand_on(
    now: Instant,
    header: GroupHeader,
    child: &Peer,
    datagram: &mut [u8],
    outbox: &mut Outbox,
    sink: &mut dyn Sink,
) -> Result<(), DropReason> {
    let (address, session) = hop(now, child, datagram.len())?;
    let lane = outbox.lane();
    let (hop_counter, keys) = session.next_relay(lane)?;
    let header = GroupHeader {
        lane,
        index: session.their_index,
        hop_counter,
        ..header
    };
    if !header.write_hop(datagram, |bytes| keys.relay_tag(hop_counter, bytes)) {
        return Err(DropReason::NoSession);
    }
    outbox.push(address, datagram, sink);
    Ok(())
}
