//! Weft's identities, handshakes, sessions and replay windows: pure, no clock, no sockets.
//!
//! Everything here turns bytes into other bytes. Randomness is always passed in by the caller, as a
//! `&mut dyn CryptoRngCore`; nothing reads the clock, the operating system's generator or a file, so a
//! simulator with a seeded generator gets the same handshakes every time.
//!
//! # The way through it
//!
//! 1. [`identity`]: at first launch a router makes an [`Identity`]: an Ed25519 pair (RFC 8032), whose public
//!    key is its name in the mesh and signs its records, and an X25519 pair (RFC 7748) for the handshakes.
//! 2. [`secret`], [`keyring`], [`invite`]: what the operator carries from host to host. A [`Secret`] is a
//!    generated 32-byte token; one secret gives separate keys for links, sessions and admission (RFC 5869). A
//!    [`Keyring`] holds the one or two that are valid at a time. An [`Invite`] is a secret with a place to
//!    dial.
//! 3. [`link`]: two routers met by QUIC, each knows the other's TLS identity. A Noise `XXpsk0` handshake,
//!    tied to that connection, proves both ends' knowledge of the secret and tells each the other's X25519
//!    key.
//! 4. [`session`]: any two routers, however many hops apart, agree on fresh data keys: a Noise `IKpsk2`
//!    handshake as in WireGuard, one message each way.
//! 5. [`aead`] seals and opens packets with those keys; [`replay`] tells which packet counters were seen. Of a
//!    session's keys, [`esp`] makes those under which the kernels of two neighbours encrypt.
//!
//! Simulated worlds may have [`fake`] keys instead of X25519 and the ciphers; a [`Suite`] says which it is. No router
//! that was launched has one.
//!
//! # What holds
//!
//! - **Fail closed.** Every error means "no key, no plaintext". No parser here panics, whatever the bytes,
//!   and none allocates more than a small bound.
//! - **Garbage changes no state.** A session message that fails to verify leaves the handshake as it was; the
//!   responder decides only after the whole of message 1 has been verified; a replay window changes only with
//!   the counter of a packet that was opened.
//! - **No (key, nonce) pair twice**: see [`aead`].
//! - **Keys are wiped when dropped** and never printed. Two copies are out of reach: the `snow` library keeps
//!   the pre-shared key and the chaining key of a running handshake in its own memory and does not wipe them;
//!   its private and cipher keys are held, and wiped, by the primitives this crate gives it (`noise`).
//!
//! # References
//!
//! RFC 8032 (Ed25519), RFC 8410 (its DER forms), RFC 7748 (X25519), RFC 5869 (HKDF), RFC 8439
//! (ChaCha20-Poly1305), NIST SP 800-38D (GCM), RFC 6479 (replay windows), RFC 8446 §7.5 (TLS exporters), the
//! Noise Protocol Framework, revision 34, and J. Donenfeld, *WireGuard: Next Generation Kernel Network
//! Tunnel* (NDSS 2017).

pub mod aead;
mod derive;
pub mod esp;
pub mod fake;
pub mod identity;
pub mod invite;
pub mod keyring;
pub mod link;
mod noise;
pub mod replay;
pub mod secret;
pub mod session;
mod suite;
mod token;

#[cfg(test)]
mod testing;

pub use aead::{Cipher, OpenKey, SealKey};
pub use esp::{EspKey, EspSecret};
pub use identity::Identity;
pub use invite::Invite;
pub use keyring::Keyring;
pub use link::{LinkError, LinkInitiator, LinkProof, LinkResponder};
pub use replay::ReplayWindow;
pub use secret::{Secret, SecretId};
pub use session::{
    DirectionKeys, LaneKeys, Offer, Parties, SessionError, SessionInitiator, SessionKeys, SessionResponder,
};
pub use suite::Suite;
