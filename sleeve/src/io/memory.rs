//! Sockets and TAPs in memory, under a network with virtual time, delay, loss, duplicates and narrow paths.
//!
//! Everything is decided by the seed and the order of calls, so that a run repeats.

use super::{Batch, Tap, Udp};
use crate::wire::size;
use mesh::Instant;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What one direction between two hosts does to packets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wire {
    /// How long a packet takes.
    pub delay: Duration,
    /// Largest IP packet that passes; larger ones vanish.
    pub mtu: u16,
    /// Share of packets lost, 0 to 1.
    pub loss: f64,
    /// Share of packets that come twice, 0 to 1.
    pub duplicates: f64,
}

impl Default for Wire {
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(1),
            mtu: 1500,
            loss: 0.0,
            duplicates: 0.0,
        }
    }
}

impl Wire {
    /// Nothing passes.
    #[must_use]
    pub fn cut() -> Self {
        Self {
            loss: 1.0,
            ..Self::default()
        }
    }
}

/// A packet as the network saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Sender.
    pub from: SocketAddr,
    /// Receiver.
    pub to: SocketAddr,
    /// The datagram.
    pub bytes: Vec<u8>,
}

/// The network that the sockets of one test or simulation share.
#[derive(Debug, Clone)]
pub struct Network(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    now: Instant,
    random: u64,
    sequence: u64,
    usual: Wire,
    wires: BTreeMap<(IpAddr, IpAddr), Wire>,
    flying: BTreeMap<(Instant, u64), Packet>,
    arrived: BTreeMap<SocketAddr, VecDeque<Packet>>,
    captured: Option<Vec<Packet>>,
}

impl Network {
    /// A network of usual wires.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            now: Instant(0),
            random: seed | 1,
            sequence: 0,
            usual: Wire::default(),
            wires: BTreeMap::new(),
            flying: BTreeMap::new(),
            arrived: BTreeMap::new(),
            captured: None,
        })))
    }

    /// What every direction without a wire of its own does.
    pub fn set_usual(&self, wire: Wire) {
        self.state().usual = wire;
    }

    /// Sets one direction between two hosts; `None`: back to the usual.
    pub fn set_wire(&self, from: IpAddr, to: IpAddr, wire: Option<Wire>) {
        let mut state = self.state();
        match wire {
            Some(wire) => state.wires.insert((from, to), wire),
            None => state.wires.remove(&(from, to)),
        };
    }

    /// A socket at `address`.
    #[must_use]
    pub fn socket(&self, address: SocketAddr) -> Socket {
        self.state().arrived.entry(address).or_default();
        Socket {
            network: self.clone(),
            address,
        }
    }

    /// Closes the socket at `address`: what comes for it vanishes.
    pub fn close(&self, address: SocketAddr) {
        self.state().arrived.remove(&address);
    }

    /// When the next packet arrives.
    #[must_use]
    pub fn next_arrival(&self) -> Option<Instant> {
        self.state().flying.first_key_value().map(|(&(at, _), _)| at)
    }

    /// Lets time pass: packets arrive at their sockets.
    pub fn advance(&self, now: Instant) {
        let mut state = self.state();
        state.now = state.now.max(now);
        while let Some(entry) = state.flying.first_entry().filter(|entry| entry.key().0 <= now) {
            let packet = entry.remove();
            if let Some(queue) = state.arrived.get_mut(&packet.to) {
                queue.push_back(packet);
            }
        }
    }

    /// Puts a packet into the network as if `packet.from` had sent it.
    pub fn inject(&self, packet: &Packet) {
        self.state().send(packet);
    }

    /// From now on every packet sent is kept, whether it arrives or not.
    pub fn capture(&self) {
        self.state().captured.get_or_insert_default();
    }

    /// What was captured since the last call.
    #[must_use]
    pub fn captured(&self) -> Vec<Packet> {
        self.state()
            .captured
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn send(&mut self, packet: &Packet) {
        if let Some(captured) = &mut self.captured {
            captured.push(packet.clone());
        }
        let wire = *self
            .wires
            .get(&(packet.from.ip(), packet.to.ip()))
            .unwrap_or(&self.usual);
        let too_large = packet.bytes.len() + size::outer(packet.to) > usize::from(wire.mtu);
        if too_large || self.chance(wire.loss) {
            return;
        }
        let copies = if self.chance(wire.duplicates) { 2 } else { 1 };
        for _ in 0..copies {
            self.sequence += 1;
            self.flying
                .insert((self.now + wire.delay, self.sequence), packet.clone());
        }
    }

    /// True for that share of calls (xorshift64*).
    fn chance(&mut self, share: f64) -> bool {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        let drawn = self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 40;
        (drawn as f64) < share * f64::from(1 << 24)
    }
}

