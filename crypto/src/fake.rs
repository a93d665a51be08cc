//! Imitations of X25519 and of the ciphers, for simulated worlds. **They protect nothing.**
//!
//! A world of fifty routers makes thousands of handshakes and seals hundreds of thousands of packets; with real
//! cryptography it does little else. What a router can see of a handshake or a packet is the same with these: the
//! same lengths, the same draws from the generator, and a refusal of whatever was made with another key, under
//! another counter, or changed on the way. Everything around them (Noise, its hash, key derivation, signatures,
//! admission) is the real thing.
//!
//! The only way in is [`identity`]. A router with such an identity and one with a real one never agree on a key.
//! `weft launch` has its identity from [`Identity::generate`] and [`Identity::from_bytes`], which are real; nothing
//! outside the simulator may name this module, and `tests/borders.rs` sees to that.

use crate::aead::{Cipher, TAG_LEN};
use crate::identity::Identity;
use crate::suite::Suite;
use rand_core::CryptoRngCore;
use snow::Error;
use snow::types::{self, Dh, Random};

/// An identity whose handshakes and packets are faked, from 64 bytes of `rng` as [`Identity::generate`] takes them.
/// Its signatures are real.
#[must_use]
pub fn identity(rng: &mut dyn CryptoRngCore) -> Identity {
    Identity::generate(rng).behind(Suite::FAKE)
}

/// A bijection that leaves no bit where it was (the last steps of SplitMix64).
fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// What lies between two inputs of [`mix`] that follow each other.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

fn words(bytes: &[u8; 32]) -> [u64; 4] {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = load(bytes);
    }
    words
}

