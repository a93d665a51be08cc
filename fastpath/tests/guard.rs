//! What a container may not do: each try is dropped before the bridge, and counted under its reason.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use common::frames::{arp, ethernet, ipv6, udp4};
use common::{BRIDGE_MAC, Host, ip, raw, reaches, skipped, udp};
use fastpath::plan::Obstacle;
use fastpath::wire::{self, End, PacketSocket};
use fastpath::{Limit, NetNs};
use mesh::{DropReason, Mac};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use std::sync::mpsc::{TryRecvError, channel};
use std::time::{Duration, Instant};

const OWN: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
const OWN6: Ipv6Addr = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 1);
const OTHER6: Ipv6Addr = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 2);
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// A frame that passes takes microseconds.
const BRIEF: Duration = Duration::from_millis(50);
const STRANGER: Mac = Mac([2, 0x66, 6, 6, 6, 6]);

/// A host with two containers; frames are sent by hand from the first.
struct Bench {
    host: Host,
    left: NetNs,
    right: NetNs,
    out: PacketSocket,
    mac: Mac,
    right_mac: Mac,
}

impl Bench {
    fn new(guard: bool) -> Self {
        let mut host = if guard { Host::new() } else { Host::without_guard() };
        let (left, right) = (
            NetNs::create_anonymous().unwrap(),
            NetNs::create_anonymous().unwrap(),
        );
        let mac = host.attach(&left, "eth0", &["10.1.0.1/16", "fd00:1::1/64"]).mac;
        let right_mac = host.attach(&right, "eth0", &["10.1.0.2/16", "fd00:1::2/64"]).mac;
        let out = raw(&left, "eth0");
        Self {
            host,
            left,
            right,
            out,
            mac,
            right_mac,
        }
    }

    fn link_local(&self) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.mac.0.map(u16::from);
        Ipv6Addr::new(
            0xfe80,
            0,
            0,
            0,
            (a ^ 2) << 8 | b,
            c << 8 | 0xff,
            0xfe << 8 | d,
            e << 8 | f,
        )
    }

    /// True when the frame arrives in the other container in time.
    fn arrives(&self, frame: &[u8], patience: Duration) -> bool {
        let listener = raw(&self.right, "eth0");
        listener.set_timeout(patience).unwrap();
        self.out.send(frame).unwrap();
        let mut buffer = [0; 2048];
        while let Ok(length) = listener.receive(&mut buffer) {
            if &buffer[..length] == frame {
                return true;
            }
        }
        false
    }

    /// Sends this many frames of a thousand bytes in one go; how many arrive, and how long it took.
    fn burst(&self, count: usize) -> (usize, Duration) {
        let frame = self.v4(&udp4((OWN, 5), (OTHER, 6), &[7; 1000 - 42]));
        assert_eq!(frame.len(), 1000);
        let listener = raw(&self.right, "eth0");
        listener.set_timeout(BRIEF).unwrap();
        let start = Instant::now();
        (0..count).for_each(|_| self.out.send(&frame).unwrap());
        let took = start.elapsed();
        let (mut buffer, mut came) = ([0; 2048], 0);
        while let Ok(length) = listener.receive(&mut buffer) {
            came += usize::from(buffer[..length] == frame[..]);
        }
        (came, took)
    }

    /// A frame passes before long: the container's kernel sends something of its own now and then.
    fn pays_off(&self) {
        assert!((0..20).any(|_| self.burst(1).0 == 1), "none passes");
    }

    /// Gives the first container a limit of bytes in a second, and of bytes at once.
    fn limit(&mut self, rate: u64, burst: u64) {
        self.host.desired.attachments[0].limits.sends = Some(Limit { rate, burst });
        self.host.converge();
    }

    fn passes(&self, what: &str, frame: &[u8]) {
        assert!(self.arrives(frame, Duration::from_secs(2)), "{what} was dropped");
    }

    fn drops(&mut self, what: &str, reason: DropReason, frame: &[u8]) {
        let before = self.host.counter(reason);
        assert!(!self.arrives(frame, BRIEF), "{what} got through");
        assert_eq!(self.host.counter(reason), before + 1, "{what} was not counted");
    }

    fn v4(&self, packet: &[u8]) -> Vec<u8> {
        ethernet(self.right_mac, self.mac, 0x0800, packet)
    }

    fn v6(&self, packet: &[u8]) -> Vec<u8> {
        ethernet(self.right_mac, self.mac, 0x86dd, packet)
    }
}

