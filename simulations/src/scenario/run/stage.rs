//! A scenario's hosts, ground, wires and secrets in a world.

use super::sight::Sight;
use super::truth::Truth;
use super::{Settings, host};
use crate::scenario::{
    Class as WireClass, Crypto, Ground, MAIN_SECRET, Profile, RouterOptions, Scenario, ScenarioError, Select,
};
use crate::{ContainerId, Disk, HostId, Jitter, LOOK_EVERY, Options, Rate, Traffic, Wire, World};
use crypto::{Keyring, Secret};
use mesh::Instant;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Bytes that wait before a wire with a rate: a tenth of a second's worth, but room for a few packets.
const QUEUE: (u64, usize) = (80, 20_000);

/// The world and what the scenario says of it.
pub(super) struct Stage {
    pub(super) world: World,
    pub(super) ground: Ground,
    groups: BTreeMap<String, Vec<usize>>,
    pub(super) secrets: BTreeMap<String, Secret>,
    pub(super) options: Vec<RouterOptions>,
    /// Whom each router is told to dial.
    pub(super) dials: Vec<Vec<HostId>>,
    pub(super) first_disks: Vec<Disk>,
    /// Which routers have been launched at least once.
    pub(super) launched: BTreeSet<usize>,
    /// What liars heard before they began to lie.
    pub(super) heard: BTreeMap<usize, mesh::Forged>,
    /// Identities made for lost disks.
    pub(super) fresh: u64,
    wires: Wires,
    pub(super) truth: Truth,
    pub(super) sight: Sight,
    violations: usize,
    /// When to look for what is not looked at when it happens.
    look_around: Instant,
}

/// Who is not one of the mesh's routers.
impl Stage {
    pub(super) fn new(scenario: &Scenario, settings: Settings) -> Result<Self, ScenarioError> {
        let Settings { peers, seed } = settings;
        let range = scenario.peers;
        let wrong = |key: &str, what: String| ScenarioError {
            line: None,
            key: Some(key.to_owned()),
            what,
        };
        if !(range.min..=range.max).contains(&peers) {
            let what = format!(
                "this scenario takes {} to {} routers, not {peers}",
                range.min, range.max
            );
            return Err(wrong("peers", what));
        }
        let mut world = World::new(seed);
        if scenario.crypto == Crypto::Fake {
            world.fake_crypto();
        }
        let random = world.fork("scenario", 0);
        let groups = scenario.resolved_groups(peers, &mut random.fork("groups", 0));
        let groups = groups.map_err(|what| wrong("groups", what))?;
        let ground = scenario.topology.ground(peers, &mut random.fork("ground", 0));
        world.add_hosts(peers);
        let mut stage = Self {
            wires: Wires::new(scenario, random.fork("wires", 0).bytes()),
            truth: Truth::default(),
            sight: Sight::default(),
            options: Vec::new(),
            dials: Vec::new(),
            first_disks: Vec::new(),
            launched: BTreeSet::new(),
            secrets: BTreeMap::new(),
            heard: BTreeMap::new(),
            fresh: 0,
            violations: 0,
            look_around: Instant(0),
            world,
            ground,
            groups,
        };
        stage.set_up(scenario, peers);
        Ok(stage)
    }

