//! The core's side of addresses: the networks, what their rings want done, and books compared between neighbours.
//!
//! Records of routers that are there spread like all others. Those of routers that are gone leave the store after a
//! while; rings keep them, and neighbours compare their books when they meet and with every comparison of records:
//! one sum; if it differs, each tells which versions it has, and gets what is newer.

use super::{Act, Around, AskMessage, IpamEvent, Pool, Refusal, Request, Ring, Settings, Stored, Trust};
use crate::gossip::pack_as;
use crate::record::{Key, Record, kind};
use crate::store::Store;
use crate::wire::{Batch, BookEntry, BookHave, Message};
use crate::{DropReason, Event, Fdb, FdbChange, Instant, LinkId, Mac, Mesh, Output, PeerId, Vni};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// First byte of messages about space among those that are carried over several hops. Drivers' own ones begin otherwise.
pub const ASK_BYTE: u8 = 0x82;
/// Versions told in one message.
const MAX_ENTRIES: usize = 8192;
/// Records of all networks together.
const MAX_BOOK: usize = 65_536;

/// What a core is told of addresses at its start. Without networks it has nothing to do with them.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Setup {
    /// The networks.
    pub networks: BTreeMap<Vni, Settings>,
    /// What the driver stored in earlier runs.
    pub stored: Stored,
    /// This router knows others, or was told whom to dial: it hears them before it gives out addresses.
    pub knows_others: bool,
}

impl Setup {
    /// Finds out whether a core could take up what was stored.
    ///
    /// # Errors
    /// If it is damaged, or was stored for a smaller range.
    pub fn check(&self) -> Result<(), super::Damaged> {
        let (own, now) = (PeerId([0; 32]), Instant::default());
        for (vni, settings) in &self.networks {
            let rng = StdRng::from_seed([0; 32]);
            Ring::load((own, *vni), settings, &self.stored, self.knows_others, now, rng)?;
        }
        Ok(())
    }
}

/// Addresses of all networks.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    pub(super) rings: BTreeMap<Vni, Ring>,
    /// Which containers are known to have which address, wherever they got it.
    taken: BTreeMap<(Vni, u32), BTreeSet<(PeerId, Mac)>>,
    /// The same the other way round.
    of: BTreeMap<(Vni, Mac), (PeerId, Vec<u32>)>,
}

/// An address in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InUse {
    /// Its network.
    pub vni: Vni,
    /// The addresses of its index.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Whose it is.
    pub holder: String,
}

/// How things stand with a network's addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressView {
    /// The network.
    pub vni: Vni,
    /// Its range.
    pub pool: Pool,
    /// Whether the state was compared with a neighbour's.
    pub trust: Trust,
    /// Addresses by owner; `None`: nobody is known to own them.
    pub shares: Vec<(Option<PeerId>, u32)>,
    /// How many this router could give out without asking.
    pub free: u32,
    /// Addresses that containers of several routers have, and these routers.
    pub doubled: Vec<(IpAddr, Vec<PeerId>)>,
}

/// The mesh as one ring sees it.
struct Seen<'a> {
    store: &'a Store,
    taken: &'a BTreeMap<(Vni, u32), BTreeSet<(PeerId, Mac)>>,
    vni: Vni,
}

impl Around for Seen<'_> {
    fn is_reachable(&self, peer: &PeerId) -> bool {
        self.store.is_reached(peer)
    }

    fn reachable(&self) -> Vec<PeerId> {
        self.store.others_reached().collect()
    }

    fn count(&self) -> usize {
        self.store.count_reached()
    }

    fn is_taken(&self, index: u32) -> bool {
        self.taken.contains_key(&(self.vni, index))
    }
}

impl Addresses {
    /// The networks as they were stored; of one whose state is damaged, the name.
    pub(crate) fn load(own: PeerId, setup: &Setup, now: Instant, seed: [u8; 32]) -> (Self, Vec<Vni>) {
        let (mut addresses, mut damaged) = (Self::default(), Vec::new());
        for (vni, settings) in &setup.networks {
            let rng = StdRng::from_seed(seed);
            match Ring::load((own, *vni), settings, &setup.stored, setup.knows_others, now, rng) {
                Ok(ring) => drop(addresses.rings.insert(*vni, ring)),
                Err(_) => damaged.push(*vni),
            }
        }
        (addresses, damaged)
    }

