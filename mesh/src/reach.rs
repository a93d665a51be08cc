//! Ways to other routers: for data (routes), for control messages (paths over links) and for broadcast (trees).

use crate::linkstate::differs;
use crate::{Delay, DirectPath, DropReason, Instant, Mesh, Output, PeerId, control_paths, routed};
use std::time::Duration;

/// Direct data paths that are remembered.
const MAX_DIRECT: usize = 65_536;

impl Mesh {
    /// Brings everything that follows from the topology up to date.
    pub(crate) fn recompute(&mut self, now: Instant) {
        self.paths = control_paths(self.own.id, &self.topology);
        let (own, paths) = (self.own.id, &self.paths);
        self.store
            .note_reachable(now, |id| *id == own || paths.contains_key(id));
        let parent = self.parent_in_tree();
        self.spread.set_parent(now, parent);
        for (peer, route) in self.routes.recompute(now, &self.topology, &self.direct) {
            self.out.push(Output::Route { peer, route });
        }
        for (vni, source, tree) in self.trees.recompute(&self.topology, &self.registry) {
            self.out.push(Output::Tree { vni, source, tree });
        }
        self.connector.look_again();
    }

    /// A direct data path works, or its values changed.
    pub(crate) fn path_up(&mut self, now: Instant, peer: PeerId, mtu: u16, rtt: Duration) {
        if mtu == 0 {
            return self.path_down(now, &peer);
        }
        let delay = u64::try_from(rtt.as_micros() / 2).unwrap_or(u64::MAX);
        let path = DirectPath {
            delay_us: Delay::from_us(delay).us(),
            mtu,
        };
        match self.direct.get(&peer) {
            Some(old) if old.mtu == mtu && !differs(old.delay_us, path.delay_us) => return,
            Some(_) => self.schedule.request(now),
            None if self.direct.len() >= MAX_DIRECT || peer == self.own.id => return,
            None => self.schedule.rush(now),
        }
        self.direct.insert(peer, path);
    }

    /// A direct data path no longer works.
    pub(crate) fn path_down(&mut self, now: Instant, peer: &PeerId) {
        if self.direct.remove(peer).is_some() {
            self.schedule.rush(now);
        }
    }

    /// Sends a message to another router.
    pub(crate) fn send_to(&mut self, peer: &PeerId, payload: Vec<u8>) {
        let path = match self.links.with(peer) {
            Some(_) => Some(vec![*peer]),
            None => self.paths.get(peer).cloned(),
        };
        let link = path
            .as_ref()
            .and_then(|path| self.links.with(path.first()?))
            .map(|link| link.id);
        match (path, link) {
            (Some(path), Some(link)) => routed::send(self.own.id, link, path, payload, &mut self.out),
            _ => self.out.drop(DropReason::ControlNoRoute),
        }
    }
}
