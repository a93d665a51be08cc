//! A running router: the two cores and the data half, driven as the daemon drives them.
//!
//! Like the cores it is sans-IO: what it wants done comes out as [`Act`]s, which the world carries out. Its clock
//! starts at zero when it is launched, as a daemon's does.

use crate::fast::{Fast, TAG, Want};
use crate::invariants::{Ledger, Witness};
use crate::shore::{News, Shore};
use crate::tape::{Recording, Tape};
use crate::verdicts::Verdicts;
use crate::{Disk, Port, Random};
use crypto::{Cipher, Keyring};
use mesh::{Drops, Input, Instant, LinkId, Mesh, Name, NameChange, Output, Packet, PeerId, Vni};
use rand_core::RngCore;
use sleeve::{Plane, PlaneConfig, Scratch, Sleeve};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};

/// Log lines kept.
const MAX_LOG: usize = 2000;
/// MTU of the containers' interfaces: the underlay's 1500 less what the largest direct overlay adds.
const CONTAINER_MTU: u16 = 1390;
/// Largest MTU of the underlay's interfaces.
const MAX_MTU: u16 = 1500;

/// What a router wants done outside.
#[derive(Debug)]
pub(crate) enum Act {
    Dial {
        target: String,
        expect: Option<PeerId>,
    },
    Probe {
        peer: PeerId,
        address: SocketAddr,
    },
    Close {
        link: LinkId,
        reason: &'static str,
    },
    Send {
        link: LinkId,
        packet: Packet,
        reliable: bool,
    },
    Datagram {
        to: SocketAddr,
        bytes: Vec<u8>,
    },
    Frame {
        vni: Vni,
        bytes: Vec<u8>,
    },
    /// A packet of the fast path.
    Vxlan {
        to: SocketAddr,
        bytes: Vec<u8>,
    },
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq)]
pub enum Line {
    /// From the control plane.
    Mesh(mesh::Event),
    /// From the data path.
    Sleeve(sleeve::Event),
    /// A data route changed; `None`: there is none any more. Its hops.
    Route(PeerId, Option<Vec<PeerId>>),
    /// A ping was answered, or not.
    Ping(u64, Result<Vec<PeerId>, sleeve::PingError>),
}

/// How routers differ besides what is on their disks.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whether it dials addresses found in records.
    pub discovery: bool,
    /// As `--max-links`; `None`: as the daemon has it unless told otherwise.
    pub max_links: Option<usize>,
    /// Lowest and highest protocol version that it claims to speak; `None`: this program's.
    pub versions: Option<(u16, u16)>,
    /// Subnets in which frames need no encryption.
    pub trusted: Vec<(std::net::IpAddr, u8)>,
    /// Its kernel carries frames between hosts that trust each other.
    pub fast: bool,
    /// Where its core's inputs are recorded.
    pub recording: Option<Recording>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            discovery: true,
            max_links: None,
            versions: None,
            trusted: Vec::new(),
            fast: false,
            recording: None,
        }
    }
}

/// A running router.
pub struct Router {
    /// The control plane.
    pub mesh: Mesh,
    /// The control half of the data path.
    pub sleeve: Sleeve,
    /// The data half.
    pub plane: Arc<Plane>,
    /// What names stand for, as a DNS server here would be told.
    pub names: BTreeMap<(Vni, Name), Vec<IpAddr>>,
    /// What was thrown away, and why.
    pub drops: Arc<Drops>,
    /// What it keeps when it ends.
    pub disk: Disk,
    /// What it said last, with the world's time.
    pub log: VecDeque<(Instant, Line)>,
    said: usize,
    link_changes: usize,
    changes: u64,
    id: PeerId,
    /// The world's time at its launch.
    started: Instant,
    now: Instant,
    keyring: Arc<RwLock<Keyring>>,
    links: BTreeMap<LinkId, Link>,
    next_link: u64,
    scratch: Scratch,
    acts: Vec<Act>,
    /// Empty between two inputs; its room is used again.
    news: Vec<News>,
    /// When each core wants to be woken, by its own time, as of its last input; outer `None`: to be asked.
    mesh_due: Option<Option<Instant>>,
    sleeve_due: Option<Option<Instant>>,
    tape: Option<Tape>,
    fast: Option<Box<Fast>>,
    /// UDP port of all routers.
    port: u16,
}

