//! Real runtimes call the plugin: containerd by `ctr run --cni`, and Podman with its CNI backend.

use crate::common::{Host, Lab, Outcome, Router, run_in, until};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// An image of a few commands, as an OCI archive called `$1`, made in the folder `$2`.
const IMAGE: &str = r#"
set -e
cd "$2"
mkdir -p rootfs/bin rootfs/proc rootfs/sys rootfs/dev rootfs/etc rootfs/tmp blobs/sha256
cp "$(command -v busybox)" rootfs/bin/busybox
chroot rootfs /bin/busybox --install -s /bin
tar -C rootfs -cf layer.tar .
put() { hash=$(sha256sum "$1" | cut -d' ' -f1); size=$(stat -c %s "$1"); mv "$1" blobs/sha256/$hash; }
put layer.tar; layer=$hash layer_size=$size
printf '{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/bin"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' $layer > config
put config; config=$hash config_size=$size
printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:%s","size":%s},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:%s","size":%s}]}' $config $config_size $layer $layer_size > manifest
put manifest
printf '{"imageLayoutVersion":"1.0.0"}' > oci-layout
printf '{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:%s","size":%s,"annotations":{"org.opencontainers.image.ref.name":"%s","io.containerd.image.name":"docker.io/%s"}}]}' $hash $size "$1" "$1" > index.json
tar -cf image.tar blobs oci-layout index.json
"#;

/// True, and said, if one of these programs is not installed. In continuous integration that is a failure.
fn lacks(programs: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).chain(["/usr/sbin".into()]).collect();
    let is_there = |program: &&&str| folders.iter().any(|folder| folder.join(program).exists());
    let missing: Vec<_> = programs.iter().filter(|program| !is_there(program)).collect();
    if missing.is_empty() {
        return false;
    }
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "{missing:?} are not installed, and CI is set"
    );
    println!("skipped: needs {missing:?}");
    true
}

/// A host with a router and the plugin installed.
struct Stage {
    lab: Lab,
    host: Host,
    _router: Router,
    bin: PathBuf,
    conf: PathBuf,
    image: String,
}

impl Stage {
    fn new(name: &'static str, programs: &[&str]) -> Option<Self> {
        if lacks(programs) {
            return None;
        }
        let lab = Lab::new(name)?;
        let host = lab.host("h1");
        let router = host.launch(&[]);
        let (bin, conf) = (host.dir.join("bin"), host.dir.join("conf"));
        let [bin_text, conf_text] = [&bin, &conf].map(|path| path.to_str().unwrap());
        host.weft(&["cni", "install", "--bin-dir", bin_text, "--conf-dir", conf_text])
            .ok();
        let image = format!("weft/{name}-{}:1", std::process::id());
        let folder = host.dir.join("image");
        std::fs::create_dir(&folder).unwrap();
        run_in(
            &host.netns,
            "sh",
            &["-c", IMAGE, "sh", &image, folder.to_str().unwrap()],
        )
        .ok();
        Some(Self {
            lab,
            host,
            _router: router,
            bin,
            conf,
            image,
        })
    }

    fn archive(&self) -> String {
        self.host.dir.join("image/image.tar").display().to_string()
    }

    /// Containers by name: their first addresses.
    fn ps(&self) -> Vec<(String, String)> {
        let ps: Value = serde_json::from_str(&self.host.weft(&["ps", "--json"]).ok()).unwrap();
        let line = |one: &Value| {
            let address = one["addresses"][0]
                .as_str()
                .unwrap()
                .split('/')
                .next()
                .unwrap()
                .to_owned();
            (one["name"].as_str().unwrap().to_owned(), address)
        };
        ps.as_array().unwrap().iter().map(line).collect()
    }

    fn free(&self) -> u64 {
        let ipam: Value = serde_json::from_str(&self.host.weft(&["ipam", "--json"]).ok()).unwrap();
        ipam["free"].as_u64().unwrap()
    }
}

