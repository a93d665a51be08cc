//! A few dozen routers, picked at random from all, and how far each is.
//!
//! Who is new gets probed: a round trip with its port that proves nothing but that something answers there, and how
//! near. The list renews itself slowly, so that over the hours every router gets its chance to be found near. In need
//! the whole list is probed at once, so that the dead cost nothing but a packet each.

use super::around::Around;
use crate::outbox::Outbox;
use crate::{Instant, Output, PeerId};
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use std::time::Duration;

/// Length of the list.
pub(super) const LENGTH: usize = 64;
/// Probes at a time; more follow after a pause.
const AT_A_TIME: usize = 16;
/// The pause.
const PAUSE: Duration = Duration::from_millis(250);
/// A probe that is not answered by then is lost; in need.
const PATIENCE: Duration = Duration::from_secs(2);
const HASTE: Duration = Duration::from_secs(1);
/// Between two looks for more candidates while the list is not full: at first, in need, and at last.
const FILL_FIRST: Duration = Duration::from_secs(1);
const FILL_HASTE: Duration = Duration::from_millis(500);
const FILL_LAST: Duration = Duration::from_secs(60);
/// Between two renewals of one candidate, in a mesh of up to [`LARGE`] routers. In larger ones less often: what a
/// better link is worth is the same, but telling of it costs more.
const RENEW_EVERY: Duration = Duration::from_secs(60);
const LARGE: usize = 1000;

/// One of the list.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    since: Instant,
    asked: Option<Instant>,
    /// When it answered last, and how far it was, in microseconds.
    answered: Option<(Instant, u64)>,
}

/// The list.
#[derive(Debug)]
pub(super) struct Candidates {
    list: BTreeMap<PeerId, Candidate>,
    fill_at: Instant,
    fill_wait: Duration,
    probe_at: Instant,
    renew_at: Option<Instant>,
    /// The first probes are through by then.
    ready_at: Option<Instant>,
    need: Option<Instant>,
}

impl Default for Candidates {
    fn default() -> Self {
        Self {
            list: BTreeMap::new(),
            fill_at: Instant(0),
            fill_wait: FILL_FIRST,
            probe_at: Instant(0),
            renew_at: None,
            ready_at: None,
            need: None,
        }
    }
}

impl Candidates {
    /// This router is not there any more, or did not answer.
    pub(super) fn remove(&mut self, peer: &PeerId) {
        self.list.remove(peer);
    }

    /// All whose distance is known, in microseconds.
    pub(super) fn measured(&self) -> impl Iterator<Item = (PeerId, u64)> {
        let measured = |(peer, candidate): (&PeerId, &Candidate)| Some((*peer, candidate.answered?.1));
        self.list.iter().filter_map(measured)
    }

    /// Those that answered since then.
    pub(super) fn alive_since(&self, then: Instant) -> impl Iterator<Item = PeerId> {
        let is_alive = move |candidate: &Candidate| candidate.answered.is_some_and(|(at, _)| at >= then);
        let alive = self.list.iter().filter(move |(_, candidate)| is_alive(candidate));
        alive.map(|(peer, _)| *peer)
    }

    /// True when the first probes are through: choosing before would mean choosing again.
    pub(super) fn is_ready(&self, now: Instant) -> bool {
        let is_open = |candidate: &Candidate| candidate.answered.is_none();
        self.ready_at.is_some_and(|at| now >= at) || !self.list.values().any(is_open)
    }

