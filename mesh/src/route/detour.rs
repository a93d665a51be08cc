//! Ways round this router's neighbours, worked out before they are needed.
//!
//! A relay whose next link has died cannot ask anybody. So for each neighbour there is a way round it to each router
//! that the neighbour has links with, and to the neighbour itself. Nearly always the tree of shortest paths has one
//! with a single hop of its own: to another neighbour of the destination, and from there. Else a short search is
//! made, and if nothing leads round the neighbour, one round just the link with it.
//!
//! They are worked out anew a moment after something changed near this router or on one of them; how long the moment
//! is depends on how long ago that was done before. A way that is not the best any more stays as long as it works.
//! Those round a neighbour whose link is gone stay for a while: packets name it until all have heard of that.

use super::{MAX_LABELS, Route, first_mtu, route_over, tree_path};
use crate::graph::search::search;
use crate::graph::spt::{Bits, View};
use crate::graph::{Graph, Known};
use crate::{Instant, LinkLabel, Number, PeerId, Size};
use std::collections::BTreeMap;
use std::time::Duration;

/// Ways that are worked out, at most. In a mesh where everybody is linked with everybody, nobody needs them.
const MAX_DETOURS: usize = 2048;
/// Routers that a search looks at.
const MOST_SEARCHED: usize = 512;
/// From a change to working them out anew, while there are few changes.
const SOON: Duration = Duration::from_millis(50);
/// Least time between two times of working them out.
const PACE: Duration = Duration::from_secs(5);
/// Least time between them when links of this router itself changed.
const OWN_PACE: Duration = Duration::from_millis(500);

/// How long a neighbour counts after the link with it is gone: by then everybody has heard of that.
const LINGER: Duration = Duration::from_secs(10);

/// A way round a neighbour to what one of its labels names: the neighbour, its label, the way.
pub(crate) type DetourChange = (PeerId, LinkLabel, Option<Route>);

/// What was told of the ways round neighbours.
#[derive(Debug, Default)]
pub(crate) struct Detours {
    /// A fingerprint of each.
    told: BTreeMap<(PeerId, LinkLabel), u64>,
    /// This router and its neighbours.
    near: Bits,
    /// Whom the ways pass.
    passed: Bits,
    /// Neighbours whose link is gone, and how long they still count.
    lost: BTreeMap<PeerId, Instant>,
    due: Option<Instant>,
    last: Option<Instant>,
}

impl Detours {
    /// Ways that were told.
    pub(crate) fn size(&self) -> Size {
        Size::new("ways round neighbours", self.told.len(), MAX_DETOURS)
    }

    /// Looks whether the changes that trees are being brought up to date with have to do with them.
    pub(crate) fn note(&mut self, now: Instant, graph: &Graph) {
        let Some(own) = graph.own() else { return };
        let remade = graph.links.remade.iter().map(|remade| (remade.from, remade.to));
        let mut pace = None;
        for (from, to) in graph.links.edges.iter().copied().chain(remade) {
            if from == own {
                pace = Some(OWN_PACE);
                break;
            }
            let is_near = self.near.contains(from) || self.near.contains(to);
            if is_near || (self.passed.contains(from) && self.passed.contains(to)) {
                pace = Some(PACE);
            }
        }
        if let Some(pace) = pace {
            let due = self.last.map_or(now, |last| last + pace).max(now + SOON);
            self.due = Some(self.due.map_or(due, |old| old.min(due)));
        }
    }

    /// When to work them out.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// They are to be worked out now.
    #[cfg(test)]
    pub(crate) fn force(&mut self, now: Instant) {
        self.due = Some(now);
    }

    /// Not before the trees are up to date.
    pub(crate) fn defer(&mut self, until: Instant) {
        self.due = self.due.map(|due| due.max(until));
    }

    /// Works them out, if it is time, and tells those that changed, in the order of neighbours and labels.
    pub(crate) fn poll(&mut self, now: Instant, known: &impl Known, graph: &Graph) -> Vec<DetourChange> {
        if self.due.is_none_or(|due| due > now) {
            return Vec::new();
        }
        self.due = None;
        self.last = Some(now);
        self.near = Bits::default();
        self.passed = Bits::default();
        let numbers = known.numbers();
        self.near.grow(numbers);
        self.passed.grow(numbers);
        let mut changes = Vec::new();
        let mut told = BTreeMap::new();
        for (neighbor, label, path) in self.paths(now, known, graph) {
            for hop in &path {
                self.passed.set(*hop);
            }
            let (Some(&peer), Some(route)) = (known.id(neighbor), route_over(known, graph, &path)) else {
                continue;
            };
            let print = fingerprint(&route);
            told.insert((peer, label), print);
            if self.told.get(&(peer, label)) != Some(&print) {
                changes.push((peer, label, Some(route)));
            }
        }
        let old = std::mem::replace(&mut self.told, told);
        let gone = old.into_keys().filter(|key| !self.told.contains_key(key));
        changes.extend(gone.map(|(peer, label)| (peer, label, None)));
        changes.sort_unstable_by_key(|(peer, label, _)| (*peer, *label));
        self.due = self.lost.values().min().copied();
        changes
    }

