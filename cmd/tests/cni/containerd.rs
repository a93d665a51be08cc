//! containerd, in a host's network namespace.

use crate::common::{Outcome, run_in, until};
use crate::place::Place;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A daemon that ends with the test.
pub(crate) struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// containerd in the host's network namespace. `ctr` looks for plugins in fixed places: it gets a mount namespace in
/// which ours are there.
pub(crate) struct Containerd<'a> {
    place: &'a Place,
    _daemon: Daemon,
}

impl<'a> Containerd<'a> {
    pub(crate) fn start(place: &'a Place) -> Self {
        Self::with(place, "disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n", "")
    }

    /// With the interface for a kubelet.
    pub(crate) fn with_cri(place: &'a Place) -> Self {
        let cri = format!(
            "[plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = \"docker.io/{}\"\nrestrict_oom_score_adj = true\n\
             [plugins.\"io.containerd.grpc.v1.cri\".cni]\nbin_dir = {:?}\nconf_dir = {:?}\n",
            place.image, place.bin, place.conf
        );
        Self::with(place, "", &cri)
    }

    fn with(place: &'a Place, first: &str, last: &str) -> Self {
        let dir = &place.host.dir;
        let text = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\n{first}[grpc]\naddress = {:?}\n{last}",
            dir.join("containerd-root"),
            dir.join("containerd-state"),
            Self::socket_in(dir),
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
            .arg(format!("--net={}", place.host.netns.path().display()))
            .args(["containerd", "-c"])
            .arg(&conf)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let started = Self {
            place,
            _daemon: Daemon(command.spawn().unwrap()),
        };
        until("containerd answers", Duration::from_secs(20), || {
            (started.ctr(&["version"]).code == Some(0)).then_some(())
        });
        started
    }

    pub(crate) fn socket(&self) -> PathBuf {
        Self::socket_in(&self.place.host.dir)
    }

    fn socket_in(dir: &Path) -> PathBuf {
        dir.join("containerd.sock")
    }

    pub(crate) fn ctr(&self, args: &[&str]) -> Outcome {
        let [bin, conf] = [&self.place.bin, &self.place.conf].map(|path| path.display());
        let script = format!(
            "mount --bind {bin} /opt/cni/bin; mount --bind {conf} /etc/cni/net.d; exec ctr -a {} \"$@\"",
            Self::socket_in(&self.place.host.dir).display()
        );
        let mut all = vec!["-m", "--propagation", "private", "sh", "-c", &script, "ctr"];
        all.extend(args);
        run_in(&self.place.host.netns, "unshare", &all)
    }

    pub(crate) fn run(&self, name: &str) {
        let image = format!("docker.io/{}", self.place.image);
        self.ctr(&["run", "-d", "--cni", &image, name, "/bin/sleep", "100"])
            .ok();
    }

    pub(crate) fn end(&self, name: &str) {
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
