//! The model of the programs is held to the programs: the same packets, the same tables, the same end.

use crate::*;
use fastpath::model::{Kernel, Packet, Step};
use fastpath::vxlan::{Place, tree_probe_frame};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::collections::BTreeMap;

const STRANGER: &str = "192.0.2.9";

/// What may be in a packet.
fn packet_of(at_b: Mac, at_r: Mac) -> impl Strategy<Value = (bool, Packet)> {
    let label = prop_oneof![
        Just(A.0),
        Just(R.0),
        Just(B.0),
        Just(0),
        Just(0x0d04), // a source whose tree R knows
        Just(0x0e05), // one that it knows another parent in
        Just(0x0999),
    ];
    let to = prop_oneof![3 => Just(at_b), 3 => Just(at_r), 1 => Just(Mac([2, 9, 9, 9, 9, 9])), 4 => Just(Mac::BROADCAST)];
    let from = prop_oneof![4 => Just(Mac([2, 7, 7, 7, 7, 7])), 1 => Just(at_r)];
    let vni = prop_oneof![4 => Just(VNI), 1 => Just(OTHER_VNI), 2 => Just(Vni(0))];
    let body = prop_oneof![4 => Just(0), 1 => Just(1), 1 => Just(2), 1 => Just(3)];
    let ttl = prop_oneof![Just(31), Just(63), Just(95), Just(255)];
    (
        label,
        any::<bool>(),
        to,
        from,
        vni,
        body,
        ttl,
        prop::bool::weighted(0.05),
    )
        .prop_map(|(label, group, to, from, vni, body, ttl, stranger)| {
            let frame = match body {
                0 => ethernet(to, from, 0x0800, &[7; 60]),
                1 => ethernet(to, from, PROBE_TYPE, b"WPB1"),
                2 => {
                    let mut frame = tree_probe_frame(VNI, PeerLabel(label), 5, 100);
                    frame[..6].copy_from_slice(&to.0);
                    frame
                }
                _ => {
                    let asked = fastpath::vxlan::Probe {
                        to: R,
                        from: PeerLabel(label),
                        number: 5,
                        size: 100,
                    };
                    let mut frame = fastpath::vxlan::probe_frame(asked, None);
                    frame[..6].copy_from_slice(&to.0);
                    frame
                }
            };
            let policy = u32::from(label) | u32::from(group) << 19;
            let packet = Packet {
                vni,
                policy,
                ttl,
                frame,
            };
            (stranger, packet)
        })
}

/// What the program has dropped.
fn drops(node: &mut Node) -> BTreeMap<DropReason, u64> {
    let all = node.host.kernel_counters().into_iter();
    all.filter(|(reason, count)| *count > 0 && reason.name().starts_with("vxlan"))
        .collect()
}

#[test]
fn the_model_drops_what_the_programs_drop_and_sends_on_as_much() {
    if skipped() {
        return;
    }
    let mut line = Line::new();
    let third = NetNs::create_anonymous().unwrap();
    let at_r = line.r.host.attach(&third, "eth0", &["10.1.0.3/16"]).mac;
    let [at_a, r_a, r_b, at_b] = V4;
    let to_r = End {
        netns: &line.a.host.netns,
        ifname: "to-r",
    };
    wire::add_address(to_r, ip(STRANGER), 24).unwrap();
    let hop = |address: &str| Hop {
        address: ip(address),
        distance: 1,
        carries: true,
        relays: true,
    };
    let mut model = Kernel::new(R);
    model.hops.extend([(A, hop(at_a)), (B, hop(at_b))]);
    model.locals.insert((VNI, at_r));
    model.networks.insert(VNI);
    model.set_sender(ip(at_a), Some(A));
    model.set_sender(ip(at_b), Some(B));
    let tree = |parent, children: &[PeerLabel]| Place {
        parent,
        children: children.to_vec(),
        ..Place::default()
    };
    for (source, place) in [
        (0x0d04, tree(A, &[B])),
        (0x0e05, tree(B, &[A])),
        (A.0, tree(A, &[B, A, PeerLabel(0x0999)])),
    ] {
        line.r
            .tables
            .set_tree(VNI, PeerLabel(source), Some(&place))
            .unwrap();
        model.trees.insert((VNI, PeerLabel(source)), place);
    }
    let wires = [raw(&line.b.host.netns, "to-r"), raw(&line.a.host.netns, "to-r")];
    wires
        .iter()
        .for_each(|wire| wire.set_timeout(Duration::from_millis(10)).unwrap());
    // What leaves R in VXLAN, on both wires.
    let sent = || {
        let mut buffer = [0; 2048];
        let mut count = [0; 2];
        for (wire, (count, own)) in wires.iter().zip(count.iter_mut().zip([r_b, r_a])) {
            while let Ok(length) = wire.receive(&mut buffer) {
                let frame = &buffer[..length];
                let std::net::IpAddr::V4(own) = ip(own) else {
                    continue;
                };
                let is_ours = frame.get(26..30) == Some(&own.octets())
                    && frame.get(36..38) == Some(&PORT.to_be_bytes());
                *count += usize::from(is_ours && frame.get(23) == Some(&17));
            }
        }
        count
    };
    let mut runner = TestRunner::new_with_rng(
        Config::default(),
        TestRng::deterministic_rng(RngAlgorithm::ChaCha),
    );
    let strategy = packet_of(line.at_right.mac, at_r);
    let before = drops(&mut line.r);
    let a = line.a.host.netns.clone();
    let mut kinds = BTreeMap::new();
    for _ in 0..300 {
        let (stranger, packet) = strategy.new_tree(&mut runner).unwrap().current();
        let old = model.drops().clone();
        let source = if stranger { STRANGER } else { at_a };
        let steps = model.mesh_in(ip(source), &packet);
        let group = (packet.policy >> 16) as u8;
        let bytes = crate::packet(
            [0x88, group],
            PeerLabel(packet.policy as u16),
            packet.vni,
            &packet.frame,
        );
        inject(&a, source, r_a, packet.ttl.into(), &bytes);
        let to = |address| {
            steps
                .iter()
                .filter(|step| matches!(step, Step::Send(to, _) if *to == ip(address)))
                .count()
        };
        assert_eq!(sent(), [to(at_b), to(at_a)], "{packet:?} {steps:?}");
        let now: BTreeMap<_, _> = drops(&mut line.r)
            .into_iter()
            .map(|(reason, count)| (reason, count - before.get(&reason).copied().unwrap_or_default()))
            .filter(|(_, count)| *count > 0)
            .collect();
        assert_eq!(&now, model.drops(), "before: {old:?}; {packet:?}");
        *kinds.entry((steps.len(), &old == model.drops())).or_insert(0) += 1;
    }
    println!("{kinds:?} {:?}", model.drops());
    assert!(model.drops().len() >= 8, "{:?}", model.drops());
}
