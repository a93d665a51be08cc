//! Valid inputs, from which the corpus starts. `cargo run -p fuzz --example seed` writes them; a test sees to it that
//! none is missing.

mod control;
mod data;

/// An input of a target: the target's name, the input's own, the bytes.
pub type Seed = (&'static str, &'static str, Vec<u8>);

/// All of them; the same ones every time.
#[must_use]
pub fn seeds() -> Vec<Seed> {
    [
        control::tokens(),
        control::handshakes(),
        control::mesh(),
        data::frames(),
        data::datagrams(),
        data::probes(),
    ]
    .concat()
}
