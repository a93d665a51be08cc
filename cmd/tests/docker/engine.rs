//! A Docker Engine on one of the hosts, with the driver beside it.

use crate::common::run::{run, weft_command};
use crate::common::{Host, Outcome, WEFT, run_in, until};
use serde_json::Value;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Programs without which there are no engines.
pub(crate) const NEEDED: [&str; 6] = ["dockerd", "docker", "containerd", "runc", "busybox", "iptables"];

/// What containers are made of.
pub(crate) const IMAGE: &str = "weft/test";

/// Holds a mount namespace that outlives Docker, as a host's does: with a `/run/docker` of its own, in which Docker looks for
/// plugins, and the namespaces of containers.
const MOUNTS: &str = r#"
mkdir -p /run/docker && mount --bind "$1/run-docker" /run/docker && mkdir -p /run/docker/plugins && touch "$1/mounted"
exec sleep infinity
"#;

/// A daemon, killed with the test.
pub(crate) struct Daemon(pub(crate) Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) struct Engine<'a> {
    pub(crate) host: &'a Host,
    dir: PathBuf,
    /// Outlives the engine.
    mounts: Daemon,
    docker: Option<Daemon>,
    driver: Option<Daemon>,
}

/// Addresses that a host's router can give out.
pub(crate) fn free(host: &Host) -> u64 {
    free_in(host, "default")
}

/// The same in some network.
pub(crate) fn free_in(host: &Host, network: &str) -> u64 {
    let ipam = host.weft(&["ipam", "--json", "--network", network]).ok();
    let ipam: Value = serde_json::from_str(&ipam).unwrap();
    ipam["free"].as_u64().unwrap()
}

impl<'a> Engine<'a> {
    /// Starts driver and Docker, and makes the image.
    pub(crate) fn start(host: &'a Host) -> Self {
        Self::begin(host, true, "{}").ready()
    }

    /// The same on two hosts, at the same time.
    pub(crate) fn both(hosts: [&'a Host; 2]) -> [Self; 2] {
        hosts.map(|host| Self::begin(host, true, "{}")).map(Self::ready)
    }

    /// The same, and containers outlive their engine.
    pub(crate) fn both_with_live_restore(hosts: [&'a Host; 2]) -> [Self; 2] {
        hosts
            .map(|host| Self::begin(host, true, r#"{ "live-restore": true }"#))
            .map(Self::ready)
    }

    /// Engines whose driver is to be their own plugin.
    pub(crate) fn both_without_driver(hosts: [&'a Host; 2]) -> [Self; 2] {
        hosts.map(|host| Self::begin(host, false, "{}")).map(Self::ready)
    }

    fn begin(host: &'a Host, with_driver: bool, config: &str) -> Self {
        let dir = host.dir.join("docker");
        std::fs::create_dir_all(dir.join("run-docker")).unwrap();
        std::fs::write(dir.join("daemon.json"), config).unwrap();
        let mut mounts = tied();
        mounts.args([
            "unshare",
            "-m",
            "--propagation",
            "private",
            "bash",
            "-c",
            MOUNTS,
            "bash",
        ]);
        let mounts = Daemon(mounts.arg(&dir).spawn().unwrap());
        until("Docker's folder is there", Duration::from_secs(5), || {
            dir.join("mounted").exists().then_some(())
        });
        let mut engine = Self {
            host,
            dir,
            mounts,
            docker: None,
            driver: None,
        };
        if with_driver {
            engine.start_driver();
        }
        engine.start_docker();
        engine
    }

    /// Waits for it and makes the image.
    fn ready(self) -> Self {
        self.wait();
        let image = "mkdir -p r/bin r/etc r/proc r/sys r/dev r/tmp && cp $(command -v busybox) r/bin/ && chroot r /bin/busybox --install -s /bin && tar -C r -cf image.tar .";
        let made = run(in_folder("sh", &["-c", image], &self.dir), "");
        made.ok();
        let tar = self.dir.join("image.tar");
        self.docker(&["import", tar.to_str().unwrap(), IMAGE]).ok();
        self
    }

    pub(crate) fn start_driver(&mut self) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.dir.join("driver.log"))
            .unwrap();
        let mut command = tied();
        for (name, _) in weft_command(&[]).get_envs() {
            command.env_remove(name);
        }
        command
            .arg("nsenter")
            .arg(format!("--net={}", self.host.netns.path().display()))
            .args([WEFT, "docker", "serve"])
            .env("WEFT_LOG", "debug")
            .env("WEFT_SOCKET", self.host.socket())
            .env("WEFT_STATE_DIR", self.dir.join("driver"))
            .env("WEFT_PLUGIN", self.dir.join("run-docker/plugins/weft.sock"))
            .env("WEFT_DOCKER", self.dir.join("docker.sock"));
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        self.driver = Some(Daemon(command.spawn().unwrap()));
        let socket = self.dir.join("run-docker/plugins/weft.sock");
        until("the driver answers", Duration::from_secs(5), || {
            std::os::unix::net::UnixStream::connect(&socket).ok().map(|_| ())
        });
    }

    pub(crate) fn start_docker(&mut self) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.dir.join("docker.log"))
            .unwrap();
        let name = format!("weft-t6-{}-{}", std::process::id(), self.host.name);
        let mut command = tied();
        command
            .args(["nsenter", "-m", "-t", &self.mounts.0.id().to_string()])
            .arg(format!("--net={}", self.host.netns.path().display()))
            .args(["dockerd", "--log-level", "warn"]);
        let files = [
            ("--data-root", "data"),
            ("--exec-root", "exec"),
            ("--pidfile", "docker.pid"),
            ("--config-file", "daemon.json"),
        ];
        for (option, file) in files {
            command.arg(option).arg(self.dir.join(file));
        }
        command
            .args(["-H", &format!("unix://{}", self.socket().display())])
            .args(["--containerd-namespace", &name])
            .args(["--containerd-plugins-namespace", &format!("p{name}")]);
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        self.docker = Some(Daemon(command.spawn().unwrap()));
    }

    /// Waits until Docker answers.
    pub(crate) fn wait(&self) {
        until("Docker answers", Duration::from_secs(60), || {
            (self.docker(&["version"]).code == Some(0)).then_some(())
        });
    }

    /// `kill -9`.
    pub(crate) fn kill_docker(&mut self) {
        self.docker = None;
        // Its containerd goes with it. Where nobody collects the dead, the next Docker takes that for alive and waits for it.
        let _ = std::fs::remove_file(self.dir.join("exec/containerd/containerd.pid"));
    }

    pub(crate) fn kill_driver(&mut self) {
        self.driver = None;
    }

    pub(crate) fn docker(&self, args: &[&str]) -> Outcome {
        docker(&self.socket(), args)
    }

    /// Makes a network of weft's: the last word of the options is its name.
    pub(crate) fn network(&self, options: &str) -> Outcome {
        let create = ["network", "create", "-d", "weft", "--ipam-driver", "weft"];
        let options: Vec<&str> = options.split(' ').collect();
        self.docker(&[&create[..], &options].concat())
    }

    /// Where it answers.
    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.join("docker.sock")
    }

