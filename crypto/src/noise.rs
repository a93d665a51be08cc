//! The Noise machine under [`link`](crate::link) and [`session`](crate::session): `snow` with this crate's
//! rules.
//!
//! - The ephemeral key is drawn from the caller's generator at the moment a message is written and is used
//!   for that message only; `snow` has no other source of randomness.
//! - The primitives are ours, so that private keys and cipher keys are wiped when dropped: X25519 (RFC 7748)
//!   that refuses a shared secret of all zeros, and ChaCha20-Poly1305 (RFC 8439) by aws-lc.
//! - A message that fails to verify leaves the machine as it was, so garbage cannot end a handshake.

use crate::fake::{FakeCipher, FakeDh};
use crate::suite::Suite;
use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use rand_core::CryptoRngCore;
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, Error, HandshakeState};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

/// No handshake message of ours comes near this length; longer ones are not looked at.
pub(crate) const MAX_MESSAGE_LEN: usize = 1024;

/// What is added to a message at most: an ephemeral key, a sealed static key, the payload's tag.
const OVERHEAD: usize = 32 + (32 + TAG_LEN) + TAG_LEN;

const TAG_LEN: usize = 16;

/// Why a step of a handshake failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The message does not verify, or is not the one that comes next.
    Unauthentic,
    /// The message cannot be a handshake message at all.
    Malformed,
    /// The caller's generator failed.
    Randomness,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Input => Self::Malformed,
            Error::Rng => Self::Randomness,
            _ => Self::Unauthentic,
        }
    }
}

/// What both ends of a handshake bring to it.
pub(crate) struct Setup<'a> {
    /// What stands behind it.
    pub(crate) suite: Suite,
    /// The name of the Noise protocol.
    pub(crate) protocol: &'static str,
    /// Our X25519 private key.
    pub(crate) private: &'a [u8; 32],
    /// Their X25519 public key, if the pattern wants it beforehand.
    pub(crate) remote: Option<&'a [u8; 32]>,
    /// The place of the pre-shared key in the pattern, and the key.
    pub(crate) psk: (u8, &'a [u8; 32]),
    /// What both ends must agree on beforehand.
    pub(crate) prologue: &'a [u8],
}

/// A running handshake.
pub(crate) struct Handshake {
    state: HandshakeState,
    ephemeral: Ephemeral,
}

impl Handshake {
    /// The end that writes message 1.
    pub(crate) fn initiator(setup: &Setup<'_>) -> Result<Self, Failure> {
        let ephemeral = Ephemeral::default();
        let state = builder(setup, ephemeral.clone())?.build_initiator()?;
        Ok(Self { state, ephemeral })
    }

    /// The end that reads message 1.
    pub(crate) fn responder(setup: &Setup<'_>) -> Result<Self, Failure> {
        let ephemeral = Ephemeral::default();
        let state = builder(setup, ephemeral.clone())?.build_responder()?;
        Ok(Self { state, ephemeral })
    }

    /// The next message, with `payload` in it and a fresh ephemeral key of 32 bytes from `rng`.
    pub(crate) fn write(&mut self, payload: &[u8], rng: &mut dyn CryptoRngCore) -> Result<Vec<u8>, Failure> {
        self.ephemeral.draw(rng)?;
        let message = self.write_static(payload);
        self.ephemeral.clear();
        message
    }

    /// The next message, with `payload` in it, if the pattern has no ephemeral key there; a failure if it
    /// has.
    pub(crate) fn write_static(&mut self, payload: &[u8]) -> Result<Vec<u8>, Failure> {
        let mut message = vec![0; payload.len() + OVERHEAD];
        let length = self.state.write_message(payload, &mut message)?;
        message.truncate(length);
        Ok(message)
    }

    /// The payload of the next message. A failure changes nothing.
    pub(crate) fn read(&mut self, message: &[u8]) -> Result<Vec<u8>, Failure> {
        if message.len() > MAX_MESSAGE_LEN {
            return Err(Failure::Malformed);
        }
        let mut payload = vec![0; message.len()];
        let length = self.state.read_message(message, &mut payload)?;
        payload.truncate(length);
        Ok(payload)
    }

    /// Their X25519 public key, once it is known.
    pub(crate) fn remote(&self) -> Option<[u8; 32]> {
        self.state.get_remote_static()?.try_into().ok()
    }

    /// The keys from initiator to responder and back, and the hash of the whole handshake. `None` before its
    /// end.
    pub(crate) fn split(&mut self) -> Option<Split> {
        if !self.state.is_handshake_finished() {
            return None;
        }
        let transcript = self.state.get_handshake_hash().try_into().ok()?;
        let (to_responder, to_initiator) = self.state.dangerously_get_raw_split();
        let (to_responder, to_initiator) = (Zeroizing::new(to_responder), Zeroizing::new(to_initiator));
        Some(Split {
            to_responder,
            to_initiator,
            transcript,
        })
    }
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handshake")
    }
}

/// What a finished handshake yields.
pub(crate) struct Split {
    pub(crate) to_responder: Zeroizing<[u8; 32]>,
    pub(crate) to_initiator: Zeroizing<[u8; 32]>,
    pub(crate) transcript: [u8; 32],
}

fn builder<'a>(setup: &Setup<'a>, ephemeral: Ephemeral) -> Result<Builder<'a>, Error> {
    let (place, psk) = setup.psk;
    let builder = Builder::with_resolver(
        setup.protocol.parse()?,
        Box::new(Primitives(ephemeral, setup.suite)),
    )
    .local_private_key(setup.private)?
    .psk(place, psk)?
    .prologue(setup.prologue)?;
    match setup.remote {
        Some(remote) => builder.remote_public_key(remote),
        None => Ok(builder),
    }
}