#[test]
fn what_a_container_ought_to_send_passes() {
    if skipped() {
        return;
    }
    let bench = Bench::new(true);
    assert!(reaches(
        (&bench.left, ip("10.1.0.1")),
        (&bench.right, ip("10.1.0.2"))
    ));
    assert!(reaches(
        (&bench.left, ip("fd00:1::1")),
        (&bench.right, ip("fd00:1::2"))
    ));
    let none = Ipv4Addr::UNSPECIFIED;
    bench.passes("ARP request", &arp(bench.mac, (bench.mac, OWN), OTHER, 1));
    bench.passes("ARP probe", &arp(bench.mac, (bench.mac, none), OTHER, 1));
    bench.passes("UDP", &bench.v4(&udp4((OWN, 5), (OTHER, 6), b"data")));
    let ask = udp4((none, 68), (Ipv4Addr::BROADCAST, 67), b"discover");
    bench.passes("DHCP client", &ethernet(Mac::BROADCAST, bench.mac, 0x0800, &ask));
    let echo = [128, 0, 0, 0, 0, 0, 0, 0];
    bench.passes("ICMPv6 echo", &bench.v6(&ipv6(OWN6, OTHER6, &[], 58, &echo)));
    bench.passes(
        "link-local",
        &bench.v6(&ipv6(bench.link_local(), OTHER6, &[0, 60], 58, &echo)),
    );
    let mut probe = vec![135, 0, 0, 0, 0, 0, 0, 0];
    probe.extend(OWN6.octets());
    bench.passes(
        "duplicate-address probe",
        &bench.v6(&ipv6(Ipv6Addr::UNSPECIFIED, ALL_NODES, &[], 58, &probe)),
    );
    let mut advertisement = vec![136, 0, 0, 0, 0x20, 0, 0, 0];
    advertisement.extend(OWN6.octets());
    bench.passes(
        "own advertisement",
        &bench.v6(&ipv6(OWN6, OTHER6, &[], 58, &advertisement)),
    );
    bench.passes("LLDP", &ethernet(bench.right_mac, bench.mac, 0x88cc, &[0; 50]));
}

#[test]
fn foreign_addresses_are_dropped_and_counted() {
    if skipped() {
        return;
    }
    let mut bench = Bench::new(true);
    let (mac, right_mac) = (bench.mac, bench.right_mac);
    let own = udp4((OWN, 5), (OTHER, 6), b"data");
    bench.drops(
        "foreign MAC",
        DropReason::SpoofedMac,
        &ethernet(right_mac, STRANGER, 0x0800, &own),
    );
    bench.drops(
        "foreign MAC in ARP",
        DropReason::SpoofedMac,
        &arp(mac, (STRANGER, OWN), OTHER, 2),
    );
    let spoofed = DropReason::SpoofedAddress;
    bench.drops("foreign IP in ARP", spoofed, &arp(mac, (mac, OTHER), OWN, 2));
    bench.drops(
        "nameless ARP reply",
        spoofed,
        &arp(mac, (mac, Ipv4Addr::UNSPECIFIED), OWN, 2),
    );
    bench.drops(
        "short ARP",
        spoofed,
        &ethernet(right_mac, mac, 0x0806, &[0, 1, 8, 0, 6, 4, 0, 1]),
    );
    let foreign = udp4((Ipv4Addr::new(10, 1, 0, 9), 5), (OTHER, 6), b"data");
    bench.drops("foreign IPv4", spoofed, &bench.v4(&foreign));
    let nameless = udp4((Ipv4Addr::UNSPECIFIED, 5), (OTHER, 6), b"data");
    bench.drops("nameless IPv4", spoofed, &bench.v4(&nameless));
    bench.drops("IPv4 that is not", spoofed, &bench.v4(&[0x65; 30]));
    let nine = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 9);
    bench.drops(
        "foreign IPv6",
        spoofed,
        &bench.v6(&ipv6(nine, OTHER6, &[], 59, &[])),
    );
    let other_link_local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9);
    bench.drops(
        "foreign link-local",
        spoofed,
        &bench.v6(&ipv6(other_link_local, OTHER6, &[], 59, &[])),
    );
    let udp = [0, 5, 0, 6, 0, 8, 0, 0];
    bench.drops(
        "nameless IPv6",
        spoofed,
        &bench.v6(&ipv6(Ipv6Addr::UNSPECIFIED, OTHER6, &[], 17, &udp)),
    );
    for (kind, source) in [(136, OWN6), (135, Ipv6Addr::UNSPECIFIED)] {
        let mut claim = vec![kind, 0, 0, 0, 0, 0, 0, 0];
        claim.extend(OTHER6.octets());
        for chain in [&[][..], &[60, 0]] {
            let frame = bench.v6(&ipv6(source, ALL_NODES, chain, 58, &claim));
            bench.drops("claim to another's address", spoofed, &frame);
        }
    }
    // Tags hide nothing: one within another, as only hand-made frames have them.
    let tagged = [&[0, 5, 0x81, 0][..], &[0, 6, 8, 0], &foreign].concat();
    bench.drops(
        "foreign IPv4 in VLANs",
        spoofed,
        &ethernet(right_mac, mac, 0x8100, &tagged),
    );
}

