//! What follows from a change of the networks: rings of addresses open and close, the driver and the others are told.

use super::{NetworkRefusal, NetworkTable, NetworkView, NetworksBody};
use crate::ipam::Pool;
use crate::record::kind;
use crate::{Instant, Mesh, Name, Output, PeerId, Vni};

impl Mesh {
    /// All networks but the default one, in order of their names.
    #[must_use]
    pub fn network_views(&self) -> Vec<NetworkView> {
        self.networks.views()
    }

    /// What was known in an earlier run.
    pub(crate) fn restore_networks(&mut self, now: Instant, table: &NetworkTable) {
        let before = self.networks.views();
        if self.networks.restore(table) {
            self.networks_changed(now, &before);
            self.issue_networks(now);
        }
    }

    /// The operator wants a network.
    pub(crate) fn add_network(
        &mut self,
        now: Instant,
        number: u64,
        name: &Name,
        vni: Option<Vni>,
        pool: Option<Pool>,
    ) {
        let before = self.networks.views();
        let home = self.pool_of(Vni::DEFAULT);
        let result = self.networks.add(name, vni, pool, home);
        self.network_answered(now, number, &before, result);
    }

    /// The operator wants a network no more.
    pub(crate) fn remove_network(&mut self, now: Instant, number: u64, name: &Name) {
        let before = self.networks.views();
        let used = before
            .iter()
            .find(|view| view.name == *name && view.rival.is_none());
        let users = used.map_or(0, |view| {
            let is_local = self.registry.local(view.vni).next().is_some();
            self.registry.members(view.vni).count() + usize::from(is_local)
        });
        let result = match users {
            0 => self.networks.remove(name),
            users => Err(NetworkRefusal::InUse(users)),
        };
        self.network_answered(now, number, &before, result);
    }

    fn network_answered(
        &mut self,
        now: Instant,
        number: u64,
        before: &[NetworkView],
        result: Result<NetworkView, NetworkRefusal>,
    ) {
        if self.networks.views() != before {
            self.networks_changed(now, before);
            self.issue_networks(now);
        }
        self.out.push(Output::Network { number, result });
    }

    /// A router's record tells of networks.
    pub(crate) fn networks_told(&mut self, now: Instant, origin: PeerId, body: &NetworksBody) {
        if origin == self.own.id {
            return;
        }
        let (before, had_body) = (self.networks.views(), self.networks.has_body());
        if self.networks.learn(origin, body) {
            self.networks_changed(now, &before);
            if had_body {
                self.issue_networks(now);
            }
        }
        self.look_at_networks(now);
    }

    /// Who publishes what may have changed, or time has passed.
    pub(crate) fn look_at_networks(&mut self, now: Instant) {
        let store = &self.store;
        if self
            .networks
            .look(now, |peer| store.is_reached(peer), &mut self.rng)
        {
            self.issue_networks(now);
        }
    }

    /// Publishes what is this router's to publish.
    pub(crate) fn issue_networks(&mut self, now: Instant) {
        let key = crate::record::Key {
            origin: self.own.id,
            kind: kind::NETWORKS,
            subkey: 0,
        };
        if !self.own.may_issue() || !self.networks.has_body() && self.store.get(&key).is_none() {
            return;
        }
        let body = self.networks.body();
        let record = self.own.issue(kind::NETWORKS, 0, &body);
        self.publish(now, record);
    }

    fn networks_changed(&mut self, now: Instant, before: &[NetworkView]) {
        let now_there = self.networks.views();
        let ranges = |views: &[NetworkView]| -> Vec<(Vni, Pool)> {
            let used = views.iter().filter(|view| view.rival.is_none());
            used.map(|view| (view.vni, view.pool)).collect()
        };
        let (old, new) = (ranges(before), ranges(&now_there));
        for (vni, _) in old.iter().filter(|range| !new.contains(range)) {
            self.close_addresses(*vni);
        }
        for (vni, pool) in new {
            self.open_addresses(now, vni, pool);
        }
        self.out.push(Output::Networks(self.networks.table().clone()));
    }
}
