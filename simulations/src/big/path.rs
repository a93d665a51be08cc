//! Data paths, as sleeve keeps them: tried when a link is there, and alive for as long as checks are answered, also after
//! the link has gone. Only those without a link are checked here: what lies beside a link is as alive as that.

use super::event::What;
use super::host::{Host, MTU};
use super::terms::{Reach, Terms, micros};
use crate::Class;
use mesh::{Input, PeerId};
use std::time::Duration;

/// Time between two checks of a path without a link, and just after the link has gone.
const STEP: Duration = Duration::from_secs(1);
const HURRY: Duration = Duration::from_millis(200);
/// So many in a row that are not answered, and the path is given up.
const LOSSES: u8 = 3;
/// No data passes here: for so long a path outlives its link.
const IDLE: Duration = Duration::from_secs(300);
/// A check and its answer, with all headers, in bytes. One a minute fills the path's MTU; it isn't counted as more.
const CHECK: (u64, u64) = (100, 110);

/// A direct data path.
#[derive(Debug)]
pub(super) struct DataPath {
    /// The other end's host.
    host: u32,
    /// When it was proven: the other router has run since before then.
    since: u64,
    alone: Option<Alone>,
}

/// What is known of one whose link is gone.
#[derive(Debug)]
struct Alone {
    since: u64,
    unanswered: u8,
    /// Nothing was answered since the link went: checks follow each other quickly.
    hurry: bool,
}

impl Host {
    /// Since when there has been a data path to a router, if this end takes it for alive.
    pub(super) fn path_since(&self, peer: &PeerId) -> Option<u64> {
        self.paths.get(peer).map(|path| path.since)
    }

    /// Whether this router has run since before then, and has the session of a path that was proven then.
    pub(super) fn runs_since(&self, then: u64) -> bool {
        self.mesh.is_some() && self.started < then
    }

    /// A link came up: its data path is tried over a round trip.
    pub(super) fn try_path(&mut self, peer: PeerId, reach: &mut Reach<'_>) {
        if let Some(path) = self.paths.get_mut(&peer) {
            path.alone = None;
        }
        let with = self.links().find(|(_, host)| reach.terms.id(*host) == peer);
        if let Some((on, host)) = with {
            let at = reach.now + 2 * reach.terms.delay(self.number, host);
            reach.plan(at, self.number, on, What::Path(peer));
        }
    }

    /// The data path along with this link works, if the link is still there.
    pub(super) fn path_tried(&mut self, now: u64, on: u64, peer: PeerId, terms: &Terms) {
        let Some((_, host)) = self.links().find(|(link, _)| *link == on) else {
            return;
        };
        let (since, alone) = (now, None);
        self.paths.insert(peer, DataPath { host, since, alone });
        let rtt = Duration::from_micros(2 * terms.delay(self.number, host));
        self.pending.push_back(Input::PathUp { peer, mtu: MTU, rtt });
    }

    /// The last link with this router is gone: is its data path, too?
    pub(super) fn link_gone(&mut self, peer: PeerId, reach: &mut Reach<'_>) {
        if let Some(path) = self.paths.get_mut(&peer) {
            let (since, unanswered, hurry) = (reach.now, 0, true);
            path.alone = Some(Alone {
                since,
                unanswered,
                hurry,
            });
            self.look_after(peer, since, reach);
        }
    }

    /// Checks a path, or gives it up; `since`: when its link went.
    pub(super) fn look_after(&mut self, peer: PeerId, since: u64, reach: &mut Reach<'_>) {
        let Some(path) = self.paths.get_mut(&peer) else {
            return;
        };
        let Some(alone) = path.alone.as_mut().filter(|alone| alone.since == since) else {
            return;
        };
        if alone.unanswered >= LOSSES || reach.now - since >= micros(IDLE) {
            self.paths.remove(&peer);
            return self.pending.push_back(Input::PathDown { peer });
        }
        alone.unanswered += 1;
        let step = if alone.hurry { HURRY } else { STEP };
        self.traffic.send(Class::Probe, 1, 1, CHECK.0);
        if !reach.terms.is_cut(self.number, path.host) {
            let at = reach.now + reach.terms.delay(self.number, path.host);
            reach.plan(at, path.host, 0, What::Check(path.since));
        }
        reach.plan(reach.now + micros(step), self.number, 0, What::Alone(peer, since));
    }

    /// Answers a check, if this router has run since that path was proven.
    pub(super) fn answer_check(&mut self, from: u32, since: u64, reach: &mut Reach<'_>) {
        self.traffic.receive(Class::Probe, 1, 1, CHECK.0);
        if self.runs_since(since) && !reach.terms.is_cut(self.number, from) {
            self.traffic.send(Class::Probe, 1, 1, CHECK.1);
            let at = reach.now + reach.terms.delay(self.number, from);
            reach.plan(at, from, 0, What::Checked);
        }
    }

    /// A check was answered.
    pub(super) fn checked(&mut self, peer: PeerId) {
        self.traffic.receive(Class::Probe, 1, 1, CHECK.1);
        let path = self.paths.get_mut(&peer);
        if let Some(alone) = path.and_then(|path| path.alone.as_mut()) {
            (alone.unanswered, alone.hurry) = (0, false);
        }
    }
}
