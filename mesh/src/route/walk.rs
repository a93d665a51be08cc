//! Which routes change with the tree.
//!
//! Where the tree has another parent or another label for a router, the paths to all below that one change, too:
//! these are walked, path in hand, and each gets its new route, unless the old path still works and the new one is
//! not clearly better. Those with a direct path, and those whose path is kept, are looked at one by one.

use super::hysteresis::{Choice, choose, is_kept};
use super::line::{Line, Stop};
use super::{KEPT_FOR, Kept, MAX_KEPT, Route, Routes, bits, hops, route_over, tree_path};
use crate::graph::spt::{Place, View};
use crate::graph::told::Remade;
use crate::graph::{Graph, Known, RELAY_COST};
use crate::{Instant, Number, PeerId};

/// A route that changed: destination, and what it is now.
pub(crate) type RouteChange = (PeerId, Option<Route>);

/// One step of a walk down the tree.
struct Step {
    /// Those before it on the path there.
    hops: usize,
    to: Number,
    /// It lies on the way to what has changed.
    is_above: bool,
}

impl Routes {
    /// What changes with the tree, which was just brought up to date, in the order of destinations; `None`: there
    /// is no route any more.
    pub(crate) fn follow(&mut self, now: Instant, known: &impl Known, graph: &mut Graph) -> Vec<RouteChange> {
        let Some(own) = graph.own() else { return Vec::new() };
        graph.work.sort();
        graph.links.remade.sort_unstable();
        let graph = &*graph;
        let mut changes = Vec::new();
        let (mut tops, mut single) = (Vec::new(), Vec::new());
        for &(number, was) in graph.work.looked_at() {
            let is = graph.data.place(number);
            if number == own {
                continue;
            }
            if !is.is_reached() {
                self.release(number);
                changes.extend(lost(known, graph, number).filter(|_| was.is_reached()));
                continue;
            }
            if was.parent() != is.parent() {
                tops.push(number);
            }
            if self.is_single(graph, number) {
                single.push(number);
            }
        }
        for remade in &graph.links.remade {
            if graph.data.parent(remade.to) == Some(remade.from) {
                tops.push(remade.to);
            }
        }
        let firsts = graph.links.edges.iter().map(|&(from, to)| (from, to));
        let firsts = firsts.chain(graph.links.remade.iter().map(|remade| (remade.from, remade.to)));
        single.extend(firsts.filter(|(from, _)| *from == own).map(|(_, to)| to));
        self.find_touched(graph, &mut single);
        while let Some((_, number)) = self.ends.pop_front_if(|(end, _)| *end <= now) {
            single.push(number);
        }
        self.walk(known, graph, tops, &mut changes, &mut single);
        let mut single: Vec<_> = single
            .into_iter()
            .filter_map(|number| Some((*known.id(number)?, number)))
            .collect();
        single.sort_unstable();
        single.dedup();
        for (peer, number) in single {
            changes.extend(
                self.weigh(now, known, graph, number)
                    .map(|route| (peer, Some(route))),
            );
        }
        changes.sort_unstable_by_key(|(peer, _)| *peer);
        changes
    }

    /// True if the choice of the path to a router does not follow from the tree alone.
    fn is_single(&self, graph: &Graph, of: Number) -> bool {
        graph.direct.contains_key(&of) || self.kept.contains_key(&of)
    }

    /// Adds those whose kept path passes a link that has changed.
    fn find_touched(&self, graph: &Graph, found: &mut Vec<Number>) {
        let Some(own) = graph.own().filter(|_| self.relayed > 0) else {
            return;
        };
        let remade = graph.links.remade.iter().map(|remade| (remade.from, remade.to));
        let touched = graph.links.edges.iter().copied().chain(remade);
        let touched = touched.filter(|(_, to)| self.passed.contains(*to));
        let mut touched: Vec<_> = touched.collect();
        if touched.is_empty() {
            return;
        }
        touched.sort_unstable();
        let touched_bits = bits(touched.iter().copied());
        for (number, kept) in &self.kept {
            if let Kept::Relayed { path, bits, .. } = kept
                && bits & touched_bits != 0
                // From this router itself on: its own path to the first hop may be what has changed.
                && hops(own, path).any(|hop| touched.binary_search(&hop).is_ok())
            {
                found.push(*number);
            }
        }
    }

