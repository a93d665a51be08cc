//! A container that Podman starts finds the containers of other hosts by name, and nobody wrote it a `resolv.conf`.

use crate::common::run::run_command_in;
use crate::common::{Host, Lab, Outcome, lacks, run_in, until};
use std::process::Command;
use std::time::Duration;

/// Podman, set up to use our plugin; its containers are named after the test, and go with it.
struct Podman<'a> {
    host: &'a Host,
    name: String,
}

impl<'a> Podman<'a> {
    fn new(host: &'a Host) -> Self {
        let [bin, conf] = ["bin", "conf"].map(|name| host.dir.join(name).display().to_string());
        host.weft(&["cni", "install", "--bin-dir", &bin, "--conf-dir", &conf])
            .ok();
        let text = format!(
            "[containers]\ndefault_ulimits=[\"nofile=1024:1024\",\"nproc=4096:4096\"]\n[network]\nnetwork_backend=\"cni\"\n\
             cni_plugin_dirs=[{bin:?}]\nnetwork_config_dir={conf:?}\n[engine]\ncgroup_manager=\"cgroupfs\"\nruntime=\"runc\"\n\
             events_logger=\"none\"\n"
        );
        std::fs::write(host.dir.join("containers.conf"), text).unwrap();
        let podman = Self {
            host,
            name: format!("weft-names-{}", std::process::id()),
        };
        let folder = host.dir.display().to_string();
        let image = "cd $1 && mkdir -p r/bin r/etc r/proc r/sys r/dev r/tmp && cp $(command -v busybox) r/bin/ && \
                     chroot r /bin/busybox --install -s /bin && tar -C r -cf image.tar .";
        run_in(&host.netns, "sh", &["-c", image, "sh", &folder]).ok();
        let tar = host.dir.join("image.tar").display().to_string();
        podman.call(&["import", "-q", &tar, &podman.image()]).ok();
        podman
    }

    fn image(&self) -> String {
        format!("localhost/{}:1", self.name)
    }

    fn call(&self, args: &[&str]) -> Outcome {
        let mut command = Command::new("podman");
        command
            .env("CONTAINERS_CONF", self.host.dir.join("containers.conf"))
            .args(args);
        run_command_in(&self.host.netns, command, "")
    }
}

impl Drop for Podman<'_> {
    fn drop(&mut self) {
        self.call(&["rm", "-f", "-t", "0", &self.name]);
        self.call(&["rmi", "-f", &self.image()]);
    }
}

#[test]
fn podmans_containers_find_names_across_hosts_with_what_the_plugin_tells() {
    if lacks(&["podman", "runc", "busybox"]) {
        return;
    }
    let Some(lab) = Lab::new("names-podman") else {
        return;
    };
    let (_switch, hosts) = lab.hosts_on_a_switch(2);
    let [near, far] = &hosts[..] else { unreachable!() };
    let _routers = [near.launch(&[]), far.launch(&["10.9.0.1"])];
    far.wait_for_peers(2);
    let exposed = near.weft(&["expose"]).ok();
    let server = exposed
        .lines()
        .next()
        .unwrap()
        .split('/')
        .next()
        .unwrap()
        .to_owned();
    let other = crate::attach(far, 2, "far-away");
    until("the name is known", Duration::from_secs(5), || {
        (near.weft(&["dns", "lookup", "far-away"]).code == Some(0)).then_some(())
    });
    let podman = Podman::new(near);
    let start = ["run", "-d", "--network", "weft", "--name", &podman.name];
    podman
        .call(&[&start[..], &[&podman.image(), "/bin/sleep", "1000"]].concat())
        .ok();
    let conf = podman
        .call(&["exec", &podman.name, "/bin/cat", "/etc/resolv.conf"])
        .ok();
    assert!(conf.contains(&format!("nameserver {server}")), "{conf}");
    assert!(conf.contains("search weft.local"), "{conf}");
    for name in ["far-away", "far-away.weft.local"] {
        let found = podman
            .call(&["exec", &podman.name, "/bin/ping", "-c1", "-W3", name])
            .ok();
        assert!(found.contains(&other.v4.to_string()), "{found}");
    }
    // The host itself is answered there, too, until it is hidden.
    let ask = |name: &str| run_in(&near.netns, "busybox", &["nslookup", "-type=a", name, &server]);
    assert!(ask("far-away.weft.local").ok().contains(&other.v4.to_string()));
    near.weft(&["hide"]).ok();
    assert_ne!(ask("far-away.weft.local").code, Some(0));
}
