//! Properties of the plan, against the kernel in memory.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use fastpath::fake::{FakeKernel, bare_link};
use fastpath::observe::{
    BridgeSettings, Filter, Gate, Guarded, Hook, HostLink, Inside, InsideLink, Kind, PortFlags,
};
use fastpath::plan::{Fast, InsideStep, Obstacle, Op, Plain, local_mac, obstacles, plan};
use fastpath::{Attachment, Desired, Gateway, Kernel, Limit, Limits, NetNsRef, converge, names};
use mesh::{Mac, Vni};
use proptest::prelude::*;
use std::net::IpAddr;

const BRIDGE: &str = "weft";

fn attachment(number: u8, addresses: Vec<(IpAddr, u8)>) -> Attachment {
    let netns = NetNsRef {
        path: format!("/proc/{number}/ns/net").into(),
        inode: 1000 + u64::from(number),
    };
    Attachment::new(BRIDGE, netns, "eth0", addresses, [0xff, 0, 0, 0, 0, number])
}

fn desired(attachments: Vec<Attachment>) -> Desired {
    Desired {
        bridge: BRIDGE.to_owned(),
        bridge_mac: Some(Mac([2, 0, 0, 0, 0, 9])),
        mtu: 1390,
        tap: names::tap(BRIDGE),
        fast: None,
        plain: None,
        gateway: None,
        attachments,
    }
}

fn two() -> Desired {
    desired(vec![
        attachment(
            1,
            vec![
                ("10.0.0.1".parse().unwrap(), 24),
                ("fd00::1".parse().unwrap(), 64),
            ],
        ),
        attachment(2, vec![("10.0.0.2".parse().unwrap(), 24)]),
    ])
}

fn address() -> impl Strategy<Value = (IpAddr, u8)> {
    let v4 = (0..6_u8).prop_map(|last| (IpAddr::from([10, 0, 0, last]), 24));
    let v6 = (0..6_u16).prop_map(|last| (IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, last]), 64));
    prop_oneof![v4, v6]
}

fn mac() -> impl Strategy<Value = Mac> {
    (0..6_u8).prop_map(|last| local_mac([0xff, 0, 0, 0, 0, last]))
}

fn port_flags() -> impl Strategy<Value = PortFlags> {
    (any::<[bool; 6]>(), any::<Option<bool>>()).prop_map(|([a, b, c, d, e, f], locked)| PortFlags {
        learning: a,
        unicast_flood: b,
        multicast_flood: c,
        broadcast_flood: d,
        hairpin: e,
        isolated: f,
        locked,
    })
}

fn guarded() -> impl Strategy<Value = Guarded> {
    let addresses = prop::collection::vec(address().prop_map(|(address, _)| address), 0..3);
    prop_oneof![
        Just(Guarded::Host),
        (mac(), addresses, any::<bool>()).prop_map(|(mac, addresses, is_host)| Guarded::Port {
            mac,
            addresses,
            gate: if is_host { (Gate::Host, 1) } else { (Gate::No, 0) },
            limit: (!is_host).then_some(Limit { rate: 1, burst: 1 }),
        }),
    ]
}

fn hook() -> impl Strategy<Value = Hook> {
    let (vni, tap, stub) = (Vni::DEFAULT, names::tap(BRIDGE), names::stub(BRIDGE));
    prop_oneof![
        Just(Hook::Stub { vni, tap }),
        Just(Hook::Vxlan),
        Just(Hook::Tap { vni, stub }),
        Just(Hook::Hatch),
        (mac(), any::<bool>()).prop_map(move |(mac, by_bridge)| Hook::Port { vni, mac, by_bridge }),
    ]
}

fn host_link() -> impl Strategy<Value = HostLink> {
    let kind = prop_oneof![
        1 => Just(Kind::Bridge),
        3 => Just(Kind::Veth),
        1 => Just(Kind::Tun),
        1 => Just(Kind::Vxlan),
        1 => Just(Kind::Other),
    ];
    let mtu = prop_oneof![Just(1390), Just(1500)];
    (
        (kind, mac(), mtu, any::<[bool; 3]>()),
        (proptest::option::of(port_flags()), any::<bool>()),
        prop::collection::vec(mac(), 0..3),
        proptest::option::of(guarded()),
        (proptest::option::of(hook()), proptest::option::of(6783..6786_u16)),
    )
        .prop_map(
            |(
                (kind, mac, mtu, [up, quiet, plain]),
                (port, in_bridge),
                forwarded,
                guard,
                (hook, vxlan_port),
            )| HostLink {
                behind_guard: matches!(hook, Some(Hook::Port { .. })),
                hook,
                vxlan_port: vxlan_port.filter(|_| kind == Kind::Vxlan),
                mac: Some(mac),
                mtu,
                up,
                quiet,
                in_bridge,
                port: port.filter(|_| in_bridge),
                bridge: (kind == Kind::Bridge).then_some(BridgeSettings { plain }),
                forwarded: forwarded.into_iter().filter(|_| in_bridge).collect(),
                guard,
                ..bare_link(kind)
            },
        )
}

