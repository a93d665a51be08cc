//! What the core does when links come, change and go, and with the messages that come over them.

use crate::connector::{Act, Around};
use crate::ipam::ASK_BYTE;
use crate::link::{Happened, Link, MAX_LINKS, Phase};
use crate::routed;
use crate::wire::{Message, WireError};
use crate::{
    Delay, Direction, DropReason, Event, Instant, LinkId, MAX_MESSAGE, Mesh, Output, Packet, PeerId,
};
use std::net::SocketAddr;
use std::time::Duration;

/// Connections that are being turned away at a time.
const TURNED_AWAY: usize = 64;
/// How long a neighbour that forwarded too many invalid signatures is kept off.
const SHUNNED: Duration = Duration::from_secs(60);

impl Mesh {
    /// A connection is authenticated.
    pub(crate) fn link_up(
        &mut self,
        now: Instant,
        ids: (LinkId, PeerId, SocketAddr),
        direction: Direction,
        target: Option<String>,
    ) {
        let (link, peer, address) = ids;
        let count = self.links.iter().count();
        let is_leaving = |link: &&Link| matches!(link.phase, Phase::Full { .. });
        let turned_away = self.links.iter().filter(is_leaving).count();
        let is_full = count >= MAX_LINKS || (direction == Direction::In && turned_away >= TURNED_AWAY);
        let is_wanted = self.connector.link_up(peer, direction, target.as_deref());
        let refusal = if self.leaving {
            Some("this router is stopping")
        } else if is_full {
            self.out.refuse(
                DropReason::ControlRate,
                format!("{address}: there are too many links"),
            );
            Some("too many links")
        } else if self.connector.is_shunned(now, &peer) {
            self.out.drop(DropReason::ControlRate);
            Some("kept off for forwarding invalid signatures")
        } else {
            (!is_wanted).then_some("this router was told to forget the other")
        };
        match refusal {
            None => {
                let links = count - turned_away;
                if direction == Direction::Out || self.admits(now, &peer, links) {
                    self.links.open(now, ids, direction, target, &mut self.out);
                } else {
                    self.links.turn_away(now, ids, &mut self.out);
                    self.refer(link, &peer);
                }
            }
            Some(reason) => {
                self.out.push(Output::Close { link, reason });
                self.connector
                    .ended(now, &peer, target.as_deref(), reason, None, &mut self.rng);
            }
        }
    }

    /// A control message came.
    pub(crate) fn message(&mut self, now: Instant, id: LinkId, packet: &Packet) {
        let Some((peer, phase)) = self.links.get(id).map(|link| (link.peer, link.phase)) else {
            return;
        };
        if phase == Phase::Closing {
            return;
        }
        if packet.len() > MAX_MESSAGE {
            return self.out.drop(DropReason::OversizedMessage);
        }
        self.links.heard(now, id);
        match packet.message() {
            Ok(Message::Full) => self.links.turned_away(now, id),
            Ok(Message::Hello(_)) if matches!(phase, Phase::Full { .. }) => {}
            Ok(Message::Hello(hello)) => self.links.greeted(now, id, hello.clone(), &mut self.out),
            Ok(Message::Ping(ping)) => {
                let delay = self.links.measured(id);
                self.links.pinged(now, id, ping, &mut self.spread, &mut self.out);
                self.shown(now, id, peer, &ping.news);
                self.note_delay(id, delay);
            }
            Ok(Message::Pong(pong)) => {
                let delay = self.links.measured(id);
                self.links
                    .ponged(now, id, pong.number, &mut self.spread, &mut self.out);
                self.shown(now, id, peer, &pong.news);
                self.note_delay(id, delay);
            }
            Ok(Message::Goodbye) => self
                .links
                .close(now, id, "the other router stopped", &mut self.out),
            Ok(Message::Records(batch)) if matches!(phase, Phase::Full { .. }) => {
                self.records(now, id, peer, batch);
            }
            Ok(Message::Records(batch)) if matches!(phase, Phase::Up { .. }) => {
                // What was held back while the link was challenged is read in one go: others' news may wait already.
                let is_first = self.news.is_empty();
                self.records(now, id, peer, batch);
                let is_its = |(from, _): &(Option<PeerId>, _)| *from == Some(peer);
                let all_new = is_first
                    && batch.refused.is_empty()
                    && self.news.len() == batch.records.len()
                    && self.news.iter().all(is_its);
                self.news_as_came = all_new.then(|| packet.clone());
            }
            _ if matches!(phase, Phase::Full { .. }) => {}
            _ if matches!(phase, Phase::Challenged { .. }) => {
                if let Some(link) = self.links.get_mut(id) {
                    link.hold(packet);
                }
            }
            Ok(message) if phase != Phase::Greeting => self.neighbor_message(now, id, peer, message),
            Ok(_) => self.violation(now, id),
            Err(error) => {
                self.out.drop(match error {
                    WireError::Unknown => DropReason::UnknownMessage,
                    WireError::Malformed => DropReason::MalformedMessage,
                });
                if phase == Phase::Greeting {
                    self.violation(now, id);
                }
            }
        }
    }

