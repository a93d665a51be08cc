//! What it costs a router that the mesh changes somewhere: from the records of both ends of a link to the routes.
//!
//! The same mesh is placed several times, and the same links change in it, so each change is timed several times and its
//! median counts: a machine that others use, too, stops a program for tens of microseconds some hundred times a second,
//! and one change in a hundred would show no more than that.

use crate::{Bench, SECOND};
use mesh::{Input, Instant, LinkId, Mesh, Output, Packet, PeerId};
use simulations::{HostId, Random};
use std::collections::BTreeSet;
use std::time::Duration;

/// Links that change in a run.
const CHANGES: usize = 5_000;
/// Until a router tells of a delay that has changed for good.
const TOLD_BY: Duration = Duration::from_secs(7);
/// Between two changes: each is a first one.
const APART: Duration = Duration::from_secs(2);
/// From a first change to the computation.
const WAIT: Duration = Duration::from_millis(10);
/// How often each change is timed.
const RUNS: usize = 5;

/// What each change cost, and how many routes it published.
struct Timed {
    time: Duration,
    routes: usize,
}

impl Bench {
    pub(crate) fn delta(&mut self) {
        let runs: Vec<_> = (0..RUNS).map(|_| self.time_changes()).collect();
        let median = |change: usize| {
            let mut times: Vec<_> = runs
                .iter()
                .filter_map(|run| Some(run.get(change)?.time))
                .collect();
            times.sort_unstable();
            times.get(times.len() / 2).copied()
        };
        let mut times: Vec<_> = (0..CHANGES).filter_map(median).collect();
        times.sort_unstable();
        let Some(last) = times.len().checked_sub(1) else {
            return;
        };
        let at = |share: usize| times[last * share / 100];
        let us = |time: Duration| format!("{:.1} µs", time.as_secs_f64() * 1e6);
        let figure = format!(
            "{} median, {} p99, {} most of {CHANGES} changes (each the median of {RUNS}); {} routes",
            us(at(50)),
            us(at(99)),
            us(at(100)),
            runs[0].iter().map(|cost| cost.routes).sum::<usize>(),
        );
        let is_met = at(99) <= Duration::from_micros(50);
        self.row(
            "record accepted to route delta published",
            figure,
            "p99 ≤ 50 µs",
            is_met,
        );
    }

    /// Places the mesh, has links change in it, and tells one of its routers.
    fn time_changes(&mut self) -> Vec<Timed> {
        let watcher = HostId(0);
        self.random = Random::new(self.asked.seed).fork("delta", 0);
        self.place(|host| host == watcher);
        // Nobody else is to hear of anything.
        self.world.hold_records(true);
        let changes = self.change_links(watcher);
        let mut now = Instant(self.world.now().as_micros() as u64);
        let mesh = self.world.take_mesh(watcher);
        mesh.map_or(Vec::new(), |mut mesh| watch(&mut mesh, &mut now, &changes))
    }

    fn said_of_links(&self, host: HostId) -> Option<Packet> {
        self.world.mesh(host).and_then(Mesh::say_links)
    }

    /// Random links get other delays; returns what both ends say then, link by link.
    fn change_links(&mut self, watcher: HostId) -> Vec<[Packet; 2]> {
        let mut changes = Vec::new();
        while changes.len() < CHANGES {
            let mut used = BTreeSet::from([watcher]);
            let mut changed = Vec::new();
            for _ in 0..self.asked.routers / 5 {
                let a = HostId(self.random.below(self.asked.routers as u64) as usize);
                let with = self.world.linked_with(a);
                let b = with[self.random.below(with.len() as u64) as usize];
                if used.contains(&a) || !used.insert(b) {
                    continue;
                }
                used.insert(a);
                let (least, most) = (Duration::from_micros(500), Duration::from_millis(100));
                let rtt = 2 * self.random.between(least, most);
                for (from, to) in [(a, b), (b, a)] {
                    let peer = self.world.id(to);
                    self.world.input(from, Input::PathUp { peer, mtu: 1420, rtt });
                }
                changed.push(([a, b], [a, b].map(|end| self.said_of_links(end))));
            }
            self.world.run(TOLD_BY);
            for (ends, before) in changed {
                let after = ends.map(|end| self.said_of_links(end));
                let is_told = before.iter().zip(&after).all(|(before, after)| before != after);
                // A delay that is hardly another is not told.
                if let ([Some(a), Some(b)], true) = (after, is_told) {
                    changes.push([a, b]);
                }
            }
        }
        changes.truncate(CHANGES);
        changes
    }
}

/// Tells a core of each change, and takes the time until its routes are out.
fn watch(mesh: &mut Mesh, now: &mut Instant, changes: &[[Packet; 2]]) -> Vec<Timed> {
    let links: Vec<(LinkId, PeerId)> = mesh.links().iter().map(|link| (link.link, link.peer)).collect();
    let (link, _) = links[0];
    let mut costs = Vec::new();
    for change in changes {
        // Neighbours live on, and whatever else is due is done.
        for _ in 0..APART.as_secs() {
            *now = *now + SECOND;
            for &(_, peer) in &links {
                mesh.handle_input(*now, Input::Alive { peer });
            }
            mesh.handle_input(*now, Input::Tick);
            drain(mesh);
        }
        let started = std::time::Instant::now();
        for packet in change {
            let packet = packet.clone();
            mesh.handle_input(*now, Input::Message { link, packet });
        }
        let mut routes = drain(mesh);
        *now = *now + WAIT;
        mesh.handle_input(*now, Input::Tick);
        routes += drain(mesh);
        costs.push(Timed {
            time: started.elapsed(),
            routes,
        });
    }
    assert!(!mesh.is_computing(), "the last change is in the routes");
    costs
}

/// Takes all outputs; returns how many routes were among them.
fn drain(mesh: &mut Mesh) -> usize {
    std::iter::from_fn(|| mesh.poll_output())
        .filter(|output| matches!(output, Output::Route { .. }))
        .count()
}
