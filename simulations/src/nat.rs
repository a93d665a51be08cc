//! Address translators (NATs) between hosts and the rest of the world, in the terms of RFC 4787.
//!
//! A translator maps what its hosts send to its own address and a port; whether the same port serves all destinations
//! is its mapping behaviour, who may send to that port its filtering behaviour. Which translator a packet passes is
//! the business of `ways`.

use mesh::Instant;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// A mapping ends after so long without a packet from inside. RFC 4787, requirement 5, asks for two minutes; many
/// translators do half a minute.
pub(crate) const NAT_TIMEOUT: Duration = Duration::from_secs(30);
/// Ports are given out from here on.
const FIRST_PORT: u16 = 20_000;

/// A translator, by its number in the order of making.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NatId(pub usize);

/// How a translator maps and filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NatKind {
    /// Endpoint-independent mapping and filtering: one port per inside address, which lets everybody in.
    FullCone,
    /// Endpoint-independent mapping, address-dependent filtering: lets in whoever was sent to, from any of his ports.
    Restricted,
    /// Endpoint-independent mapping, address- and port-dependent filtering: lets in only from where was sent to.
    PortRestricted,
    /// Address- and port-dependent mapping and filtering: a port for each destination, which lets in only that.
    Symmetric,
}

/// How a translator is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NatOptions {
    /// How it maps and filters.
    pub kind: NatKind,
    /// Whether hosts behind it reach each other by their outside addresses.
    pub hairpin: bool,
    /// Whether hosts behind it can't reach each other by their inside addresses, as behind a provider's.
    pub isolated: bool,
    /// After how long without a packet from inside a mapping ends.
    pub timeout: Duration,
}

impl NatOptions {
    /// One without hairpinning, on whose inside all reach each other.
    #[must_use]
    pub fn new(kind: NatKind) -> Self {
        Self {
            kind,
            hairpin: false,
            isolated: false,
            timeout: NAT_TIMEOUT,
        }
    }
}

/// A translator at work.
#[derive(Debug)]
pub(crate) struct Nat {
    pub(crate) options: NatOptions,
    pub(crate) outside: IpAddr,
    next_port: u16,
    /// Ports by inside address and, if each destination has its own, that.
    ports: BTreeMap<(SocketAddr, Option<SocketAddr>), u16>,
    mappings: BTreeMap<u16, Mapping>,
}

#[derive(Debug)]
struct Mapping {
    inside: SocketAddr,
    /// When something was last sent.
    used: Instant,
    /// To whom something was sent, and when last.
    sent_to: BTreeMap<SocketAddr, Instant>,
}

impl Nat {
    pub(crate) fn new(options: NatOptions, outside: IpAddr) -> Self {
        Self {
            options,
            outside,
            next_port: FIRST_PORT,
            ports: BTreeMap::new(),
            mappings: BTreeMap::new(),
        }
    }

    /// A packet leaves: the address from which it goes on.
    pub(crate) fn outbound(&mut self, now: Instant, inside: SocketAddr, to: SocketAddr) -> SocketAddr {
        self.expire(now);
        let key = (inside, (self.options.kind == NatKind::Symmetric).then_some(to));
        let port = match self.ports.get(&key) {
            Some(port) => *port,
            None => self.free_port(),
        };
        self.ports.insert(key, port);
        let mapping = self.mappings.entry(port).or_insert_with(|| Mapping {
            inside,
            used: now,
            sent_to: BTreeMap::new(),
        });
        mapping.used = now;
        mapping.sent_to.insert(to, now);
        SocketAddr::new(self.outside, port)
    }

    /// The inside address behind a port, whoever may reach it.
    pub(crate) fn behind(&self, now: Instant, port: u16) -> Option<SocketAddr> {
        let mapping = self.mappings.get(&port)?;
        (now.since(mapping.used) < self.options.timeout).then_some(mapping.inside)
    }

    /// A packet comes to a port: where it goes inside, if it is let in.
    pub(crate) fn inbound(&self, now: Instant, port: u16, from: SocketAddr) -> Option<SocketAddr> {
        let inside = self.behind(now, port)?;
        let lasts = |sent: &Instant| now.since(*sent) < self.options.timeout;
        let mut sent_to = self.mappings.get(&port)?.sent_to.iter();
        let is_let_in = match self.options.kind {
            NatKind::FullCone => true,
            NatKind::Restricted => sent_to.any(|(to, sent)| to.ip() == from.ip() && lasts(sent)),
            NatKind::PortRestricted | NatKind::Symmetric => {
                sent_to.any(|(to, sent)| *to == from && lasts(sent))
            }
        };
        is_let_in.then_some(inside)
    }

