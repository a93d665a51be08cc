//! Broadcast along trees: what of it data threads look up.
//!
//! [`send`] is a group frame's way out of its source, [`receive`] its way through every other router on the tree,
//! [`key`] the keys on both ends, [`hold`] what happens when a tree changes. What this router sends to a network hangs
//! on one [`Cast`] that is replaced as a whole: whom the tree serves and who gets copies is decided at one moment for
//! each frame, so none goes to a member both ways. The control half makes a `Cast` with a key only once all that the
//! tree reaches have the key, and gives that key to nobody else; so even routers that see another tree than the source
//! does cannot bring a frame to a member that gets a copy.

mod hold;
pub(super) mod key;
mod receive;
pub(super) mod send;

use super::Plane;
use super::peer::Peer;
use super::tables::{Network, Table, read, write};
use crypto::OpenKey;
use hold::{Children, Parents, Passed};
use key::{Open, Seal};
use mesh::{Instant, PeerId, ShortId, Tree, Vni};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// Group keys that are held of all sources together, and of one. Each is a (source, network) pair with two keys at
/// most, of about 1.5 kB.
const MAX_KEYS: usize = 4096;
const MAX_KEYS_PER_SOURCE: usize = 256;
/// A key that was given so long ago and never used makes room for others: most likely its source has given it up.
const UNUSED_FOR: Duration = Duration::from_secs(600);
/// How often the control half is told that a tree is used, and how often that trees are that it does not know of.
const TELL_EVERY: Duration = Duration::from_secs(60);
const TELL_UNKNOWN_EVERY: Duration = Duration::from_millis(5);
/// So many times as many routers as its tree is deep may pass a frame on: they may see a deeper one already.
const LONGER: u8 = 2;

/// How this router sends to a network.
#[derive(Debug)]
pub(super) struct Cast {
    plan: Arc<Plan>,
    /// All that the tree reaches are members now.
    fits: bool,
    /// The other members: they get copies.
    rest: Box<[Arc<Peer>]>,
}

/// This router's own tree in a network, and the key to what goes along it.
#[derive(Debug)]
struct Plan {
    /// `None` while not all that the tree reaches have the key.
    seal: Option<Arc<Seal>>,
    /// The members that the tree reaches.
    reached: BTreeSet<PeerId>,
    children: Children,
    /// How many routers may pass a frame on.
    limit: u8,
    /// The narrowest link.
    mtu: u16,
    /// When the control half was last told that it is used, in microseconds.
    told: AtomicU64,
}

/// What the control half decides: the tree, and the key if all that it reaches have it.
pub(crate) struct Decision<'a> {
    pub seal: Option<Arc<Seal>>,
    pub tree: &'a Tree,
}

/// This router's place in the tree of another source.
#[derive(Debug)]
struct Branch {
    parents: Parents,
    children: Children,
    passed: Arc<Passed>,
    /// When the control half was last told that it is used, in microseconds.
    told: AtomicU64,
}

/// The keys of one source and network.
#[derive(Debug)]
struct Keys {
    source: PeerId,
    /// Newest first.
    held: [Option<Arc<Open>>; 2],
}

impl Keys {
    fn get(&self, id: u32) -> Option<&Arc<Open>> {
        self.held.iter().flatten().find(|key| key.id == id)
    }

    /// When the last was given, if none was ever used.
    fn unused_since(&self) -> Option<Instant> {
        let mut held = self.held.iter().flatten();
        let unused = held.clone().all(|key| !key.is_used());
        held.next().filter(|_| unused).map(|key| key.given)
    }
}

/// Places in other sources' trees, and their keys.
#[derive(Debug, Default)]
pub(super) struct Groups {
    branches: Table<(ShortId, Vni), Arc<Branch>>,
    /// When the control half was last told of a tree without a branch here, in microseconds.
    told: AtomicU64,
    keys: Table<(ShortId, Vni), Keys>,
}

