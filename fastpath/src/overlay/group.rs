//! Frames for groups: copies for each member of a small network, this router's own tree in a larger one.
//!
//! Copies go while every other member's router is reached by the fast path. The tree is the control plane's
//! (`mesh::Tree`); frames take it once a probe along it came back from every member, so each router on it has found the
//! same place, and while those probes go on coming back. Who does not broadcast does not probe: a tree is tried when
//! frames are seen, and left when none was for [`UNUSED`]. Until then, and otherwise, such frames take sleeve; so they do
//! while a tree [moves](super::moves).

use super::moves::{Places, SETTLED};
use super::proof::{self, Proof, Step};
use super::{MAX_HOPS, Output, Overlay};
use crate::vxlan::{MOST_BRANCHES, MOST_MEMBERS, Place};
use mesh::{Instant, PeerId, PeerLabel, Tree, Vni};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long after the last frame a tree goes on being probed.
pub const UNUSED: Duration = Duration::from_secs(60);
/// How long this router's tree of an earlier run is used, if the new one is not proven before.
const LEFT: Duration = Duration::from_secs(10);

/// A network's frames for groups.
#[derive(Debug, Default)]
struct Group {
    /// The other members.
    members: Vec<PeerId>,
    /// Who gets copies, as the kernel was told.
    told: Vec<PeerLabel>,
    /// The kernel holds copies' labels of an earlier run.
    left: bool,
    own: Option<Own>,
    /// The tree has changed: until when not all routers on it have moved, perhaps.
    moving: Option<Instant>,
}

/// This router's own tree in a network.
#[derive(Debug)]
struct Own {
    tree: Tree,
    proof: Proof,
    /// Frames were seen; until when that counts.
    used: Option<Instant>,
    /// The last probe, and who did not answer yet.
    asked: Option<(u64, BTreeSet<PeerId>)>,
}

/// All networks, and this router's places in others' trees.
#[derive(Debug, Default)]
pub(super) struct Groups {
    networks: BTreeMap<Vni, Group>,
    others: Places,
    /// What the kernel was told, by the label of the source.
    told: BTreeMap<(Vni, PeerLabel), Place>,
    /// Trees of an earlier run, and until when they stay.
    left: BTreeSet<(Vni, PeerLabel)>,
    left_until: Option<Instant>,
    own_until: Option<Instant>,
}

impl Groups {
    pub(super) fn inherit(
        &mut self,
        now: Instant,
        grace: Duration,
        groups: BTreeMap<Vni, Vec<PeerLabel>>,
        trees: BTreeSet<(Vni, PeerLabel)>,
    ) {
        let is_any = !groups.is_empty() || !trees.is_empty();
        for (vni, told) in groups {
            let group = self.networks.entry(vni).or_default();
            (group.told, group.left) = (told, true);
        }
        self.left = trees;
        self.left_until = Some(now + grace).filter(|_| is_any);
        self.own_until = Some(now + LEFT.min(grace)).filter(|_| is_any);
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let owns = self.networks.values().filter_map(|group| {
            let own = group.own.as_ref()?;
            let used = own.used?;
            let proof = || own.proof.held_until().into_iter().chain([own.proof.next()]).min();
            // No probe while it moves.
            let next = group.moving.or_else(proof);
            Some(next.map_or(used, |next| next.min(used)))
        });
        let others = self.others.next_timeout();
        owns.chain(others)
            .chain(self.left_until)
            .chain(self.own_until)
            .min()
    }
}

/// True if frames of this router's tree go another way than before, somewhere.
fn is_another_way(old: &Tree, new: &Tree) -> bool {
    let shape = |tree: &Tree| tree.root.as_ref().map(|root| root.shape);
    shape(old) != shape(new)
}

impl Overlay {
    /// The other members of a network.
    pub(super) fn set_members(&mut self, now: Instant, vni: Vni, members: Vec<PeerId>) {
        let group = self.groups.networks.entry(vni).or_default();
        group.members = members;
        if let Some(own) = &mut group.own {
            own.asked = None;
        }
        self.tell_group(vni);
        self.tell_own(now, vni);
    }

    /// This router's place in a tree: its own if there is a root.
    pub(super) fn set_tree(&mut self, now: Instant, vni: Vni, source: PeerId, tree: Option<Tree>) {
        match tree {
            Some(tree) if tree.root.is_some() => {
                // After a restart links come one after the other, and others hold their places meanwhile.
                let is_back = self.groups.own_until.is_some();
                let group = self.groups.networks.entry(vni).or_default();
                group.moving = group.moving.filter(|until| now < *until);
                let moves = match &group.own {
                    Some(own) => is_another_way(&own.tree, &tree),
                    // It was gone a moment ago.
                    None => group.moving.is_some(),
                };
                if moves && !is_back {
                    group.moving = Some(now + SETTLED);
                }
                let used = group.own.as_ref().and_then(|own| own.used);
                let mut proof = Proof::new(now);
                if let Some(old) = &group.own {
                    proof.remember(&old.proof);
                }
                group.own = Some(Own {
                    tree,
                    proof,
                    used,
                    asked: None,
                });
                self.tell_own(now, vni);
            }
            None if self.groups.others.get(&(vni, source)).is_none() => {
                if let Some(group) = self.groups.networks.get_mut(&vni) {
                    group.own = None;
                    group.moving = Some(now + SETTLED);
                }
                self.tell_own(now, vni);
            }
            tree => {
                let label = self.label_of(&source);
                let served = label.is_some_and(|label| self.groups.told.contains_key(&(vni, label)));
                if self.groups.others.set(now, (vni, source), tree, served) {
                    self.tell_other(vni, source);
                }
            }
        }
    }

