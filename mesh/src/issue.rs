//! Issues this router's own records: stored like all others, and flooded.

use crate::link::Link;
use crate::record::body::MAX_ADJACENCIES;
use crate::record::{Record, kind};
use crate::store::MAX_ORIGIN_RECORDS;
use crate::{
    Adjacency, Delay, DropReason, Instant, LinkLabel, LocalChange, MacsBody, Mesh, Name, NameChange,
    NamesBody, Output, PeerId, Vni,
};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// How long a new link may wait for its data path before it is told without.
const WITHOUT_DATA: Duration = Duration::from_secs(1);
/// Own records from which on it is looked whether most of them say nothing any more. Up to so many more are added by
/// which router it is: all have a record for each network that ever was, and not all shall begin anew at once.
const MANY_RECORDS: usize = MAX_ORIGIN_RECORDS / 2;

impl Mesh {
    /// Issues every record of this router's own anew.
    pub(crate) fn issue_all(&mut self, now: Instant) {
        self.issue_info(now);
        self.states.renew();
        self.issue_if_due(now);
        let bodies: Vec<_> = self.registry.published().collect();
        for (subkey, body) in bodies {
            self.issue_macs(now, subkey, body);
        }
        self.renew_addresses(now);
        let names: Vec<_> = self.names.published().collect();
        self.issue_names(now, names);
        self.issue_networks(now);
        self.issue_root(now);
    }

    /// Issues what has changed and waited long enough.
    pub(crate) fn issue_if_due(&mut self, now: Instant) {
        if !self.own.may_issue() {
            return;
        }
        if self.own.is_info_due(now) {
            self.issue_info(now);
        }
        if !self.states.take_stir(now) {
            return;
        }
        let (links, more) = self.adjacencies(now);
        if self.states.is_due(now, &links, more) {
            self.issue_links(now, &links);
        }
    }

    fn issue_info(&mut self, now: Instant) {
        self.settle_label();
        let info = self.own.info();
        let record = self.own.issue(kind::PEER_INFO, 0, &info);
        self.publish(now, record);
        let own = self.own.id;
        self.admitted(&own);
    }

    fn issue_links(&mut self, now: Instant, links: &[(Adjacency, bool)]) {
        self.states.tell(now, links);
        let all: Vec<Adjacency> = links.iter().map(|(adjacency, _)| adjacency.clone()).collect();
        let told = &all[..all.len().min(MAX_ADJACENCIES)];
        let record = self.own.issue(kind::LINK_STATE, 0, &told);
        let own = self.own.id;
        let old = self.store.links_record(&own).cloned();
        let record = self.publish(now, record);
        if record.is_some() && self.links_told(&own, old.as_deref()) {
            self.schedule.rush(now);
        }
    }

    /// A chunk whose ports have so many addresses that it is too large for a record tells fewer of each.
    fn issue_macs(&mut self, now: Instant, subkey: u64, mut body: MacsBody) {
        for most in [usize::MAX, 8, 4, 2, 1] {
            for (_, addresses) in &mut body.entries {
                addresses.truncate(most);
            }
            let record = self.own.issue(kind::MACS, subkey, &body);
            if record.is_some() {
                self.publish(now, record);
                return;
            }
            self.out.drop(DropReason::OversizedRecord);
        }
    }

    pub(crate) fn publish(&mut self, now: Instant, record: Option<Record>) -> Option<Arc<Record>> {
        let Some(record) = record.map(Arc::new) else {
            self.out.drop(DropReason::OversizedRecord);
            return None;
        };
        self.news.push((None, Arc::clone(&record)));
        let replaced = self.store.put_own(now, Arc::clone(&record));
        // The first record of a greater epoch takes along what was told of links in the one before: among them may be some
        // that have gone since, and that no record will tell of.
        let old = replaced.links.filter(|_| record.key.kind != kind::LINK_STATE);
        if old.is_some_and(|old| self.links_told(&record.key.origin, Some(&*old))) {
            self.schedule.rush(now);
        }
        self.begin_anew_if_worn(now);
        Some(record)
    }

