//! A relayed datagram's way through a router.
//!
//! 1. *Parse*: fixed offsets; nothing is allocated.
//! 2. *Authenticate the hop*: one table read for the session with the neighbour it came from, its relay replay
//!    window, one tag over at most 75 bytes.
//! 3. *At the destination*: what is inside goes the way of [`super::inbound`].
//! 4. *At a relay*: one array lookup from label to neighbour, the header rewritten in place, one new tag. What is
//!    inside is neither read nor changed.

use super::inbound::Arrival;
use super::seal::stamp;
use super::tables::read;
use super::{Plane, Scratch, Sink};
use crate::Via;
use crate::wire::relay::{Invalid, RelayHeader};
use crate::wire::size;
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
        let (session, neighbor) = self.lookup(now, header.index).ok_or(DropReason::UnknownSession)?;
        session.hop_check(header.counter, |check| header.check(datagram, check))?;
        self.news(now, Via::Direct(from), &session, &neighbor, sink);
        match header.next() {
            Some(label) => self.pass_on(now, header, label, datagram, sink),
            None if header.destination != self.config.id.short() => Err(DropReason::Malformed),
            None => {
                let arrival = Arrival {
                    via: Via::Relayed,
                    source: Some(header.source),
                };
                self.open(now, arrival, &mut datagram[header.length()..], scratch, sink)
            }
        }
    }

    fn pass_on(
        &self,
        now: Instant,
        header: RelayHeader,
        label: LinkLabel,
        datagram: &mut [u8],
        sink: &mut dyn Sink,
    ) -> Result<(), DropReason> {
        let limit = header.limit.checked_sub(1).ok_or(DropReason::HopLimit)?;
        let neighbor = read(&self.labels).get(usize::from(label.0)).cloned().flatten();
        let neighbor = neighbor.ok_or(DropReason::UnknownLabel)?;
        let direct = neighbor.direct.load();
        let direct = direct.as_ref().ok_or(DropReason::NoRoute)?;
        let session = neighbor.sending(now).ok_or(DropReason::NoSession)?;
        if datagram.len() + size::outer(direct.address) > usize::from(direct.mtu) {
            return Err(DropReason::TooBig);
        }
        stamp(
            RelayHeader {
                limit,
                cursor: header.cursor + 1,
                ..header
            },
            &session,
            datagram,
        )?;
        sink.datagram(direct.address, datagram);
        Ok(())
    }
}