    /// When there is something to do.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.rings.values().filter_map(Ring::next_timeout).min()
    }

    /// Notes which addresses a container has; returns those that a container of another router has, too.
    fn note(&mut self, vni: Vni, mac: Mac, peer: PeerId, addresses: &[IpAddr]) -> Vec<(IpAddr, PeerId)> {
        self.unnote(vni, mac);
        let Some(ring) = self.rings.get(&vni) else {
            return Vec::new();
        };
        let known: Vec<_> = addresses
            .iter()
            .filter_map(|at| Some((*at, ring.pool().index(*at)?)))
            .collect();
        let mut doubled = Vec::new();
        for (address, index) in &known {
            let holders = self.taken.entry((vni, *index)).or_default();
            let other = holders.iter().find(|(other, _)| *other != peer);
            doubled.extend(other.map(|(other, _)| (*address, *other)));
            holders.insert((peer, mac));
        }
        let indices = known.into_iter().map(|(_, index)| index).collect();
        self.of.insert((vni, mac), (peer, indices));
        doubled
    }

    fn unnote(&mut self, vni: Vni, mac: Mac) {
        let Some((peer, indices)) = self.of.remove(&(vni, mac)) else {
            return;
        };
        for index in indices {
            if let Some(holders) = self.taken.get_mut(&(vni, index)) {
                holders.remove(&(peer, mac));
                if holders.is_empty() {
                    self.taken.remove(&(vni, index));
                }
            }
        }
    }

    /// How many routers the first division of each network waits for, and after what time spare addresses are taken over;
    /// `None` if no addresses are given out here.
    pub(super) fn terms(&self) -> Option<(Option<usize>, Option<Duration>)> {
        self.rings
            .values()
            .next()
            .map(|ring| (ring.init, ring.reclaim_after))
    }

    /// Forgets a network. `None` if there was none, else the requests that wait for addresses of it.
    pub(super) fn close(&mut self, vni: Vni) -> Option<Vec<u64>> {
        let ring = self.rings.remove(&vni)?;
        self.taken.retain(|(other, _), _| *other != vni);
        self.of.retain(|(other, _), _| *other != vni);
        Some(ring.waiting_numbers())
    }

    fn sum(&self) -> u64 {
        self.rings
            .values()
            .fold(0, |sum, ring| sum.wrapping_add(ring.sum()))
    }

    /// How many networks there are whose addresses are given out.
    pub(crate) fn networks(&self) -> usize {
        self.rings.len()
    }

    /// Records kept, all networks together.
    pub(crate) fn size(&self) -> crate::Size {
        crate::Size::new("records of addresses", self.count(), MAX_BOOK)
    }

    fn count(&self) -> usize {
        self.rings.values().map(Ring::count).sum()
    }
}

impl Mesh {
    fn with_ring<R>(&mut self, vni: Vni, act: impl FnOnce(&mut Ring, &dyn Around) -> R) -> Option<R> {
        let Addresses { rings, taken, .. } = &mut self.addresses;
        let ring = rings.get_mut(&vni)?;
        let store = &self.store;
        Some(act(ring, &Seen { store, taken, vni }))
    }

    /// A container wants an address.
    pub(crate) fn allocate(
        &mut self,
        now: Instant,
        vni: Vni,
        number: u64,
        holder: String,
        want: Option<IpAddr>,
    ) {
        let refuse = |refusal| Output::Allocated {
            number,
            result: Err(refusal),
        };
        let Some(ring) = self.addresses.rings.get(&vni) else {
            return self.out.push(refuse(Refusal::Unknown));
        };
        let index = want.map(|want| ring.pool().index(want));
        if index == Some(None) {
            return self.out.push(refuse(Refusal::NotInPool));
        }
        let request = Request {
            number,
            holder,
            want: index.flatten(),
        };
        self.with_ring(vni, |ring, around| ring.allocate(now, request, around));
        self.act_on_addresses(now, vni);
    }

    /// A container is gone.
    pub(crate) fn release(&mut self, now: Instant, vni: Vni, holder: &str) {
        self.with_ring(vni, |ring, _| ring.release(now, holder));
        self.act_on_addresses(now, vni);
    }

