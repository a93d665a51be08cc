//! A host: a namespace with its own state directory and control socket, and the router on it.

use super::run::{run_command_in, wait, weft_command};
use super::{Container, Lab, Network, Outcome, WEFT, tail, until};
use fastpath::NetNs;
use serde_json::Value;
use std::cell::RefCell;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Lines of a router's log that are shown when a test fails.
const SHOWN: usize = 80;

/// A host of the underlay.
pub struct Host {
    pub name: String,
    pub netns: NetNs,
    pub dir: PathBuf,
    secret: String,
    addresses: RefCell<Vec<(Network, u8)>>,
}

/// A running router. It is killed when this is dropped, and its log printed when the test fails.
pub struct Router {
    pub child: Child,
    /// When it was started.
    pub started: Instant,
    name: String,
    log: PathBuf,
}

impl Host {
    pub fn new(lab: &Lab, name: &str) -> Self {
        let dir = lab.dir.join(name);
        std::fs::create_dir_all(&dir).unwrap();
        Self {
            name: name.to_owned(),
            netns: NetNs::create_anonymous().unwrap(),
            dir,
            secret: lab.secret.clone(),
            addresses: RefCell::default(),
        }
    }

    pub fn note_address(&self, network: Network, number: u8) {
        self.addresses.borrow_mut().push((network, number));
    }