    /// A probe was answered, or not.
    pub(super) fn probed(&mut self, now: Instant, peer: &PeerId, rtt: Option<Duration>) {
        match (self.list.get_mut(peer), rtt) {
            (Some(candidate), Some(rtt)) => {
                let us = u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX).max(1);
                candidate.asked = None;
                candidate.answered = Some((now, us));
            }
            (Some(_), None) => self.remove(peer),
            (None, _) => {}
        }
    }

    /// Fills the list, renews it slowly, and probes. `need`: since then this router has too few links, so all are
    /// probed at once, reachable or not. `is_open`: whether a router may be one of them. Returns when to call again.
    pub(super) fn poll(
        &mut self,
        now: Instant,
        around: &Around<'_>,
        need: Option<Instant>,
        is_open: impl Fn(&PeerId) -> bool,
        rng: &mut StdRng,
        out: &mut Outbox,
    ) -> Option<Instant> {
        if std::mem::replace(&mut self.need, need) != need {
            self.fill_wait = need.map_or(FILL_FIRST, |_| FILL_HASTE);
            self.fill_at = need.map_or(self.fill_at, |_| now);
        }
        self.ready_at.get_or_insert(now + PATIENCE);
        let patience = self.patience();
        let is_lost = |candidate: &Candidate| candidate.asked.is_some_and(|at| now.since(at) >= patience);
        self.list
            .retain(|peer, candidate| !is_lost(candidate) && is_open(peer));
        self.renew(now, around);
        let wanted = LENGTH.min(around.known());
        if self.list.len() >= wanted {
            self.fill_wait = FILL_FIRST;
        } else if now >= self.fill_at {
            self.fill(now, around, wanted, &is_open, rng);
            self.fill_at = now + self.fill_wait;
            self.fill_wait = (self.fill_wait * 2).min(FILL_LAST);
        }
        self.probe(now, around, out);
        let fill = (self.list.len() < wanted).then_some(self.fill_at);
        let is_due = self.list.values().any(|candidate| self.is_due(candidate));
        let probe = is_due.then_some(self.probe_at);
        let lost = self.list.values().filter_map(|candidate| candidate.asked).min();
        let lost = lost.map(|asked| asked + patience);
        let ready = self.ready_at.filter(|at| *at > now);
        [fill, probe, lost, self.renew_at, ready]
            .into_iter()
            .flatten()
            .min()
    }

    fn patience(&self) -> Duration {
        if self.need.is_some() { HASTE } else { PATIENCE }
    }

    fn renew(&mut self, now: Instant, around: &Around<'_>) {
        let factor = u32::try_from(around.known() / LARGE).unwrap_or(u32::MAX).max(1);
        let every = RENEW_EVERY.saturating_mul(factor);
        let at = *self.renew_at.get_or_insert(now + every);
        if now < at {
            return;
        }
        self.renew_at = Some(now + every);
        // While everybody is on the list there is nobody to replace one with.
        if self.list.len() >= LENGTH && around.known() > LENGTH {
            let oldest = self
                .list
                .iter()
                .min_by_key(|(peer, candidate)| (candidate.since, **peer));
            if let Some(peer) = oldest.map(|(peer, _)| *peer) {
                self.list.remove(&peer);
            }
        }
    }

    fn fill(
        &mut self,
        now: Instant,
        around: &Around<'_>,
        wanted: usize,
        is_open: &dyn Fn(&PeerId) -> bool,
        rng: &mut StdRng,
    ) {
        let new = Candidate {
            since: now,
            asked: None,
            answered: None,
        };
        for peer in around.sample(2 * LENGTH, rng) {
            let fits = is_open(&peer)
                && (self.need.is_some() || around.is_reachable(&peer))
                && around.dialable(&peer).next().is_some();
            if fits && self.list.len() < wanted {
                self.list.entry(peer).or_insert(new);
            }
        }
    }

    fn probe(&mut self, now: Instant, around: &Around<'_>, out: &mut Outbox) {
        if now < self.probe_at && self.need.is_none() {
            return;
        }
        let room = if self.need.is_some() { LENGTH } else { AT_A_TIME };
        let due = self.list.iter().filter(|(_, candidate)| self.is_due(candidate));
        let due: Vec<PeerId> = due.map(|(peer, _)| *peer).take(room).collect();
        for peer in &due {
            match (around.dialable(peer).next(), self.list.get_mut(peer)) {
                (Some(address), Some(candidate)) => {
                    candidate.asked = Some(now);
                    let (peer, address) = (*peer, *address);
                    out.push(Output::Probe { peer, address });
                }
                _ => self.remove(peer),
            }
        }
        if !due.is_empty() {
            self.probe_at = now + PAUSE;
        }
    }

    fn is_due(&self, candidate: &Candidate) -> bool {
        let since = self.need.unwrap_or(Instant(0));
        candidate.asked.is_none() && candidate.answered.is_none_or(|(at, _)| at < since)
    }
}