    /// The driver has stored a batch.
    pub(crate) fn addresses_kept(&mut self, now: Instant, vni: Vni, number: u64) {
        self.with_ring(vni, |ring, _| ring.kept(now, number));
        self.act_on_addresses(now, vni);
    }

    /// The operator says that a router will not come back.
    pub(crate) fn reclaim(&mut self, now: Instant, number: u64, peer: PeerId) {
        let (mut taken, mut refused) = (None, Refusal::Unknown);
        for vni in self.networks() {
            match self.with_ring(vni, |ring, around| ring.reclaim(now, peer, around)) {
                Some(Ok(count)) => taken = Some(taken.unwrap_or(0) + count),
                Some(Err(refusal)) => refused = refusal,
                None => {}
            }
            self.act_on_addresses(now, vni);
        }
        let result = taken.ok_or(refused);
        self.out.push(Output::Reclaimed { number, result });
    }

    fn networks(&self) -> Vec<Vni> {
        self.addresses.rings.keys().copied().collect()
    }

    /// Does what the rings want.
    pub(crate) fn act_on_addresses(&mut self, now: Instant, vni: Vni) {
        while let Some(act) = self.addresses.rings.get_mut(&vni).and_then(Ring::poll) {
            match act {
                Act::Keep(batch) => self.out.push(Output::KeepAddresses { vni, batch }),
                Act::Issue => self.issue_addresses(now, vni),
                Act::Tell { to, message } => {
                    // Encoding fails only for types of unknown length, and none of ours is one.
                    let payload = postcard::to_extend(&(vni, message), vec![ASK_BYTE]).unwrap_or_default();
                    self.send_to(&to, payload);
                }
                Act::Answer(answer) => {
                    let pool = self.addresses.rings.get(&vni).map(Ring::pool);
                    let addresses = |index| pool.map(|pool| pool.addresses(index)).unwrap_or_default();
                    let result = answer.result.map(addresses);
                    self.out.push(Output::Allocated {
                        number: answer.number,
                        result,
                    });
                }
                Act::Log(event) => self.out.log(Event::Addresses { vni, event }),
            }
        }
    }

    fn issue_addresses(&mut self, now: Instant, vni: Vni) {
        if !self.own.may_issue() {
            return;
        }
        let Some(body) = self.addresses.rings.get_mut(&vni).and_then(Ring::body) else {
            return;
        };
        let record = self.own.issue(kind::IPAM, vni.0.into(), &body);
        if let (Some(record), Some(ring)) = (self.publish(now, record), self.addresses.rings.get_mut(&vni)) {
            ring.issued(now, &record);
        }
    }

    /// All records are issued anew.
    pub(crate) fn renew_addresses(&mut self, now: Instant) {
        for vni in self.networks() {
            self.with_ring(vni, |ring, _| ring.renew(now));
            self.act_on_addresses(now, vni);
        }
    }

    /// Time has passed, or who can be reached has changed.
    pub(crate) fn look_at_addresses(&mut self, now: Instant) {
        for vni in self.networks() {
            self.with_ring(vni, |ring, around| ring.look(now, around));
            self.act_on_addresses(now, vni);
        }
    }

    /// A record about addresses came; it is well-formed and rightly signed. True if it is news.
    pub(crate) fn addresses_told(&mut self, now: Instant, record: &Arc<Record>) -> bool {
        let Some(vni) = record.ipam().map(|body| body.vni) else {
            return false;
        };
        let is_news = self
            .with_ring(vni, |ring, around| ring.learn(now, record, around))
            .unwrap_or_default();
        self.act_on_addresses(now, vni);
        is_news
    }

    /// The version of a router's record that a ring holds.
    pub(crate) fn is_news_of_addresses(&self, record: &Record) -> bool {
        let ring = record.ipam().and_then(|body| self.addresses.rings.get(&body.vni));
        ring.is_some_and(|ring| {
            ring.version(&record.key.origin)
                .is_none_or(|version| version < record.version)
        })
    }

    /// A message about space came.
    pub(crate) fn asked_for_addresses(&mut self, now: Instant, from: PeerId, payload: &[u8]) {
        match postcard::take_from_bytes::<(Vni, AskMessage)>(payload) {
            Ok(((vni, message), _)) => {
                self.with_ring(vni, |ring, around| ring.told_by(now, from, &message, around));
                self.act_on_addresses(now, vni);
            }
            Err(_) => self.out.drop(DropReason::MalformedMessage),
        }
    }

