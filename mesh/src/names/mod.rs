//! Names: which addresses a container's name stands for, in each network.
//!
//! A router publishes the names of what runs on its host, in signed records like all else; what a name stands for is
//! the union of what all routers say that can be reached. So nobody coordinates anything: a name that goes is left
//! out of the next record of its router, and what a router said that can no longer be reached does not count.
//!
//! The way of a name: the driver hands in [`Input::Name`](crate::Input::Name) → [`Names::set`] puts it into a chunk →
//! the chunk is published → other routers [`Names::learn`] it → their DNS servers get [`NameChange`]s.

mod local;
mod name;
#[cfg(test)]
mod tests;

pub use name::{BadName, MAX_NAME, Name};

use crate::chunk::{is_valid, network};
use crate::{PeerId, Size, Vni};
use local::Local;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Addresses that one router says a name has; more are left out.
pub const MAX_NAME_ADDRESSES: usize = 256;
/// Records of names that one router publishes per network at most, and that are believed.
pub(crate) const MAX_CHUNKS: u16 = 64;
/// Names in one record that are believed.
const MAX_CHUNK_NAMES: usize = 4096;
/// Records of names that are kept of one router.
const MAX_ORIGIN_BODIES: usize = 256;
/// Names that are kept of all routers together.
const MAX_NAMES: usize = 1 << 20;

/// What a name stands for now, of all that can be reached. Sorted; empty: nothing, the name is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NameChange {
    /// The network in which it has this meaning.
    pub vni: Vni,
    /// The name, without the domain.
    pub name: Name,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// What the record of one chunk says: some of a router's names in one network.
///
/// An empty one replaces a chunk whose names are all gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamesBody {
    /// The network; must agree with the record's subkey.
    pub vni: Vni,
    /// The names, sorted. What is none is passed over.
    pub entries: Vec<(String, Vec<IpAddr>)>,
}

/// A chunk to be published: its subkey and what it says.
pub(crate) type Publish = (u64, NamesBody);

/// Who says what of a name, by router and subkey: while it moves from one chunk to another, it is in both.
type Claims = BTreeMap<(PeerId, u64), Vec<IpAddr>>;

/// All names.
#[derive(Debug, Clone)]
pub struct Names {
    own: PeerId,
    local: Local,
    /// What each body names, by router and subkey; never empty ones.
    bodies: BTreeMap<PeerId, BTreeMap<u64, Vec<Name>>>,
    claims: BTreeMap<(Vni, Name), Claims>,
    /// Those of the routers with bodies to which there is no way.
    away: BTreeSet<PeerId>,
    /// Claims in all.
    entries: usize,
}

impl Names {
    /// None yet, for the router `own`.
    #[must_use]
    pub fn new(own: PeerId) -> Self {
        Self {
            own,
            local: Local::default(),
            bodies: BTreeMap::new(),
            claims: BTreeMap::new(),
            away: BTreeSet::new(),
            entries: 0,
        }
    }

    /// Claims of names by others.
    pub(crate) fn size(&self) -> Size {
        Size::new("claims of names", self.entries, MAX_NAMES)
    }

    /// From now on a name of this router's host has these addresses; none: it is gone. Returns what is to be
    /// published and what the name stands for now. `None` if there is no room for it.
    pub(crate) fn set(
        &mut self,
        vni: Vni,
        name: &Name,
        addresses: Vec<IpAddr>,
    ) -> Option<(Vec<Publish>, Vec<NameChange>)> {
        if vni.0 > Vni::MAX {
            return None;
        }
        let before = self.before([(vni, name.clone())]);
        let publish = self.local.set(vni, name, addresses)?;
        Some((publish, self.changes(before)))
    }

    /// The newest body of `origin` under `subkey`, which replaces the one before. `is_reached`: there is a way to
    /// that router.
    ///
    /// A body that contradicts its subkey counts as empty; so do chunks and names beyond the limits and what is no
    /// name. Of a name listed twice the first one counts. Own records are ignored.
    pub fn learn(
        &mut self,
        origin: PeerId,
        subkey: u64,
        body: &NamesBody,
        is_reached: bool,
    ) -> Vec<NameChange> {
        if origin == self.own {
            return Vec::new();
        }
        let entries = if is_valid(subkey, body.vni, MAX_CHUNKS) {
            believable(body)
        } else {
            BTreeMap::new()
        };
        let old = self.bodies.get(&origin).and_then(|bodies| bodies.get(&subkey));
        let names = old.into_iter().flatten().chain(entries.keys());
        let keys: Vec<_> = names.map(|name| (network(subkey), name.clone())).collect();
        let before = self.before(keys);
        self.withdraw(origin, subkey);
        self.claim(origin, subkey, entries, is_reached);
        self.changes(before)
    }

    /// A body of `origin` is gone.
    pub(crate) fn learn_gone(&mut self, origin: PeerId, subkey: u64) -> Vec<NameChange> {
        let empty = NamesBody {
            vni: network(subkey),
            entries: Vec::new(),
        };
        self.learn(origin, subkey, &empty, true)
    }

