//! What must hold at rest, or come true in time: said, waited for, and explained when it does not.

use crate::{ContainerId, HostId, World};
use std::time::Duration;

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Frames made by [`World::all_deliver`] have this many bytes.
const FRAME: usize = 200;

/// An expectation that did not come true.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("seed {seed}, at {at_ms} ms: expected that {expected}; seen:\n  {}", seen.join("\n  "))]
pub struct Failure {
    /// The seed of the world.
    pub seed: u64,
    /// Virtual time in milliseconds.
    pub at_ms: u64,
    /// What should have been.
    pub expected: String,
    /// What stood against it, one thing a line.
    pub seen: Vec<String>,
}

impl World {
    /// Runs until `against` finds nothing that stands against the expectation; says how long that took.
    ///
    /// # Errors
    /// What still stood against it after `within`.
    pub fn expect(
        &mut self,
        within: Duration,
        expected: &str,
        against: impl Fn(&Self) -> Vec<String>,
    ) -> Result<Duration, Failure> {
        let start = self.now();
        loop {
            let seen = against(self);
            let waited = self.now().since(start);
            if seen.is_empty() {
                return Ok(waited);
            }
            if waited >= within {
                return Err(self.failure(expected, seen));
            }
            self.run(LOOK_EVERY.min(within.saturating_sub(waited)));
        }
    }

    /// A failure here and now.
    #[must_use]
    pub fn failure(&self, expected: &str, seen: Vec<String>) -> Failure {
        Failure {
            seed: self.seed,
            at_ms: self.now().0 / 1000,
            expected: expected.to_owned(),
            seen,
        }
    }

    /// Waits until every running router reaches every other over the control plane.
    ///
    /// # Errors
    /// Who does not reach whom.
    pub fn all_reachable(&mut self, within: Duration) -> Result<Duration, Failure> {
        let against = |world: &Self| world.pairs_where("does not reach", |a, b| !world.reaches(a, b));
        self.expect(within, "every router reaches every other", against)
    }

    /// Waits until every running router reaches every other, and by a direct data route.
    ///
    /// # Errors
    /// Who does not, and which way its route goes.
    pub fn all_direct(&mut self, within: Duration) -> Result<Duration, Failure> {
        let against = |world: &Self| {
            let mut seen = world.pairs_where("does not reach", |a, b| !world.reaches(a, b));
            for (a, b) in world.pairs().filter(|(a, b)| world.hops(*a, *b) != Some(1)) {
                let what = world.describe(a, b);
                seen.push(format!(
                    "host {} has no direct route to host {}: {what}",
                    a.0, b.0
                ));
            }
            seen
        };
        self.expect(within, "all routes are direct", against)
    }

    /// Waits until each pair of running routers has exactly one link.
    ///
    /// # Errors
    /// Which pairs have none or several.
    pub fn all_linked_once(&mut self, within: Duration) -> Result<Duration, Failure> {
        let against =
            |world: &Self| world.pairs_where("has not one link with", |a, b| world.links(a, b) != 1);
        self.expect(within, "each pair has one link", against)
    }

    /// Every container sends one frame to every other; after `within`, each must have come exactly once. `number`
    /// tells these frames from others; it must be new.
    ///
    /// # Errors
    /// Which frame came how often.
    pub fn all_deliver(&mut self, number: u64, within: Duration) -> Result<(), Failure> {
        let containers = self.containers();
        let pairs: Vec<_> = containers
            .iter()
            .flat_map(|&from| containers.iter().map(move |&to| (from, to)))
            .filter(|(from, to)| from != to)
            .collect();
        let numbered = |at: usize| number * 1_000_000 + at as u64;
        for (at, &(from, to)) in pairs.iter().enumerate() {
            self.send_to(from, to, numbered(at), FRAME);
        }
        self.run(within);
        let came = |at, to: ContainerId| self.container(to).count(numbered(at));
        let lines = pairs
            .iter()
            .enumerate()
            .filter(|&(at, &(_, to))| came(at, to) != 1);
        let lines = lines.map(|(at, &(from, to))| {
            let count = came(at, to);
            format!("from host {} to host {}: {count} times", from.host.0, to.host.0)
        });
        let seen: Vec<_> = lines.collect();
        if seen.is_empty() {
            Ok(())
        } else {
            Err(self.failure("a frame between each pair of containers comes exactly once", seen))
        }
    }

    /// Looks whether anything happened that must never, or grew that must not.
    ///
    /// # Errors
    /// What.
    pub fn no_excess(&self) -> Result<(), Failure> {
        let seen = self.excesses();
        if seen.is_empty() {
            Ok(())
        } else {
            Err(self.failure("nothing forbidden happened and all tables stay bounded", seen))
        }
    }

    /// Whether a router reaches another over the control plane.
    #[must_use]
    pub fn reaches(&self, from: HostId, to: HostId) -> bool {
        let to = self.id(to);
        self.router(from).is_some_and(|router| router.reaches(&to))
    }

    /// Hops of the data route between two routers, if there is one.
    #[must_use]
    pub fn hops(&self, from: HostId, to: HostId) -> Option<usize> {
        let to = self.id(to);
        self.router(from)?.hops(&to).map(|hops| hops.len())
    }

    /// Links a router has with another.
    #[must_use]
    pub fn links(&self, from: HostId, to: HostId) -> usize {
        let to = self.id(to);
        let links = self
            .router(from)
            .map(|router| router.mesh.links())
            .unwrap_or_default();
        links.iter().filter(|link| link.peer == to).count()
    }

    /// All ordered pairs of hosts with different, running routers.
    pub fn pairs(&self) -> impl Iterator<Item = (HostId, HostId)> {
        let pairs = self.running().flat_map(|a| self.running().map(move |b| (a, b)));
        pairs.filter(|(a, b)| self.id(*a) != self.id(*b))
    }

    /// What a router has of another, for people.
    fn describe(&self, from: HostId, to: HostId) -> String {
        let id = self.id(to);
        let Some(router) = self.router(from) else {
            return "no router runs there".into();
        };
        let routes = router.mesh.routes();
        let route = routes
            .iter()
            .find(|(peer, _)| *peer == id)
            .map(|(_, route)| route);
        let route = route.map_or("no route".into(), |route| {
            format!("{} hops of {} µs", route.path.len(), route.cost_us)
        });
        let paths = router.sleeve.paths(router.time());
        let path = paths.iter().find(|path| path.peer == id);
        let path = path.map_or("no data path".into(), |path| {
            format!("data path {:?} of {:?} µs", path.state, path.rtt_us)
        });
        format!("{route}; {} links; {path}", self.links(from, to))
    }

    fn pairs_where(&self, what: &str, is_so: impl Fn(HostId, HostId) -> bool) -> Vec<String> {
        let pairs = self.pairs().filter(|(a, b)| is_so(*a, *b));
        pairs
            .map(|(a, b)| format!("host {} {what} host {}", a.0, b.0))
            .collect()
    }
}
