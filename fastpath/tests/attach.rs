//! Attaching, repairing, detaching and removing, in real namespaces.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use common::{BRIDGE, BRIDGE_MAC, Host, ip, reaches, skipped, udp};
use fastpath::wire::{self, End};
use fastpath::{Kernel, NetNs, NetNsRef, Tap, names};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

fn pair() -> (Host, NetNs, NetNs) {
    let mut host = Host::new();
    let (left, right) = (
        NetNs::create_anonymous().unwrap(),
        NetNs::create_anonymous().unwrap(),
    );
    host.attach(&left, "eth0", &["10.1.0.1/16", "fd00:1::1/64"]);
    host.attach(&right, "eth0", &["10.1.0.2/16", "fd00:1::2/64"]);
    (host, left, right)
}

fn both_ways(left: &NetNs, right: &NetNs) {
    assert!(reaches((left, ip("10.1.0.1")), (right, ip("10.1.0.2"))), "IPv4");
    assert!(reaches((left, ip("fd00:1::1")), (right, ip("fd00:1::2"))), "IPv6");
}

#[test]
fn containers_reach_each_other_at_once() {
    if skipped() {
        return;
    }
    let mut host = Host::new();
    let (left, right) = (
        NetNs::create_anonymous().unwrap(),
        NetNs::create_anonymous().unwrap(),
    );
    host.attach(&left, "eth0", &["10.1.0.1/16", "fd00:1::1/64"]);
    let start = Instant::now();
    host.attach(&right, "eth0", &["10.1.0.2/16", "fd00:1::2/64"]);
    both_ways(&left, &right);
    // A lost first frame would cost a second.
    assert!(
        start.elapsed() < Duration::from_millis(900),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(wire::interfaces(&left).unwrap(), ["lo", "eth0"]);
}

#[test]
fn attaching_again_changes_nothing_and_an_address_is_added() {
    if skipped() {
        return;
    }
    let (mut host, left, right) = pair();
    assert_eq!(host.converge().done, 0);
    host.desired.attachments[0].addresses.push((ip("10.2.0.1"), 16));
    host.desired.attachments[1].addresses.push((ip("10.2.0.2"), 16));
    host.converge();
    assert!(reaches((&left, ip("10.2.0.1")), (&right, ip("10.2.0.2"))));
    both_ways(&left, &right);
}

#[test]
fn containers_get_ipv6_where_it_is_off_by_default_and_no_advertised_routes() {
    if skipped() {
        return;
    }
    let mut host = Host::new();
    let (left, right) = (
        NetNs::create_anonymous().unwrap(),
        NetNs::create_anonymous().unwrap(),
    );
    let off = "/proc/sys/net/ipv6/conf/default/disable_ipv6";
    left.run(|| std::fs::write(off, "1")).unwrap().unwrap();
    host.attach(&left, "eth0", &["fd00:1::1/64"]);
    host.attach(&right, "eth0", &["fd00:1::2/64"]);
    assert!(reaches((&left, ip("fd00:1::1")), (&right, ip("fd00:1::2"))));
    let accept = "/proc/sys/net/ipv6/conf/eth0/accept_ra";
    assert_eq!(
        left.run(|| std::fs::read_to_string(accept))
            .unwrap()
            .unwrap()
            .trim(),
        "0"
    );
}

#[test]
fn the_host_has_no_address_on_what_the_router_makes() {
    if skipped() {
        return;
    }
    let (host, left, _right) = pair();
    let read = || std::fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap();
    let addresses = host.netns.run(read).unwrap();
    assert!(addresses.lines().all(|line| line.ends_with(" lo")), "{addresses}");
    // All that comes to the router was sent by a container.
    let silent = host
        .tap_frames()
        .into_iter()
        .filter(|frame| frame[6..12] == BRIDGE_MAC.0);
    assert_eq!(silent.count(), 0);
    assert!(
        left.run(read).unwrap().lines().count() == 3,
        "loopback, link-local, and the one attached"
    );
}

#[test]
fn multicast_and_broadcast_reach_other_containers_and_the_router() {
    if skipped() {
        return;
    }
    let (host, left, right) = pair();
    let listener = udp(&right, (ip("0.0.0.0"), 0).into());
    let port = listener.local_addr().unwrap().port();
    let group = std::net::Ipv4Addr::new(239, 1, 2, 3);
    right
        .run(|| listener.join_multicast_v4(&group, &std::net::Ipv4Addr::UNSPECIFIED))
        .unwrap()
        .unwrap();
    let sender = udp(&left, (ip("10.1.0.1"), 0).into());
    sender.set_broadcast(true).unwrap();
    host.tap_frames();
    let mut buffer = [0; 16];
    for to in [ip("239.1.2.3"), ip("10.1.255.255")] {
        sender.send_to(b"all", (to, port)).unwrap();
        assert_eq!(listener.recv_from(&mut buffer).unwrap().0, 3, "{to}");
    }
    let seen = host.tap_frames();
    assert!(
        seen.iter().filter(|frame| frame.ends_with(b"all")).count() == 2,
        "{seen:?}"
    );
}

#[test]
fn the_router_sees_unknown_destinations_and_nothing_between_containers() {
    if skipped() {
        return;
    }
    let (host, left, right) = pair();
    both_ways(&left, &right);
    host.tap_frames();
    let sender = udp(&left, (ip("10.1.0.1"), 0).into());
    sender.send_to(b"local", (ip("10.1.0.2"), 9)).unwrap();
    assert!(host.tap_frames().iter().all(|frame| !frame.ends_with(b"local")));
    let local = host.desired.attachments[0].mac;
    let far = mesh::Mac([2, 9, 9, 9, 9, 9]);
    let packet = common::frames::udp4(
        ("10.1.0.1".parse().unwrap(), 5),
        ("10.1.0.9".parse().unwrap(), 5),
        b"far",
    );
    common::raw(&left, "eth0")
        .send(&common::frames::ethernet(far, local, 0x0800, &packet))
        .unwrap();
    let seen = host.tap_frames();
    let far_ones = seen
        .iter()
        .filter(|frame| frame.windows(3).any(|bytes| bytes == b"far"));
    assert_eq!(
        far_ones.count(),
        1,
        "an unknown destination goes to the router: {seen:?}"
    );
    // And back: a frame the router writes for the container arrives, from an address never seen before.
    let answer = common::frames::udp4(
        ("10.1.0.9".parse().unwrap(), 5),
        ("10.1.0.1".parse().unwrap(), 7777),
        b"from afar",
    );
    let listener = udp(&left, (ip("10.1.0.1"), 7777).into());
    let frame = common::frames::ethernet(local, far, 0x0800, &answer);
    host.tap.as_ref().unwrap().write(&frame).unwrap();
    let mut buffer = [0; 16];
    assert_eq!(listener.recv_from(&mut buffer).unwrap().0, 9);
}

#[test]
fn what_somebody_deletes_or_changes_is_repaired() {
    if skipped() {
        return;
    }
    let (mut host, left, right) = pair();
    let veth = host.desired.attachments[0].host_ifname.clone();
    let (bridge, tap) = (BRIDGE.to_owned(), names::tap(BRIDGE));
    let inner = End {
        netns: &left,
        ifname: "eth0",
    };
    let netns = host.netns.clone();
    let outer = |ifname| End {
        netns: &netns,
        ifname,
    };
    let deeds: [(&str, &dyn Fn()); 9] = [
        ("pair deleted outside", &|| wire::delete(outer(&veth)).unwrap()),
        ("pair deleted inside", &|| wire::delete(inner).unwrap()),
        ("bridge deleted", &|| wire::delete(outer(&bridge)).unwrap()),
        ("bridge down", &|| wire::set_up(outer(&bridge), false).unwrap()),
        ("port down", &|| wire::set_up(outer(&veth), false).unwrap()),
        ("TAP down", &|| wire::set_up(outer(&tap), false).unwrap()),
        ("container down", &|| wire::set_up(inner, false).unwrap()),
        ("MTU changed", &|| wire::set_mtu(inner, 1300).unwrap()),
        ("guard taken off", &|| wire::strip_guard(outer(&veth)).unwrap()),
    ];
    for (what, deed) in deeds {
        deed();
        assert!(host.converge().done > 0, "{what} went unnoticed");
        both_ways(&left, &right);
    }
}

#[test]
fn the_bridge_keeps_its_address() {
    if skipped() {
        return;
    }
    let (mut host, ..) = pair();
    let observed = host.kernel.observe(&host.desired, None).unwrap();
    let bridge = &observed.links[BRIDGE];
    assert_eq!(
        (bridge.mac, bridge.mtu),
        (Some(BRIDGE_MAC), u32::from(common::MTU))
    );
    let port = observed.links[&host.desired.attachments[0].host_ifname]
        .port
        .unwrap();
    assert_eq!(port, fastpath::plan::CONTAINER_PORT);
    assert_eq!(
        observed.links[&names::tap(BRIDGE)].port.unwrap(),
        fastpath::plan::TAP_PORT
    );
}

#[test]
fn a_namespace_that_ends_is_reported_and_leaves_nothing() {
    if skipped() {
        return;
    }
    let (mut host, left, right) = pair();
    let gone = host.desired.attachments[1].host_ifname.clone();
    // A number that no other test's file gets when this one is closed.
    let high = std::fs::File::open(right.path()).unwrap();
    let high = rustix::io::fcntl_dupfd_cloexec(high, 900).unwrap();
    host.desired.attachments[1].netns.path = format!("/proc/self/fd/{}", high.as_raw_fd()).into();
    // An open handle would keep the namespace alive, so the path of the attachment must stand on its own.
    drop((high, right));
    let deadline = Instant::now() + Duration::from_secs(5);
    while host.interfaces().contains(&gone) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    let report = host.try_converge();
    assert_eq!(report.gone, std::slice::from_ref(&gone));
    assert!(!host.interfaces().contains(&gone) && report.failed.is_empty());
    host.desired.attachments.pop();
    host.converge();
    assert!(wire::interfaces(&left).unwrap().contains(&"eth0".to_owned()));
}

#[test]
fn detaching_removes_the_interface_and_removal_leaves_nothing() {
    if skipped() {
        return;
    }
    let (mut host, left, right) = pair();
    host.desired.attachments.pop();
    host.converge();
    assert_eq!(wire::interfaces(&right).unwrap(), ["lo"]);
    host.tap = None;
    for _ in 0..2 {
        host.kernel.remove(BRIDGE).unwrap();
        assert_eq!(host.interfaces(), ["lo"]);
        assert_eq!(wire::interfaces(&left).unwrap(), ["lo"]);
    }
}

#[test]
fn what_is_not_ours_is_left_alone() {
    if skipped() {
        return;
    }
    let mut host = Host::new();
    let container = NetNs::create_anonymous().unwrap();
    let elsewhere = NetNs::create_anonymous().unwrap();
    let taken = End {
        netns: &container,
        ifname: "eth0",
    };
    wire::connect(
        taken,
        End {
            netns: &elsewhere,
            ifname: "other",
        },
        1500,
    )
    .unwrap();
    wire::connect(
        End {
            netns: &host.netns,
            ifname: "wv-of-someone",
        },
        End {
            netns: &elsewhere,
            ifname: "other2",
        },
        1500,
    )
    .unwrap();
    let netns = NetNsRef {
        path: container.path(),
        inode: container.inode(),
    };
    let attachment = fastpath::Attachment::new(BRIDGE, netns, "eth0", Vec::new(), [1; 6]);
    host.desired.attachments.push(attachment);
    let report = host.try_converge();
    assert!(report.obstacles.len() == 1 && report.done == 0, "{report:?}");
    host.kernel.remove(BRIDGE).unwrap();
    assert!(host.interfaces().contains(&"wv-of-someone".to_owned()));
    assert_eq!(wire::interfaces(&container).unwrap(), ["lo", "eth0"]);
}

#[test]
fn two_routers_share_a_namespace() {
    if skipped() {
        return;
    }
    let (mut host, left, right) = pair();
    let netns = host.netns.clone();
    let mut other = fastpath::Linux::in_netns(netns.clone());
    let _tap = netns
        .run(|| Tap::create(&names::tap("other"), 1400))
        .unwrap()
        .unwrap();
    let third = NetNs::create_anonymous().unwrap();
    let third_ref = NetNsRef {
        path: third.path(),
        inode: third.inode(),
    };
    let desired = fastpath::Desired {
        bridge: "other".to_owned(),
        bridge_mac: None,
        mtu: 1400,
        tap: names::tap("other"),
        fast: None,
        plain: None,
        gateway: None,
        attachments: vec![fastpath::Attachment::new(
            "other",
            third_ref,
            "eth0",
            Vec::new(),
            [7; 6],
        )],
    };
    assert!(fastpath::converge(&mut other, &desired).unwrap().is_reached());
    assert_eq!(host.converge().done, 0);
    other.remove("other").unwrap();
    assert_eq!(wire::interfaces(&third).unwrap(), ["lo"]);
    assert_eq!(host.converge().done, 0);
    both_ways(&left, &right);
}

#[test]
fn a_new_router_takes_over_what_the_old_one_left() {
    if skipped() {
        return;
    }
    let (mut host, left, right) = pair();
    host.tap = None;
    let report = host.try_converge();
    assert_eq!(
        report.obstacles,
        [fastpath::plan::Obstacle::NoTap(names::tap(BRIDGE))]
    );
    // What hangs before the ports stays, and is replaced by the new router's.
    host.kernel = fastpath::Linux::in_netns(host.netns.clone());
    host.kernel.load_guard().unwrap();
    both_ways(&left, &right);
    let tap = host
        .netns
        .run(|| Tap::create(&names::tap(BRIDGE), common::MTU))
        .unwrap()
        .unwrap();
    host.tap = Some(tap);
    let report = host.converge();
    assert!(report.done >= 3, "{report:?}");
    both_ways(&left, &right);
}