fn inside() -> impl Strategy<Value = Inside> {
    let name = prop_oneof![
        Just("eth0".to_owned()),
        Just("w~unfinished".to_owned()),
        Just("x".to_owned())
    ];
    let addresses = prop::collection::vec(address(), 0..4);
    let link = (name, mac(), any::<[bool; 3]>(), addresses).prop_map(
        |(name, mac, [up, settled, mtu], addresses)| {
            let mtu = if mtu { 1390 } else { 1500 };
            InsideLink {
                name,
                mac: Some(mac),
                mtu,
                up,
                settled,
                addresses,
            }
        },
    );
    let present = (
        proptest::option::of(link),
        any::<bool>(),
        prop::bool::weighted(0.1),
    )
        .prop_map(|(link, multicast_route, name_taken)| Inside::Present {
            link,
            name_taken,
            multicast_route,
        });
    prop_oneof![
        8 => present,
        1 => Just(Inside::Gone),
        1 => Just(Inside::Unreadable("why".to_owned())),
    ]
}

fn gateway() -> impl Strategy<Value = Option<Gateway>> {
    let inside = prop::collection::btree_set(address(), 0..2);
    let masqueraded = prop::collection::btree_set(address().prop_map(|(address, _)| address), 0..3);
    let gateway = (inside, masqueraded).prop_map(|(inside, masqueraded)| Gateway { inside, masqueraded });
    proptest::option::of(gateway)
}

prop_compose! {
    /// Any state: ours in disorder, leftovers of former attachments, and links of others.
    fn world()(
        mut names in Just(vec![BRIDGE.to_owned(), names::tap(BRIDGE), "docker0".to_owned(), "wvzz".to_owned()]),
        links in prop::collection::vec(proptest::option::of(host_link()), 11),
        insides in prop::collection::vec(proptest::option::of(inside()), 4),
        guard in any::<bool>(),
        switch in any::<bool>(),
        gateway in gateway(),
        filter in prop_oneof![
            Just(Filter::Unavailable),
            Just(Filter::Missing),
            (6783..6786_u16, any::<bool>()).prop_map(|(port, all)| Filter::At {
                port,
                only: (!all).then(Default::default),
                sealed: all.then(|| IpAddr::from([192, 0, 2, 1])).into_iter().collect(),
            }),
        ],
    ) -> FakeKernel {
        let hosts: Vec<_> = (1..=4).map(|number| attachment(number, Vec::new()).host_ifname).collect();
        names.extend(hosts.iter().cloned());
        let mut kernel = FakeKernel::new();
        names.extend([names::stub(BRIDGE), names::hatch(BRIDGE), names::vxlan(BRIDGE)]);
        (kernel.guard, kernel.switch, kernel.filter, kernel.gateway) = (guard, switch, filter, gateway);
        for (name, link) in names.into_iter().zip(links) {
            kernel.links.extend(link.map(|link| (name, link)));
        }
        if kernel.links.get(BRIDGE).is_none_or(|bridge| bridge.kind != Kind::Bridge) {
            for link in kernel.links.values_mut() {
                (link.in_bridge, link.port) = (false, None);
                link.forwarded.clear();
            }
        }
        for (host, inside) in hosts.into_iter().zip(insides) {
            kernel.inside.extend(inside.map(|inside| (host, inside)));
        }
        kernel
    }
}

