//! Traffic by way of another router: it works, the relay learns nothing, and it becomes direct where it can.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../common/mod.rs"]
mod common;

use common::capture::{Capture, dump_memory, holds};
use common::traffic::{ping, tcp};
use common::{Container, Host, Lab, Network, Router, until, wire};
use std::time::{Duration, Instant};

/// What must never be seen by the relay.
const MARKER: &str = "<the-marker-of-a-secret-message>";
const MEGABYTE: usize = 1 << 20;

/// Three routers in a line: the outer two have no network in common.
struct Chain {
    left: Container,
    right: Container,
    relay_router: Router,
    _outer: [Router; 2],
    relay: Host,
    outer: [Host; 2],
}

impl Chain {
    fn new(lab: &Lab) -> Self {
        let [left, relay, right] = ["left", "relay", "right"].map(|name| lab.host(name));
        wire(Network(1), &relay, &left);
        wire(Network(2), &relay, &right);
        let relay_router = relay.launch(&[]);
        let outer = [left.launch(&["10.1.0.1"]), right.launch(&["10.2.0.1"])];
        left.wait_for_peers(3);
        right.wait_for_peers(3);
        let containers = [left.container(1), right.container(2)];
        containers[0].wait_for(&containers[1]);
        let [left_container, right_container] = containers;
        Self {
            left: left_container,
            right: right_container,
            relay_router,
            _outer: outer,
            relay,
            outer: [left, right],
        }
    }
}

#[test]
fn a_chain_carries_ping_and_tcp_of_both_ip_versions() {
    let Some(lab) = Lab::new("chain") else { return };
    let chain = Chain::new(&lab);
    assert_eq!(chain.outer[0].hops("right"), Some(2));
    assert_eq!(chain.outer[1].hops("left"), Some(2));
    for to in [chain.right.v4, chain.right.v6] {
        let count = ping(&chain.left, to, 50, Duration::from_millis(10));
        assert_eq!(count.lost, 0, "{to}: {count:?}");
        tcp(
            &chain.left,
            &chain.right,
            to,
            &common::traffic::noise(2 * MEGABYTE),
        );
    }
    for host in [&chain.relay, &chain.outer[0], &chain.outer[1]] {
        assert_eq!(host.drops("hop_limit"), 0, "{}", host.name);
        assert_eq!(host.drops("relay_unauthentic"), 0, "{}", host.name);
    }
}

#[test]
fn neither_the_relay_nor_the_wires_ever_hold_what_is_sent() {
    let Some(lab) = Lab::new("secrecy") else { return };
    let chain = Chain::new(&lab);
    let file = |name: &str| lab.dir.join(name);
    let captures = [
        Capture::start(&chain.relay.netns, "net1", file("wire1")),
        Capture::start(&chain.relay.netns, "net2", file("wire2")),
    ];
    let inside = Capture::start(&chain.left.netns, "eth0", file("inside"));
    let payload = MARKER.repeat(5 * MEGABYTE / MARKER.len());
    tcp(&chain.left, &chain.right, chain.right.v4, payload.as_bytes());

    let memory = file("memory");
    let size = dump_memory(chain.relay_router.pid(), &memory);
    assert!(size > 1 << 20, "only {size} bytes of memory");
    assert!(!holds(&memory, MARKER), "the relay's memory holds the marker");
    for capture in captures {
        let (path, bytes) = capture.stop();
        assert!(
            bytes > payload.len() as u64,
            "{}: only {bytes} bytes",
            path.display()
        );
        assert!(!holds(&path, MARKER), "{} holds the marker", path.display());
    }

    // That the search finds what is there: on the container's interface, and in this process.
    let (path, _) = inside.stop();
    assert!(holds(&path, MARKER));
    dump_memory(std::process::id(), &memory);
    assert!(holds(&memory, MARKER));
}

fn linked(host: &Host, name: &str) -> bool {
    let status = host.status();
    let peers = status["peers"].as_array().unwrap();
    let id = |wanted: &str| {
        let peer = peers.iter().find(|peer| peer["name"] == wanted).unwrap();
        peer["peer_id"].clone()
    };
    let own = peers.iter().find(|peer| peer["self"] == true).unwrap();
    let other = id(name);
    own["links"]
        .as_array()
        .unwrap()
        .iter()
        .any(|link| link["peer_id"] == other)
}

#[test]
fn discovery_links_two_that_know_only_a_third_and_no_discovery_keeps_them_apart() {
    let Some(lab) = Lab::new("discovery") else { return };
    let (_switch, hosts) = lab.hosts_on_a_switch(3);
    let _first = hosts[0].launch(&[]);
    let shy: Vec<_> = hosts[1..]
        .iter()
        .map(|host| host.launch(&["--no-discovery", "10.9.0.1"]))
        .collect();
    hosts.iter().for_each(|host| host.wait_for_peers(3));
    // Discovery, had it been on, would have linked them by now: the other test half is done in less.
    let apart = Instant::now();
    while apart.elapsed() < Duration::from_secs(2) {
        assert!(!linked(&hosts[1], "h3") && !linked(&hosts[2], "h2"));
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(hosts[1].hops("h3"), Some(2));
    shy.into_iter().for_each(Router::terminate);

    let _again: Vec<_> = hosts[1..].iter().map(|host| host.launch(&["10.9.0.1"])).collect();
    until("they link", Duration::from_secs(5), || {
        (hosts[1].reachable().len() == 3 && linked(&hosts[1], "h3") && linked(&hosts[2], "h2")).then_some(())
    });
    hosts[1].wait_for_hops("h3", 1, Duration::from_secs(10));
}

#[test]
fn in_a_chain_that_gets_a_network_between_its_ends_they_link() {
    let Some(lab) = Lab::new("shortcut") else { return };
    let chain = Chain::new(&lab);
    let [left, right] = &chain.outer;
    assert!(!linked(left, "right"));
    wire(Network(3), left, right);
    left.wait_for_hops("right", 1, Duration::from_secs(70));
    chain.left.wait_for(&chain.right);
}

#[test]
fn two_of_ten_routers_without_a_link_get_a_direct_path_once_they_have_traffic() {
    let Some(lab) = Lab::new("ten") else { return };
    let (_switch, hosts) = lab.hosts_on_a_switch(10);
    let mut routers = Vec::new();
    for (count, host) in hosts.iter().enumerate() {
        let targets: Vec<_> = (1..=count).map(|number| format!("10.9.0.{number}")).collect();
        let mut args = vec!["--no-discovery"];
        args.extend(targets.iter().map(String::as_str));
        routers.push(host.launch(&args));
    }
    let (left, right) = (&hosts[8], &hosts[9]);
    left.wait_for_peers(10);
    right.wait_for_peers(10);
    right.weft(&["forget", "h9"]).ok();
    until("the link is gone", Duration::from_secs(5), || {
        (!linked(left, "h10") && !linked(right, "h9")).then_some(())
    });
    // A direct path that was up stays until it is idle; after a restart there is none.
    routers.pop().unwrap().terminate();
    routers.push(right.launch(&["--no-discovery"]));
    right.wait_for_peers(10);
    for (from, to) in [(left, "h10"), (right, "h9")] {
        from.wait_for_hops(to, 2, Duration::from_secs(5));
    }
    let (from, to) = (left.container(1), right.container(2));
    let start = Instant::now();
    from.wait_for(&to);
    let rest = Duration::from_secs(3).saturating_sub(start.elapsed());
    left.wait_for_hops("h10", 1, rest);
    println!("direct after {:?}", start.elapsed());
    assert!(!linked(left, "h10"));
}
