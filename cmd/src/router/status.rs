//! The router's state as `weft status` shows it.

use super::Router;
use crate::status::model::{
    self, Attachment, Connection, Overlay, Peer, PeerLink, Route, State, Status, Target,
};
use mesh::{Direction, DropReason, PeerId, TargetState};
use serde_json::Value;
use sleeve::{PathState, PathView};
use std::collections::BTreeMap;

/// As the control socket carries it.
pub(crate) fn to_json(status: &Status) -> Result<Value, String> {
    serde_json::to_value(status).map_err(|error| error.to_string())
}

impl Router {
    /// Everything; `guard` is what the port guard has dropped.
    pub(crate) fn status(&self, guard: &BTreeMap<DropReason, u64>) -> Status {
        let paths: BTreeMap<_, _> = self
            .sleeve
            .paths(self.shore.clock.now())
            .into_iter()
            .map(|path| (path.peer, path))
            .collect();
        let encrypted = paths
            .values()
            .filter(|path| path.state != PathState::Probing)
            .all(|path| path.encrypted);
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            name: self.settings.name.clone(),
            peer_id: self.settings.id.to_string(),
            encrypted,
            listen: self.settings.listen.to_string(),
            peers: self.peers(),
            connections: self.connections(&paths),
            routes: self.routes(),
            targets: self.targets(),
            attachments: self.attachments(),
            drops: self.counted(guard),
        }
    }

    fn peers(&self) -> Vec<Peer> {
        let peer = |peer: mesh::PeerView| Peer {
            peer_id: peer.id.to_string(),
            name: self.name(&peer.id),
            own: peer.id == self.settings.id,
            reachable: peer.reachable,
            sessions: self.sleeve.sessions_made(&peer.id),
            links: peer
                .links
                .iter()
                .map(|(id, rtt_us)| PeerLink {
                    peer_id: id.to_string(),
                    rtt_us: *rtt_us,
                })
                .collect(),
        };
        let mut peers: Vec<_> = self.mesh.peers().into_iter().map(peer).collect();
        peers.sort_by_key(|peer| (!peer.own, peer.name.clone(), peer.peer_id.clone()));
        peers
    }

    /// Links, then data paths without link, then what is being dialled.
    fn connections(&self, paths: &BTreeMap<PeerId, PathView>) -> Vec<Connection> {
        let mut rows = Vec::new();
        let mut shown = Vec::new();
        for link in self.mesh.links() {
            let path = paths.get(&link.peer);
            let state = if link.state == mesh::LinkStatus::Established {
                State::Established
            } else {
                State::Handshaking
            };
            let mut row = self.row(link.address.to_string(), state, link.direction, Some(link.peer));
            row.rtt_us = link.rtt_us.or_else(|| path.and_then(|path| path.rtt_us));
            if path.is_some_and(|path| path.address.is_none_or(|address| address == link.address)) {
                shown.push(link.peer);
                self.carry(&mut row, path);
            }
            rows.push(row);
        }
        for (peer, path) in paths.iter().filter(|(peer, _)| !shown.contains(peer)) {
            let Some(address) = path.address else { continue };
            let up = path.state != PathState::Probing;
            let state = if up { State::Established } else { State::Connecting };
            let mut row = self.row(address.to_string(), state, Direction::Out, Some(*peer));
            row.rtt_us = path.rtt_us;
            self.carry(&mut row, Some(path));
            rows.push(row);
        }
        for target in self.mesh.targets() {
            let state = state(target.state);
            if state != State::Established {
                let mut row = self.row(target.target, state, Direction::Out, target.peer);
                row.error = target.error;
                rows.push(row);
            }
        }
        // One row per router and address: what works stands for what was tried besides.
        let key = |row: &Connection| (row.address.clone(), row.peer_id.clone());
        rows.sort_by_key(|row| (key(row), row.state, row.overlay.is_none()));
        rows.dedup_by_key(|row| key(row));
        rows.sort_by_key(|row| (row.state, row.name.clone(), row.address.clone()));
        rows
    }

    fn row(&self, address: String, state: State, direction: Direction, peer: Option<PeerId>) -> Connection {
        Connection {
            address,
            peer_id: peer.map(|peer| peer.to_string()),
            name: peer.map(|peer| self.name(&peer)),
            state,
            direction,
            overlay: None,
            overlay_reason: None,
            stale: None,
            encrypted: None,
            mtu: None,
            rtt_us: None,
            error: None,
        }
    }

    /// Fills in what data to that router uses, if it goes there directly.
    fn carry(&self, row: &mut Connection, path: Option<&PathView>) {
        let Some(path) = path.filter(|path| path.state != PathState::Probing) else {
            return;
        };
        row.overlay = Some(self.overlay(&path.peer));
        row.overlay_reason = self.overlay_reason(&path.peer);
        row.stale = Some(self.fast.is_stale(&path.peer));
        row.encrypted = Some(path.encrypted);
        row.mtu = Some(path.mtu);
    }

    fn routes(&self) -> Vec<Route> {
        let route = |(peer, route): (PeerId, mesh::Route)| Route {
            peer_id: peer.to_string(),
            name: self.name(&peer),
            path: route.path.iter().map(|hop| self.name(hop)).collect(),
            hops: route.path.len(),
            cost_us: route.cost_us,
            overlay: self.overlay(&peer),
            overlay_reason: self.overlay_reason(&peer),
            stale: self.fast.is_stale(&peer),
            direct: route.path.len() == 1,
        };
        let mut routes: Vec<_> = self.mesh.routes().into_iter().map(route).collect();
        routes.sort_by_key(|route| (route.name.clone(), route.peer_id.clone()));
        routes
    }

    fn overlay_reason(&self, peer: &PeerId) -> Option<String> {
        self.fast.why(peer, &|peer| self.name(peer))
    }

    fn overlay(&self, peer: &PeerId) -> Overlay {
        if self.fast.is_fast(peer) {
            Overlay::Fast
        } else {
            Overlay::Sleeve
        }
    }

    fn targets(&self) -> Vec<Target> {
        let now = self.shore.clock.now();
        let target = |target: mesh::TargetView| Target {
            address: target.target,
            state: state(target.state),
            next_try_ms: target
                .next_try
                .map(|at| u64::try_from(at.since(now).as_millis()).unwrap_or(u64::MAX)),
            error: target.error,
        };
        let mut targets: Vec<_> = self.mesh.targets().into_iter().map(target).collect();
        // An address may be a target both as such and as that of a certain router.
        targets.sort_by_key(|target| (target.address.clone(), target.state));
        targets.dedup_by(|other, first| other.address == first.address);
        targets
    }

    fn attachments(&self) -> Vec<Attachment> {
        let attachment = |attachment: &crate::state::Attachment| Attachment {
            netns: attachment.port.netns.path.display().to_string(),
            pid: attachment.pid,
            ifname: attachment.port.ifname.clone(),
            mac: attachment.port.mac.to_string(),
            addresses: attachment
                .port
                .addresses
                .iter()
                .map(|(a, prefix)| format!("{a}/{prefix}"))
                .collect(),
        };
        self.containers.attached.iter().map(attachment).collect()
    }

    fn counted(&self, guard: &BTreeMap<DropReason, u64>) -> BTreeMap<String, u64> {
        let mut drops: BTreeMap<_, _> = self
            .drops
            .nonzero()
            .map(|(reason, count)| (reason.name().to_owned(), count))
            .collect();
        for (reason, count) in guard.iter().filter(|(_, count)| **count > 0) {
            *drops.entry(reason.name().to_owned()).or_default() += count;
        }
        drops
    }
}

fn state(state: TargetState) -> model::State {
    match state {
        TargetState::Established => State::Established,
        TargetState::Handshaking => State::Handshaking,
        TargetState::Connecting => State::Connecting,
        TargetState::Retrying => State::Retrying,
        TargetState::Failed => State::Failed,
    }
}
