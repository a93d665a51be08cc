//! What the fast path costs, beside raw veth and static kernel VXLAN in the same run. `bench/fastpath` runs it.
//!
//! Cases take turns, several rounds of them, and medians are compared, as the machine is not ours alone. All have the
//! same inner MTU.

use crate::common::traffic::Pings;
use crate::common::{Container, Host, Lab, Network, Router, run_in, wire};
use crate::{Line, SOON, TRUST, wait_for_overlay};
use fastpath::overlay::{CHANGE, Config, Cover, Direct, GRACE, Input, MAX_HOPS, Output, Overlay};
use fastpath::vxlan::{Switch, Tables};
use fastpath::wire::{self as raw, End};
use mesh::{Instant as Time, Mac, PeerId, PeerLabel, Vni};
use rustix::process::Signal;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

const MTU: u16 = 1390;
const ROUNDS: usize = 5;
const LENGTH: Duration = Duration::from_secs(2);
const PINGS: usize = 4000;

/// Two containers that can talk, one way or another.
struct Case<'a> {
    name: &'static str,
    ends: [&'a Container; 2],
}

#[derive(Default)]
struct Figures {
    /// Bits per second.
    long: Vec<f64>,
    short: Vec<f64>,
    /// Seconds.
    median: Vec<f64>,
    p99: Vec<f64>,
    /// The same while all routers stand still: what is the kernel's alone.
    still: Vec<f64>,
    /// Of one core, of the router that used most.
    cpu: Vec<f64>,
}

fn median(of: &[f64]) -> f64 {
    let mut sorted = of.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// Bits per second of one TCP connection.
fn stream(from: &Container, to: &Container) -> f64 {
    let listener = to.netns.run(|| TcpListener::bind((to.v4, 0))).unwrap().unwrap();
    let target = listener.local_addr().unwrap();
    std::thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut buffer, mut count) = (vec![0; 1 << 20], 0);
            let mut start = None;
            loop {
                let length = stream.read(&mut buffer).unwrap();
                let start = *start.get_or_insert_with(Instant::now);
                count += length;
                if length == 0 {
                    return count as f64 * 8.0 / start.elapsed().as_secs_f64();
                }
            }
        });
        let mut stream = from.netns.run(|| TcpStream::connect(target)).unwrap().unwrap();
        let (start, buffer) = (Instant::now(), vec![7; 128 << 10]);
        while start.elapsed() < LENGTH {
            stream.write_all(&buffer).unwrap();
        }
        drop(stream);
        receiver.join().unwrap()
    })
}

/// Median and 99th percentile of round trips.
fn round_trips(from: &Container, to: &Container) -> (f64, f64) {
    let (asker, answerer) = (from.udp(from.v4, 0), to.udp(to.v4, 0));
    let target = answerer.local_addr().unwrap();
    let mut times: Vec<f64> = std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut buffer = [0; 64];
            for _ in 0..PINGS {
                let (length, from) = answerer.recv_from(&mut buffer).unwrap();
                answerer.send_to(&buffer[..length], from).unwrap();
            }
        });
        let mut buffer = [0; 64];
        let once = |_| {
            let start = Instant::now();
            asker.send_to(&buffer[..32], target).unwrap();
            asker.recv_from(&mut buffer).unwrap();
            start.elapsed().as_secs_f64()
        };
        (0..PINGS).map(once).collect()
    });
    times.sort_by(f64::total_cmp);
    (times[PINGS / 2], times[PINGS * 99 / 100])
}

/// Super-frames on or off at a container's end.
fn super_frames(case: &Case<'_>, on: bool) {
    let segments = if on { "65535" } else { "1" };
    for end in case.ends {
        run_in(
            &end.netns,
            "ip",
            &["link", "set", "eth0", "gso_max_segs", segments],
        )
        .ok();
    }
}

/// Seconds of processor that each of the routers has used.
fn used<'a>(routers: impl IntoIterator<Item = &'a Router>) -> Vec<f64> {
    let seconds = |router: &Router| -> f64 {
        let threads = std::fs::read_dir(format!("/proc/{}/task", router.pid())).unwrap();
        let nanoseconds = threads.map(|thread| {
            let stat = std::fs::read_to_string(thread.unwrap().path().join("schedstat")).unwrap();
            stat.split(' ').next().unwrap().parse::<f64>().unwrap()
        });
        nanoseconds.sum::<f64>() / 1e9
    };
    routers.into_iter().map(seconds).collect()
}