    /// Runs a container in the background, whose first process needs no ten seconds to be ended.
    pub(crate) fn run(&self, name: &str, options: &[&str], command: &[&str]) -> Outcome {
        let start = [
            "run",
            "-d",
            "--init=false",
            "--stop-signal",
            "KILL",
            "--name",
            name,
        ];
        self.docker(&[&start, options, &[IMAGE], command].concat())
    }

    /// Runs something in a container.
    pub(crate) fn exec(&self, name: &str, command: &[&str]) -> Outcome {
        self.docker(&[&["exec", name], command].concat())
    }

    /// The address of a container in a network.
    pub(crate) fn address(&self, name: &str, network: &str) -> String {
        let text = format!("{{{{(index .NetworkSettings.Networks \"{network}\").IPAddress}}}}");
        self.docker(&["inspect", "-f", &text, name])
            .ok()
            .trim()
            .to_owned()
    }

    /// The process of a container.
    pub(crate) fn pid(&self, name: &str) -> String {
        self.docker(&["inspect", "-f", "{{.State.Pid}}", name])
            .ok()
            .trim()
            .to_owned()
    }

    /// Addresses that the host's router could give out, and containers that it knows.
    pub(crate) fn counts(&self) -> (u64, usize) {
        let attached: Value = serde_json::from_str(&self.host.weft(&["ps", "--json"]).ok()).unwrap();
        (free(self.host), attached.as_array().unwrap().len())
    }

    /// Ends of pairs for containers on this host.
    pub(crate) fn pairs(&self) -> Vec<String> {
        let links = run_in(&self.host.netns, "ip", &["-o", "link"]).ok();
        let names = links.lines().filter_map(|line| line.split(": ").nth(1));
        let is_pair = |name: &&str| name.starts_with("wv") || name.starts_with("wd");
        names.filter(is_pair).map(str::to_owned).collect()
    }

    /// The ends of both logs, and what is still there.
    pub(crate) fn logs(&self) -> String {
        let attached = self.host.weft(&["ps"]).out;
        let logs = ["driver.log", "docker.log"]
            .map(|name| {
                format!(
                    "---- {name} of {}\n{}\n",
                    self.host.name,
                    crate::common::tail(&self.dir.join(name), 40)
                )
            })
            .concat();
        format!("{logs}---- containers of {}\n{attached}", self.host.name)
    }
}

impl Drop for Engine<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
        let all = self.docker(&["ps", "-aq"]).out;
        let ids: Vec<_> = all.split_whitespace().collect();
        if !ids.is_empty() {
            self.docker(&[&["rm", "-f"], &ids[..]].concat());
        }
        // It ends its containerd when it is asked to end, and not when it is killed.
        if let Some(Daemon(child)) = &mut self.docker {
            let pid = rustix::process::Pid::from_child(child);
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            let _ = crate::common::run::wait(child, Duration::from_secs(15));
        }
    }
}

/// A command that ends with the test.
fn tied() -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    command
}

/// Runs `docker` against the engine that answers there.
pub(crate) fn docker(socket: &Path, args: &[&str]) -> Outcome {
    // The distribution's own: a newer client says some things in a way that its engine does not know.
    let own = Path::new("/usr/bin/docker");
    let mut command = Command::new(if own.exists() { own } else { Path::new("docker") });
    command
        .arg("-H")
        .arg(format!("unix://{}", socket.display()))
        .args(args);
    run(command, "")
}

fn in_folder(program: &str, args: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(folder);
    command
}
