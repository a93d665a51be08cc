//! What the two cores ask for, done.

use super::Router;
use crate::control::{Echo, PingPath};
use crate::link::CloseCode;
use mesh::{Input, Output, PeerId, PeerInfo};
use std::net::SocketAddr;
use tracing::{debug, info, warn};

/// First byte of payloads that routers exchange for `weft ping --control`; smaller ones are sleeve's.
const CONTROL_PING: u8 = 0x80;
const CONTROL_PONG: u8 = 0x81;

impl Router {
    /// Gives the core an input.
    pub(crate) fn feed(&mut self, input: Input) {
        let now = self.shore.clock.now();
        self.recording.input(now, &input);
        self.mesh.handle_input(now, input);
    }

    /// Gives sleeve an input.
    pub(crate) fn feed_sleeve(&mut self, input: sleeve::Input) {
        self.sleeve.handle_input(self.shore.clock.now(), input);
    }

    /// Does what the cores ask for until they ask for nothing more.
    pub(crate) fn drain(&mut self) {
        loop {
            if let Some(output) = self.mesh.poll_output() {
                self.recording.output(&output);
                self.mesh_output(output);
            } else if let Some(output) = self.sleeve.poll_output() {
                self.sleeve_output(output);
            } else {
                return;
            }
        }
    }

    fn mesh_output(&mut self, output: Output) {
        match output {
            Output::Dial { target, expect } => self.dialer.dial(target, expect),
            // Near links are found among those that others made, and what answers by dialling it.
            Output::Probe { .. } => {}
            Output::Close { link, reason } => {
                if let Some(handle) = self.links.get(&link) {
                    handle.close(CloseCode::Closed, reason);
                }
            }
            Output::Send {
                link,
                packet,
                reliable,
            } => {
                if let Some(handle) = self.links.get(&link) {
                    if reliable {
                        handle.send(packet.bytes().to_vec());
                    } else {
                        handle.send_datagram(packet.bytes().to_vec());
                    }
                }
            }
            Output::Deliver { from, payload } => self.deliver(from, payload),
            Output::Peer(info) => self.peer(info),
            Output::PeerLabel { peer, label } => self.peer_label(peer, label),
            Output::PeerGone(peer) => {
                self.feed_sleeve(sleeve::Input::PeerGone(peer));
                self.fast_forget(peer);
            }
            Output::Neighbor { peer, address } => self.neighbor(peer, address),
            Output::Route { peer, route } => {
                let path = route.as_ref().map(|route| route.path.clone());
                self.feed_sleeve(sleeve::Input::Route { peer, route });
                self.feed_fast(fastpath::overlay::Input::Route { peer, path });
            }
            Output::Detour {
                neighbor,
                label,
                route,
            } => self.shore.plane.set_detour(neighbor, label, route.as_ref()),
            Output::Tree { vni, source, tree } => {
                self.fast_tree(vni, source, tree.clone());
                self.feed_sleeve(sleeve::Input::Tree { vni, source, tree });
            }
            Output::Label { label, neighbor } => self.shore.plane.set_label(label, neighbor),
            Output::Fdb(change) => {
                self.shore.plane.apply_fdb(&change);
                self.fast_fdb(change.vni, &change.change);
            }
            Output::Name(change) => self.names.apply(change),
            Output::NameRefused { vni, name } => self.name_refused(vni, &name),
            Output::PersistEpoch(epoch) => self.persist_epoch(epoch),
            Output::PersistTargets(targets) => {
                self.memory.targets = targets;
                self.persist_memory();
            }
            Output::KeepAddresses { vni, batch } => self.persist_addresses(vni, batch),
            Output::Networks(table) => self.networks_changed(table),
            Output::Network { number, result } => self.network_answered(number, result),
            Output::Allocated { number, result } => self.allocated(number, result),
            Output::Reclaimed { number, result } => self.reclaimed(number, result),
            Output::Log(event) => self.log_mesh(&event),
        }
    }

