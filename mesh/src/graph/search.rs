//! Single shortest paths, for what is not worth a tree.

use super::RELAY_COST;
use super::spt::View;
use crate::Number;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// The cheapest path from one router to another over edges that may be used, destination last. Looks at `most`
/// routers at the most, nearest first.
pub(crate) fn search(
    view: &impl View,
    from: Number,
    to: Number,
    may_use: impl Fn(Number, Number) -> bool,
    most: usize,
) -> Option<Vec<Number>> {
    let mut settled: BTreeMap<Number, Number> = BTreeMap::new();
    let mut queue = BinaryHeap::from([Reverse((0u64, 0usize, view.rank(from), from, from))]);
    while let Some(Reverse((cost, hops, _, parent, at))) = queue.pop() {
        if settled.contains_key(&at) {
            continue;
        }
        settled.insert(at, parent);
        if at == to {
            return Some(trace(&settled, from, to));
        }
        if settled.len() >= most {
            return None;
        }
        let relay = if at == from { 0 } else { u64::from(RELAY_COST) };
        view.out(at, |next, delay| {
            if !settled.contains_key(&next) && may_use(at, next) {
                let cost = cost + u64::from(delay) + relay;
                queue.push(Reverse((cost, hops + 1, view.rank(at), at, next)));
            }
        });
    }
    None
}

fn trace(settled: &BTreeMap<Number, Number>, from: Number, to: Number) -> Vec<Number> {
    let mut path = Vec::new();
    let mut at = to;
    while let Some(parent) = settled.get(&at).filter(|_| at != from) {
        path.push(at);
        at = *parent;
    }
    path.reverse();
    path
}
