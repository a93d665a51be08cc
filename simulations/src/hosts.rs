//! Hosts: what runs on them, what is attached to them, and what is done to them.

use crate::container::Container;
use crate::router::Options;
use crate::world::Event;
use crate::{Disk, NatId, Random, Router, Traffic, World};
use crypto::{Identity, Secret, SecretId};
use mesh::{Instant, LinkId, Mac, PeerId, PeerName, Vni};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The port of every router.
const PORT: u16 = 6783;
/// A router that stops waits so long for its goodbyes to reach the wire.
const LEAVE: Duration = Duration::from_millis(100);

/// A host, by its number in the order of making.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(pub usize);

/// A container: its host, and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerId {
    /// Where it runs.
    pub host: HostId,
    /// Which of that host's.
    pub number: usize,
}

/// A host.
pub(crate) struct Host {
    pub(crate) address: SocketAddr,
    pub(crate) router: Option<Router>,
    /// The disk, while no router runs that has it.
    disk: Disk,
    options: Options,
    /// Counts launches; what was planned for an earlier run is void.
    pub(crate) run: u64,
    /// The connection, and which of its ends, behind each link of the router.
    pub(crate) links: BTreeMap<LinkId, (u64, usize)>,
    pub(crate) containers: Vec<Container>,
    /// When the router is woken next.
    pub(crate) wake: Option<Instant>,
    pub(crate) woken: Instant,
    pub(crate) wakings: u32,
    /// The process stands still until then.
    pub(crate) paused: Instant,
    /// When its last router ended.
    ended: Instant,
    /// Addresses it has had.
    moves: u32,
    pub(crate) traffic: Traffic,
    /// What stands between it and the others.
    pub(crate) nat: Option<NatId>,
}

impl Host {
    pub(crate) fn id(&self) -> PeerId {
        PeerId(self.disk.identity.public())
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }
}

impl World {
    /// From now on identities are made with [`crypto::fake`]: handshakes and sealed packets cost next to nothing, and
    /// protect nothing. Everything else stays as it is.
    pub fn fake_crypto(&mut self) {
        self.fake_crypto = true;
    }

    /// An identity for a host of this world.
    #[must_use]
    pub fn new_identity(&self, random: &mut Random) -> Identity {
        if self.fake_crypto {
            crypto::fake::identity(random)
        } else {
            Identity::generate(random)
        }
    }

    /// A host with an identity of its own and the world's secret. Nothing runs on it.
    pub fn add_host(&mut self) -> HostId {
        let number = self.hosts.len();
        let identity = self.new_identity(&mut self.random.fork("identity", number as u64));
        let disk = Disk::new(identity, self.keyring.clone());
        self.add_host_with(disk, Options::default())
    }

    /// Several hosts.
    pub fn add_hosts(&mut self, count: usize) -> Vec<HostId> {
        (0..count).map(|_| self.add_host()).collect()
    }

    /// A host with this disk: a stranger's, or a clone of another's.
    pub fn add_host_with(&mut self, disk: Disk, options: Options) -> HostId {
        let host = HostId(self.hosts.len());
        let number = host.0 as u32 + 1;
        let [_, b, c, d] = number.to_be_bytes();
        let address = SocketAddr::new(IpAddr::from([10, b, c, d]), PORT);
        self.addresses.insert(address, host);
        self.hosts.push(Host {
            address,
            router: None,
            disk,
            options,
            run: 0,
            links: BTreeMap::new(),
            containers: Vec::new(),
            wake: None,
            woken: Instant(0),
            wakings: 0,
            paused: Instant(0),
            ended: Instant(0),
            moves: 0,
            traffic: Traffic::default(),
            nat: None,
        });
        host
    }

    /// Changes how the next router on this host will be launched.
    pub fn set_options(&mut self, host: HostId, change: impl FnOnce(&mut Options)) {
        change(&mut self.hosts[host.0].options);
    }

    /// All hosts.
    pub fn hosts(&self) -> impl Iterator<Item = HostId> + use<> {
        (0..self.hosts.len()).map(HostId)
    }

    /// The hosts on which a router runs.
    pub fn running(&self) -> impl Iterator<Item = HostId> {
        let running = |(_, host): &(usize, &Host)| host.router.is_some();
        let hosts = self.hosts.iter().enumerate().filter(running);
        hosts.map(|(number, _)| HostId(number))
    }

    /// Where a host's router listens.
    #[must_use]
    pub fn address(&self, host: HostId) -> SocketAddr {
        self.hosts[host.0].address
    }

