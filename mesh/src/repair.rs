//! Comparing records with neighbours: at link-up, and every half minute in case anything was missed.

use crate::digest::{self, MAX_KEYS, Summary};
use crate::gossip::pack;
use crate::record::Key;
use crate::wire::Message;
use crate::{DropReason, Instant, LinkId, Mesh, PeerId};
use rand::RngExt as _;
use std::time::Duration;

/// Between two comparisons with one neighbour, give or take a fifth.
const EVERY_MS: u64 = 30_000;
/// Before one with a neighbour that has much that is new.
const SOON_MS: std::ops::RangeInclusive<u64> = 2000..=5000;
/// Bytes of records that are sent for one request; what is missing then comes with the next comparison.
const MAX_REPLY: usize = 4 << 20;

/// How long a comparison that is needed waits for what is on its way.
const HURRY: Duration = Duration::from_millis(500);
/// Least time between two such comparisons with one neighbour.
const HURRY_PACE: Duration = Duration::from_secs(10);
/// Routers that could not be reached for so long are not passed on.
const PASSED_ON: Duration = Duration::from_secs(60);

impl Mesh {
    /// Begins a comparison.
    pub(crate) fn compare(&mut self, now: Instant, link: LinkId) {
        let root = self.summary(now).root;
        self.out.send(link, Message::Root(root));
    }

    /// Plans the next comparison with a neighbour.
    pub(crate) fn plan_round(&mut self, now: Instant, peer: PeerId) {
        let wait = self.rng.random_range(EVERY_MS * 4 / 5..=EVERY_MS * 6 / 5);
        self.rounds.insert(peer, now + Duration::from_millis(wait));
    }

    /// A neighbour has more that is new than it can list: compare soon, if it is not brought by others by then.
    pub(crate) fn plan_round_soon(&mut self, now: Instant, peer: PeerId) {
        let wait = Duration::from_millis(self.rng.random_range(SOON_MS));
        if let Some(at) = self.rounds.get_mut(&peer) {
            *at = (*at).min(now + wait);
        }
    }

    /// This neighbour holds something that is missing here: the next comparison comes soon, but not again and again.
    pub(crate) fn compare_soon(&mut self, now: Instant, link: LinkId, peer: PeerId) {
        let Some(link) = self.links.get_mut(link) else {
            return;
        };
        if link.hurried.is_none_or(|last| now.since(last) >= HURRY_PACE) {
            link.hurried = Some(now);
            let soon = now + HURRY;
            let round = self.rounds.entry(peer).or_insert(soon);
            *round = soon.min(*round);
        }
    }

    /// Begins the comparisons whose time has come.
    pub(crate) fn compare_if_due(&mut self, now: Instant) {
        let due: Vec<_> = self
            .rounds
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(peer, _)| *peer)
            .collect();
        for peer in due {
            self.plan_round(now, peer);
            if let Some(link) = self.links.with(&peer).map(|link| link.id) {
                self.compare(now, link);
            }
        }
    }

    /// A message of a comparison came.
    pub(crate) fn repair_message(&mut self, now: Instant, link: LinkId, message: &Message) {
        if self
            .links
            .get_mut(link)
            .is_none_or(|link| !link.repairs.take(now))
        {
            return self.out.drop(DropReason::ControlRate);
        }
        match message {
            Message::Root(theirs) => {
                let ours = self.summary(now);
                if ours.root != *theirs {
                    self.out.send(link, Message::Buckets(ours.buckets));
                }
            }
            Message::Buckets(theirs) => {
                let differing = self.summary(now).differing(theirs);
                for keys in digest::list(&self.store, |id| self.covers(now, id), &differing) {
                    self.out.send(link, Message::Keys(keys));
                }
            }
            Message::Keys(theirs) => {
                let (pull, push) = digest::compare(&self.store, |id| self.covers(now, id), theirs);
                self.give(link, &push);
                for keys in pull.chunks(MAX_KEYS) {
                    self.out.send(link, Message::Pull(keys.to_vec()));
                }
            }
            Message::Pull(keys) => self.give(link, keys),
            _ => {}
        }
    }

    /// Sends the records of these keys, as far as they are here.
    fn give(&mut self, link: LinkId, keys: &[Key]) {
        let mut room = MAX_REPLY;
        let records = keys.iter().filter_map(|key| self.store.get(key));
        let records = records.take_while(|record| {
            let size = record.bytes().len();
            let fits = size <= room;
            room = room.saturating_sub(size);
            fits
        });
        for packet in pack(records) {
            self.out.carry(link, packet);
        }
    }

    fn summary(&self, now: Instant) -> Summary {
        Summary::of(&self.store, |id| self.covers(now, id))
    }

    /// Records of routers that nobody reaches any more are not passed around. Those that could not be reached for a
    /// short while are: a router that has just been heard of is not reached yet, and its records would be missed by
    /// a neighbour that comes at this moment.
    fn covers(&self, now: Instant, id: &PeerId) -> bool {
        *id == self.own.id || self.store.unreachable_for(now, id) < PASSED_ON
    }
}