fn wish() -> impl Strategy<Value = Desired> {
    let addresses = prop::collection::vec(address(), 0..4);
    let limit = || proptest::option::of((1..3_u64, 1..3_u64).prop_map(|(rate, burst)| Limit { rate, burst }));
    let limits = (limit(), limit()).prop_map(|(sends, receives)| Limits { sends, receives });
    let attachments = prop::collection::btree_map(1..=4_u8, (addresses, limits), 0..4);
    let macs = prop::collection::btree_map(mac(), any::<u8>(), 0..4);
    let plain = proptest::option::of((macs, prop::collection::btree_set(any::<u8>(), 0..3)));
    let host = |n| std::net::Ipv4Addr::new(10, 0, 0, n);
    (attachments, any::<bool>(), plain, gateway()).prop_map(move |(wanted, fast, plain, gateway)| {
        let attachments = wanted.into_iter().map(|(n, (addresses, limits))| Attachment {
            limits,
            ..attachment(n, addresses)
        });
        Desired {
            gateway,
            fast: fast.then(|| Fast::of_bridge(BRIDGE, Vni::DEFAULT, 6784)),
            plain: plain.map(|(macs, senders)| Plain {
                macs: macs.into_iter().map(|(mac, n)| (mac, host(n))).collect(),
                senders: senders.into_iter().map(host).collect(),
                ..Plain::of_bridge(BRIDGE, Vni::DEFAULT, 6785)
            }),
            ..desired(attachments.collect())
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever there is: after one plan nothing is left to do, and nothing of others is touched.
    #[test]
    fn one_plan_is_enough(mut kernel in world(), wanted in wish()) {
        let foreign = |kernel: &FakeKernel| (kernel.links.get("docker0").cloned(), kernel.links.get("wvzz").cloned());
        let before = foreign(&kernel);
        for op in plan(&wanted, &kernel.observe(&wanted, None).unwrap()) {
            kernel.apply(&op).unwrap();
        }
        let after = kernel.observe(&wanted, None).unwrap();
        prop_assert_eq!(plan(&wanted, &after), Vec::new());
        prop_assert_eq!(foreign(&kernel), before);
        let report = converge(&mut kernel, &wanted).unwrap();
        prop_assert_eq!(report.done, 0);
    }

    /// No interface of a container is up before its port is set up, guarded and up.
    #[test]
    fn guarded_before_it_is_up(mut kernel in world(), wanted in wish()) {
        let ops = plan(&wanted, &kernel.observe(&wanted, None).unwrap());
        for (at, op) in ops.iter().enumerate() {
            let late = |other: &&Op| {
                other.subject() == op.subject() && matches!(other, Op::Guard { .. } | Op::SetPort { .. })
            };
            if matches!(op, Op::Raise { .. } | Op::Inside { step: InsideStep::Reveal(_), .. }) {
                prop_assert!(ops[at..].iter().find(late).is_none(), "{:?}", ops);
            }
        }
    }

    /// Once all is done, the bridge has one port that leads to the mesh, or two isolated ones.
    #[test]
    fn one_port_leads_to_the_mesh(mut kernel in world(), wanted in wish()) {
        converge(&mut kernel, &wanted).unwrap();
        let is = |name: &str, kind| kernel.links.get(name).is_some_and(|link| link.kind == kind);
        let ports = [
            (wanted.tap.clone(), Kind::Tun),
            (names::stub(BRIDGE), Kind::Veth),
            (names::hatch(BRIDGE), Kind::Veth),
            (names::vxlan(BRIDGE), Kind::Vxlan),
        ];
        let joined = ports.iter().filter(|(name, kind)| is(name, *kind) && kernel.links[name].in_bridge);
        if is(BRIDGE, Kind::Bridge) && is(&wanted.tap, Kind::Tun) {
            // Or two that nothing passes between.
            let is_isolated = |name: &String| kernel.links[name].port.is_some_and(|port| port.isolated);
            let joined: Vec<_> = joined.map(|(name, _)| name).collect();
            let apart = joined.iter().all(|name| is_isolated(name));
            prop_assert!(joined.len() == 1 || joined.len() == 2 && apart, "{:?}", joined);
        }
    }

    /// Removal leaves what others made, and only that.
    #[test]
    fn removal_is_complete(mut kernel in world()) {
        kernel.remove(BRIDGE).unwrap();
        prop_assert!(kernel.links.keys().all(|name| name == "docker0" || name == "wvzz"));
    }
}

#[test]
fn an_empty_host_gets_all_in_order() {
    let mut kernel = FakeKernel::new();
    let wanted = two();
    kernel.add_link(&wanted.tap, Kind::Tun);
    let report = converge(&mut kernel, &wanted).unwrap();
    assert!(report.is_reached());
    assert!(matches!(kernel.log[0], Op::CreateBridge { .. }));
    let last_of_first = kernel
        .log
        .iter()
        .rfind(|op| op.subject() == wanted.attachments[0].host_ifname);
    assert!(matches!(last_of_first, Some(Op::Await { .. })));
}

#[test]
fn a_lost_bridge_brings_back_all_ports() {
    let mut kernel = FakeKernel::new();
    let wanted = two();
    kernel.add_link(&wanted.tap, Kind::Tun);
    converge(&mut kernel, &wanted).unwrap();
    kernel.delete_link(BRIDGE);
    kernel.log.clear();
    assert!(converge(&mut kernel, &wanted).unwrap().is_reached());
    let ports = kernel
        .log
        .iter()
        .filter(|op| matches!(op, Op::SetPort { .. }))
        .count();
    let entries = kernel
        .log
        .iter()
        .filter(|op| matches!(op, Op::AddForwarding { .. }))
        .count();
    assert_eq!((ports, entries), (3, 2));
    assert!(
        !kernel.log.iter().any(|op| matches!(op, Op::CreateVeth { .. })),
        "containers keep their interface"
    );
}

#[test]
fn what_is_gone_and_what_is_in_the_way_is_told() {
    let mut kernel = FakeKernel::new();
    let wanted = two();
    kernel.add_link(&wanted.tap, Kind::Tun);
    converge(&mut kernel, &wanted).unwrap();
    kernel.end_namespace(&wanted.attachments[0].host_ifname);
    kernel.delete_link(&wanted.tap);
    let report = converge(&mut kernel, &wanted).unwrap();
    assert_eq!(report.gone, [wanted.attachments[0].host_ifname.clone()]);
    assert_eq!(report.obstacles, [Obstacle::NoTap(wanted.tap.clone())]);
    kernel.delete_link(BRIDGE);
    kernel.add_link(BRIDGE, Kind::Other);
    let observed = kernel.observe(&wanted, None).unwrap();
    assert_eq!(
        obstacles(&wanted, &observed)[0],
        Obstacle::BridgeName(BRIDGE.to_owned())
    );
    assert_eq!(plan(&wanted, &observed), []);
}