/// A frame whose checksum is left to the kernel: made from byte `start` on, written `offset` bytes further.
fn unfinished(start: u16, offset: u16, frame: &[u8]) -> Vec<u8> {
    let mut bytes = vec![1, 0, 0, 0, 0, 0];
    bytes.extend(start.to_ne_bytes());
    bytes.extend(offset.to_ne_bytes());
    bytes.extend(frame);
    bytes
}

#[test]
fn a_checksum_that_would_be_written_over_an_address_is_dropped_and_counted() {
    if skipped() {
        return;
    }
    let mut bench = Bench::new(true);
    let out = raw(&bench.left, "eth0");
    out.leave_work().unwrap();
    let v4 = bench.v4(&udp4((OWN, 5), (OTHER, 6), b"left to the kernel"));
    let v6 = bench.v6(&ipv6(
        OWN6,
        OTHER6,
        &[],
        17,
        &[0, 5, 0, 6, 0, 12, 0, 0, 1, 2, 3, 4],
    ));
    let question = arp(bench.mac, (bench.mac, OWN), OTHER, 1);
    let icmp6 = bench.v6(&ipv6(OWN6, OTHER6, &[], 58, &[128, 0, 0, 0, 0, 0, 0, 0]));
    // Ethernet, then where each address and the ports are.
    let tries: [(&str, u16, u16, &[u8]); 9] = [
        ("destination's MAC", 0, 0, &v4),
        ("own MAC", 0, 8, &v4),
        ("type", 12, 0, &v4),
        ("IPv4 source", 26, 0, &v4),
        ("the end of IPv4's source, from the UDP header", 14, 14, &v4),
        ("UDP's ports", 34, 0, &v4),
        ("IPv6 source", 22, 4, &v6),
        ("ARP's sender", 28, 0, &question),
        ("ICMPv6's type", 54, 0, &icmp6),
    ];
    let mut dropped = 0;
    let listener = raw(&bench.right, "eth0");
    // Each frame is told then with what is still open of it.
    listener.leave_work().unwrap();
    listener.set_timeout(BRIEF).unwrap();
    for (what, start, offset, frame) in tries {
        let before = bench.host.counter(DropReason::SpoofedAddress);
        match out.send(&unfinished(start, offset, frame)) {
            // Newer kernels take no checksum before the network header.
            Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => {
                println!("{what}: the kernel itself refuses it");
                continue;
            }
            sent => sent.unwrap(),
        }
        let (mut arrived, mut count) = (None, 0);
        let (mut buffer, sent) = ([0; 2048], Instant::now());
        while arrived.is_none() && count == 0 && sent.elapsed() < Duration::from_secs(2) {
            // Not what the container's kernel says of itself meanwhile, such as which groups it listens to.
            if let Ok(length) = listener.receive(&mut buffer)
                && length == 10 + frame.len()
                && buffer[16..24] == frame[6..14]
            {
                arrived = Some(buffer[..length].to_vec());
            }
            count = bench.host.counter(DropReason::SpoofedAddress) - before;
        }
        if let Some(arrived) = arrived {
            // Older kernels forget a checksum that starts before the network header, at the other end of the pair.
            println!("{what}: passes, as the kernel will not write it");
            assert!(
                start < 14 && arrived[0] == 0 && &arrived[10..] == frame,
                "{what}: {arrived:?}"
            );
        } else {
            assert_eq!(count, 1, "{what}");
            dropped += 1;
        }
    }
    assert!(dropped >= 4, "{dropped}");
    // Where it belongs it may be left, and nowhere it need be.
    let eth0 = raw(&bench.right, "eth0");
    for (what, whole) in [
        ("IPv4", unfinished(34, 6, &v4)),
        ("IPv6", unfinished(54, 6, &v6)),
        ("made", [&[0; 10], &v4[..]].concat()),
    ] {
        out.send(&whole).unwrap();
        let (mut buffer, mut came) = ([0; 2048], false);
        while let Ok(length) = eth0.receive(&mut buffer) {
            // All but the checksum is as it was sent.
            came |= buffer.get(..38) == whole.get(10..48) && length == whole.len() - 10;
        }
        assert!(came, "{what}");
    }
}

