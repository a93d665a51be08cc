//! Connections at work: dials, the proof of the secret, control messages, ends.
//!
//! ```text
//! dialler                               the other end
//!   Initial          ──────────────▶    1 latency
//!   expects somebody ◀── Welcome ───    2
//!   proof 1          ──────────────▶    3
//!   link up (4)      ◀── proof 2 ───
//!   proof 3          ──────────────▶    5: link up
//! ```
//! What does not pass a wire is tried again, in order, with QUIC's backoff. A connection ends when one end closes it
//! (the other learns if that packet passes), when its handshake takes too long, or when it was idle for too long.
//! A process that was killed says nothing, nor does the next one on its host: no stateless resets (RFC 9000,
//! section 10.3), so that routers are seen to do without.

use crate::connection::{
    ACK, CloseCode, Connection, FIRST_PACKET, HANDSHAKE_TIME, IDLE, OVERHEAD, Packet, SETTLING, Stage,
};
use crate::router::NewLink;
use crate::world::Event;
use crate::{Class, HostId, World};
use crypto::{LinkError, LinkInitiator, LinkProof, LinkResponder};
use mesh::{DropReason, LinkId, PeerId};

/// Number of a connection, never used again.
pub(crate) type Number = u64;

impl World {
    /// A router dials.
    pub(crate) fn dial(&mut self, from: HostId, target: String, expect: Option<PeerId>) {
        self.dial_offering(from, target, expect, 0);
    }

    /// The same, and offers that one of its secrets, oldest first.
    fn dial_offering(&mut self, from: HostId, target: String, expect: Option<PeerId>, secret: usize) {
        let now = self.clock.now();
        let run = self.hosts[from.0].run;
        let remote = target.parse().ok();
        let to = remote.and_then(|remote| Some((self.behind(from, remote)?, remote)));
        let Some((to, remote)) = to else {
            // A host that is not there answers as little as one that is cut off.
            let error = "no answer: is a router running there, and is its UDP port open?".to_owned();
            let event = Event::DialFailed {
                host: from,
                run,
                target,
                error,
                own: false,
            };
            return self.clock.plan(now + HANDSHAKE_TIME, event);
        };
        let number = self.connections.next_number();
        let exporter = self.random.fork("exporter", number).bytes();
        let addresses = (self.hosts[from.0].address, remote);
        let mut connection = Connection::new(now, (from, run), to, addresses, exporter, (target, expect));
        connection.secret = secret;
        self.connections.push(connection);
        self.clock
            .plan(now + HANDSHAKE_TIME, Event::HandshakeDue { number, end: 0 });
        self.clock.plan(now + IDLE, Event::IdleDue { number, end: 0 });
        self.transmit(number, 0, Packet::Initial);
    }

    /// A router sends over a link.
    pub(crate) fn send_over(&mut self, host: HostId, link: LinkId, packet: mesh::Packet, reliable: bool) {
        let Some(&(number, end)) = self.hosts[host.0].links.get(&link) else {
            return;
        };
        if reliable {
            return self.transmit(number, end, Packet::Message(packet));
        }
        let Some((from, to)) = self.parties(number, end) else {
            return;
        };
        let size = packet.len() + OVERHEAD;
        let passage = self.carry_along(number, end, size, (Class::Keepalive, 1));
        self.lossy_count += 1;
        if self.lossy_count.is_multiple_of(2) {
            // A ping is acknowledged by the packet that answers it; the answer by one of its own.
            self.count_more(to, from, Class::Ack, 1, ACK);
        }
        if let Some(passage) = passage.filter(|_| self.is_there(number, 1 - end)) {
            let event = Event::Lossy {
                number,
                end: 1 - end,
                packet,
            };
            self.clock.plan(passage.at, event);
        }
    }

    /// A host says this over all its router's links, whatever its core thinks of that.
    pub fn speak(&mut self, host: HostId, packet: &mesh::Packet) {
        let links: Vec<_> = self.hosts[host.0].links.keys().copied().collect();
        for link in links {
            self.send_over(host, link, packet.clone(), true);
        }
    }

    /// A router closes a link.
    pub(crate) fn close_link(&mut self, host: HostId, link: LinkId, reason: &str) {
        if let Some(&(number, end)) = self.hosts[host.0].links.get(&link) {
            self.close(number, end, CloseCode::Closed, reason);
        }
    }

    /// A process ended: its connections say nothing any more.
    pub(crate) fn abandon(&mut self, host: HostId) {
        self.hosts[host.0].links.clear();
        for connection in self.connections.values_mut() {
            for end in connection.ends.iter_mut().filter(|end| end.host == host) {
                end.stage = Stage::Closed;
                end.waiting.clear();
            }
        }
        self.connections.drop_over();
    }

