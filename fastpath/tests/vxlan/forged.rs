//! What anybody who can send UDP may try.

use crate::*;

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

#[test]
fn a_neighbour_s_address_by_another_interface_is_not_the_neighbour() {
    if skipped() {
        return;
    }
    let mut line = Line::new();
    let stranger = NetNs::create_anonymous().unwrap();
    wire(
        &stranger,
        &line.r.host.netns,
        ("out", "to-x"),
        ("203.0.113.1", "203.0.113.2"),
    );
    let out = End {
        netns: &stranger,
        ifname: "out",
    };
    let [at_a, r_a, ..] = V4;
    wire::add_address(out, ip(at_a), 32).unwrap();
    let payload = udp4(
        (Ipv4Addr::new(10, 1, 0, 1), 5),
        (Ipv4Addr::new(10, 1, 0, 2), 6),
        b"forged",
    );
    let frame = ethernet(line.at_right.mac, line.at_left.mac, 0x0800, &payload);
    let bytes = packet([0x88, 0], B, VNI, &frame);
    let eth0 = raw(&line.right, "eth0");
    let came = || {
        let (mut buffer, mut came) = ([0; 2048], false);
        while let Ok(length) = eth0.receive(&mut buffer) {
            came |= buffer[..length].ends_with(b"forged");
        }
        came
    };
    let before = line.r.drops(DropReason::VxlanWrongInterface);
    for _ in 0..3 {
        inject(&stranger, at_a, "203.0.113.2", 64, &bytes);
    }
    assert_eq!(
        counted(&mut line.r, DropReason::VxlanWrongInterface, before),
        before + 3
    );
    assert!(!came());
    inject(&line.a.host.netns, at_a, r_a, 64, &bytes);
    assert!(came() && line.passes(), "by the right one it is");
}
