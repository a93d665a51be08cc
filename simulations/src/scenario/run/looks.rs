//! Whether an expectation holds now, and what stands against it.

use super::stage::Stage;
use super::traffic::Streams;
use super::{Waiting, host};
use crate::HostId;
use crate::scenario::{Expected, Select, Time};
use mesh::{DropReason, Instant};
use std::time::Duration;

/// Frames sent within the last second may still be on their way.
const UNDER_WAY: Duration = Duration::from_secs(1);

/// The beginning of the window that an expectation is about, if it is about one.
pub(super) fn window(expected: &Expected) -> Option<Time> {
    match expected {
        Expected::NoLinkChurn(window) => Some(window.since),
        Expected::ControlBytes(bytes) => Some(bytes.since),
        _ => None,
    }
}

/// What stands against it.
pub(super) fn against(
    expected: &Expected,
    waiting: &Waiting,
    stage: &Stage,
    streams: &Streams,
    now: Instant,
) -> Vec<String> {
    let look = Look { stage };
    match expected {
        Expected::Converged(of) => look.converged(of),
        Expected::Reachable(between) => look.pairs(between, "does not reach", |a, b| look.reaches(a, b)),
        Expected::Unreachable(between) => look.pairs(between, "reaches", |a, b| !look.reaches(a, b)),
        Expected::Routable(between) => {
            look.pairs(between, "has no data route to", |a, b| look.hops(a, b).is_some())
        }
        Expected::Path(path) => look.path(path),
        Expected::Direct(between) => look.pairs(between, "has no direct data route to", |a, b| {
            look.hops(a, b) == Some(1)
        }),
        Expected::Relayed(between) => look.pairs(between, "has no relayed data route to", |a, b| {
            look.hops(a, b).is_some_and(|hops| hops > 1)
        }),
        Expected::Linked(between) => {
            look.pairs(between, "has no link with", |a, b| stage.world.links(a, b) > 0)
        }
        Expected::Unlinked(between) => {
            look.pairs(between, "has a link with", |a, b| stage.world.links(a, b) == 0)
        }
        Expected::Links(links) => look.each(&links.of, |host| {
            let count = stage
                .world
                .router(host)
                .map_or(0, |router| router.mesh.links().len());
            let fits = (links.min..=links.max).contains(&count);
            (!fits).then(|| format!("router {} has {count} links", host.0))
        }),
        Expected::NoLinkChurn(_) => {
            let changes = stage.churn().saturating_sub(waiting.churn_before.unwrap_or(0));
            some(changes > 0, || format!("{changes} times a link came or went"))
        }
        Expected::Delivered(delivered) => {
            let until = delivered
                .until
                .map_or(now - UNDER_WAY, |until| Instant(0) + until.0);
            let came = streams.came(&delivered.stream, Instant(0) + delivered.since.0, until);
            let share = came.came as f64 / came.sent.max(1) as f64;
            let fits = share >= delivered.share.0 && came.sent > 0;
            some(!fits, || {
                let missing = came.missing.join("; ");
                format!("{} of {} frames came: {missing}", came.came, came.sent)
            })
        }
        Expected::ControlBytes(bytes) => {
            let before = waiting.sent_before.clone().unwrap_or_default();
            look.each(&bytes.of, |host| {
                let sent = stage.control_sent(host) - before.get(host.0).copied().unwrap_or(0);
                (sent >= bytes.below.0).then(|| format!("router {} sent {sent} bytes", host.0))
            })
        }
        Expected::Known(known) => look.each(&known.of, |host| {
            let count = stage
                .world
                .router(host)
                .map_or(0, |router| router.mesh.peers().len());
            let fits = (known.min..=known.max).contains(&count);
            (!fits).then(|| format!("router {} knows {count} routers", host.0))
        }),
        Expected::Refused(refused) => {
            let reason = DropReason::ALL
                .iter()
                .find(|reason| reason.name() == refused.reason);
            let by = look.select(&refused.by).into_iter();
            let counts = by.filter_map(|host| Some(stage.world.router(host)?.drops.get(*reason?)));
            let count: u64 = counts.sum();
            let fits = count >= refused.min && refused.max.is_none_or(|max| count <= max);
            some(!fits, || format!("{count} times"))
        }
        Expected::DialError(error) => look.each(&error.of, |host| {
            let targets = stage.world.router(host).map(|router| router.mesh.targets());
            let errors: Vec<_> = targets
                .into_iter()
                .flatten()
                .filter_map(|target| target.error)
                .collect();
            let fits = errors.iter().any(|text| text.contains(&error.contains));
            (!fits).then(|| format!("router {}: {errors:?}", host.0))
        }),
        Expected::SessionSecret(session) => look.session_secret(&session.between, &session.secret),
    }
}

