//! Views for people: what `weft status` shows of the control plane.

use crate::connector::{Source, Stage, Target, TargetId};
use crate::graph::Known;
use crate::link::Phase;
use crate::{Direction, Instant, LinkId, Mesh, PeerId, PeerInfo, Route};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// A router, as far as this one knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerView {
    /// Its identity.
    pub id: PeerId,
    /// What it says of itself.
    pub info: Option<PeerInfo>,
    /// Whether control messages reach it. This router reaches itself.
    pub reachable: bool,
    /// The other ends of its links, with the round trip time of each in microseconds.
    pub links: Vec<(PeerId, u64)>,
}

/// How far a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkStatus {
    /// Connected, but it is not yet decided that it will be used.
    Handshaking,
    /// In use.
    Established,
}

/// A link of this router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkView {
    /// The driver's number.
    pub link: LinkId,
    /// The other end.
    pub peer: PeerId,
    /// Its underlay address.
    pub address: SocketAddr,
    /// Who dialled.
    pub direction: Direction,
    /// How far it is.
    pub state: LinkStatus,
    /// Smoothed round trip time in microseconds, once measured.
    pub rtt_us: Option<u64>,
    /// The target text that was dialled.
    pub target: Option<String>,
}

/// How far a target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetState {
    /// Its router is linked.
    Established,
    /// Being dialled, or about to be for the first time.
    Connecting,
    /// Connected, but not yet a link.
    Handshaking,
    /// The last try failed; the next will come.
    Retrying,
    /// Never tried again.
    Failed,
}

/// Something to dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetView {
    /// `HOST:PORT` or `IP:PORT`.
    pub target: String,
    /// How far it is.
    pub state: TargetState,
    /// When it is dialled next.
    pub next_try: Option<Instant>,
    /// Why the last try failed, in plain words.
    pub error: Option<String>,
    /// Not given by the operator: found in a router's record, in this run or an earlier one.
    pub discovered: bool,
    /// Who answers there, or is expected to.
    pub peer: Option<PeerId>,
}

/// What a router knows, in two numbers. Routers that reach each other all know the same, and everything, when `all` of
/// each is the sum of every one's `own`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Knowledge {
    /// Sum of the marks of the records of all routers that are reachable, this one included.
    pub all: u64,
    /// Sum of the marks of its own records.
    pub own: u64,
}

impl Mesh {
    /// What this router knows.
    #[must_use]
    pub fn knowledge(&self) -> Knowledge {
        let own = self.store.records(&self.own.id);
        Knowledge {
            all: self.store.reached(),
            own: own.fold(0, |sum: u64, record| sum.wrapping_add(record.mark())),
        }
    }

    /// Bytes of this router's own records, as they spread.
    #[must_use]
    pub fn own_bytes(&self) -> usize {
        let own = self.store.records(&self.own.id);
        own.map(|record| record.bytes().len()).sum()
    }

    /// Records that this router has issued under its epoch.
    #[must_use]
    pub fn issued(&self) -> u64 {
        self.own.issued()
    }

    /// All known routers, this one included, in the order of their ids.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerView> {
        let view = |(id, info): (&PeerId, &PeerInfo)| PeerView {
            id: *id,
            info: Some(info.clone()),
            reachable: self.is_reachable(id),
            links: self.links_of(id),
        };
        self.store.infos().map(view).collect()
    }

    fn links_of(&self, id: &PeerId) -> Vec<(PeerId, u64)> {
        let number = self.store.find(id);
        let told = number.map_or(&[][..], |number| self.store.links(number));
        let told = told.iter().filter_map(|adjacency| {
            let neighbor = self.store.named(adjacency.neighbor)?;
            Some((neighbor, u64::from(adjacency.delay_us()) * 2))
        });
        if *id != self.own.id {
            return told.collect();
        }
        let measured = |peer: &PeerId| self.links.with(peer).and_then(|link| link.rtt.smoothed_us());
        told.map(|(peer, rtt)| (peer, measured(&peer).unwrap_or(rtt)))
            .collect()
    }

    /// A number over all records of reachable routers: two routers that hold the same have the same.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.store.reached()
    }

    /// The same, worked out from nothing.
    #[cfg(test)]
    pub(crate) fn digest_anew(&self) -> u64 {
        let known = self.store.infos().map(|(id, _)| id);
        let covered = known.filter(|id| self.is_reachable(id));
        let records = covered.flat_map(|id| self.store.records(id));
        records.fold(0, |sum, record| sum.wrapping_add(record.mark()))
    }

    /// All links of this router, in the order of their numbers.
    #[must_use]
    pub fn links(&self) -> Vec<LinkView> {
        let links = self.links.iter().map(|link| LinkView {
            link: link.id,
            peer: link.peer,
            address: link.address,
            direction: link.direction,
            state: match link.phase {
                Phase::Up { .. } => LinkStatus::Established,
                _ => LinkStatus::Handshaking,
            },
            rtt_us: link.rtt.smoothed_us(),
            target: link.target.clone(),
        });
        links.collect()
    }

    /// All targets, in the order of their texts. Of a linked router's discovered addresses only the one in use.
    #[must_use]
    pub fn targets(&self) -> Vec<TargetView> {
        let is_shown = |(_, target): &(&TargetId, &Target)| {
            target.source != Source::Discovered
                || target.stage == Stage::Connected
                || target.peer.is_none_or(|peer| self.links.with(&peer).is_none())
        };
        self.connector
            .targets()
            .filter(is_shown)
            .map(|(id, target)| self.target_view(id, target))
            .collect()
    }

    fn target_view(&self, id: &TargetId, target: &Target) -> TargetView {
        let is_linked = target.peer.is_some_and(|peer| self.links.with(&peer).is_some());
        let (state, next_try) = match target.stage {
            Stage::Own => (TargetState::Failed, None),
            _ if is_linked => (TargetState::Established, None),
            Stage::Connected => (TargetState::Handshaking, None),
            Stage::Dialling(_) => (TargetState::Connecting, None),
            Stage::Waiting(at) if target.tries == 0 => (TargetState::Connecting, Some(at)),
            Stage::Waiting(at) => (TargetState::Retrying, Some(at)),
        };
        TargetView {
            target: id.text.clone(),
            state,
            next_try,
            error: target.error.clone().filter(|_| state != TargetState::Established),
            discovered: target.source != Source::Given,
            peer: target.peer,
        }
    }

    /// The data routes to all routers that have one, in the order of their ids.
    #[must_use]
    pub fn routes(&self) -> Vec<(PeerId, Route)> {
        self.routes.all(&self.store, &self.graph)
    }

    /// The data route to a router.
    #[must_use]
    pub fn route(&self, peer: &PeerId) -> Option<Route> {
        let to = self.store.find(peer)?;
        self.routes.get(&self.store, &self.graph, to)
    }

    /// What a router says of itself.
    #[must_use]
    pub fn info(&self, peer: &PeerId) -> Option<&PeerInfo> {
        self.store.info(peer)
    }
}
