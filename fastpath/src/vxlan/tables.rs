//! What the programs look things up in. Every change is one entry; nothing is ever flushed.

use crate::guard::GuardError;
use crate::loaded::{gone, map, octets};
use aya::Ebpf;
use aya::maps::{Array, HashMap, Map, MapData, MapError};
use mesh::{Mac, PeerLabel, Vni};
use rustix::time::{ClockId, clock_gettime};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// How another router is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hop {
    /// Underlay address of the next router on the way.
    pub address: IpAddr,
    /// Hops to the router, 1 to 8; 1: it is the next itself.
    pub distance: u8,
    /// Frames of this host's containers go this way.
    pub carries: bool,
    /// Frames of others go this way.
    pub relays: bool,
}

/// What the programs know of this router itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Local {
    /// Its label.
    pub label: PeerLabel,
    /// The label it had before, which counts for some time.
    pub former: PeerLabel,
    /// For how long from now.
    pub former_for: Duration,
    /// Frames for routers that the fast path does not reach are dropped instead of left to sleeve.
    pub fast_only: bool,
    /// How long the programs serve without a sign of life from the router: without another [`Tables::set_local`].
    pub patience: Duration,
}

impl Local {
    /// A router with this label, and the usual [`PATIENCE`].
    #[must_use]
    pub fn new(label: PeerLabel) -> Self {
        Self {
            label,
            former: PeerLabel::NONE,
            former_for: Duration::ZERO,
            fast_only: false,
            patience: PATIENCE,
        }
    }
}

/// How long the programs serve a router that shows no life.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// A router's place in the tree along which a source's frames for groups travel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// The neighbour they come from; of this router's own tree none.
    pub parent: PeerLabel,
    /// The neighbours they go on to, at most [`MOST_BRANCHES`].
    pub children: Vec<PeerLabel>,
    /// Hops to the member that is furthest away, 1 to 8; known of this router's own tree only.
    pub depth: u8,
    /// Of this router's own tree: frames take it.
    pub ready: bool,
}

type HopValue = [u8; 40];
/// An address in a network.
pub(super) type PlaceKey = [u8; 12];
type LocalValue = [u8; 32];
type GroupValue = [u16; 2 + MOST_MEMBERS];
/// Network and label, or no label for this router's own.
type CourseKey = [u8; 8];
type TreeValue = [u8; 16 + 2 * MOST_BRANCHES];

/// Most other routers in a network of which each gets a copy of frames for groups. In larger ones these travel along
/// trees, as those of sleeve do.
pub const MOST_MEMBERS: usize = mesh::TREE_ABOVE;
/// Most children of a router in a tree.
pub const MOST_BRANCHES: usize = 32;

/// The tables. Values of `hops` that stay the same are not written: the programs keep a time in them.
pub struct Tables {
    settings: Array<MapData, LocalValue>,
    hops: HashMap<MapData, u32, HopValue>,
    senders: HashMap<MapData, [u8; 16], u32>,
    macs: HashMap<MapData, PlaceKey, u32>,
    groups: HashMap<MapData, u32, GroupValue>,
    neighbours: HashMap<MapData, u32, [u8; 16]>,
    trees: HashMap<MapData, CourseKey, TreeValue>,
    /// Entries written so far.
    writes: u64,
}

impl std::fmt::Debug for Tables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tables")
            .field("writes", &self.writes)
            .finish_non_exhaustive()
    }
}

impl Tables {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, GuardError> {
        Ok(Self {
            settings: Array::try_from(map(ebpf, "settings")?)?,
            hops: HashMap::try_from(map(ebpf, "hops")?)?,
            senders: HashMap::try_from(map(ebpf, "senders")?)?,
            macs: HashMap::try_from(map(ebpf, "macs")?)?,
            groups: HashMap::try_from(map(ebpf, "groups")?)?,
            neighbours: HashMap::try_from(map(ebpf, "neighbours")?)?,
            trees: HashMap::try_from(map(ebpf, "trees")?)?,
            writes: 0,
        })
    }

    /// Takes over what another run left in its table of this name.
    pub(super) fn copy_from(&mut self, name: &str, old: Map) -> Result<(), MapError> {
        match name {
            "settings" => self
                .settings
                .set(0, Array::<_, LocalValue>::try_from(old)?.get(&0, 0)?, 0),
            "hops" => copy(&HashMap::try_from(old)?, &mut self.hops),
            "senders" => copy(&HashMap::try_from(old)?, &mut self.senders),
            "macs" => copy(&HashMap::try_from(old)?, &mut self.macs),
            "groups" => copy(&HashMap::try_from(old)?, &mut self.groups),
            "neighbours" => copy(&HashMap::try_from(old)?, &mut self.neighbours),
            "trees" => copy(&HashMap::try_from(old)?, &mut self.trees),
            _ => Ok(()),
        }
    }

