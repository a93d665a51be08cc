//! Which isolated networks there are: a name, a VNI and a range of addresses each.
//!
//! What was said last of a name counts, wherever it was said: each statement has a stamp above all that its router had
//! heard of. A statement is published by the router that made it. Everybody stores what is known, and publishes it in
//! the place of a router that is gone; so a network is there until somebody removes it. Of two networks with one VNI,
//! which can only come about apart, the one that was made first keeps it; the other carries nothing.
//!
//! The way of a network: [`Input::AddNetwork`](crate::Input::AddNetwork) → [`Networks::add`] → a record of kind
//! `NETWORKS` → other routers [`Networks::learn`] it → each opens the ring of its addresses (`open`) and tells its
//! driver ([`Output::Networks`](crate::Output::Networks)), which stores it.

mod open;
mod range;
#[cfg(test)]
mod tests;

use crate::ipam::Pool;
use crate::{Instant, Name, PeerId, ShortId, Vni};
use rand::RngExt as _;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Networks that there may be, the default one not counted.
pub const MAX_NETWORKS: usize = 128;
/// Bytes of the longest name of a network.
pub const MAX_NETWORK_NAME: usize = 40;
/// Names of removed networks that are remembered; beyond that the first removed are forgotten.
const MAX_REMOVED: usize = 64;
/// Statements in one record that are believed.
const MAX_ENTRIES: usize = 256;
/// Stamps from here up are not believed, so that there is always one above.
const MAX_STAMP: u64 = 1 << 48;
/// How long a statement that nobody publishes waits for somebody else who might, at least; and at most twice as long.
const ORPHAN: Duration = Duration::from_millis(ORPHAN_MS);
const ORPHAN_MS: u64 = 3000;

/// What was said last of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkEntry {
    /// Greater than those of all statements that its author knew.
    pub stamp: u64,
    /// The author.
    pub by: ShortId,
    /// The network's number.
    pub vni: Vni,
    /// Its addresses; `None`: it was removed.
    pub pool: Option<Pool>,
}

/// All that is known of networks, the default one left out.
pub type NetworkTable = BTreeMap<Name, NetworkEntry>;

/// What the record of a router says of networks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworksBody {
    /// Statements by name.
    pub entries: Vec<(String, NetworkEntry)>,
}

/// A network as it is to be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NetworkView {
    /// Its name.
    pub name: Name,
    /// Its number.
    pub vni: Vni,
    /// Its addresses.
    pub pool: Pool,
    /// The network that has this number, too, and keeps it: this one carries nothing.
    pub rival: Option<Name>,
}

/// Why a network is not added or removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
pub enum NetworkRefusal {
    /// The name is too long, or that of the default network.
    #[error("a network's name has at most {MAX_NETWORK_NAME} characters, and is not `default`")]
    Name,
    /// The number is none.
    #[error("a VNI is a number from 2 to {}; 1 is the default network's", Vni::MAX)]
    Number,
    /// There is another of that name.
    #[error("there is a network {0} already, with other addresses or another VNI")]
    Exists(Name),
    /// The number is in use.
    #[error("the network {0} has this VNI")]
    Taken(Name),
    /// There are too many.
    #[error("there are {MAX_NETWORKS} networks already")]
    Full,
    /// No range for addresses is left.
    #[error("no range for the addresses is left: name one with --subnet")]
    NoRange,
    /// There is none of that name.
    #[error("there is no network {0}")]
    Unknown(Name),
    /// Containers are in it.
    #[error("{0} routers have containers in it: detach them first")]
    InUse(usize),
}

impl NetworkEntry {
    /// In which order statements of one name count; different ones are never equal.
    fn order(&self) -> (u64, ShortId, u32, Option<[u8; 24]>) {
        let pool = self.pool.map(|pool| {
            let mut bytes = [0; 24];
            let (v4, prefix) = pool.v4();
            bytes[..4].copy_from_slice(&v4.octets());
            bytes[4] = prefix;
            if let Some((v6, prefix)) = pool.v6() {
                bytes[5..21].copy_from_slice(&v6.octets());
                bytes[21] = prefix;
            }
            bytes
        });
        (self.stamp, self.by, self.vni.0, pool)
    }

    fn is_believable(&self) -> bool {
        let is_pool = |pool: &Pool| Pool::new(pool.v4(), pool.v6()) == Ok(*pool);
        self.stamp < MAX_STAMP && is_number(self.vni) && self.pool.as_ref().is_none_or(is_pool)
    }
}

