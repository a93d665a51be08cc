//! What it costs two neighbours to find out whether they hold the same, at ten thousand routers with three records
//! each: `cargo run --release -p mesh --example digest_cost [ROUTERS]`.
//!
//! Two cores are joined in memory: one knows everything and the other nothing; both know everything; one has a record
//! that is newer; each knows one half. For each kind of message it prints how many there were, their bytes, and how
//! long the core took that read them. That includes what the core does after every input (timers, routes that are
//! due), for lists of records everything that follows from them.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a measurement reads the clock"
)]

use mesh::{
    Admission, Config, Direction, Forged, Input, Instant, LinkId, Mesh, Output, Packet, PeerId, PeerInfo,
    SecretId, Signer,
};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant as Clock};

/// Believes everything: signatures are not what is measured.
struct Trusting;

impl Signer for Trusting {
    fn sign(&self, _: &[u8]) -> [u8; 64] {
        [0; 64]
    }

    fn verify(&self, _: &PeerId, _: &[u8], _: &[u8; 64]) -> bool {
        true
    }

    fn admissions(&self) -> Vec<Admission> {
        vec![Admission {
            secret: SecretId([1; 8]),
            proof: [1; 16],
        }]
    }

    fn admits(&self, _: &PeerId, _: &[Admission]) -> bool {
        true
    }
}

fn info(peer: PeerId) -> PeerInfo {
    PeerInfo {
        peer,
        name: "host".parse().unwrap(),
        data_key: peer.0,
        epoch: 1,
        instance: 1,
        addresses: vec!["192.0.2.1:6783".parse().unwrap()],
        admissions: Trusting.admissions(),
        version: "0.1".to_owned(),
        capabilities: 0,
        vxlan_port: 0,
        label: mesh::PeerLabel::NONE,
    }
}

/// What is said of a kind of message.
#[derive(Default)]
struct Cost {
    messages: usize,
    bytes: usize,
    took: Duration,
    longest: Duration,
}

struct Pair {
    cores: [Mesh; 2],
    ids: [PeerId; 2],
    wires: [VecDeque<Packet>; 2],
    link: u64,
    now: Instant,
    costs: BTreeMap<u8, Cost>,
}

impl Pair {
    fn new() -> Self {
        let ids = [PeerId([1; 32]), PeerId([2; 32])];
        let core = |id: PeerId| {
            let config = Config::new(id, "host".parse().unwrap(), id.0, 1, Arc::new(Trusting));
            Mesh::new(config, id.0, Instant(0))
        };
        Self {
            cores: ids.map(core),
            ids,
            wires: [VecDeque::new(), VecDeque::new()],
            link: 0,
            now: Instant(1_000_000),
            costs: BTreeMap::new(),
        }
    }

    fn input(&mut self, at: usize, input: Input) -> Duration {
        let start = Clock::now();
        self.cores[at].handle_input(self.now, input);
        let took = start.elapsed();
        while let Some(output) = self.cores[at].poll_output() {
            if let Output::Send { packet, .. } = output {
                self.wires[1 - at].push_back(packet);
            }
        }
        took
    }

    fn join(&mut self) -> LinkId {
        self.link += 1;
        let link = LinkId(self.link);
        for (at, direction) in [(0, Direction::Out), (1, Direction::In)] {
            let up = Input::LinkUp {
                link,
                peer: self.ids[1 - at],
                address: "192.0.2.2:6783".parse().unwrap(),
                direction,
                target: None,
            };
            self.input(at, up);
        }
        link
    }

    fn part(&mut self, link: LinkId) {
        for at in 0..2 {
            let reason = "done".to_owned();
            self.input(at, Input::LinkDown { link, reason });
        }
        self.wires = [VecDeque::new(), VecDeque::new()];
    }

    /// One core hears these, the other does not.
    fn tell(&mut self, at: usize, records: Vec<Forged>) {
        let link = self.join();
        // The greeting.
        let packet = self.wires[at].pop_front().unwrap();
        self.input(at, Input::Message { link, packet });
        for batch in records {
            let packet = batch.packet();
            self.input(at, Input::Message { link, packet });
        }
        self.part(link);
    }

    /// Joins them, lets them say what they have to say, and parts them.
    fn meet(&mut self, title: &str) {
        let link = self.join();
        while let Some(at) = (0..2).find(|at| !self.wires[*at].is_empty()) {
            let Some(packet) = self.wires[at].pop_front() else {
                break;
            };
            let (kind, bytes) = (packet.bytes()[0], packet.len());
            // As it comes from a wire.
            let packet = Packet::from(packet.bytes().to_vec());
            let took = self.input(at, Input::Message { link, packet });
            let cost = self.costs.entry(kind).or_default();
            cost.messages += 1;
            cost.bytes += bytes;
            cost.took += took;
            cost.longest = cost.longest.max(took);
        }
        self.part(link);
        println!("\n{title}");
        let all: usize = self.costs.values().map(|cost| cost.bytes).sum();
        let records = self.costs.get(&5).map_or(0, |cost| cost.bytes);
        println!(
            "{all} bytes, {:.3} times those of records",
            all as f64 / records as f64
        );
        for (kind, cost) in std::mem::take(&mut self.costs) {
            let name = match kind {
                5 => "records",
                6 => "root",
                7 => "sums",
                14 => "list",
                15 => "answer",
                16 => "question",
                _ => continue,
            };
            let Cost {
                messages,
                bytes,
                took,
                longest,
            } = cost;
            println!(
                "{name:>10}: {messages:4} messages, {bytes:9} bytes, {took:>10.1?}, longest {longest:>9.1?}"
            );
        }
    }
}

fn main() {
    let routers = std::env::args()
        .nth(1)
        .map_or(10_000, |routers| routers.parse().unwrap());
    let mut rng = StdRng::seed_from_u64(1);
    let ids: Vec<PeerId> = (0..routers).map(|_| PeerId(rng.random())).collect();
    let said = |ids: &[PeerId], rng: &mut StdRng| {
        let mut batches = Vec::new();
        for some in ids.chunks(200) {
            let mut batch = Forged::default();
            for id in some {
                let neighbors: Vec<_> = (0..8).map(|_| ids[rng.random_range(0..ids.len())]).collect();
                batch.info(&Trusting, &info(*id), 1);
                batch.links(&Trusting, *id, (1, 2), &neighbors);
                batch.macs(&Trusting, *id, (1, 3), 1 << 16);
            }
            batches.push(batch);
        }
        println!("\n{} records", batches.iter().map(Forged::len).sum::<usize>());
        batches
    };
    let mut pair = Pair::new();
    pair.tell(0, said(&ids, &mut rng));
    pair.meet("One knows everything, the other nothing");
    pair.meet("Both know everything");
    let mut newer = Forged::default();
    newer.macs(&Trusting, ids[0], (1, 9), 1 << 16);
    pair.tell(0, vec![newer]);
    pair.meet("One record is newer");
    let mut halves = Pair::new();
    let (left, right) = ids.split_at(ids.len() / 2);
    halves.tell(0, said(left, &mut rng));
    halves.tell(1, said(right, &mut rng));
    halves.meet("Two halves that know nothing of each other");
}
