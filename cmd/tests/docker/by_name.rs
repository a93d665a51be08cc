//! `weft attach`, `detach` and `ps` by what Docker, Podman and containerd call their containers.

use crate::common::run::{run_command_in, weft_command};
use crate::common::{Host, Lab, Outcome, lacks, run_in, until};
use crate::engine::{Daemon, Engine, IMAGE};
use serde_json::Value;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

/// A container's name. Podman and runc keep their containers where those of all others on this machine are.
fn called(kind: &str) -> String {
    format!("{kind}-{}", std::process::id())
}

/// A host with all three runtimes, and one image in each.
struct Stage<'a> {
    host: &'a Host,
    engine: Engine<'a>,
    _containerd: Daemon,
}

impl<'a> Stage<'a> {
    fn new(host: &'a Host) -> Self {
        let engine = Engine::start(host);
        let stage = Self {
            _containerd: containerd(host),
            host,
            engine,
        };
        until("containerd answers", SOON, || {
            (stage.ctr(&["version"]).code == Some(0)).then_some(())
        });
        let archive = host.dir.join("saved.tar").display().to_string();
        let image = format!("docker.io/{IMAGE}:latest");
        stage.engine.docker(&["save", "-o", &archive, IMAGE]).ok();
        stage.ctr(&["images", "import", &archive]).ok();
        stage.podman(&["load", "-q", "-i", &archive]).ok();
        // Where it comes from no registry, each calls it in its own way.
        let own_image = format!("localhost/{IMAGE}:latest");
        stage
            .ctr(&[
                "run",
                "-d",
                &image,
                &called("in-containerd"),
                "/bin/sleep",
                "1000",
            ])
            .ok();
        stage
            .ctr(&["run", "-d", &image, &called("both"), "/bin/sleep", "1000"])
            .ok();
        let name = &called("in-podman");
        stage
            .podman(&[
                "run",
                "-d",
                "--network",
                "none",
                "--name",
                name,
                &own_image,
                "/bin/sleep",
                "1000",
            ])
            .ok();
        let none = ["--network", "none"];
        for name in ["in-docker", &called("both"), "stopped"] {
            stage.engine.run(name, &none, &["sleep", "1000"]).ok();
        }
        stage.engine.docker(&["stop", "-t", "0", "stopped"]).ok();
        stage
    }

    fn ctr(&self, args: &[&str]) -> Outcome {
        let socket = containerd_socket(self.host).display().to_string();
        run_in(&self.host.netns, "ctr", &[&["-a", &socket], args].concat())
    }

    fn podman(&self, args: &[&str]) -> Outcome {
        let mut command = Command::new("podman");
        command.env("CONTAINERS_CONF", podman_conf(self.host)).args(args);
        run_command_in(&self.host.netns, command, "")
    }

    fn weft(&self, args: &[&str]) -> Outcome {
        let mut command = weft_command(args);
        command
            .env("WEFT_SOCKET", self.host.socket())
            .env("WEFT_DOCKER", self.engine.socket())
            .env("WEFT_CONTAINERD", containerd_socket(self.host))
            .env("CONTAINERS_CONF", podman_conf(self.host));
        run_command_in(&self.host.netns, command, "")
    }

    /// Attaches a container; its address.
    fn attach(&self, name: &str) -> String {
        let out = self.weft(&["attach", name]).ok();
        let first = out.lines().next().unwrap();
        first.split('/').next().unwrap().to_owned()
    }

    /// The names that `weft ps` shows.
    fn ps(&self, args: &[&str]) -> Vec<String> {
        let ps: Value = serde_json::from_str(&self.weft(&[&["ps", "--json"], args].concat()).ok()).unwrap();
        let name = |one: &Value| one["name"].as_str().unwrap().to_owned();
        ps.as_array().unwrap().iter().map(name).collect()
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        self.podman(&["rm", "-f", "-t", "0", &called("in-podman")]);
        self.podman(&["rmi", "-f", &format!("localhost/{IMAGE}:latest")]);
        for name in ["in-containerd", "both"].map(called) {
            self.ctr(&["task", "rm", "-f", &name]);
            self.ctr(&["container", "rm", &name]);
        }
    }
}

fn containerd_socket(host: &Host) -> PathBuf {
    host.dir.join("containerd.sock")
}

