//! Fuzz targets for everything in Weft that reads bytes from outside.
//!
//! A target is a function of any bytes that fails (panics) if something is wrong: not only if a decoder panics, but
//! also if decoding, encoding and decoding again disagree, an answer is not well-formed, a forgery is taken, or a
//! whole router that got the bytes no longer works. The same functions run
//!
//! - on stable, as a test: over the corpus in `corpus/TARGET/` and mutations of it (`tests/corpus.rs`);
//! - under libFuzzer, for as long as one likes (`libfuzzer/`, see `README.md`).
//!
//! # Files
//!
//! | file | subject |
//! |---|---|
//! | [`crypto`], [`mesh`], [`naming`], [`sleeve`], [`ethernet`], [`fastpath`], [`net`] | the targets, by what they fuzz |
//! | [`recording`] | recorded control planes, and their replay |
//! | [`router`], [`records`] | a control plane under test, and messages for it |
//! | [`world`], [`caught`] | three routers with sessions |
//! | [`bytes`], [`random`], [`mutate`] | inputs |
//! | [`seed`] | valid inputs, from which the corpus starts |

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "to fail is how a target reports"
)]

pub mod batched;
pub mod bytes;
pub mod caught;
pub mod crypto;
pub mod ethernet;
pub mod fastpath;
pub mod mesh;
pub mod mutate;
pub mod naming;
pub mod net;
pub mod random;
pub mod recording;
pub mod records;
pub mod router;
pub mod seed;
pub mod sleeve;
pub mod world;

/// A target: fails on an input that shows a bug.
pub type Target = fn(&[u8]);

/// All targets by name, which is also that of their corpus and of their libFuzzer program.
pub const TARGETS: &[(&str, Target)] = &[
    ("secret_token", crypto::secret_token),
    ("invite_token", crypto::invite_token),
    ("public_key", crypto::public_key),
    ("link_handshake", crypto::link_handshake),
    ("session_handshake", crypto::session_handshake),
    ("sealed", crypto::sealed),
    ("replay", crypto::replay),
    ("names", mesh::names),
    ("link_message", mesh::link_message),
    ("greeting", mesh::greeting),
    ("record_body", mesh::record_body),
    ("forwarding", mesh::forwarding),
    ("claims", naming::claims),
    ("question", naming::question),
    ("recording", recording::recording),
    ("data_header", sleeve::data_header),
    ("relay_header", sleeve::relay_header),
    ("plaintext", sleeve::plaintext),
    ("message", sleeve::message),
    ("halves", sleeve::halves),
    ("datagram", sleeve::datagram),
    ("sealed_plaintext", sleeve::sealed_plaintext),
    ("outbound", sleeve::outbound),
    ("batched", batched::batched),
    ("control_half", sleeve::control_half),
    ("readers", ethernet::readers),
    ("port_guard", ethernet::port_guard),
    ("probe_answer", fastpath::probe_answer),
    ("xfrm", fastpath::xfrm),
    ("neighbor_answers", ethernet::neighbor_answers),
    ("too_big_answers", ethernet::too_big_answers),
    ("written_address", net::written_address),
];

/// Runs the target of this name, for libFuzzer's programs.
///
/// # Panics
/// If there is none of this name, or the target fails.
pub fn run(name: &str, input: &[u8]) {
    let (_, target) = TARGETS
        .iter()
        .find(|(target, _)| *target == name)
        .expect("the name of a target");
    target(input);
}
