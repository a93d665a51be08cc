//! One end of a connection: as `connection` has it for small worlds, but that nothing is lost on wires and that each
//! host holds its own end alone, so that hosts can be run by several threads.

use super::event::{Connection, What};
use super::terms::{Reach, wire_time};
use crate::connection::{ACK, FIRST_PACKET, OVERHEAD, Packet};
use crate::{Class, Traffic};
use mesh::PeerId;
use std::collections::VecDeque;

/// What a message of the proof of the secret has inside, about.
const PROOF: u64 = 100 + OVERHEAD as u64;
/// What does not pass is tried again so often, in microseconds.
const AGAIN: u64 = 1_000_000;

/// How far an end is.
#[derive(Debug)]
pub(super) enum Stage {
    /// The dialler waits for the answer.
    Dialling { target: String, expect: Option<PeerId> },
    /// The other end waits for the last message of the proof.
    Listening,
    /// It is a link.
    Up,
}

/// An end.
#[derive(Debug)]
pub(super) struct End {
    /// The other end's host.
    pub(super) peer: u32,
    pub(super) stage: Stage,
    /// When something came last.
    pub(super) heard: u64,
    /// When all that was sent will be on the wire.
    free_at: u64,
    /// What the cut holds back.
    waiting: VecDeque<mesh::Packet>,
    retrying: bool,
    /// Counts what may get lost, both ways: each second one needs an acknowledgement of its own.
    lossy: [u32; 2],
}

impl End {
    pub(super) fn new(now: u64, peer: u32, stage: Stage) -> Self {
        Self {
            peer,
            stage,
            heard: now,
            free_at: now,
            waiting: VecDeque::new(),
            retrying: false,
            lossy: [0; 2],
        }
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.stage, Stage::Up)
    }

    /// Sends on the stream: in order, nothing is lost.
    pub(super) fn send(
        &mut self,
        on: Connection,
        packet: mesh::Packet,
        traffic: &mut Traffic,
        reach: &mut Reach<'_>,
    ) {
        if self.retrying {
            return self.waiting.push_back(packet);
        }
        let (packets, bytes) = size(&packet);
        traffic.send(Class::Control, 1, packets, bytes);
        if reach.terms.is_cut(reach.from, self.peer) {
            self.waiting.push_back(packet);
            self.retrying = true;
            return reach.plan(reach.now + AGAIN, reach.from, on, What::Retry);
        }
        traffic.receive(Class::Ack, 0, 1, ACK);
        self.free_at = self.free_at.max(reach.now) + wire_time(bytes);
        let at = self.free_at + reach.terms.delay(reach.from, self.peer);
        let what = What::Message(packet, u32::try_from(bytes).unwrap_or(u32::MAX));
        reach.plan(at, self.peer, on, what);
    }

    /// Tries again what did not pass.
    pub(super) fn retry(&mut self, on: Connection, traffic: &mut Traffic, reach: &mut Reach<'_>) {
        self.retrying = false;
        for packet in std::mem::take(&mut self.waiting) {
            self.send(on, packet, traffic, reach);
        }
    }

    /// Sends what may get lost, past what waits for the wire.
    pub(super) fn send_lossy(
        &mut self,
        on: Connection,
        packet: mesh::Packet,
        traffic: &mut Traffic,
        reach: &mut Reach<'_>,
    ) {
        let (packets, bytes) = size(&packet);
        traffic.send(Class::Keepalive, 1, packets, bytes);
        if reach.terms.is_cut(reach.from, self.peer) {
            return;
        }
        self.lossy[0] += 1;
        if self.lossy[0].is_multiple_of(2) {
            traffic.receive(Class::Ack, 0, 1, ACK);
        }
        let at = reach.now + wire_time(bytes) + reach.terms.delay(reach.from, self.peer);
        let what = What::Lossy(packet, u32::try_from(bytes).unwrap_or(u32::MAX));
        reach.plan(at, self.peer, on, what);
    }

    /// When the other end will have had all that was sent.
    pub(super) fn closes_at(&self, reach: &Reach<'_>) -> u64 {
        self.free_at.max(reach.now) + reach.terms.delay(reach.from, self.peer)
    }

    /// A message came; each is acknowledged.
    pub(super) fn came(&mut self, now: u64, bytes: u32, traffic: &mut Traffic) {
        self.heard = now;
        traffic.receive(Class::Control, 1, packets(bytes), bytes.into());
        traffic.send(Class::Ack, 0, 1, ACK);
    }

    /// One that might have got lost came. A ping is acknowledged by the packet that answers it, the answer by one of
    /// its own.
    pub(super) fn came_lossy(&mut self, now: u64, bytes: u32, traffic: &mut Traffic) {
        self.heard = now;
        traffic.receive(Class::Keepalive, 1, packets(bytes), bytes.into());
        self.lossy[1] += 1;
        if self.lossy[1].is_multiple_of(2) {
            traffic.send(Class::Ack, 0, 1, ACK);
        }
    }
}

/// IP packets and their bytes.
fn size(packet: &mesh::Packet) -> (u64, u64) {
    let packet = Packet::Message(packet.clone());
    (u64::from(packet.packets()), packet.wire_bytes())
}

fn packets(bytes: u32) -> u64 {
    u64::from(bytes).div_ceil(FIRST_PACKET as u64)
}

/// The dialler's first packet, or the first of the answer.
pub(super) fn first(traffic: &mut Traffic, tries: u64) {
    traffic.send(Class::Handshake, tries, tries, tries * FIRST_PACKET as u64);
}

/// What follows from the dialler: two messages of the proof; one from the other end.
pub(super) fn proofs(traffic: &mut Traffic, messages: u64) {
    traffic.send(Class::Handshake, messages, messages, messages * PROOF);
    traffic.send(Class::Ack, 0, 1, ACK);
}

/// What the other end's share of the handshake is, as it comes.
pub(super) fn handshake_came(traffic: &mut Traffic, proofs: u64) {
    let bytes = FIRST_PACKET as u64 + proofs * PROOF;
    traffic.receive(Class::Handshake, 1 + proofs, 1 + proofs, bytes);
}
