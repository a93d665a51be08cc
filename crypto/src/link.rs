//! The proof of the secret on a new link: `Noise_XXpsk0_25519_ChaChaPoly_BLAKE2s` inside a QUIC connection.
//!
//! TLS has told each end the other's Ed25519 key, its name; it has not told whether that router belongs to
//! the mesh. Three messages on the connection's first stream do:
//!
//! ```text
//! initiator (who dialled)                            responder
//!   LinkInitiator::new  ── 1: secret id, psk, e ──▶   LinkResponder::accept: the initiator has the secret
//!   finish → LinkProof  ◀── 2: e, ee, s, es ───────   (and so has the responder)
//!                       ── 3: s, se ──────────────▶   finish → LinkProof
//! ```
//!
//! The pre-shared key comes first (`psk0`), so whoever lacks the secret gets no answer, and *both* ends have
//! proved it by the time either holds a [`LinkProof`]. (With `psk3` nothing would follow the key from the
//! responder's side: whoever answered a dial could pass without the secret.)
//!
//! The prologue holds the connection's TLS exporter (RFC 8446 §7.5) and both names, so messages are worth
//! nothing on any other connection: not replayed, not passed on by a man in the middle, not sent back to
//! their author. Each message is read once; QUIC delivers it whole and in order, and any failure ends the
//! connection.

use crate::identity::Identity;
use crate::keyring::Keyring;
use crate::noise::{Failure, Handshake, Setup};
use crate::secret::{Secret, SecretId};
use rand_core::CryptoRngCore;

/// The ALPN of links in TLS, whose number changes with the protocol.
pub const ALPN: &[u8] = b"weft/1";

/// The label under which the TLS exporter yields the 32 bytes that tie the proof to the connection; its
/// context is empty.
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-weft-link";

/// No message of this handshake is longer. Readers need not take more bytes than that from a stream.
pub const MAX_MESSAGE_LEN: usize = 128;

const PROTOCOL: &str = "Noise_XXpsk0_25519_ChaChaPoly_BLAKE2s";
const PSK_PLACE: u8 = 0;

/// What the handshake showed of the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkProof {
    /// Its X25519 key. Its signed record must name the same.
    pub data_public: [u8; 32],
    /// The secret that both ends know.
    pub secret: SecretId,
}

/// Why there is no link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The initiator uses a secret that is not valid here.
    #[error("the other router uses secret {theirs}, which is not valid here")]
    UnknownSecret {
        /// The id of the secret it named.
        theirs: SecretId,
    },
    /// The other end did not prove that it knows the secret, on this connection, under its own name.
    #[error("the other router did not prove that it knows the secret")]
    Unauthentic,
    /// The bytes cannot be this handshake.
    #[error("what the other end sent is not a handshake of weft")]
    Malformed,
    /// The other end is this router.
    #[error("this is the router itself: the address leads back here")]
    SelfLink,
    /// The generator of random numbers failed.
    #[error("no random numbers are to be had")]
    Randomness,
}

impl From<Failure> for LinkError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unauthentic => Self::Unauthentic,
            Failure::Malformed => Self::Malformed,
            Failure::Randomness => Self::Randomness,
        }
    }
}

/// The end that dialled.
#[derive(Debug)]
pub struct LinkInitiator {
    link: Link,
}