impl Groups {
    /// Forgets the keys of one source and network, the longest unused of those that `may` go. False: there are none.
    /// Nothing was opened with them, so nothing would come twice if they were given again.
    fn make_room(&mut self, now: Instant, may: impl Fn(&Keys) -> bool) -> bool {
        let unused = self.keys.iter().filter(|(_, keys)| may(keys));
        let unused = unused.filter_map(|(place, keys)| Some((keys.unused_since()?, *place)));
        let oldest = unused.min_by_key(|(since, _)| *since);
        let oldest = oldest.filter(|(since, _)| now.since(*since) >= UNUSED_FOR);
        oldest.is_some_and(|(_, place)| self.keys.remove(&place).is_some())
    }
}

impl Plane {
    /// Takes over this router's place in another source's tree.
    pub(crate) fn set_branch(&self, now: Instant, vni: Vni, source: PeerId, tree: Option<&Tree>) {
        let key = (source.short(), vni);
        let before = read(&self.groups).branches.get(&key).cloned();
        let before = before.as_deref();
        let parent = tree.and_then(|tree| tree.parent);
        let children = tree.filter(|_| parent.is_some()).map(|tree| &tree.children[..]);
        let branch = Branch {
            parents: Parents::new(now, parent, before.map(|before| &before.parents)),
            children: self.children(
                now,
                children.unwrap_or_default(),
                before.map(|before| &before.children),
            ),
            passed: before.map_or_else(Arc::default, |before| Arc::clone(&before.passed)),
            told: AtomicU64::new(0),
        };
        let mut groups = write(&self.groups);
        if branch.parents.is_any(now) {
            groups.branches.insert(key, Arc::new(branch));
        } else {
            groups.branches.remove(&key);
        }
    }

    /// Takes over how this router sends to a network; `None`: as copies.
    pub(crate) fn set_cast(&self, now: Instant, vni: Vni, decision: Option<Decision<'_>>) {
        let networks = self.networks.read(0);
        let before = networks.get(&vni).and_then(|network| network.cast.clone());
        drop(networks);
        let plan = decision.and_then(|Decision { seal, tree }| {
            let root = tree.root.as_ref()?;
            let before = before.as_deref().map(|before| &before.plan.children);
            Some(Plan {
                seal,
                reached: root.reached.iter().copied().collect(),
                children: self.children(now, &tree.children, before),
                limit: root.depth.saturating_mul(LONGER),
                mtu: root.mtu,
                told: AtomicU64::new(0),
            })
        });
        let plan = plan.map(Arc::new);
        self.with_network(vni, |network| {
            network.cast = plan.as_ref().map(|plan| network.cast(Arc::clone(plan)));
        });
    }

    fn children(&self, now: Instant, present: &[PeerId], before: Option<&Children>) -> Children {
        let present = present.iter().map(|&child| self.peer(child)).collect();
        Children::new(now, present, before)
    }

    /// A member's group key for one of its networks. The same key again changes nothing. False: there is no room
    /// for it.
    pub(crate) fn take_key(&self, now: Instant, vni: Vni, source: PeerId, id: u32, key: OpenKey) -> bool {
        let mut groups = write(&self.groups);
        let place = (source.short(), vni);
        if !groups.keys.contains_key(&place) {
            let same = groups.keys.values().filter(|keys| keys.source == source).count();
            let full = same >= MAX_KEYS_PER_SOURCE;
            if (full || groups.keys.len() >= MAX_KEYS)
                && !groups.make_room(now, |keys| !full || keys.source == source)
            {
                return false;
            }
        }
        let keys = groups.keys.entry(place).or_insert(Keys {
            source,
            held: [None, None],
        });
        if keys.source != source {
            return false;
        }
        if keys.get(id).is_none() {
            let newest = keys.held[0].replace(Arc::new(Open::new(now, id, key)));
            keys.held[1] = newest;
        }
        true
    }

