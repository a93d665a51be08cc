//! The core's part in spreading: who is told to be a parent, what is asked for, and what is given.

use super::MAX_SHOWN;
use crate::gossip::pack;
use crate::wire::{Marks, Message, News};
use crate::{DropReason, Instant, LinkId, Mesh, PeerId};
use std::sync::Arc;

impl Mesh {
    /// Tells neighbours that they became our parent, or ceased to be.
    pub(crate) fn tell_parents(&mut self, now: Instant) {
        for (link, is_parent) in self.spread.take_changes(now) {
            self.out.send(link, Message::Parent(is_parent));
        }
    }

    /// A neighbour chose us as its parent, or left us.
    pub(crate) fn parent_message(&mut self, now: Instant, id: LinkId, peer: &PeerId, is_child: bool) {
        if self.links.get_mut(id).is_some_and(|link| link.parents.take(now)) {
            self.spread.parent_of(peer, id, is_child);
        } else {
            self.out.drop(DropReason::ControlRate);
        }
    }

    /// A keepalive showed what a neighbour has that is new.
    pub(crate) fn shown(&mut self, now: Instant, id: LinkId, peer: PeerId, news: &News) {
        if news.marks.0.len() > MAX_SHOWN {
            self.out.drop(DropReason::ControlRate);
        }
        for mark in news.marks.0.iter().take(MAX_SHOWN) {
            if self.spread.recent.knows(*mark) {
                self.spread.had_by(&peer, *mark);
                continue;
            }
            let Some(link) = self.links.get_mut(id).filter(|link| link.is_up()) else {
                return;
            };
            if !link.marks.take(now) || !self.spread.missing.shown(now, *mark, peer) {
                self.out.drop(DropReason::ControlRate);
            }
        }
        if news.more {
            self.plan_round_soon(now, peer);
        }
    }

    /// Asks for what did not come by itself.
    pub(crate) fn ask(&mut self, now: Instant) {
        let links = &self.links;
        for (peer, marks) in self.spread.missing.due(now, |peer| links.with(peer).is_some()) {
            let Some(link) = links.with(&peer) else { continue };
            for marks in marks.chunks(MAX_SHOWN) {
                self.out.send(link.id, Message::Want(Marks(marks.to_vec())));
            }
        }
    }

    /// A neighbour asks for what we showed it. Of a record that was replaced since it gets the newest.
    pub(crate) fn wanted(&mut self, now: Instant, id: LinkId, marks: &Marks) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        let held = marks
            .0
            .iter()
            .take(MAX_SHOWN)
            .filter_map(|mark| self.spread.recent.get(*mark));
        let newest: Vec<_> = held
            .filter_map(|record| self.store.get(&record.key))
            .map(Arc::clone)
            .collect();
        let bytes: usize = newest.iter().map(|record| record.bytes().len()).sum();
        let cost = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX).max(1);
        if marks.0.len() > MAX_SHOWN || !link.gifts.take_some(now, cost) {
            self.out.drop(DropReason::ControlRate);
            return;
        }
        for packet in pack(newest.iter()) {
            self.out.carry(id, packet);
        }
    }
}
