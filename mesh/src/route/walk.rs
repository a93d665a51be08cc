//! Which routes change with the tree.
//!
//! Where the tree has another parent or another label for a router, the paths to all below that one change, too:
//! these are walked, path in hand, and each gets its new route, unless the old path still works and the new one is
//! not clearly better. Those with a direct path, and those whose path is kept, are looked at one by one.

use super::hysteresis::{Choice, choose, is_kept};
use super::{KEPT_FOR, Kept, MAX_KEPT, MAX_LABELS, Route, Routes, first_mtu, route_over, tree_path};
use crate::graph::spt::{Place, View};
use crate::graph::told::Remade;
use crate::graph::{Graph, Known, RELAY_COST, told_of};
use crate::{Instant, LinkLabel, Number, PeerId};

/// A route that changed: destination, and what it is now.
pub(crate) type RouteChange = (PeerId, Option<Route>);

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
        if self.relayed == 0 {
            return;
        }
        let remade = graph.links.remade.iter().map(|remade| (remade.from, remade.to));
        let touched = graph.links.edges.iter().copied().chain(remade);
        let touched = touched.filter(|(_, to)| self.passed.contains(*to));
        let mut touched: Vec<_> = touched.collect();
        if touched.is_empty() {
            return;
        }
        touched.sort_unstable();
        for (number, kept) in &self.kept {
            if let Kept::Relayed { path, .. } = kept {
                // From this router itself on: its own path to the first hop may be what has changed.
                let froms = graph.own().into_iter().chain(path.iter().copied());
                let mut hops = froms.zip(path.iter().copied());
                if hops.any(|hop| touched.binary_search(&hop).is_ok()) {
                    found.push(*number);
                }
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
        tops.sort_unstable_by_key(|top| (graph.data.place(*top).cost, graph.data.place(*top).hops, *top));
        self.visited.grow(known.numbers());
        let mut visited = Vec::new();
        let mut line = Line::default();
        let mut waiting = Vec::new();
        for top in tops {
            if self.visited.contains(top) {
                continue;
            }
            line.truncate(0);
            let above = graph.data.parent(top).and_then(|parent| tree_path(graph, parent));
            for hop in above.unwrap_or_default() {
                line.push(known, graph, hop);
            }
            waiting.push((top, line.hops.len()));
            while let Some((number, depth)) = waiting.pop() {
                if !self.visited.set(number) {
                    continue;
                }
                visited.push(number);
                line.truncate(depth);
                line.push(known, graph, number);
                let former = line.former(&view, graph, own);
                let best = u64::from(graph.data.place(number).cost);
                if self.is_single(graph, number) || former.is_some_and(|former| is_kept(former, best)) {
                    single.push(number);
                } else {
                    changes.extend(line.route(graph));
                }
                view.around(number, |below| {
                    if graph.data.parent(below) == Some(number) {
                        waiting.push((below, depth + 1));
                    }
                });
            }
        }
        for number in visited {
            self.visited.clear(number);
        }
    }

    /// Looks which path to a router is to be used. Returns the route if it is another now.
    fn weigh(&mut self, now: Instant, known: &impl Known, graph: &Graph, to: Number) -> Option<Route> {
        let view = graph.data_view(known)?;
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
            let path = new.clone().into_boxed_slice();
            self.keep(to, Kept::Relayed { path, until });
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
fn former_cost(view: &impl View, graph: &Graph, own: Number, to: Number) -> Option<u64> {
    let (mut at, mut cost) = (to, 0);
    while let Some(parent) = place_before(graph, at).parent() {
        cost += hop_cost(view, graph, own, parent, at)?;
        at = parent;
    }
    (at == own && to != own).then_some(cost)
}

/// Where a router was before the tree was brought up to date.
fn place_before(graph: &Graph, of: Number) -> Place {
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

fn hop_cost(view: &impl View, graph: &Graph, own: Number, from: Number, to: Number) -> Option<u64> {
    let delay = view.delay(from, to)?;
    let relay = if from == own { 0 } else { RELAY_COST };
    // Whether the link comes and goes that lies beside a direct path does not matter for the latter.
    let is_broken = from != own && find_remade(graph, from, to, true);
    (!is_broken).then(|| u64::from(delay) + u64::from(relay))
}

fn is_remade(graph: &Graph, path: &[Number]) -> bool {
    let firsts = graph.own().into_iter().chain(path.iter().copied());
    let mut hops = firsts.zip(path);
    hops.any(|(from, to)| find_remade(graph, from, *to, false) || find_remade(graph, from, *to, true))
}

fn find_remade(graph: &Graph, from: Number, to: Number, is_broken: bool) -> bool {
    let remade = Remade { from, to, is_broken };
    graph.links.remade.binary_search(&remade).is_ok()
}

/// The path to where a walk is.
#[derive(Default)]
struct Line {
    hops: Vec<Number>,
    ids: Vec<PeerId>,
    /// The label that leads to each hop, and the largest packet that gets there; zero if nothing does.
    steps: Vec<(LinkLabel, u16)>,
    /// For each hop what the path that led there costs now, if that was looked at; `None`: it is broken.
    former: Vec<Option<Option<u64>>>,
}

impl Line {
    fn truncate(&mut self, hops: usize) {
        self.hops.truncate(hops);
        self.ids.truncate(hops);
        self.steps.truncate(hops);
        self.former.truncate(hops);
    }

    /// What the path that led to the last hop costs now. Mostly that is the path of the hop before and one more.
    fn former(&mut self, view: &impl View, graph: &Graph, own: Number) -> Option<u64> {
        let (last, before) = match *self.hops.as_slice() {
            [.., before, last] => (last, Some(before)),
            [last] => (last, None),
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

    fn push(&mut self, known: &impl Known, graph: &Graph, to: Number) {
        let step = match (self.hops.last(), self.steps.last()) {
            (Some(&from), Some((_, mtu))) => {
                let told = told_of(known, from, to).zip(told_of(known, to, from));
                told.map(|(there, back)| (there.label, there.mtu.min(back.mtu).min(*mtu)))
            }
            _ => first_mtu(known, graph, to).map(|mtu| (LinkLabel(0), mtu)),
        };
        self.hops.push(to);
        self.ids.push(known.id(to).copied().unwrap_or(PeerId([0; 32])));
        self.steps.push(step.unwrap_or((LinkLabel(0), 0)));
        self.former.push(None);
    }

    fn route(&self, graph: &Graph) -> Option<RouteChange> {
        let (to, peer, (_, mtu)) = (self.hops.last()?, self.ids.last()?, self.steps.last()?);
        let labels = self.steps.iter().skip(1).take(MAX_LABELS);
        let route = Route {
            path: self.ids.clone(),
            labels: labels.map(|(label, _)| *label).collect(),
            cost_us: graph.data.place(*to).cost.into(),
            mtu: *mtu,
        };
        (*mtu > 0).then_some((*peer, Some(route)))
    }
}
