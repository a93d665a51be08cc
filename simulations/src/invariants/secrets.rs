//! A secret that is retired opens nothing any more, and a session that is over stays so, whatever clocks do.

use super::{Seen, Violation};
use crate::{HostId, World};
use mesh::{Instant, PeerId, SecretId};
use std::collections::BTreeMap;
use std::time::Duration;

/// A router that has just retired a secret has so long to part with those that know no other, and to make its sessions
/// anew.
const GRACE: Duration = Duration::from_secs(10);
/// No session is used that is older (WireGuard's REJECT_AFTER_TIME). Its router may not have been woken since: it was
/// asleep.
const OLDEST: Duration = Duration::from_secs(180);
/// Two handshakes that cross leave two sessions, which are a few seconds apart.
const CROSSING: Duration = Duration::from_secs(10);

/// When the session was made that a router's run was last seen to use with each other, in its own time.
#[derive(Debug, Default)]
pub(super) struct Sessions(BTreeMap<(HostId, u64, PeerId), Instant>);

#[cfg(test)]
impl Sessions {
    pub(super) fn note(&mut self, whose: (HostId, u64, PeerId), born: Instant) {
        self.0.insert(whose, born);
    }
}

/// Since when a link or session is seen that is one no more.
#[derive(Debug, Default)]
pub(super) struct Apart(BTreeMap<(HostId, PeerId, &'static str), Instant>);

impl Apart {
    /// True if this has been seen at every look for longer than a router may take.
    fn is_late(&mut self, now: Instant, what: (HostId, PeerId, &'static str)) -> bool {
        now.since(*self.0.entry(what).or_insert(now)) > GRACE
    }
}

impl World {
    /// A link comes up between two routers that proved this secret to each other.
    pub(crate) fn look_at_secret(&mut self, host: HostId, far: HostId, secret: crypto::SecretId) {
        let (at, peer) = (self.now(), self.id(far));
        let is_valid = |router: &crate::Router| router.disk.keyring.get(&secret).is_some();
        if !self.router(host).is_some_and(is_valid) {
            let secret = SecretId(secret.0);
            self.violated(Violation::RetiredSecret { host, at, secret });
        }
        if !self.share(host, far) {
            self.violated(Violation::LinkOfStrangers { host, at, peer });
        }
    }

    /// Whether two routers have a secret in common; one that does not run may come back with any.
    fn share(&self, a: HostId, b: HostId) -> bool {
        let ids = |host| self.router(host).map(|router| router.disk.keyring.ids());
        match (ids(a), ids(b)) {
            (Some(a), Some(b)) => a.iter().any(|id| b.contains(id)),
            _ => true,
        }
    }
}

/// Links between routers without a common secret.
pub(super) fn links(world: &World, seen: &mut Seen, found: &mut Vec<Violation>) {
    let mut keyrings = world
        .running()
        .filter_map(|host| Some(world.router(host)?.disk.keyring.ids()));
    let first = keyrings.next();
    // Nearly always all have the same ones.
    if keyrings.all(|ids| Some(ids) == first) {
        return seen.apart.0.clear();
    }
    let now = world.now();
    let by_id: BTreeMap<_, _> = world.running().map(|host| (world.id(host), host)).collect();
    let awake = world.running().filter(|host| !world.is_paused(*host));
    for host in awake {
        let links = world.router(host).map(|router| router.mesh.links());
        for link in links.into_iter().flatten() {
            let what = (host, link.peer, "link");
            if by_id.get(&link.peer).is_none_or(|far| world.share(host, *far)) {
                seen.apart.0.remove(&what);
            } else if seen.apart.is_late(now, what) {
                let (at, peer) = (now, link.peer);
                found.push(Violation::LinkOfStrangers { host, at, peer });
            }
        }
    }
}

/// Sessions that are used though they should not be.
pub(super) fn sessions(world: &World, seen: &mut Seen, found: &mut Vec<Violation>) {
    let at = world.now();
    for host in world.running().filter(|host| !world.is_paused(*host)) {
        let (Some(router), run) = (world.router(host), world.hosts[host.0].run) else {
            continue;
        };
        let (time, valid) = (router.time(), router.disk.keyring.ids());
        for session in router.sleeve.sessions(time) {
            let peer = session.peer;
            let mut wrong = |why| found.push(Violation::OldSession { host, at, peer, why });
            let age = time.since(session.born);
            if age > OLDEST {
                wrong("that is too old");
            }
            let last = seen.sessions.0.entry((host, run, peer)).or_insert(session.born);
            if session.born + CROSSING < *last {
                wrong("that another had replaced");
            }
            *last = session.born.max(*last);
            let what = (host, peer, "session");
            if valid.iter().any(|id| id.0 == session.secret.0) {
                seen.apart.0.remove(&what);
            } else if seen.apart.is_late(at, what) {
                wrong("by a secret that it retired");
            }
        }
    }
}