/// The numbers and addresses of the networks in a table that are to be used.
#[must_use]
pub fn used_networks(table: &NetworkTable) -> Vec<(Vni, Pool)> {
    let mut networks = Networks::new(PeerId([0; 32]));
    networks.restore(table);
    let views = networks.views().into_iter().filter(|view| view.rival.is_none());
    views.map(|view| (view.vni, view.pool)).collect()
}

fn is_number(vni: Vni) -> bool {
    vni != Vni::DEFAULT && (1..=Vni::MAX).contains(&vni.0)
}

fn is_name(name: &Name) -> bool {
    name.as_str().len() <= MAX_NETWORK_NAME && name.as_str() != "default"
}

/// All networks but the default one.
#[derive(Debug)]
pub(crate) struct Networks {
    own: ShortId,
    known: NetworkTable,
    /// What each router publishes.
    told: BTreeMap<PeerId, NetworkTable>,
    /// Names of which this router publishes what is known.
    published: BTreeSet<Name>,
    /// When to look again at what nobody publishes.
    due: Option<Instant>,
}

impl Networks {
    pub(crate) fn new(own: PeerId) -> Self {
        Self {
            own: own.short(),
            known: NetworkTable::new(),
            told: BTreeMap::new(),
            published: BTreeSet::new(),
            due: None,
        }
    }

    /// What is known, for the disk.
    pub(crate) fn table(&self) -> &NetworkTable {
        &self.known
    }

    /// Takes up what was known in an earlier run. True if it is news.
    pub(crate) fn restore(&mut self, table: &NetworkTable) -> bool {
        let mut is_news = false;
        for (name, entry) in table {
            is_news |= self.merge(name, *entry);
            if self.known.get(name) == Some(entry) && entry.by == self.own {
                self.published.insert(name.clone());
            }
        }
        is_news
    }

    /// The networks to be used, in order of their names.
    pub(crate) fn views(&self) -> Vec<NetworkView> {
        let mut first: BTreeMap<Vni, (u64, ShortId, &Name)> = BTreeMap::new();
        for (name, entry) in self.known.iter().filter(|(_, entry)| entry.pool.is_some()) {
            let rank = (entry.stamp, entry.by, name);
            let holder = first.entry(entry.vni).or_insert(rank);
            *holder = (*holder).min(rank);
        }
        let view = |(name, entry): (&Name, &NetworkEntry)| {
            let holder = first.get(&entry.vni).map(|(_, _, name)| *name);
            Some(NetworkView {
                name: name.clone(),
                vni: entry.vni,
                pool: entry.pool?,
                rival: holder.filter(|holder| *holder != name).cloned(),
            })
        };
        self.known.iter().filter_map(view).collect()
    }

    /// Takes a statement, if it is later than what is known. True if it is.
    fn merge(&mut self, name: &Name, entry: NetworkEntry) -> bool {
        if !is_name(name) || !entry.is_believable() {
            return false;
        }
        let old = self.known.get(name);
        if old.is_some_and(|old| old.order() >= entry.order()) {
            return false;
        }
        let count = self.known.values().filter(|entry| entry.pool.is_some()).count();
        let is_more = entry.pool.is_some() && old.is_none_or(|old| old.pool.is_none());
        if is_more && count >= MAX_NETWORKS {
            return false;
        }
        self.known.insert(name.clone(), entry);
        self.published.remove(name);
        self.forget_removed();
        true
    }

    fn forget_removed(&mut self) {
        let removed = self.known.iter().filter(|(_, entry)| entry.pool.is_none());
        if removed.clone().count() <= MAX_REMOVED {
            return;
        }
        let first = removed.min_by_key(|(_, entry)| entry.order());
        if let Some(name) = first.map(|(name, _)| name.clone()) {
            self.known.remove(&name);
            self.published.remove(&name);
        }
    }

    /// The newest that a router publishes. True if something of it is news.
    pub(crate) fn learn(&mut self, origin: PeerId, body: &NetworksBody) -> bool {
        let entries = body.entries.iter().take(MAX_ENTRIES);
        let told: NetworkTable = entries
            .filter_map(|(name, entry)| Some((name.parse().ok()?, *entry)))
            .collect();
        let mut is_news = false;
        for (name, entry) in &told {
            is_news |= self.merge(name, *entry);
        }
        self.told.insert(origin, told);
        is_news
    }

