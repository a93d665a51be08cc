//! Which links paths may take: those with a data path for data, all of them for control messages.

use super::Known;
use super::slab::Slab;
use super::spt::View;
use crate::{DirectPath, Number};
use std::collections::BTreeMap;

fn rank(known: &impl Known, of: Number) -> u64 {
    // No two known routers have the same short id, so its order is the order of the whole ids.
    known
        .id(of)
        .map_or(u64::MAX, |id| u64::from_be_bytes(id.short().0))
}

/// Every two-way link.
pub(crate) struct Control<'a, K> {
    pub(crate) known: &'a K,
    pub(crate) slab: &'a Slab,
}

impl<K: Known> View for Control<'_, K> {
    fn around(&self, of: Number, mut each: impl FnMut(Number)) {
        self.slab.list(of).iter().for_each(|entry| each(entry.to()));
    }

    fn out(&self, from: Number, mut each: impl FnMut(Number, u32)) {
        for entry in self.slab.list(from) {
            each(entry.to(), entry.delay_us());
        }
    }

    fn delay(&self, from: Number, to: Number) -> Option<u32> {
        self.slab.get(from, to).map(super::slab::Entry::delay_us)
    }

    fn rank(&self, of: Number) -> u64 {
        rank(self.known, of)
    }
}

/// Links that relays pass data on, and as first hops this router's own direct paths, which alone tell where it can
/// send by itself.
pub(crate) struct Data<'a, K> {
    pub(crate) known: &'a K,
    pub(crate) slab: &'a Slab,
    pub(crate) own: Number,
    pub(crate) direct: &'a BTreeMap<Number, DirectPath>,
}

impl<K: Known> View for Data<'_, K> {
    fn around(&self, of: Number, mut each: impl FnMut(Number)) {
        if of == self.own {
            return self.direct.keys().for_each(|to| each(*to));
        }
        for entry in self.slab.list(of) {
            if entry.to() != self.own {
                each(entry.to());
            }
        }
        if self.direct.contains_key(&of) {
            each(self.own);
        }
    }

    fn out(&self, from: Number, mut each: impl FnMut(Number, u32)) {
        if from == self.own {
            for (to, path) in self.direct {
                each(*to, path.delay_us);
            }
            return;
        }
        for entry in self.slab.list(from).iter().filter(|entry| entry.relays()) {
            each(entry.to(), entry.delay_us());
        }
    }

    fn delay(&self, from: Number, to: Number) -> Option<u32> {
        if from == self.own {
            return self.direct.get(&to).map(|path| path.delay_us);
        }
        let entry = self.slab.get(from, to).filter(|entry| entry.relays())?;
        Some(entry.delay_us())
    }

    fn rank(&self, of: Number) -> u64 {
        rank(self.known, of)
    }
}

/// Links that broadcast may pass: both ends have a data path.
pub(crate) struct Broadcast<'a, K> {
    pub(crate) known: &'a K,
    pub(crate) slab: &'a Slab,
}

impl<K: Known> View for Broadcast<'_, K> {
    fn around(&self, of: Number, mut each: impl FnMut(Number)) {
        self.slab.list(of).iter().for_each(|entry| each(entry.to()));
    }

    fn out(&self, from: Number, mut each: impl FnMut(Number, u32)) {
        for entry in self.slab.list(from).iter().filter(|entry| entry.carries_data()) {
            each(entry.to(), entry.delay_us());
        }
    }

    fn delay(&self, from: Number, to: Number) -> Option<u32> {
        let entry = self.slab.get(from, to).filter(|entry| entry.carries_data())?;
        Some(entry.delay_us())
    }

    fn rank(&self, of: Number) -> u64 {
        rank(self.known, of)
    }
}
