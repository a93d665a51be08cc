//! The fast path's programs between hosts in namespaces, their tables written by hand: A – R – B, where A and B can't
//! reach each other, and R has no container.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use common::frames::{arp, ethernet, udp4};
use common::{BRIDGE, Host, MTU, ip, raw, reaches, skipped};
use fastpath::plan::Fast;
use fastpath::vxlan::{Hop, Local, PROBE_TYPE, Switch, Tables};
use fastpath::wire::{self, End};
use fastpath::{Attachment, Desired, NetNs, NetNsRef, Tap, converge, names};
use mesh::{DropReason, Mac, PeerLabel, Vni};
use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

const PORT: u16 = 6784;
const NOW: Duration = Duration::ZERO;
const A: PeerLabel = PeerLabel(0x0a01);
const R: PeerLabel = PeerLabel(0x0b02);
const B: PeerLabel = PeerLabel(0x0c03);
const VNI: Vni = Vni::DEFAULT;
const OTHER_VNI: Vni = Vni(77);

/// A host with the fast path, and its tables.
struct Node {
    host: Host,
    tables: Tables,
    label: PeerLabel,
}

impl Node {
    fn new(label: PeerLabel) -> Self {
        let mut host = Host::new();
        let (switch, mut tables) = host.netns.run(|| Switch::load(BRIDGE)).unwrap().unwrap();
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

/// Bytes after the UDP header: flags, label, network, frame.
fn packet(flags: [u8; 2], label: PeerLabel, vni: Vni, frame: &[u8]) -> Vec<u8> {
    let mut bytes = flags.to_vec();
    bytes.extend(label.0.to_be_bytes());
    bytes.extend(&vni.0.to_be_bytes()[1..]);
    bytes.push(0);
    bytes.extend(frame);
    bytes
}

/// Sends what anybody who may send UDP can send.
fn inject(from: &NetNs, source: &str, to: &str, ttl: u32, bytes: &[u8]) {
    let socket = from.run(|| UdpSocket::bind((ip(source), 0))).unwrap().unwrap();
    socket.set_ttl(ttl).unwrap();
    socket.send_to(bytes, (ip(to), PORT)).unwrap();
}

#[test]
fn what_is_forged_is_dropped_and_counted() {
    if skipped() {
        return;
    }
    const LABELLED: [u8; 2] = [0x88, 0];
    let mut line = Line::new();
    let eth0 = raw(&line.right, "eth0");
    let to_r = End {
        netns: &line.a.host.netns,
        ifname: "to-r",
    };
    wire::add_address(to_r, ip("192.0.2.9"), 24).unwrap();
    let (left, right) = (line.at_left.mac, line.at_right.mac);
    let payload = udp4(
        (Ipv4Addr::new(10, 1, 0, 1), 5),
        (Ipv4Addr::new(10, 1, 0, 2), 6),
        b"forged",
    );
    let frame = ethernet(right, left, 0x0800, &payload);
    let to_b = packet(LABELLED, B, VNI, &frame);
    let [at_a, r_a, r_b, at_b] = V4;
    let a = line.a.host.netns.clone();
    let r = line.r.host.netns.clone();
    let at_relay: [(&str, DropReason, &str, u32, Vec<u8>); 8] = [
        (
            "a stranger",
            DropReason::VxlanUnknownSource,
            "192.0.2.9",
            64,
            to_b.clone(),
        ),
        (
            "a label of nobody",
            DropReason::VxlanUnknownLabel,
            at_a,
            64,
            packet(LABELLED, PeerLabel(9), VNI, &frame),
        ),
        (
            "back to where it came from",
            DropReason::VxlanLoop,
            at_a,
            64,
            packet(LABELLED, A, VNI, &frame),
        ),
        ("too far", DropReason::VxlanHopLimit, at_a, 31, to_b.clone()),
        (
            "no label",
            DropReason::VxlanNoLabel,
            at_a,
            64,
            packet([0x08, 0], B, VNI, &frame),
        ),
        (
            "a group's",
            DropReason::VxlanNoLabel,
            at_a,
            64,
            packet([0x88, 0x08], B, VNI, &frame),
        ),
        (
            "label zero",
            DropReason::VxlanNoLabel,
            at_a,
            64,
            packet(LABELLED, PeerLabel(0), VNI, &frame),
        ),
        (
            "not attached",
            DropReason::VxlanNotAttached,
            at_a,
            64,
            packet(LABELLED, R, VNI, &frame),
        ),
    ];
    for (what, reason, source, ttl, bytes) in at_relay {
        let before = line.r.drops(reason);
        inject(&a, source, r_a, ttl, &bytes);
        assert_eq!(counted(&mut line.r, reason, before), before + 1, "{what}");
    }
    let spoofed = ethernet(right, right, 0x0800, &payload);
    let probe = ethernet(right, left, PROBE_TYPE, b"WPB1");
    let at_end = [
        (
            "another network",
            DropReason::VxlanNotAttached,
            Vni(2),
            &frame[..],
        ),
        ("one of B's own", DropReason::VxlanSpoofed, VNI, &spoofed),
        ("a probe cut short", DropReason::VxlanTruncated, Vni(0), &probe),
    ];
    for (what, reason, vni, frame) in at_end {
        let before = line.b.drops(reason);
        inject(&r, r_b, at_b, 64, &packet(LABELLED, B, vni, frame));
        assert_eq!(counted(&mut line.b, reason, before), before + 1, "{what}");
    }
    let mut buffer = [0; 2048];
    while let Ok(length) = eth0.receive(&mut buffer) {
        assert!(!buffer[..length].ends_with(b"forged"), "something came through");
    }
    // The kernel sees to what ends within the headers: nothing follows from it.
    for length in [0, 4, 7, 8, 9, 21] {
        inject(&a, at_a, r_a, 64, &to_b[..length]);
    }
    // The same, but right: it is not the test that loses them.
    inject(&a, at_a, r_a, 64, &to_b);
    let mut came = false;
    while let Ok(length) = eth0.receive(&mut buffer) {
        came |= buffer[..length].ends_with(b"forged");
    }
    assert!(came && line.passes());
}

/// The counter, once it is not `before` any more, or after a while.
fn counted(node: &mut Node, reason: DropReason, before: u64) -> u64 {
    for _ in 0..50 {
        if node.drops(reason) != before {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    node.drops(reason)
}

#[test]
fn a_way_that_is_not_proven_is_no_way() {
    if skipped() {
        return;
    }
    let mut line = Line::new();
    let hop = |carries, relays| Hop {
        address: ip(V4[3]),
        distance: 1,
        carries,
        relays,
    };
    line.r.tables.set_hop(B, Some(hop(true, false)), NOW).unwrap();
    let before = line.r.drops(DropReason::VxlanUnproven);
    assert!(!reaches(
        (&line.left, ip("10.1.0.1")),
        (&line.right, ip("10.1.0.2"))
    ));
    assert_eq!(line.r.drops(DropReason::VxlanUnproven), before + 1);
    line.r.tables.set_hop(B, Some(hop(false, true)), NOW).unwrap();
    assert!(line.passes());
    // At the source: what does not take the fast path comes to the router.
    let towards_r = Hop {
        address: ip(V4[1]),
        distance: 2,
        carries: false,
        relays: true,
    };
    line.a.tables.set_hop(B, Some(towards_r), NOW).unwrap();
    line.a.host.tap_frames();
    assert!(!reaches(
        (&line.left, ip("10.1.0.1")),
        (&line.right, ip("10.1.0.2"))
    ));
    let unicast = |frame: &Vec<u8>| frame[..6] == line.at_right.mac.0;
    assert!(line.a.host.tap_frames().iter().any(unicast));
    // And what the router delivers comes to the container.
    let eth0 = raw(&line.left, "eth0");
    let payload = udp4(
        (Ipv4Addr::new(10, 1, 0, 2), 5),
        (Ipv4Addr::new(10, 1, 0, 1), 6),
        b"by sleeve",
    );
    let frame = ethernet(line.at_left.mac, line.at_right.mac, 0x0800, &payload);
    line.a.host.tap.as_ref().unwrap().write(&frame).unwrap();
    let mut buffer = [0; 2048];
    let mut came = false;
    while let Ok(length) = eth0.receive(&mut buffer) {
        came |= buffer[..length] == frame[..];
    }
    assert!(came);
}

/// A second network on a host, whose container has the very addresses of the first's.
fn second_network(node: &mut Node, like: &Attachment, netns: &NetNs) -> (Tap, Desired) {
    const SECOND: &str = "weftb";
    let tap = node
        .host
        .netns
        .run(|| Tap::create(&names::tap(SECOND), MTU))
        .unwrap()
        .unwrap();
    let netns = NetNsRef {
        path: netns.path(),
        inode: netns.inode(),
    };
    let mut attachment = Attachment::new(SECOND, netns, "eth0", like.addresses.clone(), [0; 6]);
    attachment.mac = like.mac;
    let first = node.host.desired.fast.clone().unwrap();
    let desired = Desired {
        bridge: SECOND.to_owned(),
        bridge_mac: None,
        mtu: MTU,
        tap: names::tap(SECOND),
        fast: Some(first.of_network(SECOND, OTHER_VNI)),
        attachments: vec![attachment],
    };
    assert!(converge(&mut node.host.kernel, &desired).unwrap().is_reached());
    (tap, desired)
}

#[test]
fn networks_with_the_same_addresses_do_not_meet() {
    if skipped() {
        return;
    }
    let mut line = Line::new();
    let (left, right) = (
        NetNs::create_anonymous().unwrap(),
        NetNs::create_anonymous().unwrap(),
    );
    let _left = second_network(&mut line.a, &line.at_left, &left);
    let _right = second_network(&mut line.b, &line.at_right, &right);
    // What each network's containers say, and what comes to whom.
    let words: [(&NetNs, &NetNs, &[u8]); 2] =
        [(&line.left, &line.right, b"first"), (&left, &right, b"second")];
    let heard = |netns| raw(netns, "eth0");
    let both = [heard(&line.right), heard(&right)];
    let say = |from: &NetNs, word: &[u8]| {
        let payload = udp4(
            (Ipv4Addr::new(10, 1, 0, 1), 5),
            (Ipv4Addr::new(10, 1, 0, 2), 6),
            word,
        );
        let frame = ethernet(line.at_right.mac, line.at_left.mac, 0x0800, &payload);
        raw(from, "eth0").send(&frame).unwrap();
    };
    let came = |socket: &wire::PacketSocket, word: &[u8]| {
        let (mut buffer, mut count) = ([0; 2048], 0);
        while let Ok(length) = socket.receive(&mut buffer) {
            count += usize::from(buffer[..length].ends_with(word));
        }
        count
    };
    // The second network is not known to the programs yet: nothing comes anywhere.
    say(&left, b"second");
    assert_eq!([came(&both[0], b"second"), came(&both[1], b"second")], [0, 0]);
    for node in [&mut line.a, &mut line.b] {
        let here = node.label == A;
        let (mac, label) = if here {
            (line.at_right.mac, B)
        } else {
            (line.at_left.mac, A)
        };
        node.tables.set_mac(OTHER_VNI, mac, label).unwrap();
    }
    for (from, _, word) in words {
        for _ in 0..100 {
            say(from, word);
        }
    }
    let counts = both.each_ref().map(|socket| {
        let (mut buffer, mut counts) = ([0; 2048], [0, 0]);
        while let Ok(length) = socket.receive(&mut buffer) {
            for (count, (_, _, word)) in counts.iter_mut().zip(words) {
                let frame = &buffer[..length];
                // What the container answers, that nobody listens, ends with it too.
                *count += usize::from(frame.ends_with(word) && frame.starts_with(&line.at_right.mac.0));
            }
        }
        counts
    });
    assert_eq!(counts, [[100, 0], [0, 100]]);
    line.no_drops();
}

#[test]
fn the_next_run_s_tables_hold_what_the_last_left() {
    if skipped() {
        return;
    }
    let mut line = Line::new();
    assert!(line.passes());
    let (hops, senders) = (line.b.tables.hops(), line.b.tables.senders());
    let mut macs = line.b.tables.macs();
    macs.sort_unstable();
    assert_eq!((hops.len(), senders.len(), macs.len()), (2, 1, 1));
    // The router is gone with all it held; what hangs in the kernel carries on.
    let netns = line.b.host.netns.clone();
    line.b.host.tap = None;
    line.b.host.kernel = fastpath::Linux::in_netns(netns.clone());
    assert!(line.passes());
    let (switch, tables) = netns.run(|| Switch::load(BRIDGE)).unwrap().unwrap();
    let mut again = tables.macs();
    again.sort_unstable();
    assert_eq!((tables.hops(), tables.senders(), again), (hops, senders, macs));
    line.b.host.kernel.load_guard().unwrap();
    line.b.host.kernel.set_switch(switch);
    let tap = netns
        .run(|| Tap::create(&names::tap(BRIDGE), MTU))
        .unwrap()
        .unwrap();
    tap.set_nonblocking(true).unwrap();
    line.b.host.tap = Some(tap);
    line.b.tables = tables;
    let report = line.b.host.converge();
    assert!(report.done > 0);
    assert!(line.passes());
    line.b.tables.set_hop(A, None, NOW).unwrap();
    assert!(
        !reaches((&line.left, ip("10.1.0.1")), (&line.right, ip("10.1.0.2"))),
        "the new tables count"
    );
}

#[test]
fn frames_change_overlay_at_a_gap_or_when_it_is_time() {
    if skipped() {
        return;
    }
    let mut line = Line::new();
    let eth0 = raw(&line.left, "eth0");
    let frame = ethernet(line.at_right.mac, line.at_left.mac, 0x0800, &{
        udp4(
            (Ipv4Addr::new(10, 1, 0, 1), 5),
            (Ipv4Addr::new(10, 1, 0, 2), 6),
            b"flow",
        )
    });
    let hop = Hop {
        address: ip(V4[1]),
        distance: 2,
        carries: true,
        relays: true,
    };
    let to_sleeve = |line: &Line| {
        let frames = line.a.host.tap_frames();
        frames.iter().filter(|frame| frame.ends_with(b"flow")).count()
    };
    // Another way in the place of one that carries: there is nothing to wait for.
    line.a
        .tables
        .set_hop(B, Some(hop), Duration::from_secs(100))
        .unwrap();
    for _ in 0..100 {
        eth0.send(&frame).unwrap();
    }
    assert_eq!(to_sleeve(&line), 0, "it was on the fast path already");
    // A flow without a gap: for some time it stays where it is.
    line.a.tables.set_hop(B, None, Duration::ZERO).unwrap();
    line.a
        .tables
        .set_hop(B, Some(hop), Duration::from_secs(100))
        .unwrap();
    for _ in 0..1000 {
        eth0.send(&frame).unwrap();
    }
    let stayed = to_sleeve(&line);
    // A pause of the machine is a gap as well.
    assert!(stayed > 0, "none stayed");
    std::thread::sleep(Duration::from_millis(20));
    for _ in 0..100 {
        eth0.send(&frame).unwrap();
    }
    assert_eq!(to_sleeve(&line), 0, "after a gap it moved");
    line.a
        .tables
        .set_hop(B, Some(hop), Duration::from_millis(1))
        .unwrap();
    std::thread::sleep(Duration::from_millis(20));
    eth0.send(&frame).unwrap();
    assert_eq!(to_sleeve(&line), 0, "when it was time it moved");
}

#[test]
fn relays_that_contradict_each_other_drop_what_they_would_pass_round() {
    if skipped() {
        return;
    }
    const X: PeerLabel = PeerLabel(1);
    const Y: PeerLabel = PeerLabel(2);
    const Z: PeerLabel = PeerLabel(3);
    const FAR: PeerLabel = PeerLabel(4);
    let (mut x, mut y, mut z) = (Node::new(X), Node::new(Y), Node::new(Z));
    wire(
        &x.host.netns,
        &y.host.netns,
        ("a", "b"),
        ("192.0.2.1", "192.0.2.2"),
    );
    wire(
        &y.host.netns,
        &z.host.netns,
        ("a", "b"),
        ("198.51.100.1", "198.51.100.2"),
    );
    wire(
        &z.host.netns,
        &x.host.netns,
        ("a", "b"),
        ("203.0.113.1", "203.0.113.2"),
    );
    // Each says that the next in the ring leads to a fourth.
    x.hop(FAR, "192.0.2.2", 2);
    y.hop(FAR, "198.51.100.2", 2);
    z.hop(FAR, "203.0.113.2", 2);
    for (node, address, label) in [
        (&mut y, "192.0.2.1", X),
        (&mut z, "198.51.100.1", Y),
        (&mut x, "203.0.113.1", Z),
    ] {
        node.sender(address, label);
    }
    let to_far = packet(
        [0x88, 0],
        FAR,
        VNI,
        &ethernet(Mac([2; 6]), Mac([4; 6]), 0x0800, &[0; 50]),
    );
    let rounds = |nodes: [&mut Node; 3], reason| nodes.map(|node| node.drops(reason));
    inject(&x.host.netns, "192.0.2.1", "192.0.2.2", 255, &to_far);
    std::thread::sleep(Duration::from_millis(200));
    let limits = rounds([&mut x, &mut y, &mut z], DropReason::VxlanHopLimit);
    assert_eq!(limits.iter().sum::<u64>(), 1, "{limits:?}");
    // Seven relays may still follow Y; who would need two and has one left drops it: Z, X, Y, Z, X, Y.
    assert_eq!(limits, [0, 1, 0]);
    // Two that name each other.
    y.hop(FAR, "192.0.2.1", 2);
    x.sender("192.0.2.2", Y);
    inject(&x.host.netns, "192.0.2.1", "192.0.2.2", 255, &to_far);
    assert_eq!(counted(&mut y, DropReason::VxlanLoop, 0), 1);
    std::thread::sleep(Duration::from_millis(100));
    let limits = rounds([&mut x, &mut y, &mut z], DropReason::VxlanHopLimit);
    assert_eq!(limits.iter().sum::<u64>(), 1, "{limits:?}");
}

#[test]
fn a_frame_for_a_group_comes_once_to_each_member_or_to_the_router() {
    if skipped() {
        return;
    }
    let mut line = Line::new();
    let third = NetNs::create_anonymous().unwrap();
    line.r.host.attach(&third, "eth0", &["10.1.0.3/16"]);
    line.r.host.desired.attachments[0].mac = Mac([2, 0xc, 0xc, 0xc, 0, 1]);
    line.r.host.converge();
    let to_all = |kind, word: &[u8]| {
        let payload = udp4((Ipv4Addr::new(10, 1, 0, 1), 5), (Ipv4Addr::BROADCAST, 6), word);
        ethernet(Mac::BROADCAST, line.at_left.mac, kind, &payload)
    };
    let frame = to_all(0x0800, b"to all");
    let members = [&line.right, &third].map(|netns| raw(netns, "eth0"));
    let out = raw(&line.left, "eth0");
    let send = |line: &mut Line| {
        line.a.host.tap_frames();
        for _ in 0..10 {
            out.send(&frame).unwrap();
        }
        let came = members.each_ref().map(|socket| {
            let (mut buffer, mut count) = ([0; 2048], 0);
            while let Ok(length) = socket.receive(&mut buffer) {
                count += usize::from(buffer[..length].ends_with(b"to all"));
            }
            count
        });
        let frames = line.a.host.tap_frames();
        (
            came,
            frames.iter().filter(|frame| frame.ends_with(b"to all")).count(),
        )
    };
    assert_eq!(send(&mut line), ([0, 0], 10));
    line.a.tables.set_group(VNI, &[B, R]).unwrap();
    assert_eq!(send(&mut line), ([10, 10], 0));
    // One of them is not fast: the router gets it, and nobody a copy.
    let hop = Hop {
        address: ip(V4[1]),
        distance: 1,
        carries: false,
        relays: true,
    };
    line.a.tables.set_hop(R, Some(hop), NOW).unwrap();
    assert_eq!(send(&mut line), ([0, 0], 10));
    let hop = Some(Hop { carries: true, ..hop });
    line.a.tables.set_hop(R, hop, NOW).unwrap();
    // What the router answers itself comes to it in any case.
    line.a.host.tap_frames();
    let ask = arp(
        line.at_left.mac,
        (line.at_left.mac, Ipv4Addr::new(10, 1, 0, 1)),
        Ipv4Addr::new(10, 1, 0, 2),
        1,
    );
    out.send(&ask).unwrap();
    assert!(line.a.host.tap_frames().contains(&ask));
    line.a.tables.set_group(VNI, &[]).unwrap();
    assert_eq!(send(&mut line), ([0, 0], 10));
    line.no_drops();
}
