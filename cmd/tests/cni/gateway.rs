//! Containers reach what is outside by their host, and are reached from there.

use crate::common::{Host, Network, run_in, until, wire};
use crate::stage::{Pod, Stage};
use fastpath::NetNs;
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// The network between the host and what is outside.
const NET: Network = Network(9);

/// Somebody outside, who has no route into the mesh.
fn outside(stage: &Stage) -> Host {
    let outside = stage.lab.host("out");
    wire(NET, &stage.host, &outside);
    outside
}

/// Who a server at `to` sees when a client in `from` connects; `None`: it can't.
fn seen(from: &NetNs, to: (&NetNs, IpAddr)) -> Option<IpAddr> {
    let listen = || TcpListener::bind((to.1, 0)).unwrap();
    let listener = to.0.run(listen).unwrap();
    let address = listener.local_addr().unwrap();
    connect(from, address)?;
    Some(listener.accept().unwrap().1.ip())
}

fn connect(from: &NetNs, to: SocketAddr) -> Option<TcpStream> {
    from.run(|| TcpStream::connect_timeout(&to, Duration::from_secs(2)).ok())
        .unwrap()
}

fn address(added: &Value, at: usize) -> IpAddr {
    let text = added["ips"][at]["address"].as_str().unwrap();
    text.split('/').next().unwrap().parse().unwrap()
}

fn tables(stage: &Stage) -> String {
    run_in(&stage.host.netns, "nft", &["list", "tables"]).ok()
}

/// Nothing of the plugin's is left on the host: no address, no interface, no rule.
fn is_clean(stage: &Stage) -> bool {
    let interfaces = fastpath::wire::interfaces(&stage.host.netns).unwrap();
    let is_ours = |name: &String| name.starts_with("wv") || name == "weft-host";
    stage.used() == 0 && !interfaces.iter().any(is_ours) && !tables(stage).contains("weft-gw")
}

#[test]
fn what_containers_send_outside_leaves_in_their_hosts_name() {
    let Some(stage) = Stage::new("cni-masquerade") else {
        return;
    };
    let out = outside(&stage);
    // As Kubernetes has it: the host's netfilter sees what passes bridges.
    let bridged = "/proc/sys/net/bridge/bridge-nf-call-iptables";
    stage
        .host
        .netns
        .run(|| drop(std::fs::write(bridged, "1")))
        .unwrap();
    let mut conf = stage.conf("1.1.0");
    conf["isDefaultGateway"] = json!(true);
    conf["ipMasq"] = json!(true);
    let (pod, other) = (Pod::new("pod"), Pod::new("other"));
    let added = stage.call("ADD", &pod, &conf).ok();
    let second = stage.call("ADD", &other, &conf).ok();
    let gateway: IpAddr = added["ips"][0]["gateway"].as_str().unwrap().parse().unwrap();
    assert_eq!(second["ips"][0]["gateway"], json!(gateway), "one for all of them");
    let routes = added["routes"].as_array().unwrap();
    assert!(
        routes.contains(&json!({ "dst": "0.0.0.0/0", "gw": gateway })),
        "{added:#}"
    );
    assert_eq!(stage.used(), 3, "two containers and the host");
    for (out_there, host) in [(NET.v4(2), NET.v4(1)), (NET.v6(2), NET.v6(1))] {
        assert_eq!(seen(&pod.netns, (&out.netns, out_there)), Some(host));
    }
    // Among themselves containers have their own addresses, and so has the host.
    let at = address(&second, 0);
    assert_eq!(seen(&pod.netns, (&other.netns, at)), Some(address(&added, 0)));
    assert_eq!(seen(&stage.host.netns, (&other.netns, at)), Some(gateway));
    assert_eq!(stage.host.drops("spoofed_address"), 0);
    // A router that starts again finds its table, and makes it anew if somebody has removed it.
    run_in(&stage.host.netns, "nft", &["flush", "ruleset"]).ok();
    until("the table is back", Duration::from_secs(10), || {
        tables(&stage).contains("weft-gw").then_some(())
    });
    assert_eq!(seen(&pod.netns, (&out.netns, NET.v4(2))), Some(NET.v4(1)));
    stage.call("DEL", &pod, &conf).ok();
    assert_eq!(seen(&other.netns, (&out.netns, NET.v4(2))), Some(NET.v4(1)));
    let hidden = stage.host.weft(&["hide"]).failed(1);
    assert!(hidden.contains("1 containers reach"), "{hidden}");
    stage.call("DEL", &other, &conf).ok();
    assert!(!tables(&stage).contains("weft-gw"), "DEL leaves no rule behind");
    until("nothing is left", Duration::from_secs(5), || {
        is_clean(&stage).then_some(())
    });
    assert_eq!(
        stage.call("ADD", &pod, &conf).ok()["ips"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[test]
fn only_who_wishes_so_is_masqueraded() {
    let Some(stage) = Stage::new("cni-gateway") else {
        return;
    };
    let out = outside(&stage);
    let (gone, open, hidden) = (Pod::new("gone"), Pod::new("open"), Pod::new("hidden"));
    let mut conf = stage.conf("1.0.0");
    conf["isGateway"] = json!(true);
    // A failed ADD leaves nothing, neither of the container nor of the host.
    conf["routes"] = json!([{ "dst": "10.9.0.0/24", "gw": "10.77.0.1" }]);
    assert_eq!(stage.call("ADD", &gone, &conf).failed().0, 100);
    until("nothing is left", Duration::from_secs(5), || {
        is_clean(&stage).then_some(())
    });
    conf["runtimeConfig"] = json!({ "ips": ["10.32.0.99/24"] });
    conf["routes"] = json!([{ "dst": "10.9.0.0/24" }, { "dst": "fd09::/64" }]);
    let added = stage.call("ADD", &open, &conf).ok();
    assert_eq!(address(&added, 0), IpAddr::from([10, 32, 0, 99]));
    conf["ipMasq"] = json!(true);
    conf.as_object_mut().unwrap().remove("runtimeConfig");
    stage.call("ADD", &hidden, &conf).ok();
    assert_eq!(seen(&hidden.netns, (&out.netns, NET.v4(2))), Some(NET.v4(1)));
    assert_eq!(seen(&open.netns, (&out.netns, NET.v4(2))), None, "no way back");
    fastpath::wire::add_route(&out.netns, [10, 32, 0, 0].into(), 24, NET.v4(1)).unwrap();
    let own = address(&added, 0);
    assert_eq!(seen(&open.netns, (&out.netns, NET.v4(2))), Some(own));
    assert_eq!(
        seen(&out.netns, (&open.netns, own)),
        Some(NET.v4(2)),
        "from outside, as who it is"
    );
    // What an operator exposed stays when the containers go.
    stage.host.weft(&["expose"]).ok();
    for pod in [&open, &hidden] {
        stage.call("DEL", pod, &conf).ok();
    }
    assert!(!tables(&stage).contains("weft-gw"));
    assert_eq!(stage.used(), 1);
    stage.host.weft(&["hide"]).ok();
    until("nothing is left", Duration::from_secs(5), || {
        is_clean(&stage).then_some(())
    });
}