    /// Where containers are has changed, here or elsewhere.
    pub(crate) fn note_container(&mut self, vni: Vni, mac: Mac, peer: PeerId, addresses: Option<&[IpAddr]>) {
        let Some(addresses) = addresses else {
            return self.addresses.unnote(vni, mac);
        };
        for (address, other) in self.addresses.note(vni, mac, peer, addresses) {
            let peers = [other.min(peer), other.max(peer)];
            let event = IpamEvent::Doubled { address, peers };
            self.out.log(Event::Addresses { vni, event });
        }
    }

    /// Passes on what changes in the forwarding table, and notes whose addresses those are.
    pub(crate) fn fdb_changed(&mut self, changes: Vec<Fdb>) {
        for fdb in changes {
            match &fdb.change {
                FdbChange::Set { mac, peer, addresses } => {
                    self.note_container(fdb.vni, *mac, *peer, Some(addresses));
                }
                FdbChange::Remove { mac } => self.note_container(fdb.vni, *mac, self.own.id, None),
                FdbChange::Members(_) => {}
            }
            self.out.push(Output::Fdb(fdb));
        }
    }

    /// Begins to compare books with a neighbour.
    pub(crate) fn compare_books(&mut self, link: LinkId) {
        if !self.addresses.rings.is_empty() {
            self.out.send(link, Message::BookRoot(self.addresses.sum()));
        }
    }

    /// A message of that comparison came.
    pub(crate) fn book_message(&mut self, now: Instant, id: LinkId, message: &Message) {
        let is_allowed = self.links.get_mut(id).is_some_and(|link| link.repairs.take(now));
        match message {
            _ if self.addresses.rings.is_empty() => {}
            Message::BookGive(give) => self.book_given(now, id, &give.records, give.last),
            _ if !is_allowed => self.out.drop(DropReason::ControlRate),
            Message::BookRoot(theirs) if *theirs == self.addresses.sum() => self.exchanged(now, id),
            Message::BookRoot(_) => self.tell_book(id),
            Message::BookHave(have) => self.give_book(id, have),
            _ => {}
        }
    }

    fn exchanged(&mut self, now: Instant, link: LinkId) {
        let Some(with) = self.links.get(link).map(|link| link.peer) else {
            return;
        };
        for vni in self.networks() {
            self.with_ring(vni, |ring, around| ring.exchanged(now, &with, around));
            self.act_on_addresses(now, vni);
        }
    }

    /// Tells a neighbour which records are here.
    pub(super) fn tell_book(&mut self, link: LinkId) {
        let rings = self.addresses.rings.iter();
        let mut all: Vec<_> = rings
            .flat_map(|(vni, ring)| ring.records().map(|record| BookEntry::new(*vni, record)))
            .collect();
        all.sort_unstable_by_key(|entry| (entry.origin, entry.vni));
        let mut from = 0;
        loop {
            let mut end = (from + MAX_ENTRIES).min(all.len());
            // All networks of one router in one message.
            while end < all.len() && all[end].origin == all[end - 1].origin {
                end += 1;
            }
            let entries = all[from..end].to_vec();
            let first = if from == 0 { [0; 8] } else { all[from].origin.0 };
            let last = end == all.len();
            let until = all.get(end).map(|next| next.origin.0);
            self.out.send(
                link,
                Message::BookHave(BookHave {
                    from: first,
                    until,
                    entries,
                }),
            );
            from = end;
            if last {
                return;
            }
        }
    }

    /// Gives a neighbour what it has not, of a part of the book.
    fn give_book(&mut self, link: LinkId, have: &BookHave) {
        let theirs: BTreeMap<_, _> = have
            .entries
            .iter()
            .map(|entry| ((entry.origin, entry.vni), (entry.epoch, entry.counter)))
            .collect();
        let is_asked = |record: &&Arc<Record>| {
            let short = record.key.origin.short().0;
            short >= have.from && have.until.is_none_or(|until| short < until)
        };
        let is_news = |vni: Vni, record: &Arc<Record>| {
            let theirs = theirs.get(&(record.key.origin.short(), vni.0));
            theirs.is_none_or(|theirs| *theirs < (record.version.epoch, record.version.counter))
        };
        let rings = self.addresses.rings.iter();
        let news: Vec<_> = rings
            .flat_map(|(vni, ring)| {
                ring.records()
                    .filter(is_asked)
                    .filter(|record| is_news(*vni, record))
            })
            .cloned()
            .collect();
        let last = have.until.is_none();
        self.give_records(link, &news, last);
    }