/// The kernel of a container leaves checksums and segments to whoever comes next, too.
#[test]
fn what_a_kernel_leaves_open_passes() {
    if skipped() {
        return;
    }
    let mut bench = Bench::new(true);
    for (from, to) in [("10.1.0.1", "10.1.0.2"), ("fd00:1::1", "fd00:1::2")] {
        let before = bench.host.counter(DropReason::SpoofedAddress);
        let listener = bench
            .right
            .run(|| TcpListener::bind((ip(to), 0)))
            .unwrap()
            .unwrap();
        let address = listener.local_addr().unwrap();
        let sent: Vec<u8> = (0..1_000_000u32).map(|each| (each % 251) as u8).collect();
        let expected = sent.clone();
        let left = bench
            .left
            .run(|| TcpStream::connect_timeout(&address, Duration::from_secs(2)));
        let mut stream = left.unwrap().unwrap();
        let writer = std::thread::spawn(move || stream.write_all(&sent));
        let (mut stream, source) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap();
        writer.join().unwrap().unwrap();
        assert!(received == expected, "{} bytes", received.len());
        assert_eq!(source.ip(), ip(from));
        assert!(reaches((&bench.left, ip(from)), (&bench.right, ip(to))));
        assert_eq!(bench.host.counter(DropReason::SpoofedAddress), before);
    }
}

#[test]
fn servers_and_routers_are_dropped_and_counted() {
    if skipped() {
        return;
    }
    let mut bench = Bench::new(true);
    let answer = udp4((OWN, 67), (OTHER, 68), b"offer");
    bench.drops("DHCP answer", DropReason::DhcpServer, &bench.v4(&answer));
    let answer6 = [2, 35, 2, 34, 0, 8, 0, 0];
    for chain in [&[][..], &[0], &[60, 44]] {
        let frame = bench.v6(&ipv6(OWN6, OTHER6, chain, 17, &answer6));
        bench.drops("DHCPv6 answer", DropReason::DhcpServer, &frame);
    }
    let reason = DropReason::RouterAdvertisement;
    for kind in [134, 137] {
        for chain in [
            &[][..],
            &[0],
            &[60],
            &[0, 60, 60, 60, 43],
            &[44],
            &[60, 44, 60],
            &[60; 7],
        ] {
            let packet = ipv6(bench.link_local(), ALL_NODES, chain, 58, &[kind; 16]);
            let frame = ethernet(Mac([0x33, 0x33, 0, 0, 0, 1]), bench.mac, 0x86dd, &packet);
            bench.drops(&format!("type {kind} behind {chain:?}"), reason, &frame);
        }
    }
    let endless = bench.v6(&ipv6(OWN6, ALL_NODES, &[60; 12], 58, &[134; 16]));
    bench.drops("a chain without end", reason, &endless);
    let mut cut = ipv6(OWN6, ALL_NODES, &[60], 58, &[]);
    cut[41] = 200;
    bench.drops("a chain cut short", DropReason::SpoofedAddress, &bench.v6(&cut));
}