    /// This router had frames for its own tree a moment ago.
    pub(super) fn tree_used(&mut self, now: Instant, vni: Vni) {
        let group = self.groups.networks.get_mut(&vni);
        let Some(own) = group.and_then(|group| group.own.as_mut()) else {
            return;
        };
        if own.used.replace(now + UNUSED).is_none() {
            own.proof.restart(now);
        }
    }

    /// A way, a label or the being known of a router changed.
    pub(super) fn groups_of(&mut self, now: Instant, peer: PeerId) {
        let with = |group: &Group| group.members.contains(&peer);
        let networks = self.groups.networks.iter().filter(|(_, group)| with(group));
        for vni in networks.map(|(vni, _)| *vni).collect::<Vec<_>>() {
            self.tell_group(vni);
            self.tell_own(now, vni);
        }
    }

    /// A router's label changed: trees name it.
    pub(super) fn trees_of(&mut self, now: Instant, peer: PeerId) {
        let names = |tree: &Tree| tree.parent == Some(peer) || tree.children.contains(&peer);
        let others = self.groups.others.iter();
        let others = others.filter(|((_, source), tree)| *source == peer || names(tree));
        for (vni, source) in others.map(|(key, _)| *key).collect::<Vec<_>>() {
            self.tell_other(vni, source);
        }
        let own = |group: &Group| group.own.as_ref().is_some_and(|own| names(&own.tree));
        let networks = self.groups.networks.iter().filter(|(_, group)| own(group));
        for vni in networks.map(|(vni, _)| *vni).collect::<Vec<_>>() {
            self.tell_own(now, vni);
        }
        self.groups_of(now, peer);
    }

    /// Nobody has this label any more: the trees under it go.
    pub(super) fn drop_trees(&mut self, label: PeerLabel) {
        let told = self.groups.told.keys().filter(|(_, source)| *source == label);
        for (vni, source) in told.copied().collect::<Vec<_>>() {
            if source.is_some() {
                self.tell_place(vni, source, None);
            }
        }
    }

    fn label_of(&self, peer: &PeerId) -> Option<PeerLabel> {
        let label = self.pairs.get(peer).map(|pair| pair.label);
        label.filter(|label| label.is_some())
    }

    /// Copies go while all members are reached by the fast path.
    fn tell_group(&mut self, vni: Vni) {
        let Some(group) = self.groups.networks.get(&vni) else {
            return;
        };
        let is_carried =
            group.members.len() <= MOST_MEMBERS && group.members.iter().all(|peer| self.is_fast(peer));
        let labels: Option<Vec<_>> = group.members.iter().map(|peer| self.label_of(peer)).collect();
        let wanted = labels.filter(|_| is_carried).unwrap_or_default();
        // What an earlier run left stays until all of it is known again, but not while it leaves somebody out.
        let mut known = group.members.iter().filter_map(|peer| self.label_of(peer));
        let is_kept = group.left && wanted.is_empty() && known.all(|label| group.told.contains(&label));
        if is_kept || wanted == group.told {
            return;
        }
        self.out.push(Output::Group {
            vni,
            members: wanted.clone(),
        });
        if let Some(group) = self.groups.networks.get_mut(&vni) {
            (group.told, group.left) = (wanted, false);
        }
    }

    /// This router's place in another's tree, in the kernel's words.
    fn tell_other(&mut self, vni: Vni, source: PeerId) {
        let Some(label) = self.label_of(&source) else {
            return;
        };
        let tree = self.groups.others.get(&(vni, source));
        let may = |tree: &&Tree| {
            let hops = tree.children.iter().chain(&tree.parent);
            tree.children.is_empty() || self.may_branch(hops, Some(&source))
        };
        let place = tree.filter(may).and_then(|tree| {
            let parent = self.label_of(tree.parent.as_ref()?)?;
            let children = self.labels_of(&tree.children)?;
            Some(Place {
                parent,
                children,
                ..Place::default()
            })
        });
        self.tell_place(vni, label, place);
    }

