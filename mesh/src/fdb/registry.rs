//! Who claims which MAC address, and the forwarding table that follows from it.
//!
//! The table is a function of the newest bodies of all origins alone, never of the order in which they came, so
//! that routers agree. An address that two routers claim (a clone, or a container that moved and whose old router
//! has not noticed yet) lies behind the one with the lowest [`PeerId`], until that one withdraws it. An address
//! attached here is never sent elsewhere.

use super::local::{Full, Local};
use super::{Fdb, FdbChange, MAX_CHUNK_ENTRIES, MAX_CHUNKS, MAX_ENTRY_ADDRESSES, MacsBody, is_unicast};
use crate::chunk::{is_valid, network};
use crate::{Mac, PeerId, Size, Vni};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Bodies that are kept per origin: more than a router with ports in every sensible number of networks has.
const MAX_ORIGIN_BODIES: usize = 1024;

/// Entries that are kept of all origins together: 2^20, ten thousand routers with a hundred containers each.
const MAX_ENTRIES: usize = 1 << 20;

/// What a change of this router's own ports leads to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LocalChange {
    /// The records to publish now: subkey and body.
    pub publish: Vec<(u64, MacsBody)>,
    /// What changed in the forwarding table, when another router claims the same address.
    pub fdb: Vec<Fdb>,
}

/// Who claims one address, by origin and subkey, and the IP addresses it has there.
type Claims = BTreeMap<(PeerId, u64), Vec<IpAddr>>;

/// Where an address lies, and its IP addresses.
type Place = (PeerId, Vec<IpAddr>);

/// The forwarding table and what it is made of.
#[derive(Debug, Clone)]
pub struct Registry {
    own: PeerId,
    local: Local,
    /// The addresses each body claims, by origin and subkey; never empty ones.
    bodies: BTreeMap<PeerId, BTreeMap<u64, Vec<Mac>>>,
    /// Claimants in order; the first one holds the address. One origin may claim it in several bodies, namely
    /// while it moves it.
    claims: BTreeMap<(Vni, Mac), Claims>,
    /// How many entries each origin has in a network; never zero.
    members: BTreeMap<Vni, BTreeMap<PeerId, usize>>,
    /// Claims in all.
    entries: usize,
    refused: u64,
    /// Counts changes of who has ports in which network, this router included.
    membership: u64,
}

impl Registry {
    /// An empty table, for the router `own`.
    #[must_use]
    pub fn new(own: PeerId) -> Self {
        Self {
            own,
            local: Local::default(),
            bodies: BTreeMap::new(),
            claims: BTreeMap::new(),
            members: BTreeMap::new(),
            entries: 0,
            refused: 0,
            membership: 0,
        }
    }

    /// Claims of addresses.
    pub(crate) fn size(&self) -> Size {
        Size::new("claims of MAC addresses", self.entries, MAX_ENTRIES)
    }

    /// A port of this router appeared, or has other addresses now. Doing it twice changes nothing. Group addresses
    /// and the zero address are no ports'.
    pub fn attach(&mut self, vni: Vni, mac: Mac, addresses: Vec<IpAddr>) -> LocalChange {
        if !is_unicast(&mac) || vni.0 > Vni::MAX {
            return LocalChange::default();
        }
        let before = self.before([(vni, mac)]);
        let was_member = self.is_local(vni);
        let publish = match self.local.attach(vni, mac, addresses) {
            Ok(chunk) => chunk.into_iter().collect(),
            Err(Full) => {
                self.refused += 1;
                Vec::new()
            }
        };
        self.membership += u64::from(was_member != self.is_local(vni));
        LocalChange {
            publish,
            fdb: self.changes(before),
        }
    }

    /// A port of this router is gone.
    pub fn detach(&mut self, vni: Vni, mac: &Mac) -> LocalChange {
        let before = self.before([(vni, *mac)]);
        let was_member = self.is_local(vni);
        let publish = self.local.detach(vni, mac).into_iter().collect();
        self.membership += u64::from(was_member != self.is_local(vni));
        LocalChange {
            publish,
            fdb: self.changes(before),
        }
    }