    fn set_up(&mut self, scenario: &Scenario, peers: usize) {
        let some: Vec<_> = scenario
            .router
            .iter()
            .enumerate()
            .map(|(at, router)| {
                let router = router.get_ref();
                (self.select(&router.which, "router", at), router.is.clone())
            })
            .collect();
        let main = self.world.main_secret();
        self.secrets.insert(MAIN_SECRET.to_owned(), main);
        for router in 0..peers {
            let options = scenario.options(&some, router);
            let dials = match &options.dial {
                Some(select) => self.select(select, "dial", router),
                None if matches!(self.ground, Ground::Full(_)) => vec![0],
                None => {
                    let mut around = self.ground.around(router);
                    around.retain(|other| *other < router);
                    around
                }
            };
            self.dials.push(
                dials
                    .into_iter()
                    .filter(|other| *other != router)
                    .map(host)
                    .collect(),
            );
            if let Some(names) = &options.secrets {
                let secrets = names.iter().map(|name| self.secret(name)).collect();
                let mut disk = self.world.disk(host(router));
                if let Ok(keyring) = Keyring::new(secrets) {
                    disk.keyring = keyring;
                }
                self.world.set_disk(host(router), disk);
            }
            let trusted = options.trusted.iter().flatten().filter_map(|text| subnet(text));
            let (trusted, discovery, max_links) = (
                trusted.collect(),
                options.discovery.unwrap_or(true),
                options.max_links,
            );
            self.world.set_options(host(router), |of: &mut Options| {
                of.discovery = discovery;
                of.max_links = max_links;
                of.versions = options.versions;
                of.trusted = trusted;
            });
            self.first_disks.push(self.world.disk(host(router)));
            self.options.push(options);
        }
        for (at, nat) in scenario.nat.iter().enumerate() {
            let nat = nat.get_ref();
            let number = self.world.add_nat(nat.options());
            for router in self.select(&nat.which, "nat", at) {
                self.world.put_behind(host(router), number);
            }
        }
        self.lay_wires(scenario, peers);
    }

    fn lay_wires(&mut self, scenario: &Scenario, peers: usize) {
        let (usual, profile) = self.wires.usual();
        self.world.network.set_usual(usual);
        self.world.network.set_profile(profile);
        if let Ground::Some(_) = self.ground {
            self.touch_all(peers);
        }
        for (at, wires) in scenario.wires.iter().enumerate() {
            let wires = wires.get_ref();
            let pairs: Vec<(usize, usize)> = match (&wires.between, wires.class) {
                (Some([a, b]), _) => {
                    let (a, b) = (self.select(a, "wires", at), self.select(b, "wires", at));
                    let pairs = a.iter().flat_map(|a| b.iter().map(move |b| (*a, *b)));
                    pairs.collect()
                }
                (None, Some(class)) => {
                    let is_inside =
                        |a, b| scenario.topology.cluster(a, peers) == scenario.topology.cluster(b, peers);
                    let wanted = class == WireClass::Inside;
                    let pairs = (0..peers).flat_map(|a| (0..peers).map(move |b| (a, b)));
                    pairs.filter(|(a, b)| is_inside(*a, *b) == wanted).collect()
                }
                (None, None) => Vec::new(),
            };
            self.change_wires(&pairs, wires.one_way, wires.is, true);
        }
    }

    /// The routers of a selection. What it draws depends on the seed, on what it is for, and on which that is.
    pub(super) fn select(&self, select: &Select, purpose: &str, number: usize) -> Vec<usize> {
        let mut random = self.world.fork(purpose, number as u64);
        // The scenario was checked at this size's limits; a number beyond is nobody.
        select
            .resolve(self.options_len(), &self.groups, &mut random)
            .unwrap_or_default()
    }

    fn options_len(&self) -> usize {
        self.ground.len()
    }

    /// A secret by its name.
    pub(super) fn secret(&mut self, name: &str) -> Secret {
        let number = self.secrets.len() as u64;
        let fresh = self.world.new_secret(number);
        self.secrets.entry(name.to_owned()).or_insert(fresh).clone()
    }

    /// Launches a router, for the first time or again.
    pub(super) fn launch(&mut self, router: usize) {
        let is_first = self.launched.insert(router);
        let dials = self.dials.get(router).cloned().unwrap_or_default();
        self.world.launch(host(router), &dials);
        if is_first {
            let containers = self.options.get(router).and_then(|options| options.containers);
            for _ in 0..containers.unwrap_or(1) {
                self.world.attach(host(router));
            }
        }
        self.truth.outdate();
    }

    /// True for routers of which the mesh expects nothing.
    pub(super) fn is_outsider(&self, router: usize) -> bool {
        self.options
            .get(router)
            .is_some_and(|options| options.outsider.unwrap_or(false))
    }

