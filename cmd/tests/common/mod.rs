//! Hosts, networks and containers made of network namespaces, for tests of the whole `weft` binary.
//!
//! A test makes a [`Lab`], lays a network ([`Switch`], [`wire`]), starts routers on its [`Host`]s and attaches
//! [`Container`]s. The namespaces have no names: they go when the last handle on them is dropped, so that
//! neither a panic nor a killed test leaves anything behind, and tests never meet. Routers die with the thread
//! that started them. Every wait has a deadline.

#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "each test file uses a part"
)]

pub mod capture;
mod container;
mod host;
mod network;
pub mod run;
pub mod traffic;

pub use container::Container;
pub use host::{Host, Router};
pub use network::{Network, Switch, wire};
pub use run::{Outcome, WEFT, lacks, run, run_in, start, until, weft};

use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// Longest time that any single test may take.
const LONGEST: Duration = Duration::from_secs(170);

/// True when the test can't run here, which it says; in continuous integration that is a failure.
pub fn skipped() -> bool {
    if fastpath::user::is_root() {
        return false;
    }
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "these tests need root, and CI is set"
    );
    println!("skipped: needs root, to make network namespaces");
    true
}

/// Where one test keeps its files, and the secret its routers share.
pub struct Lab {
    pub name: &'static str,
    pub dir: PathBuf,
    pub secret: String,
    _watchdog: Sender<()>,
    _turn: File,
}

impl Lab {
    /// A lab of this name, or `None` where namespaces can't be made.
    pub fn new(name: &'static str) -> Option<Self> {
        Self::open(name, FlockOperation::LockShared)
    }

    /// A lab that is the only one on this machine while it lives, whichever way the tests are run.
    pub fn alone(name: &'static str) -> Option<Self> {
        Self::open(name, FlockOperation::LockExclusive)
    }

    fn open(name: &'static str, turn: FlockOperation) -> Option<Self> {
        if skipped() {
            return None;
        }
        let lock = File::create(std::env::temp_dir().join("weft-tests.lock")).unwrap();
        flock(&lock, turn).unwrap();
        let dir = std::env::temp_dir().join(format!("weft-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        Some(Self {
            name,
            dir,
            secret: fresh_secret(),
            _watchdog: watch(name),
            _turn: lock,
        })
    }

    /// A host without network, and without a router.
    pub fn host(&self, name: &str) -> Host {
        Host::new(self, name)
    }

    /// `count` hosts on one switch, named `h1`, `h2` and so on, with [`Network`] addresses of those numbers.
    pub fn hosts_on_a_switch(&self, count: u8) -> (Switch, Vec<Host>) {
        let switch = Switch::new();
        let hosts = (1..=count).map(|number| {
            let host = self.host(&format!("h{number}"));
            switch.plug(&host, Network(9), number);
            host
        });
        let hosts = hosts.collect();
        (switch, hosts)
    }

    /// Two linked routers on one switch, each with a container.
    pub fn pair(&self) -> Pair {
        let (switch, hosts) = self.hosts_on_a_switch(2);
        let [left, right] = hosts.try_into().ok().unwrap();
        let left_router = left.launch(&[]);
        let right_router = right.launch(&["10.9.0.1"]);
        right.wait_for_peers(2);
        left.wait_for_peers(2);
        let left_container = left.container(1);
        let right_container = right.container(2);
        left_container.wait_for(&right_container);
        Pair {
            left_router,
            right_router,
            left_container,
            right_container,
            left,
            right,
            switch,
        }
    }
}

/// What [`Lab::pair`] makes.
pub struct Pair {
    pub left_router: Router,
    pub right_router: Router,
    pub left_container: Container,
    pub right_container: Container,
    pub left: Host,
    pub right: Host,
    pub switch: Switch,
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Ends the whole process when a test hangs; the routers die with it.
fn watch(name: &'static str) -> Sender<()> {
    let (alive, ended) = channel();
    // Runs that people ask for may be long.
    let asked = std::env::var("WEFT_TEST_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok());
    let longest = asked.map_or(LONGEST, Duration::from_secs);
    std::thread::spawn(move || {
        if ended.recv_timeout(longest) == Err(RecvTimeoutError::Timeout) {
            eprintln!("{name} hangs: it took longer than {longest:?}");
            std::process::exit(101);
        }
    });
    alive
}

/// A secret's token, as `weft secret new` prints it.
pub fn fresh_secret() -> String {
    weft(&["secret", "new"]).ok().trim().to_owned()
}

/// The last lines of a file.
pub fn tail(path: &Path, lines: usize) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let all: Vec<_> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
