//! What lies between the hosts: for each direction between two of them delay, loss, duplication, reordering, a rate
//! with a bounded queue, an MTU, a block.
//!
//! A wire that nobody changed is the usual one; in big worlds its latency comes from a [`Profile`], so that nothing
//! is kept per pair. A [partition](Network::partition) blocks everything between its groups but the bridges.

use crate::profile::Profile;
use crate::{HostId, Random};
use mesh::Instant;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What is added to a wire's latency, packet by packet.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Jitter {
    /// Nothing.
    #[default]
    None,
    /// Anything below this, all equally likely.
    Uniform(Duration),
    /// Mostly little, seldom much: exponentially distributed with this mean, at most twenty times it.
    Tail(Duration),
}

impl Jitter {
    fn draw(self, random: &mut Random) -> Duration {
        match self {
            Self::None => Duration::ZERO,
            Self::Uniform(most) => most.mul_f64(random.share()),
            Self::Tail(mean) => mean.mul_f64((-(1.0 - random.share()).ln()).min(20.0)),
        }
    }

    fn mean(self) -> Duration {
        match self {
            Self::None => Duration::ZERO,
            Self::Uniform(most) => most / 2,
            Self::Tail(mean) => mean,
        }
    }
}

/// How much a wire carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Bits per second, headers included.
    pub bits: u64,
    /// Bytes that may wait; what comes when they do not fit is lost (drop-tail).
    pub queue: usize,
}

/// What one direction between two hosts does to packets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wire {
    /// How long a packet takes at least.
    pub latency: Duration,
    /// What is added to that. Draws are independent, so more jitter than pause between two packets reorders them.
    pub jitter: Jitter,
    /// Share of packets lost, 0 to 1. Streams of links are delayed by it, not broken.
    pub loss: f64,
    /// Share of packets that come twice, the second up to a latency and a millisecond later.
    pub duplicate: f64,
    /// Share of packets held back by up to a latency and a millisecond, so that later ones overtake them.
    pub reorder: f64,
    /// How much it carries; `None`: anything.
    pub rate: Option<Rate>,
    /// Nothing passes.
    pub blocked: bool,
    /// Largest IP packet, in bytes, that passes; larger ones vanish without a word.
    pub mtu: u16,
}

impl Default for Wire {
    fn default() -> Self {
        Self {
            latency: Duration::from_millis(1),
            jitter: Jitter::None,
            loss: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
            rate: None,
            blocked: false,
            mtu: 1500,
        }
    }
}

impl Wire {
    /// The mean time that a small packet takes.
    #[must_use]
    pub fn mean(&self) -> Duration {
        self.latency + self.jitter.mean()
    }

    fn heal(&mut self) {
        (self.blocked, self.loss, self.duplicate, self.reorder) = (false, 0.0, 0.0, 0.0);
    }
}

/// What a wire with a rate remembers.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Lane {
    /// When everything that waits will have left.
    free: Instant,
}

/// What wires with a rate remember, for each direction.
pub(crate) type Lanes = BTreeMap<(HostId, HostId), Lane>;

/// What became of a packet that passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Passage {
    /// When it arrives.
    pub(crate) at: Instant,
    /// When it arrives once more.
    pub(crate) again: Option<Instant>,
}

/// All wires.
#[derive(Debug, Default)]
pub struct Network {
    usual: Wire,
    profile: Option<Profile>,
    /// Those that are not as usual, by sender, then by receiver.
    wires: Vec<Vec<Option<Wire>>>,
    /// The group of each host while there is a partition; those beyond the end are in group 0.
    groups: Vec<u32>,
    /// Pairs that no partition parts, the lower one first.
    bridges: BTreeSet<(HostId, HostId)>,
}

impl Network {
    /// The wire from one host to another.
    #[must_use]
    pub fn wire(&self, from: HostId, to: HostId) -> Wire {
        let mut wire = self
            .own(from, to)
            .copied()
            .unwrap_or_else(|| self.usual_between(from, to));
        wire.blocked |= self.parts(from, to);
        wire
    }

    fn own(&self, from: HostId, to: HostId) -> Option<&Wire> {
        self.wires.get(from.0)?.get(to.0)?.as_ref()
    }

