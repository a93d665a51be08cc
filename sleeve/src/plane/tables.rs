//! What mesh and the container side tell the data half: routes, labels, MAC addresses, ports; and what the control
//! half tells it: sessions and direct paths.

use super::group::Cast;
use super::peer::{Direct, Peer, Way};
use super::session::{REJECT_AFTER, Session, SessionParts};
use super::sessions::{Entry, Found, Sessions};
use super::{Plane, PlaneConfig};
use crate::split::Reassembly;
use arc_swap::ArcSwap;
use mesh::{Fdb, FdbChange, Instant, LinkLabel, Mac, PeerId, Route, ShortId, Vni};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// A table that frames are looked up in. Its hash is a fast one that is hard to guess, not hard to find out: containers and
/// the network choose what is looked up, but what is put in was agreed by members.
pub(super) type Table<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// Ways round neighbours, by the neighbour and its label for the router behind it; label zero stands for the neighbour
/// itself.
pub(super) type Detours = Table<(PeerId, LinkLabel), Arc<Detour>>;

/// A way round a neighbour.
#[derive(Debug)]
pub(crate) struct Detour {
    /// The router that the way leads to.
    pub end: Arc<Peer>,
    pub way: Way,
}

/// One network's forwarding table.
#[derive(Debug)]
pub(crate) struct Network {
    /// MAC addresses behind other routers.
    pub remote: Table<Mac, Remote>,
    /// Who answers for an address behind other routers.
    pub owners: Table<IpAddr, Mac>,
    /// Attached here.
    pub ports: Table<Mac, Vec<IpAddr>>,
    /// That of the host itself, if it forwards for containers.
    pub gateway: Option<Mac>,
    /// The other routers with ports in this network.
    pub members: Arc<[Arc<Peer>]>,
    /// This router's own tree; `None`: all members get copies.
    pub cast: Option<Arc<Cast>>,
}

/// A MAC address behind another router.
#[derive(Debug)]
pub(crate) struct Remote {
    pub peer: Arc<Peer>,
    pub addresses: Vec<IpAddr>,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            remote: Table::default(),
            owners: Table::default(),
            ports: Table::default(),
            gateway: None,
            members: Arc::new([]),
            cast: None,
        }
    }
}

impl Network {
    fn forget(&mut self, mac: Mac) {
        let Some(old) = self.remote.remove(&mac) else {
            return;
        };
        for address in old.addresses {
            // Another MAC may have taken the address over since.
            if self.owners.get(&address) == Some(&mac) {
                self.owners.remove(&address);
            }
        }
    }

    fn set(&mut self, mac: Mac, peer: Arc<Peer>, addresses: Vec<IpAddr>) {
        self.forget(mac);
        self.owners
            .extend(addresses.iter().map(|&address| (address, mac)));
        self.remote.insert(mac, Remote { peer, addresses });
    }
}

impl Plane {
    /// A data half without sessions, routes or ports, for one thread.
    #[must_use]
    pub fn new(config: PlaneConfig) -> Self {
        Self::with_lanes(config, 1)
    }

    /// A data half for several threads, each with a lane of its own.
    #[must_use]
    pub fn with_lanes(config: PlaneConfig, lanes: usize) -> Self {
        Self {
            container_mtu: AtomicU16::new(config.container_mtu),
            config,
            peers: RwLock::default(),
            sessions: Sessions::default(),
            labels: ArcSwap::default(),
            detours: RwLock::default(),
            networks: PerLane::new(lanes),
            groups: RwLock::default(),
            swept: AtomicU64::new(0),
            halves: Mutex::new(Reassembly::default()),
            waiting: Mutex::default(),
        }
    }

    /// Takes over mesh's data route to `peer`.
    pub fn set_route(&self, peer: PeerId, route: Option<&Route>) {
        let own = self.config.id.short();
        let way = route.and_then(|route| Way::new(own, route, |first| self.peer(first)));
        self.peer(peer).way.store(way.map(Arc::new));
    }

    /// Takes over a way round `neighbor` to whom its own `label` names ([`mesh::Output::Detour`]). mesh bounds how many
    /// there are.
    pub fn set_detour(&self, neighbor: PeerId, label: LinkLabel, route: Option<&Route>) {
        let own = self.config.id.short();
        let detour = route.and_then(|route| {
            let way = Way::new(own, route, |first| self.peer(first))?;
            let end = self.peer(*route.path.last()?);
            // Its labels stand before others: a part can't end among them.
            way.rest().is_none().then(|| Arc::new(Detour { end, way }))
        });
        let old = {
            let mut detours = write(&self.detours);
            match detour {
                Some(detour) => detours.insert((neighbor, label), detour),
                None => detours.remove(&(neighbor, label)),
            }
        };
        let named = old.map(|old| {
            let first = old.way.relays.as_ref().map(|relays| relays.first.id);
            (old.end.id, first)
        });
        if let Some((end, first)) = named {
            self.forget_if_idle(&end);
            if let Some(first) = first {
                self.forget_if_idle(&first);
            }
        }
    }