    /// Everybody round whom there are to be ways, in the order of their ids.
    fn neighbors(&mut self, now: Instant, known: &impl Known, graph: &Graph, own: Number) -> Vec<Number> {
        let linked = graph.links.slab.list(own).iter().map(|entry| entry.to());
        let mut all: BTreeMap<PeerId, Number> = linked
            .filter_map(|neighbor| Some((*known.id(neighbor)?, neighbor)))
            .collect();
        for (peer, _) in self.told.keys().filter(|(peer, _)| !all.contains_key(peer)) {
            self.lost.entry(*peer).or_insert(now + LINGER);
        }
        self.lost
            .retain(|peer, until| !all.contains_key(peer) && *until > now);
        for peer in self.lost.keys() {
            let number = known
                .number(peer.short())
                .filter(|number| known.id(*number) == Some(peer));
            all.extend(number.map(|number| (*peer, number)));
        }
        all.into_values().collect()
    }

    /// All of them: the neighbour, its label, the hops.
    fn paths(
        &mut self,
        now: Instant,
        known: &impl Known,
        graph: &Graph,
    ) -> Vec<(Number, LinkLabel, Vec<Number>)> {
        let Some(own) = graph.own() else { return Vec::new() };
        self.near.set(own);
        let mut paths = Vec::new();
        for neighbor in self.neighbors(now, known, graph, own) {
            self.near.set(neighbor);
            // What it says itself, whether or not others still say so: that is what packets go by.
            let next = known.links(neighbor).iter().filter(|link| link.label.0 != 0);
            let mut ends: Vec<(LinkLabel, Number)> = next
                .filter_map(|link| Some((link.label, known.number(link.neighbor)?)))
                .filter(|(_, end)| *end != own && *end != neighbor)
                .chain([(LinkLabel(0), neighbor)])
                .collect();
            ends.sort_unstable_by_key(|(label, end)| (*label, known.id(*end)));
            // Labels are one neighbour's each; an origin that has it otherwise has its packets dropped.
            ends.dedup_by_key(|(label, _)| *label);
            for (label, end) in ends {
                if paths.len() >= MAX_DETOURS {
                    return paths;
                }
                let path = round(known, graph, own, neighbor, end);
                let path = path.filter(|path| path.len() <= MAX_LABELS + 1);
                paths.extend(path.map(|path| (neighbor, label, path)));
            }
        }
        paths
    }
}

/// A way from this router to `end` that avoids `neighbor`, or at least the link with it.
fn round(
    known: &impl Known,
    graph: &Graph,
    own: Number,
    neighbor: Number,
    end: Number,
) -> Option<Vec<Number>> {
    let view = graph.data_view(known)?;
    // The neighbour itself can only be reached over other links.
    let avoids = |path: &[Number]| match path.split_last() {
        Some((last, [])) => *last != neighbor,
        Some((last, before)) => !before.contains(&neighbor) && (*last != neighbor || end == neighbor),
        None => false,
    };
    if end != neighbor && first_mtu(known, graph, end).is_some() {
        return Some(vec![end]);
    }
    let whole = tree_path(graph, end).filter(|path| avoids(path));
    whole
        .or_else(|| with_one_hop(&view, graph, own, neighbor, end))
        .or_else(|| {
            let may_use = |from, to| to != neighbor || (end == neighbor && from != own);
            search(&view, own, end, may_use, MOST_SEARCHED)
        })
        .or_else(|| {
            let may_use = |from, to| (from, to) != (own, neighbor);
            search(&view, own, end, may_use, MOST_SEARCHED)
        })
}

/// The cheapest way over another neighbour of the destination, to which the tree leads.
fn with_one_hop(
    view: &impl View,
    graph: &Graph,
    own: Number,
    neighbor: Number,
    end: Number,
) -> Option<Vec<Number>> {
    let mut best: Option<((u64, u8, u64), Number)> = None;
    view.around(end, |over| {
        let place = graph.data.place(over);
        let Some(delay) = view.delay(over, end).filter(|_| place.is_reached()) else {
            return;
        };
        let found = (
            u64::from(place.cost) + u64::from(delay),
            place.hops(),
            view.rank(over),
        );
        let is_better = over != own && over != neighbor && best.is_none_or(|(best, _)| found < best);
        if is_better && graph.data.climb(over).all(|hop| hop != neighbor && hop != end) {
            best = Some((found, over));
        }
    });
    let mut path = tree_path(graph, best?.1)?;
    path.push(end);
    Some(path)
}

/// FNV-1a over all that a relay needs of it.
fn fingerprint(route: &Route) -> u64 {
    let hops = route.path.iter().flat_map(|hop| hop.0);
    let labels = route.labels.iter().flat_map(|label| label.0.to_be_bytes());
    let bytes = hops.chain(labels).chain(route.mtu.to_be_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |print, byte| {
        (print ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
