//! How long routers took after each event until they knew the mesh as it then was.

use super::report::{Converged, EventReport};
use super::sight::Settled;
use crate::{HostId, Traffic};
use mesh::Instant;
use std::collections::BTreeMap;

/// Events so far, the last one still being measured.
#[derive(Debug, Default)]
pub(super) struct Settling {
    done: Vec<EventReport>,
    current: Option<Current>,
    /// The sight that was last looked at since the current event; `None`: none was.
    seen: Option<u64>,
}

#[derive(Debug)]
struct Current {
    at: Instant,
    what: String,
    traffic: Traffic,
    /// When each router was settled, after it last reached whom it should not, or not whom it should.
    routers: BTreeMap<HostId, Option<Instant>>,
}

impl Settling {
    pub(super) fn new() -> Self {
        let mut settling = Self::default();
        settling.event(Instant(0), "launch".into(), Traffic::default());
        settling
    }

    /// Something is done now. What is done at one instant is one event.
    pub(super) fn event(&mut self, at: Instant, what: String, traffic: Traffic) {
        if let Some(current) = self.current.as_mut().filter(|current| current.at == at) {
            current.what = format!("{}; {what}", current.what);
            return;
        }
        self.close(traffic);
        self.seen = None;
        self.current = Some(Current {
            at,
            what,
            traffic,
            routers: BTreeMap::new(),
        });
    }

    /// Of these routers some reach just those they should, and some of these also hold what the others hold. Those
    /// that are gone when the next event comes don't count. Records that change later, while everybody is reached,
    /// are no new convergence.
    pub(super) fn look(&mut self, now: Instant, members: &[HostId], sight: u64, settled: &Settled) {
        // The same sight says nothing new of the same event.
        if self.seen.replace(sight) == Some(sight) {
            return;
        }
        let Some(current) = &mut self.current else { return };
        current.routers.retain(|host, _| members.contains(host));
        for host in members {
            let since = current.routers.entry(*host).or_insert(None);
            if !settled.reaching.contains(host) {
                *since = None;
            } else if settled.alike.contains(host) {
                since.get_or_insert(now);
            }
        }
    }

    fn close(&mut self, traffic: Traffic) {
        let Some(current) = self.current.take() else {
            return;
        };
        let started = current.at;
        let times = current.routers.values().map(|since| {
            let took = since.as_ref()?.since(started).as_millis();
            u64::try_from(took).ok()
        });
        let routers = current.routers.len().max(1) as u64;
        self.done.push(EventReport {
            at_ms: started.0 / 1000,
            what: current.what,
            converged_ms: Converged::of(times.collect()),
            bytes_per_router: (traffic - current.traffic).control_bytes() / 2 / routers,
        });
    }

    /// What was measured.
    pub(super) fn finish(&mut self, traffic: Traffic) -> Vec<EventReport> {
        self.close(traffic);
        std::mem::take(&mut self.done)
    }
}
