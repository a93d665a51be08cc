//! Routes that change, and routes over several relays.

use crate::common::traffic::{Flow, noise, ping, tcp};
use crate::common::{Host, Lab, Network, Router, wire};
use crate::{SOON, TRUST, overlay, wait_for_overlay};
use fastpath::wire::{self as raw, End};
use std::time::{Duration, Instant};

/// Routers that trust each other, each linked with those before it that it is told of.
fn launch(hosts: &[Host], targets: &[&[&str]]) -> Vec<Router> {
    let routers = hosts
        .iter()
        .zip(targets)
        .map(|(host, targets)| host.launch(&[&TRUST[..], targets].concat()))
        .collect();
    hosts.iter().for_each(|host| host.wait_for_peers(hosts.len()));
    routers
}

#[test]
fn three_hops_are_as_good_as_one() {
    let Some(lab) = Lab::new("fast-hops") else { return };
    let hosts = ["a", "r", "s", "b"].map(|name| lab.host(name));
    for (number, pair) in (1..).zip(hosts.windows(2)) {
        wire(Network(number), &pair[0], &pair[1]);
    }
    let _routers = launch(&hosts, &[&[], &["10.1.0.1"], &["10.2.0.1"], &["10.3.0.1"]]);
    let (left, right) = (hosts[0].container(1), hosts[3].container(2));
    left.wait_for(&right);
    wait_for_overlay(&hosts[0], "b", "fast", SOON);
    wait_for_overlay(&hosts[3], "a", "fast", SOON);
    assert_eq!(hosts[0].hops("b"), Some(3));
    for to in [right.v4, right.v6] {
        let count = ping(&left, to, 50, Duration::from_millis(10));
        assert_eq!(count.lost, 0, "{count:?}");
        tcp(&left, &right, to, &noise(2 << 20));
    }
    // The last hop fails: the source, two hops away, hears of it by its own probes.
    let end = End {
        netns: &hosts[3].netns,
        ifname: "net3",
    };
    raw::set_up(end, false).unwrap();
    wait_for_overlay(&hosts[0], "s", "fast", SOON);
    let start = Instant::now();
    while overlay(&hosts[0], "b").as_deref() == Some("fast") {
        assert!(start.elapsed() < Duration::from_secs(3), "still fast");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn traffic_follows_its_route_to_another_relay_and_back() {
    let Some(lab) = Lab::new("fast-change") else {
        return;
    };
    let hosts = ["a", "r", "s", "b"].map(|name| lab.host(name));
    let [a, r, s, b] = &hosts;
    wire(Network(1), r, a);
    wire(Network(2), r, b);
    wire(Network(3), s, a);
    wire(Network(4), s, b);
    let _routers = launch(
        &hosts,
        &[&[], &["10.1.0.2"], &["10.3.0.2"], &["10.2.0.1", "10.4.0.1"]],
    );
    let (left, right) = (a.container(1), b.container(2));
    left.wait_for(&right);
    wait_for_overlay(a, "b", "fast", SOON);
    // None for as long as there is no route.
    let relay = |host: &Host| -> Option<String> {
        let row = host.row("routes", "name", "b")?;
        Some(row["path"][0].as_str().unwrap().to_owned())
    };
    let flow = Flow::start(&left, &right, right.v4);
    let first = relay(a).unwrap();
    let ifname = if first == "r" { "net1" } else { "net3" };
    let end = End {
        netns: &a.netns,
        ifname,
    };
    raw::set_up(end, false).unwrap();
    let start = Instant::now();
    while relay(a).is_none_or(|now| now == first) {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "the route stays: {first} {:#}",
            a.status()["routes"]
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    let changed = Instant::now();
    // Until then either the old way has not failed yet, or frames take sleeve.
    std::thread::sleep(Duration::from_secs(2));
    wait_for_overlay(a, "b", "fast", Duration::from_secs(2));
    println!("fast {:?} after the route changed", changed.elapsed());
    let count = ping(&left, right.v4, 50, Duration::from_millis(10));
    assert_eq!(count.lost, 0, "{count:?}");
    raw::set_up(end, true).unwrap();
    std::thread::sleep(Duration::from_secs(8));
    wait_for_overlay(a, "b", "fast", SOON);
    wait_for_overlay(b, "a", "fast", SOON);
    let flow = flow.stop();
    assert!(flow.whole && flow.longest < Duration::from_secs(8), "{flow:?}");
}
