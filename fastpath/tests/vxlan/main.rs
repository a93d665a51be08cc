//! The fast path's programs between hosts in namespaces, their tables written by hand: A – R – B, where A and B can't
//! reach each other, and R has no container.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;

mod forged;
mod groups;
mod life;
mod model;
mod networks;
mod ways;

use common::frames::{arp, ethernet, udp4};
use common::{BRIDGE, Host, MTU, ip, raw, reaches, skipped};
use fastpath::plan::Fast;
use fastpath::vxlan::{Hop, Local, PROBE_TYPE, Switch, Tables};
use fastpath::wire::{self, End};
use fastpath::{Attachment, Desired, NetNs, NetNsRef, Tap, converge, names};
use mesh::{DropReason, Mac, PeerLabel, Vni};
use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

pub(crate) const PORT: u16 = 6784;
pub(crate) const NOW: Duration = Duration::ZERO;
pub(crate) const A: PeerLabel = PeerLabel(0x0a01);
pub(crate) const R: PeerLabel = PeerLabel(0x0b02);
pub(crate) const B: PeerLabel = PeerLabel(0x0c03);
pub(crate) const VNI: Vni = Vni::DEFAULT;
pub(crate) const OTHER_VNI: Vni = Vni(77);

/// A host with the fast path, and its tables.
pub(crate) struct Node {
    pub(crate) host: Host,
    pub(crate) tables: Tables,
    pub(crate) label: PeerLabel,
}

impl Node {
    pub(crate) fn new(label: PeerLabel) -> Self {
        let mut host = Host::new();
        let (switch, mut tables) = host.netns.run(|| Switch::load(BRIDGE)).unwrap().unwrap();
        host.kernel.set_switch(switch);
        host.desired.fast = Some(Fast::of_bridge(BRIDGE, VNI, PORT));
        host.converge();
        tables.set_local(&Local::new(label)).unwrap();
        Self { host, tables, label }
    }

    pub(crate) fn hop(&mut self, to: PeerLabel, by: &str, distance: u8) {
        let hop = Hop {
            address: ip(by),
            distance,
            carries: true,
            relays: true,
        };
        self.tables.set_hop(to, Some(hop), NOW).unwrap();
    }

    pub(crate) fn sender(&mut self, address: &str, label: PeerLabel) {
        self.tables.set_sender(ip(address), Some(label)).unwrap();
    }

    pub(crate) fn drops(&mut self, reason: DropReason) -> u64 {
        self.host.counter(reason)
    }
}

pub(crate) fn wire(left: &NetNs, right: &NetNs, names: (&str, &str), addresses: (&str, &str)) {
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
pub(crate) struct Line {
    pub(crate) a: Node,
    pub(crate) r: Node,
    pub(crate) b: Node,
    pub(crate) left: NetNs,
    pub(crate) right: NetNs,
    pub(crate) at_left: Attachment,
    pub(crate) at_right: Attachment,
}

pub(crate) const V4: [&str; 4] = ["192.0.2.1", "192.0.2.2", "198.51.100.2", "198.51.100.1"];
pub(crate) const V6: [&str; 4] = ["fd01::1", "fd01::2", "fd02::2", "fd02::1"];

impl Line {
    pub(crate) fn new() -> Self {
        Self::over(V4)
    }

    /// `[at A, at R towards A, at R towards B, at B]`
    pub(crate) fn over([at_a, r_a, r_b, at_b]: [&str; 4]) -> Self {
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
    pub(crate) fn renumber(&mut self) {
        self.at_right.mac = Mac([2, 0xb, 0xb, 0xb, 0, 1]);
        self.b.host.desired.attachments[0].mac = self.at_right.mac;
        self.b.host.converge();
        for node in [&mut self.a, &mut self.b] {
            let here = node.label == A;
            let (mac, label) = if here {
                (self.at_right.mac, B)
            } else {
                (self.at_left.mac, A)
            };
            node.tables.set_mac(VNI, mac, label).unwrap();
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

    pub(crate) fn passes(&self) -> bool {
        reaches((&self.left, ip("10.1.0.1")), (&self.right, ip("10.1.0.2")))
            && reaches((&self.left, ip("fd00:1::1")), (&self.right, ip("fd00:1::2")))
    }

    pub(crate) fn no_drops(&mut self) {
        for node in [&mut self.a, &mut self.r, &mut self.b] {
            let drops: Vec<_> = node.host.kernel_counters();
            let vxlan = drops
                .iter()
                .filter(|(reason, _)| reason.name().starts_with("vxlan"));
            assert!(vxlan.clone().all(|(_, count)| *count == 0), "{drops:?}");
        }
    }
}

/// Bytes after the UDP header: flags, label, network, frame.
pub(crate) fn packet(flags: [u8; 2], label: PeerLabel, vni: Vni, frame: &[u8]) -> Vec<u8> {
    let mut bytes = flags.to_vec();
    bytes.extend(label.0.to_be_bytes());
    bytes.extend(&vni.0.to_be_bytes()[1..]);
    bytes.push(0);
    bytes.extend(frame);
    bytes
}

/// Sends what anybody who may send UDP can send.
pub(crate) fn inject(from: &NetNs, source: &str, to: &str, ttl: u32, bytes: &[u8]) {
    let socket = from.run(|| UdpSocket::bind((ip(source), 0))).unwrap().unwrap();
    socket.set_ttl(ttl).unwrap();
    socket.send_to(bytes, (ip(to), PORT)).unwrap();
}

/// The counter, once it is not `before` any more, or after a while.
pub(crate) fn counted(node: &mut Node, reason: DropReason, before: u64) -> u64 {
    for _ in 0..50 {
        if node.drops(reason) != before {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    node.drops(reason)
}
