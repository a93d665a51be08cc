//! Which host an address leads to, and from which address packets come there: past translators, or straight.
//!
//! Translators are asked when a packet is sent, not when it gets to them a latency later; packets of two hosts that
//! cross on their way thus find things as the earlier of them left them.

use crate::connection::Connection;
use crate::links::Number;
use crate::nat::{Nat, NatId, NatOptions};
use crate::network::Passage;
use crate::{Class, HostId, World};

use std::net::{IpAddr, SocketAddr};

/// Where a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Way {
    /// The host it comes to.
    pub(crate) host: HostId,
    /// Where it seems to come from there.
    pub(crate) seen: SocketAddr,
}

impl World {
    /// A translator with nobody behind it yet.
    pub fn add_nat(&mut self, options: NatOptions) -> NatId {
        let number = self.nats.len();
        let [.., high, low] = (number as u32 + 1).to_be_bytes();
        // Where networks are measured (RFC 2544): no host is there.
        self.nats
            .push(Nat::new(options, IpAddr::from([198, 18, high, low])));
        NatId(number)
    }

    /// From now on what a host sends passes this translator.
    pub fn put_behind(&mut self, host: HostId, nat: NatId) {
        self.hosts[host.0].nat = Some(nat);
    }

    /// The translator before a host.
    #[must_use]
    pub fn nat(&self, host: HostId) -> Option<NatId> {
        self.hosts[host.0].nat
    }

    /// A translator restarts: all its mappings are gone, what goes out next gets new ports.
    pub fn rebind(&mut self, nat: NatId) {
        self.nats[nat.0].rebind();
        self.note("rebind", [nat.0, 0], &[]);
    }

    /// Whether anybody's first packet comes from one host to the other: that one is behind no translator, or behind
    /// the same. Ports that others opened are left out.
    #[must_use]
    pub fn is_open(&self, from: HostId, to: HostId) -> bool {
        let (own, nat) = (self.hosts[from.0].nat, self.hosts[to.0].nat);
        nat.is_none_or(|nat| own == Some(nat) && !self.nats[nat.0].options.isolated)
    }

    /// Where a packet to an address goes that a host sends now; `None` if nobody gets it. Translators on the way
    /// remember it either way.
    pub(crate) fn way(&mut self, from: HostId, to: SocketAddr) -> Option<Way> {
        let now = self.now();
        let (inside, own) = (self.hosts[from.0].address, self.hosts[from.0].nat);
        let straight = self.host_at(to);
        let is_neighbour = straight.is_some_and(|host| own.is_some() && self.hosts[host.0].nat == own);
        if let Some(host) = straight.filter(|host| is_neighbour && self.is_open(from, *host)) {
            return Some(Way { host, seen: inside });
        }
        let seen = own.map_or(inside, |nat| self.nats[nat.0].outbound(now, inside, to));
        let host = match straight {
            Some(host) => self.hosts[host.0].nat.is_none().then_some(host)?,
            None => {
                let (number, nat) = self.nat_at(to.ip())?;
                if own == Some(number) && !nat.options.hairpin {
                    return None;
                }
                self.host_at(nat.inbound(now, to.port(), seen)?)?
            }
        };
        Some(Way { host, seen })
    }

    /// The host that an address leads to for packets of another, whether they are let in or not.
    pub(crate) fn behind(&self, from: HostId, to: SocketAddr) -> Option<HostId> {
        match self.host_at(to) {
            Some(host) => self.is_open(from, host).then_some(host),
            None => {
                let (_, nat) = self.nat_at(to.ip())?;
                self.host_at(nat.behind(self.now(), to.port())?)
            }
        }
    }

    fn nat_at(&self, outside: IpAddr) -> Option<(NatId, &Nat)> {
        let mut nats = self.nats.iter().enumerate();
        let (number, nat) = nats.find(|(_, nat)| nat.outside == outside)?;
        Some((NatId(number), nat))
    }

