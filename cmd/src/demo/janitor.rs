//! The janitor: a child process that removes what the demo made, should the demo die without doing so itself.
//!
//! It reads lines from the demo until the pipe ends, which it does however the demo ends, `kill -9` included. Then
//! it kills the routers it was told of and removes the directory. After a demo that cleaned up there is nothing
//! left to do. It holds the routers by pidfd, so it never kills a process that has merely got a router's number.

use anyhow::{Context, Result};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::io::{BufRead, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

/// Set in the janitor's environment, and nowhere else.
const VARIABLE: &str = "WEFT_DEMO_JANITOR";

/// The demo's hold on its janitor.
#[derive(Debug)]
pub(crate) struct Janitor {
    process: Child,
    orders: Option<ChildStdin>,
}

/// True when this process was started as a janitor.
pub(crate) fn is_wanted() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// The janitor's work: reads orders from standard input, then cleans.
pub(crate) fn serve() {
    let mut left = Left::default();
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        left.note(&line);
    }
    left.clean();
}

/// What there is to clean.
#[derive(Debug, Default)]
struct Left {
    routers: Vec<OwnedFd>,
    directories: Vec<PathBuf>,
}

impl Left {
    fn note(&mut self, line: &str) {
        match line.split_once(' ') {
            Some(("kill", pid)) => {
                let pid = pid.parse().ok().and_then(Pid::from_raw);
                let held = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
                self.routers.extend(held);
            }
            Some(("remove", path)) => self.directories.push(path.into()),
            _ => {}
        }
    }

    fn clean(&self) {
        for router in &self.routers {
            // Gone already, in most cases.
            let _ = pidfd_send_signal(router, Signal::KILL);
        }
        for directory in &self.directories {
            let _ = std::fs::remove_dir_all(directory);
        }
    }
}

impl Janitor {
    /// Starts the janitor, out of reach of the terminal's Ctrl-C.
    pub(crate) fn start(program: &Path) -> Result<Self> {
        let mut process = Command::new(program)
            .arg("demo")
            .env(VARIABLE, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {} to clean up afterwards", program.display()))?;
        let orders = process.stdin.take();
        Ok(Self { process, orders })
    }

    /// Tells it of a router.
    pub(crate) fn kill_later(&mut self, pid: u32) -> Result<()> {
        self.order(&format!("kill {pid}"))
    }

    /// Tells it of a directory.
    pub(crate) fn remove_later(&mut self, directory: &Path) -> Result<()> {
        self.order(&format!("remove {}", directory.display()))
    }

    fn order(&mut self, line: &str) -> Result<()> {
        let orders = self.orders.as_mut().context("the janitor takes no orders")?;
        writeln!(orders, "{line}").context("tell the janitor")
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        drop(self.orders.take());
        let _ = self.process.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_cleaned() {
        let directory = std::env::temp_dir().join(format!("weft-janitor-{}", std::process::id()));
        std::fs::create_dir_all(directory.join("deep")).unwrap();
        let mut router = Command::new("/proc/self/exe")
            .args(["--exact", "no-such-test"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut left = Left::default();
        left.note(&format!("kill {}", router.id()));
        left.note(&format!("remove {}", directory.display()));
        left.note("remove");
        left.note("kill 0");
        left.note("kill everything");
        assert_eq!((left.routers.len(), left.directories.len()), (1, 1));
        left.clean();
        assert!(!directory.exists());
        router.wait().unwrap();
    }
}