    fn give_records(&mut self, link: LinkId, records: &[Arc<Record>], last: bool) {
        let mut messages = pack_as(records.iter());
        if messages.is_empty() {
            messages.push(Vec::new());
        }
        let count = messages.len();
        for (n, records) in (1..).zip(messages) {
            let last = last && n == count;
            self.out.send(
                link,
                Message::BookGive(crate::wire::BookGive {
                    last,
                    records: Batch::from(records),
                }),
            );
        }
    }

    /// A neighbour gave what it holds.
    fn book_given(&mut self, now: Instant, id: LinkId, batch: &Batch, last: bool) {
        let Some(from) = self.links.get(id).map(|link| link.peer) else {
            return;
        };
        for _ in &batch.refused {
            self.out.drop(DropReason::MalformedRecord);
        }
        let mut news = Vec::new();
        for record in &batch.records {
            if !self.is_news_of_addresses(record) {
                continue;
            }
            if self.addresses.count() >= MAX_BOOK {
                self.out.drop(DropReason::StoreFull);
            } else if !record.verify(&*self.own.signer()) {
                self.bad_signature(now, id, from);
                return;
            } else {
                self.forgotten(now, record);
                if self.addresses_told(now, record) {
                    news.push(Arc::clone(record));
                }
            }
        }
        // What spreads by itself needs no help.
        news.retain(|record| self.store.version(&record.key) != Some(&record.version));
        if !news.is_empty() {
            let others: Vec<_> = self
                .links
                .neighbors()
                .filter(|(peer, _)| **peer != from)
                .collect();
            let others: Vec<_> = others.into_iter().map(|(_, link)| link.id).collect();
            others
                .into_iter()
                .for_each(|link| self.give_records(link, &news, false));
        }
        if last {
            self.exchanged(now, id);
        }
    }

    /// A record of this router's own that it does not know of, from a run that its disk has forgotten.
    fn forgotten(&mut self, now: Instant, record: &Record) {
        let is_own = record.key.origin == self.own.id;
        let key = Key {
            origin: self.own.id,
            kind: kind::IPAM,
            subkey: record.key.subkey,
        };
        if is_own && self.own.is_ahead(&record.version, self.store.version(&key)) {
            self.own.lost_race(now, record.version.epoch, &mut self.out);
        }
    }

    /// Which addresses are in use by containers of this router that asked for them.
    #[must_use]
    pub fn addresses_in_use(&self) -> Vec<InUse> {
        let mut all = Vec::new();
        for (vni, ring) in &self.addresses.rings {
            all.extend(ring.holders().map(|(index, holder)| InUse {
                vni: *vni,
                addresses: ring.pool().addresses(index),
                holder: holder.to_owned(),
            }));
        }
        all
    }

    /// Why a network's addresses could not be given out if somebody asked now, as far as that is known without trying.
    #[must_use]
    pub fn addresses_unready(&self, vni: Vni) -> Option<Refusal> {
        let Addresses { rings, taken, .. } = &self.addresses;
        let store = &self.store;
        rings.get(&vni)?.obstacle(&Seen { store, taken, vni })
    }

    /// How things stand with addresses, network by network.
    #[must_use]
    pub fn addresses_view(&self) -> Vec<AddressView> {
        let view = |(vni, ring): (&Vni, &Ring)| {
            let taken = self.addresses.taken.range((*vni, 0)..=(*vni, u32::MAX));
            let doubled = taken.filter_map(|((_, index), holders)| {
                let peers: BTreeSet<_> = holders.iter().map(|(peer, _)| *peer).collect();
                let (address, _) = *ring.pool().addresses(*index).first()?;
                (peers.len() > 1).then(|| (address, peers.into_iter().collect()))
            });
            AddressView {
                vni: *vni,
                pool: *ring.pool(),
                trust: ring.trust(),
                shares: ring.shares(),
                free: ring.free(),
                doubled: doubled.collect(),
            }
        };
        self.addresses.rings.iter().map(view).collect()
    }
}