    /// Walks all that hangs below `tops`.
    fn walk(
        &mut self,
        known: &impl Known,
        graph: &Graph,
        mut tops: Vec<Number>,
        changes: &mut Vec<RouteChange>,
        single: &mut Vec<Number>,
    ) {
        let (Some(own), Some(view)) = (graph.own(), graph.data_view(known)) else {
            return;
        };
        // Whoever is further away may hang below another one.
        tops.sort_unstable_by_key(|top| (graph.data.place(*top).length(), *top));
        // When no more can be kept, all that is left is the tree's own path.
        let has_room = self.relayed < MAX_KEPT;
        let mut line = Line::default();
        let steps = self.below(&view, graph, &tops);
        // All are looked up before any is used, so that the processor waits for many at a time: no cache holds them.
        let stops: Vec<_> = steps.iter().map(|step| Stop::of(known, step.to)).collect();
        for (step, stop) in steps.iter().zip(stops) {
            if step.is_above {
                line.pass(step.hops, stop);
                continue;
            }
            line.put(step.hops, stop);
            let best = u64::from(graph.data.place(stop.number).cost);
            let mut former = || line.former(&view, graph, own);
            if self.is_single(graph, stop.number)
                || (has_room && former().is_some_and(|former| is_kept(former, best)))
            {
                single.push(stop.number);
            } else {
                changes.extend(line.route(known, graph));
            }
        }
    }

    /// The way through all that hangs below `tops`: for each of these down from the first hop, then to all below it.
    fn below(&mut self, view: &impl View, graph: &Graph, tops: &[Number]) -> Vec<Step> {
        self.visited.grow(graph.data.len());
        let mut steps = Vec::new();
        let mut waiting = Vec::new();
        for top in tops.iter().copied() {
            if self.visited.contains(top) {
                continue;
            }
            let above = graph.data.parent(top).and_then(|parent| tree_path(graph, parent));
            let above = above.unwrap_or_default();
            waiting.push((top, above.len()));
            let is_above = true;
            steps.extend((0..).zip(above).map(|(hops, to)| Step { hops, to, is_above }));
            while let Some((to, hops)) = waiting.pop() {
                if !self.visited.set(to) {
                    continue;
                }
                let is_above = false;
                steps.push(Step { hops, to, is_above });
                view.around(to, |below| {
                    if graph.data.parent(below) == Some(to) {
                        waiting.push((below, hops + 1));
                    }
                });
            }
        }
        for step in &steps {
            self.visited.clear(step.to);
        }
        steps
    }

    /// Looks which path to a router is to be used. Returns the route if it is another now.
    fn weigh(&mut self, now: Instant, known: &impl Known, graph: &Graph, to: Number) -> Option<Route> {
        let (own, view) = (graph.own()?, graph.data_view(known)?);
        let best = tree_path(graph, to)?;
        let former = match self.kept.get(&to) {
            Some(Kept::Direct) => Some(vec![to]),
            Some(Kept::Relayed { path, .. }) => Some(path.to_vec()),
            None => old_path(graph, to),
        };
        let until = match self.kept.get(&to) {
            Some(Kept::Relayed { until, .. }) => *until,
            _ => now + KEPT_FOR,
        };
        let relayed = former.as_deref().filter(|path| path.len() > 1);
        let current = relayed.and_then(|path| cost_over(&view, graph, path));
        let direct = graph.direct.get(&to).map(|path| u64::from(path.delay_us));
        let new = match choose(current, graph.data.place(to).cost.into(), direct) {
            Choice::Direct => vec![to],
            Choice::Current if until > now => relayed.map_or_else(|| best.clone(), <[Number]>::to_vec),
            Choice::Current | Choice::Best => best.clone(),
        };
        let is_known = matches!(self.kept.get(&to), Some(Kept::Relayed { path, .. }) if **path == *new);
        let new = if new == best {
            self.release(to);
            best
        } else if let [_] = *new {
            self.keep(to, Kept::Direct);
            new
        } else if is_known {
            new
        } else if self.relayed < MAX_KEPT {
            let (path, bits) = (new.clone().into_boxed_slice(), bits(hops(own, &new)));
            self.keep(to, Kept::Relayed { path, bits, until });
            new
        } else {
            self.release(to);
            best
        };
        let is_same = former.is_some_and(|former| former == new);
        if is_same && !is_remade(graph, &new) {
            return None;
        }
        route_over(known, graph, &new)
    }
}