    /// Lets the keys that a router gave grow old. They are not forgotten at once: given again, they would come
    /// without the memory of what was opened with them.
    pub(super) fn retire_keys(&self, now: Instant, source: &PeerId) {
        let groups = read(&self.groups);
        let keys = groups.keys.values().filter(|keys| keys.source == *source);
        for key in keys.flat_map(|keys| keys.held.iter().flatten()) {
            key.begin(now);
        }
    }

    /// Forgets keys that are too old to be used, and trees that this router left.
    pub(super) fn expire_groups(&self, now: Instant) {
        let old = |key: &Option<Arc<Open>>| key.as_ref().is_some_and(|key| !key.usable(now));
        // Most of the time there are none, and data threads need not wait.
        let groups = read(&self.groups);
        let any = groups.keys.values().any(|keys| keys.held.iter().any(old));
        let left = |branch: &Arc<Branch>| !branch.parents.is_any(now);
        let any_left = groups.branches.values().any(left);
        drop(groups);
        if any {
            write(&self.groups).keys.retain(|_, keys| {
                for key in keys.held.iter_mut().filter(|key| old(key)) {
                    *key = None;
                }
                keys.held.iter().any(Option::is_some)
            });
        }
        if any_left {
            write(&self.groups).branches.retain(|_, branch| !left(branch));
        }
    }

    /// True if this router knows its place in that tree.
    pub(crate) fn has_branch(&self, vni: Vni, source: &PeerId) -> bool {
        let groups = read(&self.groups);
        let branch = groups.branches.get(&(source.short(), vni));
        branch.is_some_and(|branch| branch.parents.is_present())
    }

    /// True if a port of this router's is in the network.
    pub(crate) fn is_member(&self, vni: Vni) -> bool {
        self.networks
            .read(0)
            .get(&vni)
            .is_some_and(|network| !network.ports.is_empty())
    }
}

impl Network {
    /// The members changed: fixes anew who gets copies besides the tree.
    pub(super) fn members_changed(&mut self) {
        let plan = self.cast.as_ref().map(|cast| Arc::clone(&cast.plan));
        self.cast = plan.map(|plan| self.cast(plan));
    }

    /// A tree that reaches one who is no member any more is not used: the key must change first.
    fn cast(&self, plan: Arc<Plan>) -> Arc<Cast> {
        let members: BTreeSet<_> = self.members.iter().map(|peer| peer.id).collect();
        let rest = self
            .members
            .iter()
            .filter(|peer| !plan.reached.contains(&peer.id));
        Arc::new(Cast {
            rest: rest.cloned().collect(),
            fits: plan.reached.is_subset(&members),
            plan,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PlaneConfig;
    use crypto::Cipher;
    use mesh::Drops;

    fn plane() -> Plane {
        Plane::new(PlaneConfig {
            id: PeerId([0; 32]),
            drops: Arc::new(Drops::default()),
            trusted: Vec::new(),
            container_mtu: 1390,
        })
    }

    /// Sources that broadcast only while their key was given never seal anything under it.
    #[test]
    fn keys_that_are_never_used_make_room_for_others() {
        let plane = plane();
        let take = |second: u64, source: u32, vni: u32| {
            let mut id = [0; 32];
            id[..4].copy_from_slice(&source.to_be_bytes());
            let now = Instant(second * 1_000_000);
            plane.expire_groups(now);
            let key = OpenKey::new(Cipher::ChaCha20Poly1305, &[0; 32]);
            plane.take_key(now, Vni(vni), PeerId(id), 1, key)
        };
        let source = MAX_KEYS as u32;
        assert!((0..source).all(|n| take(0, n, 1)));
        assert!(!take(10, source, 1), "what was just given is kept");
        assert!(take(3600, source, 1));
        // Nor do a source's own keys stop it.
        let most = MAX_KEYS_PER_SOURCE as u32;
        assert!((1..=most).all(|vni| take(3600, source, vni)));
        assert!(!take(3600, source, most + 1));
        assert!(take(7200, source, most + 1));
    }
}
