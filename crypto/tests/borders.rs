//! The border of the crate that matters most: nobody but the simulator may name the fakes.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

/// Every Rust file below a folder.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn only_the_simulator_names_the_fakes() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut seen = 0;
    for name in ["mesh", "sleeve", "fastpath", "cmd", "fuzz"] {
        let mut files = Vec::new();
        sources(&workspace.join(name), &mut files);
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            for word in ["crypto::fake", "fake::identity", "Suite::FAKE"] {
                assert!(!text.contains(word), "{} names {word}", file.display());
            }
            seen += 1;
        }
    }
    assert!(seen > 100);
}
