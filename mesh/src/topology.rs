//! What every router says of its own links, as its signed `LinkState` record carries it. `graph/` makes two-way
//! links of it.

use crate::graph::Known;
use crate::graph::told::Links;
use crate::{Directory, LinkLabel, Number, PeerId, ShortId};
use serde::{Deserialize, Serialize};

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

/// A delay in one byte: sixteen steps to each power of two, from 4 µs to 2 s, so that it is at most a thirtieth off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Delay(u8);

impl Delay {
    /// The codes up to 31 count units of four microseconds: so many bits.
    const UNIT: u32 = 2;

    /// The one nearest to this many microseconds, but never none.
    #[must_use]
    pub fn from_us(us: u64) -> Self {
        let us = u32::try_from(us).unwrap_or(u32::MAX);
        // The five highest bits count.
        let shift = (u32::BITS - us.leading_zeros()).saturating_sub(5).max(Self::UNIT);
        let rounded = us.saturating_add((1 << shift) / 2) >> shift;
        let code = (shift - Self::UNIT) * 16 + rounded;
        Self(u8::try_from(code.max(1)).unwrap_or(u8::MAX))
    }

    /// In microseconds.
    #[must_use]
    pub fn us(self) -> u32 {
        let code = u32::from(self.0);
        match code {
            0..32 => code << Self::UNIT,
            _ => (16 + code % 16) << (code / 16 - 1 + Self::UNIT),
        }
    }

    /// The byte.
    pub(crate) fn code(self) -> u8 {
        self.0
    }

    /// The delay that a byte stands for.
    pub(crate) fn of_code(code: u8) -> Self {
        Self(code)
    }
}

/// Routers and what they say of their links: for trying out trees without a core, whose store knows all that.
#[derive(Debug, Default)]
pub(crate) struct Told {
    directory: Directory,
    /// By number: sorted by neighbour, one each.
    lists: Vec<Vec<Adjacency>>,
}

/// Puts a list in order: by neighbour. Of several links with one neighbour the lowest label counts.
pub(crate) fn in_order(mut links: Vec<Adjacency>) -> Vec<Adjacency> {
    links.sort_unstable_by_key(|link| (link.neighbor, link.label, link.delay, link.mtu));
    links.dedup_by_key(|link| link.neighbor);
    links
}

impl Told {
    /// The number of a router, which it gets if it has none. `None` if another one has the same short id.
    pub(crate) fn admit(&mut self, id: PeerId) -> Option<Number> {
        let number = self.directory.admit(id)?;
        if self.lists.len() <= number.index() {
            self.lists.resize_with(number.index() + 1, Vec::new);
        }
        Some(number)
    }

    /// The number of a router.
    #[cfg(test)]
    pub(crate) fn find(&self, id: &PeerId) -> Option<Number> {
        self.directory.number(id)
    }

    /// Replaces what a router says of its links; returns what it said before.
    pub(crate) fn set(&mut self, of: Number, links: Vec<Adjacency>) -> Vec<Adjacency> {
        match self.lists.get_mut(of.index()) {
            Some(list) => std::mem::replace(list, links),
            None => Vec::new(),
        }
    }

    /// Forgets a router; its number rests.
    #[cfg(test)]
    pub(crate) fn remove(&mut self, id: &PeerId) -> Option<Number> {
        let number = self.directory.number(id)?;
        self.directory.remove(number);
        self.lists[number.index()] = Vec::new();
        Some(number)
    }

    /// A number has rested long enough.
    #[cfg(test)]
    pub(crate) fn free(&mut self, number: Number) {
        self.directory.free(number);
    }
}

impl Known for Told {
    fn numbers(&self) -> usize {
        self.directory.bound()
    }

    fn number(&self, short: ShortId) -> Option<Number> {
        self.directory.named(short)
    }

    fn id(&self, number: Number) -> Option<&PeerId> {
        self.directory.id(number)
    }

    fn links(&self, of: Number) -> &[Adjacency] {
        self.lists.get(of.index()).map_or(&[], Vec::as_slice)
    }

    fn root_named_by(&self, _: Number) -> Option<Number> {
        None
    }
}

/// What routers say of their links, and which of these links are there: for trying out trees without a core.
#[derive(Debug, Default)]
pub struct Topology {
    pub(crate) told: Told,
    pub(crate) links: Links,
}

impl Topology {
    /// Replaces what `origin` says of its links. A link with itself does not count, nor one that the other end
    /// does not list.
    pub fn set(&mut self, origin: PeerId, adjacencies: Vec<Adjacency>) {
        if let Some(number) = self.told.admit(origin) {
            let old = self.told.set(number, in_order(adjacencies));
            self.links.renew(&self.told, None, number, &old);
        }
    }

    /// What `from` says of its link to `to`, if `to` also lists `from`.
    #[cfg(test)]
    pub(crate) fn link(&self, from: &PeerId, to: &PeerId) -> Option<&Adjacency> {
        let (from, to) = (self.told.find(from)?, self.told.find(to)?);
        self.links.slab.get(from, to)?;
        crate::graph::told_of(&self.told, from, to)
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
        topology.set(a, vec![adjacency(2, 5)]);
        assert_eq!(topology.link(&a, &b), None);
        topology.set(b, vec![adjacency(1, 6)]);
        let label = |from, to| topology.link(from, to).map(|link| link.label.0);
        assert_eq!((label(&a, &b), label(&b, &a)), (Some(5), Some(6)));
        let number = topology.told.remove(&a).unwrap();
        topology.links.forget(number);
        assert_eq!(topology.link(&b, &a), None);
        topology.told.free(number);
        topology.set(a, vec![adjacency(2, 5)]);
        assert!(topology.link(&b, &a).is_some());
    }

    #[test]
    fn order_repetition_and_self_links_do_not_matter() {
        let a = PeerId([1; 32]);
        let mut topology = Topology::default();
        topology.set(
            a,
            vec![adjacency(3, 9), adjacency(2, 8), adjacency(3, 4), adjacency(1, 1)],
        );
        let number = topology.told.find(&a).unwrap();
        assert_eq!(
            topology.told.links(number),
            [adjacency(1, 1), adjacency(2, 8), adjacency(3, 4)]
        );
        assert!(topology.links.slab.list(number).is_empty());
    }

    #[test]
    fn delays_in_one_byte_are_close() {
        for us in (0..=2000).chain([999_999, 1_000_000, 2_000_000, u64::from(u32::MAX), u64::MAX]) {
            let delay = Delay::from_us(us);
            let (rounded, exact) = (u64::from(delay.us()), us.clamp(4, 2_031_616));
            let off = rounded.abs_diff(exact);
            assert!(off <= 2 || off * 32 <= exact, "{us}: {rounded}");
            assert_eq!(Delay::from_us(rounded), delay);
        }
        assert!((0..u8::MAX).all(|code| Delay(code).us() <= Delay(code + 1).us()));
    }
}