/// containerd as it is for those who use it alone.
fn containerd(host: &Host) -> Daemon {
    let dir = &host.dir;
    let text = format!(
        "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = {:?}\n",
        dir.join("containerd-root"),
        dir.join("containerd-state"),
        containerd_socket(host),
    );
    let conf = dir.join("containerd.toml");
    std::fs::write(&conf, text).unwrap();
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "nsenter"])
        .arg(format!("--net={}", host.netns.path().display()))
        .args(["containerd", "-c"])
        .arg(&conf)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(dir.join("containerd.log")).unwrap());
    Daemon(command.spawn().unwrap())
}

fn podman_conf(host: &Host) -> PathBuf {
    let conf = host.dir.join("containers.conf");
    let text = "[containers]\ndefault_ulimits=[\"nofile=1024:1024\",\"nproc=4096:4096\"]\n[engine]\ncgroup_manager=\"cgroupfs\"\n\
                runtime=\"runc\"\nevents_logger=\"none\"\n";
    std::fs::write(&conf, text).unwrap();
    conf
}

#[test]
fn containers_are_attached_by_what_their_runtimes_call_them() {
    if lacks(&[
        "dockerd",
        "docker",
        "containerd",
        "ctr",
        "runc",
        "podman",
        "busybox",
        "iptables",
    ]) {
        return;
    }
    let Some(lab) = Lab::new("by-name") else { return };
    let host = lab.host("h1");
    let _router = host.launch(&[]);
    let stage = Stage::new(&host);
    let [in_podman, in_containerd, both] = ["in-podman", "in-containerd", "both"].map(called);
    let names = ["in-docker", &in_podman, &in_containerd];
    let addresses = names.map(|name| stage.attach(name));
    for (name, address) in names.iter().zip(&addresses) {
        let found = host.weft(&["dns", "lookup", name]).ok();
        assert!(found.lines().any(|line| line == address), "{name}: {found}");
        assert_eq!(stage.ps(&[name]), [*name]);
    }
    assert_eq!(stage.ps(&[]).len(), 3);
    // They reach each other.
    let [docker, podman, containerd] = &addresses;
    stage
        .engine
        .exec("in-docker", &["ping", "-c1", "-W3", podman])
        .ok();
    stage
        .podman(&["exec", &in_podman, "/bin/ping", "-c1", "-W3", containerd])
        .ok();
    let ping = [
        "task",
        "exec",
        "--exec-id",
        "e",
        &in_containerd,
        "/bin/ping",
        "-c1",
        "-W3",
        docker,
    ];
    stage.ctr(&ping).ok();
    // By the start of an id, and again: the same.
    let id = stage
        .engine
        .docker(&["inspect", "-f", "{{.Id}}", "in-docker"])
        .ok();
    assert_eq!(stage.attach(&id[..12]), *docker);
    let id = stage.podman(&["inspect", "-f", "{{.Id}}", &in_podman]).ok();
    assert_eq!(stage.attach(&format!("podman:{}", &id[..12])), *podman);
    assert_eq!(
        stage.attach(&in_containerd[..in_containerd.len() - 1]),
        *containerd
    );
    // What can't be.
    let error = stage.weft(&["attach", &both]).failed(1);
    assert!(
        error.contains(&format!(
            "{both} is a container of Docker and of containerd (namespace default): say docker:{both} or containerd:{both}"
        )),
        "{error}"
    );
    stage.attach(&format!("containerd:{both}"));
    assert!(
        stage
            .weft(&["attach", "stopped"])
            .failed(1)
            .contains("does not run")
    );
    assert!(
        stage
            .weft(&["attach", "nobody"])
            .failed(1)
            .contains("no container is called nobody")
    );
    assert!(
        stage
            .weft(&["attach", "rkt:web"])
            .failed(1)
            .contains("rkt is no runtime")
    );
    stage
        .engine
        .run("of-the-host", &["--network", "host"], &["sleep", "1000"])
        .ok();
    let error = stage.weft(&["attach", "of-the-host"]).failed(1);
    assert!(error.contains("has no network namespace of its own"), "{error}");
    // And away.
    for name in names {
        stage.weft(&["detach", name]).ok();
        host.weft(&["dns", "lookup", name]).failed(1);
    }
    assert_eq!(stage.ps(&[]), [both]);
}
