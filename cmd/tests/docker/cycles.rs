//! Containers that come and go on both hosts at once leave nothing behind.

use crate::Hosts;
use crate::common::until;
use crate::engine::{Engine, docker};
use std::time::{Duration, Instant};

/// Cycles on each host; `just docker-cycles` asks for a hundred.
fn count() -> u32 {
    let asked = std::env::var("WEFT_TEST_CYCLES").ok();
    asked.map_or(5, |text| text.parse().expect("WEFT_TEST_CYCLES is a number"))
}

#[test]
fn after_many_containers_on_both_hosts_no_address_and_no_interface_is_left() {
    let Some(hosts) = Hosts::new("docker-cycles") else {
        return;
    };
    let [host_a, _, host_b] = &hosts.hosts;
    let [a, b] = Engine::both([host_a, host_b]);
    for engine in [&a, &b] {
        engine.network("mesh").ok();
        // A first one, so that both own their share.
        engine
            .docker(&["run", "--rm", "--network", "mesh", crate::engine::IMAGE, "true"])
            .ok();
    }
    let sum = || a.counts().0 + b.counts().0;
    let before = sum();
    let start = Instant::now();
    std::thread::scope(|scope| {
        for engine in [&a, &b] {
            let socket = engine.socket();
            scope.spawn(move || {
                for _ in 0..count() {
                    let out = docker(
                        &socket,
                        &[
                            "run",
                            "--rm",
                            "--network",
                            "mesh",
                            crate::engine::IMAGE,
                            "ip",
                            "addr",
                        ],
                    );
                    assert!(out.ok().contains("inet 10."));
                }
            });
        }
    });
    let took = start.elapsed() / count();
    println!("{} cycles on each of two hosts at once, {took:?} each", count());
    until("nothing is left", Duration::from_secs(10), || {
        let is_clean = |engine: &Engine<'_>| engine.pairs().is_empty() && engine.counts().1 == 0;
        (is_clean(&a) && is_clean(&b) && sum() == before).then_some(())
    });
}