    /// Forgets everything, as after a restart: what goes out next gets new ports.
    pub(crate) fn rebind(&mut self) {
        self.ports.clear();
        self.mappings.clear();
    }

    /// A port that is not in use; the next in turn, so that an old one does not come back soon.
    fn free_port(&mut self) -> u16 {
        loop {
            let port = self.next_port;
            self.next_port = port.checked_add(1).unwrap_or(FIRST_PORT);
            // A host has a few thousand destinations at most, so there always is one.
            if !self.mappings.contains_key(&port) {
                return port;
            }
        }
    }

    fn expire(&mut self, now: Instant) {
        let timeout = self.options.timeout;
        let before = self.mappings.len();
        self.mappings
            .retain(|_, mapping| now.since(mapping.used) < timeout);
        if self.mappings.len() < before {
            let mappings = &self.mappings;
            self.ports.retain(|_, port| mappings.contains_key(port));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSIDE: &str = "10.0.0.2:6783";

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn nat(kind: NatKind) -> Nat {
        Nat::new(NatOptions::new(kind), address("198.18.0.1:1").ip())
    }

    #[test]
    fn each_kind_maps_and_filters_as_its_name_says() {
        let (inside, to) = (address(INSIDE), address("192.0.2.1:6783"));
        let (same_host, other) = (address("192.0.2.1:9"), address("192.0.2.2:6783"));
        for (kind, expected) in [
            (NatKind::FullCone, [true, true, true]),
            (NatKind::Restricted, [true, true, false]),
            (NatKind::PortRestricted, [true, false, false]),
            (NatKind::Symmetric, [true, false, false]),
        ] {
            let (mut nat, now) = (nat(kind), Instant(0));
            let outside = nat.outbound(now, inside, to);
            assert_eq!(outside, nat.outbound(now, inside, to));
            let let_in = [to, same_host, other].map(|from| nat.inbound(now, outside.port(), from).is_some());
            assert_eq!(let_in, expected, "{kind:?}");
            let second = nat.outbound(now, inside, other);
            assert_eq!(second == outside, kind != NatKind::Symmetric, "{kind:?}");
            assert_eq!(nat.inbound(now, second.port(), other), Some(inside));
        }
    }

    #[test]
    fn two_hosts_never_share_a_port() {
        let mut nat = nat(NatKind::FullCone);
        let to = address("192.0.2.1:6783");
        let first = nat.outbound(Instant(0), address(INSIDE), to);
        assert_ne!(nat.outbound(Instant(0), address("10.0.0.3:6783"), to), first);
    }

    #[test]
    fn mappings_end_and_are_forgotten() {
        let (inside, to) = (address(INSIDE), address("192.0.2.1:6783"));
        let mut nat = nat(NatKind::FullCone);
        let first = nat.outbound(Instant(0), inside, to);
        let used = Instant(20_000_000);
        assert_eq!(nat.outbound(used, inside, to), first);
        let after = |seconds| used + Duration::from_secs(seconds);
        assert_eq!(nat.inbound(after(29), first.port(), to), Some(inside));
        assert_eq!(nat.inbound(after(31), first.port(), to), None);
        let second = nat.outbound(after(31), inside, to);
        assert_ne!(second, first);
        nat.rebind();
        assert_eq!(nat.behind(after(31), second.port()), None);
        assert_ne!(nat.outbound(after(31), inside, to), second);
    }

    /// A mapping that is kept alive by one destination keeps no other one's way in open.
    #[test]
    fn who_was_not_sent_to_for_long_is_not_let_in() {
        let (inside, to, other) = (address(INSIDE), address("192.0.2.1:1"), address("192.0.2.2:1"));
        let mut nat = nat(NatKind::PortRestricted);
        let port = nat.outbound(Instant(0), inside, other).port();
        nat.outbound(Instant(20_000_000), inside, to);
        let now = Instant(35_000_000);
        assert_eq!(nat.inbound(now, port, to), Some(inside));
        assert_eq!(nat.inbound(now, port, other), None);
    }
}