    /// A keepalive came over this link, whose delay was that before.
    fn note_delay(&mut self, id: LinkId, before: Option<Delay>) {
        if self.links.measured(id) != before {
            self.states.stir();
        }
    }

    fn admits(&mut self, now: Instant, peer: &PeerId, links: usize) -> bool {
        let around = Around {
            links: &self.links,
            store: &self.store,
            graph: &self.graph,
            spread: &self.spread,
            addresses: &[],
        };
        self.connector.admit(now, *peer, links, &around)
    }

    /// Names a router that comes some others it may dial: it may know nobody else.
    fn refer(&mut self, id: LinkId, peer: &PeerId) {
        self.introduce(id);
        let around = Around {
            links: &self.links,
            store: &self.store,
            graph: &self.graph,
            spread: &self.spread,
            addresses: &[],
        };
        for named in self.connector.others(peer, &around, &mut self.rng) {
            self.show_info(id, named);
        }
    }

    /// Does with the neighbours what the connector found.
    pub(crate) fn act(&mut self, now: Instant) {
        for act in self.connector.take_acts() {
            match act {
                Act::Ask { peer, must } => {
                    if let Some(link) = self.links.with(&peer) {
                        self.out.send(link.id, Message::Spare(must));
                    }
                }
                Act::Leave(peer) => self.close_all(now, &peer, "there are links enough without"),
            }
        }
    }

    fn neighbor_message(&mut self, now: Instant, id: LinkId, peer: PeerId, message: &Message) {
        match message {
            Message::Records(batch) => self.records(now, id, peer, batch),
            Message::Spare(must) => self.connector.asked(now, &peer, *must),
            Message::Routed(message) => {
                let (links, own) = (&self.links, self.own.id);
                let link_to = |next: &PeerId| links.with(next).map(|link| link.id);
                let arrived =
                    routed::receive(now, own, peer, message, &mut self.limits, link_to, &mut self.out);
                if let Some((from, payload)) = arrived {
                    self.arrived(now, from, payload);
                }
            }
            Message::BookRoot(_) | Message::BookHave(_) | Message::BookGive(_) => {
                self.book_message(now, id, message);
            }
            Message::Parent(is_child) => self.parent_message(now, id, &peer, *is_child),
            Message::Want(marks) => self.wanted(now, id, marks),
            message => self.repair_message(now, id, message),
        }
    }

    /// A message from further away has come to its end.
    fn arrived(&mut self, now: Instant, from: PeerId, payload: &[u8]) {
        match payload.split_first() {
            Some((&ASK_BYTE, message)) => self.asked_for_addresses(now, from, message),
            _ => self.out.push(Output::Deliver {
                from,
                payload: payload.to_vec(),
            }),
        }
    }

    /// Somebody spoke before saying hello.
    fn violation(&mut self, now: Instant, id: LinkId) {
        self.out.refuse(
            DropReason::LinkHandshake,
            "a link that did not begin with a greeting".to_owned(),
        );
        self.links.close(now, id, "no greeting", &mut self.out);
    }

