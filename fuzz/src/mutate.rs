//! A small deterministic mutator, for running targets without a fuzzer.

use crate::random::Random;
use rand_core::RngCore as _;

/// Longest input that mutations make, in bytes.
const MAX_LENGTH: usize = 70_000;

/// Values that lengths and counts break at.
const EXTREMES: [u64; 12] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    1 << 60,
    (1 << 62) - 1,
    u64::MAX,
];

/// Makes inputs out of a corpus; the same ones for the same name.
#[derive(Debug)]
pub struct Mutator<'a> {
    corpus: &'a [Vec<u8>],
    random: Random,
}

impl<'a> Mutator<'a> {
    /// For the target of this name; a corpus that is empty counts as one empty input.
    #[must_use]
    pub fn new(name: &str, corpus: &'a [Vec<u8>]) -> Self {
        // FNV-1a, so that targets differ.
        let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
        Self {
            corpus,
            random: Random(seed),
        }
    }

    /// The next input: one of the corpus with one to four changes.
    pub fn input(&mut self) -> Vec<u8> {
        let mut input = self.any();
        for _ in 0..=self.random.below(4) {
            self.change(&mut input);
        }
        input.truncate(MAX_LENGTH);
        input
    }

    fn any(&mut self) -> Vec<u8> {
        let place = self.random.below(self.corpus.len());
        self.corpus.get(place).cloned().unwrap_or_default()
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let place = self.random.below(input.len());
        match self.random.below(9) {
            0 | 1 if !input.is_empty() => input[place] ^= 1 << self.random.below(8),
            2 if !input.is_empty() => input[place] = self.random.next_u32() as u8,
            3 => input.truncate(place),
            4 => input.insert(place, self.random.next_u32() as u8),
            5 => self.extreme(input, place),
            6 => self.varint(input, place),
            7 => self.splice(input, place),
            _ => self.repeat(input, place),
        }
    }

    /// Overwrites one to eight bytes, as a big-endian number would lie there.
    fn extreme(&mut self, input: &mut [u8], place: usize) {
        let value = EXTREMES[self.random.below(EXTREMES.len())].to_be_bytes();
        let width = 1 << self.random.below(4);
        for (byte, new) in input[place..].iter_mut().zip(&value[8 - width..]) {
            *byte = *new;
        }
    }

    /// Puts a postcard number (LEB128) in place of one byte.
    fn varint(&mut self, input: &mut Vec<u8>, place: usize) {
        let mut value = EXTREMES[self.random.below(EXTREMES.len())];
        let mut bytes = Vec::new();
        while value > 0x7f {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        let end = (place + 1).min(input.len());
        input.splice(place..end, bytes);
    }

    /// Goes on with the end of another input.
    fn splice(&mut self, input: &mut Vec<u8>, place: usize) {
        let other = self.any();
        let from = self.random.below(other.len());
        input.truncate(place);
        input.extend(&other[from..]);
    }

    /// Doubles a stretch, or takes it out.
    fn repeat(&mut self, input: &mut Vec<u8>, place: usize) {
        let end = (place + 1 + self.random.below(64)).min(input.len());
        let stretch = input[place..end].to_vec();
        if self.random.below(2) == 0 {
            input.splice(place..place, stretch);
        } else {
            input.drain(place..end);
        }
    }
}