    /// Takes over a label of this router's own. One that names nobody any more (`None`) stays: packets that are on
    /// their way name the link by it, and mesh gives it to no other neighbour for ten minutes.
    pub fn set_label(&self, label: LinkLabel, neighbor: Option<PeerId>) {
        let Some(neighbor) = neighbor.map(|peer| self.peer(peer)) else {
            return;
        };
        let place = usize::from(label.0);
        let old = self.labels.rcu(|labels| {
            let mut labels = Vec::clone(labels);
            labels.resize(labels.len().max(place + 1), None);
            labels[place] = Some(Arc::clone(&neighbor));
            labels
        });
        let id = old.get(place).and_then(Option::as_ref).map(|old| old.id);
        drop(old);
        if let Some(id) = id {
            self.forget_if_idle(&id);
        }
    }

    /// Takes over a change of mesh's forwarding table.
    pub fn apply_fdb(&self, fdb: &Fdb) {
        match &fdb.change {
            FdbChange::Set { mac, peer, addresses } => {
                let peer = self.peer(*peer);
                self.with_network(fdb.vni, |network| {
                    network.set(*mac, Arc::clone(&peer), addresses.clone());
                });
            }
            FdbChange::Remove { mac } => self.with_network(fdb.vni, |network| network.forget(*mac)),
            FdbChange::Members(members) => {
                let members: Arc<[_]> = members.iter().map(|&peer| self.peer(peer)).collect();
                self.with_network(fdb.vni, |network| {
                    network.members = Arc::clone(&members);
                    network.members_changed();
                });
            }
        }
    }

    /// A container's port appeared, or its addresses changed.
    pub fn attach(&self, vni: Vni, mac: Mac, addresses: &[IpAddr]) {
        self.with_network(vni, |network| {
            network.ports.insert(mac, addresses.to_vec());
        });
    }

    /// A container's port is gone.
    pub fn detach(&self, vni: Vni, mac: Mac) {
        self.with_network(vni, |network| {
            network.ports.remove(&mac);
        });
    }

    /// The host's own port in a network forwards for containers: of what it sends the IP addresses are not looked at.
    pub fn set_gateway(&self, vni: Vni, mac: Option<Mac>) {
        self.with_network(vni, |network| network.gateway = mac);
    }

    /// The MTU of the containers' interfaces changed.
    pub fn set_container_mtu(&self, mtu: u16) {
        self.container_mtu.store(mtu, Ordering::Relaxed);
    }

    /// Takes over the direct path to `peer`; `None`: there is none.
    pub(crate) fn set_direct(&self, peer: PeerId, direct: Option<Direct>) {
        self.peer(peer).direct.store(direct.map(Arc::new));
    }

    /// A number no session here has. `random` makes numbers.
    pub(crate) fn free_index(&self, mut random: impl FnMut() -> u32) -> u32 {
        loop {
            let index = random();
            if self.sessions.get(index).is_none() {
                return index;
            }
        }
    }

    /// Puts a session in. One that this router initiated is sent on at once, the other end's only after its first
    /// packet.
    pub(crate) fn install(&self, peer: PeerId, parts: &SessionParts<'_>) {
        let session = Arc::new(Session::new(parts));
        let peer = self.peer(peer);
        self.sessions.insert(&Entry {
            session: Arc::clone(&session),
            peer: Arc::clone(&peer),
        });
        let displaced = if parts.initiator {
            peer.install_current(session)
        } else {
            peer.install_next(session)
        };
        self.uninstall(&[displaced]);
    }

    /// Takes out every session with `peer` for which `keep` is false.
    pub(crate) fn retain_sessions(&self, peer: &PeerId, keep: impl Fn(&Session) -> bool) {
        if let Some(peer) = self.known(peer) {
            self.uninstall(&peer.retain(keep));
        }
    }

    /// Forgets a router. Its entry stays while a table still names it.
    pub(crate) fn forget(&self, now: Instant, peer: &PeerId) {
        self.retain_sessions(peer, |_| false);
        self.retire_keys(now, peer);
        if let Some(entry) = self.known(peer) {
            entry.way.store(None);
            entry.direct.store(None);
        }
        self.forget_if_idle(peer);
    }

