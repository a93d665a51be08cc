//! The committed eBPF objects are what their sources make, where the compiler is installed that made them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;

#[test]
fn objects_are_what_their_sources_make() {
    let version = Command::new("clang").arg("--version").output();
    let text = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let is_same = text.is_ok_and(|text| text.contains("clang version 14.0.6"));
    let has_rest =
        Path::new("/usr/include/bpf/bpf_helpers.h").exists() && Path::new("/usr/bin/llvm-strip").exists();
    if !is_same || !has_rest {
        println!("skipped: needs clang 14.0.6, llvm-strip and libbpf-dev of Debian 12");
        return;
    }
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let to = std::env::temp_dir().join(format!("weft-objects-{}", std::process::id()));
    std::fs::create_dir_all(&to).unwrap();
    let built = Command::new(crate_dir.join("build-ebpf.sh"))
        .arg(&to)
        .output()
        .unwrap();
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    for name in ["guard", "vxlan"] {
        let fresh = std::fs::read(to.join(format!("{name}.bpf.o"))).unwrap();
        let kept = std::fs::read(crate_dir.join(format!("src/{name}/{name}.bpf.o"))).unwrap();
        assert!(
            fresh == kept,
            "{name}.bpf.o is of another source: run fastpath/build-ebpf.sh"
        );
    }
    std::fs::remove_dir_all(&to).unwrap();
}