/// Two containers joined by nothing but a pair.
fn bare() -> [Container; 2] {
    let ends = [1, 2].map(Container::detached);
    let [left, right] = ends.each_ref().map(|end| End {
        netns: &end.netns,
        ifname: "eth0",
    });
    raw::connect(left, right, MTU).unwrap();
    raw::add_address(left, ends[0].v4, 12).unwrap();
    raw::add_address(right, ends[1].v4, 12).unwrap();
    ends
}

fn ip(host: &Host, line: &str) {
    run_in(&host.netns, "ip", &line.split(' ').collect::<Vec<_>>()).ok();
}

/// A VXLAN device with one remote end, as a port of the host's bridge.
fn fixed_port(host: &Host, number: u8, local: &str, remote: &str) {
    ip(
        host,
        &format!(
            "link add dev vxlan{number} type vxlan id {number} dstport 4789 nolearning noudpcsum local {local} remote {remote}"
        ),
    );
    ip(
        host,
        &format!("link set vxlan{number} master bridge0 mtu {MTU} up"),
    );
}

/// Two hosts with a bridge and a VXLAN device whose one remote end is the other host, or with a relay between, whose
/// bridge joins two such devices.
fn fixed(lab: &Lab, relayed: bool) -> (Vec<Host>, [Container; 2]) {
    let names: &[&str] = if relayed {
        &["t1", "t2", "t3"]
    } else {
        &["s1", "s2"]
    };
    let hosts: Vec<_> = names.iter().map(|name| lab.host(name)).collect();
    for host in &hosts {
        ip(host, "link add dev bridge0 type bridge");
        ip(host, "link set bridge0 up");
    }
    for (net, pair) in (if relayed { 6 } else { 3 }..).zip(hosts.windows(2)) {
        wire(Network(net), &pair[0], &pair[1]);
        let ends = [format!("10.{net}.0.1"), format!("10.{net}.0.2")];
        fixed_port(&pair[0], net, &ends[0], &ends[1]);
        fixed_port(&pair[1], net, &ends[1], &ends[0]);
    }
    let ends = [1, 2].map(Container::detached);
    for (host, end) in [&hosts[0], &hosts[hosts.len() - 1]].into_iter().zip(&ends) {
        let port = End {
            netns: &host.netns,
            ifname: "port",
        };
        let eth0 = End {
            netns: &end.netns,
            ifname: "eth0",
        };
        raw::connect(port, eth0, MTU).unwrap();
        ip(host, "link set port master bridge0");
        raw::add_address(eth0, end.v4, 12).unwrap();
    }
    (hosts, ends)
}

/// Two hosts with routers, one wire between them.
fn direct(lab: &Lab) -> ([Host; 2], [Router; 2], [Container; 2]) {
    let hosts = ["d1", "d2"].map(|name| lab.host(name));
    wire(Network(4), &hosts[0], &hosts[1]);
    let routers = [
        hosts[0].launch(&TRUST),
        hosts[1].launch(&[&TRUST[..], &["10.4.0.1"]].concat()),
    ];
    hosts.iter().for_each(|host| host.wait_for_peers(2));
    let ends = [hosts[0].container(1), hosts[1].container(2)];
    ends[0].wait_for(&ends[1]);
    wait_for_overlay(&hosts[0], "d2", "fast", SOON);
    wait_for_overlay(&hosts[1], "d1", "fast", SOON);
    (hosts, routers, ends)
}

