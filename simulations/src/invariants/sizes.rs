//! Tables, queues and hop counts stay within their bounds.

use super::{Seen, Violation};
use crate::{HostId, World};
use mesh::DropReason;
use std::collections::BTreeMap;

/// What a router ends a link with that takes longer to send: `MAX_BACKLOG` of the daemon.
const BACKLOG: usize = 16 << 20;
/// Counted where something went over too many hops. Nothing ever does unless it goes in circles.
pub(super) const HOP_LIMITS: [DropReason; 2] = [DropReason::HopLimit, DropReason::ControlHopLimit];

/// How often either hop limit was met by each run of a router so far.
#[derive(Debug, Default)]
pub(super) struct Hops(BTreeMap<HostId, (u64, [u64; 2])>);

/// Looks at all routers, and at what waits on their links.
pub(super) fn tables(world: &World, seen: &mut Seen, found: &mut Vec<Violation>) {
    let at = world.now();
    for host in world.running() {
        let (Some(router), run) = (world.router(host), world.hosts[host.0].run) else {
            continue;
        };
        let full = router.mesh.sizes().filter(|size| size.is > size.most);
        found.extend(full.map(|size| Violation::TooLarge {
            host,
            at,
            what: size.what,
            is: size.is,
            most: size.most,
        }));
        let counts = HOP_LIMITS.map(|reason| router.drops.get(reason));
        let (known, before) = seen.hops.0.entry(host).or_default();
        if *known != run {
            (*known, *before) = (run, [0; 2]);
        }
        let met = HOP_LIMITS
            .into_iter()
            .zip(counts.into_iter().zip(*before))
            .filter(|(_, (now, before))| now > before);
        found.extend(met.map(|(reason, _)| Violation::HopLimit { host, at, reason }));
        *before = counts;
    }
    for end in world
        .connections
        .iter()
        .flat_map(|(_, connection)| &connection.ends)
    {
        let is: usize = end.waiting.iter().map(|packet| packet.bytes().len()).sum();
        if is > BACKLOG {
            found.push(Violation::TooLarge {
                host: end.host,
                at,
                what: "bytes that wait on a link",
                is,
                most: BACKLOG,
            });
        }
    }
}