    /// Entries written so far.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.writes
    }

    /// Tells the programs of this router itself, and that it is alive.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn set_local(&mut self, local: &Local) -> Result<(), GuardError> {
        let now = monotonic();
        let former_until = now.saturating_add(nanoseconds(local.former_for));
        let mut value = [0; 32];
        value[..8].copy_from_slice(&now.to_ne_bytes());
        value[8..16].copy_from_slice(&nanoseconds(local.patience).to_ne_bytes());
        value[16..24].copy_from_slice(&former_until.to_ne_bytes());
        value[24..26].copy_from_slice(&local.label.0.to_ne_bytes());
        value[26..28].copy_from_slice(&local.former.0.to_ne_bytes());
        value[28..].copy_from_slice(&u32::from(local.fast_only).to_ne_bytes());
        self.writes += 1;
        Ok(self.settings.set(0, value, 0)?)
    }

    /// Sets how the router with this label is reached, or that it is not. Frames that begin to take the fast path do
    /// so at a gap, or after `within`.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn set_hop(
        &mut self,
        label: PeerLabel,
        hop: Option<Hop>,
        within: Duration,
    ) -> Result<(), GuardError> {
        self.writes += 1;
        let key = u32::from(label.0);
        let Some(hop) = hop else {
            return Ok(gone(self.hops.remove(&key))?);
        };
        let from = if hop.carries && !within.is_zero() {
            monotonic().saturating_add(nanoseconds(within))
        } else {
            0
        };
        let mut value = [0; 40];
        value[..16].copy_from_slice(&octets(hop.address));
        value[16..24].copy_from_slice(&from.to_ne_bytes());
        let last = if from == 0 { 0 } else { monotonic() };
        value[24..32].copy_from_slice(&last.to_ne_bytes());
        // One way in the place of another: there is nothing to wait for.
        if let Some(old) = self
            .hops
            .get(&key, 0)
            .ok()
            .filter(|old| hop.carries && old[32] & 1 != 0)
        {
            value[16..32].copy_from_slice(&old[16..32]);
        }
        let flags = u16::from(hop.carries) | u16::from(hop.relays) << 1;
        value[32..34].copy_from_slice(&flags.to_ne_bytes());
        value[34..36].copy_from_slice(&u16::from(hop.distance).to_ne_bytes());
        Ok(self.hops.insert(key, value, 0)?)
    }

    /// Sets which neighbour packets from this address come from, or that none is to be taken from there.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn set_sender(&mut self, address: IpAddr, label: Option<PeerLabel>) -> Result<(), GuardError> {
        self.writes += 1;
        let key = octets(address);
        match label {
            Some(label) => {
                // The other way round, for trees: they name neighbours by their labels.
                self.neighbours.insert(u32::from(label.0), key, 0)?;
                self.senders.insert(key, u32::from(label.0), 0)?;
            }
            None => {
                let label = self.senders.get(&key, 0).unwrap_or_default();
                if self.neighbours.get(&label, 0).is_ok_and(|now| now == key) {
                    gone(self.neighbours.remove(&label))?;
                }
                gone(self.senders.remove(&key))?;
            }
        }
        Ok(())
    }

    /// Sets this router's place in the tree of the router with label `source`, or in its own ([`PeerLabel::NONE`]), or
    /// that it has none.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn set_tree(&mut self, vni: Vni, source: PeerLabel, place: Option<&Place>) -> Result<(), GuardError> {
        self.writes += 1;
        let key = course(vni, source);
        let Some(place) = place.filter(|place| place.children.len() <= MOST_BRANCHES) else {
            return Ok(gone(self.trees.remove(&key))?);
        };
        let mut value = [0; 16 + 2 * MOST_BRANCHES];
        if let Ok(old) = self.trees.get(&key, 0) {
            value[..8].copy_from_slice(&old[..8]);
        }
        let count = u16::try_from(place.children.len()).unwrap_or(0);
        let fields = [place.parent.0, place.depth.into(), place.ready.into(), count];
        let children = place.children.iter().map(|child| child.0);
        for (at, field) in value[8..]
            .chunks_exact_mut(2)
            .zip(fields.into_iter().chain(children))
        {
            at.copy_from_slice(&field.to_ne_bytes());
        }
        Ok(self.trees.insert(key, value, 0)?)
    }

    /// How long ago this router last had a frame for its own tree in a network; `None`: never, or there is no tree.
    #[must_use]
    pub fn tree_used(&self, vni: Vni) -> Option<Duration> {
        let value = self.trees.get(&course(vni, PeerLabel::NONE), 0).ok()?;
        let used = u64::from_ne_bytes(*value.first_chunk()?);
        // The programs read a clock that may be some milliseconds behind.
        (used != 0).then(|| Duration::from_nanos(monotonic().saturating_sub(used)))
    }

    /// The trees there are, by network and label of the source; of this router's own [`PeerLabel::NONE`].
    #[must_use]
    pub fn trees(&self) -> BTreeSet<(Vni, PeerLabel)> {
        let read = |[a, b, c, d, e, f, ..]: CourseKey| {
            (
                Vni(u32::from_ne_bytes([a, b, c, d])),
                PeerLabel(u16::from_ne_bytes([e, f])),
            )
        };
        self.trees.keys().filter_map(Result::ok).map(read).collect()
    }

    /// Sets behind which other router an address is.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn set_mac(&mut self, vni: Vni, mac: Mac, label: PeerLabel) -> Result<(), GuardError> {
        self.writes += 1;
        Ok(self.macs.insert(place(vni, mac), u32::from(label.0), 0)?)
    }

    /// Forgets an address.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn remove_mac(&mut self, vni: Vni, mac: Mac) -> Result<(), GuardError> {
        self.writes += 1;
        Ok(gone(self.macs.remove(&place(vni, mac)))?)
    }

    /// Sets who gets a copy of frames for groups of this network: all other members' routers, at most
    /// [`MOST_MEMBERS`], or nobody: then such frames are left to sleeve.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn set_group(&mut self, vni: Vni, labels: &[PeerLabel]) -> Result<(), GuardError> {
        self.writes += 1;
        if labels.is_empty() || labels.len() > MOST_MEMBERS {
            return Ok(gone(self.groups.remove(&vni.0))?);
        }
        let mut value = [0; 2 + MOST_MEMBERS];
        value[0] = u16::try_from(labels.len()).unwrap_or(0);
        for (place, label) in value[1..].iter_mut().zip(labels) {
            *place = label.0;
        }
        Ok(self.groups.insert(vni.0, value, 0)?)
    }

    /// All ways there are: what the last router left, when nothing was written yet.
    #[must_use]
    pub fn hops(&self) -> BTreeMap<PeerLabel, Hop> {
        let read =
            |(label, value): (u32, HopValue)| Some((PeerLabel(u16::try_from(label).ok()?), hop(&value)?));
        self.hops.iter().filter_map(Result::ok).filter_map(read).collect()
    }

    /// All neighbours packets are taken from.
    #[must_use]
    pub fn senders(&self) -> BTreeMap<IpAddr, PeerLabel> {
        let read =
            |(key, label): ([u8; 16], u32)| Some((address(key), PeerLabel(u16::try_from(label).ok()?)));
        self.senders
            .iter()
            .filter_map(Result::ok)
            .filter_map(read)
            .collect()
    }

    /// The networks of which each member's router gets a copy of frames for groups, and these.
    #[must_use]
    pub fn groups(&self) -> BTreeMap<Vni, Vec<PeerLabel>> {
        let read = |(vni, value): (u32, GroupValue)| {
            let labels = value[1..].iter().take(value[0].into());
            (Vni(vni), labels.copied().map(PeerLabel).collect())
        };
        self.groups.iter().filter_map(Result::ok).map(read).collect()
    }

    /// All addresses that are known to be behind other routers.
    #[must_use]
    pub fn macs(&self) -> Vec<(Vni, Mac)> {
        let read = |key: PlaceKey| {
            let [a, b, c, d, mac @ ..] = key;
            let [e, f, g, h, i, j, ..] = mac;
            (Vni(u32::from_ne_bytes([a, b, c, d])), Mac([e, f, g, h, i, j]))
        };
        self.macs.keys().filter_map(Result::ok).map(read).collect()
    }
}