#[test]
#[ignore = "measures for minutes; bench/fastpath runs it"]
fn figures() {
    let Some(lab) = Lab::alone("fast-figures") else {
        return;
    };
    let bare = bare();
    let (_hosts, far) = fixed(&lab, true);
    let (_hosts, fixed) = fixed(&lab, false);
    let (_hosts, routers, near) = direct(&lab);
    let line = Line::new(&lab);
    line.wait_for_fast(SOON);
    let cases = [
        ("raw veth", &bare[0], &bare[1]),
        ("static VXLAN", &fixed[0], &fixed[1]),
        ("static VXLAN, static relay", &far[0], &far[1]),
        ("fast, direct", &near[0], &near[1]),
        ("fast, one relay", &line.left, &line.right),
    ]
    .map(|(name, left, right)| Case {
        name,
        ends: [left, right],
    });
    let mut figures = cases.each_ref().map(|_| Figures::default());
    for _ in 0..ROUNDS {
        for (case, figures) in cases.iter().zip(&mut figures) {
            let [left, right] = case.ends;
            let all = || used(routers.iter().chain(&line.routers));
            super_frames(case, true);
            let (before, start) = (all(), Instant::now());
            figures.long.push(stream(left, right));
            let elapsed = start.elapsed().as_secs_f64();
            let shares = all()
                .into_iter()
                .zip(before)
                .map(|(now, before)| (now - before) / elapsed);
            figures.cpu.push(shares.fold(0.0, f64::max));
            super_frames(case, false);
            figures.short.push(stream(left, right));
            super_frames(case, true);
            let (median, p99) = round_trips(left, right);
            figures.median.push(median * 1e6);
            figures.p99.push(p99 * 1e6);
            let signal = |which| {
                let all = routers.iter().chain(&line.routers);
                all.for_each(|router| router.signal(which));
            };
            signal(Signal::STOP);
            figures.still.push(round_trips(left, right).1 * 1e6);
            signal(Signal::CONT);
        }
    }
    println!(
        "inner MTU {MTU}, medians of {ROUNDS} rounds that took turns, {LENGTH:?} per stream, {PINGS} round trips"
    );
    println!(
        "| what | Gbit/s | ÷ static | MTU-sized, Gbit/s | ÷ static | round trip µs | p99 µs | ÷ static | p99 µs, routers stopped | ÷ static | busiest router's CPU |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    let fixed = &figures[1];
    for (case, own) in cases.iter().zip(&figures) {
        let ratio = |of: fn(&Figures) -> &Vec<f64>| median(of(own)) / median(of(fixed));
        println!(
            "| {} | {:.2} | {:.2} | {:.2} | {:.2} | {:.1} | {:.1} | {:.2} | {:.1} | {:.2} | {:.2} % |",
            case.name,
            median(&own.long) / 1e9,
            ratio(|figures| &figures.long),
            median(&own.short) / 1e9,
            ratio(|figures| &figures.short),
            median(&own.median),
            median(&own.p99),
            ratio(|figures| &figures.p99),
            median(&own.still),
            ratio(|figures| &figures.still),
            median(&own.cpu) * 100.0
        );
    }
    let relay = |of: fn(&Figures) -> &Vec<f64>| median(of(&figures[4])) / median(of(&figures[3]));
    println!(
        "one relay ÷ direct: {:.2}; with MTU-sized frames {:.2}; p99 of a round trip ÷ static relay: {:.2}",
        relay(|figures| &figures.long),
        relay(|figures| &figures.short),
        median(&figures[4].p99) / median(&figures[2].p99)
    );
    starts(&lab);
    route_change(&near, &line.hosts[0]);
}

/// How soon after its link is up a first hop is fast.
fn starts(lab: &Lab) {
    let mut took = Vec::new();
    for round in 0..3 {
        let hosts = [0, 1].map(|at| lab.host(["q1", "q2", "q3", "q4", "q5", "q6"][round * 2 + at]));
        wire(Network(5), &hosts[0], &hosts[1]);
        let _first = hosts[0].launch(&TRUST);
        let _second = hosts[1].launch(&[&TRUST[..], &["10.5.0.1"]].concat());
        hosts[1].wait_for_peers(2);
        wait_for_overlay(&hosts[1], &hosts[0].name, "fast", SOON);
        std::thread::sleep(Duration::from_millis(200));
        let log = hosts[1].log();
        let at = |words: &str| -> f64 {
            let line = log.lines().find(|line| line.contains(words)).unwrap();
            let time = line.split_whitespace().next().unwrap().trim_end_matches('Z');
            let clock = time.rsplit('T').next().unwrap();
            clock
                .split(':')
                .fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().unwrap())
        };
        took.push((at("take the fast path") - at("link up")) * 1e3);
    }
    println!(
        "first hop fast after its link is up: {:.0} ms (median of {})",
        median(&took),
        took.len()
    );
}

