//! `weft simulate` as its users call it: what it prints, and the page it writes, in a real browser where one is installed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[allow(unreachable_pub, reason = "shared with the simulator's tests")]
#[path = "../../../simulations/tests/common/browser.rs"]
mod browser;
mod output;

use serde_json::Value;
use std::path::Path;
use std::process::Command;

#[test]
fn the_page_of_a_run_shows_it_without_errors() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("partition-heal.html");
    let _ = std::fs::remove_file(&path);
    let output = Command::new(env!("CARGO_BIN_EXE_weft"))
        .args(["simulate", "partition-heal", "--json", "--html"])
        .arg(&path)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let html = std::fs::read_to_string(&path).unwrap();
    assert!(html.contains(report["trace_hash"].as_str().unwrap()));
    let Some(browser) = browser::browser() else {
        return println!("skipped: no Chromium is installed");
    };
    let shown = browser::open(&browser, &path, Some(12_000));
    assert!(shown.contains("data-rendered=\"yes\"") && shown.contains("all held"));
    let events = shown.split("id=\"events\"").nth(1).unwrap();
    let events = events.split("</tbody>").next().unwrap();
    assert_eq!(
        events.matches("<tr").count(),
        report["events"].as_array().unwrap().len()
    );
    for event in report["events"].as_array().unwrap() {
        assert!(events.contains(event["what"].as_str().unwrap()), "{event}");
    }
}