/// A link, as its router holds it.
struct Link {
    peer: PeerId,
    data_public: [u8; 32],
}

/// What is said of a link that comes up.
pub(crate) struct NewLink {
    pub(crate) peer: PeerId,
    pub(crate) data_public: [u8; 32],
    pub(crate) address: SocketAddr,
    pub(crate) target: Option<String>,
}

impl Router {
    /// Launches a router at `address`. The epoch on the disk is raised before anything else, as the daemon does.
    pub(crate) fn launch(
        now: Instant,
        name: mesh::PeerName,
        address: SocketAddr,
        mut disk: Disk,
        options: &Options,
        random: &Random,
        (verdicts, ledger): (&Arc<Verdicts>, Ledger),
    ) -> Self {
        disk.epoch = disk.epoch.max(1) + 1;
        let id = PeerId(disk.identity.public());
        let drops = Arc::new(Drops::default());
        let keyring = Arc::new(RwLock::new(disk.keyring.clone()));
        let plane = Arc::new(Plane::new(PlaneConfig {
            id,
            drops: drops.clone(),
            trusted: options.trusted.clone(),
            container_mtu: CONTAINER_MTU,
        }));
        let config = sleeve::Config {
            id,
            identity: disk.identity.clone(),
            keyring: disk.keyring.clone(),
            epoch: disk.epoch,
            ciphers: vec![Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305],
            trusted: options.trusted.clone(),
            max_mtu: MAX_MTU,
            drops: drops.clone(),
        };
        let keys = Box::new(random.fork("keys", 0));
        let sleeve = Sleeve::new(config, plane.clone(), keys, Instant(0));
        let signer = Witness::of(id, verdicts.shared(disk.signer(&keyring)), ledger);
        let data_key = disk.identity.data_public();
        let mut config = mesh::Config::new(id, name, data_key, disk.epoch, Arc::new(signer));
        config.instance = random.fork("instance", 0).next_u64();
        config.drops = drops.clone();
        config.discovery = options.discovery;
        config.max_links = options.max_links.unwrap_or(config.max_links);
        config.versions = options.versions.unwrap_or(config.versions);
        config.targets.clone_from(&disk.targets);
        config.vxlan_port = if options.fast { crate::fast::PORT } else { 0 };
        let first = random.fork("probes", 0).next_u64();
        let fast = options.fast.then(|| Box::new(Fast::new(CONTAINER_MTU, first)));
        let seed = random.fork("core", 0).bytes();
        let recording = options.recording.as_ref();
        let tape = recording.and_then(|recording| Tape::start(recording, &mut config, seed, Instant(0)));
        let mut mesh = Mesh::new(config, seed, Instant(0));
        mesh.watch_records();
        let mut router = Self {
            mesh,
            sleeve,
            plane,
            names: BTreeMap::new(),
            drops,
            disk,
            log: VecDeque::new(),
            said: 0,
            link_changes: 0,
            changes: 0,
            id,
            started: now,
            now,
            keyring,
            links: BTreeMap::new(),
            next_link: 0,
            scratch: Scratch::default(),
            acts: Vec::new(),
            news: Vec::new(),
            mesh_due: None,
            sleeve_due: None,
            tape,
            fast,
            port: address.port(),
        };
        router.feed_sleeve(sleeve::Input::MaxMtu(MAX_MTU));
        router.set_addresses(vec![address]);
        router.publish_ports();
        router.drain();
        router
    }

    /// Its identity.
    #[must_use]
    pub fn id(&self) -> PeerId {
        self.id
    }

    /// Its own time.
    #[must_use]
    pub fn time(&self) -> Instant {
        Instant(self.now.0 - self.started.0)
    }

