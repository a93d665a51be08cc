//! No key seals two datagrams under one nonce: AES-GCM and ChaCha20-Poly1305 are broken by the second.
//!
//! A key shows on the wire as its sender and the receiver's index for the session, which is drawn at random. Each
//! sender counts its nonces up, so the last one is all that has to be kept.

use crate::{HostId, Violation, World};
use sleeve::wire::DataHeader;
use sleeve::wire::relay::RelayHeader;
use std::collections::BTreeMap;

/// A key as it shows on the wire.
type Key = (HostId, u32, u8);

/// The last nonce seen under each key, and what was sealed with it.
#[derive(Debug, Default)]
pub(crate) struct Nonces {
    last: BTreeMap<Key, (u64, Vec<u8>)>,
}

impl Nonces {
    /// Takes note of a sealed datagram. False if its nonce was used before.
    fn take(&mut self, host: HostId, header: &DataHeader, datagram: &[u8]) -> bool {
        // The tag depends on all that was sealed.
        let tag = datagram
            .last_chunk::<{ sleeve::wire::TAG }>()
            .map_or(&[][..], |tag| tag);
        match self.last.get_mut(&(host, header.index, header.lane)) {
            Some((counter, _)) if header.counter < *counter => false,
            Some((counter, before)) if header.counter == *counter => before.as_slice() == tag,
            Some(last) => {
                *last = (header.counter, tag.to_vec());
                true
            }
            None => {
                let last = (header.counter, tag.to_vec());
                self.last.insert((host, header.index, header.lane), last);
                true
            }
        }
    }
}

impl World {
    /// A router sends a datagram: what it sealed itself, directly or to be relayed, has a nonce of its own.
    pub(crate) fn look_for_nonce(&mut self, host: HostId, datagram: &[u8]) {
        let own = self.id(host).short();
        let sealed = match RelayHeader::parse(datagram) {
            Ok(relay) if relay.source == own => datagram.get(relay.length()..).unwrap_or_default(),
            Ok(_) => return,
            Err(_) => datagram,
        };
        let Some(header) = DataHeader::parse(sealed) else {
            return;
        };
        if !self.nonces.take(host, &header, sealed) {
            let at = self.now();
            self.violated(Violation::NonceTwice { host, at });
        }
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
        let mut take = |host, index, counter, last| {
            let (header, bytes) = datagram(index, counter, last);
            nonces.take(HostId(host), &header, &bytes)
        };
        assert!(take(1, 7, 0, 0) && take(1, 7, 1, 0));
        // Another key: another session, another sender.
        assert!(take(1, 8, 0, 0) && take(2, 7, 0, 0));
        // The same datagram again is nothing new; another one, or going back, is.
        assert!(take(1, 7, 1, 0));
        assert!(!take(1, 7, 1, 9));
        assert!(!take(1, 7, 0, 0));
    }

    #[test]
    fn what_a_router_sends_is_looked_at() {
        let mut world = World::new(1);
        let host = world.add_host();
        for (last, violations) in [(0, 0), (1, 1)] {
            world.look_for_nonce(host, &datagram(7, 3, last).1);
            assert_eq!(world.violations().len(), violations);
        }
    }
}