    /// All its addresses on the underlay.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let noted = self.addresses.borrow();
        noted
            .iter()
            .flat_map(|(network, number)| [network.v4(*number), network.v6(*number)])
            .collect()
    }

    pub fn state_dir(&self) -> PathBuf {
        self.dir.join("state")
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.join("socket")
    }

    pub fn log_path(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// All that its routers have logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Starts a router with the lab's secret, and waits for its control socket.
    pub fn launch(&self, args: &[&str]) -> Router {
        let router = self.exec(args, Some(&self.secret));
        self.wait_for_socket();
        router
    }

    /// Starts a router without giving it a secret.
    pub fn launch_plain(&self, args: &[&str]) -> Router {
        let router = self.exec(args, None);
        self.wait_for_socket();
        router
    }

    /// Starts a router and does not wait.
    pub fn exec(&self, args: &[&str], secret: Option<&str>) -> Router {
        self.exec_with(args, secret, Stdio::null())
    }

    /// Starts a router that reads `input` and was not given a secret.
    pub fn exec_reading(&self, args: &[&str], input: &str) -> Router {
        let mut router = self.exec_with(args, None, Stdio::piped());
        let mut stdin = router.child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).unwrap();
        router
    }

    fn exec_with(&self, args: &[&str], secret: Option<&str>, stdin: Stdio) -> Router {
        let mut command = self.launch_command(args);
        if let Some(secret) = secret {
            command.env("WEFT_SECRET", secret);
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .unwrap();
        command.stdin(stdin).stdout(log.try_clone().unwrap()).stderr(log);
        Router {
            child: command.spawn().unwrap(),
            started: Instant::now(),
            name: self.name.clone(),
            log: self.log_path(),
        }
    }

    /// `weft launch` inside the host's namespace. Killed with the thread that starts it.
    pub fn launch_command(&self, args: &[&str]) -> Command {
        let weft = weft_command(&[]);
        let mut command = Command::new("setpriv");
        for (name, _) in weft.get_envs() {
            command.env_remove(name);
        }
        command
            .args(["--pdeathsig", "KILL", "nsenter"])
            .arg(format!("--net={}", self.netns.path().display()))
            .args([WEFT, "launch"])
            .args(args);
        let (state_dir, socket) = (self.state_dir(), self.socket());
        let defaults: [(&str, &OsStr); 3] = [
            ("--name", self.name.as_ref()),
            ("--state-dir", state_dir.as_ref()),
            ("--socket", socket.as_ref()),
        ];
        for (option, value) in defaults.iter().filter(|(option, _)| !args.contains(option)) {
            command.arg(option).arg(value);
        }
        command
    }

    /// Waits until the router answers.
    pub fn wait_for_socket(&self) {
        let what = format!("{} answers on its socket", self.name);
        until(&what, Duration::from_secs(5), || {
            (self.weft(&["id"]).code == Some(0)).then_some(())
        });
    }

    /// Runs a verb against this host's router.
    pub fn weft(&self, args: &[&str]) -> Outcome {
        self.weft_with(args, "")
    }

    /// Runs a verb and gives it something to read.
    pub fn weft_with(&self, args: &[&str], input: &str) -> Outcome {
        let mut command = weft_command(args);
        command.env("WEFT_SOCKET", self.socket());
        command.env("WEFT_STATE_DIR", self.state_dir());
        run_command_in(&self.netns, command, input)
    }

    /// `weft status --json`.
    pub fn status(&self) -> Value {
        serde_json::from_str(&self.weft(&["status", "--json"]).ok()).unwrap()
    }

    /// The drops counted under `reason`.
    pub fn drops(&self, reason: &str) -> u64 {
        self.status()["drops"][reason].as_u64().unwrap_or(0)
    }

    /// Names of the routers this one reaches, itself included.
    pub fn reachable(&self) -> Vec<String> {
        let status = self.status();
        let peers = status["peers"].as_array().unwrap().iter();
        peers
            .filter(|peer| peer["reachable"] == true)
            .map(|peer| peer["name"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Waits until this router reaches `count` routers, itself included.
    pub fn wait_for_peers(&self, count: usize) {
        let what = format!("{} reaches {count} routers", self.name);
        until(&what, Duration::from_secs(10), || {
            (self.reachable().len() == count).then_some(())
        });
    }

    /// The row of `listing` in the status in which `key` is `value`.
    pub fn row(&self, listing: &str, key: &str, value: &str) -> Option<Value> {
        let status = self.status();
        let mut rows = status[listing].as_array().unwrap().iter();
        rows.find(|row| row[key] == value).cloned()
    }

    /// The connection by which data goes directly to the router called `name`; it may be another than the link.
    pub fn data_row(&self, name: &str) -> Option<Value> {
        let status = self.status();
        let mut rows = status["connections"].as_array().unwrap().iter();
        rows.find(|row| row["name"] == name && row["overlay"].is_string())
            .cloned()
    }

    /// Hops of the data route to the router called `name`.
    pub fn hops(&self, name: &str) -> Option<u64> {
        self.row("routes", "name", name)?["hops"].as_u64()
    }

    /// Waits until data to `name` takes so many hops; tells how long that took.
    pub fn wait_for_hops(&self, name: &str, hops: u64, time: Duration) -> Duration {
        let start = Instant::now();
        loop {
            let status = self.status();
            let found = self.hops(name);
            if found == Some(hops) {
                return start.elapsed();
            }
            let (routes, links) = (&status["routes"], &status["connections"]);
            assert!(
                start.elapsed() < time,
                "not within {time:?}: {} reaches {name} over {hops} hops: {found:?}\n{routes:#}\n{links:#}",
                self.name
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until data goes directly to `name`.
    pub fn wait_for_direct(&self, name: &str) {
        self.wait_for_hops(name, 1, Duration::from_secs(10));
        let what = format!("{} has a data path to {name}", self.name);
        until(&what, Duration::from_secs(10), || self.data_row(name).map(|_| ()));
    }

    /// Attaches a new container with addresses that end in `number`.
    pub fn container(&self, number: u8) -> Container {
        Container::attach(self, number)
    }
}

impl Router {
    /// Asks it to end and waits until it has.
    pub fn terminate(mut self) {
        self.signal(rustix::process::Signal::TERM);
        let status = wait(&mut self.child, Duration::from_secs(5));
        assert!(status.is_some_and(|status| status.success()), "{status:?}");
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// The exit code, if it ends by itself.
    pub fn ended(&mut self) -> Option<i32> {
        wait(&mut self.child, Duration::from_secs(10)).and_then(|status| status.code())
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("---- log of {} ----\n{}", self.name, tail(&self.log, SHOWN));
        }
    }
}
