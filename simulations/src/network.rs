//! What lies between the hosts: for each direction between two of them latency, loss, a block, an MTU.

use crate::{HostId, Random};
use std::collections::BTreeMap;
use std::time::Duration;

/// What one direction between two hosts does to packets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wire {
    /// How long a packet takes.
    pub latency: Duration,
    /// Share of packets lost, 0 to 1. Streams of links are delayed by it, not broken.
    pub loss: f64,
    /// Nothing passes.
    pub blocked: bool,
    /// Largest IP packet, in bytes, that passes; larger ones vanish without a word.
    pub mtu: u16,
}

impl Default for Wire {
    fn default() -> Self {
        Self {
            latency: Duration::from_millis(1),
            loss: 0.0,
            blocked: false,
            mtu: 1500,
        }
    }
}

/// All wires.
#[derive(Debug, Default)]
pub struct Network {
    usual: Wire,
    wires: BTreeMap<(HostId, HostId), Wire>,
}

impl Network {
    /// The wire from one host to another.
    #[must_use]
    pub fn wire(&self, from: HostId, to: HostId) -> Wire {
        *self.wires.get(&(from, to)).unwrap_or(&self.usual)
    }

    /// Sets what every direction does that has no wire of its own yet.
    pub fn set_usual(&mut self, wire: Wire) {
        self.usual = wire;
    }

    /// Changes one direction.
    pub fn change(&mut self, from: HostId, to: HostId, change: impl FnOnce(&mut Wire)) {
        change(self.wires.entry((from, to)).or_insert(self.usual));
    }

    /// Changes both directions between two hosts.
    pub fn change_both(&mut self, a: HostId, b: HostId, change: impl Fn(&mut Wire)) {
        self.change(a, b, &change);
        self.change(b, a, change);
    }

    /// Blocks one direction.
    pub fn block(&mut self, from: HostId, to: HostId) {
        self.change(from, to, |wire| wire.blocked = true);
    }

    /// Blocks both directions.
    pub fn cut(&mut self, a: HostId, b: HostId) {
        self.change_both(a, b, |wire| wire.blocked = true);
    }

    /// Unblocks both directions.
    pub fn heal(&mut self, a: HostId, b: HostId) {
        self.change_both(a, b, |wire| wire.blocked = false);
    }

    /// Unblocks everything and ends all loss; latencies and MTUs stay.
    pub fn heal_all(&mut self) {
        for wire in self.wires.values_mut().chain([&mut self.usual]) {
            (wire.blocked, wire.loss) = (false, 0.0);
        }
    }

    /// Makes every wire as the usual ones again, and those faultless.
    pub fn reset(&mut self) {
        self.wires.clear();
        (self.usual.blocked, self.usual.loss) = (false, 0.0);
    }

    /// How long a packet of that many bytes, IP header included, takes; `None` if it does not arrive.
    pub(crate) fn carry(
        &self,
        from: HostId,
        to: HostId,
        bytes: usize,
        random: &mut Random,
    ) -> Option<Duration> {
        let wire = self.wire(from, to);
        let passes = !wire.blocked && bytes <= usize::from(wire.mtu) && !random.chance(wire.loss);
        passes.then_some(wire.latency)
    }

    /// A round trip between two hosts, if nothing is lost.
    pub(crate) fn round_trip(&self, a: HostId, b: HostId) -> Duration {
        self.wire(a, b).latency + self.wire(b, a).latency
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_direction_is_its_own() {
        let (a, b) = (HostId(0), HostId(1));
        let mut random = Random::new(1);
        let mut network = Network::default();
        let latency = Some(Wire::default().latency);
        network.block(a, b);
        assert_eq!(network.carry(a, b, 100, &mut random), None);
        assert_eq!(network.carry(b, a, 100, &mut random), latency);
        network.change(b, a, |wire| wire.mtu = 1400);
        assert_eq!(network.carry(b, a, 1401, &mut random), None);
        network.heal_all();
        assert_eq!(network.carry(a, b, 1500, &mut random), latency);
        assert_eq!(network.carry(b, a, 1401, &mut random), None);
    }
}