/// The route to a router that no path leads to any more; `None` if it has another number now, and with that a way.
fn lost(known: &impl Known, graph: &Graph, number: Number) -> Option<RouteChange> {
    let gone = graph.gone.iter().find(|(gone, _)| *gone == number);
    let peer = gone.map(|(_, peer)| peer).or_else(|| known.id(number))?;
    let now = known
        .number(peer.short())
        .filter(|now| known.id(*now) == Some(peer));
    let has_way = now.is_some_and(|now| graph.data.reaches(now));
    (!has_way).then_some((*peer, None))
}

/// The cheapest path as it was before the tree was brought up to date, destination last.
fn old_path(graph: &Graph, to: Number) -> Option<Vec<Number>> {
    let mut path = Vec::new();
    let mut at = to;
    while let Some(parent) = place_before(graph, at).parent() {
        path.push(at);
        at = parent;
    }
    path.reverse();
    (!path.is_empty()).then_some(path)
}

/// What the path that led to a router costs now; `None` if there was none, or it is broken.
pub(super) fn former_cost(view: &impl View, graph: &Graph, own: Number, to: Number) -> Option<u64> {
    let (mut at, mut cost) = (to, 0);
    while let Some(parent) = place_before(graph, at).parent() {
        cost += hop_cost(view, graph, own, parent, at)?;
        at = parent;
    }
    (at == own && to != own).then_some(cost)
}

/// Where a router was before the tree was brought up to date.
pub(super) fn place_before(graph: &Graph, of: Number) -> Place {
    graph.work.was(of).unwrap_or_else(|| graph.data.place(of))
}

/// What a path costs now; `None` if it is broken: a hop is gone, was gone for a while or has another label.
fn cost_over(view: &impl View, graph: &Graph, path: &[Number]) -> Option<u64> {
    let own = graph.own()?;
    let mut from = own;
    let mut cost = 0;
    for hop in path {
        cost += hop_cost(view, graph, own, from, *hop)?;
        from = *hop;
    }
    Some(cost)
}

pub(super) fn hop_cost(
    view: &impl View,
    graph: &Graph,
    own: Number,
    from: Number,
    to: Number,
) -> Option<u64> {
    let delay = view.delay(from, to)?;
    let relay = if from == own { 0 } else { RELAY_COST };
    // Whether the link comes and goes that lies beside a direct path does not matter for the latter.
    let is_broken = from != own && find_remade(graph, from, to, true);
    (!is_broken).then(|| u64::from(delay) + u64::from(relay))
}

fn is_remade(graph: &Graph, path: &[Number]) -> bool {
    let is_remade = |(from, to)| find_remade(graph, from, to, false) || find_remade(graph, from, to, true);
    graph.own().is_some_and(|own| hops(own, path).any(is_remade))
}

fn find_remade(graph: &Graph, from: Number, to: Number, is_broken: bool) -> bool {
    let remade = Remade { from, to, is_broken };
    graph.links.remade.binary_search(&remade).is_ok()
}
