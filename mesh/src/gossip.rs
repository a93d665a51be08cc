//! Records: taken in, acted upon, and passed on at once along the tree (see [`spread`](crate::spread)).

use crate::link::Phase;
use crate::record::{Key, Record, RecordError, kind};
use crate::store::{Merged, Replaced};
use crate::wire::{Batch, Message};
use crate::{DropReason, Instant, LinkId, MacsBody, Mesh, Output, Packet, PeerId, Vni};
use std::sync::Arc;

/// Bytes of records in one message: short enough that the next router passes on the first before it has the last.
const BATCH: usize = 64 << 10;
/// Room in a message for what is not records: the kind byte and the number of records.
const ENVELOPE: usize = 16;
/// Room for the length of one record.
const PREFIX: usize = 4;

impl Mesh {
    /// Records came from a neighbour.
    pub(crate) fn records(&mut self, now: Instant, link: LinkId, from: PeerId, batch: &Batch) {
        for refused in &batch.refused {
            self.out.drop(match refused {
                RecordError::Oversized => DropReason::OversizedRecord,
                RecordError::Malformed => DropReason::MalformedRecord,
            });
        }
        // What admits an origin comes before all else it says.
        let is_info = |record: &&Arc<Record>| record.key.kind == kind::PEER_INFO;
        let infos = batch.records.iter().filter(is_info);
        for record in infos.chain(batch.records.iter().filter(|record| !is_info(record))) {
            if self
                .links
                .get(link)
                .is_none_or(|link| link.phase == Phase::Closing)
            {
                return;
            }
            if record.key.origin == self.own.id {
                self.own_record(now, link, from, record);
            } else {
                self.record(now, link, from, record);
            }
        }
    }

    fn record(&mut self, now: Instant, link: LinkId, from: PeerId, record: &Arc<Record>) {
        let (key, mark) = (record.key, record.mark());
        // Duplicates are the rule while links come and go.
        if key.origin != from && self.spread.recent.knows(mark) {
            return self.spread.had_by(&from, mark);
        }
        let asked = self.spread.missing.arrived(mark);
        let merged = self.store.merge(now, Arc::clone(record), &*self.own.signer());
        for peer in self.store.take_evicted() {
            self.forget_origin(now, &peer);
        }
        match merged {
            Merged::New(replaced) => {
                if asked == Some(from) {
                    self.spread.hit(now, from);
                }
                self.news.push((Some(from), Arc::clone(record)));
                self.learn(now, record, &replaced);
            }
            Merged::Known => self.spread.had_by(&from, mark),
            Merged::Refused(DropReason::BadSignature) => self.bad_signature(now, link, from),
            Merged::Refused(reason) => {
                self.out.drop(reason);
                if reason == DropReason::Unadmitted && key.kind != kind::PEER_INFO {
                    // What admits its origin is on another way, or was missed.
                    self.compare_soon(now, link, from);
                }
                if reason == DropReason::StaleRecord && key.origin == from {
                    self.show(link, &key);
                }
            }
        }
    }

    /// A neighbour that lags behind with its own records shall know at once.
    fn show(&mut self, link: LinkId, key: &Key) {
        if let Some(record) = self.store.newest(key) {
            let batch = Batch::from(vec![Arc::clone(record)]);
            self.out.send(link, Message::Records(batch));
        }
    }

    fn own_record(&mut self, now: Instant, link: LinkId, from: PeerId, record: &Arc<Record>) {
        let is_ahead = self
            .own
            .is_ahead(&record.version, self.store.version(&record.key));
        let is_forgotten = self.is_news_of_addresses(record);
        if !is_ahead && !is_forgotten {
            return;
        }
        if !record.verify(&*self.own.signer()) {
            return self.bad_signature(now, link, from);
        }
        if is_ahead {
            self.own.lost_race(now, record.version.epoch, &mut self.out);
        }
        if is_forgotten {
            self.addresses_told(now, record);
        }
    }

    /// Acts upon a record that was stored, and upon those that went with it.
    fn learn(&mut self, now: Instant, record: &Arc<Record>, replaced: &Replaced) {
        let outdated = &replaced.outdated;
        let (key, origin) = (&record.key, record.key.origin);
        for (_, subkey) in outdated.iter().filter(|(kind, _)| *kind == kind::MACS) {
            let vni = Vni(u32::try_from(subkey >> 16).unwrap_or(u32::MAX));
            self.learn_macs(
                origin,
                *subkey,
                &MacsBody {
                    vni,
                    entries: Vec::new(),
                },
            );
        }
        for (_, subkey) in outdated.iter().filter(|(kind, _)| *kind == kind::NAMES) {
            let changes = self.names.learn_gone(origin, *subkey);
            self.names_changed(changes);
        }
        if outdated.iter().any(|(kind, _)| *kind == kind::NETWORKS) {
            self.networks.forget(&origin);
        }
        if outdated.iter().any(|(kind, _)| *kind == kind::ROOT) {
            self.root_told(now, &origin);
        }
        let old = replaced.links.as_deref();
        if (key.kind == kind::LINK_STATE || old.is_some()) && self.links_told(&origin, old) {
            self.schedule.request(now);
        }
        match key.kind {
            kind::PEER_INFO => {
                self.admitted(&origin);
                if let Some(info) = record.info() {
                    let (label, epoch) = (info.label, info.epoch);
                    self.out.push(Output::Peer(info.clone()));
                    self.label_told(now, origin, label, epoch);
                }
                self.connector.look_again();
            }
            kind::MACS => {
                if let Some(body) = record.macs() {
                    self.learn_macs(origin, key.subkey, body);
                }
            }
            kind::IPAM => drop(self.addresses_told(now, record)),
            kind::NAMES => {
                if let Some(body) = record.names() {
                    let is_reached = self.is_reachable(&origin);
                    let changes = self.names.learn(origin, key.subkey, body, is_reached);
                    self.names_changed(changes);
                }
            }
            kind::NETWORKS => {
                if let Some(body) = record.networks() {
                    self.networks_told(now, origin, body);
                }
            }
            kind::ROOT => self.root_told(now, &origin),
            _ => {}
        }
    }

