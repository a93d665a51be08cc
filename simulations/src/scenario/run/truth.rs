//! What routers should know: who can reach whom, as the network is now.

use super::settle::Settled;
use super::stage::Stage;
use crate::HostId;
use std::collections::{BTreeMap, BTreeSet};

/// Who is joined with whom, directly or over others.
#[derive(Debug, Default)]
pub(super) struct Truth {
    is_current: bool,
    paused: BTreeSet<HostId>,
    members: Vec<HostId>,
    /// The group of each member of the mesh: those that can reach one another over links that can be made.
    group: BTreeMap<HostId, usize>,
}

impl Truth {
    /// Something changed that it depends on.
    pub(super) fn outdate(&mut self) {
        self.is_current = false;
    }

    /// Whether two members can reach each other.
    pub(super) fn joins(&self, a: HostId, b: HostId) -> bool {
        matches!((self.group.get(&a), self.group.get(&b)), (Some(a), Some(b)) if a == b)
    }

    /// The members of the mesh that run.
    pub(super) fn members(&self) -> &[HostId] {
        &self.members
    }

    /// Groups of members that can reach one another.
    pub(super) fn groups(&self) -> Vec<Vec<HostId>> {
        let mut groups: BTreeMap<usize, Vec<HostId>> = BTreeMap::new();
        for (host, group) in &self.group {
            groups.entry(*group).or_default().push(*host);
        }
        groups.into_values().collect()
    }
}

impl Stage {
    /// Brings the truth up to date.
    pub(super) fn refresh_truth(&mut self) {
        let hosts = self.world.hosts();
        let paused: BTreeSet<_> = hosts.filter(|host| self.world.is_paused(*host)).collect();
        let members = self.members();
        if self.truth.is_current && paused == self.truth.paused && members == self.truth.members {
            return;
        }
        let mut group = BTreeMap::new();
        let mut left: BTreeSet<_> = members.iter().copied().collect();
        let mut number = 0;
        while let Some(first) = left.pop_first() {
            let mut front = vec![first];
            group.insert(first, number);
            while let Some(host) = front.pop() {
                let near: Vec<_> = left
                    .iter()
                    .copied()
                    .filter(|other| self.can_link(host, *other))
                    .collect();
                for other in near {
                    left.remove(&other);
                    group.insert(other, number);
                    front.push(other);
                }
            }
            number += 1;
        }
        self.truth = Truth {
            is_current: true,
            paused,
            members,
            group,
        };
    }

    /// Whether packets pass between two both ways, one of them can be dialled, and they share a secret. Holes in
    /// translators are not counted on.
    pub(super) fn can_link(&self, a: HostId, b: HostId) -> bool {
        let network = &self.world.network;
        if network.wire(a, b).blocked || network.wire(b, a).blocked {
            return false;
        }
        if !self.world.is_open(a, b) && !self.world.is_open(b, a) {
            return false;
        }
        let keyring = |host| self.world.router(host).map(|router| router.disk.keyring.ids());
        match (keyring(a), keyring(b)) {
            (Some(a), Some(b)) => a.iter().any(|id| b.contains(id)),
            _ => false,
        }
    }

    /// The members that know the mesh as it is: each reaches exactly those that it can, and holds the same records.
    pub(super) fn settled(&self) -> Settled {
        let mut settled = Settled::default();
        let ids: BTreeMap<_, _> = self
            .world
            .hosts()
            .map(|host| (host, self.world.id(host)))
            .collect();
        for group in self.truth.groups() {
            let inside: BTreeSet<_> = group.iter().copied().collect();
            let right = group.iter().copied().filter(|host| {
                let router = self.world.router(*host);
                router.is_some_and(|router| {
                    ids.iter().all(|(other, id)| {
                        let expected = inside.contains(other) || *id == router.id();
                        self.is_outsider(other.0)
                            || self.is_twin(*other, &inside)
                            || router.reaches(id) == expected
                    })
                })
            });
            let digests: Vec<_> = right
                .filter_map(|host| Some((host, self.world.router(host)?.mesh.digest())))
                .collect();
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

    /// A host that is not in the group, but whose identity is: a clone, or a disk that was put elsewhere.
    fn is_twin(&self, host: HostId, inside: &BTreeSet<HostId>) -> bool {
        let id = self.world.id(host);
        !inside.contains(&host) && inside.iter().any(|other| self.world.id(*other) == id)
    }

    /// All links that stand, the lower number first.
    pub(super) fn links(&self) -> Vec<(u32, u32)> {
        let by_id: BTreeMap<_, _> = self
            .world
            .hosts()
            .map(|host| (self.world.id(host), host))
            .collect();
        let mut links = BTreeSet::new();
        for host in self.world.running() {
            let Some(router) = self.world.router(host) else {
                continue;
            };
            for link in router.mesh.links() {
                if let (mesh::LinkStatus::Established, Some(other)) = (link.state, by_id.get(&link.peer)) {
                    links.insert((host.0.min(other.0) as u32, host.0.max(other.0) as u32));
                }
            }
        }
        links.into_iter().collect()
    }
}
