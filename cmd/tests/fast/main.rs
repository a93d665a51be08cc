//! The kernel's fast path, with real routers in namespaces: frames pass although no router runs, and what is not proven
//! travels over sleeve.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../common/mod.rs"]
mod common;

mod block;
mod change;
mod choice;
mod figures;
mod groups;
mod outage;
mod plain;

use common::{Container, Host, Lab, Network, Router, until, wire};
use std::time::Duration;

/// Every network of these tests.
pub(crate) const TRUST: [&str; 2] = ["--trusted-subnets", "10.0.0.0/8,fd00::/8"];
/// A pair's traffic is on the fast path this long after its route last changed, with room for a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(8);

/// A – R – B, where A and B have no network in common, and a container at both ends.
pub(crate) struct Line {
    pub(crate) left: Container,
    pub(crate) right: Container,
    pub(crate) routers: Vec<Router>,
    /// A, R, B.
    pub(crate) hosts: [Host; 3],
}

impl Line {
    pub(crate) fn new(lab: &Lab) -> Self {
        let hosts = ["a", "r", "b"].map(|name| lab.host(name));
        let [a, r, b] = &hosts;
        wire(Network(1), r, a);
        wire(Network(2), r, b);
        let routers = vec![
            r.launch(&TRUST),
            a.launch(&[&TRUST[..], &["10.1.0.1"]].concat()),
            b.launch(&[&TRUST[..], &["10.2.0.1"]].concat()),
        ];
        a.wait_for_peers(3);
        b.wait_for_peers(3);
        let (left, right) = (a.container(1), b.container(2));
        left.wait_for(&right);
        Self {
            left,
            right,
            routers,
            hosts,
        }
    }

    /// Waits until frames take the fast path both ways between the ends, and on each hop.
    pub(crate) fn wait_for_fast(&self, time: Duration) {
        let [a, r, b] = &self.hosts;
        for (from, to) in [(a, "r"), (a, "b"), (b, "r"), (b, "a"), (r, "a"), (r, "b")] {
            wait_for_overlay(from, to, "fast", time);
        }
    }
}

/// Which overlay frames from `host` to the router called `name` take.
pub(crate) fn overlay(host: &Host, name: &str) -> Option<String> {
    let row = host.row("routes", "name", name)?;
    row["overlay"].as_str().map(str::to_owned)
}

pub(crate) fn wait_for_overlay(host: &Host, name: &str, wanted: &str, time: Duration) {
    let what = format!("{} reaches {name} over {wanted}", host.name);
    until(&what, time, || {
        (overlay(host, name).as_deref() == Some(wanted)).then_some(())
    });
}

/// Why frames from `host` to its neighbour `name` don't take the fast path.
pub(crate) fn why(host: &Host, name: &str) -> String {
    let row = host.data_row(name).unwrap_or_default();
    row["overlay_reason"].as_str().unwrap_or_default().to_owned()
}
