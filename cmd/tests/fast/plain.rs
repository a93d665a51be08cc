//! A kernel that takes no eBPF: fixed tables between direct neighbours of the same kind, sleeve to all others.

use crate::common::traffic::{noise, ping, tcp};
use crate::common::{Lab, until};
use crate::{SOON, TRUST, overlay, wait_for_overlay, why};
use fastpath::wire::{self as raw, End};
use std::time::Duration;

#[test]
fn without_ebpf_direct_neighbours_have_a_fast_path_and_all_others_sleeve() {
    let Some(lab) = Lab::new("fast-plain") else { return };
    let plain = [&TRUST[..], &["--no-ebpf"]].concat();
    let (_switch, hosts) = lab.hosts_on_a_switch(3);
    let [a, b, c] = &hosts[..] else { panic!() };
    let _routers = [
        a.launch(&plain),
        b.launch(&[&plain[..], &["10.9.0.1"]].concat()),
        c.launch(&[&TRUST[..], &["10.9.0.1"]].concat()),
    ];
    hosts.iter().for_each(|host| host.wait_for_peers(3));
    let ends = [a.container(1), b.container(2), c.container(3)];
    ends[0].wait_for(&ends[1]);
    ends[0].wait_for(&ends[2]);
    for (from, to) in [(a, b), (b, a)] {
        wait_for_overlay(from, &to.name, "fast", SOON);
    }
    // What is of another kind is not tried.
    for (from, to, port) in [(a, c, "6784"), (c, a, "6785")] {
        assert_eq!(overlay(from, &to.name).as_deref(), Some("sleeve"));
        assert!(why(from, &to.name).contains(port), "{}", why(from, &to.name));
    }
    // Frames pass although no router runs: it is the kernel that carries them.
    for router in &_routers[..2] {
        router.signal(rustix::process::Signal::STOP);
    }
    for to in [ends[1].v4, ends[1].v6] {
        let count = ping(&ends[0], to, 50, Duration::from_millis(10));
        assert_eq!(count.lost, 0, "{count:?}");
        tcp(&ends[0], &ends[1], to, &noise(2 << 20));
    }
    for router in &_routers[..2] {
        router.signal(rustix::process::Signal::CONT);
    }
    let count = ping(&ends[0], ends[2].v4, 50, Duration::from_millis(10));
    assert_eq!(count.lost, 0, "{count:?}");
    // Blocked, it is left for sleeve, and taken again.
    wait_for_overlay(a, &b.name, "fast", SOON);
    b.nft("add table inet block\nadd chain inet block in { type filter hook input priority -200; }\nadd rule inet block in udp dport 6785 drop\n");
    wait_for_overlay(a, &b.name, "sleeve", SOON);
    ends[0].wait_for(&ends[1]);
    b.nft("delete table inet block\n");
    wait_for_overlay(a, &b.name, "fast", SOON);
    // From a stranger nothing is taken.
    let before = a.drops("vxlan_unknown_source");
    let end = End {
        netns: &c.netns,
        ifname: "net9",
    };
    raw::add_address(end, "10.9.0.77".parse().unwrap(), 24).unwrap();
    let socket = c
        .netns
        .run(|| std::net::UdpSocket::bind("10.9.0.77:0"))
        .unwrap()
        .unwrap();
    socket
        .send_to(&[8, 0, 0, 0, 0, 0, 1, 0, 0], "10.9.0.1:6785")
        .unwrap();
    until("it is counted", SOON, || {
        (a.drops("vxlan_unknown_source") > before).then_some(())
    });
}
