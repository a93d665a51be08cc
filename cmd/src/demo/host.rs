//! One host of the demo: its namespace, its router process, its container, and the verbs called on it.
//!
//! Everything goes through the binary's own command line, as somebody at the host's keyboard would do it.

use super::janitor::Janitor;
use super::limits::Limits;
use anyhow::{Context, Result, bail};
use fastpath::NetNs;
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use std::fs::{DirBuilder, File};
use std::io::{Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest a verb may take.
const VERB: Duration = Duration::from_secs(8);
/// Longest a router may take to answer after its launch.
const LAUNCH: Duration = Duration::from_secs(8);
/// Longest a router may take to leave when asked to.
pub(crate) const LEAVE: Duration = Duration::from_secs(3);
/// Between two looks at something that is awaited.
const PAUSE: Duration = Duration::from_millis(4);
/// Lines of a router's log that are shown when something failed.
const TAIL: usize = 12;

/// A host.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) name: &'static str,
    pub(crate) netns: NetNs,
    /// The namespace of its one container.
    pub(crate) container: NetNs,
    program: PathBuf,
    directory: PathBuf,
    router: Option<Child>,
}

/// What the demo reads of `weft status --json`.
#[derive(Debug, Deserialize)]
pub(crate) struct Status {
    pub(crate) encrypted: bool,
    peers: Vec<Peer>,
    routes: Vec<Route>,
}

#[derive(Debug, Deserialize)]
struct Peer {
    name: String,
    reachable: bool,
}

#[derive(Debug, Deserialize)]
struct Route {
    name: String,
    path: Vec<String>,
}

impl Status {
    /// How many routers can be reached, this one included.
    pub(crate) fn reachable(&self) -> usize {
        self.peers.iter().filter(|peer| peer.reachable).count()
    }

    /// Whether the router called `name` can be reached.
    pub(crate) fn reaches(&self, name: &str) -> bool {
        self.peers.iter().any(|peer| peer.name == name && peer.reachable)
    }

    /// Names of the hops to the router called `name`, itself last; empty without a route.
    pub(crate) fn path(&self, name: &str) -> &[String] {
        let route = self.routes.iter().find(|route| route.name == name);
        route.map_or(&[], |route| &route.path)
    }
}

impl Host {
    /// A host in fresh namespaces, its files in `directory`/`name`.
    pub(crate) fn build(name: &'static str, program: &Path, directory: &Path) -> Result<Self> {
        let directory = directory.join(name);
        DirBuilder::new()
            .mode(0o700)
            .create(&directory)
            .with_context(|| format!("make {}", directory.display()))?;
        Ok(Self {
            name,
            netns: NetNs::create_anonymous()?,
            container: NetNs::create_anonymous()?,
            program: program.to_owned(),
            directory,
            router: None,
        })
    }

    /// Where this router keeps its files; the path is also among its arguments.
    pub(crate) fn state_dir(&self) -> PathBuf {
        self.directory.join("state")
    }