    /// Its data route's hops to another router.
    #[must_use]
    pub fn hops(&self, peer: &PeerId) -> Option<Vec<PeerId>> {
        self.mesh.route(peer).map(|route| route.path)
    }

    /// Whether control messages reach another router.
    #[must_use]
    pub fn reaches(&self, peer: &PeerId) -> bool {
        self.mesh.is_reachable(peer)
    }

    /// Lines it said in this run; the last of them are in the log.
    #[must_use]
    pub fn said(&self) -> usize {
        self.said
    }

    /// Counts whatever may have changed what its core says of links, routes and other routers. While it stays the same,
    /// and the digest of the records does, so do they.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Links that came or went in this run.
    #[must_use]
    pub fn link_changes(&self) -> usize {
        self.link_changes
    }

    /// Lets it know the world's time.
    pub(crate) fn set_now(&mut self, now: Instant) {
        self.now = now;
    }

    /// When, in the world's time, it wants to be woken.
    pub(crate) fn next_timer(&mut self) -> Option<Instant> {
        let fast = self.fast.as_ref().map(|fast| fast.due());
        let due = [self.mesh_due(), self.sleeve_due(), fast];
        let earliest = due.into_iter().flatten().min()?;
        Some(Instant(self.started.0.saturating_add(earliest.0)))
    }

    fn mesh_due(&mut self) -> Option<Instant> {
        let mesh = &self.mesh;
        let find = || mesh.poll_timeout().map(|(at, _)| at);
        *self.mesh_due.get_or_insert_with(find)
    }

    fn sleeve_due(&mut self) -> Option<Instant> {
        let sleeve = &self.sleeve;
        *self.sleeve_due.get_or_insert_with(|| sleeve.poll_timeout())
    }

    /// What it wants done since the last call.
    pub(crate) fn take_acts(&mut self) -> Vec<Act> {
        std::mem::take(&mut self.acts)
    }

    /// What was taken is done: there is room for more.
    pub(crate) fn give_back(&mut self, mut done: Vec<Act>) {
        if self.acts.is_empty() {
            done.clear();
            self.acts = done;
        }
    }

    /// Timers are due: those of one core, or of both.
    pub(crate) fn timers(&mut self) {
        let now = self.time();
        if self.mesh_due().is_some_and(|at| at <= now) {
            self.feed(Input::Tick);
        }
        if self.sleeve_due().is_some_and(|at| at <= now) {
            self.feed_sleeve(sleeve::Input::Tick);
        }
        self.fast_timers(now);
        self.drain();
    }

    /// Something from outside for the control plane.
    pub(crate) fn input(&mut self, input: Input) {
        self.feed(input);
        self.drain();
    }

    /// Something from outside for the data path's control half.
    pub(crate) fn input_sleeve(&mut self, input: sleeve::Input) {
        self.feed_sleeve(input);
        self.drain();
    }

    /// A number for a link, never used again.
    pub(crate) fn new_link(&mut self) -> LinkId {
        self.next_link += 1;
        LinkId(self.next_link)
    }

    /// A connection is proven: it becomes a link.
    pub(crate) fn link_up(&mut self, id: LinkId, link: NewLink) {
        let direction = if link.target.is_some() {
            mesh::Direction::Out
        } else {
            mesh::Direction::In
        };
        let (peer, data_public) = (link.peer, link.data_public);
        self.links.insert(id, Link { peer, data_public });
        self.input(Input::LinkUp {
            link: id,
            peer,
            address: link.address,
            direction,
            target: link.target,
        });
    }

    /// A link is gone.
    pub(crate) fn link_down(&mut self, link: LinkId, reason: String) {
        self.links.remove(&link);
        self.input(Input::LinkDown { link, reason });
    }

    /// Links of the daemon's making that still stand.
    #[must_use]
    pub fn open_links(&self) -> usize {
        self.links.len()
    }

