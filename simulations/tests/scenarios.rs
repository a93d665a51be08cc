//! Every scenario that comes with the program, once.
//!
//! In debug builds those that take long are left to `weft simulate` and to release builds, and say so.

#![allow(clippy::panic, clippy::print_stdout, clippy::unwrap_used)]

use simulations::scenario::{Scenario, Settings, builtins, run};

/// Too slow for a debug build.
const LONG: [&str; 7] = [
    "crash-50",
    "crash-80",
    "crash-90",
    "crash-95",
    "mass-restart",
    "join-crowd",
    "liar-minted-origins",
];

fn play(part: usize) {
    for (at, (name, text)) in builtins().iter().enumerate() {
        if at % 2 != part {
            continue;
        }
        if cfg!(debug_assertions) && LONG.contains(name) {
            println!("{name}: skipped in a debug build");
            continue;
        }
        let scenario = Scenario::parse(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let peers = scenario.peers.default;
        let outcome = run(&scenario, Settings { peers, seed: 1 }, &mut ()).unwrap();
        assert!(outcome.report.ok, "{}", outcome.report.table());
    }
}

#[test]
fn every_other_scenario_is_as_expected() {
    play(0);
}

#[test]
fn and_the_others_are() {
    play(1);
}

#[test]
fn names_are_those_of_the_files_and_texts_are_read_as_they_are_written() {
    for (name, text) in builtins() {
        let scenario = Scenario::parse(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(scenario.name, *name);
        let written = scenario.to_toml().unwrap();
        let again = Scenario::parse(&written).unwrap_or_else(|error| panic!("{name}: {error}\n{written}"));
        assert_eq!(again.to_toml().unwrap(), written, "{name}");
    }
}

#[test]
fn a_seed_repeats_and_another_differs() {
    let (_, text) = builtins()
        .iter()
        .find(|(name, _)| *name == "duplicate-reorder")
        .unwrap();
    let scenario = Scenario::parse(text).unwrap();
    let hash = |seed| {
        run(&scenario, Settings { peers: 4, seed }, &mut ())
            .unwrap()
            .report
            .trace_hash
    };
    assert_eq!(hash(3), hash(3));
    assert_ne!(hash(3), hash(4));
}

/// What is expected can fail, and says how to see it again.
#[test]
fn a_false_expectation_fails() {
    let text = "name = \"false\"\nabout = \"Two routers that are cut apart are expected to meet.\"\npeers = 2\n\
                [[event]]\nat = \"0s\"\ncut = [0, 1]\n\
                [[expect]]\nat = \"1s\"\nwithin = \"5s\"\nreachable = [0, 1]\n[rest]\ncheck = false\n";
    let scenario = Scenario::parse(text).unwrap();
    let report = run(&scenario, Settings { peers: 2, seed: 9 }, &mut ())
        .unwrap()
        .report;
    assert!(!report.ok);
    let failure = &report.failures[0];
    assert_eq!(
        (failure.at_ms, failure.replay.as_str()),
        (6000, "weft simulate false --peers 2 --seed 9")
    );
    assert!(
        failure.expected.contains("reachable: 0 and 1, within 5s of 1s"),
        "{failure:?}"
    );
    assert!(
        failure.seen.contains("router 0 does not reach router 1"),
        "{failure:?}"
    );
}
