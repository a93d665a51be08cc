//! What every router says of its own links: the link-state database as routing sees it.
//!
//! The record store puts in the body of each verified `LinkState` record; [`route`](crate::Routes) reads links
//! out of it. A link is there only when each end lists the other.

use crate::{LinkLabel, PeerId, ShortId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One end's view of one of its links, as its signed `LinkState` record carries it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adjacency {
    /// The router at the other end. Records would be three times as large with whole ids; the store knows no two
    /// routers whose short ones are the same.
    pub neighbor: ShortId,
    /// The origin's own label for this link; relayed packets name the link by it. Zero: nothing is relayed
    /// over it.
    pub label: LinkLabel,
    /// One-way delay.
    pub delay: Delay,
    /// Largest IP packet, in bytes, proven to cross the direct data path to the neighbour; 0 while there is
    /// none: such a link carries control messages only.
    pub mtu: u16,
}

impl Adjacency {
    /// One-way delay in microseconds, as all routers take it.
    #[must_use]
    pub fn delay_us(&self) -> u32 {
        self.delay.us()
    }
}

/// A delay in one byte: its four highest bits count, so steps are of at most an eighth, from one microsecond to
/// more than an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Delay(u8);

impl Delay {
    /// The longest that is not longer than this; at least one microsecond.
    #[must_use]
    pub fn from_us(us: u64) -> Self {
        let us = u32::try_from(us).unwrap_or(u32::MAX).max(1);
        let shift = (u32::BITS - us.leading_zeros()).saturating_sub(4);
        // Up to 15 as it is; after that eight steps to each power of two.
        let code = shift * 8 + (us >> shift);
        Self(u8::try_from(code).unwrap_or(u8::MAX))
    }

    /// In microseconds.
    #[must_use]
    pub fn us(self) -> u32 {
        let code = u32::from(self.0).min(Self::LAST);
        match code {
            0..16 => code,
            _ => (8 + code % 8) << (code / 8 - 1),
        }
    }

    /// The code of the longest; those above mean the same.
    const LAST: u32 = 28 * 8 + 15;
}

/// The adjacencies of every known router, keyed by origin. A link counts only when each end lists it.
#[derive(Debug, Clone, Default)]
pub struct Topology {
    /// Sorted by neighbour, one each.
    origins: BTreeMap<PeerId, Vec<Adjacency>>,
    /// Counts changes.
    version: u64,
}

impl Topology {
    /// Replaces what `origin` says of its links. Returns true if that changed anything.
    ///
    /// The order given does not matter. Of several with one neighbour the lowest label counts; a link with
    /// itself does not. So all routers read the same out of one record, however odd it is.
    pub fn set(&mut self, origin: PeerId, mut adjacencies: Vec<Adjacency>) -> bool {
        adjacencies.retain(|adjacency| adjacency.neighbor != origin.short());
        adjacencies.sort_unstable_by_key(|adj| (adj.neighbor, adj.label, adj.delay, adj.mtu));
        adjacencies.dedup_by_key(|adjacency| adjacency.neighbor);
        if self.origins.get(&origin) == Some(&adjacencies) {
            return false;
        }
        self.origins.insert(origin, adjacencies);
        self.version += 1;
        true
    }

    /// Forgets `origin`. Returns true if it was known.
    pub fn remove(&mut self, origin: &PeerId) -> bool {
        let was_known = self.origins.remove(origin).is_some();
        self.version += u64::from(was_known);
        was_known
    }

    /// Another number after every change.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// What `origin` says of its links, in the order of the neighbours; empty if unknown.
    #[must_use]
    pub fn adjacencies(&self, origin: &PeerId) -> &[Adjacency] {
        self.origins.get(origin).map_or(&[], Vec::as_slice)
    }

    /// What `from` says of its link to `to`, if `to` also lists `from`.
    #[must_use]
    pub fn link(&self, from: &PeerId, to: &PeerId) -> Option<&Adjacency> {
        self.listed(to, from).and_then(|_| self.listed(from, to))
    }

    /// The links of `from`, in the order of the neighbours: what it says of each, and what the other end says.
    pub fn links(&self, from: PeerId) -> impl Iterator<Item = (&Adjacency, &Adjacency)> {
        let ours = self.adjacencies(&from).iter();
        ours.filter_map(move |ours| Some((ours, self.listed(&self.named(ours.neighbor)?, &from)?)))
    }

    /// The origin with this short id.
    #[must_use]
    pub fn named(&self, short: ShortId) -> Option<PeerId> {
        let mut least = [0; 32];
        least[..8].copy_from_slice(&short.0);
        let (id, _) = self.origins.range(PeerId(least)..).next()?;
        (id.short() == short).then_some(*id)
    }

    /// All origins, in order of their ids.
    pub fn origins(&self) -> impl Iterator<Item = &PeerId> {
        self.origins.keys()
    }

    /// What `from` says of `to`, whatever `to` says.
    fn listed(&self, from: &PeerId, to: &PeerId) -> Option<&Adjacency> {
        let list = self.adjacencies(from);
        list.binary_search_by_key(&to.short(), |adjacency| adjacency.neighbor)
            .ok()
            .and_then(|at| list.get(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adjacency(neighbor: u8, label: u16) -> Adjacency {
        Adjacency {
            neighbor: PeerId([neighbor; 32]).short(),
            label: LinkLabel(label),
            delay: Delay::from_us(100),
            mtu: 1400,
        }
    }

    #[test]
    fn a_link_needs_both_ends() {
        let [a, b] = [PeerId([1; 32]), PeerId([2; 32])];
        let mut topology = Topology::default();
        assert!(topology.set(a, vec![adjacency(2, 5)]));
        assert_eq!(topology.link(&a, &b), None);
        assert_eq!(topology.links(a).count(), 0);
        assert!(topology.set(b, vec![adjacency(1, 6)]));
        assert_eq!(topology.link(&a, &b).map(|link| link.label), Some(LinkLabel(5)));
        assert_eq!(
            topology
                .links(b)
                .map(|(ours, theirs)| (ours.label.0, theirs.label.0))
                .collect::<Vec<_>>(),
            [(6, 5)]
        );
        assert!(topology.remove(&a) && !topology.remove(&a));
        assert_eq!(topology.link(&b, &a), None);
    }

    #[test]
    fn order_repetition_and_self_links_do_not_matter() {
        let a = PeerId([1; 32]);
        let mut topology = Topology::default();
        assert!(topology.set(
            a,
            vec![adjacency(3, 9), adjacency(2, 8), adjacency(3, 4), adjacency(1, 1)]
        ));
        assert!(!topology.set(a, vec![adjacency(2, 8), adjacency(3, 4)]));
        assert_eq!(topology.adjacencies(&a), [adjacency(2, 8), adjacency(3, 4)]);
    }

    #[test]
    fn delays_in_one_byte_are_close() {
        for us in (0..=20).chain([999, 1_000_000, u64::from(u32::MAX), u64::MAX]) {
            let delay = Delay::from_us(us);
            let (rounded, exact) = (u64::from(delay.us()), us.clamp(1, u64::from(u32::MAX)));
            assert!(rounded <= exact && exact - rounded <= exact / 8, "{us}");
            assert_eq!(Delay::from_us(rounded), delay);
        }
        assert!((0..u8::MAX).all(|code| Delay(code).us() <= Delay(code + 1).us()));
    }
}
