//! How targets take structure out of a fuzzer's bytes: bounded, and never failing.

/// Most pieces taken from one input, so that no input is slow.
pub const MAX_PIECES: usize = 48;

/// Reads from the front; what is missing reads as zero.
#[derive(Debug, Clone, Copy)]
pub struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let taken = self.take(N);
        array[..taken.len()].copy_from_slice(taken);
        array
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        u8::from_be_bytes(self.array())
    }

    /// The next two bytes, big endian.
    pub fn short(&mut self) -> u16 {
        u16::from_be_bytes(self.array())
    }

    /// The next eight bytes, big endian.
    pub fn long(&mut self) -> u64 {
        u64::from_be_bytes(self.array())
    }

    /// The next `length` bytes, or as many as there are.
    pub fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// The next piece: two bytes of length, then so many bytes.
    pub fn piece(&mut self) -> &'a [u8] {
        let length = self.short();
        self.take(length.into())
    }
}

/// An input as a list of pieces, at most [`MAX_PIECES`].
pub fn pieces(input: &[u8]) -> Vec<&[u8]> {
    let mut bytes = Bytes(input);
    let mut pieces = Vec::new();
    while !bytes.0.is_empty() && pieces.len() < MAX_PIECES {
        pieces.push(bytes.piece());
    }
    pieces
}

/// The input that [`pieces`] takes apart again; no piece is longer than 65,535 bytes.
#[must_use]
pub fn join(pieces: &[Vec<u8>]) -> Vec<u8> {
    let mut input = Vec::new();
    for piece in pieces {
        let length = piece.len().min(0xffff);
        input.extend((length as u16).to_be_bytes());
        input.extend(&piece[..length]);
    }
    input
}

/// What becomes of `genuine` when the fuzzer edits it: steps of four bytes (what to do, where, a value), at most
/// 16. So a fuzzer changes bytes that it can't make itself, because they are sealed.
#[must_use]
pub fn edited(genuine: &[u8], script: &[u8]) -> Vec<u8> {
    let mut bytes = genuine.to_vec();
    for step in script.chunks_exact(4).take(16) {
        let place = usize::from(u16::from_be_bytes([step[1], step[2]]));
        let value = step[3];
        match step[0] % 5 {
            0 => {
                if let Some(byte) = bytes.get_mut(place) {
                    *byte ^= value;
                }
            }
            1 => {
                if let Some(byte) = bytes.get_mut(place) {
                    *byte = value;
                }
            }
            2 => bytes.truncate(place),
            3 => bytes.push(value),
            _ => {
                if place < bytes.len() {
                    bytes.remove(place);
                }
            }
        }
    }
    bytes
}
