//! Packets between two hosts stop passing: their traffic takes a relay, and comes back when they pass again.

use crate::common::traffic::ping;
use crate::common::{Container, Host, Lab, Router, Switch, until};
use std::time::{Duration, Instant};

/// Three lost keepalives of a second each, and one more.
const NOTICED: Duration = Duration::from_secs(4);
const HEALED: Duration = Duration::from_secs(30);

/// Three routers on a switch; the second and the third have a container.
struct Triangle {
    left: Container,
    right: Container,
    _routers: Vec<Router>,
    hosts: Vec<Host>,
    _switch: Switch,
}

impl Triangle {
    fn new(lab: &Lab) -> Self {
        let (switch, hosts) = lab.hosts_on_a_switch(3);
        let routers = hosts
            .iter()
            .map(|host| host.launch(if host.name == "h1" { &[] } else { &["10.9.0.1"] }));
        let routers = routers.collect();
        hosts.iter().for_each(|host| host.wait_for_peers(3));
        let (left, right) = (hosts[1].container(2), hosts[2].container(3));
        left.wait_for(&right);
        hosts[1].wait_for_direct("h3");
        hosts[2].wait_for_direct("h2");
        Self {
            left,
            right,
            _routers: routers,
            hosts,
            _switch: switch,
        }
    }

    fn pair(&self) -> (&Host, &Host) {
        (&self.hosts[1], &self.hosts[2])
    }

    /// Both ends relay in time, containers go on, and no datagram circles.
    fn relays(&self) {
        let (left, right) = self.pair();
        let start = Instant::now();
        left.wait_for_hops("h3", 2, NOTICED);
        right.wait_for_hops("h2", 2, NOTICED.saturating_sub(start.elapsed()));
        until(
            "the containers talk by way of the relay",
            Duration::from_secs(1),
            || self.left.pings(self.right.v4).then_some(()),
        );
        let count = ping(&self.left, self.right.v6, 40, Duration::from_millis(25));
        assert_eq!(count.lost, 0, "{count:?}");
        assert_eq!(trace(left, "h3"), ["h1", "h3"]);
        assert_eq!(trace(right, "h2"), ["h1", "h2"]);
        for host in &self.hosts {
            assert_eq!(host.drops("hop_limit"), 0, "on {}", host.name);
        }
    }

    fn heals(&self) {
        let (left, right) = self.pair();
        let start = Instant::now();
        left.wait_for_hops("h3", 1, HEALED);
        right.wait_for_hops("h2", 1, HEALED.saturating_sub(start.elapsed()));
        self.left.wait_for(&self.right);
    }
}

/// Names of the hops that `weft trace` shows; all of them must have answered.
fn trace(from: &Host, to: &str) -> Vec<String> {
    let out = from.weft(&["--json", "trace", to]).ok();
    let hops = out.lines().map(|line| {
        let hop: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(hop["rtt_us"].is_u64(), "{out}");
        hop["name"].as_str().unwrap().to_owned()
    });
    hops.collect()
}

#[test]
fn a_pair_that_hears_nothing_of_each_other_is_relayed_and_direct_again_after() {
    let Some(lab) = Lab::new("blocked-both") else {
        return;
    };
    let triangle = Triangle::new(&lab);
    let (left, right) = triangle.pair();
    let block = (left.deafen(right), right.deafen(left));
    triangle.relays();
    drop(block);
    triangle.heals();
}

#[test]
fn a_pair_of_which_one_is_deaf_to_the_other_is_relayed_and_direct_again_after() {
    let Some(lab) = Lab::new("blocked-one") else {
        return;
    };
    let triangle = Triangle::new(&lab);
    let (left, right) = triangle.pair();
    let block = right.deafen(left);
    triangle.relays();
    drop(block);
    triangle.heals();
}