    fn learn_macs(&mut self, origin: PeerId, subkey: u64, body: &MacsBody) {
        let changes = self.registry.learn(origin, subkey, body);
        self.fdb_changed(changes);
    }

    /// A router is no longer in the store.
    pub(crate) fn forget_origin(&mut self, now: Instant, peer: &PeerId) {
        let changes = self.registry.forget(peer);
        self.fdb_changed(changes);
        let changes = self.names.forget(peer);
        self.names_changed(changes);
        self.networks.forget(peer);
        self.dismissed(now, peer);
        self.label_forgotten(*peer);
        self.connector.peer_gone(peer);
        self.out.push(Output::PeerGone(*peer));
    }

    /// The set of secrets changed: say so, and part with routers that know none of them.
    pub(crate) fn secrets_changed(&mut self, now: Instant) {
        self.own.renew_info(now);
        let signer = self.own.signer();
        let strangers = self
            .store
            .infos()
            .filter(|(id, info)| **id != self.own.id && !signer.admits(id, &info.admissions));
        let strangers: Vec<PeerId> = strangers.map(|(id, _)| *id).collect();
        for peer in strangers {
            self.store.remove(&peer);
            self.close_all(now, &peer, "its secret is no longer valid");
            self.forget_origin(now, &peer);
        }
        if self.own.has_retired() {
            // Who has a link, but never said who it is, may have known only the one that is gone.
            let silent = self.links.iter().map(|link| link.peer);
            let silent: Vec<PeerId> = silent.filter(|peer| self.store.info(peer).is_none()).collect();
            for peer in silent {
                self.close_all(now, &peer, "it never showed that it knows a secret that is valid");
            }
        }
    }

    /// Shows a new neighbour who we are, so that it takes in what we say next.
    pub(crate) fn introduce(&mut self, link: LinkId) {
        self.show_info(link, self.own.id);
    }

    /// Shows a neighbour who somebody is.
    pub(crate) fn show_info(&mut self, link: LinkId, origin: PeerId) {
        let key = Key {
            origin,
            kind: kind::PEER_INFO,
            subkey: 0,
        };
        self.show(link, &key);
    }

    /// Passes on what is new: this router's own records to all neighbours, those of others where they spread at
    /// once, but not back to where they came from.
    pub(crate) fn pass_on(&mut self, now: Instant) {
        let mut news = std::mem::take(&mut self.news);
        let as_came = self.news_as_came.take().filter(|packet| packet.len() <= BATCH);
        let count = news.len();
        while let Some((from, _)) = news.first() {
            let from = *from;
            let rest = news
                .iter()
                .position(|(other, _)| *other != from)
                .unwrap_or(news.len());
            let records: Vec<_> = news.drain(..rest).map(|(_, record)| record).collect();
            // Nothing is packed anew that can go on as it came.
            let mut packets = as_came
                .clone()
                .filter(|_| rest == count)
                .map(|packet| vec![packet]);
            let had = self.spread.each_for(now, from.as_ref(), |link| {
                for packet in packets.get_or_insert_with(|| pack(records.iter()).collect()) {
                    self.out.carry(link, packet.clone());
                }
            });
            for record in &records {
                self.spread.recent.add(now, record, had);
            }
        }
    }
}

/// Puts records into as few messages as they fit in.
pub(crate) fn pack<'a>(records: impl Iterator<Item = &'a Arc<Record>>) -> impl Iterator<Item = Packet> {
    let message = |records: Vec<Arc<Record>>| Packet::new(Message::Records(records.into()));
    pack_as(records).into_iter().map(message)
}

/// The same, but what is in each.
pub(crate) fn pack_as<'a>(records: impl Iterator<Item = &'a Arc<Record>>) -> Vec<Vec<Arc<Record>>> {
    let mut messages: Vec<Vec<Arc<Record>>> = Vec::new();
    let mut room = 0;
    for record in records {
        let size = record.bytes().len() + PREFIX;
        match messages.last_mut() {
            Some(last) if room >= size => last.push(Arc::clone(record)),
            _ => {
                messages.push(vec![Arc::clone(record)]);
                room = BATCH - ENVELOPE;
            }
        }
        room -= size;
    }
    messages
}
