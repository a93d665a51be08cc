//! A path that is narrower in the middle than at its ends.

use crate::common::traffic::{Pings, noise, tcp};
use crate::common::{Container, Host, Lab, Network, Router, run_in, wire};
use std::net::IpAddr;
use std::time::{Duration, Instant};

const NARROW: &str = "1300";
/// Until a path's MTU is found, or found to have shrunk.
const FOUND: Duration = Duration::from_secs(25);
const TEN_MEGABYTES: usize = 10 << 20;

/// Two hosts with a router of the underlay between them; the leg to the right host can be narrowed.
struct Path {
    left: Container,
    right: Container,
    hosts: [Host; 2],
    middle: Host,
    _routers: [Router; 2],
}

impl Path {
    fn new(lab: &Lab, narrow: bool) -> Self {
        let [left, middle, right] = ["left", "middle", "right"].map(|name| lab.host(name));
        wire(Network(1), &middle, &left);
        wire(Network(2), &middle, &right);
        for setting in ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"] {
            run_in(&middle.netns, "sysctl", &["-qw", setting]).ok();
        }
        for (host, to, by) in [(&left, Network(2), Network(1)), (&right, Network(1), Network(2))] {
            let route = |net: IpAddr, prefix: u8, gateway: IpAddr| {
                fastpath::wire::add_route(&host.netns, net, prefix, gateway).unwrap();
            };
            route(to.v4(0), 24, by.v4(1));
            route(to.v6(0), 64, by.v6(1));
        }
        if narrow {
            narrow_leg(&middle);
        }
        let routers = [left.launch(&[]), right.launch(&["10.1.0.2"])];
        left.wait_for_peers(2);
        right.wait_for_peers(2);
        let containers = (left.container(1), right.container(2));
        containers.0.wait_for(&containers.1);
        Self {
            left: containers.0,
            right: containers.1,
            hosts: [left, right],
            middle,
            _routers: routers,
        }
    }

    /// The MTU of the path as the left router knows it.
    fn mtu(&self) -> Option<u64> {
        self.hosts[0].data_row("right")?["mtu"].as_u64()
    }

    fn wait_for_mtu(&self, fits: impl Fn(u64) -> bool) -> u64 {
        let start = Instant::now();
        loop {
            let mtu = self.mtu();
            if let Some(found) = mtu.filter(|mtu| fits(*mtu)) {
                println!("MTU {found} after {:?}", start.elapsed());
                return found;
            }
            let ends = || {
                self.hosts
                    .each_ref()
                    .map(|host| host.status()["connections"].to_string())
            };
            assert!(
                start.elapsed() < FOUND,
                "the path's MTU is {mtu:?}: {:#?}",
                ends()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// TCP of both IP versions passes, and a ping too big is told so.
    fn carries_everything(&self) {
        for address in [self.right.v4, self.right.v6] {
            let took = tcp(&self.left, &self.right, address, &noise(TEN_MEGABYTES));
            println!("10 MB to {address} in {took:?}");
        }
        let to = self.right.v4.to_string();
        let out = self.left.run(
            "ping",
            &["-n", "-M", "do", "-s", "1362", "-c3", "-i0.3", "-W1", &to],
        );
        let text = [out.out, out.err].concat();
        let told = text.contains("Frag needed") || text.contains("essage too long");
        assert!(told && text.contains("mtu"), "{text}");
        let out = self
            .left
            .run("ping", &["-n", "-s", "8972", "-c3", "-i0.3", "-W2", &to]);
        assert!(out.ok().contains(" 0% packet loss"));
    }
}

/// The middle sends no more than [`NARROW`] bytes to the right, and takes no more from there.
fn narrow_leg(middle: &Host) {
    run_in(
        &middle.netns,
        "ip",
        &["link", "set", &Network(2).ifname(), "mtu", NARROW],
    )
    .ok();
}

#[test]
fn a_path_of_1300_bytes_carries_tcp_and_tells_what_is_too_big() {
    let Some(lab) = Lab::new("narrow") else { return };
    let path = Path::new(&lab, true);
    // 1280 is where the search begins; it ends within 16 bytes of what passes.
    path.wait_for_mtu(|mtu| (1284..=1300).contains(&mtu));
    path.carries_everything();
}

#[test]
fn a_path_that_narrows_while_it_is_used_is_noticed() {
    let Some(lab) = Lab::new("narrowed") else { return };
    let path = Path::new(&lab, false);
    path.wait_for_mtu(|mtu| mtu == 1500);
    let pings = Pings::start(&path.left, path.right.v4, Duration::from_millis(50));
    narrow_leg(&path.middle);
    path.wait_for_mtu(|mtu| (1280..=1300).contains(&mtu));
    path.carries_everything();
    let count = pings.stop();
    assert!(count.lost <= 2, "small packets pass all the time: {count:?}");
}