    /// The mesh's running routers.
    pub(super) fn members(&self) -> Vec<HostId> {
        let running = self.world.running();
        running
            .filter(|host| !self.is_outsider(host.0) && !self.world.is_paused(*host))
            .collect()
    }

    /// Containers of the mesh's running routers.
    pub(super) fn live_containers(&self) -> Vec<ContainerId> {
        let members: BTreeSet<_> = self.members().into_iter().collect();
        let containers = self.world.containers().into_iter();
        containers
            .filter(|container| members.contains(&container.host) && self.world.is_attached(*container))
            .collect()
    }

    /// Changes wires between pairs; `usual`: this is how they are to begin with.
    pub(super) fn change_wires(&mut self, pairs: &[(usize, usize)], one_way: bool, to: Profile, usual: bool) {
        for &(a, b) in pairs.iter().filter(|(a, b)| a != b) {
            let ways = [(a, b), (b, a)];
            for way in ways.into_iter().take(if one_way { 1 } else { 2 }) {
                let changes = if usual {
                    &mut self.wires.own
                } else {
                    &mut self.wires.changed
                };
                let before = changes.get(&way).copied().unwrap_or_default();
                changes.insert(way, to.or(before));
                self.touch(way);
            }
        }
    }

    /// Blocks or frees one direction.
    pub(super) fn block(&mut self, from: usize, to: usize, blocked: bool) {
        if blocked {
            self.wires.blocked.insert((from, to));
        } else {
            self.wires.blocked.remove(&(from, to));
        }
        self.touch((from, to));
        self.truth.outdate();
    }

    /// Undoes every change between two routers.
    pub(super) fn heal(&mut self, a: usize, b: usize) {
        for way in [(a, b), (b, a)] {
            self.wires.changed.remove(&way);
            self.block(way.0, way.1, false);
        }
    }

    /// Undoes every change.
    pub(super) fn heal_all(&mut self) {
        let changed: BTreeSet<_> = self
            .wires
            .changed
            .keys()
            .chain(&self.wires.blocked)
            .copied()
            .collect();
        for (a, b) in changed {
            self.heal(a, b);
        }
        self.world.network.reunite();
        self.truth.outdate();
    }

    /// Parts the routers into groups; those in none form one more.
    pub(super) fn partition(&mut self, groups: &[Vec<usize>]) {
        let group_of = |host: HostId| {
            let at = groups
                .iter()
                .position(|group| group.binary_search(&host.0).is_ok());
            at.map_or(0, |at| at as u32 + 1)
        };
        let hosts = self.world.hosts().count();
        self.world.network.partition(hosts, group_of);
        self.truth.outdate();
    }

    fn touch_all(&mut self, peers: usize) {
        for way in (0..peers).flat_map(|a| (0..peers).map(move |b| (a, b))) {
            if way.0 != way.1 {
                self.touch(way);
            }
        }
    }

    /// Makes a wire of the world as it should be now.
    fn touch(&mut self, way: (usize, usize)) {
        let wire = self.wires.wire(way, self.ground.joins(way.0, way.1));
        self.world.network.change(host(way.0), host(way.1), |it| {
            let usual = it.latency;
            *it = wire;
            // Without a delay of its own a wire keeps the one of its pair.
            if !self.wires.has_delay(way) {
                it.latency = usual;
            }
        });
    }

    /// A newcomer's host: it can exchange packets with whom the ground lets everybody, else with one router.
    pub(super) fn add_newcomer(&mut self, beside: HostId) -> HostId {
        let newcomer = self.world.add_host();
        if let Ground::Some(_) = self.ground {
            for other in (0..newcomer.0).filter(|other| *other != beside.0) {
                self.world.network.cut(newcomer, host(other));
            }
        }
        self.truth.outdate();
        newcomer
    }

    /// What all routers sent and received together.
    pub(super) fn total_traffic(&self) -> Traffic {
        let hosts = self.world.hosts();
        hosts.fold(Traffic::default(), |sum, host| sum + self.world.traffic(host))
    }

