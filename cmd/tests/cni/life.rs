//! Containers come and go by the plugin, with a router.

use crate::common::until;
use crate::plugin::call;
use crate::stage::{Pod, Stage, call_for};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

#[test]
fn add_check_and_del_in_every_version() {
    let Some(stage) = Stage::new("cni-versions") else {
        return;
    };
    for (number, version) in (1..).zip(["0.3.1", "0.4.0", "1.0.0", "1.1.0"]) {
        let (pod, mut conf) = (Pod::new(&format!("pod{number}")), stage.conf(version));
        let added = stage.call("ADD", &pod, &conf).ok();
        assert_eq!(added["cniVersion"], version);
        let ips = added["ips"].as_array().unwrap();
        assert_eq!(ips.len(), 2, "{added:#}");
        assert_eq!(ips[0]["address"], format!("10.32.0.{number}/24"));
        assert_eq!(ips[0]["version"].is_string(), version < "1.0.0");
        let inside = &added["interfaces"][ips[0]["interface"].as_u64().unwrap() as usize];
        assert_eq!(
            (&inside["name"], inside["mtu"].is_number()),
            (&json!("eth0"), version == "1.1.0")
        );
        assert_eq!(fastpath::wire::interfaces(&pod.netns).unwrap(), ["lo", "eth0"]);
        // What is there stays as it is.
        assert_eq!(stage.call("ADD", &pod, &conf).failed().0, 7);
        conf["prevResult"] = added.clone();
        if version != "0.3.1" {
            stage.call("CHECK", &pod, &conf).ok();
            conf["prevResult"]["ips"][0]["address"] = json!("10.32.0.99/24");
            assert_eq!(stage.call("CHECK", &pod, &conf).failed().0, 7);
        }
        for _ in 0..3 {
            assert_eq!(stage.call("DEL", &pod, &conf).ok(), Value::Null);
        }
        assert_eq!(fastpath::wire::interfaces(&pod.netns).unwrap(), ["lo"]);
        if version != "0.3.1" {
            assert_eq!(stage.call("CHECK", &pod, &conf).failed().0, 3);
        }
    }
    assert_eq!(stage.used(), 0);
}

#[test]
fn addresses_and_macs_that_were_asked_for() {
    let Some(stage) = Stage::new("cni-asked") else {
        return;
    };
    let mut conf = stage.conf("1.0.0");
    conf["runtimeConfig"] = json!({ "ips": ["10.32.0.77/24"], "mac": "02:00:00:00:00:77" });
    let pod = Pod::new("asked");
    let added = stage.call("ADD", &pod, &conf).ok();
    assert_eq!(added["ips"][0]["address"], "10.32.0.77/24");
    assert_eq!(added["interfaces"][1]["mac"], "02:00:00:00:00:77");
    // Taken, and what was made for the second is gone.
    let other = Pod::new("other");
    conf["runtimeConfig"]["mac"] = json!("02:00:00:00:00:78");
    let (code, words) = stage.call("ADD", &other, &conf).failed();
    assert!(code == 100 && words.contains("in use"), "{code} {words}");
    assert_eq!(fastpath::wire::interfaces(&other.netns).unwrap(), ["lo"]);
    assert_eq!(stage.used(), 1);
    // An address of the caller's own.
    conf["runtimeConfig"] = json!({ "IPs": ["192.168.7.7/24"] });
    let added = stage.call("ADD", &other, &conf).ok();
    assert_eq!(added["ips"][0]["address"], "192.168.7.7/24");
    assert_eq!(stage.used(), 1);
}

