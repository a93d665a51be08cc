//! No key seals two datagrams under one nonce: AES-GCM and ChaCha20-Poly1305 are broken by the second.
//!
//! A key shows on the wire as its sender, the receiver, and the receiver's index for the session. (Each receiver draws
//! its indices at random, so the three together are told apart.) What was sealed under a nonce shows as its tag: the
//! same datagram may come by again, for a relay that repairs a path may send it back through its source, long after
//! others.

use crate::{HostId, Violation, World};
use mesh::ShortId;
use sleeve::wire::DataHeader;
use sleeve::wire::relay::RelayHeader;
use std::collections::HashMap;
use std::net::SocketAddr;

/// A key as it shows on the wire.
type Key = (HostId, ShortId, u32, u8);

/// The half of a tag that is kept.
type Tag = [u8; 8];

/// Nonces beyond the next one that a sender may skip. It counts; a packet that could not be sent leaves a gap.
const MOST_SKIPPED: usize = 1 << 16;

/// Each key's nonces so far, and what was sealed under each.
#[derive(Debug, Default)]
pub(crate) struct Nonces {
    seen: HashMap<Key, Vec<Option<Tag>>>,
    /// Who was last found at an address, by who sent there.
    found: HashMap<(HostId, SocketAddr), ShortId>,
}

impl Nonces {
    /// Takes note of a sealed datagram. False if its nonce was used for another one.
    fn take(&mut self, from: HostId, to: ShortId, header: &DataHeader, datagram: &[u8]) -> bool {
        // The tag depends on all that was sealed.
        let end = datagram.len().saturating_sub(sleeve::wire::TAG);
        let tag = datagram.get(end..).and_then(|tag| tag.first_chunk()).copied();
        let key = (from, to, header.index, header.lane);
        let seen = self.seen.entry(key).or_default();
        let Some(at) = usize::try_from(header.counter)
            .ok()
            .filter(|at| *at < seen.len() + MOST_SKIPPED)
        else {
            return false;
        };
        if at >= seen.len() {
            seen.resize(at + 1, None);
        }
        match seen[at] {
            Some(before) => Some(before) == tag,
            None => {
                seen[at] = tag;
                true
            }
        }
    }
}

impl World {
    /// A router sends a datagram to an address, where it comes to `to` if that leads anywhere: what it sealed itself,
    /// directly or to be relayed, has a nonce of its own.
    pub(crate) fn look_for_nonce(
        &mut self,
        host: HostId,
        address: SocketAddr,
        to: Option<HostId>,
        datagram: &[u8],
    ) {
        let (sealed, to) = match RelayHeader::parse(datagram) {
            Ok(relay) if relay.source == self.id(host).short() => (
                datagram.get(relay.length()..).unwrap_or_default(),
                relay.destination,
            ),
            Ok(_) => return,
            Err(_) => (datagram, self.receiver(host, address, to)),
        };
        let Some(header) = DataHeader::parse(sealed) else {
            return;
        };
        if !self.nonces.take(host, to, &header, sealed) {
            let at = self.now();
            self.violated(Violation::NonceTwice { host, at });
        }
    }

    /// Whom an address stands for. One that leads nowhere any more stands for whom it led to before.
    fn receiver(&mut self, from: HostId, address: SocketAddr, to: Option<HostId>) -> ShortId {
        let to = to.map(|to| self.id(to).short());
        let found = self
            .nonces
            .found
            .entry((from, address))
            .or_insert(ShortId([0; 8]));
        *found = to.unwrap_or(*found);
        *found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sleeve::wire::data;

    fn datagram(index: u32, counter: u64, last: u8) -> (DataHeader, Vec<u8>) {
        let header = DataHeader {
            plain: false,
            relayed: false,
            lane: 0,
            index,
            counter,
        };
        let mut bytes = header.bytes().to_vec();
        bytes.resize(data::SHORTEST, last);
        (header, bytes)
    }

    #[test]
    fn a_nonce_is_used_once_under_each_key() {
        let mut nonces = Nonces::default();
        let mut take_to = |to: u8, host, index, counter, last| {
            let (header, bytes) = datagram(index, counter, last);
            nonces.take(HostId(host), ShortId([to; 8]), &header, &bytes)
        };
        // Another key: another receiver.
        assert!(take_to(1, 7, 7, 1, 0) && take_to(2, 7, 7, 1, 9));
        let mut take = |host, index, counter, last| take_to(0, host, index, counter, last);
        assert!(take(1, 7, 0, 0) && take(1, 7, 1, 0) && take(1, 7, 5, 0));
        // Another key: another session, another sender.
        assert!(take(1, 8, 0, 3) && take(2, 7, 0, 3));
        // The same datagram again is nothing new, however late; another one is.
        assert!(take(1, 7, 1, 0) && take(1, 7, 0, 0));
        assert!(!take(1, 7, 1, 9) && !take(1, 7, 0, 9));
        // A nonce that was skipped was not used.
        assert!(take(1, 7, 3, 9) && !take(1, 7, 3, 8));
        assert!(!take(1, 7, 1 << 40, 0), "a counter counts");
    }

    #[test]
    fn what_a_router_sends_is_looked_at() {
        let mut world = World::new(1);
        let hosts = world.add_hosts(2);
        let to = world.address(hosts[1]);
        // The last one is sent after the other host has moved away.
        let sent = [(0, 0, Some(hosts[1])), (1, 1, Some(hosts[1])), (2, 2, None)];
        for (last, violations, there) in sent {
            world.look_for_nonce(hosts[0], to, there, &datagram(7, 3, last).1);
            assert_eq!(world.violations().len(), violations);
        }
    }
}
