//! Real runtimes call the plugin: containerd by `ctr run --cni`, and Podman with its CNI backend.

use crate::common::{Outcome, run_in, until};
use crate::containerd::Containerd;
use crate::place::Place;
use fastpath::NetNs;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

/// Ids of two containers. runc keeps those of all containerds in one place, so no two tests may use the same.
fn ids(test: &str) -> [String; 2] {
    ["a", "b"].map(|end| format!("{test}-{}-{end}", std::process::id()))
}

#[test]
fn containerd_runs_containers_that_reach_each_other_and_leaves_nothing_behind() {
    let Some(place) = Place::new("ctr", &["containerd", "ctr", "runc", "busybox"]) else {
        return;
    };
    let containerd = Containerd::start(&place);
    containerd.ctr(&["images", "import", &place.archive()]).ok();
    let [a, b] = ids("ctr");
    [&a, &b].iter().for_each(|name| containerd.run(name));
    let ps = place.ps();
    assert_eq!(ps.len(), 2, "{ps:?}");
    let (_, address) = ps.iter().find(|(name, _)| name.ends_with(&b)).unwrap();
    containerd
        .ctr(&[
            "task",
            "exec",
            "--exec-id",
            "e",
            &a,
            "/bin/ping",
            "-c1",
            "-W3",
            address,
        ])
        .ok();
    [&a, &b].iter().for_each(|name| containerd.end(name));
    // `ctr task rm` calls no DEL: the router sees that the namespaces are gone.
    until("nothing is left", Duration::from_secs(10), || {
        (place.ps().is_empty()).then_some(())
    });
    assert_eq!(place.free(), (1 << 20) - 2);
    let links = run_in(&place.host.netns, "ip", &["-o", "link"]).ok();
    assert!(!links.contains("wv"), "{links}");
}

#[test]
fn gc_takes_what_ctr_task_rm_leaves() {
    let Some(place) = Place::new("ctr-gc", &["containerd", "ctr", "runc", "busybox"]) else {
        return;
    };
    let containerd = Containerd::start(&place);
    containerd.ctr(&["images", "import", &place.archive()]).ok();
    let [a, b] = ids("ctr-gc");
    [&a, &b].iter().for_each(|name| containerd.run(name));
    let list = place.conf.join("10-weft.conflist");
    let list: Value = serde_json::from_str(&std::fs::read_to_string(list).unwrap()).unwrap();
    let mut conf = list["plugins"][0].clone();
    conf["cniVersion"] = json!("1.1.0");
    conf["name"] = list["name"].clone();
    conf["cni.dev/valid-attachments"] = json!([{ "containerID": format!("default-{b}"), "ifname": "eth0" }]);
    let interfaces = || {
        let links = run_in(&place.host.netns, "ip", &["-o", "link"]).ok();
        links.matches(": wv").count()
    };
    assert_eq!((interfaces(), place.free()), (2, (1 << 20) - 4));
    // Its namespace outlives it, so that the router sees nothing of its end; and no DEL comes.
    let ps: Value = serde_json::from_str(&place.host.weft(&["ps", "--json"]).ok()).unwrap();
    let first = ps
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["name"] == format!("default-{a}"));
    let netns = NetNs::open(first.unwrap()["netns"].as_str().unwrap()).unwrap();
    containerd.end(&a);
    crate::plugin::call(
        &[("CNI_COMMAND", "GC"), ("CNI_PATH", "/nowhere")],
        &conf.to_string(),
    )
    .ok();
    assert_eq!((interfaces(), place.free()), (1, (1 << 20) - 3), "at once");
    assert_eq!(fastpath::wire::interfaces(&netns).unwrap(), ["lo"]);
    let left = place.ps();
    assert!(left.len() == 1 && left[0].0 == format!("default-{b}"), "{left:?}");
    containerd.end(&b);
}

/// Podman's containers of one test, and its image; both go with it.
struct Podman<'a> {
    place: &'a Place,
    conf: PathBuf,
    names: Vec<String>,
}

impl<'a> Podman<'a> {
    fn new(place: &'a Place) -> Self {
        let conf = place.host.dir.join("containers.conf");
        let text = format!(
            "[containers]\ndefault_ulimits=[\"nofile=1024:1024\",\"nproc=4096:4096\"]\n[network]\nnetwork_backend=\"cni\"\n\
             cni_plugin_dirs=[{:?}]\nnetwork_config_dir={:?}\n[engine]\ncgroup_manager=\"cgroupfs\"\nruntime=\"runc\"\n\
             events_logger=\"none\"\n",
            place.bin, place.conf
        );
        std::fs::write(&conf, text).unwrap();
        let podman = Self {
            place,
            conf,
            names: Vec::new(),
        };
        podman.call(&["load", "-q", "-i", &place.archive()]).ok();
        podman
    }

    fn call(&self, args: &[&str]) -> Outcome {
        let conf = format!("CONTAINERS_CONF={}", self.conf.display());
        let mut all = vec![conf.as_str(), "podman"];
        all.extend(args);
        run_in(&self.place.host.netns, "env", &all)
    }

    /// Starts a container; `networks` are options.
    fn run(&mut self, name: &str, networks: &[&str]) -> String {
        let name = format!("{}-{}-{name}", self.place.lab.name, std::process::id());
        let mut all = vec!["run", "-d", "--rm", "--name", &name];
        all.extend(networks);
        let image = format!("docker.io/{}", self.place.image);
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
        self.call(&["rmi", "-f", &format!("docker.io/{}", self.place.image)]);
    }
}

#[test]
fn podman_runs_containers_on_two_networks_with_addresses_of_their_choice() {
    let Some(place) = Place::new("podman", &["podman", "runc", "busybox"]) else {
        return;
    };
    // A second network by name, of the same router.
    let conf = std::fs::read_to_string(place.conf.join("10-weft.conflist")).unwrap();
    let other = conf.replace("\"name\": \"weft\"", "\"name\": \"other\"");
    std::fs::write(place.conf.join("20-other.conflist"), other).unwrap();
    let mut podman = Podman::new(&place);
    let plain = podman.run("plain", &["--network", "weft"]);
    let free = place.free();
    let chosen = podman.run(
        "chosen",
        &["--network", "weft:ip=10.32.9.9,mac=02:00:00:00:09:09"],
    );
    let both = podman.run("both", &["--network", "weft", "--network", "other"]);
    let found = place.host.weft(&["dns", "lookup", &chosen]).ok();
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
    assert_eq!(place.free() + 3, free);
    podman.end_all();
    assert_eq!(place.ps(), []);
    assert_eq!(place.free(), free + 1);
}
