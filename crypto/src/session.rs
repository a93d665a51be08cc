//! End-to-end data keys between two routers: `Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s`, as in the WireGuard
//! paper.
//!
//! ```text
//! initiator                                                     responder
//!   SessionInitiator::start  ── 1: version, secret id,    ──▶   SessionResponder::read → Offer
//!                                  e, es, s, ss, {offer}           (caller: newer? choose a cipher)
//!   finish → SessionKeys     ◀── 2: e, ee, se, psk, {answer} ──  Offer::accept → SessionKeys
//!   first packet under the new keys ───────────────────────▶     may now send, and retire the old keys
//! ```
//!
//! The braces are encrypted payloads (`payload`).
//!
//! What holds, and what the caller adds:
//! - Each end uses the other's X25519 key from its signed record; nobody else can finish. The prologue binds
//!   version, both names, both boot epochs, in their roles, and the secret's id: messages sent back to their
//!   author, or to another boot of the same router, do not verify.
//! - Message 1 can be replayed within one epoch of both. [`SessionResponder::read`] therefore changes
//!   nothing: the caller takes an [`Offer`] only if its (epoch, counter) is newer than the last it took from
//!   that router.
//! - Message 1 does not show that its author knows the secret; only the first packet does. So a responder
//!   neither sends under the new keys nor retires the old ones before one arrives (WireGuard does the same).
//! - The ciphers offered and the one chosen are under the handshake's own authentication: nobody in between
//!   can talk the ends down to a weaker one.

use crate::aead::Cipher;
use crate::identity::Identity;
use crate::keyring::Keyring;
use crate::noise::{Failure, Handshake, Setup};
use crate::secret::{Secret, SecretId};
use rand_core::CryptoRngCore;

mod keys;
mod payload;

use payload::{Answer, Offered};

pub use keys::{DirectionKeys, LaneKeys, SessionKeys};

/// The version of this handshake and of the packets under its keys: the first byte of message 1.
pub const VERSION: u8 = 1;

/// An offer names at most so many ciphers.
pub const MAX_CIPHERS: usize = 16;

const PROTOCOL: &str = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
const PSK_PLACE: u8 = 2;

/// Who is at the two ends, seen from one of them.
#[derive(Debug, Clone, Copy)]
pub struct Parties<'a> {
    /// This router's keys.
    pub identity: &'a Identity,
    /// This router's name, its Ed25519 key.
    pub my_id: [u8; 32],
    /// This router's boot epoch.
    pub my_epoch: u64,
    /// The other's name.
    pub their_id: [u8; 32],
    /// The other's X25519 key, from its signed record.
    pub their_data_key: [u8; 32],
    /// The other's boot epoch, from its signed record.
    pub their_epoch: u64,
}

impl Parties<'_> {
    fn prologue(&self, initiating: bool, secret: &SecretId) -> Result<Vec<u8>, SessionError> {
        if self.my_id == self.their_id || self.identity.data_public() == self.their_data_key {
            return Err(SessionError::SelfSession);
        }
        let (me, them) = ((&self.my_id, self.my_epoch), (&self.their_id, self.their_epoch));
        let (initiator, responder) = if initiating { (me, them) } else { (them, me) };
        let epochs = [initiator.1.to_be_bytes(), responder.1.to_be_bytes()];
        let parts: [&[u8]; 7] = [
            b"weft session ",
            &[VERSION],
            initiator.0,
            responder.0,
            &epochs[0],
            &epochs[1],
            &secret.0,
        ];
        Ok(parts.concat())
    }

    fn setup<'b>(&'b self, psk: &'b [u8; 32], prologue: &'b [u8], remote: Option<&'b [u8; 32]>) -> Setup<'b> {
        let private = self.identity.data_private();
        Setup {
            suite: self.identity.suite(),
            protocol: PROTOCOL,
            private,
            remote,
            psk: (PSK_PLACE, psk),
            prologue,
        }
    }
}

/// Why there is no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The initiator uses a secret that is not valid here.
    #[error("the other router uses secret {theirs}, which is not valid here")]
    UnknownSecret {
        /// The id of the secret it named.
        theirs: SecretId,
    },
    /// The message does not come from that router, in this epoch of both, or was changed on the way.
    #[error("the handshake is not authentic")]
    Unauthentic,
    /// The bytes cannot be this handshake.
    #[error("malformed handshake")]
    Malformed,
    /// The other router speaks another version of the handshake.
    #[error("the other router speaks version {theirs} of the session handshake, this one version {VERSION}")]
    Version {
        /// Its version.
        theirs: u8,
    },
    /// The other end is this router.
    #[error("no session with oneself")]
    SelfSession,
    /// The cipher chosen was not offered, or none was.
    #[error("the two routers have no cipher in common")]
    Cipher,
    /// The generator of random numbers failed.
    #[error("no random numbers are to be had")]
    Randomness,
}

impl From<Failure> for SessionError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unauthentic => Self::Unauthentic,
            Failure::Malformed => Self::Malformed,
            Failure::Randomness => Self::Randomness,
        }
    }
}

/// The cipher of a session: the first that the initiator offers (`theirs`) and the responder allows (`mine`).
#[must_use]
pub fn choose(mine: &[Cipher], theirs: &[Cipher]) -> Option<Cipher> {
    theirs.iter().copied().find(|cipher| mine.contains(cipher))
}

