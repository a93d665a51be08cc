//! Frames over a relay, and over what is not proven.

use crate::*;

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
