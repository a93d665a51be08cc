//! Worlds of ten thousand routers: the core alone, on hosts that two threads run.
//!
//! Each router is a whole [`Mesh`], told and asked as the daemon does; what is left out lies around it.
//! Links come up after two round trips and lose nothing, in order, at 100 Mb/s; keepalives go beside that. Signatures
//! are keyed hashes and records are shared, each verified once. No data passes: the world says that a path for it
//! works a round trip after a link has come up, and as sleeve would that it still does after the link has gone. Bytes are
//! counted as in small worlds, headers and acknowledgements included; checks of paths only where there is no link.
//!
//! | file | subject |
//! |---|---|
//! | `event` | what happens, and in which order |
//! | `shard` | several threads, one course of events |
//! | `terms` | what holds for all: wires, the cut, addresses |
//! | `host`, `line`, `path` | a router's core, its ends of connections, and its data paths |
//! | `signer` | signatures in a world without cheats |
//! | `place` | worlds that begin with a mesh that stands |
//! | `look` | what one sees from outside |

mod event;
mod host;
mod line;
mod look;
mod path;
mod place;
mod shard;
mod signer;
mod terms;

pub use host::Allocated;
pub use look::Stretch;

use crate::{HostId, Profile, Traffic};
use event::What;
use host::Host;
use mesh::{Input, Mac, Mesh, PeerId};
use shard::Shard;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use terms::{Terms, micros};

/// A world of cores alone. The same calls give the same course of events, however many threads run it.
pub struct BigWorld {
    now: u64,
    terms: Terms,
    shards: Vec<Shard>,
}

impl BigWorld {
    /// Hosts on which nothing runs yet. One-way latencies are the profile's.
    #[must_use]
    pub fn new(seed: u64, hosts: usize, profile: Profile, threads: usize) -> Self {
        let threads = threads.max(1);
        let terms = Terms {
            seed,
            hosts: u32::try_from(hosts).unwrap_or(u32::MAX),
            profile,
            sides: Vec::new(),
            bridge: None,
            watched: None,
            max_links: None,
            addresses: None,
            discovery: true,
            lost: BTreeMap::new(),
            holds_records: false,
        };
        let mut shards: Vec<_> = (0..threads).map(|number| Shard::new(number, threads)).collect();
        for number in 0..terms.hosts {
            shards[number as usize % threads]
                .hosts
                .push(Host::new(number, &terms));
        }
        Self {
            now: 0,
            terms,
            shards,
        }
    }

    /// Routers launched from now on make at most so many links of their own.
    pub fn limit_links(&mut self, most: usize) {
        self.terms.max_links = Some(most);
    }

    /// Routers launched from now on give out addresses of this pool in network 0.
    pub fn divide(&mut self, settings: mesh::ipam::Settings) {
        self.terms.addresses = Some(settings);
    }

    /// What became of the requests for addresses on a host since the last call.
    pub fn take_allocated(&mut self, host: HostId) -> Vec<Allocated> {
        let shards = self.shards.len();
        std::mem::take(&mut self.shards[host.0 % shards].hosts[host.0 / shards].allocated)
    }

    /// Routers launched from now on dial only what they are told to.
    pub fn forbid_discovery(&mut self) {
        self.terms.discovery = false;
    }

    /// One way, between two hosts.
    #[must_use]
    pub fn delay(&self, a: HostId, b: HostId) -> Duration {
        Duration::from_micros(self.terms.delay(a.0 as u32, b.0 as u32))
    }

    /// The time since the world's beginning.
    #[must_use]
    pub fn now(&self) -> Duration {
        Duration::from_micros(self.now)
    }