    fn log_path(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// A command line of the binary for this host. The user's own settings for `weft` don't apply to it.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        for (variable, _) in std::env::vars_os() {
            if variable.as_encoded_bytes().starts_with(b"WEFT_") {
                command.env_remove(variable);
            }
        }
        command
            .arg("--socket")
            .arg(self.directory.join("socket"))
            .arg("--state-dir")
            .arg(self.state_dir())
            .args(arguments)
            .stdin(Stdio::null())
            // Ctrl-C is the demo's to handle.
            .process_group(0);
        command
    }

    /// Launches the router; with an invite it joins the mesh of whoever made that. Waits until it answers, and
    /// returns how long that took.
    pub(crate) fn launch(
        &mut self,
        invite: Option<&str>,
        limits: &Limits,
        janitor: &mut Janitor,
    ) -> Result<Duration> {
        self.launch_with(&[], invite, limits, janitor)
    }

    /// As [`Self::launch`], with options of `weft launch`.
    pub(crate) fn launch_with(
        &mut self,
        options: &[&str],
        invite: Option<&str>,
        limits: &Limits,
        janitor: &mut Janitor,
    ) -> Result<Duration> {
        let log = File::create(self.log_path()).context("make the router's log")?;
        let mut arguments = vec!["launch", "--name", self.name];
        arguments.extend(options);
        arguments.extend(invite.map(|_| "-"));
        let mut command = self.command(&arguments);
        command
            .stdout(log.try_clone().context("open the router's log twice")?)
            .stderr(log);
        if invite.is_some() {
            command.stdin(Stdio::piped());
        }
        let mut router = self.netns.spawn(command)?;
        let registered = janitor.kill_later(router.id());
        let input = router.stdin.take();
        self.router = Some(router);
        registered?;
        if let (Some(mut input), Some(invite)) = (input, invite) {
            writeln!(input, "{invite}").context("hand over the invite")?;
        }
        let what = format!("{}'s router to answer", self.name);
        let ((), time) = limits.wait(&what, LAUNCH, PAUSE, || {
            self.check_alive()?;
            Ok(self.call(&["id"], limits).is_ok().then_some(()))
        })?;
        Ok(time)
    }

    fn check_alive(&mut self) -> Result<()> {
        match self.ended() {
            None => Ok(()),
            Some(how) => bail!("{}'s router ended ({how})", self.name),
        }
    }

    /// How the router ended, if it did so unasked.
    pub(crate) fn ended(&mut self) -> Option<String> {
        let router = self.router.as_mut()?;
        router.try_wait().ok()?.map(|status| status.to_string())
    }

    /// The router's process id.
    pub(crate) fn pid(&self) -> Result<u32> {
        self.router.as_ref().map(Child::id).context("no router runs")
    }

    /// Calls a verb and returns what it printed. What it complained about is the error.
    pub(crate) fn call(&self, arguments: &[&str], limits: &Limits) -> Result<String> {
        let doing = || format!("on {}: weft {}", self.name, arguments.join(" "));
        let mut command = self.command(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = self.netns.spawn(command)?;
        // Nothing that the demo calls prints more than a pipe holds, so it can end before anybody reads.
        let ended = limits.wait("it to end", VERB, PAUSE / 4, || {
            process.try_wait().context("wait for it")
        });
        let (status, _) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                // It may have ended just now; either way it is to be gone.
                let _ = process.kill();
                let _ = process.wait();
                return Err(error.context(doing()));
            }
        };
        let printed = read(process.stdout.take());
        if status.success() {
            return Ok(printed);
        }
        let complaint = read(process.stderr.take());
        bail!("{} ended with {status}: {}", doing(), complaint.trim());
    }

    /// The router's view of the mesh.
    pub(crate) fn status(&self, limits: &Limits) -> Result<Status> {
        let text = self.call(&["status", "--json"], limits)?;
        serde_json::from_str(&text).with_context(|| format!("read the status of {}", self.name))
    }

    /// Gives the container an interface with these addresses; returns how long the verb took.
    pub(crate) fn attach(&self, addresses: &[String], limits: &Limits) -> Result<Duration> {
        let netns = self.container.path();
        let netns = netns.to_str().context("a path that is no text")?;
        let mut arguments = vec!["attach", "--netns", netns];
        arguments.extend(addresses.iter().map(String::as_str));
        let start = Instant::now();
        let printed = self.call(&arguments, limits)?;
        for address in addresses {
            let (address, _) = address.split_once('/').unwrap_or((address, ""));
            if !printed.contains(address) {
                bail!("weft attach on {} did not confirm {address}", self.name);
            }
        }
        Ok(start.elapsed())
    }

    /// Waits up to `until` for the router to leave, and then makes it. False when it had to be made to.
    pub(crate) fn stop(&mut self, until: Instant) -> bool {
        let Some(mut router) = self.router.take() else {
            return true;
        };
        while Instant::now() < until {
            if !matches!(router.try_wait(), Ok(None)) {
                return true;
            }
            std::thread::sleep(PAUSE);
        }
        // Both fail only for a process that is gone.
        let _ = router.kill();
        let _ = router.wait();
        false
    }

    /// Asks the router to leave, without waiting for it.
    pub(crate) fn ask_to_stop(&self) {
        self.router.iter().for_each(terminate);
    }

    /// The end of the router's log.
    pub(crate) fn log_tail(&self) -> Vec<String> {
        let text = std::fs::read(self.log_path()).unwrap_or_default();
        tail(&String::from_utf8_lossy(&text))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.ask_to_stop();
        self.stop(Instant::now() + LEAVE);
    }
}

fn terminate(router: &Child) {
    if let Some(pid) = i32::try_from(router.id()).ok().and_then(Pid::from_raw) {
        // Fails only for a process that is gone.
        let _ = kill_process(pid, Signal::TERM);
    }
}

fn read(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        // What can't be read was not printed.
        let _ = pipe.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn tail(text: &str) -> Vec<String> {
    let lines: Vec<_> = text.lines().collect();
    let first = lines.len().saturating_sub(TAIL);
    lines.iter().skip(first).map(|&line| line.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_read_as_scripts_would() {
        let status: Status = serde_json::from_str(
            r#"{"version":"1","name":"alice","encrypted":true,
                "peers":[{"name":"alice","self":true,"reachable":true,"links":[]},
                         {"name":"relay","self":false,"reachable":true,"links":[]},
                         {"name":"bob","self":false,"reachable":false,"links":[]}],
                "routes":[{"name":"bob","path":["relay","bob"],"hops":2,"direct":false}]}"#,
        )
        .unwrap();
        assert_eq!(status.reachable(), 2);
        assert!(status.reaches("relay") && !status.reaches("bob") && !status.reaches("carol"));
        assert_eq!(status.path("bob"), ["relay", "bob"]);
        assert!(status.path("relay").is_empty());
    }

    #[test]
    fn the_tail_is_the_end() {
        let text: String = (0..40).map(|line| format!("{line}\n")).collect();
        assert_eq!(tail(&text).len(), TAIL);
        assert_eq!(tail(&text).last().map(String::as_str), Some("39"));
        assert_eq!(tail("one").len(), 1);
    }
}