#[test]
fn another_plugin_gives_the_addresses_and_takes_them_back() {
    let Some(stage) = Stage::new("cni-ipam") else {
        return;
    };
    let result = r#"{"cniVersion":"1.0.0","ips":[{"address":"10.99.0.5/24","gateway":"10.99.0.1"}],"routes":[{"dst":"0.0.0.0/0"}],"dns":{"nameservers":["10.99.0.1"]}}"#;
    let calls = stage.plugin("some-ipam", &format!("echo '{result}'"));
    let mut conf = stage.conf("1.1.0");
    conf["ipam"] = json!({ "type": "some-ipam" });
    let pod = Pod::new("pod");
    let added = stage.call("ADD", &pod, &conf).ok();
    assert_eq!(
        (&added["ips"][0]["gateway"], &added["dns"]["nameservers"][0]),
        (&json!("10.99.0.1"), &json!("10.99.0.1"))
    );
    assert_eq!(added["routes"][0]["gw"], "10.99.0.1");
    let routes = crate::common::run_in(&pod.netns, "ip", &["route"]).ok();
    assert!(routes.contains("default via 10.99.0.1 dev eth0"), "{routes}");
    assert_eq!(stage.used(), 0);
    stage.call("DEL", &pod, &conf).ok();
    assert_eq!(calls(), "ADD DEL ");

    // What it says is handed on; and it is told when the rest fails.
    let failing = stage.plugin("no-ipam", r#"{ echo '{"code":11,"msg":"none left"}'; exit 1; }"#);
    conf["ipam"] = json!({ "type": "no-ipam" });
    assert_eq!(
        stage.call("ADD", &pod, &conf).failed(),
        (11, "none left \"\"".to_owned())
    );
    assert_eq!(failing(), "ADD DEL ");
    let odd = stage.plugin("odd-ipam", r#"echo '{"ips":[{"address":"224.0.0.1/24"}]}'"#);
    conf["ipam"] = json!({ "type": "odd-ipam" });
    assert_eq!(stage.call("ADD", &pod, &conf).failed().0, 100);
    assert_eq!(odd(), "ADD DEL ");
    assert_eq!(fastpath::wire::interfaces(&pod.netns).unwrap(), ["lo"]);
    conf["ipam"] = json!({ "type": "missing-ipam" });
    let (code, words) = stage.call("ADD", &pod, &conf).failed();
    assert!(code == 7 && words.contains("missing-ipam"), "{words}");
}

#[test]
fn a_chain_goes_on_and_what_nobody_lists_is_collected() {
    let Some(mut stage) = Stage::new("cni-gc") else {
        return;
    };
    let mut conf = stage.conf("1.1.0");
    let pods: Vec<_> = (0..4).map(|n| Pod::new(&format!("pod{n}"))).collect();
    let before = json!({ "interfaces": [{ "name": "lo", "sandbox": "x" }], "ips": [{ "address": "127.0.0.1/8", "interface": 0 }] });
    conf["prevResult"] = before;
    let added = stage.call("ADD", &pods[0], &conf).ok();
    assert_eq!(added["ips"][0]["address"], "127.0.0.1/8");
    assert_eq!(
        (&added["ips"][1]["interface"], &added["interfaces"][2]["name"]),
        (&json!(2), &json!("eth0"))
    );
    conf.as_object_mut().unwrap().remove("prevResult");
    pods[1..]
        .iter()
        .for_each(|pod| drop(stage.call("ADD", pod, &conf).ok()));
    let ready = || {
        call(
            &[("CNI_COMMAND", "STATUS"), ("CNI_PATH", "/nowhere")],
            &stage.conf("1.1.0").to_string(),
        )
    };
    ready().ok();
    assert_eq!(stage.used(), 4);
    // Another network's are no business of this one's.
    let mut other = conf.clone();
    other["name"] = json!("other");
    let foreign = Pod::new("foreign");
    stage.call("ADD", &foreign, &other).ok();
    conf["cni.dev/valid-attachments"] =
        json!([{ "containerID": "pod1", "ifname": "eth0" }, { "containerID": "pod0", "ifname": "eth1" }]);
    call(
        &[("CNI_COMMAND", "GC"), ("CNI_PATH", "/nowhere")],
        &conf.to_string(),
    )
    .ok();
    assert_eq!(stage.used(), 2);
    assert_eq!(fastpath::wire::interfaces(&pods[0].netns).unwrap(), ["lo"]);
    assert_eq!(
        fastpath::wire::interfaces(&pods[1].netns).unwrap(),
        ["lo", "eth0"]
    );

    // The router is gone: DEL waits for it if there is something to take away, and not if there is nothing.
    stage.router.take().unwrap().kill();
    conf.as_object_mut().unwrap().remove("cni.dev/valid-attachments");
    assert_eq!(stage.call("DEL", &pods[1], &conf).failed().0, 11);
    stage.call("DEL", &pods[0], &conf).ok();
    assert_eq!(stage.call("ADD", &pods[0], &conf).failed().0, 11);
    stage.router = Some(stage.host.launch(&["--ipalloc-range", "10.32.0.0/24"]));
    stage.call("DEL", &pods[1], &conf).ok();
    until("only the other network's is left", Duration::from_secs(5), || {
        (stage.used() == 1).then_some(())
    });
}

#[test]
fn many_at_once_and_how_long_it_takes() {
    let Some(stage) = Stage::new("cni-many") else {
        return;
    };
    let conf = stage.conf("1.0.0");
    let pods: Vec<_> = (0..50).map(|n| Pod::new(&format!("pod{n}"))).collect();
    let dir = stage.host.dir.clone();
    let time = |pod: &Pod| {
        let start = Instant::now();
        call_for(&dir, "ADD", pod, &conf).ok();
        start.elapsed()
    };
    let median = |mut times: Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2]
    };
    let one_by_one = median(pods.iter().map(time).collect());
    let more: Vec<_> = (0..20).map(|n| Pod::new(&format!("more{n}"))).collect();
    let at_once = std::thread::scope(|scope| {
        let running: Vec<_> = more.iter().map(|pod| scope.spawn(|| time(pod))).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let at_once = median(at_once);
    println!("ADD with up to 50 containers: median {one_by_one:?}; twenty at once: median {at_once:?}");
    assert_eq!(stage.used(), 70);
    std::thread::scope(|scope| {
        for pod in pods.iter().chain(&more) {
            let (dir, conf) = (&dir, &conf);
            scope.spawn(move || call_for(dir, "DEL", pod, conf).ok());
        }
    });
    assert_eq!(stage.used(), 0);
    assert!(stage.host.status()["attachments"].as_array().unwrap().is_empty());
}

#[test]
fn a_configuration_names_its_network() {
    let Some(stage) = Stage::new("cni-network") else {
        return;
    };
    let (pod, mut conf) = (Pod::new("pod1"), stage.conf("1.1.0"));
    conf["network"] = json!("blue");
    let (code, words) = stage.call("ADD", &pod, &conf).failed();
    assert!(
        code == 100 && words.contains("there is no network blue"),
        "{code} {words}"
    );
    stage
        .host
        .weft(&[
            "network",
            "add",
            "blue",
            "--subnet",
            "10.60.0.0/24",
            "--vni",
            "77",
        ])
        .ok();
    for network in [json!("blue"), json!(77)] {
        conf["network"] = network;
        let added = stage.call("ADD", &pod, &conf).ok();
        let address = added["ips"][0]["address"].as_str().unwrap();
        assert!(
            address.starts_with("10.60.0.") && address.ends_with("/24"),
            "{address}"
        );
        stage.call("DEL", &pod, &conf).ok();
    }
    assert_eq!(stage.used(), 0, "the default network has nothing to do with it");
}