    /// A host has moved: connections that others made to it lead nowhere, its own move along.
    pub(crate) fn sever(&mut self, host: HostId) {
        let place = &self.hosts[host.0];
        let (address, is_open) = (place.address, place.nat.is_none());
        for connection in self.connections.values_mut() {
            connection.severed |= connection.ends[1].host == host;
            if is_open && connection.ends[0].host == host {
                connection.ends[1].remote = address;
            }
        }
    }

    /// A process ends cleanly: all its connections are closed.
    pub(crate) fn close_all(&mut self, host: HostId) {
        let of_host = self.connections.iter().flat_map(|(number, connection)| {
            let ends = connection.ends.iter().enumerate();
            ends.filter(move |(_, end)| end.host == host)
                .map(move |(end, _)| (number, end))
        });
        for (number, end) in of_host.collect::<Vec<_>>() {
            self.close(number, end, CloseCode::Closed, "the router stops");
        }
    }

    /// A packet arrives.
    pub(crate) fn packet(&mut self, number: Number, end: usize, packet: Packet) {
        let (now, host) = match self.connections.get(number) {
            Some(connection) => (self.clock.now(), connection.ends[end].host),
            None => return,
        };
        let run = self.hosts[host.0].run;
        let running = self.hosts[host.0].router.is_some();
        let Some(connection) = self.connections.get_mut(number) else {
            return;
        };
        let there = &mut connection.ends[end];
        if !running || there.is_closed() || *there.run.get_or_insert(run) != run {
            return;
        }
        there.heard = now;
        match packet {
            Packet::Message(packet) => {
                if let Some(link) = there.link() {
                    self.router_input(host, mesh::Input::Message { link, packet });
                }
            }
            Packet::Initial => {
                self.clock
                    .plan(now + HANDSHAKE_TIME, Event::HandshakeDue { number, end });
                self.clock.plan(now + IDLE, Event::IdleDue { number, end });
                self.transmit(number, end, Packet::Welcome);
            }
            Packet::Welcome => self.welcomed(number, end),
            Packet::Proof(bytes) => self.proof(number, end, &bytes),
        }
    }

    /// A message that may be lost arrives.
    pub(crate) fn lossy(&mut self, number: Number, end: usize, packet: mesh::Packet) {
        let now = self.clock.now();
        let Some(there) = self
            .connections
            .get_mut(number)
            .map(|connection| &mut connection.ends[end])
        else {
            return;
        };
        there.heard = now;
        if let (Some(link), host) = (there.link(), there.host) {
            self.router_input(host, mesh::Input::Message { link, packet });
        }
    }

    /// The other end's close arrives.
    pub(crate) fn closed(&mut self, number: Number, end: usize, code: CloseCode, reason: &str) {
        if code == CloseCode::SecretRefused && end == 0 && self.offers_next(number) {
            return;
        }
        let text = match code {
            CloseCode::SecretRefused => {
                "the other router refused the secret: it belongs to another mesh, or the secret was retired"
                    .into()
            }
            CloseCode::SelfLink => "this is the router itself".into(),
            CloseCode::Closed | CloseCode::Protocol => format!("closed by the other router: {reason}"),
        };
        self.finish(number, end, text, None);
    }

    /// The secret that the dialler offered was refused: true if it has another one, and dials again with that, as the
    /// daemon does.
    fn offers_next(&mut self, number: Number) -> bool {
        let Some(connection) = self.connections.get_mut(number) else {
            return false;
        };
        let (host, run) = (connection.ends[0].host, connection.ends[0].run);
        let secret = connection.secret + 1;
        let place = &self.hosts[host.0];
        let router = place.router.as_ref().filter(|_| run == Some(place.run));
        let has_next = router.is_some_and(|router| router.disk.keyring.secrets().nth(secret).is_some());
        if !has_next || !matches!(connection.ends[0].stage, Stage::Offering(_)) {
            return false;
        }
        connection.ends[0].stage = Stage::Closed;
        let (target, expect) = (connection.target.clone(), connection.expect);
        self.finish(number, 0, String::new(), None);
        self.dial_offering(host, target, expect, secret);
        true
    }

    /// The time for the handshake is over.
    pub(crate) fn handshake_due(&mut self, number: Number, end: usize) {
        let Some(connection) = self.connections.get(number) else {
            return;
        };
        let there = &connection.ends[end];
        let (is_over, host) = (there.is_closed() || there.link().is_some(), there.host);
        if is_over {
            return;
        }
        if end == 1 {
            self.count(host, DropReason::NoProof);
        }
        self.close(number, end, CloseCode::Closed, "");
    }

