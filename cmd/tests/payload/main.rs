//! What containers send arrives as it was sent, whichever way it takes and whoever leaves what to whom.
//!
//! Streams are compared by SHA-256. Datagrams have a number and a size that follows from it, and bytes that follow from
//! both. `WEFT_PAYLOAD=full` sends ten times as much.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../common/mod.rs"]
mod common;
mod sent;

use common::{Container, Host, Lab, Network, Router};
use fastpath::wire::{self, End};
use sent::{MEBIBYTE, at_once, datagrams, for_so_long, runs_of_datagrams, stream};
use std::net::IpAddr;
use std::time::Duration;

/// How the underlay is.
#[derive(Clone, Copy)]
struct Underlay {
    mtu: u16,
    ipv6: bool,
    /// Packets of its MTU cross, as on a cable.
    cable: bool,
}

const USUAL: Underlay = Underlay {
    mtu: 1500,
    ipv6: false,
    cable: true,
};

/// The kernel must not carry what sleeve is to be tried with.
const SLEEVE: &[&str] = &["--overlay", "sleeve"];

/// Two containers, and what lies between them.
struct Ends {
    left: Container,
    right: Container,
    hosts: Vec<Host>,
    _routers: Vec<Router>,
}

impl Ends {
    /// Two routers, each with options of its own.
    fn direct(lab: &Lab, underlay: Underlay, options: [&[&str]; 2]) -> Self {
        let hosts = vec![lab.host("left"), lab.host("right")];
        lay(Network(1), underlay, &hosts[0], &hosts[1]);
        let to = if underlay.ipv6 { "[fd01::1]" } else { "10.1.0.1" };
        let routers = vec![
            hosts[0].launch(&[SLEEVE, options[0]].concat()),
            hosts[1].launch(&[SLEEVE, options[1], &[to]].concat()),
        ];
        Self::attach(hosts, routers, 2, [0, 1])
    }

    /// Three in a line.
    fn relayed(lab: &Lab) -> Self {
        Self::relayed_with(lab, &[])
    }

    /// As [`Self::relayed`], each with these options.
    fn relayed_with(lab: &Lab, options: &[&str]) -> Self {
        let hosts = vec![lab.host("left"), lab.host("middle"), lab.host("right")];
        lay(Network(1), USUAL, &hosts[1], &hosts[0]);
        lay(Network(2), USUAL, &hosts[1], &hosts[2]);
        let routers = vec![
            hosts[1].launch(&[SLEEVE, options].concat()),
            hosts[0].launch(&[SLEEVE, options, &["10.1.0.1"]].concat()),
            hosts[2].launch(&[SLEEVE, options, &["10.2.0.1"]].concat()),
        ];
        let ends = Self::attach(hosts, routers, 3, [0, 2]);
        assert_eq!(ends.hosts[0].hops("right"), Some(2));
        ends
    }

    fn attach(hosts: Vec<Host>, routers: Vec<Router>, peers: usize, ends: [usize; 2]) -> Self {
        hosts.iter().for_each(|host| host.wait_for_peers(peers));
        let [left, right] = [1, 2].map(|number| hosts[ends[usize::from(number) - 1]].container(number));
        left.wait_for(&right);
        Self {
            left,
            right,
            hosts,
            _routers: routers,
        }
    }

    /// A stream each way, and datagrams, over both IP versions.
    fn check(&self, mebibytes: usize, count: u32) {
        for to in [self.right.v4, self.right.v6] {
            stream(&self.left, &self.right, to, mebibytes * MEBIBYTE);
            datagrams(&self.left, &self.right, to, count);
        }
        stream(&self.right, &self.left, self.left.v4, mebibytes * MEBIBYTE);
        self.nothing_was_odd();
    }

    /// No router found anything in what it got that should not be there.
    fn nothing_was_odd(&self) {
        for host in &self.hosts {
            // In a line, probes for a direct path have nowhere to go.
            let fails = host.drops("send_failed");
            assert!(
                self.hosts.len() > 2 || fails == 0,
                "{fails} sends or writes failed at {}",
                host.name
            );
            for reason in ["malformed", "unauthentic", "replayed", "garbage", "truncated"] {
                assert_eq!(host.drops(reason), 0, "{reason} at {}", host.name);
            }
        }
    }
}

fn lay(network: Network, underlay: Underlay, left: &Host, right: &Host) {
    let ifname = network.ifname();
    wire::connect(end(&ifname, left), end(&ifname, right), underlay.mtu).unwrap();
    for (host, number) in [(left, 1), (right, 2)] {
        let address =
            |address: IpAddr, prefix| wire::add_address(end(&ifname, host), address, prefix).unwrap();
        if underlay.ipv6 {
            address(network.v6(number), 64);
        } else {
            address(network.v4(number), 24);
        }
        if underlay.cable {
            wire::carry_packets(end(&ifname, host)).unwrap();
        }
    }
}

fn end<'a>(ifname: &'a str, host: &'a Host) -> End<'a> {
    End {
        netns: &host.netns,
        ifname,
    }
}

