//! Every target over its corpus, and over mutations of it that are the same every time.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by them")]

use fuzz::mutate::Mutator;
use fuzz::{TARGETS, Target};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The committed corpus may have so many bytes.
const MAX_CORPUS: usize = 300_000;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// How many mutations: fewer where an input means a whole router or three.
fn rounds(name: &str) -> usize {
    match name {
        "control_half" => 50,
        "batched" => 600,
        "record_body" => 300,
        "recording" => 400,
        "link_message" | "greeting" | "link_handshake" | "session_handshake" => 400,
        _ => 3000,
    }
}

/// The inputs in the order of their names, so that mutations are the same everywhere.
fn inputs(name: &str) -> Vec<Vec<u8>> {
    let mut paths: Vec<_> = std::fs::read_dir(corpus().join(name))
        .unwrap_or_else(|error| panic!("no corpus for {name}: {error}"))
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

fn try_one(name: &str, target: Target, input: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| target(input))).is_err() {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.failed"));
        std::fs::write(&kept, input).unwrap();
        panic!(
            "{name} fails on {} bytes, kept in {}",
            input.len(),
            kept.display()
        );
    }
}

fn try_all(name: &str, target: Target) {
    let inputs = inputs(name);
    for input in inputs.iter().chain([&Vec::new()]) {
        try_one(name, target, input);
    }
    let mut mutator = Mutator::new(name, &inputs);
    for _ in 0..rounds(name) {
        try_one(name, target, &mutator.input());
    }
}

/// Each target in a thread of its own, two at a time.
#[test]
fn targets_hold_over_corpus_and_mutations() {
    let next = AtomicUsize::new(0);
    let failed: Vec<&str> = std::thread::scope(|scope| {
        let lane = || {
            let mut failed = Vec::new();
            while let Some(&(name, target)) = TARGETS.get(next.fetch_add(1, Ordering::Relaxed)) {
                let start = std::time::Instant::now();
                if scope.spawn(move || try_all(name, target)).join().is_err() {
                    failed.push(name);
                }
                println!("{name}: {} ms", start.elapsed().as_millis());
            }
            failed
        };
        let lanes = [scope.spawn(lane), scope.spawn(lane)];
        lanes.into_iter().flat_map(|lane| lane.join().unwrap()).collect()
    });
    assert!(failed.is_empty(), "these failed: {failed:?}");
}

#[test]
fn the_corpus_holds_the_seeds_and_is_small() {
    let names: BTreeSet<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    assert_eq!(names.len(), TARGETS.len());
    for (target, name, _) in fuzz::seed::seeds() {
        assert!(names.contains(target), "{target}");
        // They may differ: what routers said before a change must be read after it, too.
        let kept = corpus().join(target).join(name).exists();
        assert!(
            kept,
            "{target}/{name} is missing: cargo run -p fuzz --example seed"
        );
    }
    let kept = std::fs::read_dir(corpus())
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let kept: BTreeSet<String> = kept.map(|name| name.into_string().unwrap()).collect();
    assert!(kept.iter().map(String::as_str).eq(names.iter().copied()));
    let size: usize = names
        .iter()
        .flat_map(|name| inputs(name))
        .map(|input| input.len())
        .sum();
    assert!(size < MAX_CORPUS, "the corpus has {size} bytes");
}

/// Each target has a program for libFuzzer, which names it.
#[test]
fn every_target_has_a_libfuzzer_program() {
    let libfuzzer = Path::new(env!("CARGO_MANIFEST_DIR")).join("libfuzzer");
    let manifest = std::fs::read_to_string(libfuzzer.join("Cargo.toml")).unwrap();
    for (name, _) in TARGETS {
        let program = std::fs::read_to_string(libfuzzer.join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(program.contains(&format!("\"{name}\"")), "{name}");
        assert!(manifest.contains(&format!("fuzz_targets/{name}.rs")), "{name}");
    }
}
