//! A member that sends bytes which mean nothing, or nearly something: over its links, and to data ports.

use super::stage::Stage;
use crate::world::Event;
use crate::{Class, HostId, Random};
use mesh::Packet;

/// Longest piece.
const LONGEST: u64 = 1500;
/// Messages are damaged where they are parsed. Records with damaged signatures are another lie, for which the liar is
/// shunned, and nobody would listen any more.
const FRONT: usize = 12;
/// Kinds of messages and datagrams are small numbers in the first byte.
const KINDS: u8 = 32;

impl Stage {
    /// Sends so many pieces, of which one half goes over links, the other to data ports.
    pub(super) fn garbage(&mut self, liar: HostId, count: usize, number: u64) {
        let mut random = self.world.fork("garbage", number).fork("by", liar.0 as u64);
        let heard = self.heard.get(&liar.0).cloned().unwrap_or_default();
        let messages = [heard.packet().bytes().to_vec()];
        let datagrams = self.world.captured();
        let datagrams: Vec<_> = datagrams.into_iter().map(|seen| seen.bytes).collect();
        for at in 0..count {
            if at % 2 == 0 {
                let bytes = piece(&mut random, &messages, FRONT);
                self.world.speak(liar, &Packet::from(bytes));
            } else {
                let bytes = piece(&mut random, &datagrams, usize::MAX);
                self.throw(liar, bytes, &mut random);
            }
        }
    }

    /// Sends a datagram to somebody, in the name of somebody: any host can write any address on a packet.
    fn throw(&mut self, liar: HostId, bytes: Vec<u8>, random: &mut Random) {
        let hosts: Vec<_> = self.world.hosts().collect();
        let mut any = || hosts[random.below(hosts.len() as u64) as usize];
        let (to, name) = (any(), any());
        let from = self.world.address(name);
        let size = bytes.len() + sleeve::wire::size::outer(from);
        if let Some(passage) = self.world.carry(liar, to, size, (Class::Data, 1)) {
            self.world
                .clock
                .plan(passage.at, Event::Datagram { from, to, bytes });
        }
    }
}

/// Any bytes, or one of these with some of them cut off, added, or changed among the first `front`.
fn piece(random: &mut Random, real: &[Vec<u8>], front: usize) -> Vec<u8> {
    let sample = (!real.is_empty()).then(|| &real[random.below(real.len() as u64) as usize]);
    let Some(sample) = sample.filter(|sample| !sample.is_empty() && random.chance(0.6)) else {
        let length = random.below(LONGEST) as usize;
        let mut bytes: Vec<_> = std::iter::repeat_with(|| random.bytes())
            .take(length / 32 + 1)
            .flatten()
            .collect();
        bytes.truncate(length);
        if let Some(first) = bytes.first_mut().filter(|_| random.chance(0.7)) {
            *first %= KINDS;
        }
        return bytes;
    };
    let mut bytes = sample.clone();
    let at = random.below(bytes.len() as u64) as usize;
    match random.below(4) {
        0 => bytes.truncate(at),
        1 => bytes.extend(random.bytes()),
        _ => {
            for _ in 0..=random.below(3) {
                let at = random.below(bytes.len().min(front) as u64) as usize;
                bytes[at] ^= 1 << random.below(8);
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_pieces_are_nearly_real() {
        let mut random = Random::new(1);
        let real = vec![vec![7; 100]];
        let pieces: Vec<_> = (0..1000).map(|_| piece(&mut random, &real, usize::MAX)).collect();
        let near = |piece: &&Vec<u8>| piece.iter().filter(|byte| **byte == 7).count() >= 96;
        assert!((400..700).contains(&pieces.iter().filter(near).count()));
        assert!(pieces.iter().all(|piece| *piece != real[0]));
        assert!(pieces.iter().any(Vec::is_empty));
        assert!(!piece(&mut random, &[], 1).starts_with(&[7; 50]));
    }
}
