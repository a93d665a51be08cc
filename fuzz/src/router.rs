//! A control plane under test: one [`Mesh`] with a driver that does as it is told and checks all it sees.

use crate::records::{self, Header, Judge, kind};
use mesh::{
    Config, Direction, DropReason, Drops, FdbChange, Input, Instant, LinkId, LinkStatus, MAX_LABELS,
    MAX_MESSAGE, MAX_PAYLOAD, Mac, Mesh, Output, PeerId, Route, Vni,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// The router under test.
pub const OWN: PeerId = PeerId([0x40; 32]);
/// Its neighbour, from which all comes.
pub const NEIGHBOR: PeerId = PeerId([0x20; 32]);
/// A router behind the neighbour.
pub const THIRD: PeerId = PeerId([0x60; 32]);
/// The link with the neighbour.
pub const LINK: LinkId = LinkId(1);

/// Most bytes that one input may make it send; a comparison may ask for 4 MiB of records.
const MAX_ANSWER: usize = 5 << 20;

/// Where a MAC address lies, and its IP addresses.
pub type Place = (PeerId, Vec<IpAddr>);

/// The router, and what its driver knows.
pub struct Router {
    /// The router.
    pub mesh: Mesh,
    /// What time it is.
    pub now: Instant,
    /// What it threw away.
    pub drops: Arc<Drops>,
    /// Connections that are not closed.
    pub open: BTreeSet<LinkId>,
    /// The forwarding table as it was told.
    pub fdb: BTreeMap<(Vni, Mac), Place>,
    /// What was delivered here.
    pub delivered: Vec<(PeerId, Vec<u8>)>,
    /// Messages it sent since [`Router::message`] was last called.
    pub sent: Vec<(LinkId, Vec<u8>)>,
    /// How many outputs there were that only neighbours may cause.
    pub news: usize,
    routes: BTreeMap<PeerId, Route>,
}

impl Router {
    /// A router with a connection from [`NEIGHBOR`] on which nothing was said yet.
    #[must_use]
    pub fn connected(gullible: bool) -> Self {
        let name = "under-test".parse().expect("a name");
        let judge = Judge { own: OWN, gullible };
        let mut config = Config::new(OWN, name, OWN.0, 1, Arc::new(judge));
        (config.instance, config.discovery) = (1, false);
        config
            .addresses_of
            .networks
            .insert(Vni(1), mesh::ipam::Settings::default());
        let drops = Arc::clone(&config.drops);
        let now = Instant(1_000_000);
        let mut router = Self {
            mesh: Mesh::new(config, [1; 32], now),
            now,
            drops,
            open: BTreeSet::from([LINK]),
            fdb: BTreeMap::new(),
            delivered: Vec::new(),
            sent: Vec::new(),
            news: 0,
            routes: BTreeMap::new(),
        };
        router.input(Input::LinkUp {
            link: LINK,
            peer: NEIGHBOR,
            address: ([203, 0, 113, 2], 6783).into(),
            direction: Direction::In,
            target: None,
        });
        router
    }

    /// A router with a link and a data path to [`NEIGHBOR`], and routes to [`THIRD`] behind it.
    #[must_use]
    pub fn linked(gullible: bool) -> Self {
        let mut router = Self::connected(gullible);
        router.message(&records::hello("neighbor", 7));
        let rtt = Duration::from_millis(1);
        router.input(Input::PathUp {
            peer: NEIGHBOR,
            mtu: 1400,
            rtt,
        });
        router.message(&records::records(&neighborhood()));
        // Of a router that nobody introduced: this one begins a comparison to find out more.
        let header = Header {
            origin: PeerId([0x80; 32]),
            kind: 2,
            subkey: 0,
            epoch: 1,
            counter: 1,
        };
        router.message(&records::records(&[signed(header, &records::links(&[]))]));
        router.pass(Duration::from_secs(2));
        assert_eq!(router.mesh.control_path(&THIRD), Some(vec![NEIGHBOR, THIRD]));
        assert!(
            router
                .mesh
                .routes()
                .iter()
                .any(|(peer, route)| *peer == THIRD && route.path.len() == 2)
        );
        router
    }

    /// A message comes over the link.
    pub fn message(&mut self, bytes: &[u8]) {
        self.sent.clear();
        self.input(Input::Message {
            link: LINK,
            packet: bytes.to_vec().into(),
        });
    }

    /// Anything happens.
    pub fn input(&mut self, input: Input) {
        self.mesh.handle_input(self.now, input);
        let mut bytes = 0;
        while let Some(output) = self.mesh.poll_output() {
            if let Output::Send { packet, .. } = &output {
                bytes += packet.len();
            }
            self.output(output);
        }
        assert!(bytes <= MAX_ANSWER, "one input made it send {bytes} bytes");
    }

    fn output(&mut self, output: Output) {
        match output {
            Output::Send { link, packet, .. } => {
                let bytes = packet.bytes().to_vec();
                assert_eq!(packet.len(), bytes.len());
                assert!(self.open.contains(&link) && bytes.len() <= MAX_MESSAGE && !bytes.is_empty());
                self.sent.push((link, bytes));
                return;
            }
            Output::Close { link, reason } => {
                assert!(self.open.remove(&link), "closed twice: {reason}");
                let reason = reason.to_owned();
                return self.input(Input::LinkDown { link, reason });
            }
            Output::PersistEpoch(epoch) => {
                assert!(epoch <= records::MAX_SEQUENCE);
                return self.input(Input::EpochPersisted(epoch));
            }
            Output::KeepAddresses { vni, batch } => {
                let number = batch.number;
                return self.input(Input::AddressesKept { vni, number });
            }
            Output::Allocated { .. } | Output::Reclaimed { .. } => return,
            Output::Networks(_) | Output::Network { .. } => return,
            Output::Log(_) | Output::Dial { .. } | Output::PersistTargets(_) => return,
            Output::Deliver { from, payload } => {
                assert!(from != OWN && payload.len() <= MAX_PAYLOAD);
                self.delivered.push((from, payload));
            }
            Output::Route {
                peer,
                route: Some(route),
            } => {
                self.routes.insert(peer, route);
            }
            Output::Route { peer, route: None } => assert!(self.routes.remove(&peer).is_some()),
            Output::Fdb(fdb) => self.forward(fdb.vni, fdb.change),
            Output::Name(change) => assert!(change.vni.0 <= Vni::MAX && change.addresses.is_sorted()),
            Output::NameRefused { .. } => {}
            Output::Peer(info) => assert!(info.peer != OWN && info.addresses.len() <= 16),
            Output::PeerGone(peer) => assert!(peer != OWN),
            Output::PeerLabel { .. } => {}
            Output::Label { label, .. } => assert!(label.0 != 0),
            Output::Detour { .. } => {}
            Output::Tree { .. } => {}
            Output::Neighbor { peer, .. } => assert_eq!(peer, NEIGHBOR),
            Output::Probe { peer, .. } => assert!(peer != OWN),
        }
        self.news += 1;
    }

    fn forward(&mut self, vni: Vni, change: FdbChange) {
        assert!(vni.0 <= Vni::MAX);
        match change {
            FdbChange::Set { mac, peer, addresses } => {
                assert!(!mac.is_group() && mac != Mac([0; 6]) && peer != OWN && addresses.len() <= 16);
                self.fdb.insert((vni, mac), (peer, addresses));
            }
            FdbChange::Remove { mac } => assert!(self.fdb.remove(&(vni, mac)).is_some()),
            FdbChange::Members(members) => assert!(members.is_sorted() && !members.contains(&OWN)),
        }
    }

    /// Time passes, with all timers, and the neighbour says twice a second that it lives.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let (mut alive, mut steps) = (self.now, 0);
        while self.now < end {
            let due = self.mesh.poll_timeout().map_or(end, |(at, _)| at.max(self.now));
            self.now = due.min(alive).min(end);
            if self.now >= alive {
                alive = self.now + Duration::from_millis(500);
                self.message(&records::pong(0));
            }
            self.input(Input::Tick);
            steps += 1;
            assert!(
                steps < 1000,
                "timers stand still: {:?} at {:?}",
                self.mesh.poll_timeout(),
                self.now
            );
        }
    }

    /// Fails unless all that people and drivers see holds together.
    pub fn check(&self) {
        // While changes wait, what was told is older than what is read off the trees.
        let is_current = !self.mesh.is_computing();
        for (peer, route) in self.mesh.routes() {
            let hops: BTreeSet<_> = route.path.iter().collect();
            assert!(route.path.last() == Some(&peer) && hops.len() == route.path.len());
            assert!(!hops.contains(&OWN) && route.mtu > 0);
            assert_eq!(route.labels.len(), (route.path.len() - 1).min(MAX_LABELS));
            assert!(
                route.labels.iter().all(|label| label.0 != 0),
                "nothing is relayed over label 0"
            );
            let told = self
                .routes
                .get(&peer)
                .map(|told| (&told.path, &told.labels, told.mtu));
            assert!(!is_current || told == Some((&route.path, &route.labels, route.mtu)));
        }
        assert!(!is_current || self.routes.len() == self.mesh.routes().len());
        let peers = self.mesh.peers();
        assert!(peers.iter().any(|peer| peer.id == OWN && peer.reachable));
        for peer in peers {
            let path = self.mesh.control_path(&peer.id);
            assert!(path.is_none_or(|path| path.last() == Some(&peer.id) && !path.contains(&OWN)));
            assert!(
                peer.info
                    .is_some_and(|info| info.peer == peer.id && info.version.len() <= 64)
            );
        }
        let links: BTreeSet<_> = self.mesh.links().iter().map(|link| link.link).collect();
        assert_eq!(links, self.open);
    }

    /// True while the link with the neighbour is in use.
    #[must_use]
    pub fn is_linked(&self) -> bool {
        self.mesh
            .links()
            .iter()
            .any(|link| link.link == LINK && link.state == LinkStatus::Established)
    }

    /// Fails unless the link still answers, and still carries records: one of the last the neighbour can make.
    pub fn check_link(&mut self) {
        assert!(self.is_linked());
        self.message(&records::ping(123_456));
        let answer = records::message(kind::PONG, &123_456u64);
        let is_answer = |(link, bytes): &(LinkId, Vec<u8>)| *link == LINK && bytes.starts_with(&answer);
        assert!(self.sent.iter().any(is_answer), "a ping was not answered");
        let (epoch, counter) = (records::MAX_SEQUENCE - 1, records::MAX_SEQUENCE - 1);
        let mac = Mac([2, 0xff, 0xff, 0xff, 0xff, 0xff]);
        let header = Header {
            origin: NEIGHBOR,
            kind: 1,
            subkey: 0,
            epoch,
            counter,
        };
        let info = postcard::to_stdvec(&records::info(NEIGHBOR, epoch)).expect("plain data");
        let vni = Vni(Vni::MAX);
        let subkey = u64::from(vni.0) << 16;
        let both = [
            signed(header, &info),
            signed(
                Header {
                    kind: 3,
                    subkey,
                    ..header
                },
                &records::macs(vni, mac),
            ),
        ];
        self.message(&records::records(&both));
        assert_eq!(self.fdb.get(&(vni, mac)).map(|place| place.0), Some(NEIGHBOR));
    }

    /// How many records with wrong signatures came.
    #[must_use]
    pub fn bad_signatures(&self) -> u64 {
        self.drops.get(DropReason::BadSignature)
    }
}

/// A rightly signed record.
#[must_use]
pub fn signed(header: Header, body: &[u8]) -> Vec<u8> {
    records::record(header, body, |bytes| records::signature(&header.origin, bytes))
}

/// The records of [`NEIGHBOR`] and [`THIRD`] that [`Router::linked`] starts from.
#[must_use]
pub fn neighborhood() -> Vec<Vec<u8>> {
    let header = |origin, kind, subkey| Header {
        origin,
        kind,
        subkey,
        epoch: 1,
        counter: 1,
    };
    let info = |peer| postcard::to_stdvec(&records::info(peer, 1)).expect("plain data");
    let third = Mac([2, 0, 0, 0, 0, 3]);
    vec![
        signed(header(NEIGHBOR, 1, 0), &info(NEIGHBOR)),
        signed(header(NEIGHBOR, 2, 0), &records::links(&[(OWN, 1), (THIRD, 2)])),
        signed(header(THIRD, 1, 0), &info(THIRD)),
        signed(header(THIRD, 2, 0), &records::links(&[(NEIGHBOR, 9)])),
        signed(header(THIRD, 3, 1 << 16), &records::macs(Vni(1), third)),
    ]
}