    /// A datagram came to the data port.
    pub(crate) fn datagram(&mut self, from: SocketAddr, mut bytes: Vec<u8>) {
        let now = self.time();
        if let (Some(fast), Some((&TAG, packet))) = (&mut self.fast, bytes.split_first()) {
            fast.inbound(now, from.ip(), packet);
            return self.drain();
        }
        let mut shore = self.shore();
        self.plane
            .inbound(now, from, &mut bytes, &mut self.scratch, &mut shore);
        self.take_from(shore);
    }

    /// A container sent a frame that is not for this host alone.
    pub(crate) fn frame(&mut self, vni: Vni, frame: &[u8]) {
        let now = self.time();
        if let Some(fast) = &mut self.fast
            && !fast.outbound(vni, frame)
        {
            return self.drain();
        }
        let mut shore = self.shore();
        self.plane
            .outbound(now, frame, vni, &mut self.scratch, &mut shore);
        self.take_from(shore);
    }

    /// Where the data half adds its acts to those that wait.
    fn shore(&mut self) -> Shore {
        Shore {
            acts: std::mem::take(&mut self.acts),
            news: std::mem::take(&mut self.news),
        }
    }

    fn take_from(&mut self, shore: Shore) {
        let mut all = shore.news;
        self.acts = shore.acts;
        for news in all.drain(..) {
            match news {
                News::Message(input) | News::Need(input) | News::Group(input) => self.feed_sleeve(input),
                News::Alive(peer) => {
                    self.feed(Input::Alive { peer });
                    self.feed_sleeve(sleeve::Input::Alive { peer });
                }
            }
            self.drain();
        }
        self.news = all;
    }

    /// Its host's addresses.
    pub(crate) fn set_addresses(&mut self, addresses: Vec<SocketAddr>) {
        self.feed(Input::Addresses(addresses.clone()));
        self.feed_sleeve(sleeve::Input::Addresses(addresses));
        self.drain();
    }

    /// Attaches a container's port, now and after every restart with this disk.
    pub(crate) fn attach(&mut self, port: Port) {
        self.publish(&port);
        self.disk.ports.push(port);
        self.drain();
    }

    /// Detaches a container's port.
    pub(crate) fn detach(&mut self, vni: Vni, mac: mesh::Mac) {
        self.disk.ports.retain(|port| (port.vni, port.mac) != (vni, mac));
        self.plane.detach(vni, mac);
        if let Some(fast) = &mut self.fast {
            fast.detach(vni, mac);
        }
        self.input(Input::Detach { vni, mac });
    }

    fn publish_ports(&mut self) {
        for port in self.disk.ports.clone() {
            self.publish(&port);
        }
    }

    fn publish(&mut self, port: &Port) {
        let Port { vni, mac, addresses } = port.clone();
        if let Some(fast) = &mut self.fast {
            fast.attach(port);
        }
        self.plane.attach(vni, mac, &addresses);
        self.feed(Input::Attach { vni, mac, addresses });
    }

    /// Uses these secrets from now on.
    pub(crate) fn use_keyring(&mut self, keyring: Keyring) {
        self.disk.keyring = keyring.clone();
        *self.keyring.write().unwrap_or_else(PoisonError::into_inner) = keyring.clone();
        self.feed(Input::SecretsChanged);
        self.feed_sleeve(sleeve::Input::Keyring(keyring));
        self.drain();
    }

    fn feed(&mut self, input: Input) {
        let now = self.time();
        // What these bring is often seen at once, but told only when paths are next computed.
        let is_quiet = matches!(input, Input::Message { .. } | Input::Alive { .. } | Input::Tick);
        self.changes += u64::from(!is_quiet);
        let input = match &mut self.tape {
            Some(tape) => tape.input(now, input),
            None => input,
        };
        self.mesh_due = None;
        self.mesh.handle_input(now, input);
    }

    fn feed_sleeve(&mut self, input: sleeve::Input) {
        self.sleeve_due = None;
        self.sleeve.handle_input(self.time(), input);
    }

