//! The digest of everything that happens in a world: two runs of one seed must have the same.

use mesh::Instant;
use std::fmt;

/// Odd, and otherwise without a pattern (of SplitMix64 and MurmurHash3).
const ODD: [u64; 4] = [
    0x9e37_79b9_7f4a_7c15,
    0xbf58_476d_1ce4_e5b9,
    0x94d0_49bb_1331_11eb,
    0xff51_afd7_ed55_8ccd,
];

/// The digest so far. Not a cryptographic one: nobody tries to deceive it, and every event of a run goes through it.
#[derive(Debug, Clone)]
pub(crate) struct Trace([u64; 4]);

/// A digest that can be compared and shown.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceHash([u8; 32]);

impl Default for Trace {
    fn default() -> Self {
        Self(ODD)
    }
}

impl Trace {
    /// Something happened: what, between or at whom, and the bytes involved.
    pub(crate) fn note(&mut self, at: Instant, what: &str, who: [usize; 2], bytes: &[u8]) {
        self.block([at.0, who[0] as u64, who[1] as u64, bytes.len() as u64]);
        self.take(what.as_bytes());
        self.take(bytes);
    }

    /// The digest of all that was noted.
    pub(crate) fn hash(&self) -> TraceHash {
        let mut end = self.clone();
        // So that the last words, too, reach every part.
        (0..4).for_each(|_| end.block([0; 4]));
        let mut bytes = [0; 32];
        for (bytes, lane) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(end.0) {
            *bytes = lane.to_le_bytes();
        }
        TraceHash(bytes)
    }

    fn take(&mut self, bytes: &[u8]) {
        let (blocks, rest) = bytes.as_chunks::<32>();
        for block in blocks {
            self.block(words(block));
        }
        let mut last = [0; 32];
        last[..rest.len()].copy_from_slice(rest);
        self.block(words(&last));
    }

    /// For what it was before, a bijection of the words; each lane then goes on in the place of another.
    fn block(&mut self, words: [u64; 4]) {
        let step = |lane: usize| {
            let sum = (self.0[lane] ^ words[lane]).wrapping_mul(ODD[lane]);
            sum ^ (sum >> 32)
        };
        let [a, b, c, d] = [step(0), step(1), step(2), step(3)];
        self.0 = [b, c.wrapping_add(a), d, a ^ d.rotate_left(23)];
    }
}

fn words(block: &[u8; 32]) -> [u64; 4] {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(block.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    words
}

impl fmt::Display for TraceHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TraceHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(notes: &[(u64, &str, &[u8])]) -> TraceHash {
        let mut trace = Trace::default();
        for (at, what, bytes) in notes {
            trace.note(Instant(*at), what, [1, 2], bytes);
        }
        trace.hash()
    }

    #[test]
    fn every_bit_and_the_order_count() {
        let bytes = [7; 70];
        let usual = [(1, "packet", &bytes[..]), (2, "wake", &[])];
        let same = hash(&usual);
        assert_eq!(same, hash(&usual));
        for bit in 0..bytes.len() * 8 {
            let mut other = bytes;
            other[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(
                same,
                hash(&[(1, "packet", &other), (2, "wake", &[])]),
                "bit {bit}"
            );
        }
        let [one, two] = usual;
        assert_ne!(same, hash(&[two, one]));
        assert_ne!(same, hash(&[one]));
        assert_ne!(same, hash(&[(1, "packet", &bytes), (2, "wak", b"e")]));
        assert_ne!(hash(&[]), hash(&[(0, "", &[])]));
    }
}