fn some(is_wrong: bool, what: impl FnOnce() -> String) -> Vec<String> {
    is_wrong.then(what).into_iter().collect()
}

struct Look<'a> {
    stage: &'a Stage,
}

impl Look<'_> {
    /// The routers of a selection. Selections that draw do it the same way at every look.
    fn select(&self, select: &Select) -> Vec<HostId> {
        let routers = self.stage.select(select, "expect", 0).into_iter();
        routers.map(host).collect()
    }

    fn reaches(&self, a: HostId, b: HostId) -> bool {
        self.stage.world.reaches(a, b)
    }

    fn hops(&self, a: HostId, b: HostId) -> Option<usize> {
        self.stage.world.hops(a, b)
    }

    fn each(&self, of: &Select, wrong: impl Fn(HostId) -> Option<String>) -> Vec<String> {
        let hosts = self.select(of).into_iter();
        let running = hosts.filter(|host| self.stage.world.router(*host).is_some());
        running.filter_map(wrong).collect()
    }

    /// Both ways between two selections, as routers that run see it; those that don't are there to be reached or not.
    fn pairs(&self, between: &[Select; 2], what: &str, fits: impl Fn(HostId, HostId) -> bool) -> Vec<String> {
        let [a, b] = [self.select(&between[0]), self.select(&between[1])];
        let there = a.iter().flat_map(|a| b.iter().map(move |b| (*a, *b)));
        let both = there.flat_map(|(a, b)| [(a, b), (b, a)]).filter(|(a, b)| a != b);
        let runs =
            |host: &HostId| self.stage.world.router(*host).is_some() && !self.stage.world.is_paused(*host);
        let wrong = both.filter(|(a, b)| runs(a) && !fits(*a, *b));
        wrong
            .map(|(a, b)| format!("router {} {what} router {}", a.0, b.0))
            .collect()
    }

    fn converged(&self, of: &Select) -> Vec<String> {
        let settled = self.stage.sight.settled();
        let members = self.stage.truth.members();
        let wanted = self.select(of).into_iter().filter(|host| members.contains(host));
        let unsettled = wanted.filter(|host| !settled.alike.contains(host));
        unsettled.map(|host| self.unsettled(host)).collect()
    }

    fn unsettled(&self, host: HostId) -> String {
        let others = self
            .stage
            .world
            .hosts()
            .filter(|other| !self.stage.is_outsider(other.0));
        let wrong: Vec<_> = others
            .filter(|other| *other != host)
            .filter_map(|other| {
                let (reaches, could) = (self.reaches(host, other), self.stage.truth.joins(host, other));
                match (reaches, could) {
                    (false, true) => Some(format!("does not reach {}", other.0)),
                    (true, false) if self.stage.world.router(other).is_none() => {
                        Some(format!("reaches {}, which does not run", other.0))
                    }
                    (true, false) => Some(format!("reaches {}, which it can't", other.0)),
                    _ => None,
                }
            })
            .take(4)
            .collect();
        if wrong.is_empty() {
            format!("router {} holds other records than most", host.0)
        } else {
            format!("router {} {}", host.0, wrong.join(", "))
        }
    }

    fn path(&self, path: &[usize]) -> Vec<String> {
        let ids: Vec<_> = path
            .iter()
            .map(|router| self.stage.world.id(host(*router)))
            .collect();
        let (Some(first), Some(last)) = (path.first(), ids.last()) else {
            return Vec::new();
        };
        let hops = self
            .stage
            .world
            .router(host(*first))
            .and_then(|router| router.hops(last));
        some(hops.as_deref() != ids.get(1..), || {
            let hosts = self.stage.world.hosts();
            let names: Vec<_> = hosts.map(|host| (self.stage.world.id(host), host.0)).collect();
            let number = |id| names.iter().find(|(own, _)| own == id).map(|(_, number)| *number);
            let hops = hops
                .as_ref()
                .map(|hops| hops.iter().filter_map(number).collect::<Vec<_>>());
            format!("the route is {hops:?}")
        })
    }

    fn session_secret(&self, between: &[Select; 2], name: &str) -> Vec<String> {
        let wanted = self.stage.secrets.get(name).map(crypto::Secret::id);
        self.pairs(between, "has no session under that secret with", |a, b| {
            let id = self.stage.world.id(b);
            self.stage.world.router(a).is_some_and(|router| {
                let sessions = router.sleeve.sessions(router.time());
                let with = sessions.iter().find(|session| session.peer == id);
                with.is_some_and(|session| Some(session.secret.0) == wanted.map(|id| id.0))
            })
        })
    }
}
