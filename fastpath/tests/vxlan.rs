//! The fast path's programs between hosts in namespaces, their tables written by hand: A – R – B, where A and B can't
//! reach each other, and R has no container.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use common::frames::{ethernet, udp4};
use common::{BRIDGE, Host, ip, reaches, skipped, udp};
use fastpath::plan::Fast;
use fastpath::vxlan::{Hop, Local, PROBE_TYPE, ProbeSocket, Switch, Tables};
use fastpath::wire::{self, End, PacketSocket};
use fastpath::{Attachment, NetNs, names};
use mesh::{DropReason, Mac, PeerLabel, Vni};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

const PORT: u16 = 6784;
const NOW: Duration = Duration::ZERO;
const A: PeerLabel = PeerLabel(0x0a01);
const R: PeerLabel = PeerLabel(0x0b02);
const B: PeerLabel = PeerLabel(0x0c03);
const VNI: Vni = Vni::DEFAULT;

/// A host with the fast path, and its tables.
struct Node {
    host: Host,
    tables: Tables,
    label: PeerLabel,
}

impl Node {
    fn new(label: PeerLabel) -> Self {
        let mut host = Host::new();
        let (switch, mut tables) = host
            .netns
            .run(|| Switch::load(&names::vxlan(BRIDGE)))
            .unwrap()
            .unwrap();
        host.kernel.set_switch(switch);
        host.desired.fast = Some(Fast::of_bridge(BRIDGE, VNI, PORT));
        host.converge();
        let local = Local {
            label,
            ..Local::default()
        };
        tables.set_local(&local).unwrap();
        Self { host, tables, label }
    }

    fn hop(&mut self, to: PeerLabel, by: &str, distance: u8) {
        let hop = Hop {
            address: ip(by),
            distance,
            carries: true,
            relays: true,
        };
        self.tables.set_hop(to, Some(hop), NOW).unwrap();
    }

    fn sender(&mut self, address: &str, label: PeerLabel) {
        self.tables.set_sender(ip(address), Some(label)).unwrap();
    }

    fn drops(&mut self, reason: DropReason) -> u64 {
        self.host.counter(reason)
    }
}

fn wire(left: &NetNs, right: &NetNs, names: (&str, &str), addresses: (&str, &str)) {
    let (left, right) = (
        End {
            netns: left,
            ifname: names.0,
        },
        End {
            netns: right,
            ifname: names.1,
        },
    );
    wire::connect(left, right, 1500).unwrap();
    for (end, address) in [(left, addresses.0), (right, addresses.1)] {
        let prefix = if address.contains(':') { 64 } else { 24 };
        wire::add_address(end, ip(address), prefix).unwrap();
    }
}

/// A – R – B, with one container at A and one at B.
struct Line {
    a: Node,
    r: Node,
    b: Node,
    left: NetNs,
    right: NetNs,
    at_left: Attachment,
    at_right: Attachment,
}

const V4: [&str; 4] = ["192.0.2.1", "192.0.2.2", "198.51.100.2", "198.51.100.1"];
const V6: [&str; 4] = ["fd01::1", "fd01::2", "fd02::2", "fd02::1"];

impl Line {
    fn new() -> Self {
        Self::over(V4)
    }

    /// `[at A, at R towards A, at R towards B, at B]`
    fn over([at_a, r_a, r_b, at_b]: [&str; 4]) -> Self {
        let (mut a, mut r, mut b) = (Node::new(A), Node::new(R), Node::new(B));
        wire(&a.host.netns, &r.host.netns, ("to-r", "to-a"), (at_a, r_a));
        wire(&r.host.netns, &b.host.netns, ("to-b", "to-r"), (r_b, at_b));
        let (left, right) = (
            NetNs::create_anonymous().unwrap(),
            NetNs::create_anonymous().unwrap(),
        );
        let at_left = a.host.attach(&left, "eth0", &["10.1.0.1/16", "fd00:1::1/64"]);
        let at_right = b.host.attach(&right, "eth0", &["10.1.0.2/16", "fd00:1::2/64"]);
        a.hop(R, r_a, 1);
        a.hop(B, r_a, 2);
        r.hop(A, at_a, 1);
        r.hop(B, at_b, 1);
        b.hop(R, r_b, 1);
        b.hop(A, r_b, 2);
        a.sender(r_a, R);
        r.sender(at_a, A);
        r.sender(at_b, B);
        b.sender(r_b, R);
        // Otherwise made alike: each host counts its containers from one.
        assert_eq!(at_left.mac, at_right.mac);
        let mut line = Self {
            a,
            r,
            b,
            left,
            right,
            at_left,
            at_right,
        };
        line.renumber();
        line
    }

    /// Gives the right container a MAC address of its own, and tells both ends of both.
    fn renumber(&mut self) {
        self.at_right.mac = Mac([2, 0xb, 0xb, 0xb, 0, 1]);
        self.b.host.desired.attachments[0].mac = self.at_right.mac;
        self.b.host.converge();
        for node in [&mut self.a, &mut self.b] {
            let here = node.label == A;
            node.tables.set_mac(VNI, self.at_left.mac, A, here).unwrap();
            node.tables.set_mac(VNI, self.at_right.mac, B, !here).unwrap();
        }
        // Nobody answers ARP here: sleeve is not there.
        for (netns, address, mac) in [
            (&self.left, "10.1.0.2", self.at_right.mac),
            (&self.left, "fd00:1::2", self.at_right.mac),
            (&self.right, "10.1.0.1", self.at_left.mac),
            (&self.right, "fd00:1::1", self.at_left.mac),
        ] {
            wire::add_neighbour(
                End {
                    netns,
                    ifname: "eth0",
                },
                ip(address),
                mac,
            )
            .unwrap();
        }
    }

    fn passes(&self) -> bool {
        reaches((&self.left, ip("10.1.0.1")), (&self.right, ip("10.1.0.2")))
            && reaches((&self.left, ip("fd00:1::1")), (&self.right, ip("fd00:1::2")))
    }

    fn no_drops(&mut self) {
        for node in [&mut self.a, &mut self.r, &mut self.b] {
            let drops: Vec<_> = node.host.kernel_counters();
            let vxlan = drops
                .iter()
                .filter(|(reason, _)| reason.name().starts_with("vxlan"));
            assert!(vxlan.clone().all(|(_, count)| *count == 0), "{drops:?}");
        }
    }
}

#[test]
fn frames_go_over_a_relay_s_kernel_and_over_no_router() {
    if skipped() {
        return;
    }
    for addresses in [V4, V6] {
        let mut line = Line::over(addresses);
        assert!(line.passes());
        line.no_drops();
        for node in [&line.a, &line.r, &line.b] {
            let unicast = node
                .host
                .tap_frames()
                .into_iter()
                .filter(|frame| frame[0] & 1 == 0);
            assert_eq!(unicast.count(), 0, "a frame came to a router");
        }
    }
}
