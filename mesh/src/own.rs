//! This router's own records: what it says of itself, and under which epoch.
//!
//! A router that sees a record of its own ahead of what it issued (its state was restored from a backup, or
//! somebody else has its identity) takes a greater epoch, has it stored, and issues everything anew. One that
//! must do so again and again has a clone.

use crate::outbox::Outbox;
use crate::record::body::MAX_ADDRESSES;
use crate::record::{Key, Record, Version};
use crate::{Config, DropReason, Event, Instant, Output, PeerId, PeerInfo, PeerLabel, Signer};
use serde::Serialize;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Times the race for the newest record may be lost …
const LOSSES: usize = 3;
/// … in this time, before it must be a clone.
const LOSSES_WITHIN: Duration = Duration::from_secs(60);
/// Against a clone the race goes on, but slowly.
const TRUCE: Duration = Duration::from_secs(30);
/// An epoch that was not stored by then, as the disk is full or slow, is asked for again: until it is stored, nobody
/// hears anything new of this router.
const ASK_AGAIN: Duration = Duration::from_secs(30);
/// Addresses that neighbours reported, kept.
const MAX_OBSERVED: usize = 8;
/// Least time between two `PeerInfo` records for the sake of observed addresses.
const OBSERVED_PACE: Duration = Duration::from_secs(5);

/// What this router says of itself.
pub(crate) struct Own {
    pub(crate) id: PeerId,
    signer: Arc<dyn Signer>,
    info: PeerInfo,
    counter: u64,
    /// Told by the driver.
    addresses: Vec<SocketAddr>,
    /// Told by neighbours, oldest first.
    observed: VecDeque<SocketAddr>,
    /// When a `PeerInfo` is or was due for the sake of an observed address.
    observed_due: Option<Instant>,
    info_due: Option<Instant>,
    /// The epoch that is being stored.
    pending: Option<u64>,
    /// When to ask for that again.
    ask_again: Option<Instant>,
    /// An epoch to take when the truce is over.
    takeover: Option<(Instant, u64)>,
    losses: VecDeque<Instant>,
}

impl Own {
    /// Nothing is issued yet.
    pub(crate) fn new(config: Config) -> Self {
        let info = PeerInfo {
            peer: config.id,
            name: config.name,
            data_key: config.data_key,
            epoch: config.epoch,
            instance: config.instance,
            addresses: Vec::new(),
            admissions: config.signer.admissions(),
            version: config.version,
            capabilities: config.capabilities,
            vxlan_port: config.vxlan_port,
            label: config.label,
        };
        Self {
            id: config.id,
            signer: config.signer,
            info,
            counter: 0,
            addresses: config.addresses,
            observed: VecDeque::new(),
            observed_due: None,
            info_due: None,
            pending: None,
            ask_again: None,
            takeover: None,
            losses: VecDeque::new(),
        }
    }

    /// The judge of records.
    pub(crate) fn signer(&self) -> Arc<dyn Signer> {
        Arc::clone(&self.signer)
    }

    /// The epoch of the records issued now.
    pub(crate) fn epoch(&self) -> u64 {
        self.info.epoch
    }

    /// True if this router's kernel can carry frames.
    pub(crate) fn has_fast_path(&self) -> bool {
        self.info.vxlan_port != 0
    }

    /// The kernel's port changed, perhaps; true if so.
    pub(crate) fn set_vxlan_port(&mut self, port: u16) -> bool {
        std::mem::replace(&mut self.info.vxlan_port, port) != port
    }

    /// The label in this router's next `PeerInfo`.
    pub(crate) fn label(&self) -> PeerLabel {
        self.info.label
    }

    /// Takes a label; the next `PeerInfo` tells it.
    pub(crate) fn set_label(&mut self, label: PeerLabel) {
        self.info.label = label;
    }

    /// False while a greater epoch is being stored: nothing is issued until then.
    pub(crate) fn may_issue(&self) -> bool {
        self.pending.is_none()
    }

    /// Makes and signs a record. `None` if its body is too large.
    pub(crate) fn issue<T: Serialize>(&mut self, kind: u8, subkey: u64, body: &T) -> Option<Record> {
        let body = postcard::to_stdvec(body).ok()?;
        self.counter += 1;
        let key = Key {
            origin: self.id,
            kind,
            subkey,
        };
        Record::sign(&*self.signer, key, self.info.epoch, self.counter, &body)
    }

    /// Records made under this epoch.
    pub(crate) fn issued(&self) -> u64 {
        self.counter
    }

    /// What to say in the next `PeerInfo`.
    pub(crate) fn info(&mut self) -> PeerInfo {
        self.info_due = None;
        self.info.admissions = self.signer.admissions();
        self.info.addresses = self.addresses();
        self.info.clone()
    }

    /// True if a secret that the last `PeerInfo` shows is not valid any more.
    pub(crate) fn has_retired(&self) -> bool {
        let valid = self.signer.admissions();
        self.info
            .admissions
            .iter()
            .any(|admission| !valid.contains(admission))
    }

