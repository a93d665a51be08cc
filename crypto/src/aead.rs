//! Sealing and opening packets: AES-256-GCM (NIST SP 800-38D) or ChaCha20-Poly1305 (RFC 8439).
//!
//! A key belongs to one direction of one session and one purpose. The nonce is the packet's counter: four
//! zero bytes, then the counter, big endian.
//!
//! # No (key, nonce) pair twice
//!
//! - Every handshake mixes in a fresh ephemeral key of *each* end, so no two handshakes, of any routers,
//!   after any restart, agree on the same keys, whatever an attacker replays to one of them.
//! - From one handshake each direction, each purpose (frames, relay tags) and each lane gets a key of its own
//!   ([`session`](crate::session)); the two ends never seal under the same key.
//! - Under one key, the owner of the [`SealKey`] counts: a counter is used for one call of
//!   [`seal_in_place`](SealKey::seal_in_place) *or* one of [`tag`](SealKey::tag), and never again. A session
//!   is never written to disk, so no counter is ever set back.
//! - Counters do not wrap: a session is renewed after 2^28 packets, and from [`COUNTER_LIMIT`] on this module
//!   refuses to seal or to open.

use crate::fake::FakeKey;
use crate::suite::Suite;
use aws_lc_rs::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use std::fmt;
use std::str::FromStr;

/// Bytes of a tag, for either cipher.
pub const TAG_LEN: usize = 16;

/// No packet has this counter or a higher one: 2^60, far beyond the renewal of a session, far below the wrap.
pub const COUNTER_LIMIT: u64 = 1 << 60;

/// An authenticated cipher for packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Cipher {
    /// AES-256 in Galois/counter mode: the faster one where the processor has AES instructions.
    Aes256Gcm = 1,
    /// ChaCha20-Poly1305 (RFC 8439): fast, and constant-time, on every processor.
    ChaCha20Poly1305 = 2,
}

impl Cipher {
    /// Every cipher, by id.
    pub const ALL: [Self; 2] = [Self::Aes256Gcm, Self::ChaCha20Poly1305];

    /// The one this machine does best: AES if its processor has instructions for AES and for the hash of GCM.
    #[must_use]
    pub fn preferred() -> Self {
        if has_aes() {
            Self::Aes256Gcm
        } else {
            Self::ChaCha20Poly1305
        }
    }

    /// Its number on the wire.
    #[must_use]
    pub const fn id(self) -> u8 {
        self as u8
    }

    /// The cipher of that number, if there is one.
    #[must_use]
    pub fn from_id(id: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|cipher| cipher.id() == id)
    }

    /// Its name for people and for the command line: `aes-256-gcm` or `chacha20-poly1305`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes256Gcm => "aes-256-gcm",
            Self::ChaCha20Poly1305 => "chacha20-poly1305",
        }
    }

    fn key(self, suite: Suite, key: &[u8; 32]) -> Key {
        if suite.is_fake() {
            return Key::Fake(FakeKey::new(self, key));
        }
        let algorithm = match self {
            Self::Aes256Gcm => &AES_256_GCM,
            Self::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        };
        #[expect(
            clippy::expect_used,
            reason = "fails only for a wrong length; 32 bytes is right for both"
        )]
        let key = UnboundKey::new(algorithm, key).expect("a key of 32 bytes");
        Key::Real(LessSafeKey::new(key))
    }
}

/// A key, or its imitation in a simulated world.
enum Key {
    Real(LessSafeKey),
    Fake(FakeKey),
}

#[cfg(target_arch = "x86_64")]
fn has_aes() -> bool {
    std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq")
}