    /// Launches a router that dials these, and whatever its disk says. One that runs already stays as it is.
    pub fn launch(&mut self, host: HostId, targets: &[HostId]) {
        let texts: Vec<_> = targets
            .iter()
            .map(|target| self.address(*target).to_string())
            .collect();
        let now = self.now();
        let place = &mut self.hosts[host.0];
        if place.router.is_some() {
            return;
        }
        for text in texts {
            if !place.disk.targets.contains(&text) {
                place.disk.targets.push(text);
            }
        }
        let Ok(name) = PeerName::try_from(format!("host-{}", host.0)) else {
            return;
        };
        place.run += 1;
        (place.wake, place.wakings) = (None, 0);
        let random = self.random.fork("router", host.0 as u64).fork("run", place.run);
        let (disk, options) = (place.disk.clone(), place.options.clone());
        let ledger = self.seen.ledger.clone();
        place.router = Some(Router::launch(
            now,
            name,
            place.address,
            disk,
            &options,
            &random,
            (&self.verdicts, ledger),
        ));
        self.note("launch", [host.0, 0], &[]);
        self.with_router(host, |_| ());
    }

    /// The router's process is killed: no goodbye. Its disk stays.
    pub fn crash(&mut self, host: HostId) {
        let place = &mut self.hosts[host.0];
        if let Some(router) = place.router.take() {
            place.disk = router.disk;
            place.ended = self.clock.now();
            self.note("end", [host.0, 0], &[]);
            self.abandon(host);
        }
    }

    /// The router stops as after `weft stop`: it says goodbye, then its connections are closed.
    pub fn stop(&mut self, host: HostId) {
        let run = self.hosts[host.0].run;
        self.with_router(host, |router| {
            router.input(mesh::Input::Shutdown);
            router.input_sleeve(sleeve::Input::Shutdown);
        });
        self.clock.plan(self.now() + LEAVE, Event::Leave { host, run });
    }

    /// The process stands still for that long: what comes in waits, and its clock goes on. A virtual machine is
    /// paused, a laptop sleeps.
    pub fn pause(&mut self, host: HostId, length: Duration) {
        let until = self.now() + length;
        self.hosts[host.0].paused = self.hosts[host.0].paused.max(until);
    }

    /// The host gets another address, and its router sees that. Connections that it made move along (RFC 9000,
    /// section 9); those that others made to it are lost to it, as clients don't follow a server that moves.
    pub fn readdress(&mut self, host: HostId) {
        let place = &mut self.hosts[host.0];
        place.moves += 1;
        let [_, b, c, d] = (host.0 as u32 + 1).to_be_bytes();
        let second = 100 + (place.moves % 100) as u8;
        let address = SocketAddr::new(IpAddr::from([second, b, c, d]), PORT);
        let old = std::mem::replace(&mut place.address, address);
        self.addresses.remove(&old);
        self.addresses.insert(address, host);
        self.sever(host);
        self.note("move", [host.0, usize::from(second)], &[]);
        self.with_router(host, |router| router.set_addresses(vec![address]));
    }

    /// The host's wall clock jumps. Nothing in a router reads it, so nothing follows; the trace has it.
    pub fn jump_clock(&mut self, host: HostId, back: bool, by: Duration) {
        let by = by.as_millis() as u64;
        self.note(
            if back { "clock back" } else { "clock on" },
            [host.0, 0],
            &by.to_le_bytes(),
        );
    }

    /// How long no router has run on this host; `None`: one runs.
    #[must_use]
    pub fn dead_for(&self, host: HostId) -> Option<Duration> {
        let place = &self.hosts[host.0];
        place.router.is_none().then(|| self.now().since(place.ended))
    }

    #[cfg(test)]
    pub(crate) fn set_ended(&mut self, host: HostId, at: Instant) {
        self.hosts[host.0].ended = at;
    }

    /// Whether its process stands still.
    #[must_use]
    pub fn is_paused(&self, host: HostId) -> bool {
        self.hosts[host.0].paused > self.now()
    }

    /// Whether a container has a port at a running router.
    #[must_use]
    pub fn is_attached(&self, container: ContainerId) -> bool {
        let mac = self.container(container).mac;
        let router = self.router(container.host);
        router.is_some_and(|router| router.disk.ports.iter().any(|port| port.mac == mac))
    }

    /// The operator attaches every container of a host anew, after its disk was lost.
    pub fn reattach(&mut self, host: HostId) {
        let ports: Vec<_> = self.hosts[host.0]
            .containers
            .iter()
            .map(Container::port)
            .collect();
        self.with_router(host, |router| {
            for port in ports {
                router.attach(port);
            }
        });
    }

    /// What a host's routers sent and received, in all runs.
    #[must_use]
    pub fn traffic(&self, host: HostId) -> Traffic {
        self.hosts[host.0].traffic
    }

    /// A copy of the disk as it is now.
    #[must_use]
    pub fn disk(&self, host: HostId) -> Disk {
        let place = &self.hosts[host.0];
        place
            .router
            .as_ref()
            .map_or(&place.disk, |router| &router.disk)
            .clone()
    }

    /// Puts another disk in; it counts from the next launch on.
    pub fn set_disk(&mut self, host: HostId, disk: Disk) {
        self.hosts[host.0].disk = disk;
    }

