//! The underlay: switches, wires, and what a firewall on the way does.

use super::{Host, run_in};
use fastpath::NetNs;
use fastpath::wire::{self, End};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A network of the underlay: `10.N.0.0/24` and `fd0N::/64`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(pub u8);

impl Network {
    pub fn v4(self, number: u8) -> IpAddr {
        Ipv4Addr::new(10, self.0, 0, number).into()
    }

    pub fn v6(self, number: u8) -> IpAddr {
        Ipv6Addr::new(0xfd00 + u16::from(self.0), 0, 0, 0, 0, 0, 0, number.into()).into()
    }

    /// The interface by which hosts are on this network.
    pub fn ifname(self) -> String {
        format!("net{}", self.0)
    }

    /// Gives a host its IPv4 address on this network.
    pub fn address_v4(self, netns: &NetNs, number: u8) {
        let ifname = self.ifname();
        let at = End {
            netns,
            ifname: &ifname,
        };
        wire::add_address(at, self.v4(number), 24).unwrap();
    }

    /// Gives a host its addresses on this network.
    pub fn address(self, netns: &NetNs, number: u8) {
        let ifname = self.ifname();
        let at = End {
            netns,
            ifname: &ifname,
        };
        wire::add_address(at, self.v4(number), 24).unwrap();
        wire::add_address(at, self.v6(number), 64).unwrap();
    }
}

/// A bridge in a namespace of its own.
pub struct Switch {
    pub netns: NetNs,
}

impl Switch {
    pub fn new() -> Self {
        let netns = NetNs::create_anonymous().unwrap();
        wire::switch(End {
            netns: &netns,
            ifname: "switch",
        })
        .unwrap();
        Self { netns }
    }

    /// Plugs a host in, with addresses that end in `number`.
    pub fn plug(&self, host: &Host, network: Network, number: u8) {
        self.plug_bare(host, network);
        network.address(&host.netns, number);
        host.note_address(network, number);
    }

    /// Plugs a host in, without addresses.
    pub fn plug_bare(&self, host: &Host, network: Network) {
        let (ifname, port) = (network.ifname(), format!("p{}-{}", network.0, host.name));
        wire::connect(
            End {
                netns: &host.netns,
                ifname: &ifname,
            },
            End {
                netns: &self.netns,
                ifname: &port,
            },
            1500,
        )
        .unwrap();
        wire::plug(
            End {
                netns: &self.netns,
                ifname: "switch",
            },
            &port,
        )
        .unwrap();
    }
}

/// Lays a wire between two hosts; `left` gets the addresses that end in 1, `right` those in 2.
pub fn wire(network: Network, left: &Host, right: &Host) {
    let ifname = network.ifname();
    let end = |host| End {
        netns: host,
        ifname: &ifname,
    };
    wire::connect(end(&left.netns), end(&right.netns), 1500).unwrap();
    for (host, number) in [(left, 1), (right, 2)] {
        network.address(&host.netns, number);
        host.note_address(network, number);
    }
}

/// Makes a host deaf to all packets from another, or hear it again.
pub struct Deaf<'a>(&'a Host);

impl Host {
    /// Drops what comes from `other` before anything sees it.
    pub fn deafen<'a>(&'a self, other: &Host) -> Deaf<'a> {
        let mut rules =
            "add table inet deaf\nadd chain inet deaf in { type filter hook prerouting priority -300; }\n"
                .to_owned();
        for address in other.addresses() {
            let family = if address.is_ipv4() { "ip" } else { "ip6" };
            rules += &format!("add rule inet deaf in {family} saddr {address} drop\n");
        }
        self.nft(&rules);
        Deaf(self)
    }

    /// Applies firewall rules in the host's namespace.
    pub fn nft(&self, rules: &str) {
        let file = self.dir.join("rules.nft");
        std::fs::write(&file, rules).unwrap();
        run_in(&self.netns, "nft", &["-f", file.to_str().unwrap()]).ok();
    }
}

impl Drop for Deaf<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.0.nft("delete table inet deaf\n");
        }
    }
}