#[test]
fn nothing_of_the_host_answers() {
    if skipped() {
        return;
    }
    let mut bench = Bench::new(true);
    let host_end = End {
        netns: &bench.host.netns,
        ifname: "up0",
    };
    let far = NetNs::create_anonymous().unwrap();
    wire::connect(
        host_end,
        End {
            netns: &far,
            ifname: "up0",
        },
        1500,
    )
    .unwrap();
    wire::add_address(host_end, ip("192.0.2.1"), 24).unwrap();
    let service = udp(&bench.host.netns, (ip("0.0.0.0"), 67).into());
    let service6 = udp(&bench.host.netns, (ip("::"), 547).into());
    service.set_nonblocking(true).unwrap();
    service6.set_nonblocking(true).unwrap();

    let before = bench.host.counter(DropReason::HostBound);
    let to_host = udp4((OWN, 5), (Ipv4Addr::new(192, 0, 2, 1), 67), b"hello");
    bench
        .out
        .send(&ethernet(BRIDGE_MAC, bench.mac, 0x0800, &to_host))
        .unwrap();
    let discover = udp4((Ipv4Addr::UNSPECIFIED, 68), (Ipv4Addr::BROADCAST, 67), b"hello");
    bench
        .out
        .send(&ethernet(Mac::BROADCAST, bench.mac, 0x0800, &discover))
        .unwrap();
    let all_servers = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
    let solicit = ipv6(
        bench.link_local(),
        all_servers,
        &[],
        17,
        &[2, 34, 2, 35, 0, 8, 0, 0],
    );
    bench
        .out
        .send(&ethernet(
            Mac([0x33, 0x33, 0, 0, 0, 2]),
            bench.mac,
            0x86dd,
            &solicit,
        ))
        .unwrap();
    bench
        .out
        .send(&arp(bench.mac, (bench.mac, OWN), Ipv4Addr::new(192, 0, 2, 1), 1))
        .unwrap();

    let mut buffer = [0; 256];
    while let Ok(length) = bench.out.receive(&mut buffer) {
        assert_ne!(
            buffer[6..12],
            BRIDGE_MAC.0,
            "the host answered: {:?}",
            &buffer[..length]
        );
    }
    assert!(service.recv_from(&mut buffer).is_err() && service6.recv_from(&mut buffer).is_err());
    assert_eq!(bench.host.counter(DropReason::HostBound), before + 1);
}

#[test]
fn without_the_guard_a_locked_port_still_holds_the_mac() {
    if skipped() {
        return;
    }
    let mut bench = Bench::new(false);
    let own = udp4((OWN, 5), (OTHER, 6), b"data");
    bench.passes("own MAC", &bench.v4(&own));
    assert!(!bench.arrives(&ethernet(bench.right_mac, STRANGER, 0x0800, &own), BRIEF));
    assert!(bench.host.kernel_counters().is_empty());
}

#[test]
fn a_router_that_dies_leaves_its_ports_guarded_and_one_that_starts_never_opens_them() {
    if skipped() {
        return;
    }
    let mut bench = Bench::new(true);
    let foreign = bench.v4(&udp4((Ipv4Addr::new(10, 1, 0, 9), 5), (OTHER, 6), b"data"));
    bench.host.kernel = fastpath::Linux::in_netns(bench.host.netns.clone());
    bench.host.converge();
    assert!(
        !bench.arrives(&foreign, BRIEF),
        "unguarded once the router is dead"
    );
    // A flood of forbidden frames goes on while the new router takes over: not one may arrive.
    let listener = raw(&bench.right, "eth0");
    std::thread::scope(|scope| {
        let (stop, stopped) = channel::<()>();
        let (out, foreign) = (&bench.out, &foreign);
        scope.spawn(move || {
            while stopped.try_recv() == Err(TryRecvError::Empty) {
                out.send(foreign).unwrap();
            }
        });
        bench.host.kernel.load_guard().unwrap();
        bench.host.converge();
        let deadline = Instant::now() + Duration::from_secs(5);
        while bench.host.counter(DropReason::SpoofedAddress) == 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        stop.send(()).unwrap();
    });
    let mut buffer = [0; 2048];
    while let Ok(length) = listener.receive(&mut buffer) {
        assert_ne!(buffer[..length], foreign[..]);
    }
    assert!(bench.host.counter(DropReason::SpoofedAddress) > 0);
}