    /// Does what the cores ask for until they ask for nothing more.
    fn drain(&mut self) {
        loop {
            self.fast_wants();
            if let Some(output) = self.mesh.poll_output() {
                let output = match &mut self.tape {
                    Some(tape) => tape.output(output),
                    None => output,
                };
                self.mesh_output(output);
            } else if let Some(output) = self.sleeve.poll_output() {
                self.sleeve_output(output);
            } else {
                return;
            }
        }
    }

    fn fast_timers(&mut self, now: Instant) {
        let Some(fast) = &mut self.fast else { return };
        if fast.due() <= now && fast.tick(now) {
            for path in self.sleeve.paths(now) {
                fast.direct(now, path.peer, Some(&path));
            }
        }
    }

    /// Does what the fast path asks for.
    fn fast_wants(&mut self) {
        let Some(fast) = &mut self.fast else { return };
        for want in fast.take_wants() {
            match want {
                Want::Send(to, bytes) => {
                    let to = SocketAddr::new(to, self.port);
                    self.acts.push(Act::Vxlan { to, bytes });
                }
                Want::Frame(vni, bytes) => self.acts.push(Act::Frame { vni, bytes }),
                Want::UseTree(vni, source) => {
                    let source = source.short();
                    self.feed(Input::UseTree { vni, source });
                }
            }
        }
    }

    /// News of the control plane for the fast path.
    fn fast_news(&mut self, output: &Output) {
        let now = self.time();
        let id = self.id;
        let Some(fast) = &mut self.fast else { return };
        match output {
            Output::Peer(info) => fast.peer(now, info),
            Output::PeerLabel { peer, label } => fast.label(now, id, *peer, *label),
            Output::PeerGone(peer) => fast.gone(now, *peer),
            Output::Route { peer, route } => {
                let (peer, path) = (*peer, route.as_ref().map(|route| route.path.clone()));
                fast.feed(now, fastpath::overlay::Input::Route { peer, path });
            }
            Output::Tree { vni, source, tree } => {
                let (vni, source, tree) = (*vni, *source, tree.clone());
                fast.feed(now, fastpath::overlay::Input::Tree { vni, source, tree });
            }
            Output::Fdb(change) => fast.fdb(now, change.vni, &change.change),
            _ => {}
        }
    }

    fn path_changed(&mut self, peer: PeerId) {
        let now = self.time();
        if let Some(fast) = &mut self.fast {
            fast.direct(now, peer, self.sleeve.path(now, &peer).as_ref());
        }
    }

    /// True if its kernel carries frames to this router.
    #[must_use]
    pub fn is_fast(&self, peer: &PeerId) -> bool {
        self.fast.as_ref().is_some_and(|fast| fast.is_fast(peer))
    }

    /// True if its kernel carries frames for groups of this network.
    #[must_use]
    pub fn spreads(&self, vni: Vni) -> bool {
        self.fast
            .as_ref()
            .is_some_and(|fast| fast.spreads().contains(&vni))
    }

    /// What its kernel dropped.
    #[must_use]
    pub fn kernel_drops(&self) -> BTreeMap<mesh::DropReason, u64> {
        self.fast
            .as_ref()
            .map(|fast| fast.kernel().drops().clone())
            .unwrap_or_default()
    }