/// A daemon that ends with the test.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// containerd in the host's network namespace. `ctr` looks for plugins in fixed places: it gets a mount namespace in
/// which ours are there.
struct Containerd<'a> {
    stage: &'a Stage,
    _daemon: Daemon,
}

impl<'a> Containerd<'a> {
    fn start(stage: &'a Stage) -> Self {
        let dir = &stage.host.dir;
        let text = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = {:?}\n",
            dir.join("containerd-root"),
            dir.join("containerd-state"),
            Self::socket(dir),
        );
        let conf = dir.join("containerd.toml");
        std::fs::write(&conf, text).unwrap();
        for folder in ["/opt/cni/bin", "/etc/cni/net.d"] {
            std::fs::create_dir_all(folder).unwrap();
        }
        let log = std::fs::File::create(dir.join("containerd.log")).unwrap();
        // Started by this thread, whose end it is to follow.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "nsenter"])
            .arg(format!("--net={}", stage.host.netns.path().display()))
            .args(["containerd", "-c"])
            .arg(&conf)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let started = Self {
            stage,
            _daemon: Daemon(command.spawn().unwrap()),
        };
        until("containerd answers", Duration::from_secs(20), || {
            (started.ctr(&["version"]).code == Some(0)).then_some(())
        });
        started
    }

    fn socket(dir: &Path) -> PathBuf {
        dir.join("containerd.sock")
    }

    fn ctr(&self, args: &[&str]) -> Outcome {
        let [bin, conf] = [&self.stage.bin, &self.stage.conf].map(|path| path.display());
        let script = format!(
            "mount --bind {bin} /opt/cni/bin; mount --bind {conf} /etc/cni/net.d; exec ctr -a {} \"$@\"",
            Self::socket(&self.stage.host.dir).display()
        );
        let mut all = vec!["-m", "--propagation", "private", "sh", "-c", &script, "ctr"];
        all.extend(args);
        run_in(&self.stage.host.netns, "unshare", &all)
    }

    fn run(&self, name: &str) {
        let image = format!("docker.io/{}", self.stage.image);
        self.ctr(&["run", "-d", "--cni", &image, name, "/bin/sleep", "100"])
            .ok();
    }

    fn end(&self, name: &str) {
        self.ctr(&["task", "kill", "-s", "9", name]).ok();
        until("the task has ended", Duration::from_secs(10), || {
            let status = self.ctr(&["task", "ls"]).ok();
            let line = status
                .lines()
                .find(|line| line.starts_with(name))
                .map(str::to_owned);
            line.is_none_or(|line| line.contains("STOPPED")).then_some(())
        });
        // It says by its exit code how the container ended.
        self.ctr(&["task", "rm", name]);
        self.ctr(&["container", "rm", name]).ok();
    }
}

#[test]
fn containerd_runs_containers_that_reach_each_other_and_leaves_nothing_behind() {
    let Some(stage) = Stage::new("ctr", &["containerd", "ctr", "runc", "busybox"]) else {
        return;
    };
    let containerd = Containerd::start(&stage);
    containerd.ctr(&["images", "import", &stage.archive()]).ok();
    ["a", "b"].iter().for_each(|name| containerd.run(name));
    let ps = stage.ps();
    assert_eq!(ps.len(), 2, "{ps:?}");
    let (_, address) = ps.iter().find(|(name, _)| name.ends_with('b')).unwrap();
    containerd
        .ctr(&[
            "task",
            "exec",
            "--exec-id",
            "e",
            "a",
            "/bin/ping",
            "-c1",
            "-W3",
            address,
        ])
        .ok();
    ["a", "b"].iter().for_each(|name| containerd.end(name));
    // `ctr task rm` calls no DEL: the router sees that the namespaces are gone.
    until("nothing is left", Duration::from_secs(10), || {
        (stage.ps().is_empty()).then_some(())
    });
    assert_eq!(stage.free(), (1 << 20) - 2);
    let links = run_in(&stage.host.netns, "ip", &["-o", "link"]).ok();
    assert!(!links.contains("wv"), "{links}");
}

