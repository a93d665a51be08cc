//! Addresses at which another router may answer.

use crate::message::MAX_CANDIDATES;
use std::net::{IpAddr, SocketAddr};

/// Most addresses kept that authenticated probes came from.
const MAX_HEARD: usize = 4;

/// The addresses known of one router, by where they are known from.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    /// The other end of a link.
    pub neighbor: Option<SocketAddr>,
    /// From its own message.
    told: Vec<SocketAddr>,
    /// That message came inside the session.
    told_inside: bool,
    /// From its record.
    recorded: Vec<SocketAddr>,
    /// Where its probes came from, newest last.
    heard: Vec<SocketAddr>,
}

impl Candidates {
    /// Takes addresses from the router's own message. `inside`: it came inside the session; such addresses are not
    /// replaced by those of a message that anybody on the way could have made up.
    pub(super) fn set_told(&mut self, addresses: Vec<SocketAddr>, inside: bool) {
        if inside || !self.told_inside {
            self.told = usable(addresses);
            self.told_inside = inside;
        }
    }

    /// Takes addresses from the router's record.
    pub(super) fn set_recorded(&mut self, addresses: Vec<SocketAddr>) {
        self.recorded = usable(addresses);
    }

    /// An authenticated probe came from `address`. True if that is news.
    pub(super) fn hear(&mut self, address: SocketAddr) -> bool {
        if self.neighbor == Some(address) || self.heard.contains(&address) {
            return false;
        }
        self.heard.push(address);
        if self.heard.len() > MAX_HEARD {
            self.heard.remove(0);
        }
        true
    }

    /// All of them, best first, each once, at most [`MAX_CANDIDATES`].
    pub(super) fn all(&self) -> Vec<SocketAddr> {
        let mut all: Vec<SocketAddr> = Vec::new();
        let groups = [&self.heard, &self.told, &self.recorded];
        for &address in self.neighbor.iter().chain(groups.into_iter().flatten()) {
            if !all.contains(&address) && all.len() < MAX_CANDIDATES {
                all.push(address);
            }
        }
        all
    }
}

/// Addresses that others claim are probed only if they can be some router's: this keeps probes from this host's
/// own services and from whole networks.
fn usable(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let fits = |address: &SocketAddr| address.port() != 0 && is_host(address.ip());
    addresses
        .into_iter()
        .map(canonical)
        .filter(fits)
        .take(MAX_CANDIDATES)
        .collect()
}

fn is_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            !(v4.is_unspecified()
                || v4.is_loopback()
                || v4.is_multicast()
                || v4.is_broadcast()
                || v4.is_link_local())
        }
        // Link-local ones mean nothing without the interface.
        IpAddr::V6(v6) => {
            !(v6.is_unspecified() || v6.is_loopback() || v6.is_multicast() || v6.is_unicast_link_local())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn only_hosts_are_probed_on_hearsay() {
        let mut candidates = Candidates::default();
        candidates.set_told(
            addresses(&[
                "127.0.0.1:1",
                "[::1]:1",
                "224.0.0.1:1",
                "255.255.255.255:1",
                "0.0.0.0:1",
                "192.0.2.1:0",
                "[fe80::1]:1",
                "[::ffff:127.0.0.1]:1",
                "[::ffff:192.0.2.9]:1",
            ]),
            true,
        );
        candidates.set_told(addresses(&["192.0.2.66:1"]), false);
        assert_eq!(candidates.all(), addresses(&["192.0.2.9:1"]));
    }

    #[test]
    fn the_link_comes_first_and_nothing_twice() {
        let mut candidates = Candidates::default();
        candidates.set_recorded(addresses(&["192.0.2.1:1", "192.0.2.2:1"]));
        candidates.set_told(addresses(&["192.0.2.2:1", "192.0.2.3:1"]), false);
        candidates.neighbor = Some("192.0.2.1:1".parse().unwrap());
        assert!(candidates.hear("192.0.2.4:1".parse().unwrap()));
        assert!(!candidates.hear("192.0.2.4:1".parse().unwrap()));
        let expected = ["192.0.2.1:1", "192.0.2.4:1", "192.0.2.2:1", "192.0.2.3:1"];
        assert_eq!(candidates.all(), addresses(&expected));
    }

    #[test]
    fn the_list_is_bounded() {
        let many: Vec<_> = (1..60)
            .map(|port| SocketAddr::new([192, 0, 2, 1].into(), port))
            .collect();
        let mut candidates = Candidates::default();
        candidates.set_told(many.clone(), true);
        candidates.set_recorded(
            many.iter()
                .map(|a| SocketAddr::new([192, 0, 2, 2].into(), a.port()))
                .collect(),
        );
        for address in many {
            candidates.hear(SocketAddr::new([192, 0, 2, 3].into(), address.port()));
        }
        assert_eq!(candidates.all().len(), MAX_CANDIDATES);
    }
}
