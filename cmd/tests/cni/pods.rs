//! Pods, as a kubelet has containerd run them.

use crate::common::{Network, run_in, until, wire};
use crate::containerd::Containerd;
use crate::cri::{Cri, HostPort};
use crate::place::Place;
use fastpath::NetNs;
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::time::Duration;

const PROGRAMS: [&str; 5] = ["containerd", "ctr", "runc", "busybox", "curl"];
/// Where Debian has the reference plugins.
const REFERENCE: &str = "/usr/lib/cni";
/// The network between the hosts.
const NET: Network = Network(9);

/// A host with the plugins that the chain needs; each of ours that is called is noted.
fn place(name: &'static str) -> Option<Place> {
    if !std::path::Path::new(REFERENCE).join("portmap").exists() {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "no plugins in {REFERENCE}, and CI is set"
        );
        println!("skipped: needs the plugins in {REFERENCE}");
        return None;
    }
    Place::with(name, &PROGRAMS, &["--gateway"], |host| {
        let bin = host.dir.join("bin");
        fs::create_dir_all(&bin).unwrap();
        for plugin in ["portmap", "loopback"] {
            fs::copy(format!("{REFERENCE}/{plugin}"), bin.join(plugin)).unwrap();
        }
        let conf = host.dir.join("conf/10-weft.conflist");
        vec!["--cni-conf".into(), conf.to_str().unwrap().to_owned()]
    })
}

/// Puts a script before the plugin that notes the verbs.
fn note_verbs(place: &Place) -> impl Fn() -> String + use<> {
    let (plugin, log) = (place.bin.join("weft-net"), place.host.dir.join("verbs"));
    let real = place.bin.join("weft-net.real");
    fs::rename(&plugin, &real).unwrap();
    let script = format!(
        "#!/bin/sh\necho $CNI_COMMAND >>{}\nexec {}\n",
        log.display(),
        real.display()
    );
    fs::write(&plugin, script).unwrap();
    fs::set_permissions(&plugin, fs::metadata(&real).unwrap().permissions()).unwrap();
    move || fs::read_to_string(&log).unwrap_or_default().replace('\n', " ")
}

/// The namespace of the pod of this name.
fn netns(place: &Place, pod: &str) -> NetNs {
    let ps: Value = serde_json::from_str(&place.host.weft(&["ps", "--json"]).ok()).unwrap();
    let found = ps.as_array().unwrap().iter().find(|one| one["name"] == pod);
    NetNs::open(found.unwrap()["netns"].as_str().unwrap()).unwrap()
}

/// Answers with who asks, for one connection each.
fn serve(netns: &NetNs, port: u16) {
    let any = IpAddr::from([0, 0, 0, 0]);
    let listener = netns.run(|| TcpListener::bind((any, port))).unwrap().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let from = stream.peer_addr().unwrap().ip().to_string();
            let _ = (&stream).write_all(from.as_bytes());
        }
    });
}

/// What a server says; `None`: there is none.
fn ask(from: &NetNs, address: IpAddr, port: u16) -> Option<String> {
    let connect = || TcpStream::connect_timeout(&(address, port).into(), Duration::from_secs(1));
    let mut stream = from.run(connect).unwrap().ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

#[test]
fn a_pod_lives_and_ends_with_three_dels() {
    let Some(place) = place("cri-pod") else { return };
    let other = place.lab.host("h2");
    wire(NET, &place.host, &other);
    let verbs = note_verbs(&place);
    let containerd = Containerd::with_cri(&place);
    containerd
        .ctr(&["-n", "k8s.io", "images", "import", &place.archive()])
        .ok();
    let cri = Cri::new(&containerd.socket(), &place.host.dir);
    until("the network is ready", Duration::from_secs(10), || {
        (cri.network_ready() == Some(true)).then_some(())
    });
    let port = HostPort {
        host: 8080,
        container: 80,
    };
    let id = cri.run_pod("web", &[port]).unwrap();
    let status = cri.pod(&id).unwrap();
    let address = place.ps().into_iter().find(|(name, _)| name == "web").unwrap().1;
    assert!(
        status.is_ready && status.ips[0] == address,
        "{status:?} {address}"
    );
    assert_eq!(status.ips.len(), 2, "both kinds: {status:?}");
    let client = cri.run_pod("client", &[]).unwrap();
    let (web, from) = (netns(&place, "web"), netns(&place, "client"));
    serve(&web, 80);
    let own: IpAddr = address.parse().unwrap();
    assert!(ask(&from, own, 80).is_some(), "pods reach each other");
    assert!(ask(&place.host.netns, own, 80).is_some(), "as a kubelet probes");
    // From the other host, from a pod, and from the pod itself.
    let (host, who) = (NET.v4(1), NET.v4(2).to_string());
    assert_eq!(ask(&other.netns, host, 8080), Some(who), "as who it is");
    assert!(ask(&from, host, 8080).is_some());
    assert!(ask(&web, host, 8080).is_some(), "by the host back to itself");
    assert_eq!(place.host.drops("spoofed_address"), 0);

    for pod in [&id, &client] {
        cri.stop_pod(pod);
        cri.stop_pod(pod);
        assert!(!cri.pod(pod).unwrap().is_ready);
        cri.remove_pod(pod);
    }
    let verbs = verbs();
    let dels = verbs.matches("DEL").count();
    assert!(verbs.matches("ADD").count() == 2 && dels == 6, "{verbs}");
    assert_eq!(ask(&other.netns, host, 8080), None);
    until("nothing is left", Duration::from_secs(5), || {
        (place.ps().is_empty() && place.free() == (1 << 20) - 2).then_some(())
    });
    let rules = run_in(&place.host.netns, "iptables-save", &[]).ok();
    assert!(!rules.contains("8080"), "{rules}");
    let rules = run_in(&place.host.netns, "nft", &["list", "tables"]).ok();
    assert!(!rules.contains("weft-gw"), "{rules}");
}

#[test]
fn the_network_is_ready_while_the_router_runs() {
    let Some(mut place) = place("cri-ready") else {
        return;
    };
    let conf = place.conf.join("10-weft.conflist").display().to_string();
    let mut router = place.router.take().unwrap();
    let containerd = Containerd::with_cri(&place);
    containerd
        .ctr(&["-n", "k8s.io", "images", "import", &place.archive()])
        .ok();
    let cri = Cri::new(&containerd.socket(), &place.host.dir);
    let becomes = |ready: bool| {
        until("the network's state is told", Duration::from_secs(10), || {
            (cri.network_ready() == Some(ready)).then_some(())
        });
    };
    becomes(true);
    let id = cri.run_pod("stays", &[]).unwrap();
    router.terminate();
    becomes(false);
    assert!(cri.run_pod("too-early", &[]).is_err());
    router = place.host.launch(&["--cni-conf", &conf]);
    becomes(true);
    // One that does not give out addresses yet is not ready either.
    router.terminate();
    fs::remove_dir_all(place.host.state_dir()).unwrap();
    let waiting = ["--cni-conf", &conf, "--ipalloc-init", "3"];
    router = place.host.launch(&waiting);
    becomes(false);
    router.terminate();
    let _router = place.host.launch(&["--cni-conf", &conf]);
    becomes(true);
    // As a kubelet does, also with what came too early: containerd keeps it, and its network namespace, until told so.
    let pods = cri.pods();
    assert!(pods.len() == 2 && pods.contains(&id), "{pods:?}");
    for pod in pods {
        cri.stop_pod(&pod);
        cri.remove_pod(&pod);
    }
}