#[cfg(target_arch = "aarch64")]
fn has_aes() -> bool {
    std::arch::is_aarch64_feature_detected!("aes") && std::arch::is_aarch64_feature_detected!("pmull")
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn has_aes() -> bool {
    false
}

impl fmt::Display for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Cipher {
    type Err = UnknownCipher;

    fn from_str(name: &str) -> Result<Self, UnknownCipher> {
        Self::ALL
            .into_iter()
            .find(|cipher| cipher.name() == name)
            .ok_or(UnknownCipher)
    }
}

/// The name of no cipher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a cipher is aes-256-gcm or chacha20-poly1305")]
pub struct UnknownCipher;

/// The packet was not sealed under this key with this counter and header, or not whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the packet is not authentic")]
pub struct Unauthentic;

/// The key has sealed all it may: [`COUNTER_LIMIT`] is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key has been used up; a new session is needed")]
pub struct Exhausted;

/// The sending half of a direction's key. Its memory is wiped when dropped.
pub struct SealKey {
    cipher: Cipher,
    key: Key,
}

impl SealKey {
    /// The key for sealing with `cipher`.
    #[must_use]
    pub fn new(cipher: Cipher, key: &[u8; 32]) -> Self {
        Self::behind(Suite::REAL, cipher, key)
    }

    /// The same for a router whose [identity](crate::Identity::suite) has that suite.
    #[must_use]
    pub fn behind(suite: Suite, cipher: Cipher, key: &[u8; 32]) -> Self {
        Self {
            cipher,
            key: cipher.key(suite, key),
        }
    }

    /// The cipher it seals with.
    #[must_use]
    pub const fn cipher(&self) -> Cipher {
        self.cipher
    }

    /// Encrypts `buf` where it stands and returns the tag over it and `aad`. The caller sees to it that no
    /// counter is used twice.
    ///
    /// # Errors
    /// [`Exhausted`] from [`COUNTER_LIMIT`] on; nothing has been encrypted then, and `buf` must not be sent.
    pub fn seal_in_place(
        &self,
        counter: u64,
        aad: &[u8],
        buf: &mut [u8],
    ) -> Result<[u8; TAG_LEN], Exhausted> {
        let nonce = nonce(counter).ok_or(Exhausted)?;
        let key = match &self.key {
            Key::Real(key) => key,
            Key::Fake(key) => return Ok(key.seal(counter, aad, buf)),
        };
        let sealed = key.seal_in_place_separate_tag(nonce, Aad::from(aad), buf);
        let tag = sealed.map_err(|_| Exhausted)?;
        tag.as_ref().try_into().map_err(|_| Exhausted)
    }

    /// The tag over `aad` alone: the AEAD of an empty plaintext. It uses up the counter like a sealed packet.
    ///
    /// # Errors
    /// [`Exhausted`] from [`COUNTER_LIMIT`] on.
    pub fn tag(&self, counter: u64, aad: &[u8]) -> Result<[u8; TAG_LEN], Exhausted> {
        self.seal_in_place(counter, aad, &mut [])
    }
}

/// The receiving half of a direction's key. Its memory is wiped when dropped.
pub struct OpenKey {
    cipher: Cipher,
    key: Key,
}

impl OpenKey {
    /// The key for opening what [`SealKey`] with the same `cipher` and `key` seals.
    #[must_use]
    pub fn new(cipher: Cipher, key: &[u8; 32]) -> Self {
        Self::behind(Suite::REAL, cipher, key)
    }

    /// The same for a router whose [identity](crate::Identity::suite) has that suite.
    #[must_use]
    pub fn behind(suite: Suite, cipher: Cipher, key: &[u8; 32]) -> Self {
        Self {
            cipher,
            key: cipher.key(suite, key),
        }
    }

    /// The cipher it opens with.
    #[must_use]
    pub const fn cipher(&self) -> Cipher {
        self.cipher
    }

    /// Verifies and decrypts `buf` (ciphertext, then tag) where it stands. Returns the length of the
    /// plaintext, which is then at the front of `buf`.
    ///
    /// # Errors
    /// [`Unauthentic`] if anything is not as it was sealed; `buf` then holds nothing of meaning.
    pub fn open_in_place(&self, counter: u64, aad: &[u8], buf: &mut [u8]) -> Result<usize, Unauthentic> {
        let nonce = nonce(counter).ok_or(Unauthentic)?;
        let key = match &self.key {
            Key::Real(key) => key,
            Key::Fake(key) => return key.open(counter, aad, buf).ok_or(Unauthentic),
        };
        match key.open_in_place(nonce, Aad::from(aad), buf) {
            Ok(plaintext) => Ok(plaintext.len()),
            Err(_) => Err(Unauthentic),
        }
    }

    /// Verifies a tag that [`SealKey::tag`] made, in constant time.
    ///
    /// # Errors
    /// [`Unauthentic`] if it is not the tag of this counter and these bytes.
    pub fn check(&self, counter: u64, aad: &[u8], tag: &[u8; TAG_LEN]) -> Result<(), Unauthentic> {
        let mut buf = *tag;
        self.open_in_place(counter, aad, &mut buf).map(drop)
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealKey({})", self.cipher)
    }
}

impl fmt::Debug for OpenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenKey({})", self.cipher)
    }
}

/// `None` from the limit on.
fn nonce(counter: u64) -> Option<Nonce> {
    (counter < COUNTER_LIMIT).then(|| {
        let mut bytes = [0; 12];
        bytes[4..].copy_from_slice(&counter.to_be_bytes());
        Nonce::assume_unique_for_key(bytes)
    })
}

#[cfg(test)]
mod tests;
