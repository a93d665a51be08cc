//! What is seen of the routers at a look: who knows the mesh as it is, and which links stand.
//!
//! Looks come every 50 ms, and mostly nothing has changed. So each router is looked at again only if it did something
//! since ([`Router::changes`](crate::Router::changes)), holds other records, or the truth is another.

use super::stage::Stage;
use crate::{HostId, RouterState};
use mesh::{LinkStatus, PeerId};
use std::collections::{BTreeMap, BTreeSet};

/// The routers that know the mesh as it is.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// They reach just those that they can.
    pub(super) reaching: BTreeSet<HostId>,
    /// And they hold the same records as most of them.
    pub(super) alike: BTreeSet<HostId>,
}

/// All that is seen.
#[derive(Debug, Default)]
pub(super) struct Sight {
    /// Counts the times that it changed.
    version: u64,
    truth: u64,
    hosts: Vec<OfHost>,
    settled: Settled,
    states: Vec<RouterState>,
    links: Vec<(u32, u32)>,
}

/// What is seen of one host's router.
#[derive(Debug, Default)]
struct OfHost {
    /// Run, changes, digest; `None`: no router runs.
    mark: Option<(u64, u64, u64)>,
    /// It reaches just those that it can.
    is_reaching: bool,
    linked: Vec<PeerId>,
}

impl Sight {
    /// Another number, another sight.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// The members that know the mesh as it is.
    pub(super) fn settled(&self) -> &Settled {
        &self.settled
    }

    /// How each host's router is doing, in the order of their numbers.
    pub(super) fn states(&self) -> &[RouterState] {
        &self.states
    }

    /// All links that stand, the lower number first.
    pub(super) fn links(&self) -> &[(u32, u32)] {
        &self.links
    }
}

impl Stage {
    /// Brings truth and sight up to date.
    pub(super) fn refresh(&mut self) {
        self.refresh_truth();
        let mut sight = std::mem::take(&mut self.sight);
        let is_new = sight.truth != self.truth.version();
        sight.truth = self.truth.version();
        let count = self.world.hosts().count();
        let mut changed = is_new || sight.hosts.len() != count;
        sight.hosts.resize_with(count, OfHost::default);
        for (host, seen) in self.world.hosts().zip(&mut sight.hosts) {
            let mark = self.world.mark(host);
            if is_new || mark != seen.mark {
                changed = true;
                self.see(host, mark, seen);
            }
        }
        if changed {
            sight.version += 1;
            sight.settled = self.find_settled(&sight.hosts);
            sight.states = self.find_states(&sight.settled);
            sight.links = self.find_links(&sight.hosts);
        }
        self.sight = sight;
    }

    fn see(&self, host: HostId, mark: Option<(u64, u64, u64)>, seen: &mut OfHost) {
        seen.mark = mark;
        seen.linked.clear();
        seen.is_reaching = false;
        let Some(router) = self.world.router(host) else {
            return;
        };
        let links = router.mesh.links().into_iter();
        let links = links.filter(|link| link.state == LinkStatus::Established);
        seen.linked.extend(links.map(|link| link.peer));
        seen.is_reaching = self.truth.group(host).is_some_and(|group| {
            self.truth.ids().all(|(other, id)| {
                let expected = self.truth.group(other) == Some(group) || *id == router.id();
                router.reaches(id) == expected
                    || self.is_outsider(other.0)
                    || self.truth.is_twin(other, group)
            })
        });
    }

    /// Each reaches exactly those that it can, and holds the same records as most of its group that do.
    fn find_settled(&self, hosts: &[OfHost]) -> Settled {
        let mut settled = Settled::default();
        for group in self.truth.groups() {
            let right = group.iter().filter_map(|host| {
                let seen = hosts.get(host.0).filter(|seen| seen.is_reaching)?;
                let (_, _, digest) = seen.mark?;
                Some((*host, digest))
            });
            let digests: Vec<_> = right.collect();
            settled.reaching.extend(digests.iter().map(|(host, _)| *host));
            let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
            for (_, digest) in &digests {
                *counts.entry(*digest).or_default() += 1;
            }
            let common = counts.iter().max_by_key(|(digest, count)| (**count, **digest));
            let Some((&common, _)) = common else { continue };
            let alike = digests.iter().filter(|(_, digest)| *digest == common);
            settled.alike.extend(alike.map(|(host, _)| *host));
        }
        settled
    }

    fn find_states(&self, settled: &Settled) -> Vec<RouterState> {
        let state = |host: HostId| match self.world.router(host) {
            None => RouterState::Down,
            Some(_) if settled.alike.contains(&host) => RouterState::Settled,
            Some(_) => RouterState::Unsettled,
        };
        self.world.hosts().map(state).collect()
    }

    fn find_links(&self, hosts: &[OfHost]) -> Vec<(u32, u32)> {
        // Of twins the last one stands for both.
        let by_id: BTreeMap<_, _> = self.truth.ids().map(|(host, id)| (id, host)).collect();
        let both = hosts.iter().enumerate().flat_map(|(host, seen)| {
            let others = seen.linked.iter().filter_map(|peer| by_id.get(peer));
            others.map(move |other| (host.min(other.0) as u32, host.max(other.0) as u32))
        });
        let mut links: Vec<_> = both.collect();
        links.sort_unstable();
        links.dedup();
        links
    }
}