    /// Whether nothing passes from one host to another.
    pub(crate) fn is_blocked(&self, from: HostId, to: HostId) -> bool {
        let own = self.own(from, to).unwrap_or(&self.usual);
        own.blocked || self.parts(from, to)
    }

    fn usual_between(&self, from: HostId, to: HostId) -> Wire {
        let mut wire = self.usual;
        if let Some(profile) = &self.profile {
            wire.latency = profile.latency(from, to);
        }
        wire
    }

    /// Sets what every direction does that has no wire of its own yet.
    pub fn set_usual(&mut self, wire: Wire) {
        self.usual = wire;
    }

    /// What every direction does that has no wire of its own.
    #[must_use]
    pub fn usual(&self) -> Wire {
        self.usual
    }

    /// From now on the latency of usual wires comes from here.
    pub fn set_profile(&mut self, profile: Option<Profile>) {
        self.profile = profile;
    }

    /// Changes one direction.
    pub fn change(&mut self, from: HostId, to: HostId, change: impl FnOnce(&mut Wire)) {
        let usual = self.usual_between(from, to);
        if self.wires.len() <= from.0 {
            self.wires.resize_with(from.0 + 1, Vec::new);
        }
        let wires = &mut self.wires[from.0];
        if wires.len() <= to.0 {
            wires.resize(to.0 + 1, None);
        }
        change(wires[to.0].get_or_insert(usual));
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

    /// Blocks everything between hosts of different groups. Replaces the partition before; costs nothing per pair.
    pub fn partition(&mut self, hosts: usize, group: impl Fn(HostId) -> u32) {
        self.groups = (0..hosts).map(|host| group(HostId(host))).collect();
    }

    /// Lets two hosts through all partitions.
    pub fn bridge(&mut self, a: HostId, b: HostId) {
        self.bridges.insert((a.min(b), a.max(b)));
    }

    /// Ends the partition; wires cut one by one stay cut.
    pub fn reunite(&mut self) {
        self.groups.clear();
        self.bridges.clear();
    }

    fn parts(&self, a: HostId, b: HostId) -> bool {
        let group = |host: HostId| self.groups.get(host.0).copied().unwrap_or(0);
        !self.groups.is_empty() && group(a) != group(b) && !self.bridges.contains(&(a.min(b), a.max(b)))
    }

    /// Unblocks everything, ends the partition, all loss, duplication and reordering; latencies, rates and MTUs stay.
    pub fn heal_all(&mut self) {
        self.reunite();
        self.usual.heal();
        self.wires.iter_mut().flatten().flatten().for_each(Wire::heal);
    }

    /// Makes every wire as the usual ones again, and those faultless.
    pub fn reset(&mut self) {
        self.wires.clear();
        self.reunite();
        self.usual.heal();
    }

    /// What becomes of a packet of that many bytes, IP header included, sent now; `None` if it does not arrive.
    pub(crate) fn carry(
        &self,
        (from, to): (HostId, HostId),
        bytes: usize,
        now: Instant,
        lanes: &mut Lanes,
        random: &mut Random,
    ) -> Option<Passage> {
        let wire = self.wire(from, to);
        if wire.blocked || bytes > usize::from(wire.mtu) || random.chance(wire.loss) {
            return None;
        }
        let left = match wire.rate {
            Some(rate) => lanes.entry((from, to)).or_default().pass(rate, bytes, now)?,
            None => now,
        };
        let mut at = left + wire.latency + wire.jitter.draw(random);
        let held_back = wire.latency + Duration::from_millis(1);
        if random.chance(wire.reorder) {
            at = at + held_back.mul_f64(random.share());
        }
        let twice = random.chance(wire.duplicate);
        let again = twice.then(|| at + held_back.mul_f64(random.share()));
        Some(Passage { at, again })
    }

    /// A round trip between two hosts, if nothing is lost and nothing waits.
    #[must_use]
    pub fn round_trip(&self, a: HostId, b: HostId) -> Duration {
        self.wire(a, b).mean() + self.wire(b, a).mean()
    }
}

impl Lane {
    /// When a packet has left by a wire of this rate; `None` if there is no room for it.
    fn pass(&mut self, rate: Rate, bytes: usize, now: Instant) -> Option<Instant> {
        let begin = self.free.max(now);
        let waiting = begin.since(now).as_micros() * u128::from(rate.bits) / 8_000_000;
        // The one that is leaving always has room.
        if waiting > 0 && waiting + bytes as u128 > rate.queue as u128 {
            return None;
        }
        let time = (bytes as u64).saturating_mul(8_000_000) / rate.bits.max(1);
        self.free = begin + Duration::from_micros(time.max(1));
        Some(self.free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: HostId = HostId(0);
    const B: HostId = HostId(1);

    fn carry(network: &Network, from: HostId, to: HostId, bytes: usize) -> Option<Duration> {
        let (mut lanes, mut random) = (Lanes::new(), Random::new(1));
        let passage = network.carry((from, to), bytes, Instant(0), &mut lanes, &mut random);
        passage.map(|passage| Duration::from_micros(passage.at.0))
    }

    #[test]
    fn each_direction_is_its_own() {
        let mut network = Network::default();
        let latency = Some(Wire::default().latency);
        network.block(A, B);
        assert_eq!(carry(&network, A, B, 100), None);
        assert_eq!(carry(&network, B, A, 100), latency);
        network.change(B, A, |wire| wire.mtu = 1400);
        assert_eq!(carry(&network, B, A, 1401), None);
        network.heal_all();
        assert_eq!(carry(&network, A, B, 1500), latency);
        assert_eq!(carry(&network, B, A, 1401), None);
    }

    #[test]
    fn a_partition_parts_all_but_the_bridges() {
        let mut network = Network::default();
        network.partition(4, |host| host.0 as u32 % 2);
        network.bridge(HostId(3), HostId(0));
        assert!(network.wire(A, B).blocked && !network.wire(A, HostId(2)).blocked);
        assert!(!network.wire(A, HostId(3)).blocked && !network.wire(HostId(3), A).blocked);
        network.heal_all();
        assert!(!network.wire(A, B).blocked);
    }

    #[test]
    fn a_rate_makes_packets_wait_and_a_full_queue_drops_them() {
        let mut network = Network::default();
        let rate = Rate {
            bits: 8_000_000,
            queue: 3000,
        };
        network.change(A, B, |wire| wire.rate = Some(rate));
        let (mut lanes, mut random) = (Lanes::new(), Random::new(1));
        let mut send = |now| {
            let passage = network.carry((A, B), 1000, Instant(now), &mut lanes, &mut random);
            passage.map(|passage| passage.at.0)
        };
        // A byte takes a microsecond; the latency is a thousand.
        let sent: Vec<_> = (0..5).map(|_| send(0)).collect();
        assert_eq!(sent, [Some(2000), Some(3000), Some(4000), None, None]);
        assert_eq!((send(1000), send(9000)), (Some(5000), Some(11_000)));
    }

    #[test]
    fn chance_comes_in_the_shares_asked_for() {
        let mut network = Network::default();
        network.change(A, B, |wire| {
            (wire.loss, wire.duplicate, wire.reorder) = (0.2, 0.1, 0.3);
            wire.jitter = Jitter::Uniform(Duration::from_millis(2));
        });
        let (mut lanes, mut random) = (Lanes::new(), Random::new(1));
        let mut passages = Vec::new();
        for _ in 0..10_000 {
            passages.extend(network.carry((A, B), 100, Instant(0), &mut lanes, &mut random));
        }
        let twice = passages.iter().filter(|passage| passage.again.is_some()).count();
        let mean = passages.iter().map(|passage| passage.at.0).sum::<u64>() / passages.len() as u64;
        assert!((7800..8200).contains(&passages.len()), "{}", passages.len());
        assert!((700..900).contains(&twice), "{twice}");
        // Latency 1 ms, jitter 1 ms in the mean, 30 % held back by 1 ms in the mean.
        assert!((2250..2350).contains(&mean), "{mean}");
    }

    #[test]
    fn a_long_tail_has_its_mean() {
        let mut random = Random::new(3);
        let tail = Jitter::Tail(Duration::from_millis(5));
        let total: Duration = (0..20_000).map(|_| tail.draw(&mut random)).sum();
        let mean = total / 20_000;
        assert!((4800..5200).contains(&mean.as_micros()), "{mean:?}");
    }
}