    /// True if frames that are passed on over these hops may be seen by who passes them on: where the kernel encrypts,
    /// it does so only from hop to hop.
    fn may_branch<'a>(&self, mut hops: impl Iterator<Item = &'a PeerId>, source: Option<&PeerId>) -> bool {
        let allows = |peer: &PeerId| self.pairs.get(peer).is_some_and(|pair| pair.relay);
        let from = self.relay && source.is_none_or(allows);
        hops.all(|hop| !self.is_covered(hop) || from && allows(hop))
    }

    fn labels_of(&self, peers: &[PeerId]) -> Option<Vec<PeerLabel>> {
        let labels = peers.iter().map(|peer| self.label_of(peer));
        labels
            .collect::<Option<Vec<_>>>()
            .filter(|labels| labels.len() <= MOST_BRANCHES)
    }

    fn tell_place(&mut self, vni: Vni, source: PeerLabel, place: Option<Place>) {
        let was_left = self.groups.left.remove(&(vni, source));
        if self.groups.told.get(&(vni, source)) == place.as_ref() && !was_left {
            return;
        }
        match &place {
            Some(place) => drop(self.groups.told.insert((vni, source), place.clone())),
            None => drop(self.groups.told.remove(&(vni, source))),
        }
        self.out.push(Output::Tree { vni, source, place });
    }

    /// This router's own tree; frames take it once all members have answered a probe, and all are fast.
    fn tell_own(&mut self, now: Instant, vni: Vni) {
        let Some(group) = self.groups.networks.get(&vni) else {
            return;
        };
        let place = group.own.as_ref().and_then(|own| {
            let root = own.tree.root.as_ref()?;
            let is_whole = root.reached.len() == group.members.len()
                && group
                    .members
                    .iter()
                    .all(|peer| root.reached.contains(peer) && self.is_fast(peer));
            let is_proven = own.used.is_some() && own.proof.is_proven() && !own.proof.is_held(now);
            let may = root.depth <= 1 || self.may_branch(own.tree.children.iter(), None);
            Some(Place {
                parent: PeerLabel::NONE,
                children: self.labels_of(&own.tree.children)?,
                depth: Some(root.depth).filter(|depth| *depth <= MAX_HOPS)?,
                ready: is_whole && is_proven && may,
            })
        });
        let is_kept = self.groups.own_until.is_some() && self.groups.left.contains(&(vni, PeerLabel::NONE));
        if is_kept && !place.as_ref().is_some_and(|place| place.ready) {
            return;
        }
        self.tell_place(vni, PeerLabel::NONE, place);
    }

    /// A member answered a probe along a tree; false if it was none.
    pub(super) fn tree_answered(&mut self, now: Instant, from: PeerId, number: u64) -> bool {
        let asked = |group: &mut Group| {
            let own = group.own.as_mut()?;
            own.asked.as_mut().filter(|(asked, _)| *asked == number)?;
            Some(())
        };
        let found = self
            .groups
            .networks
            .iter_mut()
            .find_map(|(vni, group)| asked(group).map(|()| *vni));
        let Some(vni) = found else { return false };
        let group = self.groups.networks.get_mut(&vni);
        if let Some(own) = group.and_then(|group| group.own.as_mut())
            && let Some((_, missing)) = &mut own.asked
        {
            missing.remove(&from);
            if missing.is_empty() {
                own.asked = None;
                own.proof.answered(now, number);
                self.tell_own(now, vni);
            }
        }
        true
    }

    /// Time has come.
    pub(super) fn tick_groups(&mut self, now: Instant) {
        let mtu = self.config.mtu;
        let mut looked_at = Vec::new();
        for (vni, group) in &mut self.groups.networks {
            group.moving = group.moving.filter(|until| now < *until);
            let Some(own) = &mut group.own else { continue };
            let Some(used) = own.used else { continue };
            if used <= now {
                (own.used, own.asked) = (None, None);
                looked_at.push(*vni);
                continue;
            }
            if group.moving.is_some() {
                continue;
            }
            let before = (own.proof.is_proven(), own.proof.is_held(now));
            let held_until = own.proof.held_until();
            // Every member answers: the larger the network, the more seldom it is asked.
            if let Step::Ask { small } = own.proof.step(now, self.number, false, group.members.len()) {
                own.asked = Some((self.number, group.members.iter().copied().collect()));
                self.out.push(Output::ProbeTree {
                    vni: *vni,
                    number: self.number,
                    size: if small { proof::SMALL } else { mtu },
                });
                self.number = self.number.wrapping_add(1);
            }
            if before != (own.proof.is_proven(), own.proof.is_held(now))
                || held_until != own.proof.held_until()
            {
                looked_at.push(*vni);
            }
        }
        if self.groups.own_until.is_some_and(|until| until <= now) {
            self.groups.own_until = None;
            looked_at.extend(self.groups.networks.keys());
        }
        for vni in looked_at {
            self.tell_own(now, vni);
        }
        for (vni, source) in self.groups.others.tick(now) {
            self.tell_other(vni, source);
        }
        if self.groups.left_until.is_some_and(|until| until <= now) {
            self.groups.left_until = None;
            for (vni, source) in std::mem::take(&mut self.groups.left) {
                self.out.push(Output::Tree {
                    vni,
                    source,
                    place: None,
                });
            }
            for group in self.groups.networks.values_mut() {
                group.left = false;
            }
            for vni in self.groups.networks.keys().copied().collect::<Vec<_>>() {
                self.tell_group(vni);
            }
        }
    }
}