    /// A record can be replaced, but never taken back within its epoch: what is left of networks that are gone counts
    /// everywhere against what one router may have, and once that is used up, nobody takes its new records. So a greater
    /// epoch is taken in time.
    fn begin_anew_if_worn(&mut self, now: Instant) {
        let own = self.own.id;
        let count = self.store.records_of(&own);
        if count < MANY_RECORDS + usize::from(own.0[0]) {
            return;
        }
        let is_said = self.registry.chunks_used() + self.names.chunks_used() + self.addresses.networks();
        if 2 * is_said < count {
            self.own.begin_anew(now, &mut self.out);
        }
    }

    /// Container ports came or went.
    pub(crate) fn ports_changed(&mut self, now: Instant, change: LocalChange) {
        self.fdb_changed(change.fdb);
        if self.own.may_issue() {
            for (subkey, body) in change.publish {
                self.issue_macs(now, subkey, body);
            }
        }
    }

    /// A name of this router's host stands for something else now.
    pub(crate) fn name_changed(&mut self, now: Instant, vni: Vni, name: &Name, addresses: Vec<IpAddr>) {
        let Some((publish, changes)) = self.names.set(vni, name, addresses) else {
            self.out.drop(DropReason::StoreFull);
            let name = name.clone();
            return self.out.push(Output::NameRefused { vni, name });
        };
        self.names_changed(changes);
        if self.own.may_issue() {
            self.issue_names(now, publish);
        }
    }

    fn issue_names(&mut self, now: Instant, chunks: Vec<(u64, NamesBody)>) {
        for (subkey, body) in chunks {
            let record = self.own.issue(kind::NAMES, subkey, &body);
            self.publish(now, record);
        }
    }

    pub(crate) fn names_changed(&mut self, changes: Vec<NameChange>) {
        for change in changes {
            self.out.push(Output::Name(change));
        }
    }

    /// The driver has stored an epoch.
    pub(crate) fn epoch_persisted(&mut self, now: Instant, epoch: u64) {
        if self.own.persisted(epoch) {
            self.links.set_epoch(self.own.epoch());
            // What was said under an earlier epoch is forgotten everywhere: nothing need be said in its place.
            self.registry.forget_unused();
            self.names.forget_unused();
            self.issue_all(now);
        }
        self.own.tick(now, &mut self.out);
    }

    /// This router's links as it tells them `now`, in the order of the neighbours, and whether each delay is
    /// measured; and when there may be more of them.
    fn adjacencies(&self, now: Instant) -> (Vec<(Adjacency, bool)>, Option<Instant>) {
        let (mut links, mut more) = (Vec::new(), None::<Instant>);
        if self.leaving {
            return (links, more);
        }
        for (peer, link) in self.links.neighbors() {
            match self.told_from(now, peer, link) {
                Some(from) if from > now => more = Some(more.map_or(from, |other| other.min(from))),
                Some(_) => links.push(self.adjacency(peer, link)),
                None => {}
            }
        }
        (links, more)
    }

    /// From when on the mesh is told of a link: one that joins what was apart at once, others when data can pass, or it
    /// is clear that none can for now, as two records would be told for one. `None`: not before something happens.
    fn told_from(&self, now: Instant, peer: &PeerId, link: &Link) -> Option<Instant> {
        if !self.connector.is_told(now, peer) {
            return None;
        }
        let is_first = self.states.count() == 0 || self.states.tells(peer.short());
        if is_first || self.direct.contains_key(peer) || !self.is_reachable(peer) {
            return Some(now);
        }
        link.up_since().map(|since| since + WITHOUT_DATA)
    }

    /// What is told of a link, and whether its delay is measured. Data's delay counts where there is a data path.
    fn adjacency(&self, peer: &PeerId, link: &Link) -> (Adjacency, bool) {
        let direct = self.direct.get(peer);
        let rtt = link.rtt.floor_us();
        let greeting = link
            .up_since()
            .map_or(Duration::ZERO, |since| since.since(link.opened));
        let guess = u64::try_from(greeting.as_micros()).unwrap_or(u64::MAX) / 2;
        let delay = direct
            .map(|path| u64::from(path.delay_us))
            .or(rtt.map(|rtt| rtt / 2));
        let adjacency = Adjacency {
            neighbor: peer.short(),
            label: self.labelled.get(peer).copied().unwrap_or(LinkLabel(0)),
            delay: Delay::from_us(delay.unwrap_or(guess)),
            mtu: direct.map_or(0, |path| path.mtu),
        };
        (adjacency, delay.is_some())
    }
}