#[test]
fn a_gibibyte_straight() {
    let Some(lab) = Lab::new("straight") else { return };
    let ends = Ends::direct(&lab, USUAL, [&[], &[]]);
    stream(&ends.left, &ends.right, ends.right.v4, 1024 * MEBIBYTE);
    datagrams(&ends.left, &ends.right, ends.right.v4, 100_000);
    ends.nothing_was_odd();
}

#[test]
fn over_a_relay() {
    let Some(lab) = Lab::new("relayed") else { return };
    Ends::relayed(&lab).check(100, 10_000);
}

#[test]
fn over_an_underlay_of_ipv6() {
    let Some(lab) = Lab::new("six") else { return };
    let underlay = Underlay { ipv6: true, ..USUAL };
    Ends::direct(&lab, underlay, [&[], &[]]).check(100, 10_000);
}

#[test]
fn over_narrow_and_wide_underlays() {
    for mtu in [1280, 9000] {
        let Some(lab) = Lab::new("widths") else { return };
        let underlay = Underlay { mtu, ..USUAL };
        Ends::direct(&lab, underlay, [&[], &[]]).check(50, 5000);
    }
}

#[test]
fn where_super_frames_cross_the_underlay_whole() {
    let Some(lab) = Lab::new("whole") else { return };
    let underlay = Underlay {
        cable: false,
        ..USUAL
    };
    Ends::direct(&lab, underlay, [&[], &[]]).check(100, 10_000);
}

#[test]
fn between_a_router_with_offloads_and_one_without() {
    let Some(lab) = Lab::new("simple") else { return };
    Ends::direct(&lab, USUAL, [&["--no-offload"], &[]]).check(20, 5000);
}

#[test]
fn from_and_to_a_container_that_leaves_nothing_to_anybody() {
    let Some(lab) = Lab::new("nothing") else { return };
    let ends = Ends::direct(&lab, USUAL, [&[], &[]]);
    let eth0 = End {
        netns: &ends.left.netns,
        ifname: "eth0",
    };
    wire::leave_nothing(eth0).unwrap();
    ends.check(50, 5000);
}

#[test]
fn runs_of_datagrams_from_a_container() {
    let Some(lab) = Lab::new("runs") else { return };
    let ends = Ends::direct(&lab, USUAL, [&[], &[]]);
    for to in [ends.right.v4, ends.right.v6] {
        runs_of_datagrams(&ends.left, &ends.right, to, 500);
    }
    ends.nothing_was_odd();
}

#[test]
fn with_four_lanes() {
    let lanes: &[&str] = &["--lanes", "4"];
    // What one end's lanes seal any number of lanes open at the other.
    for (name, other) in [
        ("lanesfour", lanes),
        ("lanesone", &["--lanes", "1"]),
        ("lanesthree", &["--lanes", "3", "--no-offload"]),
    ] {
        // A laboratory each: routers of an earlier one remember containers by a path that may lead elsewhere by now.
        let Some(lab) = Lab::new(name) else { return };
        let ends = Ends::direct(&lab, USUAL, [lanes, other]);
        ends.check(20, 3000);
        at_once(&ends.left, &ends.right, 8, 20 * MEBIBYTE);
        ends.nothing_was_odd();
    }
}

#[test]
fn over_a_relay_with_four_lanes() {
    let Some(lab) = Lab::new("lanesrelay") else { return };
    let ends = Ends::relayed_with(&lab, &["--lanes", "4"]);
    ends.check(30, 5000);
    at_once(&ends.left, &ends.right, 8, 20 * MEBIBYTE);
    ends.nothing_was_odd();
}

/// What takes minutes: `bench/payload`.
#[test]
#[ignore = "takes two and a half minutes"]
fn across_a_renewal() {
    let Some(lab) = Lab::new("renewal") else { return };
    let ends = Ends::direct(&lab, USUAL, [&[], &[]]);
    // A session is renewed at the age of two minutes (`sleeve/tests/world/sessions.rs`).
    let time = Duration::from_secs(150);
    let (sent, lost) = for_so_long(&ends.left, &ends.right, ends.right.v4, time);
    println!("{sent} datagrams in {time:?}, {lost} lost");
    assert_eq!(lost, 0);
    ends.nothing_was_odd();
}

/// As above.
#[test]
#[ignore = "takes more than a minute"]
fn a_minute_of_saturation_loses_no_link() {
    let Some(lab) = Lab::new("saturation") else { return };
    let ends = Ends::direct(&lab, USUAL, [&["--lanes", "4"], &["--lanes", "4"]]);
    let until = std::time::Instant::now() + Duration::from_secs(60);
    let mut moved = 0;
    while std::time::Instant::now() < until {
        at_once(&ends.left, &ends.right, 8, 256 * MEBIBYTE);
        at_once(&ends.right, &ends.left, 8, 256 * MEBIBYTE);
        moved += 4096;
    }
    println!("{moved} MiB in a minute, eight streams at a time");
    for host in &ends.hosts {
        let log = host.log();
        assert!(!log.contains("link down"), "{}: {log}", host.name);
    }
    ends.nothing_was_odd();
}