    /// Gives a running router an input of its operator's (`Connect`, `ForgetPeer`, …).
    pub fn input(&mut self, host: HostId, input: mesh::Input) {
        self.router_input(host, input);
    }

    /// Gives a running router's data path an input of its operator's (`Ping`).
    pub fn input_sleeve(&mut self, host: HostId, input: sleeve::Input) {
        self.with_router(host, |router| router.input_sleeve(input));
    }

    /// A secret nobody knows yet.
    #[must_use]
    pub fn new_secret(&self, number: u64) -> Secret {
        Secret::generate(&mut self.random.fork("new secret", number))
    }

    /// `weft secret add`. False if the keyring can't take it.
    pub fn add_secret(&mut self, host: HostId, secret: &Secret) -> bool {
        let mut keyring = self.disk(host).keyring;
        let added = keyring.add(secret.clone()).is_ok();
        self.with_router(host, |router| router.use_keyring(keyring));
        added
    }

    /// `weft secret retire`. False if the keyring can't spare it.
    pub fn retire_secret(&mut self, host: HostId, secret: SecretId) -> bool {
        let mut keyring = self.disk(host).keyring;
        let retired = keyring.retire(secret).is_ok();
        self.with_router(host, |router| router.use_keyring(keyring));
        retired
    }

    /// The secret that all routers begin with.
    #[must_use]
    pub fn main_secret(&self) -> Secret {
        self.keyring.preferred().clone()
    }

    /// The public id of the secret that all routers begin with.
    #[must_use]
    pub fn secret(&self) -> SecretId {
        self.keyring.preferred().id()
    }

    /// A container in the default network, with an address for itself, attached to a running router.
    pub fn attach(&mut self, host: HostId) -> ContainerId {
        let number = self.hosts[host.0].containers.len();
        let [_, a, b, c] = (host.0 as u32 + 1).to_be_bytes();
        let last = number as u8 + 1;
        let addresses = vec![IpAddr::from([10, 32 + b, c, last])];
        self.attach_as(host, Vni::DEFAULT, Mac([2, 0, a, b, c, last]), addresses)
    }

    /// A container with these addresses in this network, attached to a running router.
    pub fn attach_as(&mut self, host: HostId, vni: Vni, mac: Mac, addresses: Vec<IpAddr>) -> ContainerId {
        let container = Container {
            vni,
            mac,
            addresses,
            received: Vec::new(),
        };
        let port = container.port();
        let number = self.hosts[host.0].containers.len();
        self.hosts[host.0].containers.push(container);
        self.with_router(host, |router| router.attach(port));
        ContainerId { host, number }
    }

    /// Detaches a container; it stays where it is, cut off.
    pub fn detach(&mut self, container: ContainerId) {
        let (vni, mac) = (self.container(container).vni, self.container(container).mac);
        self.with_router(container.host, |router| router.detach(vni, mac));
    }

    /// A container.
    #[must_use]
    pub fn container(&self, id: ContainerId) -> &Container {
        &self.hosts[id.host.0].containers[id.number]
    }

    /// A container, to take out what it received.
    pub fn container_mut(&mut self, id: ContainerId) -> &mut Container {
        &mut self.hosts[id.host.0].containers[id.number]
    }

    /// Every container there is.
    #[must_use]
    pub fn containers(&self) -> Vec<ContainerId> {
        let of_host = |host: HostId| {
            let count = self.hosts[host.0].containers.len();
            (0..count).map(move |number| ContainerId { host, number })
        };
        self.hosts().flat_map(of_host).collect()
    }

    /// A container sends a numbered frame of `length` bytes to another.
    pub fn send_to(&mut self, from: ContainerId, to: ContainerId, number: u64, length: usize) {
        let to = self.container(to).mac;
        let frame = self.container(from).frame(to, number, length);
        self.send(from, &frame);
    }

    /// A container sends a frame: its host's bridge hands it to other containers there, to the router, or to both.
    pub fn send(&mut self, from: ContainerId, frame: &[u8]) {
        let ContainerId { host, number } = from;
        let vni = self.container(from).vni;
        let is_local = self.hand_to_containers(host, vni, frame, Some(number));
        let is_group = frame.first().is_some_and(|first| first & 1 == 1);
        if is_group || !is_local {
            self.with_router(host, |router| router.frame(vni, frame));
        }
    }

    /// Hands a frame to the containers of a host that take it, but not back to its sender. True if one took it.
    pub(crate) fn hand_to_containers(
        &mut self,
        host: HostId,
        vni: Vni,
        frame: &[u8],
        sender: Option<usize>,
    ) -> bool {
        let at = self.now();
        let others = self.hosts[host.0].containers.iter_mut().enumerate();
        let takers =
            others.filter(|(number, container)| Some(*number) != sender && container.takes(vni, frame));
        let mut taken = false;
        for (_, container) in takers {
            let frame = frame.to_vec();
            container.received.push(crate::Received { at, frame });
            taken = true;
        }
        taken
    }
}