    fn mesh_output(&mut self, output: Output) {
        self.fast_news(&output);
        let is_quiet = matches!(
            output,
            Output::Send { .. } | Output::Deliver { .. } | Output::Probe { .. } | Output::Dial { .. }
        );
        self.changes += u64::from(!is_quiet);
        match output {
            Output::Dial { target, expect } => self.acts.push(Act::Dial { target, expect }),
            Output::Probe { peer, address } => self.acts.push(Act::Probe { peer, address }),
            Output::Close { link, reason } => self.acts.push(Act::Close { link, reason }),
            Output::Send {
                link,
                packet,
                reliable,
            } => self.acts.push(Act::Send {
                link,
                packet,
                reliable,
            }),
            Output::Deliver { from, payload } => self.feed_sleeve(sleeve::Input::Control { from, payload }),
            Output::Peer(info) => self.peer(info),
            Output::PeerGone(peer) => self.feed_sleeve(sleeve::Input::PeerGone(peer)),
            Output::Neighbor { peer, address } => self.feed_sleeve(sleeve::Input::Neighbor { peer, address }),
            Output::Route { peer, route } => {
                self.note(Line::Route(peer, route.as_ref().map(|route| route.path.clone())));
                self.feed_sleeve(sleeve::Input::Route { peer, route });
            }
            Output::Detour {
                neighbor,
                label,
                route,
            } => self.plane.set_detour(neighbor, label, route.as_ref()),
            Output::Tree { vni, source, tree } => self.feed_sleeve(sleeve::Input::Tree { vni, source, tree }),
            Output::PeerLabel { .. } => {}
            Output::Label { label, neighbor } => self.plane.set_label(label, neighbor),
            Output::Fdb(change) => self.plane.apply_fdb(&change),
            Output::Name(NameChange { vni, name, addresses }) => match addresses.as_slice() {
                [] => drop(self.names.remove(&(vni, name))),
                _ => drop(self.names.insert((vni, name), addresses)),
            },
            // Scenarios give no host more names than there is room for.
            Output::NameRefused { .. } => {}
            Output::PersistEpoch(epoch) => {
                self.disk.epoch = epoch;
                self.feed(Input::EpochPersisted(epoch));
                self.feed_sleeve(sleeve::Input::Epoch(epoch));
            }
            Output::PersistTargets(targets) => self.disk.targets = targets,
            // Scenarios give their containers addresses themselves.
            Output::KeepAddresses { .. } | Output::Allocated { .. } | Output::Reclaimed { .. } => {}
            Output::Networks(_) | Output::Network { .. } => {}
            Output::Log(event) => self.note(Line::Mesh(event)),
        }
    }

    fn sleeve_output(&mut self, output: sleeve::Output) {
        use sleeve::Output as O;
        match output {
            O::Control { to, payload } => self.feed(Input::SendTo { peer: to, payload }),
            O::Datagram { to, bytes } => self.acts.push(Act::Datagram { to, bytes }),
            O::PathUp { peer, mtu, rtt } => {
                self.feed(Input::PathUp { peer, mtu, rtt });
                self.path_changed(peer);
            }
            O::PathDown { peer } => {
                self.feed(Input::PathDown { peer });
                self.path_changed(peer);
            }
            O::UseTree { vni, source } => self.feed(Input::UseTree { vni, source }),
            O::Pong { id, path, .. } => self.note(Line::Ping(id, Ok(path))),
            O::PingFailed { id, why } => self.note(Line::Ping(id, Err(why))),
            // No simulated host has a kernel that encrypts, and none asks another for it.
            O::EspInbound { .. } | O::EspOutbound { .. } | O::EspRefused { .. } => {}
            O::Log(event) => self.note(Line::Sleeve(event)),
        }
    }

    /// A router's record must name the data key that the router proved on its link.
    fn peer(&mut self, info: mesh::PeerInfo) {
        let reason = "its record names another data key";
        let of_peer = self.links.iter().filter(|(_, link)| link.peer == info.peer);
        let false_ones = of_peer.filter(|(_, link)| link.data_public != info.data_key);
        let closed = false_ones.map(|(&link, _)| Act::Close { link, reason });
        self.acts.extend(closed);
        self.feed_sleeve(sleeve::Input::Peer(info));
    }

    fn note(&mut self, line: Line) {
        self.said += 1;
        let is_link = matches!(
            &line,
            Line::Mesh(mesh::Event::LinkUp { .. } | mesh::Event::LinkDown { .. })
        );
        self.link_changes += usize::from(is_link);
        if self.log.len() >= MAX_LOG {
            self.log.pop_front();
        }
        self.log.push_back((self.now, line));
    }
}