    fn sleeve_output(&mut self, output: sleeve::Output) {
        match output {
            sleeve::Output::Control { to, payload } => self.feed(Input::SendTo { peer: to, payload }),
            sleeve::Output::Datagram { to, bytes } => sleeve::Sink::datagram(&mut self.shore, to, &bytes),
            sleeve::Output::PathUp { peer, mtu, rtt } => {
                self.feed(Input::PathUp { peer, mtu, rtt });
                self.path_changed(peer);
            }
            sleeve::Output::PathDown { peer } => {
                self.feed(Input::PathDown { peer });
                self.path_changed(peer);
            }
            sleeve::Output::UseTree { vni, source } => self.feed(Input::UseTree { vni, source }),
            sleeve::Output::EspInbound { .. }
            | sleeve::Output::EspOutbound { .. }
            | sleeve::Output::EspRefused { .. } => self.esp_agreed(output),
            sleeve::Output::Pong { id, rtt, path, .. } => {
                let path = path.iter().map(|hop| self.name(hop)).collect();
                self.pings.finish(id, Ok(Echo { rtt, path }));
            }
            sleeve::Output::PingFailed { id, why } => self.pings.finish(id, Err(why.to_string())),
            sleeve::Output::Log(event) => self.log_sleeve(&event),
        }
    }

    /// A router's record must name the data key that the router proved on its link.
    fn peer(&mut self, info: PeerInfo) {
        let of_peer = self.links.values().filter(|link| link.peer == info.peer);
        for link in of_peer.filter(|link| link.data_public != info.data_key) {
            link.close(CloseCode::Protocol, "its record names another data key");
        }
        self.fast_peer(&info);
        self.feed_sleeve(sleeve::Input::Peer(info));
    }

    fn neighbor(&mut self, peer: PeerId, address: Option<SocketAddr>) {
        if address.is_some() && !self.memory.met {
            self.memory.met = true;
            self.persist_memory();
        }
        self.feed_sleeve(sleeve::Input::Neighbor { peer, address });
    }

    /// A payload from another router: sleeve's, or a ping over the control plane.
    fn deliver(&mut self, from: PeerId, payload: Vec<u8>) {
        match payload.split_first() {
            Some((&CONTROL_PING, nonce)) if nonce.len() == 8 => {
                let answer = [&[CONTROL_PONG], nonce].concat();
                self.feed(Input::SendTo {
                    peer: from,
                    payload: answer,
                });
            }
            Some((&CONTROL_PONG, nonce)) => {
                if let Ok(nonce) = nonce.try_into() {
                    self.control_pong(from, u64::from_be_bytes(nonce));
                }
            }
            _ => self.feed_sleeve(sleeve::Input::Control { from, payload }),
        }
    }

    /// Sends a ping over the control plane.
    pub(crate) fn control_ping(&mut self, id: u64, peer: PeerId) {
        let payload = [&[CONTROL_PING][..], &id.to_be_bytes()].concat();
        self.feed(Input::SendTo { peer, payload });
    }

    fn control_pong(&mut self, from: PeerId, id: u64) {
        let now = self.shore.clock.now();
        let Some(sent) = self
            .pings
            .sent(id, from)
            .filter(|(_, how)| matches!(how, PingPath::Control))
        else {
            return;
        };
        let hops = self.mesh.control_path(&from).unwrap_or_default();
        let path = hops.iter().map(|hop| self.name(hop)).collect();
        self.pings.finish(
            id,
            Ok(Echo {
                rtt: now.since(sent.0),
                path,
            }),
        );
    }

    fn log_sleeve(&self, event: &sleeve::Event) {
        use sleeve::Event as E;
        match event {
            E::SessionUp { peer, cipher } => debug!(peer = self.name(peer), %cipher, "session"),
            E::HandshakeRefused { peer, reason, detail } => {
                warn!(
                    peer = self.name(peer),
                    reason = reason.name(),
                    "session handshake refused: {detail}"
                );
            }
            E::PathUp { peer, address } => info!(peer = self.name(peer), %address, "direct data path"),
            E::PathDown {
                peer,
                address,
                reason,
            } => {
                info!(peer = self.name(peer), %address, "direct data path lost: {reason}");
            }
            E::PathTooNarrow { peer, address } => {
                warn!(peer = self.name(peer), %address, "packets of 1280 bytes do not pass: this path is unusable");
            }
        }
    }

    fn log_mesh(&self, event: &mesh::Event) {
        use mesh::Event as E;
        match event {
            E::LinkUp { peer, name, address } => {
                let name = name.as_ref().map_or_else(|| peer.brief(), ToString::to_string);
                info!(peer = name, id = peer.brief(), %address, "link up");
            }
            E::LinkDown { peer, reason } => info!(peer = self.name(peer), "link down: {reason}"),
            E::Refused { reason, detail } => self.log_refusal(*reason, detail),
            E::Addresses { event, .. } => self.log_addresses(event),
            E::Clone { detail } => warn!("another router uses the same identity: {detail}"),
        }
    }
}