    /// What becomes of a packet that one end of a connection sends now. `messages`: how many begin with it.
    pub(crate) fn carry_along(
        &mut self,
        number: Number,
        end: usize,
        size: usize,
        (class, messages): (Class, u64),
    ) -> Option<Passage> {
        let (from, to, remote) = {
            let ends = &self.connections.get(number)?.ends;
            (ends[end].host, ends[1 - end].host, ends[end].remote)
        };
        if self.nats.is_empty() {
            return self.carry(from, to, size, (class, messages));
        }
        let way = self.way(from, remote).filter(|way| way.host == to);
        let connection = self.connections.get(number)?;
        let Some(way) = way.filter(|way| connection.takes_from(end, way.seen)) else {
            self.hosts[from.0].traffic.send(class, messages, 1, size as u64);
            return None;
        };
        let passage = self.carry(from, to, size, (class, messages))?;
        if let Some(connection) = self.connections.get_mut(number).filter(|_| end == 0) {
            connection.ends[1].remote = way.seen;
        }
        Some(passage)
    }

    /// Whether a packet of this end would come to the other.
    pub(crate) fn leads(&mut self, number: Number, end: usize) -> bool {
        let Some(connection) = self.connections.get(number) else {
            return false;
        };
        let (from, to) = (connection.ends[end].host, connection.ends[1 - end].host);
        let remote = connection.ends[end].remote;
        if self.nats.is_empty() {
            return true;
        }
        let way = self.way(from, remote).filter(|way| way.host == to);
        let connection = self.connections.get(number);
        way.zip(connection)
            .is_some_and(|(way, connection)| connection.takes_from(end, way.seen))
    }
}

impl Connection {
    /// Whether what an end sends is taken if it seems to come from that address. A server follows its client to
    /// another address, a client does not follow its server (RFC 9000, section 9).
    fn takes_from(&self, end: usize, seen: SocketAddr) -> bool {
        end == 0 || self.ends[0].remote == seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NatKind;

    /// A host in the open, and two behind one translator.
    fn world(options: NatOptions) -> (World, [HostId; 3], NatId) {
        let mut world = World::new(1);
        let hosts = world.add_hosts(3);
        let nat = world.add_nat(options);
        world.put_behind(hosts[1], nat);
        world.put_behind(hosts[2], nat);
        (world, [hosts[0], hosts[1], hosts[2]], nat)
    }

    #[test]
    fn inside_addresses_lead_nowhere_from_outside() {
        let (mut world, [open, a, b], nat) = world(NatOptions::new(NatKind::FullCone));
        let [to_open, to_a, to_b] = [open, a, b].map(|host| world.address(host));
        assert_eq!(world.way(open, to_a), None);
        assert_eq!(world.way(a, to_b), Some(Way { host: b, seen: to_a }));
        let seen = world.way(a, to_open).unwrap().seen;
        assert_ne!(seen, to_a);
        assert_eq!(
            world.way(open, seen),
            Some(Way {
                host: a,
                seen: to_open
            })
        );
        world.rebind(nat);
        assert_eq!(world.way(open, seen), None);
    }

    #[test]
    fn a_hairpin_is_taken_by_outside_addresses_at_both_ends() {
        let mut options = NatOptions::new(NatKind::PortRestricted);
        options.isolated = true;
        for hairpin in [false, true] {
            options.hairpin = hairpin;
            let (mut world, [open, a, b], _) = world(options);
            let [to_open, to_b] = [open, b].map(|host| world.address(host));
            assert_eq!(world.way(a, to_b), None);
            let seen_a = world.way(a, to_open).unwrap().seen;
            let seen_b = world.way(b, to_open).unwrap().seen;
            // The first packet opens the way for the answer.
            assert_eq!(world.way(a, seen_b), None);
            let answer = world.way(b, seen_a);
            assert_eq!(answer.is_some(), hairpin);
            assert!(answer.is_none_or(|way| way
                == Way {
                    host: a,
                    seen: seen_b
                }));
        }
    }
}
