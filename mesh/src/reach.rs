//! Ways to other routers: for data (routes), for control messages (paths over links) and for broadcast (trees).

use crate::graph::search::search;
use crate::graph::{Known, route_as_ids};
use crate::linkstate::differs;
use crate::record::Record;
use crate::{Delay, DirectPath, DropReason, Instant, Mesh, Number, Output, PeerId, ShortId, Vni, routed};
use std::time::Duration;

/// Direct data paths that are remembered.
const MAX_DIRECT: usize = 65_536;

/// Routers that a search for a control path looks at. Where it finds none, the tree along which records spread has
/// one that is longer.
const MOST_SEARCHED: usize = 512;

impl Mesh {
    /// Brings everything that follows from the topology up to date.
    pub(crate) fn recompute(&mut self, now: Instant) {
        let known = &self.store;
        self.graph.update_data(known);
        let mut looked_at = self.graph.work.looked_at().len();
        for (peer, route) in self.routes.follow(now, known, &mut self.graph) {
            self.out.push(Output::Route { peer, route });
            looked_at += 1;
        }
        let (links, work) = (&self.graph.links, &mut self.graph.work);
        for (vni, source, tree) in self.trees.update(now, known, links, &self.registry, work) {
            self.out.push(Output::Tree { vni, source, tree });
        }
        let reached = self.graph.update_spread(known);
        looked_at += self.graph.work.looked_at().len();
        if !reached.is_empty() {
            // A link that joins what is apart is told at once.
            self.states.stir();
        }
        for (number, is_reachable) in reached {
            if let Some(id) = self.store.id(number).copied() {
                self.store.note_reachable(now, &id, is_reachable);
                for change in self.names.note_reached(&id, is_reachable) {
                    self.out.push(Output::Name(change));
                }
            }
        }
        self.spread.set_parent(now, self.spread_parent());
        self.graph.work.trim();
        self.schedule.done(looked_at);
        self.detours.note(now, &self.graph);
        for number in self.graph.done() {
            self.store.free(number);
        }
        self.connector.look_again();
        self.note_middle(now);
    }

    /// Somebody broadcasts along the tree of this source.
    pub(crate) fn use_tree(&mut self, now: Instant, vni: Vni, source: ShortId) {
        let source = self.store.named(source);
        if source.is_some_and(|source| self.trees.note_use(now, vni, source)) {
            self.schedule.rush(now);
        }
    }

    /// Works out ways round neighbours, if it is time.
    pub(crate) fn renew_detours(&mut self, now: Instant) {
        if let Some(at) = self.schedule.next_timeout() {
            self.detours.defer(at);
        }
        for (neighbor, label, route) in self.detours.poll(now, &self.store, &self.graph) {
            self.out.push(Output::Detour {
                neighbor,
                label,
                route,
            });
        }
    }

    /// A router is known from now on.
    pub(crate) fn admitted(&mut self, id: &PeerId) {
        let Some(number) = self.store.find(id) else { return };
        if *id == self.own.id {
            self.graph.set_own(number);
        }
        if let Some(path) = self.direct.get(id) {
            self.graph.set_direct(number, Some(*path));
        }
    }

    /// A router says something else of its links than in this record: in another one, or nothing any more. True if it
    /// is something new.
    pub(crate) fn links_told(&mut self, id: &PeerId, old: Option<&Record>) -> bool {
        let Some(number) = self.store.find(id) else {
            return false;
        };
        let old = old.map_or(&[][..], Record::links);
        let own = self.graph.own();
        self.graph.links.renew(&self.store, own, number, old);
        old != self.store.links(number)
    }

    /// A router is no longer known.
    pub(crate) fn dismissed(&mut self, now: Instant, id: &PeerId) {
        if let Some(number) = self.store.take_gone(id) {
            self.graph.forget(number, *id);
            self.routes.forget(number);
            self.schedule.request(now);
        }
    }

    /// True if control messages reach a router, as of when paths were last computed. This router reaches itself.
    #[must_use]
    pub fn is_reachable(&self, peer: &PeerId) -> bool {
        let number = self.store.find(peer);
        *peer == self.own.id || number.is_some_and(|number| self.graph.spread.tree.reaches(number))
    }

    /// This router's parent in the tree along which records spread; `None` while it is the root of it.
    #[must_use]
    pub fn spread_parent(&self) -> Option<PeerId> {
        let parent = self.graph.spread.tree.parent(self.graph.own()?)?;
        self.store.id(parent).copied()
    }

    /// The hops that data takes to a router, destination last: those of the route that was told last.
    #[must_use]
    pub fn data_path(&self, peer: &PeerId) -> Option<Vec<PeerId>> {
        let path = self.routes.path(&self.graph, self.store.find(peer)?)?;
        route_as_ids(&self.store, &path)
    }

    /// True while changes wait for paths and trees to be computed from them.
    #[must_use]
    pub fn is_computing(&self) -> bool {
        self.schedule.next_timeout().is_some()
    }

    /// The hops that control messages take to a router, destination last.
    ///
    /// Data's path, where it has links all along; else a short search for the cheapest, and beyond its reach the
    /// way along the tree on which records spread.
    #[must_use]
    pub fn control_path(&self, peer: &PeerId) -> Option<Vec<PeerId>> {
        if self.links.with(peer).is_some() {
            return Some(vec![*peer]);
        }
        let (own, to) = (self.graph.own()?, self.store.find(peer)?);
        if own == to || !self.graph.spread.tree.reaches(to) {
            return None;
        }
        let view = self.graph.control_view(&self.store);
        let is_linked = |path: &Vec<Number>| {
            let mut hops = [own].into_iter().chain(path.iter().copied()).zip(path);
            hops.all(|(from, to)| self.graph.links.slab.get(from, *to).is_some())
        };
        let path = self.routes.path(&self.graph, to).filter(is_linked);
        let path = path
            .or_else(|| search(&view, own, to, |_, _| true, MOST_SEARCHED))
            .or_else(|| self.graph.spread.tree.between(own, to));
        route_as_ids(&self.store, &path?)
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
        if let Some(number) = self.store.find(&peer) {
            self.graph.set_direct(number, Some(path));
        }
    }

    /// A direct data path no longer works.
    pub(crate) fn path_down(&mut self, now: Instant, peer: &PeerId) {
        if self.direct.remove(peer).is_some() {
            if let Some(number) = self.store.find(peer) {
                self.graph.set_direct(number, None);
            }
            self.schedule.rush(now);
        }
    }

    /// Sends a message to another router.
    pub(crate) fn send_to(&mut self, peer: &PeerId, payload: Vec<u8>) {
        let path = self.control_path(peer);
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
