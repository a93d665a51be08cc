//! A real browser, where one is installed.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A browser, if one is installed.
pub fn browser() -> Option<PathBuf> {
    let places = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let mut all = std::env::split_paths(&places).flat_map(|dir| names.map(|name| dir.join(name)));
    all.find(|path| path.is_file())
}

/// Opens the file at a time of its run, or playing, and returns the document after three seconds.
pub fn open(browser: &Path, page: &Path, at_ms: Option<u64>) -> String {
    let at = at_ms.map_or(String::new(), |at_ms| format!("#at={at_ms}"));
    let profile = page.with_extension("profile");
    let output = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
        ])
        .args([
            "--enable-logging=stderr",
            "--v=0",
            "--window-size=1280,1000",
            "--virtual-time-budget=3000",
        ])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg("--dump-dom")
        .arg(format!("file://{}{at}", page.display()))
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    let console: Vec<_> = log.lines().filter(|line| line.contains("CONSOLE")).collect();
    assert!(console.is_empty(), "{console:#?}");
    assert!(output.status.success(), "{log}");
    let _ = std::fs::remove_dir_all(profile);
    String::from_utf8_lossy(&output.stdout).into_owned()
}