    /// Control bytes that a router sent so far.
    pub(super) fn control_sent(&self, host: HostId) -> u64 {
        let traffic = self.world.traffic(host);
        traffic.all_sent().bytes - traffic.sent(crate::Class::Data).bytes
    }

    /// A total shared out.
    pub(super) fn per_router(&self, total: u64) -> u64 {
        total / (self.ground.len().max(1) as u64)
    }

    /// Links that routers' logs say came or went.
    pub(super) fn churn(&self) -> usize {
        let hosts = self.world.running();
        let routers = hosts.filter_map(|host| self.world.router(host));
        routers.map(crate::Router::link_changes).sum()
    }

    /// What happened since the last call that must never happen.
    pub(super) fn new_violations(&mut self) -> Vec<String> {
        if self.world.now() >= self.look_around {
            self.look_around = self.world.now() + LOOK_EVERY;
            self.world.look_around();
        }
        let all = self.world.violations();
        let new = all
            .iter()
            .skip(self.violations)
            .map(ToString::to_string)
            .collect();
        self.violations = all.len();
        new
    }
}

/// The wires as the scenario has them.
struct Wires {
    usual: Profile,
    seed: u64,
    /// How some are to begin with.
    own: BTreeMap<(usize, usize), Profile>,
    /// What events made of them.
    changed: BTreeMap<(usize, usize), Profile>,
    blocked: BTreeSet<(usize, usize)>,
}

impl Wires {
    fn new(scenario: &Scenario, seed: [u8; 32]) -> Self {
        let seed = seed.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        Self {
            usual: scenario.wire,
            seed,
            own: BTreeMap::new(),
            changed: BTreeMap::new(),
            blocked: BTreeSet::new(),
        }
    }

    fn usual(&self) -> (Wire, Option<crate::Profile>) {
        let wire = made(self.usual, 0.0);
        let delays = self.usual.delay.filter(|delay| delay.least != delay.most);
        let profile = delays.map(|delay| crate::Profile::Hashed {
            least: delay.least.0,
            most: delay.most.0,
            seed: self.seed,
        });
        (wire, profile)
    }

    fn profile(&self, way: (usize, usize)) -> Profile {
        let own = self.own.get(&way).copied().unwrap_or_default();
        let changed = self.changed.get(&way).copied().unwrap_or_default();
        changed.or(own)
    }

    fn has_delay(&self, way: (usize, usize)) -> bool {
        self.profile(way).delay.is_some()
    }

    fn wire(&self, way: (usize, usize), joined: bool) -> Wire {
        // A delay between two bounds is drawn once for each pair, the same both ways.
        let pair = (way.0.min(way.1) as u64) << 32 | way.0.max(way.1) as u64;
        let share = crate::Random::new(self.seed ^ pair).fork("delay", 0).share();
        let mut wire = made(self.profile(way).or(self.usual), share);
        wire.blocked = !joined || self.blocked.contains(&way);
        wire
    }
}

fn made(profile: Profile, share: f64) -> Wire {
    let usual = Wire::default();
    let delay = profile.delay.map(|delay| {
        let span = delay.most.0.saturating_sub(delay.least.0);
        delay.least.0 + Duration::from_micros((span.as_micros() as f64 * share) as u64)
    });
    let rate = profile.rate.map(|rate| Rate {
        bits: rate.0,
        queue: (rate.0 / QUEUE.0) as usize + QUEUE.1,
    });
    Wire {
        latency: delay.unwrap_or(usual.latency),
        jitter: profile
            .jitter
            .map_or(Jitter::None, |jitter| Jitter::Uniform(jitter.0)),
        loss: profile.loss.map_or(0.0, |share| share.0),
        duplicate: profile.duplicate.map_or(0.0, |share| share.0),
        reorder: profile.reorder.map_or(0.0, |share| share.0),
        rate,
        blocked: false,
        mtu: profile.mtu.unwrap_or(usual.mtu),
    }
}

fn subnet(text: &str) -> Option<(std::net::IpAddr, u8)> {
    let (address, prefix) = text.split_once('/')?;
    Some((address.parse().ok()?, prefix.parse().ok()?))
}