    /// Forgets everything `origin` published.
    pub fn forget(&mut self, origin: &PeerId) -> Vec<NameChange> {
        let before = self.before(self.keys(origin));
        let subkeys: Vec<u64> = self.subkeys(origin).collect();
        for subkey in subkeys {
            self.withdraw(*origin, subkey);
        }
        self.changes(before)
    }

    /// There is a way to a router now, or none any more.
    pub fn note_reached(&mut self, origin: &PeerId, is_reached: bool) -> Vec<NameChange> {
        if !self.bodies.contains_key(origin) || self.away.contains(origin) != is_reached {
            return Vec::new();
        }
        let before = self.before(self.keys(origin));
        if is_reached {
            self.away.remove(origin);
        } else {
            self.away.insert(*origin);
        }
        self.changes(before)
    }

    /// What a name stands for, sorted.
    #[must_use]
    pub fn lookup(&self, vni: Vni, name: &Name) -> Vec<IpAddr> {
        let claims = self.claims.get(&(vni, name.clone())).into_iter().flatten();
        let claims = claims.filter(|((origin, _), _)| !self.away.contains(origin));
        let theirs = claims.flat_map(|(_, addresses)| addresses);
        let all: BTreeSet<IpAddr> = theirs.chain(self.local.get(vni, name)).copied().collect();
        all.into_iter().collect()
    }

    /// Everything this router publishes, emptied chunks too: for publishing all of it anew.
    pub(crate) fn published(&self) -> impl Iterator<Item = Publish> {
        self.local.bodies()
    }

    /// How many records this router's names take.
    pub(crate) fn chunks_used(&self) -> usize {
        self.local.used()
    }

    /// Publishes no longer what is left of networks in which this router has no name any more.
    pub(crate) fn forget_unused(&mut self) {
        self.local.forget_unused();
    }

    fn subkeys(&self, origin: &PeerId) -> impl Iterator<Item = u64> {
        self.bodies
            .get(origin)
            .into_iter()
            .flat_map(BTreeMap::keys)
            .copied()
    }

    /// All names that a router published something of.
    fn keys(&self, origin: &PeerId) -> Vec<(Vni, Name)> {
        let bodies = self.bodies.get(origin).into_iter().flatten();
        let keys =
            bodies.flat_map(|(subkey, names)| names.iter().map(|name| (network(*subkey), name.clone())));
        keys.collect()
    }

    fn claim(&mut self, origin: PeerId, subkey: u64, entries: BTreeMap<Name, Vec<IpAddr>>, is_reached: bool) {
        let known = self.bodies.get(&origin).map_or(0, BTreeMap::len);
        if entries.is_empty() || known >= MAX_ORIGIN_BODIES || self.entries + entries.len() > MAX_NAMES {
            return;
        }
        self.entries += entries.len();
        if !is_reached {
            self.away.insert(origin);
        }
        let names = entries.keys().cloned().collect();
        self.bodies.entry(origin).or_default().insert(subkey, names);
        for (name, addresses) in entries {
            let claims = self.claims.entry((network(subkey), name)).or_default();
            claims.insert((origin, subkey), addresses);
        }
    }

    fn withdraw(&mut self, origin: PeerId, subkey: u64) {
        let Some(bodies) = self.bodies.get_mut(&origin) else {
            return;
        };
        let names = bodies.remove(&subkey).unwrap_or_default();
        if bodies.is_empty() {
            self.bodies.remove(&origin);
            self.away.remove(&origin);
        }
        self.entries -= names.len();
        for name in names {
            let key = (network(subkey), name);
            let Some(claims) = self.claims.get_mut(&key) else {
                continue;
            };
            claims.remove(&(origin, subkey));
            if claims.is_empty() {
                self.claims.remove(&key);
            }
        }
    }

    /// Notes what these names stand for before something is changed.
    fn before(&self, keys: impl IntoIterator<Item = (Vni, Name)>) -> BTreeMap<(Vni, Name), Vec<IpAddr>> {
        let with_addresses = |(vni, name)| {
            let addresses = self.lookup(vni, &name);
            ((vni, name), addresses)
        };
        keys.into_iter().map(with_addresses).collect()
    }

    /// Which of them stand for something else now.
    fn changes(&self, before: BTreeMap<(Vni, Name), Vec<IpAddr>>) -> Vec<NameChange> {
        let now = before.into_iter().filter_map(|((vni, name), before)| {
            let addresses = self.lookup(vni, &name);
            (addresses != before).then_some(NameChange { vni, name, addresses })
        });
        now.collect()
    }
}

/// What of a body counts.
fn believable(body: &NamesBody) -> BTreeMap<Name, Vec<IpAddr>> {
    let mut entries = BTreeMap::new();
    for (name, addresses) in body.entries.iter().take(MAX_CHUNK_NAMES) {
        let Ok(name) = name.parse::<Name>() else { continue };
        let believed = || addresses.iter().take(MAX_NAME_ADDRESSES).copied().collect();
        entries.entry(name).or_insert_with(believed);
    }
    entries.retain(|_, addresses: &mut Vec<IpAddr>| !addresses.is_empty());
    entries
}
