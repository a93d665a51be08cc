//! The scenarios that come with the program.

use super::{Scenario, ScenarioError};

macro_rules! embedded {
    ($($name:literal),* $(,)?) => {
        /// Name and text of each, in the order in which they are listed.
        const TEXTS: &[(&str, &str)] = &[$(($name, include_str!(concat!("../../scenarios/", $name, ".toml")))),*];
    };
}

embedded!(
    "partition-heal",
    "three-way-partition",
    "one-way-link",
    "non-transitive",
    "chain",
    "long-line",
    "cut-under-traffic",
    "flapping-100ms",
    "flapping-250ms",
    "flapping-500ms",
    "flapping-1s",
    "flapping-3s",
    "flapping-10s",
    "flapping-30s",
    "flapping-60s",
    "single-bridge",
    "crash-50",
    "crash-80",
    "crash-90",
    "crash-95",
    "gone-for-good",
    "mass-restart",
    "lost-disk",
    "old-disk",
    "loss-50",
    "duplicate-reorder",
    "slow-relay",
    "new-address",
    "mtu-black-hole",
    "key-mismatch",
    "roll-the-secret",
    "secret-retired-apart",
    "clock-jump",
    "moving-trees",
    "mutual-dial",
    "cloned-identity",
    "liar-false-links",
    "liar-old-records",
    "liar-forged-records",
    "liar-flood",
    "liar-minted-origins",
    "liar-garbage",
    "join-crowd",
    "bounded-links",
    "pause-60s",
    "pause-5m",
    "nat-pairs",
    "nat-rebinding",
    "nat-hairpin",
    "mixed-versions",
);

/// The names and texts of all of them.
#[must_use]
pub fn builtins() -> &'static [(&'static str, &'static str)] {
    TEXTS
}

/// One of them, by its name.
///
/// # Errors
/// Never for those of a released program: a test reads them all.
pub fn builtin(name: &str) -> Option<Result<Scenario, ScenarioError>> {
    let (_, text) = TEXTS.iter().find(|(own, _)| *own == name)?;
    Some(Scenario::parse(text))
}