    /// Perhaps nothing came for too long.
    pub(crate) fn idle_due(&mut self, number: Number, end: usize) {
        let Some(connection) = self.connections.get(number) else {
            return;
        };
        let due = connection.ends[end].heard + IDLE;
        if due > self.clock.now() {
            self.clock.plan(due, Event::IdleDue { number, end });
        } else {
            self.finish(number, end, "no answer".into(), None);
        }
    }

    /// The dialler sees who answers.
    fn welcomed(&mut self, number: Number, end: usize) {
        let Some((from, to)) = self.parties(number, end) else {
            return;
        };
        let (own, peer) = (self.id(from), self.id(to));
        let Some(connection) = self.connections.get_mut(number) else {
            return;
        };
        if peer == own {
            return self.refuse(
                number,
                end,
                CloseCode::SelfLink,
                "this is the router itself",
                true,
            );
        }
        if connection.expect.is_some_and(|expected| expected != peer) {
            return self.refuse(
                number,
                end,
                CloseCode::Protocol,
                "another router answers there",
                false,
            );
        }
        let Some(router) = &self.hosts[from.0].router else {
            return;
        };
        let mut random = self.random.fork("link", number * 2);
        let (identity, keyring) = (&router.disk.identity, &router.disk.keyring);
        // One that was offered before may have been retired meanwhile.
        let secret = keyring.secrets().nth(connection.secret);
        let secret = secret.unwrap_or_else(|| keyring.preferred());
        match LinkInitiator::new(
            identity,
            &connection.exporter,
            &own.0,
            &peer.0,
            secret,
            &mut random,
        ) {
            Ok((initiator, first)) => {
                connection.ends[end].stage = Stage::Offering(initiator);
                self.transmit(number, end, Packet::Proof(first));
            }
            Err(error) => self.refuse_link(number, end, error),
        }
    }

    /// A message of the proof arrives.
    fn proof(&mut self, number: Number, end: usize, bytes: &[u8]) {
        let Some((near, far)) = self.parties(number, end) else {
            return;
        };
        let (own, peer) = (self.id(near), self.id(far));
        let Some(connection) = self.connections.get_mut(number) else {
            return;
        };
        let Some(router) = &self.hosts[near.0].router else {
            return;
        };
        let stage = std::mem::replace(&mut connection.ends[end].stage, Stage::Listening);
        match stage {
            Stage::Offering(initiator) => match initiator.finish(bytes) {
                Ok((third, proof)) => {
                    self.transmit(number, end, Packet::Proof(third));
                    self.up(number, end, peer, &proof);
                }
                Err(error) => self.refuse_link(number, end, error),
            },
            Stage::Listening => {
                let mut random = self.random.fork("link", number * 2 + 1);
                let (identity, keyring) = (&router.disk.identity, &router.disk.keyring);
                let exporter = &connection.exporter;
                match LinkResponder::accept(identity, exporter, &own.0, &peer.0, keyring, bytes, &mut random)
                {
                    Ok((responder, second)) => {
                        connection.ends[end].stage = Stage::Answering(responder);
                        self.transmit(number, end, Packet::Proof(second));
                    }
                    Err(error) => self.refuse_link(number, end, error),
                }
            }
            Stage::Answering(responder) => match responder.finish(bytes) {
                Ok(proof) => self.up(number, end, peer, &proof),
                Err(error) => self.refuse_link(number, end, error),
            },
            stage => connection.ends[end].stage = stage,
        }
    }

    fn up(&mut self, number: Number, end: usize, peer: PeerId, proof: &LinkProof) {
        let Some(connection) = self.connections.get(number) else {
            return;
        };
        let (near, address) = (connection.ends[end].host, connection.ends[end].remote);
        let router = self.hosts[near.0].router.as_ref();
        if router.is_some_and(|router| router.disk.keyring.get(&proof.secret).is_none()) {
            // It was retired while the handshake went on.
            let theirs = proof.secret;
            return self.refuse_link(number, end, LinkError::UnknownSecret { theirs });
        }
        let far = connection.ends[1 - end].host;
        let target = connection.target.clone();
        let link = NewLink {
            peer,
            data_public: proof.data_public,
            address,
            target: (end == 0).then_some(target),
        };
        let Some(id) = self.hosts[near.0].router.as_mut().map(crate::Router::new_link) else {
            return;
        };
        self.hosts[near.0].links.insert(id, (number, end));
        if let Some(connection) = self.connections.get_mut(number) {
            connection.ends[end].stage = Stage::Up(id);
        }
        self.count_more(near, far, Class::Handshake, SETTLING.0, SETTLING.1);
        self.look_at_secret(near, far, proof.secret);
        self.with_router(near, |router| router.link_up(id, link));
    }

