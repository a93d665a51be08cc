//! The borders of the crate: what it may depend on, and how large its files may grow.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};

const ALLOWED: [&str; 5] = ["rand", "serde", "postcard", "thiserror", "sha2"];
const MOST_LINES: usize = 700;

#[test]
fn the_core_depends_on_nothing_that_does_io() {
    let manifest = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let section = manifest.split("\n[dependencies]\n").nth(1).unwrap();
    let section = section.split("\n[").next().unwrap();
    for line in section
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
    {
        let name = line.split(['.', ' ', '=']).next().unwrap();
        assert!(
            ALLOWED.contains(&name),
            "{name} is no dependency of a sans-IO core"
        );
    }
    for name in [
        "tokio", "quinn", "socket2", "rustix", "libc", "mio", "crypto", "sleeve", "fastpath",
    ] {
        assert!(!manifest.contains(&format!("\n{name}")), "{name}");
    }
}

#[test]
fn files_stay_small() {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let lines = std::fs::read_to_string(&path).unwrap().lines().count();
                assert!(lines <= MOST_LINES, "{} has {lines} lines", path.display());
                seen += 1;
            }
        }
    }
    assert!(seen > 20);
}