/// A socket in memory.
#[derive(Debug, Clone)]
pub struct Socket {
    network: Network,
    address: SocketAddr,
}

impl Udp for Socket {
    fn recv(&self, batch: &mut Batch) -> io::Result<()> {
        batch.clear();
        let mut state = self.network.state();
        let Some(queue) = state.arrived.get_mut(&self.address) else {
            return Ok(());
        };
        while !batch.is_full() {
            let Some(packet) = queue.pop_front() else { break };
            batch.push_with(|bytes| {
                let length = packet.bytes.len().min(bytes.len());
                bytes[..length].copy_from_slice(&packet.bytes[..length]);
                Ok(Some((length, packet.from)))
            })?;
        }
        Ok(())
    }

    fn send(&self, to: SocketAddr, datagram: &[u8]) -> io::Result<()> {
        self.network.state().send(&Packet {
            from: self.address,
            to,
            bytes: datagram.to_vec(),
        });
        Ok(())
    }
}

/// A TAP in memory: the containers' side puts frames in and takes frames out.
#[derive(Debug, Clone, Default)]
pub struct Frames(Arc<Mutex<[VecDeque<Vec<u8>>; 2]>>);

impl Frames {
    /// A container sends this frame.
    pub fn from_container(&self, frame: &[u8]) {
        self.queues()[0].push_back(frame.to_vec());
    }

    /// The next frame that came for the containers.
    #[must_use]
    pub fn to_container(&self) -> Option<Vec<u8>> {
        self.queues()[1].pop_front()
    }

    fn queues(&self) -> MutexGuard<'_, [VecDeque<Vec<u8>>; 2]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tap for Frames {
    fn recv(&self, frame: &mut [u8]) -> io::Result<usize> {
        let Some(next) = self.queues()[0].pop_front() else {
            return Ok(0);
        };
        let length = next.len().min(frame.len());
        frame[..length].copy_from_slice(&next[..length]);
        Ok(length)
    }

    fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.queues()[1].push_back(frame.to_vec());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(host: u8) -> SocketAddr {
        ([192, 0, 2, host], 6783).into()
    }

    fn received(socket: &Socket) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut batch = Batch::new(8, 2048);
        socket.recv(&mut batch).unwrap();
        batch
            .iter_mut()
            .map(|(from, bytes)| (from, bytes.to_vec()))
            .collect()
    }

    #[test]
    fn packets_take_their_time_and_large_ones_vanish() {
        let network = Network::new(1);
        let (a, b) = (network.socket(address(1)), network.socket(address(2)));
        a.send(address(2), &[7; 1472]).unwrap();
        a.send(address(2), &[7; 1473]).unwrap();
        assert_eq!(received(&b), []);
        assert_eq!(network.next_arrival(), Some(Instant(1000)));
        network.advance(Instant(1000));
        assert_eq!(received(&b), [(address(1), vec![7; 1472])]);
        network.set_wire(address(1).ip(), address(2).ip(), Some(Wire::cut()));
        a.send(address(2), b"lost").unwrap();
        assert_eq!(network.next_arrival(), None);
    }

    #[test]
    fn frames_go_both_ways() {
        let tap = Frames::default();
        tap.from_container(b"out");
        let mut frame = [0; 9];
        assert_eq!((tap.recv(&mut frame).unwrap(), &frame[..3]), (3, &b"out"[..]));
        assert_eq!(tap.recv(&mut frame).unwrap(), 0);
        tap.send(b"in").unwrap();
        assert_eq!(tap.to_container(), Some(b"in".to_vec()));
    }
}
