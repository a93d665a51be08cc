//! Random faults that something came to light by, and why: `random_faults/SEED.toml` is what `weft simulate swarm`
//! drew from the seed at the time.
//!
//! Too slow for a debug build, where they are left to `.ci/run`.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use simulations::scenario::{Scenario, Settings, run};

/// - 3: a relay that repaired a path sent a datagram back through its source, which was taken for a nonce used again.
/// - 63: a link that came and went at rest while broadcasts were under way.
/// - 703, 736: a router that more others found near than it could bear had nobody to ask to leave.
/// - 1039317138: who began to talk with everybody at once asked for more handshakes than the control plane carries.
#[test]
fn what_failed_once() {
    if cfg!(debug_assertions) {
        println!("skipped in a debug build");
        return;
    }
    let files = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/random_faults");
    let files: Vec<_> = std::fs::read_dir(files)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    assert!(!files.is_empty());
    for file in files {
        let seed = file.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        let scenario = Scenario::parse(&std::fs::read_to_string(&file).unwrap()).unwrap();
        let peers = scenario.peers.default;
        let outcome = run(&scenario, Settings { peers, seed }, &mut ()).unwrap();
        assert!(outcome.report.ok, "{}", outcome.report.table());
    }
}
