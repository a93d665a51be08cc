//! Limits of what containers send and receive.

use crate::common::{Container, Host, Lab, Network, run_in, until, wire};
use crate::plugin::conf;
use crate::stage::{Pod, Stage, call_for};
use fastpath::NetNs;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// 8 Mbit/s, and a tenth of a second at once.
const RATE: f64 = 1e6;
const LIMIT: [u64; 2] = [8_000_000, 800_000];
/// How long is sent.
const WHILE: Duration = Duration::from_millis(2500);

fn egress() -> Value {
    json!({ "bandwidth": { "egressRate": LIMIT[0], "egressBurst": LIMIT[1] } })
}

fn address(added: &Value) -> IpAddr {
    let text = added["ips"][0]["address"].as_str().unwrap();
    text.split('/').next().unwrap().parse().unwrap()
}

/// Bytes in a second that arrive, as frames, of far more that are sent by UDP.
fn by_udp(from: &NetNs, to: (&NetNs, IpAddr)) -> f64 {
    let bind = |netns: &NetNs, at: IpAddr| netns.run(|| UdpSocket::bind((at, 0))).unwrap().unwrap();
    let any: IpAddr = if to.1.is_ipv4() {
        [0; 4].into()
    } else {
        [0_u16; 8].into()
    };
    let (sender, receiver) = (bind(from, any), bind(to.0, to.1));
    let target = receiver.local_addr().unwrap();
    receiver
        .set_read_timeout(Some(Duration::from_millis(700)))
        .unwrap();
    std::thread::scope(|scope| {
        let sending = scope.spawn(move || {
            let start = Instant::now();
            while start.elapsed() < WHILE {
                // About 10 MB/s: what two busy cores carry over sleeve without optimisation.
                for _ in 0..10 {
                    let _ = sender.send_to(&[7; 1000], target);
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let (mut bytes, mut buffer) = (0, [0; 2048]);
        while let Ok((length, _)) = receiver.recv_from(&mut buffer) {
            bytes += length + 42;
        }
        sending.join().unwrap();
        f64::from(u32::try_from(bytes).unwrap()) / WHILE.as_secs_f64()
    })
}

/// The same by TCP, which adapts; payload only.
fn by_tcp(from: &NetNs, to: (&NetNs, IpAddr)) -> f64 {
    let listener = to.0.run(|| TcpListener::bind((to.1, 0))).unwrap().unwrap();
    let target = listener.local_addr().unwrap();
    let patience = Duration::from_secs(5);
    let connect = || TcpStream::connect_timeout(&target, patience);
    let mut stream = from.run(connect).unwrap().unwrap();
    stream.set_write_timeout(Some(patience)).unwrap();
    let (mut accepted, _) = listener.accept().unwrap();
    accepted.set_read_timeout(Some(patience)).unwrap();
    std::thread::scope(|scope| {
        let start = Instant::now();
        scope.spawn(
            move || {
                while start.elapsed() < WHILE && stream.write_all(&[7; 65536]).is_ok() {}
            },
        );
        let (mut bytes, mut buffer) = (0, vec![0; 65536]);
        while start.elapsed() < WHILE {
            match accepted.read(&mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(length) => bytes += length,
            }
        }
        f64::from(u32::try_from(bytes).unwrap()) / start.elapsed().as_secs_f64()
    })
}

/// Two hosts, the first with containers of the plugin's, the second with one that receives.
struct Pair {
    hosts: [Host; 2],
    routers: Vec<crate::common::Router>,
    there: Container,
    options: Vec<&'static str>,
    _lab: Lab,
}

impl Pair {
    fn new(name: &'static str, options: &[&'static str]) -> Option<Self> {
        let lab = Lab::new(name)?;
        let hosts = ["h1", "h2"].map(|name| lab.host(name));
        wire(Network(9), &hosts[0], &hosts[1]);
        let routers = vec![
            hosts[0].launch(&[options, &["--ipalloc-range", "10.32.1.0/24"]].concat()),
            hosts[1].launch(&[options, &["--ipalloc-range", "10.32.1.0/24", "10.9.0.1"]].concat()),
        ];
        hosts[0].wait_for_direct("h2");
        let there = hosts[1].container(9);
        Some(Self {
            hosts,
            routers,
            there,
            options: options.to_vec(),
            _lab: lab,
        })
    }

    fn conf(&self, at: &str) -> Value {
        let mut conf = conf(&self.hosts[0].socket(), "1.0.0");
        conf["runtimeConfig"] = json!({ "ips": [at] });
        conf
    }

    fn call(&self, verb: &str, pod: &Pod, conf: &Value) -> Value {
        call_for(&self.hosts[0].dir, verb, pod, conf).ok()
    }

    fn wait_for(&self, pod: &Pod, overlay: &str) {
        let to = self.there.v4.to_string();
        until(
            "the other host's container answers",
            Duration::from_secs(10),
            || {
                let ping = run_in(&pod.netns, "ping", &["-n", "-c1", "-W1", &to]);
                (ping.code == Some(0)).then_some(())
            },
        );
        until("frames take this overlay", Duration::from_secs(20), || {
            let row = self.hosts[0].row("routes", "name", "h2")?;
            (row["overlay"] == overlay).then_some(())
        });
    }

    fn to_there(&self, pod: &Pod) -> f64 {
        by_udp(&pod.netns, (&self.there.netns, self.there.v4))
    }
}

fn is_held(rate: f64, what: &str) {
    println!("{what}: {:.2} of the limit", rate / RATE);
    assert!(
        (0.6 * RATE..1.15 * RATE).contains(&rate),
        "{what}: {rate} bytes in a second"
    );
}

fn is_free(rate: f64, what: &str) {
    println!("{what}: {:.2} times the limit", rate / RATE);
    assert!(rate > 2.0 * RATE, "{what}: {rate} bytes in a second");
}

fn what_a_container_sends_is_limited(name: &'static str, options: &[&'static str], overlay: &str) {
    let Some(mut pair) = Pair::new(name, options) else {
        return;
    };
    let (pod, free) = (Pod::new("pod"), Pod::new("free"));
    // The far container's addresses are of a range of its own: those of these are given, in the same subnet.
    let (mut limited, unlimited) = (pair.conf("10.32.0.50/12"), pair.conf("10.32.0.51/12"));
    limited["runtimeConfig"]["bandwidth"] = egress()["bandwidth"].clone();
    let added = pair.call("ADD", &pod, &limited);
    pair.call("ADD", &free, &unlimited);
    limited["prevResult"] = added.clone();
    pair.call("CHECK", &pod, &limited);
    [&pod, &free].iter().for_each(|pod| pair.wait_for(pod, overlay));
    // What a container sends waits at its own end, and nothing is lost that need not be.
    let there = (&pair.there.netns, pair.there.v4);
    is_held(by_tcp(&pod.netns, there), "by TCP");
    is_held(pair.to_there(&pod), "by UDP");
    assert_eq!(pair.hosts[0].drops("over_limit"), 0);
    // One that takes the queue away is held by the guard all the same.
    run_in(&pod.netns, "tc", &["qdisc", "del", "dev", "eth0", "root"]).ok();
    is_held(pair.to_there(&pod), "by UDP, without its queue");
    assert!(pair.hosts[0].drops("over_limit") > 1000);
    println!(
        "by TCP, without its queue: {:.2} of the limit",
        by_tcp(&pod.netns, there) / RATE
    );
    is_free(pair.to_there(&free), "the other");
    is_free(by_tcp(&free.netns, there), "the other by TCP");
    // To a container of the same host as well.
    is_held(
        by_udp(&pod.netns, (&free.netns, [10, 32, 0, 51].into())),
        "on this host",
    );
    // It holds while no router runs, and with the next.
    pair.routers.remove(0).terminate();
    if overlay == "fast" {
        is_held(pair.to_there(&pod), "without a router");
    }
    let options = [&pair.options[..], &["--ipalloc-range", "10.32.1.0/24"]].concat();
    pair.routers.push(pair.hosts[0].launch(&options));
    pair.hosts[0].wait_for_direct("h2");
    pair.wait_for(&pod, overlay);
    is_held(pair.to_there(&pod), "after a restart");
    pair.call("CHECK", &pod, &limited);
    for (pod, conf) in [(&pod, &limited), (&free, &unlimited)] {
        pair.call("DEL", pod, conf);
    }
    // Another in its place has none.
    pair.call("ADD", &pod, &pair.conf("10.32.0.52/12"));
    pair.wait_for(&pod, overlay);
    is_free(pair.to_there(&pod), "its successor");
}

#[test]
fn what_a_container_sends_over_sleeve_is_limited() {
    what_a_container_sends_is_limited("cni-egress-sleeve", &["--overlay", "sleeve"], "sleeve");
}

#[test]
fn what_a_container_sends_over_the_fast_path_is_limited() {
    let trust = ["--trusted-subnets", "10.0.0.0/8,fd00::/8"];
    what_a_container_sends_is_limited("cni-egress-fast", &trust, "fast");
}

#[test]
fn what_a_container_sends_and_receives_by_its_host_is_limited() {
    let Some(stage) = Stage::new("cni-egress-gate") else {
        return;
    };
    let (pod, free) = (Pod::new("pod"), Pod::new("free"));
    let mut conf = stage.conf("1.0.0");
    conf["isDefaultGateway"] = json!(true);
    let other = stage.call("ADD", &free, &conf).ok();
    let host: IpAddr = other["ips"][0]["gateway"].as_str().unwrap().parse().unwrap();
    let (rate, burst) = (LIMIT[0], LIMIT[1]);
    conf["runtimeConfig"] = json!({ "bandwidth": {
        "egressRate": rate, "egressBurst": burst, "ingressRate": rate, "ingressBurst": burst
    } });
    let added = stage.call("ADD", &pod, &conf).ok();
    let shaped = || run_in(&stage.host.netns, "tc", &["qdisc"]).ok();
    assert_eq!(shaped().matches("tbf").count(), 1, "{}", shaped());
    run_in(&pod.netns, "tc", &["qdisc", "del", "dev", "eth0", "root"]).ok();
    is_held(by_udp(&pod.netns, (&stage.host.netns, host)), "to the host");
    is_free(
        by_udp(&free.netns, (&stage.host.netns, host)),
        "the other to the host",
    );
    let (own, others) = (address(&added), address(&other));
    is_held(by_udp(&stage.host.netns, (&pod.netns, own)), "from the host");
    is_free(
        by_udp(&stage.host.netns, (&free.netns, others)),
        "from the host to the other",
    );
    is_held(by_udp(&free.netns, (&pod.netns, own)), "from the other");
    is_held(by_tcp(&free.netns, (&pod.netns, own)), "from the other by TCP");
    // CHECK misses what is not there.
    conf["prevResult"] = added;
    stage.call("CHECK", &pod, &conf).ok();
    conf["runtimeConfig"]["bandwidth"]["egressRate"] = json!(rate / 2);
    let (code, words) = stage.call("CHECK", &pod, &conf).failed();
    assert!(code == 7 && words.contains("limits"), "{code} {words}");
    for pod in [&pod, &free] {
        stage.call("DEL", pod, &conf).ok();
    }
    assert!(!shaped().contains("tbf"), "{}", shaped());
    until("nothing is left", Duration::from_secs(5), || {
        (stage.used() == 0).then_some(())
    });
}

#[test]
fn limits_that_make_no_sense_are_refused_before_anything_is_made() {
    let Some(stage) = Stage::new("cni-limit") else {
        return;
    };
    let pod = Pod::new("pod");
    let mut conf = stage.conf("1.0.0");
    for (bandwidth, code, word) in [
        (json!({ "egressRate": 8 }), 7, "needs egressBurst"),
        (json!({ "ingressBurst": 8 }), 7, "needs ingressRate"),
        (json!({ "egressRate": "8M", "egressBurst": 1 }), 7, "8M"),
        (json!({ "shapedSubnets": ["10.0.0.0/8"] }), 2, "shapedSubnets"),
    ] {
        conf["runtimeConfig"] = json!({ "bandwidth": bandwidth });
        let (failed, words) = stage.call("ADD", &pod, &conf).failed();
        assert!(failed == code && words.contains(word), "{failed} {words}");
        assert_eq!(stage.used(), 0);
        // What is there can always go.
        stage.call("DEL", &pod, &conf).ok();
    }
    // Nobody limits at a rate of nothing.
    conf["runtimeConfig"] = json!({ "bandwidth": { "egressRate": 0, "egressBurst": 0 } });
    stage.call("ADD", &pod, &conf).ok();
    stage.call("DEL", &pod, &conf).ok();
    assert_eq!(stage.used(), 0);
}

#[test]
fn a_container_that_is_attached_by_hand_has_limits_as_well() {
    let Some(stage) = Stage::new("cni-limit-by-hand") else {
        return;
    };
    let (pod, free) = (Pod::new("pod"), Pod::new("free"));
    let attach = |pod: &Pod, options: &[&str]| {
        let path = pod.netns.path().display().to_string();
        stage
            .host
            .weft(&[&["attach", "--netns", &path, "--ifname", "eth0"], options].concat())
    };
    let at = |shown: String| -> IpAddr { shown.split('/').next().unwrap().parse().unwrap() };
    let limits = ["--egress-rate", "8M", "--ingress-rate", "16Mbit"];
    let own = at(attach(&pod, &limits).ok());
    let other = at(attach(&free, &[]).ok());
    is_held(by_udp(&pod.netns, (&free.netns, other)), "what it sends");
    is_held(
        by_udp(&free.netns, (&pod.netns, own)) / 2.0,
        "what it receives, of twice that",
    );
    let shown: Value = serde_json::from_str(&stage.host.weft(&["ps", "--json"]).ok()).unwrap();
    let row = |pod: &Pod| {
        let path = pod.netns.path().display().to_string();
        let mut all = shown.as_array().unwrap().iter();
        all.find(|row| row["netns"] == path).unwrap().clone()
    };
    assert_eq!(row(&pod)["egress_rate"], 8_000_000);
    assert_eq!(row(&pod)["ingress_rate"], 16_000_000);
    assert_eq!(row(&free)["egress_rate"], Value::Null);
    let table = stage.host.weft(&["ps"]).ok();
    assert!(table.contains("out 8M, in 16M"), "{table}");
    // The same again changes nothing; another limit needs another interface.
    attach(&pod, &limits).ok();
    let words = attach(&pod, &["--egress-rate", "9M"]).failed(1);
    assert!(words.contains("detach it first"), "{words}");
    attach(&free, &["--egress-rate", "8MB"]).failed(2);
}