    fn refuse_link(&mut self, number: Number, end: usize, error: LinkError) {
        let (code, reason) = match error {
            LinkError::UnknownSecret { .. } | LinkError::Unauthentic => {
                (CloseCode::SecretRefused, DropReason::SecretRefused)
            }
            LinkError::SelfLink => (CloseCode::SelfLink, DropReason::SelfLink),
            LinkError::Malformed | LinkError::Randomness => (CloseCode::Protocol, DropReason::LinkHandshake),
        };
        if let Some((near, _)) = self.parties(number, end).filter(|_| end == 1) {
            self.count(near, reason);
        }
        self.refuse(number, end, code, &error.to_string(), false);
    }

    /// Ends a handshake with an error of this end's.
    fn refuse(&mut self, number: Number, end: usize, code: CloseCode, error: &str, own: bool) {
        self.say_closed(number, end, code, error);
        self.finish(number, end, error.to_owned(), Some(own));
    }

    fn close(&mut self, number: Number, end: usize, code: CloseCode, reason: &str) {
        self.say_closed(number, end, code, reason);
        self.finish(number, end, format!("closed here: {reason}"), None);
    }

    /// Tells the other end. While it goes on sending it is told again and again, so loss alone hides nothing; a
    /// block does.
    fn say_closed(&mut self, number: Number, end: usize, code: CloseCode, reason: &str) {
        let Some((from, to)) = self.parties(number, end) else {
            return;
        };
        let (wire, leads) = (self.network.wire(from, to), self.leads(number, end));
        let Some(connection) = self.connections.get(number) else {
            return;
        };
        let passes =
            leads && !wire.blocked && usize::from(wire.mtu) >= FIRST_PACKET && self.is_there(number, 1 - end);
        if passes && !connection.ends[end].is_closed() {
            let at = connection.ends[end]
                .last_arrival
                .max(self.clock.now() + wire.latency);
            let (end, reason) = (1 - end, reason.to_owned());
            self.clock.plan(
                at,
                Event::Closed {
                    number,
                    end,
                    code,
                    reason,
                },
            );
        }
    }

    /// This end is over; its router learns it. `own`: the dial reached the router itself.
    fn finish(&mut self, number: Number, end: usize, reason: String, own: Option<bool>) {
        let now = self.clock.now();
        let Some(connection) = self.connections.get_mut(number) else {
            return;
        };
        let there = &mut connection.ends[end];
        let stage = std::mem::replace(&mut there.stage, Stage::Closed);
        there.waiting.clear();
        let (host, run) = (there.host, there.run);
        match (stage, run) {
            (Stage::Closed, _) | (_, None) => {}
            (Stage::Up(link), Some(run)) => {
                self.hosts[host.0].links.remove(&link);
                self.clock.plan(
                    now,
                    Event::Down {
                        host,
                        run,
                        link,
                        reason,
                    },
                );
            }
            (_, Some(run)) if end == 0 => {
                let target = connection.target.clone();
                let (error, own) = (reason, own.unwrap_or(false));
                self.clock.plan(
                    now,
                    Event::DialFailed {
                        host,
                        run,
                        target,
                        error,
                        own,
                    },
                );
            }
            _ => {}
        }
        let Some(connection) = self.connections.get_mut(number) else {
            return;
        };
        let other = &mut connection.ends[1 - end];
        if other.run.is_none() {
            // Nobody there ever heard of it.
            other.stage = Stage::Closed;
        }
        if connection.is_over() {
            self.connections.remove(number);
        }
    }

    /// The host of this end and that of the other.
    pub(crate) fn parties(&self, number: Number, end: usize) -> Option<(HostId, HostId)> {
        let ends = &self.connections.get(number)?.ends;
        Some((ends[end].host, ends[1 - end].host))
    }

    /// True while a process is at this end that knows the connection, or may learn of it.
    pub(crate) fn is_there(&self, number: Number, end: usize) -> bool {
        self.connections.get(number).is_some_and(|connection| {
            let end = &connection.ends[end];
            let host = &self.hosts[end.host.0];
            !connection.severed
                && !end.is_closed()
                && host.router.is_some()
                && end.run.is_none_or(|run| run == host.run)
        })
    }
}