/// Copies all entries.
pub(super) fn copy<K: aya::Pod, V: aya::Pod>(
    from: &HashMap<MapData, K, V>,
    to: &mut HashMap<MapData, K, V>,
) -> Result<(), MapError> {
    for entry in from.iter() {
        let (key, value) = entry?;
        to.insert(key, value, 0)?;
    }
    Ok(())
}

fn hop(value: &HopValue) -> Option<Hop> {
    let (octets, rest) = value.split_first_chunk::<16>()?;
    let [flags, _, distance, ..] = *rest.get(16..)? else {
        return None;
    };
    Some(Hop {
        address: address(*octets),
        distance,
        carries: flags & 1 != 0,
        relays: flags & 2 != 0,
    })
}

pub(super) fn place(vni: Vni, mac: Mac) -> PlaceKey {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&vni.0.to_ne_bytes());
    key[4..10].copy_from_slice(&mac.0);
    key
}

fn course(vni: Vni, source: PeerLabel) -> CourseKey {
    let mut key = [0; 8];
    key[..4].copy_from_slice(&vni.0.to_ne_bytes());
    key[4..6].copy_from_slice(&source.0.to_ne_bytes());
    key
}

fn address(octets: [u8; 16]) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from(octets)).to_canonical()
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The clock that the programs read.
fn monotonic() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0))
}