/// The ephemeral private key on its way from the caller's generator into `snow`, which asks for it in the
/// midst of writing a message. Whoever takes it empties the slot; from an empty slot nothing comes but an
/// error.
#[derive(Clone, Default)]
struct Ephemeral(Arc<Mutex<Option<Zeroizing<[u8; 32]>>>>);

impl Ephemeral {
    fn draw(&self, rng: &mut dyn CryptoRngCore) -> Result<(), Failure> {
        let mut key = Zeroizing::new([0; 32]);
        rng.try_fill_bytes(&mut *key).map_err(|_| Failure::Randomness)?;
        *self.slot() = Some(key);
        Ok(())
    }

    fn clear(&self) {
        *self.slot() = None;
    }

    fn slot(&self) -> MutexGuard<'_, Option<Zeroizing<[u8; 32]>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Random for Ephemeral {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), Error> {
        let key = self
            .slot()
            .take()
            .filter(|key| key.len() == dest.len())
            .ok_or(Error::Rng)?;
        dest.copy_from_slice(&*key);
        Ok(())
    }
}

struct Primitives(Ephemeral, Suite);

impl CryptoResolver for Primitives {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(self.0.clone()))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        matches!(choice, DHChoice::Curve25519).then(|| match self.1.is_fake() {
            false => Box::new(X25519::default()) as Box<dyn Dh>,
            true => Box::new(FakeDh::default()),
        })
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        matches!(choice, CipherChoice::ChaChaPoly).then(|| match self.1.is_fake() {
            false => Box::new(ChaChaPoly(None)) as Box<dyn Cipher>,
            true => Box::new(FakeCipher::default()),
        })
    }
}

/// Before a key is set the two are no pair, and nobody asks for either: `snow` makes all its slots first.
struct X25519 {
    private: StaticSecret,
    public: PublicKey,
}

impl Default for X25519 {
    fn default() -> Self {
        Self {
            private: StaticSecret::from([0; 32]),
            public: PublicKey::from([0; 32]),
        }
    }
}

impl X25519 {
    fn new(private: &[u8; 32]) -> Self {
        let private = StaticSecret::from(*private);
        Self {
            public: PublicKey::from(&private),
            private,
        }
    }
}

impl Dh for X25519 {
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
        let mut key = Zeroizing::new([0; 32]);
        key.copy_from_slice(private);
        *self = Self::new(&key);
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), Error> {
        let mut key = Zeroizing::new([0; 32]);
        rng.try_fill_bytes(&mut *key)?;
        *self = Self::new(&key);
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        self.public.as_bytes()
    }

    fn privkey(&self) -> &[u8] {
        self.private.as_bytes()
    }

    fn dh(&self, public: &[u8], out: &mut [u8]) -> Result<(), Error> {
        // `snow` hands over its buffer for keys of any curve; ours are its first 32 bytes.
        let public = *public.first_chunk::<32>().ok_or(Error::Dh)?;
        let out = out.first_chunk_mut::<32>().ok_or(Error::Dh)?;
        let shared = self.private.diffie_hellman(&PublicKey::from(public));
        // RFC 7748 §6.1: a point of small order gives zeros, a secret that everybody knows.
        if !shared.was_contributory() {
            return Err(Error::Dh);
        }
        *out = *shared.as_bytes();
        Ok(())
    }
}

/// ChaCha20-Poly1305 with the nonce of the Noise specification §12.3: four zero bytes, then little endian.
struct ChaChaPoly(Option<LessSafeKey>);

impl Cipher for ChaChaPoly {
    fn name(&self) -> &'static str {
        "ChaChaPoly"
    }

    fn set(&mut self, key: &[u8; 32]) {
        self.0 = UnboundKey::new(&CHACHA20_POLY1305, key)
            .ok()
            .map(LessSafeKey::new);
    }

    /// Never fails: `snow` sets a key first and makes room for the tag. If it did, the message would come out
    /// short, with nothing of the plaintext in it, and be refused by its reader.
    fn encrypt(&self, nonce: u64, aad: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        let Some((text, after)) = out.split_at_mut_checked(plaintext.len()) else {
            return 0;
        };
        let (Some(key), Some(tag)) = (&self.0, after.first_chunk_mut::<TAG_LEN>()) else {
            return 0;
        };
        text.copy_from_slice(plaintext);
        match key.seal_in_place_separate_tag(noise_nonce(nonce), Aad::from(aad), text) {
            Ok(sealed) => tag.copy_from_slice(sealed.as_ref()),
            Err(_) => return 0,
        }
        plaintext.len() + TAG_LEN
    }

    fn decrypt(&self, nonce: u64, aad: &[u8], ciphertext: &[u8], out: &mut [u8]) -> Result<usize, Error> {
        let (text, tag) = ciphertext.split_last_chunk::<TAG_LEN>().ok_or(Error::Decrypt)?;
        let out = out.get_mut(..text.len()).ok_or(Error::Decrypt)?;
        let key = self.0.as_ref().ok_or(Error::Decrypt)?;
        key.open_separate_gather(noise_nonce(nonce), Aad::from(aad), text, tag, out)
            .map_err(|_| Error::Decrypt)?;
        Ok(text.len())
    }
}

fn noise_nonce(counter: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

#[cfg(test)]
mod tests;
