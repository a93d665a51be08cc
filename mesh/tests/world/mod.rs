//! A few cores joined in memory: virtual time, ordered pipes with latency, and wires that can be cut, one way or
//! both. What is in flight on a cut wire waits, as it does in QUIC; keepalives are lost.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic)]

mod signer;

pub use signer::{FakeSigner, Secrets};

use mesh::ipam::{Pool, Refusal, Settings, Setup, Stored};
use mesh::{
    Config, Direction, DropReason, Drops, Event, Fdb, Input, Instant, LinkId, LinkStatus, Mesh, Output,
    PeerId, PeerInfo, PeerLabel, Route, Tree, Vni,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// How long a dial into nowhere takes to fail, and a silent connection to end.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What became of a request for an address: its number, and the addresses.
pub type Given = (u64, Result<Vec<(IpAddr, u8)>, Refusal>);

/// One host.
pub struct Host {
    pub id: PeerId,
    pub name: String,
    pub address: SocketAddr,
    pub mesh: Option<Mesh>,
    pub drops: Arc<Drops>,
    pub secrets: Secrets,
    pub discovery: bool,
    pub max_links: usize,
    /// What is on disk.
    pub epoch: u64,
    pub stored_targets: Vec<String>,
    pub label: PeerLabel,
    /// Whether it has a fast path, and so a label.
    pub is_fast: bool,
    /// What addresses are taken from; `None`: none are given out.
    pub pool: Option<Pool>,
    pub stored_addresses: Stored,
    pub given: Vec<Given>,
    pub reclaimed: Vec<Result<u32, Refusal>>,
    /// What the core said.
    pub log: Vec<(u64, Event)>,
    pub delivered: Vec<(PeerId, Vec<u8>)>,
    pub peers: BTreeMap<PeerId, PeerInfo>,
    /// Who has which label, this host included.
    pub labels: BTreeMap<PeerId, PeerLabel>,
    pub routes: BTreeMap<PeerId, Route>,
    pub fdb: Vec<Fdb>,
    pub trees: BTreeMap<(Vni, PeerId), Tree>,
    pub sent: u64,
    pub sent_bytes: u64,
    pub dials: Vec<(u64, String)>,
    run: u64,
    links: BTreeMap<LinkId, usize>,
    next_link: u64,
    /// When its core wants to be called.
    timer: Option<u64>,
}

#[derive(Debug, Clone)]
struct Pipe {
    ends: [(usize, LinkId); 2],
    open: [bool; 2],
    /// What waits behind a cut, by receiving end.
    held: [Vec<Vec<u8>>; 2],
}

#[derive(Debug, Clone)]
enum Ev {
    Input {
        host: usize,
        run: u64,
        input: Box<Input>,
    },
    Arrive {
        pipe: usize,
        end: usize,
        bytes: Vec<u8>,
        reliable: bool,
    },
    Closed {
        pipe: usize,
        end: usize,
        reason: String,
    },
    Dialled {
        from: usize,
        run: u64,
        target: String,
        expect: Option<PeerId>,
    },
    Path {
        from: usize,
        run: u64,
        to: usize,
    },
}

/// True for what gets lost on its way: sender, receiver, message, whether it went on the ordered stream.
pub type Loses = dyn FnMut(usize, usize, &[u8], bool) -> bool;

/// All hosts and the wires between them.
pub struct World {
    pub now: u64,
    pub hosts: Vec<Host>,
    pub latency: Duration,
    pub slow: BTreeMap<(usize, usize), Duration>,
    events: BTreeMap<(u64, u64), Ev>,
    pipes: Vec<Pipe>,
    blocked: BTreeSet<(usize, usize)>,
    pub loses: Box<Loses>,
    count: u64,
    seed: u64,
}

pub fn id(n: u8) -> PeerId {
    // Not in the order of the numbers, so that neither end of a pair is always the lower.
    PeerId([n.wrapping_mul(83).wrapping_add(1); 32])
}

impl World {
    pub fn new(hosts: u8) -> Self {
        let mut world = Self {
            now: 0,
            hosts: Vec::new(),
            latency: Duration::from_millis(1),
            slow: BTreeMap::new(),
            events: BTreeMap::new(),
            pipes: Vec::new(),
            blocked: BTreeSet::new(),
            loses: Box::new(|_, _, _, _| false),
            count: 0,
            seed: 1,
        };
        for n in 0..hosts {
            world.add_host(id(n));
        }
        world
    }

    pub fn add_host(&mut self, id: PeerId) -> usize {
        let n = self.hosts.len();
        self.hosts.push(Host {
            id,
            name: format!("host-{n}"),
            address: format!("10.0.0.{}:6783", n + 1).parse().unwrap(),
            mesh: None,
            drops: Arc::default(),
            secrets: Secrets::new(b"secret-1"),
            discovery: true,
            max_links: 32,
            epoch: 0,
            stored_targets: Vec::new(),
            label: PeerLabel::NONE,
            is_fast: false,
            pool: None,
            stored_addresses: Stored::new(),
            given: Vec::new(),
            reclaimed: Vec::new(),
            log: Vec::new(),
            delivered: Vec::new(),
            peers: BTreeMap::new(),
            labels: BTreeMap::new(),
            routes: BTreeMap::new(),
            fdb: Vec::new(),
            trees: BTreeMap::new(),
            sent: 0,
            sent_bytes: 0,
            dials: Vec::new(),
            run: 0,
            links: BTreeMap::new(),
            next_link: 0,
            timer: None,
        });
        n
    }

    pub fn launch(&mut self, n: usize, targets: &[usize]) {
        let texts: Vec<_> = targets
            .iter()
            .map(|t| self.hosts[*t].address.to_string())
            .collect();
        self.seed += 1;
        let host = &mut self.hosts[n];
        host.epoch += 1;
        host.run += 1;
        host.routes.clear();
        host.labels.clear();
        host.peers.clear();
        let signer = Arc::new(FakeSigner {
            own: host.id,
            secrets: host.secrets.clone(),
        });
        let mut config = Config::new(host.id, host.name.parse().unwrap(), [7; 32], host.epoch, signer);
        config.instance = self.seed;
        config.drops = Arc::clone(&host.drops);
        config.discovery = host.discovery;
        config.max_links = host.max_links;
        config.targets = texts.into_iter().chain(host.stored_targets.clone()).collect();
        config.addresses = vec![host.address];
        config.vxlan_port = if host.is_fast { 6784 } else { 0 };
        config.label = host.label;
        let networks = host.pool.map(|pool| {
            (
                Vni(1),
                Settings {
                    pool,
                    ..Settings::default()
                },
            )
        });
        config.addresses_of = Setup {
            networks: networks.into_iter().collect(),
            stored: host.stored_addresses.clone(),
            knows_others: !config.targets.is_empty(),
        };
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.seed.to_le_bytes());
        host.mesh = Some(Mesh::new(config, seed, Instant(self.now)));
        self.drain(n);
    }

    /// The process is gone, without a word; the other ends learn it by silence.
    pub fn kill(&mut self, n: usize) {
        let host = &mut self.hosts[n];
        host.mesh = None;
        host.run += 1;
        for pipe in std::mem::take(&mut host.links).into_values() {
            let near = usize::from(self.pipes[pipe].ends[1].0 == n);
            self.pipes[pipe].open[near] = false;
            let at = self.now + TIMEOUT.as_micros() as u64;
            self.schedule(
                at,
                Ev::Closed {
                    pipe,
                    end: 1 - near,
                    reason: "timed out".to_owned(),
                },
            );
        }
    }

    pub fn block(&mut self, from: usize, to: usize) {
        self.blocked.insert((from, to));
    }

    pub fn cut(&mut self, a: usize, b: usize) {
        self.block(a, b);
        self.block(b, a);
    }

    pub fn heal(&mut self, a: usize, b: usize) {
        for (from, to) in [(a, b), (b, a)] {
            self.blocked.remove(&(from, to));
        }
        for pipe in 0..self.pipes.len() {
            for end in 0..2 {
                if !self.is_blocked(self.pipes[pipe].ends[1 - end].0, self.pipes[pipe].ends[end].0) {
                    let at = self.now + self.delay(a, b);
                    for bytes in std::mem::take(&mut self.pipes[pipe].held[end]) {
                        self.schedule(
                            at,
                            Ev::Arrive {
                                pipe,
                                end,
                                bytes,
                                reliable: true,
                            },
                        );
                    }
                }
            }
        }
    }

    pub fn input(&mut self, n: usize, input: Input) {
        let now = Instant(self.now);
        if let Some(mesh) = &mut self.hosts[n].mesh {
            mesh.handle_input(now, input);
            self.drain(n);
        }
    }

    pub fn mesh(&self, n: usize) -> &Mesh {
        self.hosts[n].mesh.as_ref().unwrap()
    }

    /// Runs for a while.
    pub fn run(&mut self, duration: Duration) {
        let end = self.now + duration.as_micros() as u64;
        loop {
            let timer = self
                .hosts
                .iter()
                .enumerate()
                .filter_map(|(n, host)| Some((host.timer.filter(|_| host.mesh.is_some())?, n)));
            let timer = timer.min();
            let event = self.events.keys().next().map(|(at, _)| *at);
            match (event, timer) {
                (Some(at), timer)
                    if at <= end && timer.is_none_or(|(timer, _)| at <= timer.max(self.now)) =>
                {
                    self.now = self.now.max(at);
                    let (_, event) = self.events.pop_first().unwrap();
                    self.handle(event);
                }
                (_, Some((at, n))) if at <= end => {
                    self.now = self.now.max(at);
                    self.count += 1;
                    self.input(n, Input::Tick);
                    let next = self.mesh(n).poll_timeout();
                    assert!(
                        next.is_none_or(|(next, _)| next.0 > self.now),
                        "host {n} spins: {next:?}"
                    );
                }
                _ => break,
            }
        }
        self.now = end;
    }

    pub fn run_ms(&mut self, ms: u64) {
        self.run(Duration::from_millis(ms));
    }

    fn schedule(&mut self, at: u64, event: Ev) {
        self.count += 1;
        self.events.insert((at, self.count), event);
    }

    fn is_blocked(&self, from: usize, to: usize) -> bool {
        self.blocked.contains(&(from, to))
    }

    fn delay(&self, a: usize, b: usize) -> u64 {
        self.slow
            .get(&(a.min(b), a.max(b)))
            .unwrap_or(&self.latency)
            .as_micros() as u64
    }

    fn drain(&mut self, n: usize) {
        while let Some(output) = self.hosts[n].mesh.as_mut().and_then(Mesh::poll_output) {
            self.output(n, output);
        }
        let host = &mut self.hosts[n];
        host.timer = host.mesh.as_ref().and_then(|mesh| Some(mesh.poll_timeout()?.0.0));
    }

    fn output(&mut self, n: usize, output: Output) {
        let now = self.now;
        let run = self.hosts[n].run;
        match output {
            Output::KeepAddresses { vni, batch } => {
                for (key, value) in batch.changes {
                    match value {
                        Some(value) => drop(self.hosts[n].stored_addresses.insert(key, value)),
                        None => drop(self.hosts[n].stored_addresses.remove(&key)),
                    }
                }
                let number = batch.number;
                self.later(n, Input::AddressesKept { vni, number });
            }
            Output::Allocated { number, result } => self.hosts[n].given.push((number, result)),
            Output::Reclaimed { result, .. } => self.hosts[n].reclaimed.push(result),
            Output::Dial { target, expect } => {
                self.hosts[n].dials.push((now, target.clone()));
                let to = self
                    .hosts
                    .iter()
                    .position(|host| host.address.to_string() == target);
                let delay = to.map_or(0, |to| self.delay(n, to) * 4);
                self.schedule(
                    now + delay,
                    Ev::Dialled {
                        from: n,
                        run,
                        target,
                        expect,
                    },
                );
            }
            Output::Probe { peer, address } => {
                let to = self.hosts.iter().position(|host| host.address == address);
                let to = to.filter(|to| self.hosts[*to].mesh.is_some());
                let to = to.filter(|to| !self.is_blocked(n, *to) && !self.is_blocked(*to, n));
                let rtt = to.map(|to| Duration::from_micros(2 * self.delay(n, to)));
                let at = now + rtt.unwrap_or(TIMEOUT).as_micros() as u64;
                let input = Box::new(Input::Probed { peer, rtt });
                self.schedule(at, Ev::Input { host: n, run, input });
            }
            Output::Close { link, reason } => self.close(n, link, reason),
            Output::Send {
                link,
                packet,
                reliable,
            } => {
                // As over a real wire: the other end gets nothing but bytes.
                let bytes = packet.bytes().to_vec();
                assert_eq!(bytes.len(), packet.len());
                assert!(bytes.len() <= mesh::MAX_MESSAGE);
                self.hosts[n].sent += 1;
                self.hosts[n].sent_bytes += bytes.len() as u64;
                let Some(&pipe) = self.hosts[n].links.get(&link) else {
                    return;
                };
                let end = usize::from(self.pipes[pipe].ends[0].0 == n);
                if (self.loses)(n, self.pipes[pipe].ends[end].0, packet.bytes(), reliable) {
                    return;
                }
                let at = now + self.delay(n, self.pipes[pipe].ends[end].0);
                self.schedule(
                    at,
                    Ev::Arrive {
                        pipe,
                        end,
                        bytes,
                        reliable,
                    },
                );
            }
            Output::Neighbor {
                peer,
                address: Some(_),
            } => {
                if let Some(to) = self.running(&peer) {
                    let at = now + self.delay(n, to) * 2;
                    self.schedule(at, Ev::Path { from: n, run, to });
                }
            }
            Output::Neighbor { peer, address: None } => {
                self.later(n, Input::PathDown { peer });
            }
            Output::PersistEpoch(epoch) => {
                self.hosts[n].epoch = epoch;
                self.later(n, Input::EpochPersisted(epoch));
            }
            Output::PersistTargets(targets) => self.hosts[n].stored_targets = targets,
            Output::PeerLabel { peer, label } => {
                let host = &mut self.hosts[n];
                if peer == host.id && label.is_some() {
                    host.label = label;
                }
                host.labels.insert(peer, label);
            }
            Output::Log(event) => self.hosts[n].log.push((now, event)),
            Output::Deliver { from, payload } => self.hosts[n].delivered.push((from, payload)),
            Output::Peer(info) => {
                self.hosts[n].peers.insert(info.peer, info);
            }
            Output::PeerGone(peer) => {
                self.hosts[n].peers.remove(&peer);
            }
            Output::Route {
                peer,
                route: Some(route),
            } => {
                self.hosts[n].routes.insert(peer, route);
            }
            Output::Route { peer, route: None } => {
                self.hosts[n].routes.remove(&peer);
            }
            Output::Fdb(fdb) => self.hosts[n].fdb.push(fdb),
            Output::Label { .. } | Output::Detour { .. } | Output::Name(_) | Output::NameRefused { .. } => {}
            Output::Networks(_) | Output::Network { .. } => {}
            Output::Tree { vni, source, tree } => {
                let trees = &mut self.hosts[n].trees;
                match tree {
                    Some(tree) => trees.insert((vni, source), tree),
                    None => trees.remove(&(vni, source)),
                };
            }
        }
    }

    fn later(&mut self, host: usize, input: Input) {
        let run = self.hosts[host].run;
        self.schedule(
            self.now + 1000,
            Ev::Input {
                host,
                run,
                input: Box::new(input),
            },
        );
    }

    fn running(&self, peer: &PeerId) -> Option<usize> {
        self.hosts
            .iter()
            .position(|host| host.id == *peer && host.mesh.is_some())
    }

    fn close(&mut self, n: usize, link: LinkId, reason: &str) {
        let Some(pipe) = self.hosts[n].links.remove(&link) else {
            return;
        };
        let near = usize::from(self.pipes[pipe].ends[1].0 == n);
        let far = self.pipes[pipe].ends[1 - near].0;
        self.pipes[pipe].open[near] = false;
        let delay = if self.is_blocked(n, far) {
            TIMEOUT.as_micros() as u64
        } else {
            self.delay(n, far)
        };
        self.schedule(
            self.now + delay,
            Ev::Closed {
                pipe,
                end: 1 - near,
                reason: reason.to_owned(),
            },
        );
        self.later(
            n,
            Input::LinkDown {
                link,
                reason: reason.to_owned(),
            },
        );
    }

    fn handle(&mut self, event: Ev) {
        match event {
            Ev::Input { host, run, input } => {
                if self.hosts[host].run == run {
                    self.input(host, *input);
                }
            }
            Ev::Arrive {
                pipe,
                end,
                bytes,
                reliable,
            } => {
                let ((to, link), (from, _)) = (self.pipes[pipe].ends[end], self.pipes[pipe].ends[1 - end]);
                if self.is_blocked(from, to) {
                    if reliable {
                        self.pipes[pipe].held[end].push(bytes);
                    }
                } else if self.pipes[pipe].open[end] {
                    let packet = bytes.into();
                    self.input(to, Input::Message { link, packet });
                }
            }
            Ev::Closed { pipe, end, reason } => {
                let (host, link) = self.pipes[pipe].ends[end];
                if std::mem::take(&mut self.pipes[pipe].open[end]) {
                    self.hosts[host].links.remove(&link);
                    self.input(host, Input::LinkDown { link, reason });
                }
            }
            Ev::Dialled {
                from,
                run,
                target,
                expect,
            } => {
                if self.hosts[from].run == run && self.hosts[from].mesh.is_some() {
                    self.dialled(from, target, expect);
                }
            }
            Ev::Path { from, run, to } => {
                let is_open = !self.is_blocked(from, to) && !self.is_blocked(to, from);
                if self.hosts[from].run == run && is_open {
                    let rtt = Duration::from_micros(self.delay(from, to) * 2);
                    let peer = self.hosts[to].id;
                    self.input(from, Input::PathUp { peer, mtu: 1400, rtt });
                }
            }
        }
    }

    fn dialled(&mut self, from: usize, target: String, expect: Option<PeerId>) {
        let to = self
            .hosts
            .iter()
            .position(|host| host.address.to_string() == target && host.mesh.is_some());
        let to = to.filter(|to| !self.is_blocked(from, *to) && !self.is_blocked(*to, from));
        let fail = |world: &mut Self, after: Duration, error: &str, own| {
            let input = Input::DialFailed {
                target: target.clone(),
                error: error.to_owned(),
                own,
            };
            let run = world.hosts[from].run;
            let at = world.now + after.as_micros() as u64;
            world.schedule(
                at,
                Ev::Input {
                    host: from,
                    run,
                    input: Box::new(input),
                },
            );
        };
        let Some(to) = to else {
            return fail(self, TIMEOUT, "no answer", false);
        };
        let (id, far_id) = (self.hosts[from].id, self.hosts[to].id);
        if id == far_id {
            return fail(self, Duration::ZERO, "a link with itself", true);
        }
        if expect.is_some_and(|expect| expect != far_id) {
            return fail(self, Duration::ZERO, "another identity", false);
        }
        if !self.hosts[from].secrets.shares(&self.hosts[to].secrets) {
            return fail(self, Duration::ZERO, "the secret was refused", false);
        }
        let pipe = self.pipes.len();
        let mut ends = [(from, LinkId(0)), (to, LinkId(0))];
        for (host, link) in &mut ends {
            self.hosts[*host].next_link += 1;
            *link = LinkId(self.hosts[*host].next_link);
            self.hosts[*host].links.insert(*link, pipe);
        }
        self.pipes.push(Pipe {
            ends,
            open: [true; 2],
            held: [Vec::new(), Vec::new()],
        });
        let (address, far_address) = (self.hosts[from].address, self.hosts[to].address);
        let (near, far) = (ends[0].1, ends[1].1);
        self.input(
            to,
            Input::LinkUp {
                link: far,
                peer: id,
                address,
                direction: Direction::In,
                target: None,
            },
        );
        self.input(
            from,
            Input::LinkUp {
                link: near,
                peer: far_id,
                address: far_address,
                direction: Direction::Out,
                target: Some(target),
            },
        );
    }

    // What tests ask.

    pub fn linked(&self, a: usize, b: usize) -> usize {
        let links = self.mesh(a).links();
        links
            .iter()
            .filter(|link| link.peer == self.hosts[b].id && link.state == LinkStatus::Established)
            .count()
    }

    /// How many routers `n` sees reachable, itself included.
    pub fn reachable(&self, n: usize) -> usize {
        self.mesh(n).peers().iter().filter(|peer| peer.reachable).count()
    }

    pub fn is_full_mesh(&self) -> bool {
        let hosts = 0..self.hosts.len();
        hosts.clone().all(|a| {
            hosts.clone().all(|b| a == b || self.linked(a, b) == 1) && self.reachable(a) == self.hosts.len()
        })
    }

    pub fn hops(&self, a: usize, b: usize) -> Option<usize> {
        self.hosts[a]
            .routes
            .get(&self.hosts[b].id)
            .map(|route| route.path.len())
    }

    pub fn dropped(&self, n: usize, reason: DropReason) -> u64 {
        self.hosts[n].drops.get(reason)
    }

    pub fn saw_clone(&self, n: usize) -> bool {
        self.hosts[n]
            .log
            .iter()
            .any(|(_, event)| matches!(event, Event::Clone { .. }))
    }

    /// Runs until the condition holds, and returns how long that took.
    pub fn until(&mut self, limit: Duration, condition: impl Fn(&Self) -> bool) -> Duration {
        let start = self.now;
        while !condition(self) {
            let passed = Duration::from_micros(self.now - start);
            assert!(passed <= limit, "not within {limit:?}");
            self.run_ms(10);
        }
        Duration::from_micros(self.now - start)
    }
}
