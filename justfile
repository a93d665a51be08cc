# Short names for what one does all day. `just` lists them.

default:
    @just --list

# Everything that must hold before a change lands.
ci:
    .ci/run

# The tests; namespace tests need root and skip without it.
test *args:
    cargo test --workspace {{args}}

# Three hosts, a relay and an encrypted mesh on this machine.
demo:
    cargo run --release -- demo

# Format, then lint.
fix:
    cargo fmt --all
    cargo clippy --workspace --all-targets -- -D warnings

# Read the documentation.
docs:
    cargo doc --workspace --no-deps --document-private-items --open