    /// The newest body of `origin` under `subkey`, which replaces the one before.
    ///
    /// A body that contradicts its subkey counts as empty; so do chunks and entries beyond the limits, group
    /// addresses and the zero address. Of an address listed twice the first entry counts. Own records are ignored.
    pub fn learn(&mut self, origin: PeerId, subkey: u64, body: &MacsBody) -> Vec<Fdb> {
        if origin == self.own {
            return Vec::new();
        }
        let vni = body.vni;
        let entries = if is_valid(subkey, vni, MAX_CHUNKS) {
            believable(body)
        } else {
            BTreeMap::new()
        };
        let old = self.bodies.get(&origin).and_then(|bodies| bodies.get(&subkey));
        let old_keys: Vec<_> = old
            .into_iter()
            .flatten()
            .map(|mac| (network(subkey), *mac))
            .collect();
        let mut scope = self.before(old_keys.into_iter().chain(entries.keys().map(|mac| (vni, *mac))));
        scope.note_member(self, network(subkey), origin);
        self.withdraw(origin, subkey);
        self.claim(origin, subkey, entries);
        self.noted(scope)
    }

    /// Forgets everything `origin` published.
    pub fn forget(&mut self, origin: &PeerId) -> Vec<Fdb> {
        let bodies = self.bodies.get(origin).into_iter().flatten();
        let keys = bodies.flat_map(|(subkey, macs)| macs.iter().map(|mac| (network(*subkey), *mac)));
        let keys: Vec<_> = keys.collect();
        let subkeys: Vec<_> = self
            .bodies
            .get(origin)
            .into_iter()
            .flatten()
            .map(|(subkey, _)| *subkey)
            .collect();
        let mut scope = self.before(keys);
        for subkey in subkeys {
            scope.note_member(self, network(subkey), *origin);
            self.withdraw(*origin, subkey);
        }
        self.noted(scope)
    }

    /// The ports of this router in a network.
    pub fn local(&self, vni: Vni) -> impl Iterator<Item = (&Mac, &[IpAddr])> {
        self.local.ports(vni)
    }

    /// The networks in which this router has ports.
    pub fn local_networks(&self) -> impl Iterator<Item = Vni> {
        self.local.networks()
    }

    /// Everything this router publishes, emptied chunks too: for publishing all of it anew.
    pub fn published(&self) -> impl Iterator<Item = (u64, MacsBody)> {
        self.local.bodies()
    }

    /// How many records this router's ports take.
    pub(crate) fn chunks_used(&self) -> usize {
        self.local.used()
    }

    /// Publishes no longer what is left of networks in which no port is any more.
    pub(crate) fn forget_unused(&mut self) {
        self.local.forget_unused();
    }

    /// The forwarding table: what lies behind other routers.
    pub fn iter(&self) -> impl Iterator<Item = (Vni, Mac, PeerId, &[IpAddr])> {
        self.claims.iter().filter_map(|(&(vni, mac), _)| {
            let (peer, addresses) = self.winner(vni, &mac)?;
            Some((vni, mac, peer, addresses))
        })
    }

    /// The router a MAC address lies behind; `None` if unknown or attached here.
    #[must_use]
    pub fn lookup(&self, vni: Vni, mac: &Mac) -> Option<PeerId> {
        self.winner(vni, mac).map(|(peer, _)| peer)
    }

    /// The other routers with ports in a network, in order.
    pub fn members(&self, vni: Vni) -> impl Iterator<Item = &PeerId> {
        self.members.get(&vni).into_iter().flat_map(BTreeMap::keys)
    }

    fn is_member(&self, vni: Vni, origin: &PeerId) -> bool {
        let members = self.members.get(&vni);
        members.is_some_and(|members| members.contains_key(origin))
    }

    /// The networks in which more than `count` routers have ports, each with all of them, this one included.
    pub(crate) fn larger_than(&self, count: usize) -> impl Iterator<Item = (Vni, BTreeSet<PeerId>)> {
        self.members.iter().filter_map(move |(&vni, others)| {
            let own = self.is_local(vni).then_some(self.own);
            let all = others.keys().copied().chain(own);
            (others.len() + usize::from(own.is_some()) > count).then(|| (vni, all.collect()))
        })
    }

    /// Another number after every change of who has ports in which network.
    pub(crate) fn membership(&self) -> u64 {
        self.membership
    }

    fn is_local(&self, vni: Vni) -> bool {
        self.local.ports(vni).next().is_some()
    }

    /// Bodies and ports that were left out because a limit was reached.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Who holds an address and under which IP addresses.
    fn winner(&self, vni: Vni, mac: &Mac) -> Option<(PeerId, &[IpAddr])> {
        let ((peer, _), addresses) = self.claims.get(&(vni, *mac))?.first_key_value()?;
        (!self.local.contains(vni, mac)).then_some((*peer, addresses.as_slice()))
    }

