//! The broken cores of `simulations/mutations/` are still made of this one: each patch finds the lines that it changes.

#![allow(clippy::unwrap_used)]

use std::path::Path;

/// The file that a patch changes, and its lines as they are before and afterwards.
fn change(patch: &str) -> (&str, String, String) {
    let file = patch
        .lines()
        .find_map(|line| line.strip_prefix("+++ b/"))
        .unwrap();
    let lines = patch.lines().skip_while(|line| !line.starts_with("@@")).skip(1);
    let (mut before, mut after) = (String::new(), String::new());
    for line in lines {
        let (kind, text) = line.split_at(1);
        for (side, other) in [(&mut before, "+"), (&mut after, "-")] {
            if kind != other {
                side.push_str(text);
                side.push('\n');
            }
        }
    }
    (file, before, after)
}

#[test]
fn each_patch_finds_what_it_breaks() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = root.join("simulations/mutations");
    let files = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let patches: Vec<_> = files
        .filter(|file| file.extension().is_some_and(|end| end == "patch"))
        .collect();
    assert!(patches.len() >= 5, "{patches:?}");
    for path in patches {
        let patch = std::fs::read_to_string(&path).unwrap();
        assert!(patch.starts_with("scenario: "), "{path:?}");
        let (file, before, after) = change(&patch);
        let text = std::fs::read_to_string(root.join(file)).unwrap();
        assert_eq!(text.matches(&before).count(), 1, "{path:?}: {before}");
        assert_ne!(before, after, "{path:?}");
    }
}