    /// Everywhere others may dial: what the driver says, then what neighbours observed.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        let mut all: Vec<SocketAddr> = Vec::new();
        for address in self.addresses.iter().chain(&self.observed) {
            if !all.contains(address) && all.len() < MAX_ADDRESSES {
                all.push(*address);
            }
        }
        all
    }

    /// The driver tells this router's addresses.
    pub(crate) fn set_addresses(&mut self, now: Instant, addresses: Vec<SocketAddr>) {
        self.addresses = addresses;
        if self.addresses() != self.info.addresses {
            self.info_due = Some(now);
        }
    }

    /// A neighbour tells how it sees us.
    pub(crate) fn observe(&mut self, now: Instant, address: SocketAddr) {
        if !is_public(&address) || self.observed.contains(&address) {
            return;
        }
        if self.observed.len() >= MAX_OBSERVED {
            self.observed.pop_front();
        }
        self.observed.push_back(address);
        if self.addresses() != self.info.addresses {
            let soonest = self
                .observed_due
                .map_or(now, |last| now.max(last + OBSERVED_PACE));
            self.observed_due = Some(soonest);
            self.info_due = Some(self.info_due.map_or(soonest, |due| due.min(soonest)));
        }
    }

    /// True if a new `PeerInfo` is to be issued now.
    pub(crate) fn is_info_due(&self, now: Instant) -> bool {
        self.may_issue() && self.info_due.is_some_and(|due| due <= now)
    }

    /// A new `PeerInfo` shall be issued as soon as may be.
    pub(crate) fn renew_info(&mut self, now: Instant) {
        self.info_due = Some(now);
    }

    /// True if a record of our own that came from outside, if rightly signed, means that ours are outdated.
    /// `ours` is what we hold under its key.
    pub(crate) fn is_ahead(&self, theirs: &Version, ours: Option<&Version>) -> bool {
        let wanted = self.takeover.map(|(_, epoch)| epoch).or(self.pending);
        let is_newer = match ours {
            Some(ours) => theirs > ours,
            None => theirs.epoch >= self.info.epoch,
        };
        is_newer && wanted.is_none_or(|wanted| theirs.epoch >= wanted)
    }

    /// A rightly signed record of our own, of this epoch, is ahead of ours.
    pub(crate) fn lost_race(&mut self, now: Instant, epoch: u64, out: &mut Outbox) {
        if let Some((at, _)) = self.takeover {
            self.takeover = Some((at, epoch + 1));
            return;
        }
        self.losses.retain(|at| now.since(*at) < LOSSES_WITHIN);
        self.losses.push_back(now);
        let mut at = now;
        if self.losses.len() >= LOSSES {
            self.losses.clear();
            at = now + TRUCE;
            let detail = "another router keeps publishing records under this router's identity".to_owned();
            out.drop(DropReason::IdentityClash);
            out.log(Event::Clone { detail });
        }
        self.takeover = Some((at, epoch + 1));
        self.tick(now, out);
    }

    /// Takes a greater epoch although nobody is ahead: under it only those records are issued that still say something.
    pub(crate) fn begin_anew(&mut self, now: Instant, out: &mut Outbox) {
        if self.may_issue() && self.takeover.is_none() {
            self.take(now, self.info.epoch + 1, out);
        }
    }

    fn take(&mut self, now: Instant, epoch: u64, out: &mut Outbox) {
        self.pending = Some(epoch);
        self.ask_again = Some(now + ASK_AGAIN);
        out.push(Output::PersistEpoch(epoch));
    }

    /// An epoch is on disk. True if it is now in use: everything must be issued anew.
    pub(crate) fn persisted(&mut self, epoch: u64) -> bool {
        if self.pending.is_none_or(|pending| epoch < pending) || epoch <= self.info.epoch {
            return false;
        }
        self.pending = None;
        self.ask_again = None;
        self.counter = 0;
        self.info.epoch = epoch;
        true
    }

    /// Ends a truce, or asks again for what was not stored.
    pub(crate) fn tick(&mut self, now: Instant, out: &mut Outbox) {
        if let Some(epoch) = self.pending
            && self.ask_again.is_some_and(|at| at <= now)
        {
            self.take(now, epoch, out);
        }
        if let Some((_, epoch)) = self
            .takeover
            .filter(|(at, _)| *at <= now && self.pending.is_none())
        {
            self.takeover = None;
            if epoch > self.info.epoch {
                self.take(now, epoch, out);
            }
        }
    }

    /// When there is something to do.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let takeover = self.takeover.map(|(at, _)| at);
        [takeover, self.info_due]
            .into_iter()
            .flatten()
            .filter(|_| self.may_issue())
            .chain(self.ask_again)
            .min()
    }
}

/// True for addresses that mean the same router elsewhere.
fn is_public(address: &SocketAddr) -> bool {
    let is_local = match address.ip() {
        std::net::IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        std::net::IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    let ip = address.ip();
    address.port() != 0 && !is_local && !ip.is_loopback() && !ip.is_unspecified() && !ip.is_multicast()
}
