//! Routers find each other, keep in touch, go round what is broken, and come back.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../common/mod.rs"]
mod common;

mod blocked;
#[allow(unreachable_pub, reason = "shared with the simulator's tests")]
#[path = "../../../simulations/tests/common/keys.rs"]
mod keys;
mod links;
mod recording;
mod restart;
mod targets;

use common::{Lab, until};
use std::time::Duration;

#[test]
fn five_hosts_on_one_switch_see_each_other_within_three_seconds() {
    let Some(lab) = Lab::new("five") else { return };
    let (_switch, hosts) = lab.hosts_on_a_switch(5);
    let mut routers = vec![hosts[0].launch(&[])];
    for host in &hosts[1..] {
        routers.push(host.launch(&["10.9.0.1"]));
    }
    let last = routers.last().unwrap().started;
    let (_, _) = until("all five see five", Duration::from_secs(3), || {
        hosts.iter().all(|host| host.reachable().len() == 5).then_some(())
    });
    assert!(last.elapsed() < Duration::from_secs(3), "{:?}", last.elapsed());
    for host in &hosts {
        assert_eq!(host.status()["encrypted"], true);
    }
}
