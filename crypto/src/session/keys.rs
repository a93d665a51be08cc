//! What a finished handshake yields: for each direction, and for each lane in it, one key for packets and one for relay
//! tags, derived when a lane is first used; and for each direction one for ESP.

use super::SessionError;
use crate::EspSecret;
use crate::aead::Cipher;
use crate::derive::Kdf;
use crate::noise::Handshake;
use crate::secret::SecretId;
use std::fmt;
use zeroize::ZeroizeOnDrop;

/// What both ends have after a handshake, each with the other's directions swapped.
#[derive(Debug)]
pub struct SessionKeys {
    /// The cipher for all of them.
    pub cipher: Cipher,
    /// For packets to the other end.
    pub send: DirectionKeys,
    /// For packets from the other end.
    pub receive: DirectionKeys,
    /// The index that packets to the other end bear.
    pub their_index: u32,
    /// The secret the session was made with; the session ends when that is retired.
    pub secret: SecretId,
}

impl SessionKeys {
    pub(super) fn derive(
        handshake: &mut Handshake,
        initiator: bool,
        cipher: Cipher,
        their_index: u32,
        secret: SecretId,
    ) -> Result<Self, SessionError> {
        let split = handshake.split().ok_or(SessionError::Unauthentic)?;
        let to_responder = DirectionKeys::derive(&split.transcript, &split.to_responder, cipher);
        let to_initiator = DirectionKeys::derive(&split.transcript, &split.to_initiator, cipher);
        let (send, receive) = if initiator {
            (to_responder, to_initiator)
        } else {
            (to_initiator, to_responder)
        };
        Ok(Self {
            cipher,
            send,
            receive,
            their_index,
            secret,
        })
    }
}

/// What the keys of one direction are derived from. Wiped when dropped.
#[derive(Clone, ZeroizeOnDrop)]
pub struct DirectionKeys {
    transcript: [u8; 32],
    key: [u8; 32],
    cipher: u8,
}

/// The keys of one lane in one direction, each with its own counter. Wiped when dropped.
#[derive(ZeroizeOnDrop)]
pub struct LaneKeys {
    /// For packets between the two ends.
    pub data: [u8; 32],
    /// For the tags of relay headers on the hop between the two.
    pub relay: [u8; 32],
}

impl DirectionKeys {
    fn derive(transcript: &[u8; 32], key: &[u8; 32], cipher: Cipher) -> Self {
        Self {
            transcript: *transcript,
            key: *key,
            cipher: cipher.id(),
        }
    }

    /// The keys of a lane. Cipher and lane are in the labels, so no key ever serves two ciphers or two lanes.
    #[must_use]
    pub fn lane(&self, lane: u8) -> LaneKeys {
        let kdf = Kdf::new(&self.transcript, &self.key);
        let key = |purpose: &[u8]| *kdf.key(&[b"weft session 1 ", purpose, &[self.cipher, lane]]);
        LaneKeys {
            data: key(b"data"),
            relay: key(b"relay"),
        }
    }

    /// The secret that keys of [`esp`](crate::esp) are derived from.
    #[must_use]
    pub fn esp(&self) -> EspSecret {
        let kdf = Kdf::new(&self.transcript, &self.key);
        EspSecret::new(*kdf.key(&[b"weft session 1 ", b"esp", &[self.cipher, 0]]))
    }
}

impl fmt::Debug for DirectionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirectionKeys").finish_non_exhaustive()
    }
}

impl fmt::Debug for LaneKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaneKeys").finish_non_exhaustive()
    }
}