    /// A router's record is gone.
    pub(crate) fn forget(&mut self, origin: &PeerId) {
        self.told.remove(origin);
    }

    /// What this router publishes.
    pub(crate) fn body(&self) -> NetworksBody {
        let published = self.published.iter();
        let entry = |name: &Name| Some((name.to_string(), *self.known.get(name)?));
        NetworksBody {
            entries: published.filter_map(entry).collect(),
        }
    }

    /// True if there is something to publish, or was.
    pub(crate) fn has_body(&self) -> bool {
        !self.published.is_empty()
    }

    /// Looks whether something that is known is published by nobody who can be reached. True if this router has taken it
    /// upon itself.
    pub(crate) fn look(
        &mut self,
        now: Instant,
        is_reached: impl Fn(&PeerId) -> bool,
        rng: &mut StdRng,
    ) -> bool {
        let told: Vec<_> = self
            .told
            .iter()
            .filter(|(peer, _)| is_reached(peer))
            .map(|(_, told)| told)
            .collect();
        let is_orphan = |(name, entry): &(&Name, &NetworkEntry)| {
            !self.published.contains(*name) && !told.iter().any(|told| told.get(*name) == Some(*entry))
        };
        let orphans: Vec<Name> = self
            .known
            .iter()
            .filter(is_orphan)
            .map(|(name, _)| name.clone())
            .collect();
        if orphans.is_empty() {
            self.due = None;
            return false;
        }
        match self.due {
            // Not all at once: whoever is first spares the others.
            None => {
                self.due = Some(now + ORPHAN + Duration::from_millis(rng.random_range(0..ORPHAN_MS)));
                false
            }
            Some(due) if due > now => false,
            Some(_) => {
                self.due = None;
                self.published.extend(orphans);
                true
            }
        }
    }

    /// When to [`look`](Self::look) again.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.due
    }

    fn state(&mut self, name: &Name, vni: Vni, pool: Option<Pool>) {
        let stamp = self.known.values().map(|entry| entry.stamp).max().unwrap_or(0) + 1;
        let by = self.own;
        if self.merge(name, NetworkEntry { stamp, by, vni, pool }) {
            self.published.insert(name.clone());
        }
    }

    /// A network of this name is to be there. What is not given is chosen, the same wherever it is chosen. `home`: the
    /// default network's addresses. That it is there already is fine, if it is the same.
    pub(crate) fn add(
        &mut self,
        name: &Name,
        vni: Option<Vni>,
        pool: Option<Pool>,
        home: Option<Pool>,
    ) -> Result<NetworkView, NetworkRefusal> {
        if !is_name(name) {
            return Err(NetworkRefusal::Name);
        }
        if vni.is_some_and(|vni| !is_number(vni)) {
            return Err(NetworkRefusal::Number);
        }
        let views = self.views();
        if let Some(old) = views.iter().find(|view| view.name == *name) {
            let same_range = pool.is_none_or(|pool| pool.v4() == old.pool.v4());
            let same = same_range && vni.is_none_or(|vni| vni == old.vni);
            return if same {
                Ok(old.clone())
            } else {
                Err(NetworkRefusal::Exists(name.clone()))
            };
        }
        if views.len() >= MAX_NETWORKS {
            return Err(NetworkRefusal::Full);
        }
        if let Some(other) = views.iter().find(|view| Some(view.vni) == vni) {
            return Err(NetworkRefusal::Taken(other.name.clone()));
        }
        let used = self.known.values().map(|entry| entry.vni).collect();
        let vni = vni.unwrap_or_else(|| range::free_number(name, &used));
        let pools: Vec<Pool> = views.iter().map(|view| view.pool).chain(home).collect();
        let pool = match pool {
            Some(pool) => range::with_v6(pool, vni),
            None => range::free_pool(name, vni, &pools).ok_or(NetworkRefusal::NoRange)?,
        };
        self.state(name, vni, Some(pool));
        let views = self.views();
        let added = views.into_iter().find(|view| view.name == *name);
        added.ok_or(NetworkRefusal::Full)
    }

    /// A network is to be there no more.
    pub(crate) fn remove(&mut self, name: &Name) -> Result<NetworkView, NetworkRefusal> {
        let found = self.views().into_iter().find(|view| view.name == *name);
        let view = found.ok_or_else(|| NetworkRefusal::Unknown(name.clone()))?;
        self.state(name, view.vni, None);
        Ok(view)
    }
}
