//! Two Docker Engines on two hosts, and a third router between them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../common/mod.rs"]
mod common;

mod by_name;
mod cycles;
mod engine;
mod options;
mod outage;
mod protocol;
mod swarm;
mod talk;

use common::{Host, Lab, Network, Router, lacks, wire};
use std::time::Duration;

/// A – R – B: engines on A and B, which have no network in common.
pub(crate) struct Hosts {
    pub(crate) hosts: [Host; 3],
    /// Of A, R, B.
    pub(crate) routers: [Option<Router>; 3],
    _lab: Lab,
}

/// Where A and B answer names, once they are exposed there.
pub(crate) const NAMES: [&str; 2] = ["10.47.255.1", "10.47.255.2"];

/// True for addresses of the default network.
pub(crate) fn is_home(address: &str) -> bool {
    let address: std::net::Ipv4Addr = address.parse().unwrap();
    u32::from(address) >> 20 == 0x0a2
}

/// How to reach R from A, and from B.
const TO_R: [&str; 2] = ["10.1.0.1", "10.2.0.1"];

impl Hosts {
    pub(crate) fn new(name: &'static str) -> Option<Self> {
        if lacks(&engine::NEEDED) {
            return None;
        }
        let lab = Lab::new(name)?;
        let hosts = ["a", "r", "b"].map(|name| lab.host(name));
        let [a, r, b] = &hosts;
        wire(Network(1), r, a);
        wire(Network(2), r, b);
        let middle = r.launch(&[]);
        let routers = [
            Some(a.launch(&[TO_R[0], "--dns-listen", NAMES[0]])),
            Some(middle),
            Some(b.launch(&[TO_R[1], "--dns-listen", NAMES[1]])),
        ];
        a.wait_for_peers(3);
        b.wait_for_peers(3);
        a.wait_for_hops("b", 2, Duration::from_secs(10));
        Some(Self {
            hosts,
            routers,
            _lab: lab,
        })
    }
}