    fn claim(&mut self, origin: PeerId, subkey: u64, entries: BTreeMap<Mac, Vec<IpAddr>>) {
        if entries.is_empty() {
            return;
        }
        let known = self.bodies.get(&origin).map_or(0, BTreeMap::len);
        if known >= MAX_ORIGIN_BODIES || self.entries + entries.len() > MAX_ENTRIES {
            self.refused += 1;
            return;
        }
        let vni = network(subkey);
        self.entries += entries.len();
        *self.members.entry(vni).or_default().entry(origin).or_default() += entries.len();
        self.bodies
            .entry(origin)
            .or_default()
            .insert(subkey, entries.keys().copied().collect());
        for (mac, addresses) in entries {
            self.claims
                .entry((vni, mac))
                .or_default()
                .insert((origin, subkey), addresses);
        }
    }

    fn withdraw(&mut self, origin: PeerId, subkey: u64) {
        let Some(bodies) = self.bodies.get_mut(&origin) else {
            return;
        };
        let macs = bodies.remove(&subkey).unwrap_or_default();
        if bodies.is_empty() {
            self.bodies.remove(&origin);
        }
        let vni = network(subkey);
        for mac in &macs {
            remove_nested(&mut self.claims, &(vni, *mac), &(origin, subkey));
        }
        self.entries -= macs.len();
        let Some(count) = self
            .members
            .get_mut(&vni)
            .and_then(|members| members.get_mut(&origin))
        else {
            return;
        };
        *count -= macs.len();
        if *count == 0 {
            remove_nested(&mut self.members, &vni, &origin);
        }
    }

    /// Notes how the table looks at these keys before they are changed.
    fn before(&self, keys: impl IntoIterator<Item = (Vni, Mac)>) -> Scope {
        let owned = |(vni, mac)| {
            self.winner(vni, &mac)
                .map(|(peer, addresses)| (peer, addresses.to_vec()))
        };
        let entries = keys.into_iter().map(|key| (key, owned(key))).collect();
        Scope {
            entries,
            members: BTreeMap::new(),
        }
    }

    /// What is different now within the scope; changes of membership are counted.
    fn noted(&mut self, scope: Scope) -> Vec<Fdb> {
        let changes = self.changes(scope);
        let members = changes
            .iter()
            .any(|fdb| matches!(fdb.change, FdbChange::Members(_)));
        self.membership += u64::from(members);
        changes
    }

    /// What is different now within the scope.
    fn changes(&self, scope: Scope) -> Vec<Fdb> {
        let mut changes = Vec::new();
        for ((vni, mac), before) in scope.entries {
            let now = self.winner(vni, &mac);
            if now
                == before
                    .as_ref()
                    .map(|(peer, addresses)| (*peer, addresses.as_slice()))
            {
                continue;
            }
            let change = match now {
                Some((peer, addresses)) => FdbChange::Set {
                    mac,
                    peer,
                    addresses: addresses.to_vec(),
                },
                None => FdbChange::Remove { mac },
            };
            changes.push(Fdb { vni, change });
        }
        for (vni, (origin, was_member)) in scope.members {
            if self.is_member(vni, &origin) != was_member {
                changes.push(Fdb {
                    vni,
                    change: FdbChange::Members(self.members(vni).copied().collect()),
                });
            }
        }
        changes
    }
}

/// A part of the table as it was.
struct Scope {
    entries: BTreeMap<(Vni, Mac), Option<Place>>,
    /// Whether the router whose records change had ports in a network: nobody else comes or goes.
    members: BTreeMap<Vni, (PeerId, bool)>,
}

impl Scope {
    fn note_member(&mut self, registry: &Registry, vni: Vni, origin: PeerId) {
        self.members
            .entry(vni)
            .or_insert_with(|| (origin, registry.is_member(vni, &origin)));
    }
}

/// What of a body counts.
fn believable(body: &MacsBody) -> BTreeMap<Mac, Vec<IpAddr>> {
    let mut entries = BTreeMap::new();
    for (mac, addresses) in body
        .entries
        .iter()
        .take(MAX_CHUNK_ENTRIES)
        .filter(|(mac, _)| is_unicast(mac))
    {
        let believed = || addresses.iter().take(MAX_ENTRY_ADDRESSES).copied().collect();
        entries.entry(*mac).or_insert_with(believed);
    }
    entries
}

/// Removes an inner key, and the outer one if nothing is left under it.
fn remove_nested<K: Ord, L: Ord, V>(map: &mut BTreeMap<K, BTreeMap<L, V>>, outer: &K, inner: &L) {
    let Some(nested) = map.get_mut(outer) else { return };
    nested.remove(inner);
    if nested.is_empty() {
        map.remove(outer);
    }
}
