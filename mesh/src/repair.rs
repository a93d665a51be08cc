//! Comparing records with neighbours: at link-up, and every half minute in case anything was missed.

use crate::bucket::Bucket;
use crate::digest;
use crate::gossip::pack;
use crate::record::Record;
use crate::store::sums::BUCKETS;
use crate::wire::{Ask, Differ, Held, Message};
use crate::{DropReason, Instant, LinkId, Mesh, PeerId};
use rand::RngExt as _;
use std::collections::BTreeSet;
use std::sync::Arc;
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
/// How long a root waits for its answer before the neighbour's own is answered in any case.
const ROOT_WAIT: Duration = Duration::from_secs(5);
/// How long lists wait for the next answer before a new comparison begins.
const LIST_WAIT: Duration = Duration::from_secs(60);
/// Comparisons in which a neighbour may have everything listed at once, and per minute.
const SUMS_BURST: u32 = 4;
const SUMS_RATE: u32 = 12;

/// How far a comparison over one link is: what may come next. One end leads it; if both begin at once, that with
/// the lower id does. Else both would ask for the same records twice.
#[derive(Debug)]
pub(crate) struct Turn {
    /// When we sent the root that waits for its answer.
    asked: Option<Instant>,
    /// Lists that we sent and that are not answered to the end.
    lists: usize,
    /// When the last part of an answer came.
    progress: Instant,
    /// Marks of our records of which the other end has newer ones, by the parts of one answer so far.
    older: BTreeSet<u64>,
    /// The buckets that the other end may still list.
    open: [bool; BUCKETS],
    /// The bucket that it lists in several parts, and where the next one begins.
    cut: Option<(u8, u64)>,
    /// Parts of answers from which the other end may still ask for records.
    shown: usize,
    sums: Bucket,
}

impl Turn {
    fn new(now: Instant) -> Self {
        Self {
            asked: None,
            lists: 0,
            progress: now,
            older: BTreeSet::new(),
            open: [false; BUCKETS],
            cut: None,
            shown: 0,
            sums: Bucket::new(now, SUMS_BURST, SUMS_RATE),
        }
    }

    fn begin(&mut self, now: Instant) {
        self.asked = Some(now);
        self.listed(now, 0);
    }

    fn is_asking(&self, now: Instant) -> bool {
        self.asked.is_some_and(|at| now.since(at) < ROOT_WAIT)
    }

    fn is_listing(&self, now: Instant) -> bool {
        self.lists > 0 && now.since(self.progress) < LIST_WAIT
    }

    fn listed(&mut self, now: Instant, lists: usize) {
        (self.lists, self.progress) = (lists, now);
        self.older.clear();
    }

    /// The other end may list everything once.
    fn open(&mut self) {
        (self.open, self.cut, self.shown) = ([true; BUCKETS], None, 0);
    }

    /// A list came. False if it was not asked for.
    fn take_list(&mut self, list: &Held) -> bool {
        let first = list.buckets.first().copied().unwrap_or_default();
        if list.from != 0 {
            if self.cut != Some((first, list.from)) {
                return false;
            }
        } else if !list.buckets.iter().all(|bucket| self.open[usize::from(*bucket)]) {
            return false;
        }
        for bucket in &list.buckets {
            self.open[usize::from(*bucket)] = false;
        }
        self.cut = list.to.checked_add(1).map(|next| (first, next));
        true
    }

    /// An answer came, or a part of it. False if it was not asked for.
    fn take_answer(&mut self, now: Instant) -> bool {
        self.progress = now;
        self.lists > 0
    }

    /// A question came. False if nothing was shown that it could be about.
    fn take_question(&mut self) -> bool {
        let is_asked = self.shown > 0;
        self.shown -= usize::from(is_asked);
        is_asked
    }
}

impl Mesh {
    /// Begins a comparison.
    pub(crate) fn compare(&mut self, now: Instant, link: LinkId) {
        self.turn(now, link).begin(now);
        self.store.fade(now);
        let root = self.store.root();
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
        // Who is being turned away is no neighbour, and nobody would ever take its round out again.
        let Some(link) = self.links.get_mut(link).filter(|link| link.is_up()) else {
            return;
        };
        if link.hurried.is_none_or(|last| now.since(last) >= HURRY_PACE) {
            link.hurried = Some(now);
            let soon = now + HURRY;
            let round = self.rounds.entry(peer).or_insert(soon);
            *round = soon.min(*round);
        }
    }