fn bytes(words: [u64; 4]) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (bytes, word) in bytes.chunks_exact_mut(8).zip(words) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// Up to eight bytes as a number.
fn load(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

/// Takes bytes into a sum. For each sum a bijection of every eight bytes.
fn absorb(mut sum: u64, bytes: &[u8]) -> u64 {
    let step = |sum: u64, word: u64| {
        let sum = (sum ^ word).wrapping_mul(STEP);
        sum ^ (sum >> 32)
    };
    let (blocks, rest) = bytes.as_chunks::<32>();
    let mut lanes = [sum, !sum, sum.rotate_left(21), sum.rotate_left(42)];
    for block in blocks {
        for (lane, word) in lanes.iter_mut().zip(block.as_chunks::<8>().0) {
            *lane = step(*lane, u64::from_le_bytes(*word));
        }
    }
    if !blocks.is_empty() {
        sum = lanes.into_iter().fold(sum, step);
    }
    let (words, rest) = rest.as_chunks::<8>();
    for word in words {
        sum = step(sum, u64::from_le_bytes(*word));
    }
    step(sum, load(rest))
}

/// The public half of a key.
pub(crate) fn public(private: &[u8; 32]) -> [u8; 32] {
    bytes(words(private).map(|word| mix(word.wrapping_add(STEP))))
}

/// What two ends have in common, from the private half of one and the public half of the other.
fn shared(own: &[u8; 32], theirs: &[u8; 32]) -> [u8; 32] {
    let (own, theirs) = (words(own), words(theirs));
    let sums: [u64; 4] = std::array::from_fn(|at| own[at].wrapping_add(theirs[at]));
    bytes(std::array::from_fn(|at| {
        mix(sums[at] ^ mix(sums[(at + 1) % 4].wrapping_add(STEP)))
    }))
}

/// In the place of X25519 in a handshake.
#[derive(Default)]
pub(crate) struct FakeDh {
    private: [u8; 32],
    public: [u8; 32],
}

impl Dh for FakeDh {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    fn set(&mut self, private: &[u8]) {
        self.private.copy_from_slice(private);
        self.public = public(&self.private);
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), Error> {
        rng.try_fill_bytes(&mut self.private)?;
        self.public = public(&self.private);
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        &self.private
    }

    fn dh(&self, theirs: &[u8], out: &mut [u8]) -> Result<(), Error> {
        let theirs = theirs.first_chunk::<32>().ok_or(Error::Dh)?;
        let out = out.first_chunk_mut::<32>().ok_or(Error::Dh)?;
        // As with X25519, some keys are worth nothing.
        if *theirs == [0; 32] {
            return Err(Error::Dh);
        }
        *out = shared(&self.public, theirs);
        Ok(())
    }
}

/// In the place of a cipher's key.
#[derive(Clone, Copy)]
pub(crate) struct FakeKey([u64; 4]);

impl FakeKey {
    /// `cipher`: the same bytes are different keys of different ciphers.
    pub(crate) fn new(cipher: Cipher, key: &[u8; 32]) -> Self {
        let all = words(key)
            .into_iter()
            .fold(u64::from(cipher.id()), |all, word| mix(all ^ word));
        let part = |number: u64| mix(all.wrapping_add(STEP.wrapping_mul(number)));
        Self([part(1), part(2), part(3), part(4)])
    }

    /// Scrambles, or puts right what was scrambled.
    fn scramble(&self, counter: u64, text: &mut [u8]) {
        let start = mix(self.0[0] ^ mix(self.0[1] ^ counter));
        let mut at = start;
        let mut next = || {
            at = at.wrapping_add(STEP);
            (at ^ (at >> 29)).wrapping_mul(start | 1)
        };
        let (whole, rest) = text.as_chunks_mut::<8>();
        for chunk in whole {
            *chunk = (u64::from_le_bytes(*chunk) ^ next()).to_le_bytes();
        }
        for (byte, key) in rest.iter_mut().zip(next().to_le_bytes()) {
            *byte ^= key;
        }
    }

    /// Each step is a bijection of what came before, so a changed bit changes the tag.
    fn tag(&self, counter: u64, aad: &[u8], text: &[u8]) -> [u8; TAG_LEN] {
        let lengths = mix(aad.len() as u64) ^ text.len() as u64;
        let sum = mix(self.0[2] ^ counter) ^ lengths;
        let sum = absorb(absorb(sum, aad), text);
        let mut tag = [0; TAG_LEN];
        tag[..8].copy_from_slice(&mix(sum).to_le_bytes());
        tag[8..].copy_from_slice(&mix(sum ^ self.0[3]).to_le_bytes());
        tag
    }

    /// As [`SealKey::seal_in_place`](crate::SealKey::seal_in_place).
    pub(crate) fn seal(&self, counter: u64, aad: &[u8], text: &mut [u8]) -> [u8; TAG_LEN] {
        self.scramble(counter, text);
        self.tag(counter, aad, text)
    }

    /// As [`OpenKey::open_in_place`](crate::OpenKey::open_in_place); `None`: refused.
    pub(crate) fn open(&self, counter: u64, aad: &[u8], sealed: &mut [u8]) -> Option<usize> {
        let (text, tag) = sealed.split_last_chunk_mut::<TAG_LEN>()?;
        if self.tag(counter, aad, text) != *tag {
            return None;
        }
        self.scramble(counter, text);
        Some(text.len())
    }
}

/// In the place of ChaCha20-Poly1305 in a handshake.
#[derive(Default)]
pub(crate) struct FakeCipher(Option<FakeKey>);

impl types::Cipher for FakeCipher {
    fn name(&self) -> &'static str {
        "ChaChaPoly"
    }

    fn set(&mut self, key: &[u8; 32]) {
        self.0 = Some(FakeKey::new(Cipher::ChaCha20Poly1305, key));
    }

    fn encrypt(&self, nonce: u64, aad: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        let Some((text, after)) = out.split_at_mut_checked(plaintext.len()) else {
            return 0;
        };
        let (Some(key), Some(tag)) = (&self.0, after.first_chunk_mut::<TAG_LEN>()) else {
            return 0;
        };
        text.copy_from_slice(plaintext);
        *tag = key.seal(nonce, aad, text);
        plaintext.len() + TAG_LEN
    }

    fn decrypt(&self, nonce: u64, aad: &[u8], ciphertext: &[u8], out: &mut [u8]) -> Result<usize, Error> {
        let key = self.0.as_ref().ok_or(Error::Decrypt)?;
        let mut sealed = ciphertext.to_vec();
        let length = key.open(nonce, aad, &mut sealed).ok_or(Error::Decrypt)?;
        let (text, out) = (&sealed[..length], out.get_mut(..length).ok_or(Error::Decrypt)?);
        out.copy_from_slice(text);
        Ok(length)
    }
}

#[cfg(test)]
mod tests;
