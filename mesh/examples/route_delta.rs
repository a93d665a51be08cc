//! How long it takes from a link's change to the changed routes, at ten thousand routers:
//! `cargo run --release -p mesh --example route_delta [ROUTERS] [SEED] [near]`.
//!
//! The network is random, eight links each, with 0.5–100 ms one way; with `near`, half of the links are the
//! quickest of 64 that were tried, as the connector chooses them. One link after the other changes, and with it
//! the records of both its ends: it goes, comes back, and changes its delay. Measured is everything from both new
//! records to the routes: links, the tree of data paths, the tree along which records spread, the routes
//! themselves. For comparison both trees are computed from nothing.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a measurement reads the clock"
)]

use mesh::{Adjacency, Delay, DirectPath, Instant, LinkLabel, PeerId, Trial};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::time::{Duration, Instant as Clock};

const DEGREE: usize = 8;
const CHANGES: usize = 3000;
const RUNS: u64 = 5;

struct Network {
    ids: Vec<PeerId>,
    /// For each router its links: the other end, delay from here in microseconds.
    links: Vec<Vec<(usize, u64)>>,
}

impl Network {
    fn random(routers: usize, near: bool, rng: &mut StdRng) -> Self {
        let mut ids: Vec<_> = (0..routers).map(|_| PeerId(rng.random())).collect();
        ids.dedup();
        let mut links = vec![Vec::new(); routers];
        let is_new = |links: &[Vec<(usize, u64)>], a: usize, b: usize| {
            a != b && links[a].iter().all(|(to, _)| *to != b)
        };
        let half = if near { DEGREE / 2 } else { 0 };
        for a in 0..routers {
            while links[a].len() < half {
                let tried =
                    (0..64).map(|_| (rng.random_range(500..=100_000u64), rng.random_range(0..routers)));
                let (delay, b) = tried.min().unwrap();
                if is_new(&links, a, b) && links[b].len() <= half {
                    links[a].push((b, delay));
                    links[b].push((a, delay));
                }
            }
        }
        let mut ends: Vec<usize> = (0..routers).flat_map(|n| vec![n; DEGREE - half]).collect();
        for at in (1..ends.len()).rev() {
            ends.swap(at, rng.random_range(0..=at));
        }
        for pair in ends.chunks_exact(2) {
            let (a, b) = (pair[0], pair[1]);
            if is_new(&links, a, b) {
                let delay = rng.random_range(500..=100_000);
                links[a].push((b, delay));
                links[b].push((a, delay));
            }
        }
        Self { ids, links }
    }

    fn record(&self, of: usize) -> Vec<Adjacency> {
        // Labels stay what they are while other links of the same router come and go.
        let link = |&(to, delay): &(usize, u64)| Adjacency {
            neighbor: self.ids[to].short(),
            label: LinkLabel(to as u16 + 1),
            delay: Delay::from_us(delay),
            mtu: 1400,
        };
        self.links[of].iter().map(link).collect()
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let routers: usize = arguments.next().map_or(10_000, |text| text.parse().unwrap());
    let seed: u64 = arguments.next().map_or(1, |text| text.parse().unwrap());
    let near = arguments.next().is_some_and(|text| text == "near");
    println!("{routers} routers, {DEGREE} links each, {CHANGES} changes of random links, {RUNS} runs");
    let mut runs: Vec<_> = (0..RUNS).map(|run| measure(routers, near, seed + run)).collect();
    runs.sort_by_key(|run| run.p99);
    let median = &runs[runs.len() / 2];
    println!("median run: {}", median.line());
    println!("a link's change to its route deltas, p99: {:?}", median.p99);
}

struct Run {
    p50: Duration,
    p99: Duration,
    max: Duration,
    full: Duration,
    routes: usize,
    bytes: usize,
}

impl Run {
    fn line(&self) -> String {
        format!(
            "p50 {:?}, p99 {:?}, max {:?}; {:.1} routes a change; from nothing {:?}; {} bytes a router",
            self.p50,
            self.p99,
            self.max,
            self.routes as f64 / CHANGES as f64,
            self.full,
            self.bytes
        )
    }
}

fn measure(routers: usize, near: bool, seed: u64) -> Run {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut network = Network::random(routers, near, &mut rng);
    let mut trial = Trial::new(network.ids[0]);
    for router in 0..routers {
        trial.tell(network.ids[router], network.record(router));
    }
    for &(to, delay) in &network.links[0] {
        let delay_us = Delay::from_us(delay).us();
        trial.direct(network.ids[to], DirectPath { delay_us, mtu: 1400 });
    }
    let start = Clock::now();
    let found = trial.update(Instant(0)).len();
    let first = start.elapsed();
    let start = Clock::now();
    trial.rebuild();
    let full = start.elapsed();
    let mut times = Vec::with_capacity(CHANGES);
    let mut routes = 0;
    for change in 0..CHANGES / 3 {
        let from = rng.random_range(1..routers);
        let at = rng.random_range(0..network.links[from].len().max(1));
        let Some(&(to, delay)) = network.links[from].get(at) else {
            continue;
        };
        let other = rng.random_range(500..=100_000);
        for (step, delay) in [None, Some(delay), Some(other)].into_iter().enumerate() {
            for (here, there) in [(from, to), (to, from)] {
                network.links[here].retain(|link| link.0 != there);
                network.links[here].extend(delay.map(|delay| (there, delay)));
            }
            let records = [from, to].map(|of| (network.ids[of], network.record(of)));
            let now = Instant((change * 3 + step) as u64 * 100_000);
            // What was kept until now ends by a timer of its own.
            trial.update(now);
            let start = Clock::now();
            for (origin, record) in records {
                trial.tell(origin, record);
            }
            routes += trial.update(now).len();
            times.push(start.elapsed());
        }
    }
    times.sort_unstable();
    let run = Run {
        p50: times[times.len() / 2],
        p99: times[times.len() * 99 / 100],
        max: times[times.len() - 1],
        full,
        routes,
        bytes: trial.bytes() / routers,
    };
    println!(
        "seed {seed}: {} (at first {found} routes in {first:?})",
        run.line()
    );
    run
}