    /// How many hosts there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.terms.hosts as usize
    }

    /// True if there is no host.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.terms.hosts == 0
    }

    /// Launches a router after a while; it knows the addresses of these.
    pub fn launch(&mut self, host: HostId, after: Duration, targets: &[HostId]) {
        let targets = targets.iter().map(|target| target.0 as u32).collect();
        let at = self.now + micros(after);
        self.act(host, |host, _, planned| {
            let event = host.own_event(at, What::Launch(targets));
            planned.push(event);
        });
    }

    /// The process is gone without a word.
    pub fn crash(&mut self, host: HostId) {
        self.act(host, |host, _, _| host.crash());
    }

    /// Its disk is lost with it: what is launched there next is another router.
    pub fn lose_disk(&mut self, host: HostId) {
        *self.terms.lost.entry(host.0 as u32).or_default() += 1;
        self.act(host, |host, terms, _| host.lose_disk(terms));
    }

    /// Keeps a copy of a host's disk as it is now.
    pub fn back_up(&mut self, host: HostId) {
        self.act(host, |host, _, _| host.back_up());
    }

    /// The process is gone, and its disk is again as the copy has it, if there is one.
    pub fn restore(&mut self, host: HostId) {
        self.act(host, |host, _, _| host.restore());
    }

    /// Gives a core an input now.
    pub fn input(&mut self, host: HostId, input: Input) {
        let now = self.now;
        self.act(host, |host, terms, planned| {
            host.input(now, input, terms, planned);
        });
    }

    /// Cuts the wires between hosts of which `side` says otherwise, but for one of them, if given.
    pub fn cut(&mut self, side: impl Fn(HostId) -> bool, bridge: Option<(HostId, HostId)>) {
        self.terms.sides = (0..self.len()).map(|host| side(HostId(host))).collect();
        let pair = |(a, b): (HostId, HostId)| (a.min(b).0 as u32, a.max(b).0 as u32);
        self.terms.bridge = bridge.map(pair);
    }

    /// All wires are whole again.
    pub fn heal(&mut self) {
        self.terms.sides.clear();
    }

    /// Whether records, and what routers ask each other about them, pass from now on.
    pub fn hold_records(&mut self, are_held: bool) {
        self.terms.holds_records = are_held;
    }

    /// From now on hosts note when they hear of this address.
    pub fn watch(&mut self, mac: Mac) {
        self.terms.watched = Some(mac);
        for host in self.shards.iter_mut().flat_map(|shard| &mut shard.hosts) {
            host.seen = None;
        }
    }

    /// Lets time pass.
    pub fn run(&mut self, duration: Duration) {
        self.now += micros(duration);
        shard::run(&mut self.shards, self.now, &self.terms);
    }

    /// The address at which a host is dialled; `second`: the other one of the two that each has.
    #[must_use]
    pub fn address(&self, host: HostId, second: bool) -> SocketAddr {
        terms::address(host.0 as u32, second)
    }

    /// A router's identity.
    #[must_use]
    pub fn id(&self, host: HostId) -> PeerId {
        self.at(host).id
    }

    /// The core that runs on a host.
    #[must_use]
    pub fn mesh(&self, host: HostId) -> Option<&Mesh> {
        self.at(host).mesh.as_deref()
    }

    /// Takes the core out of a host on which nothing runs from then on.
    pub fn take_mesh(&mut self, host: HostId) -> Option<Box<Mesh>> {
        let shards = self.shards.len();
        let host = &mut self.shards[host.0 % shards].hosts[host.0 / shards];
        let mesh = host.mesh.take();
        host.crash();
        mesh
    }

    /// What a host sent and received.
    #[must_use]
    pub fn traffic(&self, host: HostId) -> Traffic {
        self.at(host).traffic
    }

    fn at(&self, host: HostId) -> &Host {
        let shards = self.shards.len();
        &self.shards[host.0 % shards].hosts[host.0 / shards]
    }

    fn act(&mut self, host: HostId, act: impl FnOnce(&mut Host, &Terms, &mut Vec<event::Event>)) {
        let shards = self.shards.len();
        let shard = &mut self.shards[host.0 % shards];
        act(&mut shard.hosts[host.0 / shards], &self.terms, &mut shard.planned);
        shard.sort();
        let away: Vec<_> = shard.take_away().collect();
        for (shard, events) in away {
            self.shards[shard].take_in(events);
        }
    }
}