/// The end that wants a session, waiting for message 2.
#[derive(Debug)]
pub struct SessionInitiator {
    handshake: Handshake,
    secret: SecretId,
    ciphers: Vec<Cipher>,
}

impl SessionInitiator {
    /// Starts a session; the second value is message 1. `counter` must be greater than in any message 1 sent
    /// to that router in this epoch; `ciphers` are those allowed, best first; packets for this end will bear
    /// `index`.
    ///
    /// # Errors
    /// [`SessionError::SelfSession`]; [`SessionError::Cipher`] for no cipher or more than [`MAX_CIPHERS`];
    /// [`SessionError::Unauthentic`] if their data key is a weak one; [`SessionError::Randomness`].
    pub fn start(
        parties: &Parties<'_>,
        secret: &Secret,
        counter: u64,
        ciphers: &[Cipher],
        index: u32,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<(Self, Vec<u8>), SessionError> {
        if ciphers.is_empty() || ciphers.len() > MAX_CIPHERS {
            return Err(SessionError::Cipher);
        }
        let (secret, psk) = (secret.id(), secret.data_psk());
        let prologue = parties.prologue(true, &secret)?;
        let setup = parties.setup(&psk, &prologue, Some(&parties.their_data_key));
        let mut handshake = Handshake::initiator(&setup)?;
        let offered = Offered {
            epoch: parties.my_epoch,
            counter,
            index,
            ciphers: ciphers.to_vec(),
        };
        let noise = handshake.write(&offered.write(), rng)?;
        let message = [&[VERSION], &secret.0[..], &noise].concat();
        Ok((
            Self {
                handshake,
                secret,
                ciphers: ciphers.to_vec(),
            },
            message,
        ))
    }

    /// Reads message 2. A message that does not verify changes nothing: the right one may still come. After a
    /// success, every further message is refused.
    ///
    /// # Errors
    /// [`SessionError::Unauthentic`], [`SessionError::Malformed`], [`SessionError::Cipher`].
    pub fn finish(&mut self, message2: &[u8]) -> Result<SessionKeys, SessionError> {
        let answer = self.handshake.read(message2)?;
        let answer = Answer::read(&answer).ok_or(SessionError::Malformed)?;
        let cipher = answer
            .cipher
            .filter(|cipher| self.ciphers.contains(cipher))
            .ok_or(SessionError::Cipher)?;
        SessionKeys::derive(&mut self.handshake, true, cipher, answer.index, self.secret)
    }
}

/// The end that is asked for a session.
#[derive(Debug)]
pub struct SessionResponder;

impl SessionResponder {
    /// Reads message 1, under whichever valid secret it names. Changes nothing anywhere.
    ///
    /// # Errors
    /// Any [`SessionError`] but [`SessionError::Randomness`].
    pub fn read(parties: &Parties<'_>, keyring: &Keyring, message1: &[u8]) -> Result<Offer, SessionError> {
        let (&version, rest) = message1.split_first().ok_or(SessionError::Malformed)?;
        if version != VERSION {
            return Err(SessionError::Version { theirs: version });
        }
        let (&id, noise) = rest.split_first_chunk().ok_or(SessionError::Malformed)?;
        let id = SecretId(id);
        let prologue = parties.prologue(false, &id)?;
        let secret = keyring
            .get(&id)
            .ok_or(SessionError::UnknownSecret { theirs: id })?;
        let mut handshake = Handshake::responder(&parties.setup(&secret.data_psk(), &prologue, None))?;
        let payload = handshake.read(noise)?;
        if handshake.remote() != Some(parties.their_data_key) {
            return Err(SessionError::Unauthentic);
        }
        let Offered {
            epoch,
            counter,
            index,
            ciphers,
        } = Offered::read(&payload).ok_or(SessionError::Malformed)?;
        // The prologue says so already; kept so that an offer's epoch can be trusted on its own.
        if epoch != parties.their_epoch {
            return Err(SessionError::Unauthentic);
        }
        Ok(Offer {
            epoch,
            counter,
            index,
            ciphers,
            secret: id,
            handshake,
        })
    }
}

/// A verified message 1: what the other router offers, and the handshake to go on with.
#[derive(Debug)]
pub struct Offer {
    /// The initiator's boot epoch, the one in its record.
    pub epoch: u64,
    /// Its counter of handshakes. To be taken only if (epoch, counter) is newer than the last taken.
    pub counter: u64,
    /// The index that packets for the initiator bear.
    pub index: u32,
    /// The ciphers it allows, best first; those this version does not know are left out.
    pub ciphers: Vec<Cipher>,
    /// The secret it used.
    pub secret: SecretId,
    handshake: Handshake,
}

impl Offer {
    /// Takes the offer with one of its ciphers ([`choose`]); packets for this end will bear `index`. The
    /// second value is message 2.
    ///
    /// # Errors
    /// [`SessionError::Cipher`] if the offer does not hold that cipher; [`SessionError::Randomness`].
    pub fn accept(
        mut self,
        cipher: Cipher,
        index: u32,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<(SessionKeys, Vec<u8>), SessionError> {
        if !self.ciphers.contains(&cipher) {
            return Err(SessionError::Cipher);
        }
        let message2 = self.handshake.write(&Answer::write(index, cipher), rng)?;
        let keys = SessionKeys::derive(&mut self.handshake, false, cipher, self.index, self.secret)?;
        Ok((keys, message2))
    }
}

#[cfg(test)]
mod tests;