/// Podman's containers of one test, and its image; both go with it.
struct Podman<'a> {
    stage: &'a Stage,
    conf: PathBuf,
    names: Vec<String>,
}

impl<'a> Podman<'a> {
    fn new(stage: &'a Stage) -> Self {
        let conf = stage.host.dir.join("containers.conf");
        let text = format!(
            "[containers]\ndefault_ulimits=[\"nofile=1024:1024\",\"nproc=4096:4096\"]\n[network]\nnetwork_backend=\"cni\"\n\
             cni_plugin_dirs=[{:?}]\nnetwork_config_dir={:?}\n[engine]\ncgroup_manager=\"cgroupfs\"\nruntime=\"runc\"\n\
             events_logger=\"none\"\n",
            stage.bin, stage.conf
        );
        std::fs::write(&conf, text).unwrap();
        let podman = Self {
            stage,
            conf,
            names: Vec::new(),
        };
        podman.call(&["load", "-q", "-i", &stage.archive()]).ok();
        podman
    }

    fn call(&self, args: &[&str]) -> Outcome {
        let conf = format!("CONTAINERS_CONF={}", self.conf.display());
        let mut all = vec![conf.as_str(), "podman"];
        all.extend(args);
        run_in(&self.stage.host.netns, "env", &all)
    }

    /// Starts a container; `networks` are options.
    fn run(&mut self, name: &str, networks: &[&str]) -> String {
        let name = format!("{}-{}-{name}", self.stage.lab.name, std::process::id());
        let mut all = vec!["run", "-d", "--rm", "--name", &name];
        all.extend(networks);
        let image = format!("docker.io/{}", self.stage.image);
        all.extend([image.as_str(), "/bin/sleep", "100"]);
        self.call(&all).ok();
        self.names.push(name.clone());
        name
    }

    fn end_all(&mut self) {
        for name in std::mem::take(&mut self.names) {
            self.call(&["rm", "-f", "-t", "0", &name]);
        }
    }
}

impl Drop for Podman<'_> {
    fn drop(&mut self) {
        self.end_all();
        self.call(&["rmi", "-f", &format!("docker.io/{}", self.stage.image)]);
    }
}

#[test]
fn podman_runs_containers_on_two_networks_with_addresses_of_their_choice() {
    let Some(stage) = Stage::new("podman", &["podman", "runc", "busybox"]) else {
        return;
    };
    // A second network by name, of the same router.
    let conf = std::fs::read_to_string(stage.conf.join("10-weft.conflist")).unwrap();
    let other = conf.replace("\"name\": \"weft\"", "\"name\": \"other\"");
    std::fs::write(stage.conf.join("20-other.conflist"), other).unwrap();
    let mut podman = Podman::new(&stage);
    let plain = podman.run("plain", &["--network", "weft"]);
    let free = stage.free();
    let chosen = podman.run(
        "chosen",
        &["--network", "weft:ip=10.32.9.9,mac=02:00:00:00:09:09"],
    );
    let both = podman.run("both", &["--network", "weft", "--network", "other"]);
    let found = stage.host.weft(&["dns", "lookup", &chosen]).ok();
    assert!(found.contains("10.32.9.9"), "{found}");
    podman
        .call(&["exec", &plain, "/bin/ping", "-c1", "-W3", "10.32.9.9"])
        .ok();
    let link = podman
        .call(&["exec", &chosen, "/bin/ip", "link", "show", "eth0"])
        .ok();
    assert!(link.contains("02:00:00:00:09:09"), "{link}");
    let inside = podman.call(&["exec", &both, "/bin/ip", "-4", "-o", "addr"]).ok();
    assert!(inside.contains("eth0") && inside.contains("eth1"), "{inside}");
    assert_eq!(stage.free() + 3, free);
    podman.end_all();
    assert_eq!(stage.ps(), []);
    assert_eq!(stage.free(), free + 1);
}
