//! This router's trees and routes without a core around them, for measuring.

use super::{Graph, Known};
use crate::graph::view::Control;
use crate::route::Routes;
use crate::topology::{Told, in_order};
use crate::{Adjacency, DirectPath, Instant, PeerId, Route};

/// What a router computes from the links it is told of.
#[derive(Debug)]
pub struct Trial {
    told: Told,
    graph: Graph,
    routes: Routes,
}

impl Trial {
    /// Of a router that knows nobody yet.
    #[must_use]
    pub fn new(own: PeerId) -> Self {
        let (mut told, mut graph) = (Told::default(), Graph::new());
        if let Some(number) = told.admit(own) {
            graph.set_own(number);
        }
        Self {
            told,
            graph,
            routes: Routes::default(),
        }
    }

    /// A router says this of its links.
    pub fn tell(&mut self, origin: PeerId, links: Vec<Adjacency>) {
        if let Some(number) = self.told.admit(origin) {
            let old = self.told.set(number, in_order(links));
            let own = self.graph.own();
            self.graph.links.renew(&self.told, own, number, &old);
        }
    }

    /// There is a direct data path to this router.
    pub fn direct(&mut self, to: PeerId, path: DirectPath) {
        if let Some(number) = self.told.admit(to) {
            self.graph.set_direct(number, Some(path));
        }
    }

    /// Brings all trees up to date and tells what routes changed.
    pub fn update(&mut self, now: Instant) -> Vec<(PeerId, Option<Route>)> {
        self.graph.update_data(&self.told);
        let changes = self.routes.follow(now, &self.told, &mut self.graph);
        self.graph.update_spread(&self.told);
        self.graph.done();
        changes
    }

    /// Computes all trees from nothing.
    pub fn rebuild(&mut self) {
        let known = &self.told;
        let Graph {
            links,
            data,
            direct,
            spread,
            work,
            own,
            ..
        } = &mut self.graph;
        let Some(own) = *own else { return };
        let slab = &links.slab;
        work.begin(known.numbers());
        data.rebuild(
            &super::Data {
                known,
                slab,
                own,
                direct,
            },
            Some(own),
            work,
        );
        work.begin(known.numbers());
        spread.update(&Control { known, slab }, own, None, work);
    }

    /// Bytes that links and trees take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.graph.links.slab.bytes() + self.graph.data.bytes() + self.graph.spread.tree.bytes()
    }
}