impl LinkInitiator {
    /// Starts the handshake on a connection to `their_id`; the second value is message 1. `exporter` is the
    /// connection's own, see [`EXPORTER_LABEL`]; the ids are the Ed25519 keys of its TLS certificates.
    ///
    /// # Errors
    /// [`LinkError::SelfLink`], [`LinkError::Randomness`].
    pub fn new(
        identity: &Identity,
        exporter: &[u8; 32],
        my_id: &[u8; 32],
        their_id: &[u8; 32],
        secret: &Secret,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<(Self, Vec<u8>), LinkError> {
        let prologue = prologue(exporter, my_id, their_id, &secret.id())?;
        let handshake = Handshake::initiator(&setup(identity, &secret.link_psk(), &prologue))?;
        let mut link = Link {
            handshake,
            secret: secret.id(),
            my_data: identity.data_public(),
        };
        let mut message = secret.id().0.to_vec();
        message.extend_from_slice(&link.handshake.write(&[], rng)?);
        Ok((Self { link }, message))
    }

    /// Reads message 2. The first value is message 3, which the responder still needs; the proof holds
    /// already.
    ///
    /// # Errors
    /// [`LinkError::Unauthentic`], [`LinkError::Malformed`], [`LinkError::SelfLink`].
    pub fn finish(mut self, message2: &[u8]) -> Result<(Vec<u8>, LinkProof), LinkError> {
        self.link.handshake.read(message2)?;
        let proof = self.link.proof()?;
        let message3 = self.link.handshake.write_static(&[])?;
        Ok((message3, proof))
    }
}

/// The end that was dialled.
#[derive(Debug)]
pub struct LinkResponder {
    link: Link,
}

impl LinkResponder {
    /// Reads message 1 on a connection from `their_id`, under whichever valid secret it names; the second
    /// value is message 2. Arguments as for [`LinkInitiator::new`].
    ///
    /// # Errors
    /// Any [`LinkError`]; nothing must be answered then but the end of the connection.
    pub fn accept(
        identity: &Identity,
        exporter: &[u8; 32],
        my_id: &[u8; 32],
        their_id: &[u8; 32],
        keyring: &Keyring,
        message1: &[u8],
        rng: &mut dyn CryptoRngCore,
    ) -> Result<(Self, Vec<u8>), LinkError> {
        let (&id, noise) = message1.split_first_chunk().ok_or(LinkError::Malformed)?;
        let id = SecretId(id);
        let prologue = prologue(exporter, their_id, my_id, &id)?;
        let secret = keyring.get(&id).ok_or(LinkError::UnknownSecret { theirs: id })?;
        let mut handshake = Handshake::responder(&setup(identity, &secret.link_psk(), &prologue))?;
        handshake.read(noise)?;
        let message2 = handshake.write(&[], rng)?;
        Ok((
            Self {
                link: Link {
                    handshake,
                    secret: id,
                    my_data: identity.data_public(),
                },
            },
            message2,
        ))
    }

    /// Reads message 3.
    ///
    /// # Errors
    /// [`LinkError::Unauthentic`], [`LinkError::Malformed`], [`LinkError::SelfLink`].
    pub fn finish(mut self, message3: &[u8]) -> Result<LinkProof, LinkError> {
        self.link.handshake.read(message3)?;
        self.link.proof()
    }
}

#[derive(Debug)]
struct Link {
    handshake: Handshake,
    secret: SecretId,
    my_data: [u8; 32],
}

impl Link {
    fn proof(&self) -> Result<LinkProof, LinkError> {
        let data_public = self.handshake.remote().ok_or(LinkError::Unauthentic)?;
        // Another name with our data key: a copy of this router's state under a new identity.
        if data_public == self.my_data {
            return Err(LinkError::SelfLink);
        }
        Ok(LinkProof {
            data_public,
            secret: self.secret,
        })
    }
}

fn setup<'a>(identity: &'a Identity, psk: &'a [u8; 32], prologue: &'a [u8]) -> Setup<'a> {
    Setup {
        suite: identity.suite(),
        protocol: PROTOCOL,
        private: identity.data_private(),
        remote: None,
        psk: (PSK_PLACE, psk),
        prologue,
    }
}

/// All parts have fixed lengths, so no two sets of them look alike.
fn prologue(
    exporter: &[u8; 32],
    initiator: &[u8; 32],
    responder: &[u8; 32],
    secret: &SecretId,
) -> Result<Vec<u8>, LinkError> {
    if initiator == responder {
        return Err(LinkError::SelfLink);
    }
    Ok([ALPN, exporter, initiator, responder, &secret.0].concat())
}

#[cfg(test)]
mod tests;
