//! What the stories share.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod browser;
pub mod keys;

use simulations::{HostId, World};
use std::time::Duration;

pub fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// So many routers with a container each, launched one after another with the first one's address.
pub fn star(world: &mut World, count: usize) -> Vec<HostId> {
    let hosts = world.add_hosts(count);
    for &host in &hosts {
        let first: &[HostId] = if host == hosts[0] { &[] } else { &hosts[..1] };
        world.launch(host, first);
        world.attach(host);
    }
    hosts
}