/// One router's decisions and tables. The tables are of their own: what is measured is the writing, and that traffic
/// beside does not notice.
struct Desk {
    overlay: Overlay,
    tables: Tables,
    now: Time,
}

impl Desk {
    /// Every probe comes back at once.
    fn feed(&mut self, input: Input) {
        let mut waiting = vec![input];
        while let Some(input) = waiting.pop() {
            self.overlay.handle_input(self.now, input);
            for output in self.overlay.take_outputs() {
                match output {
                    Output::Hop { label, hop } => self.tables.set_hop(label, hop, CHANGE).unwrap(),
                    Output::Sender { address, label } => self.tables.set_sender(address, label).unwrap(),
                    Output::Probe { to: from, number, .. } => waiting.push(Input::Answer { from, number }),
                    Output::Moved { .. }
                    | Output::Group { .. }
                    | Output::Tree { .. }
                    | Output::ProbeTree { .. } => {}
                }
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now = self.now + Duration::from_millis(5);
            self.feed(Input::Tick);
        }
    }

    fn route(&mut self, n: u32, via: u32) {
        let (peer, first) = (id(n), id(via));
        let path = Some(if n == via { vec![peer] } else { vec![first, peer] });
        self.feed(Input::Route { peer, path });
    }

    fn behind(&self, via: u32) -> usize {
        let hops = self.tables.hops();
        let carries = hops
            .values()
            .filter(|hop| hop.carries && hop.address == address(via));
        carries.count()
    }
}

fn id(n: u32) -> PeerId {
    let mut id = [0; 32];
    id[..4].copy_from_slice(&n.to_be_bytes());
    PeerId(id)
}

fn address(n: u32) -> IpAddr {
    IpAddr::from([192, 0, 2, n as u8])
}

/// A thousand routers, ten thousand addresses, and a first hop that all of them change: writes, and frames that another
/// pair loses meanwhile.
fn route_change(pair: &[Container; 2], host: &Host) {
    const ROUTERS: u32 = 1000;
    let (_switch, tables) = host.netns.run(|| Switch::load("none")).unwrap().unwrap();
    let (port, mtu, first, grace) = (6784, MTU, 1, GRACE);
    let now = Time(0);
    let overlay = Overlay::new(
        Config {
            port,
            mtu,
            grace,
            hops: MAX_HOPS,
            first,
        },
        now,
        Default::default(),
        Default::default(),
    );
    let mut desk = Desk { overlay, tables, now };
    for n in 1..=2 + ROUTERS {
        let (peer, addresses, label) = (id(n), Vec::new(), PeerLabel(n as u16));
        desk.feed(Input::Peer {
            peer,
            port,
            addresses,
        });
        desk.feed(Input::Label { peer, label });
        desk.route(n, if n == 2 { 2 } else { 1 });
    }
    for n in 1..=2 {
        let (address, cover) = (address(n), Cover::Plain);
        let path = Some(Direct { address, cover });
        desk.feed(Input::Direct { peer: id(n), path });
    }
    for n in 0..10 * ROUTERS {
        let [_, b, c, d] = n.to_be_bytes();
        let label = PeerLabel((3 + n % ROUTERS) as u16);
        desk.tables
            .set_mac(Vni::DEFAULT, Mac([2, 0, 0, b, c, d]), label)
            .unwrap();
    }
    desk.pass(Duration::from_secs(10));
    assert_eq!((desk.behind(1), desk.behind(2)), (1 + ROUTERS as usize, 1));
    let pings = Pings::start(&pair[0], pair[1].v4, Duration::from_millis(5));
    std::thread::sleep(Duration::from_millis(300));
    let (before, start) = (desk.tables.writes(), Instant::now());
    (3..=2 + ROUTERS).for_each(|n| desk.route(n, 2));
    desk.pass(Duration::from_secs(10));
    let (writes, took) = (desk.tables.writes() - before, start.elapsed());
    assert_eq!((desk.behind(1), desk.behind(2)), (1, 1 + ROUTERS as usize));
    let count = pings.stop();
    println!(
        "route change of {ROUTERS} routers with {} addresses: {writes} writes, {took:.1?} for ten seconds of decisions; \
         another pair lost {} of {} pings meanwhile",
        10 * ROUTERS,
        count.lost,
        count.sent
    );
    assert_eq!((writes, count.lost), (u64::from(ROUTERS), 0));
}
