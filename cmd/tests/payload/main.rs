//! What containers send arrives as it was sent, whichever way it takes and whoever leaves what to whom.
//!
//! Streams are compared by SHA-256. Datagrams have a number and a size that follows from it, and bytes that follow from
//! both. `WEFT_PAYLOAD=full` (`bench/payload`) sends 10 GiB and a million datagrams each way there is.

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
use sent::{MEBIBYTE, at_once, datagrams, datagrams_until, in_full, runs_of_datagrams, stream, stream_while};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

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

    /// So much in streams, over both IP versions and back, and so many datagrams of up to `largest` bytes.
    fn check_up_to(&self, largest: usize, mebibytes: usize, count: u32) {
        let (mebibytes, count) = if in_full() {
            (10_240, 1_000_000)
        } else {
            (mebibytes, count)
        };
        for to in [self.right.v4, self.right.v6] {
            stream(&self.left, &self.right, to, mebibytes * 2 / 5 * MEBIBYTE);
            datagrams(&self.left, &self.right, to, count / 2, largest);
        }
        stream(&self.right, &self.left, self.left.v4, mebibytes / 5 * MEBIBYTE);
        self.nothing_was_odd();
    }

    fn check(&self, mebibytes: usize, count: u32) {
        self.check_up_to(sent::USUAL, mebibytes, count);
    }

    /// As [`Self::check`], and eight streams at the same time, so that all lanes have work.
    fn check_lanes(&self, mebibytes: usize, count: u32) {
        let each = if in_full() { 200 } else { 20 };
        at_once(&self.left, &self.right, 8, each * MEBIBYTE);
        self.check(mebibytes, count);
    }

    /// Sessions that either end has made with the other so far: one, and one more with each renewal.
    fn sessions(&self) -> [u64; 2] {
        [(0, "right"), (1, "left")].map(|(host, other)| {
            let row = self.hosts[host].row("peers", "name", other).unwrap();
            row["sessions"].as_u64().unwrap()
        })
    }

    /// Two streams and numbered datagrams run until both ends have new keys, and a while longer; no datagram may be lost.
    fn check_renewal(&self) {
        // A session is renewed at the age of two minutes (`sleeve/tests/world/sessions.rs`).
        const LONGEST: Duration = Duration::from_secs(160);
        const BEYOND: Duration = Duration::from_secs(10);
        let (before, begun) = (self.sessions(), Instant::now());
        let over = AtomicBool::new(false);
        let is_over = || over.load(Ordering::Relaxed);
        let more = |_| if is_over() { 0 } else { MEBIBYTE };
        let (left, right) = (&self.left, &self.right);
        let (renewed, streams, (sent, lost)) = std::thread::scope(|scope| {
            let there = scope.spawn(|| stream_while(left, right, right.v4, more));
            let back = scope.spawn(|| stream_while(right, left, left.v6, more));
            let numbered = scope.spawn(|| datagrams_until(left, right, right.v4, is_over));
            let is_new = || {
                let now = self.sessions();
                now[0] > before[0] && now[1] > before[1]
            };
            let ended = || there.is_finished() || back.is_finished() || numbered.is_finished();
            while !is_new() && begun.elapsed() < LONGEST && !ended() {
                std::thread::sleep(Duration::from_millis(500));
            }
            let renewed = begun.elapsed();
            std::thread::sleep(BEYOND);
            over.store(true, Ordering::Relaxed);
            let streams = there.join().unwrap() + back.join().unwrap();
            (renewed, streams, numbered.join().unwrap())
        });
        let after = self.sessions();
        println!(
            "  new keys after {renewed:.0?}: sessions {before:?}, then {after:?}; {} MiB in streams; {lost} of {sent} datagrams lost",
            streams / MEBIBYTE
        );
        assert!(
            after[0] > before[0] && after[1] > before[1],
            "nothing was renewed"
        );
        assert_eq!(lost, 0);
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
fn straight() {
    let Some(lab) = Lab::new("straight") else { return };
    Ends::direct(&lab, USUAL, [&[], &[]]).check(1024, 100_000);
}

#[test]
fn over_a_relay() {
    let Some(lab) = Lab::new("relayed") else { return };
    Ends::relayed(&lab).check(250, 20_000);
}

#[test]
fn over_an_underlay_of_ipv6() {
    let Some(lab) = Lab::new("six") else { return };
    let underlay = Underlay { ipv6: true, ..USUAL };
    Ends::direct(&lab, underlay, [&[], &[]]).check(250, 20_000);
}

#[test]
fn over_a_narrow_underlay() {
    let Some(lab) = Lab::new("narrow") else { return };
    let underlay = Underlay { mtu: 1280, ..USUAL };
    Ends::direct(&lab, underlay, [&[], &[]]).check(125, 10_000);
}

#[test]
fn over_a_wide_underlay() {
    let Some(lab) = Lab::new("wide") else { return };
    let underlay = Underlay { mtu: 9000, ..USUAL };
    Ends::direct(&lab, underlay, [&[], &[]]).check_up_to(sent::JUMBO, 125, 10_000);
}

#[test]
fn where_super_frames_cross_the_underlay_whole() {
    let Some(lab) = Lab::new("whole") else { return };
    let underlay = Underlay {
        cable: false,
        ..USUAL
    };
    Ends::direct(&lab, underlay, [&[], &[]]).check(250, 20_000);
}

#[test]
fn without_offloads_at_the_sender() {
    let Some(lab) = Lab::new("simplesender") else {
        return;
    };
    Ends::direct(&lab, USUAL, [&["--no-offload"], &[]]).check(50, 10_000);
}

#[test]
fn without_offloads_at_the_receiver() {
    let Some(lab) = Lab::new("simplereceiver") else {
        return;
    };
    Ends::direct(&lab, USUAL, [&[], &["--no-offload"]]).check(50, 10_000);
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
    ends.check(100, 10_000);
}

#[test]
fn runs_of_datagrams_from_a_container() {
    let Some(lab) = Lab::new("runs") else { return };
    let ends = Ends::direct(&lab, USUAL, [&[], &[]]);
    for to in [ends.right.v4, ends.right.v6] {
        // Of thirty each.
        let runs = if in_full() { 17_000 } else { 500 };
        runs_of_datagrams(&ends.left, &ends.right, to, runs);
    }
    ends.nothing_was_odd();
}

const FOUR: &[&str] = &["--lanes", "4"];

#[test]
fn with_four_lanes() {
    let Some(lab) = Lab::new("lanesfour") else { return };
    Ends::direct(&lab, USUAL, [FOUR, FOUR]).check_lanes(50, 5000);
}

/// What one end's lanes seal any number of lanes open at the other.
#[test]
fn from_four_lanes_to_one() {
    let Some(lab) = Lab::new("lanesone") else { return };
    Ends::direct(&lab, USUAL, [FOUR, &["--lanes", "1"]]).check_lanes(50, 5000);
}

#[test]
fn from_four_lanes_to_three_without_offloads() {
    let Some(lab) = Lab::new("lanesthree") else { return };
    let three = &["--lanes", "3", "--no-offload"];
    Ends::direct(&lab, USUAL, [FOUR, three]).check_lanes(50, 5000);
}

#[test]
fn over_a_relay_with_four_lanes() {
    let Some(lab) = Lab::new("lanesrelay") else { return };
    Ends::relayed_with(&lab, FOUR).check_lanes(75, 10_000);
}

/// What takes minutes: `bench/payload`.
#[test]
#[ignore = "takes more than two minutes"]
fn across_a_renewal() {
    let Some(lab) = Lab::new("renewal") else { return };
    Ends::direct(&lab, USUAL, [&[], &[]]).check_renewal();
}

/// As above.
#[test]
#[ignore = "takes more than two minutes"]
fn across_a_renewal_with_four_lanes() {
    let Some(lab) = Lab::new("renewalfour") else {
        return;
    };
    Ends::direct(&lab, USUAL, [FOUR, FOUR]).check_renewal();
}

/// As above.
#[test]
#[ignore = "takes more than a minute"]
fn a_minute_of_saturation_loses_no_link() {
    let Some(lab) = Lab::new("saturation") else { return };
    let ends = Ends::direct(&lab, USUAL, [FOUR, FOUR]);
    let begun = Instant::now();
    let mut moved = 0;
    while begun.elapsed() < Duration::from_secs(60) {
        at_once(&ends.left, &ends.right, 8, 256 * MEBIBYTE);
        at_once(&ends.right, &ends.left, 8, 256 * MEBIBYTE);
        moved += 4096;
    }
    println!(
        "  {moved} MiB in {:.0?}, eight streams at a time",
        begun.elapsed()
    );
    for host in &ends.hosts {
        let log = host.log();
        assert!(!log.contains("link down"), "{}: {log}", host.name);
    }
    ends.nothing_was_odd();
}
