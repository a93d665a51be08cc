//! What routers should know: who can reach whom, as the network is now.

use super::stage::Stage;
use crate::HostId;
use mesh::PeerId;
use std::collections::{BTreeMap, BTreeSet};

/// Who is joined with whom, directly or over others.
#[derive(Debug, Default)]
pub(super) struct Truth {
    is_current: bool,
    /// Counts how often it was found anew.
    version: u64,
    paused: BTreeSet<HostId>,
    members: Vec<HostId>,
    /// The group of each host that is a member of the mesh: those that can reach one another over links that can be
    /// made.
    group: Vec<Option<usize>>,
    groups: Vec<Vec<HostId>>,
    /// The identity on each host's disk.
    ids: Vec<PeerId>,
    /// Hosts with the same identity: clones, disks that were put elsewhere.
    twins: Vec<(HostId, HostId)>,
}

impl Truth {
    /// Something changed that it depends on.
    pub(super) fn outdate(&mut self) {
        self.is_current = false;
    }

    /// Another number, another truth.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// The group of a member.
    pub(super) fn group(&self, host: HostId) -> Option<usize> {
        self.group.get(host.0).copied().flatten()
    }

    /// Whether two members can reach each other.
    pub(super) fn joins(&self, a: HostId, b: HostId) -> bool {
        self.group(a).is_some() && self.group(a) == self.group(b)
    }

    /// The members of the mesh that run.
    pub(super) fn members(&self) -> &[HostId] {
        &self.members
    }

    /// Groups of members that can reach one another.
    pub(super) fn groups(&self) -> &[Vec<HostId>] {
        &self.groups
    }

    /// All hosts, each with the identity on its disk.
    pub(super) fn ids(&self) -> impl Iterator<Item = (HostId, &PeerId)> {
        let ids = self.ids.iter().enumerate();
        ids.map(|(host, id)| (HostId(host), id))
    }

    /// A host that is not in the group, but whose identity is.
    pub(super) fn is_twin(&self, host: HostId, group: usize) -> bool {
        let is_inside = |host| self.group(host) == Some(group);
        let mut twins = self.twins.iter();
        !is_inside(host) && twins.any(|(one, other)| *one == host && is_inside(*other))
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
        let ids: Vec<_> = self.world.hosts().map(|host| self.world.id(host)).collect();
        let mut group = vec![None; ids.len()];
        let mut groups = Vec::new();
        let mut left: BTreeSet<_> = members.iter().copied().collect();
        while let Some(first) = left.pop_first() {
            let mut front = vec![first];
            let mut inside = vec![first];
            while let Some(host) = front.pop() {
                let near = left.iter().copied().filter(|other| self.can_link(host, *other));
                for other in near.collect::<Vec<_>>() {
                    left.remove(&other);
                    inside.push(other);
                    front.push(other);
                }
            }
            inside.sort_unstable();
            inside.iter().for_each(|host| group[host.0] = Some(groups.len()));
            groups.push(inside);
        }
        self.truth = Truth {
            is_current: true,
            version: self.truth.version + 1,
            paused,
            members,
            group,
            groups,
            twins: twins(&ids),
            ids,
        };
    }

    /// Whether packets pass between two both ways, one of them can be dialled, and they share a secret. Holes in
    /// translators are not counted on.
    pub(super) fn can_link(&self, a: HostId, b: HostId) -> bool {
        let network = &self.world.network;
        if network.is_blocked(a, b) || network.is_blocked(b, a) {
            return false;
        }
        if !self.world.is_open(a, b) && !self.world.is_open(b, a) {
            return false;
        }
        let keyring = |host| self.world.router(host).map(|router| &router.disk.keyring);
        match (keyring(a), keyring(b)) {
            (Some(a), Some(b)) => a.secrets().any(|secret| b.get(&secret.id()).is_some()),
            _ => false,
        }
    }
}

/// Pairs of hosts with the same identity, each both ways.
fn twins(ids: &[PeerId]) -> Vec<(HostId, HostId)> {
    let mut by_id: BTreeMap<PeerId, Vec<HostId>> = BTreeMap::new();
    for (host, id) in ids.iter().enumerate() {
        by_id.entry(*id).or_default().push(HostId(host));
    }
    let same = by_id.into_values().filter(|hosts| hosts.len() > 1);
    let pairs = same.flat_map(|hosts| {
        let others = hosts.clone();
        let with = move |one: HostId| others.clone().into_iter().map(move |other| (one, other));
        hosts.into_iter().flat_map(with)
    });
    pairs.filter(|(one, other)| one != other).collect()
}
