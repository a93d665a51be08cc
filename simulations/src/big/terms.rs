//! What holds for all hosts while the world runs, and how a host makes something happen elsewhere.

use super::event::{Connection, Event, What};
use crate::{HostId, Profile};
use mesh::{Mac, PeerId};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

const PORT: u16 = 6783;
/// A wire carries 100 Mb/s: so many bits in a microsecond.
const RATE: u64 = 100;

/// The same for all threads, and for the whole of a run.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) seed: u64,
    pub(super) hosts: u32,
    pub(super) profile: Profile,
    /// On which side of the cut each host is; empty while there is none.
    pub(super) sides: Vec<bool>,
    /// The one wire that is whole all the same.
    pub(super) bridge: Option<(u32, u32)>,
    /// The hosts note when they hear of this address.
    pub(super) watched: Option<Mac>,
    /// As `--max-links`; `None`: as the core has it unless told otherwise.
    pub(super) max_links: Option<usize>,
    /// Whose addresses routers give out; `None`: they have nothing to do with addresses.
    pub(super) addresses: Option<mesh::ipam::Settings>,
    /// Whether routers dial addresses found in records.
    pub(super) discovery: bool,
    /// How many disks each host has lost, if any: each had another identity on it.
    pub(super) lost: BTreeMap<u32, u32>,
    /// Records do not pass, nor what routers ask each other about them.
    pub(super) holds_records: bool,
}

impl Terms {
    pub(super) fn is_cut(&self, a: u32, b: u32) -> bool {
        let (Some(of_a), Some(of_b)) = (self.sides.get(a as usize), self.sides.get(b as usize)) else {
            return false;
        };
        of_a != of_b && self.bridge != Some((a.min(b), a.max(b)))
    }

    /// One way, in microseconds.
    pub(super) fn delay(&self, a: u32, b: u32) -> u64 {
        micros(self.profile.latency(HostId(a as usize), HostId(b as usize))).max(self.least())
    }

    /// No wire is shorter.
    pub(super) fn least(&self) -> u64 {
        micros(self.profile.least()).max(1)
    }

    /// A router's identity: its host says nothing about the order among them.
    pub(super) fn id(&self, host: u32) -> PeerId {
        let hash = Sha256::new().chain_update(self.seed.to_le_bytes());
        let hash = hash.chain_update(host.to_le_bytes());
        let lost = self.lost.get(&host).map(|lost| lost.to_le_bytes());
        PeerId(
            hash.chain_update(lost.as_ref().map_or(&[][..], |lost| lost))
                .finalize()
                .into(),
        )
    }

    /// The host with that address.
    pub(super) fn host_at(&self, address: &SocketAddr) -> Option<u32> {
        let IpAddr::V4(ip) = address.ip() else {
            return None;
        };
        let [_, b, c, d] = ip.octets();
        let host = u32::from_be_bytes([0, b, c, d]).checked_sub(1)?;
        (host < self.hosts && address.port() == PORT).then_some(host)
    }
}

/// A host's address. It has a second one, for when it shall tell of another.
pub(super) fn address(host: u32, second: bool) -> SocketAddr {
    let [_, b, c, d] = (host + 1).to_be_bytes();
    SocketAddr::new(IpAddr::from([if second { 11 } else { 10 }, b, c, d]), PORT)
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The time it takes to put so many bytes on the wire, in microseconds.
pub(super) fn wire_time(bytes: u64) -> u64 {
    bytes * 8 / RATE
}

/// How a host makes something happen: here later, or elsewhere.
pub(super) struct Reach<'a> {
    pub(super) now: u64,
    pub(super) terms: &'a Terms,
    pub(super) from: u32,
    pub(super) sequence: &'a mut u64,
    pub(super) planned: &'a mut Vec<Event>,
}

impl Reach<'_> {
    pub(super) fn plan(&mut self, at: u64, to: u32, on: Connection, what: What) {
        *self.sequence += 1;
        self.planned.push(Event {
            at,
            to,
            from: self.from,
            sequence: *self.sequence,
            on,
            what,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_name_hosts() {
        let terms = Terms {
            seed: 1,
            hosts: 70_000,
            profile: Profile::Plane {
                least: Duration::from_micros(500),
                most: Duration::from_millis(100),
                seed: 1,
            },
            sides: vec![true, false, true],
            bridge: Some((1, 2)),
            watched: None,
            max_links: None,
            addresses: None,
            discovery: true,
            lost: BTreeMap::new(),
            holds_records: false,
        };
        for host in [0, 1, 255, 256, 69_999] {
            assert_eq!(terms.host_at(&address(host, false)), Some(host));
            assert_eq!(terms.host_at(&address(host, true)), Some(host));
        }
        assert_eq!(terms.host_at(&address(70_000, false)), None);
        assert!(terms.is_cut(0, 1) && !terms.is_cut(0, 2) && !terms.is_cut(2, 1));
        assert_eq!(wire_time(1250), 100);
    }
}