    /// A neighbour forwarded a record with an invalid signature.
    pub(crate) fn bad_signature(&mut self, now: Instant, id: LinkId, peer: PeerId) {
        self.out.drop(DropReason::BadSignature);
        if self
            .links
            .get_mut(id)
            .is_none_or(|link| link.signatures.take(now))
        {
            return;
        }
        let detail = format!(
            "{} forwarded too many records with invalid signatures",
            peer.brief()
        );
        self.out.log(Event::Refused {
            reason: DropReason::BadSignature,
            detail,
        });
        self.connector.shun(peer, now + SHUNNED);
        self.close_all(now, &peer, "too many invalid signatures");
    }

    /// Closes every connection with a router.
    pub(crate) fn close_all(&mut self, now: Instant, peer: &PeerId, reason: &'static str) {
        let ids: Vec<_> = self
            .links
            .iter()
            .filter(|link| link.peer == *peer)
            .map(|link| link.id)
            .collect();
        for id in ids {
            self.links.close(now, id, reason, &mut self.out);
        }
    }

    /// Lets everybody know what happened to the links. True if anything did.
    pub(crate) fn react(&mut self, now: Instant) -> bool {
        let mut has_any = false;
        while let Some(happened) = self.links.next_happened() {
            has_any = true;
            match happened {
                Happened::Neighbor { peer, link, first } => self.neighbor_up(now, peer, link, first),
                Happened::NeighborLost { peer, reason } => self.neighbor_lost(now, peer, reason),
                Happened::Full { peer } => self.connector.turned_away(now, &peer),
                Happened::Observed(address) => self.own.observe(now, address),
                Happened::Ended {
                    peer,
                    target,
                    reason,
                    lived,
                } => {
                    self.connector
                        .ended(now, &peer, target.as_deref(), &reason, lived, &mut self.rng);
                }
                Happened::Own { target } => {
                    if let Some(target) = target {
                        self.connector
                            .failed(now, &target, String::new(), true, &mut self.rng);
                    }
                }
                Happened::Clone { detail } => self.out.log(Event::Clone { detail }),
            }
        }
        has_any
    }

    fn neighbor_up(&mut self, now: Instant, peer: PeerId, id: LinkId, first: bool) {
        let Some(link) = self.links.get(id) else { return };
        let (address, direction, was_challenged) = (link.address, link.direction, link.was_challenged);
        let name = link.hello.as_ref().map(|hello| hello.name.clone());
        if first {
            let label = self.labels.assign(now, peer);
            self.labelled.insert(peer, label);
            self.out.push(Output::Label {
                label,
                neighbor: Some(peer),
            });
            self.out.log(Event::LinkUp { peer, name, address });
        }
        self.out.push(Output::Neighbor {
            peer,
            address: Some(address),
        });
        self.connector.linked(now, peer, address, direction);
        self.spread.linked(now, peer, id);
        self.introduce(id);
        // One comparison repairs both ends.
        if direction == Direction::Out || !first || was_challenged {
            self.compare(now, id);
        }
        self.plan_round(now, peer);
        self.compare_books(id);
        self.schedule.rush(now);
        let held = self.links.get_mut(id).map(|link| std::mem::take(&mut link.held));
        for packet in held.unwrap_or_default() {
            self.message(now, id, &packet);
        }
    }

    fn neighbor_lost(&mut self, now: Instant, peer: PeerId, reason: String) {
        self.labelled.remove(&peer);
        if let Some(label) = self.labels.release(now, &peer) {
            self.out.push(Output::Label {
                label,
                neighbor: None,
            });
        }
        self.out.push(Output::Neighbor { peer, address: None });
        self.out.log(Event::LinkDown { peer, reason });
        self.rounds.remove(&peer);
        let was_agreed = self.connector.lost(now, &peer, &mut self.rng);
        self.spread.lost(now, &peer, was_agreed);
        self.schedule.rush(now);
    }

    /// The operator wants no link with this router.
    pub(crate) fn forget_peer(&mut self, now: Instant, peer: PeerId) {
        self.connector.forget_peer(peer);
        self.close_all(now, &peer, "this router was told to forget the other");
    }

    /// Says goodbye to everybody.
    pub(crate) fn shut_down(&mut self, now: Instant) {
        self.leaving = true;
        self.connector.stop();
        self.states.renew();
        self.issue_if_due(now);
        self.pass_on(now);
        let ids: Vec<_> = self.links.iter().map(|link| link.id).collect();
        for id in ids {
            self.out.send(id, Message::Goodbye);
        }
    }
}
