//! A relayed datagram's way through a router.
//!
//! 1. *Parse*: fixed offsets; nothing is allocated.
//! 2. *Authenticate the hop*: one array read for the session with the neighbour it came from, its relay replay
//!    window, one tag over the header and 16 bytes.
//! 3. *At the destination*: what is inside goes the way of [`super::inbound`].
//! 4. *At a relay*: one array lookup from label to neighbour, what changes in the header rewritten in place, one new
//!    tag. What is inside is neither read nor changed. If that neighbour can't be reached, or if the path goes on
//!    behind its last label, [`super::repair`] writes another path.

use super::inbound::{Arrival, Hop};
use super::seal::{hop, stamp};
use super::{Plane, Scratch, Sink};
use crate::Via;
use crate::wire::relay::{Invalid, RelayHeader};
use mesh::{DropReason, Instant, LinkLabel};
use std::net::SocketAddr;

impl Plane {
    /// Takes a relayed datagram from `from`.
    pub(super) fn relay(
        &self,
        now: Instant,
        from: SocketAddr,
        datagram: &mut [u8],
        scratch: &mut Scratch,
        sink: &mut dyn Sink,
    ) -> Result<(), DropReason> {
        let header = RelayHeader::parse(datagram).map_err(|invalid| match invalid {
            Invalid::Truncated => DropReason::Truncated,
            Invalid::Malformed => DropReason::Garbage,
        })?;
        let hop = Hop {
            from,
            index: header.index,
            lane: header.lane,
            counter: header.counter,
        };
        self.hop_before(now, &hop, |check| header.check(datagram, check), sink)?;
        match header.next() {
            Some(label) => self.pass_on(now, header, label, datagram, scratch, sink),
            None if header.destination == self.config.id.short() => {
                let arrival = Arrival {
                    via: Via::Relayed,
                    source: Some(header.source),
                };
                self.open(now, arrival, &mut datagram[header.length()..], scratch, sink)
            }
            None => {
                let rest = header.rest.ok_or(DropReason::Malformed)?;
                let way = self.next_part(now, &counted(header)?, rest)?;
                way.send(datagram, scratch, sink)
            }
        }
    }

    fn pass_on(
        &self,
        now: Instant,
        header: RelayHeader,
        label: LinkLabel,
        datagram: &mut [u8],
        scratch: &mut Scratch,
        sink: &mut dyn Sink,
    ) -> Result<(), DropReason> {
        let header = counted(header)?;
        let neighbor = self.labels.load().get(usize::from(label.0)).cloned().flatten();
        let neighbor = neighbor.ok_or(DropReason::UnknownLabel)?;
        let hop = match hop(now, &neighbor) {
            Ok(hop) if !hop.direct.doubtful => hop,
            // A way is better than none, but none is no reason not to try.
            Ok(hop) => {
                let way = self.detour(now, &header, &neighbor);
                if way.and_then(|way| way.send(datagram, scratch, sink)).is_ok() {
                    return Ok(());
                }
                hop
            }
            Err(_) => {
                return self
                    .detour(now, &header, &neighbor)?
                    .send(datagram, scratch, sink);
            }
        };
        hop.fits(datagram)?;
        let header = RelayHeader {
            cursor: header.cursor + 1,
            ..header
        };
        stamp(header, &hop.session, scratch.outbox.lane(), |header, tag| {
            header.write_step(datagram, tag)
        })?;
        scratch.outbox.push(hop.direct.address, datagram, sink);
        Ok(())
    }
}

/// The header with this relay counted.
fn counted(header: RelayHeader) -> Result<RelayHeader, DropReason> {
    let limit = header.limit.checked_sub(1).ok_or(DropReason::HopLimit)?;
    Ok(RelayHeader { limit, ..header })
}