#[test]
fn what_is_beyond_a_port_s_limit_is_dropped_and_counted() {
    if skipped() {
        return;
    }
    let mut bench = Bench::new(true);
    let over = DropReason::OverLimit;
    bench.limit(100_000, 10_000);
    for _ in 0..2 {
        let before = bench.host.counter(over);
        let (came, took) = bench.burst(100);
        // Ten, one that leaves a debt, and what comes in meanwhile.
        let most = 11 + took.as_millis() as usize / 10 + 1;
        assert!((10..=most).contains(&came), "{came} of 100 in {took:?}");
        // Not only what was sent here: the container's kernel says something of itself now and then.
        let dropped = bench.host.counter(over) - before;
        assert!(dropped as usize >= 100 - came, "{dropped} and {came}");
        std::thread::sleep(Duration::from_millis(300));
    }
    // A burst that is less than a frame: each passes once the one before is paid for.
    bench.limit(100_000, 1);
    let (came, took) = bench.burst(10);
    assert!(
        (1..=2 + took.as_millis() as usize / 10).contains(&came),
        "{came} in {took:?}"
    );
    bench.pays_off();
    // What does not pass the guard for another reason costs nothing.
    bench.limit(1000, 5000);
    let foreign = bench.v4(&udp4((Ipv4Addr::new(10, 1, 0, 9), 5), (OTHER, 6), &[7; 900]));
    (0..50).for_each(|_| bench.out.send(&foreign).unwrap());
    assert!(bench.burst(10).0 >= 5);
    // The other container has no limit, and neither has this one when it is taken back.
    bench.host.desired.attachments[0].limits.sends = None;
    bench.host.converge();
    assert_eq!(bench.burst(50).0, 50);
}

#[test]
fn a_bucket_is_as_empty_after_a_restart_as_before() {
    if skipped() {
        return;
    }
    let mut bench = Bench::new(true);
    bench.limit(1000, 20_000);
    let few = |(came, took): (usize, Duration), what: &str| {
        assert!(
            came as u128 <= 2 + took.as_millis() / 1000,
            "{what}: {came} in {took:?}"
        );
    };
    let (came, _) = bench.burst(40);
    assert!((20..24).contains(&came), "{came}");
    few(bench.burst(20), "at once");
    // Something else of the port changes.
    let attachment = &mut bench.host.desired.attachments[0];
    attachment.addresses.push((ip("10.1.0.77"), 16));
    bench.host.converge();
    few(bench.burst(20), "after another address");
    // Without a router, and with the next.
    bench.host.kernel = fastpath::Linux::in_netns(bench.host.netns.clone());
    few(bench.burst(20), "while no router runs");
    bench.host.kernel.load_guard().unwrap();
    bench.host.converge();
    few(bench.burst(20), "after a restart");
    // Another limit begins with a full one.
    bench.limit(1000, 21_000);
    let (came, _) = bench.burst(40);
    assert!((21..25).contains(&came), "{came}");
}

#[test]
fn without_the_guard_there_is_no_limit_and_that_is_told() {
    if skipped() {
        return;
    }
    let mut bench = Bench::new(false);
    let limited = &mut bench.host.desired.attachments[0];
    limited.limits.sends = Some(Limit { rate: 1, burst: 1 });
    let host = limited.host_ifname.clone();
    let report = bench.host.try_converge();
    assert_eq!(report.obstacles, [Obstacle::NoLimit { host }]);
    assert_eq!(bench.burst(10).0, 10);
}

/// A super-frame by hand: the kernel makes a segment of each `size` bytes.
fn super_frame(bench: &Bench, size: u16, payload: usize) -> Vec<u8> {
    let mut packet = udp4((OWN, 5), (OTHER, 6), &[]);
    packet.truncate(20);
    let length = (40 + payload) as u16;
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    packet[9] = 6;
    // From port 5 to port 6; a header of 20 bytes, ACK, and a window.
    packet.extend([
        0, 5, 0, 6, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0,
    ]);
    packet.extend(vec![7; payload]);
    let mut frame = vec![1, 1];
    for field in [54, size, 34, 16] {
        frame.extend(field.to_ne_bytes());
    }
    frame.extend(bench.v4(&packet));
    frame
}

#[test]
fn a_super_frame_costs_as_much_as_its_segments() {
    if skipped() {
        return;
    }
    let mut bench = Bench::new(true);
    bench.limit(20_000, 1);
    let out = raw(&bench.left, "eth0");
    out.leave_work().unwrap();
    // Ten thousand bytes of data would take half a second at that rate, with the headers of a thousand segments four.
    let frame = super_frame(&bench, 10, 10_000);
    let over = bench.host.counter(DropReason::OverLimit);
    out.send(&frame).unwrap();
    let start = Instant::now();
    std::thread::sleep(Duration::from_secs(1));
    let (came, _) = bench.burst(1);
    if start.elapsed() < Duration::from_secs(3) {
        assert_eq!(came, 0);
        assert!(bench.host.counter(DropReason::OverLimit) > over);
    }
    std::thread::sleep(Duration::from_secs(4).saturating_sub(start.elapsed()));
    bench.pays_off();
}