    /// Takes out the entry of a router that no table names.
    fn forget_if_idle(&self, peer: &PeerId) {
        let mut peers = write(&self.peers);
        let idle = |entry: &Arc<Peer>| Arc::strong_count(entry) == 1 && entry.is_idle();
        if peers.get(peer).is_some_and(idle) {
            peers.remove(peer);
        }
    }

    /// Takes out the entries of all routers that no table names. mesh takes a route back after it has forgotten a router,
    /// and what was named by another's way or place in a tree may be named longer than it is known.
    pub(super) fn forget_idle(&self) {
        let idle = |entry: &Arc<Peer>| Arc::strong_count(entry) == 1 && entry.is_idle();
        // Most of the time there are none, and data threads need not wait.
        if read(&self.peers).values().any(idle) {
            write(&self.peers).retain(|_, entry| !idle(entry));
        }
    }

    /// The session of that receiver index, if it may still be used.
    pub(super) fn lookup(&self, now: Instant, index: u32) -> Option<Found> {
        let found = self.sessions.get(index)?;
        (now.since(found.session.born) < REJECT_AFTER).then_some(found)
    }

    /// What is known of a router.
    pub(crate) fn known(&self, peer: &PeerId) -> Option<Arc<Peer>> {
        read(&self.peers).get(peer).cloned()
    }

    /// The router that relay headers call `short`. Its id begins with that, and mesh knows no two of the same short
    /// id.
    pub(super) fn by_short(&self, short: ShortId) -> Option<Arc<Peer>> {
        let mut first = PeerId([0; 32]);
        first.0[..8].copy_from_slice(&short.0);
        let peers = read(&self.peers);
        let (_, peer) = peers.range(first..).next()?;
        (peer.short == short).then(|| Arc::clone(peer))
    }

    /// The session to seal with to `peer`.
    pub(crate) fn session(&self, now: Instant, peer: &PeerId) -> Option<Arc<Session>> {
        self.known(peer)?.sending(now)
    }

    pub(super) fn uninstall(&self, gone: &[Option<Arc<Session>>]) {
        for session in gone.iter().flatten() {
            self.sessions.remove(session);
        }
    }

    pub(super) fn peer(&self, id: PeerId) -> Arc<Peer> {
        let known = self.known(&id);
        known.unwrap_or_else(|| {
            Arc::clone(
                write(&self.peers)
                    .entry(id)
                    .or_insert_with(|| Arc::new(Peer::new(id))),
            )
        })
    }

    pub(super) fn with_network(&self, vni: Vni, change: impl Fn(&mut Network)) {
        self.networks
            .write(|networks| change(networks.entry(vni).or_default()));
    }
}

/// A table of which each lane has a copy, with a lock that only this lane reads under: lanes that look things up for every
/// frame would else write to one lock's memory all the time. Changes go to all copies, one after the other.
#[derive(Debug)]
pub(super) struct PerLane<T>(Box<[RwLock<T>]>);

impl<T: Default> PerLane<T> {
    fn new(lanes: usize) -> Self {
        Self((0..lanes.max(1)).map(|_| RwLock::default()).collect())
    }

    /// The copy of this lane.
    pub(super) fn read(&self, lane: u8) -> RwLockReadGuard<'_, T> {
        read(&self.0[usize::from(lane) % self.0.len()])
    }

    fn write(&self, change: impl Fn(&mut T)) {
        for copy in &self.0 {
            change(&mut write(copy));
        }
    }
}

/// Tables stay valid whatever happened to a thread that held their lock: each change is a single step.
pub(super) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh::Drops;

    /// mesh takes a route back a moment after it has forgotten a router; the control half its direct path.
    #[test]
    fn nothing_is_kept_of_who_is_gone() {
        let plane = Plane::new(PlaneConfig {
            id: PeerId([0; 32]),
            drops: Arc::new(Drops::default()),
            trusted: Vec::new(),
            container_mtu: 1390,
        });
        let [direct, relay, far] = [1, 2, 3].map(|n| PeerId([n; 32]));
        let route = |path: &[PeerId]| Route {
            path: path.to_vec(),
            labels: path[1..].iter().map(|_| LinkLabel(1)).collect(),
            cost_us: 1,
            mtu: 1500,
        };
        plane.set_route(direct, Some(&route(&[direct])));
        plane.set_route(far, Some(&route(&[relay, far])));
        for peer in [direct, relay, far] {
            plane.forget(Instant(1), &peer);
            plane.set_route(peer, None);
            plane.set_direct(peer, None);
        }
        plane.expire(Instant(1_000_000));
        assert!(read(&plane.peers).is_empty(), "{:?}", read(&plane.peers).keys());
    }
}
