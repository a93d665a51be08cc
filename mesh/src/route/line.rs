//! The path to where a walk down the tree is: what two routes have in common is looked up once.

use super::walk::{RouteChange, former_cost, hop_cost, place_before};
use super::{MAX_LABELS, Route, first_mtu};
use crate::graph::spt::View;
use crate::graph::{Graph, Known, find_told};
use crate::{Adjacency, LinkLabel, Number, PeerId};

/// A router, and what is known of it.
#[derive(Clone, Copy)]
pub(super) struct Stop<'a> {
    pub(super) number: Number,
    id: Option<&'a PeerId>,
    links: &'a [Adjacency],
}

impl<'a> Stop<'a> {
    pub(super) fn of(known: &'a impl Known, number: Number) -> Self {
        Self {
            number,
            id: known.id(number),
            links: known.links(number),
        }
    }

    /// What it says of its link with another one.
    fn told_of(&self, other: &Self) -> Option<&'a Adjacency> {
        find_told(self.links, other.id?.short())
    }
}

/// The path.
#[derive(Default)]
pub(super) struct Line<'a> {
    stops: Vec<Stop<'a>>,
    ids: Vec<PeerId>,
    /// The label that leads to each stop, and the largest packet that gets there; zero if nothing does.
    steps: Vec<(LinkLabel, u16)>,
    /// For each stop what the path that led there costs now, if that was looked at; `None`: it is broken.
    former: Vec<Option<Option<u64>>>,
}

impl<'a> Line<'a> {
    /// Puts a stop where as many as `hops` lie before it, if it is not there: others follow.
    pub(super) fn pass(&mut self, hops: usize, stop: Stop<'a>) {
        if self.stops.get(hops).is_none_or(|old| old.number != stop.number) {
            self.put(hops, stop);
        }
    }

    /// Puts a stop where as many as `hops` lie before it, and takes away what was from there on.
    pub(super) fn put(&mut self, hops: usize, stop: Stop<'a>) {
        self.stops.truncate(hops);
        self.ids.truncate(hops);
        self.steps.truncate(hops);
        self.former.truncate(hops);
        self.stops.push(stop);
        self.former.push(None);
    }

    /// What the path that led to the last stop costs now. Mostly that is the path of the one before and a hop more.
    pub(super) fn former(&mut self, view: &impl View, graph: &Graph, own: Number) -> Option<u64> {
        let (last, before) = match *self.stops.as_slice() {
            [.., before, last] => (last.number, Some(before.number)),
            [last] => (last.number, None),
            [] => return None,
        };
        let known = self.former.iter().nth_back(1).copied().flatten();
        let known = known.filter(|_| place_before(graph, last).parent() == before);
        let former = match (known, before) {
            (Some(former), Some(before)) => {
                former.and_then(|cost| Some(cost + hop_cost(view, graph, own, before, last)?))
            }
            _ => former_cost(view, graph, own, last),
        };
        if let Some(slot) = self.former.last_mut() {
            *slot = Some(former);
        }
        former
    }

    /// Looks up what leads to the stops. Most is known from the route before.
    fn look_up(&mut self, known: &impl Known, graph: &Graph) {
        for at in self.steps.len()..self.stops.len() {
            let to = &self.stops[at];
            let step = match at
                .checked_sub(1)
                .map(|before| (&self.stops[before], self.steps[before]))
            {
                Some((from, (_, mtu))) => {
                    let told = from.told_of(to).zip(to.told_of(from));
                    told.map(|(there, back)| (there.label, there.mtu.min(back.mtu).min(mtu)))
                }
                None => first_mtu(known, graph, to.number).map(|mtu| (LinkLabel(0), mtu)),
            };
            self.ids.push(to.id.copied().unwrap_or(PeerId([0; 32])));
            self.steps.push(step.unwrap_or((LinkLabel(0), 0)));
        }
    }

    /// The route to the last stop.
    pub(super) fn route(&mut self, known: &impl Known, graph: &Graph) -> Option<RouteChange> {
        self.look_up(known, graph);
        let (to, peer, (_, mtu)) = (self.stops.last()?, self.ids.last()?, self.steps.last()?);
        let labels = self.steps.iter().skip(1).take(MAX_LABELS);
        let route = Route {
            path: self.ids.clone(),
            labels: labels.map(|(label, _)| *label).collect(),
            cost_us: graph.data.place(to.number).cost.into(),
            mtu: *mtu,
        };
        (*mtu > 0).then_some((*peer, Some(route)))
    }
}