    /// Begins the comparisons whose time has come, but none where one is under way.
    pub(crate) fn compare_if_due(&mut self, now: Instant) {
        let due: Vec<_> = self
            .rounds
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(peer, _)| *peer)
            .collect();
        for peer in due {
            self.plan_round(now, peer);
            let Some(link) = self.links.with(&peer).map(|link| link.id) else {
                continue;
            };
            self.compare_books(link);
            let turn = self.turn(now, link);
            if !turn.is_asking(now) && !turn.is_listing(now) {
                self.compare(now, link);
            }
        }
    }

    fn turn(&mut self, now: Instant, link: LinkId) -> &mut Turn {
        if !self.turns.contains_key(&link) {
            let links = &self.links;
            self.turns.retain(|link, _| links.get(*link).is_some());
        }
        self.turns.entry(link).or_insert_with(|| Turn::new(now))
    }

    /// A message of a comparison came.
    pub(crate) fn repair_message(&mut self, now: Instant, id: LinkId, message: &Message) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        let peer = link.peer;
        if !link.repairs.take(now) {
            return self.out.drop(DropReason::ControlRate);
        }
        self.store.fade(now);
        let done = match message {
            Message::Root(theirs) => self.root_message(now, id, &peer, theirs),
            Message::Buckets(theirs) => self.buckets_message(now, id, theirs),
            Message::Held(theirs) => self.held_message(now, id, theirs),
            Message::Differ(theirs) => self.differ_message(now, id, theirs),
            Message::Ask(theirs) => self.ask_message(now, id, theirs),
            _ => Ok(()),
        };
        if let Err(reason) = done {
            self.out.drop(reason);
        }
    }

    fn root_message(
        &mut self,
        now: Instant,
        id: LinkId,
        peer: &PeerId,
        theirs: &[u8; 32],
    ) -> Result<(), DropReason> {
        let is_first = self.own.id < *peer;
        let is_same = self.store.root() == *theirs;
        let turn = self.turn(now, id);
        if turn.is_listing(now) || (turn.is_asking(now) && is_first) {
            // Ours repairs both ends.
            return Ok(());
        }
        turn.asked = None;
        if is_same {
            self.out.send(id, Message::Buckets(Vec::new()));
            return Ok(());
        }
        if !turn.sums.take(now) {
            return Err(DropReason::ControlRate);
        }
        turn.open();
        self.out.send(id, Message::Buckets(self.store.sums().short()));
        Ok(())
    }

    fn buckets_message(&mut self, now: Instant, id: LinkId, theirs: &[u64]) -> Result<(), DropReason> {
        if !theirs.is_empty() && theirs.len() != BUCKETS {
            return Err(DropReason::MalformedMessage);
        }
        self.turn(now, id)
            .asked
            .take()
            .ok_or(DropReason::UnaskedMessage)?;
        let sums = self.store.sums();
        let lists = digest::list(sums, &sums.differing(theirs));
        self.turn(now, id).listed(now, lists.len());
        for list in lists {
            self.out.send(id, Message::Held(list));
        }
        Ok(())
    }

    fn held_message(&mut self, now: Instant, id: LinkId, theirs: &Held) -> Result<(), DropReason> {
        if !theirs.is_sound() {
            return Err(DropReason::MalformedMessage);
        }
        if !self.turn(now, id).take_list(theirs) {
            return Err(DropReason::UnaskedMessage);
        }
        for answer in digest::answer(self.store.sums(), theirs) {
            self.turn(now, id).shown += usize::from(!answer.have.is_empty());
            self.out.send(id, Message::Differ(answer));
        }
        Ok(())
    }

    fn differ_message(&mut self, now: Instant, id: LinkId, theirs: &Differ) -> Result<(), DropReason> {
        if !theirs.is_sound() {
            return Err(DropReason::MalformedMessage);
        }
        if !self.turn(now, id).take_answer(now) {
            return Err(DropReason::UnaskedMessage);
        }
        let mut older = std::mem::take(&mut self.turn(now, id).older);
        if let Some(ask) = digest::question(&self.store, theirs, &mut older) {
            self.out.send(id, Message::Ask(ask));
        }
        let turn = self.turn(now, id);
        if theirs.more {
            turn.older = older;
            return Ok(());
        }
        turn.lists -= 1;
        let mut give = digest::find(self.store.sums(), &theirs.buckets, &theirs.want.0);
        give.retain(|record| !older.contains(&record.mark()));
        self.give(id, &give);
        Ok(())
    }

    fn ask_message(&mut self, now: Instant, id: LinkId, theirs: &Ask) -> Result<(), DropReason> {
        if !theirs.is_sound() {
            return Err(DropReason::MalformedMessage);
        }
        if !self.turn(now, id).take_question() {
            return Err(DropReason::UnaskedMessage);
        }
        let give = digest::find(self.store.sums(), &theirs.buckets, &theirs.marks.0);
        self.give(id, &give);
        Ok(())
    }

    /// Sends these records, as far as they fit into one reply.
    fn give(&mut self, link: LinkId, records: &[Arc<Record>]) {
        let mut room = MAX_REPLY;
        let records = records.iter().take_while(|record| {
            let size = record.bytes().len();
            let fits = size <= room;
            room = room.saturating_sub(size);
            fits
        });
        for packet in pack(records) {
            self.out.carry(link, packet);
        }
    }
}

#[cfg(test)]
mod tests;
