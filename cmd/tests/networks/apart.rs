//! Two networks with the same addresses and the same MAC addresses, over a relay.

use crate::common::{Container, Host, Lab, Network, Router, until, wire};
use crate::{attach, networks};
use std::net::{IpAddr, UdpSocket};
use std::time::{Duration, Instant};

const NAMES: [&str; 2] = ["blue", "red"];
const LEFT: (&str, &str) = ("10.50.0.1/24", "02:00:00:00:00:01");
const RIGHT: (&str, &str) = ("10.50.0.2/24", "02:00:00:00:00:02");
const TO: &str = "10.50.0.2";
const ALL: &str = "10.50.0.255";
const PORT: u16 = 7000;
/// Datagrams of each network: as many as a socket's buffer holds that nobody reads from meanwhile.
const COUNT: usize = 100;

/// A – R – B with two networks, in each a container at both ends.
struct Line {
    _lab: Lab,
    hosts: [Host; 3],
    _routers: Vec<Router>,
    left: Vec<Container>,
    right: Vec<Container>,
}

impl Line {
    fn new(name: &'static str, options: &[&str]) -> Option<Self> {
        let lab = Lab::new(name)?;
        let hosts = ["a", "r", "b"].map(|name| lab.host(name));
        let [a, r, b] = &hosts;
        wire(Network(1), r, a);
        wire(Network(2), r, b);
        let routers = vec![
            r.launch(options),
            a.launch(&[options, &["10.1.0.1"]].concat()),
            b.launch(&[options, &["10.2.0.1"]].concat()),
        ];
        a.wait_for_peers(3);
        b.wait_for_peers(3);
        for name in NAMES {
            a.weft(&["network", "add", name, "--subnet", "10.50.0.0/24"]).ok();
        }
        until("all know both networks", Duration::from_secs(5), || {
            hosts.iter().all(|host| networks(host).len() == 2).then_some(())
        });
        let ends = |host: &Host, (cidr, mac): (&str, &str)| -> Vec<Container> {
            let end = |name: &&str| {
                let container = Container::detached(0);
                attach(host, &container, name, cidr, mac);
                container
            };
            NAMES.iter().map(end).collect()
        };
        let (left, right) = (ends(a, LEFT), ends(b, RIGHT));
        for end in &left {
            until("the ends reach each other", Duration::from_secs(10), || {
                end.pings(TO.parse().unwrap()).then_some(())
            });
        }
        Some(Self {
            _lab: lab,
            _routers: routers,
            hosts,
            left,
            right,
        })
    }

    /// What each right end got of what each left one sent to an address: by receiver, then by sender.
    fn exchange(&self, to: &str) -> [[usize; 2]; 2] {
        let any: IpAddr = [0; 4].into();
        let ears: Vec<UdpSocket> = self.right.iter().map(|end| end.udp(any, PORT)).collect();
        let mouths: Vec<UdpSocket> = self.left.iter().map(|end| end.udp(any, 0)).collect();
        for mouth in &mouths {
            mouth.set_broadcast(true).unwrap();
        }
        for _ in 0..COUNT {
            for (mouth, name) in mouths.iter().zip(NAMES) {
                mouth.send_to(name.as_bytes(), (to, PORT)).unwrap();
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let mut counts = [[0; 2]; 2];
        for (ear, counts) in ears.iter().zip(&mut counts) {
            let mut buffer = [0; 64];
            let until = Instant::now() + Duration::from_secs(1);
            while counts.iter().sum::<usize>() < COUNT || Instant::now() < until {
                let Ok((length, _)) = ear.recv_from(&mut buffer) else {
                    break;
                };
                let of = NAMES.iter().position(|name| name.as_bytes() == &buffer[..length]);
                counts[of.expect("nobody else speaks here")] += 1;
            }
        }
        counts
    }

    fn check(&self) {
        for to in [TO, ALL] {
            let [[blue, red_at_blue], [blue_at_red, red]] = self.exchange(to);
            assert_eq!(
                [red_at_blue, blue_at_red],
                [0, 0],
                "frames of one network came to another"
            );
            assert!(
                blue > COUNT * 9 / 10 && red > COUNT * 9 / 10,
                "{to}: {blue} and {red} of {COUNT}"
            );
        }
    }
}

#[test]
fn frames_of_one_network_never_come_to_another_over_sleeve() {
    let Some(line) = Line::new("apart-sleeve", &[]) else {
        return;
    };
    let [a, _, b] = &line.hosts;
    a.wait_for_hops("b", 2, Duration::from_secs(10));
    line.check();
    // The host itself is in the network in which it is exposed, and in no other.
    let exposed: IpAddr = "10.50.0.9".parse().unwrap();
    a.weft(&["expose", "--network", "blue", "10.50.0.9/24"]).ok();
    until("blue reaches the host", Duration::from_secs(5), || {
        line.right[0].pings(exposed).then_some(())
    });
    assert!(!line.right[1].pings(exposed));
    // A network of which this host has no container any more: nothing is left of it here, and nothing comes.
    b.weft(&["detach", "--netns", &line.right[1].path()]).ok();
    until("red is gone from b", Duration::from_secs(5), || {
        (!line.left[1].pings(TO.parse().unwrap())).then_some(())
    });
    assert!(line.left[0].pings(TO.parse().unwrap()));
    let links = crate::common::run_in(&b.netns, "ip", &["-o", "link"]).ok();
    let bridges = links.lines().filter(|line| line.contains(": weft-")).count();
    assert_eq!(bridges, 1, "{links}");
}

#[test]
fn frames_of_one_network_never_come_to_another_over_the_fast_path() {
    let trust = ["--trusted-subnets", "10.0.0.0/8,fd00::/8"];
    let Some(line) = Line::new("apart-fast", &trust) else {
        return;
    };
    let [a, _, b] = &line.hosts;
    for (from, to) in [(a, "b"), (b, "a")] {
        until("frames take the fast path", Duration::from_secs(20), || {
            let row = from.row("routes", "name", to)?;
            (row["overlay"] == "fast").then_some(())
        });
    }
    line.check();
    // The relay's router stops; its kernel goes on, for both.
    let sent = |host: &Host| {
        let text =
            crate::common::run_in(&host.netns, "ip", &["-s", "-j", "link", "show", "type", "vxlan"]).ok();
        let all: serde_json::Value = serde_json::from_str(&text).unwrap();
        all[0]["stats64"]["tx"]["packets"].as_u64().unwrap()
    };
    let before = sent(a);
    line.check();
    assert!(
        sent(a) >= before + 4 * COUNT as u64 * 9 / 10,
        "frames went another way"
    );
}
