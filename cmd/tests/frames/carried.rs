//! Every kind of frame, across three hosts, exactly once.

use crate::common::traffic::{noise, ping, tcp};
use crate::common::{Container, Host, Lab, Network, Router, Switch};
use socket2::SockRef;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

const PORT: u16 = 5000;
/// How long a second copy of a datagram may hide.
const QUIET: Duration = Duration::from_millis(400);

/// Three hosts, a container on each, and a second one on the first.
struct Island {
    containers: Vec<Container>,
    _routers: Vec<Router>,
    hosts: Vec<Host>,
    _switch: Switch,
}

impl Island {
    fn new(lab: &Lab) -> Self {
        Self::of(lab, 3, &[(0, 1), (1, 2), (2, 3), (0, 4)])
    }

    /// So many hosts, and containers: the host of each and its number.
    fn of(lab: &Lab, count: u8, places: &[(usize, u8)]) -> Self {
        let (switch, hosts) = lab.hosts_on_a_switch(count);
        let routers: Vec<_> = hosts
            .iter()
            .map(|host| host.launch(if host.name == "h1" { &[] } else { &["10.9.0.1"] }))
            .collect();
        hosts.iter().for_each(|host| host.wait_for_peers(count.into()));
        let containers: Vec<_> = places
            .iter()
            .map(|(host, number)| hosts[*host].container(*number))
            .collect();
        // The senders of these tests: the first two.
        for from in &containers[..2] {
            containers.iter().for_each(|other| from.wait_for(other));
        }
        Self {
            containers,
            _routers: routers,
            hosts,
            _switch: switch,
        }
    }

    /// The second container sends three datagrams; each of the others must get each of them once.
    fn each_gets_each_once(&self, receivers: &[UdpSocket], sender: &UdpSocket, to: SocketAddr) {
        let sent: Vec<_> = (0..3)
            .map(|number| format!("datagram {number} to {to}"))
            .collect();
        for datagram in &sent {
            sender.send_to(datagram.as_bytes(), to).unwrap();
        }
        for (number, receiver) in receivers.iter().enumerate() {
            let found = drain(receiver, sent.len());
            assert_eq!(found, sent, "receiver {number}, to {to}; {}", self.drops());
        }
    }

    /// What routers dropped, for who has to find out why.
    fn drops(&self) -> String {
        let of = |host: &Host| format!("{}: {}", host.name, host.status()["drops"]);
        self.hosts.iter().map(of).collect::<Vec<_>>().join(", ")
    }
}

/// Everything a socket receives: `expected` datagrams, and what comes in a quiet moment after.
fn drain(socket: &UdpSocket, expected: usize) -> Vec<String> {
    let (mut found, mut buffer) = (Vec::new(), [0; 2048]);
    let mut until = Instant::now() + Duration::from_secs(2);
    while let Some(left) = until
        .checked_duration_since(Instant::now())
        .filter(|left| !left.is_zero())
    {
        socket.set_read_timeout(Some(left)).unwrap();
        let Ok(length) = socket.recv(&mut buffer) else {
            break;
        };
        found.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        if found.len() >= expected {
            until = Instant::now() + QUIET;
        }
    }
    found
}

fn index_of_eth0(container: &Container) -> u32 {
    let line = container.run("ip", &["-o", "link", "show", "eth0"]).ok();
    line.split(':').next().unwrap().trim().parse().unwrap()
}

#[test]
fn ping_arp_and_neighbour_discovery_work_across_hosts() {
    let Some(lab) = Lab::new("ping") else { return };
    let island = Island::new(&lab);
    let (from, to) = (&island.containers[1], &island.containers[2]);
    from.wait_for(to);
    for address in [to.v4, to.v6] {
        let count = ping(from, address, 100, Duration::from_millis(5));
        assert_eq!(count.lost, 0, "{address}: {count:?}");
        let neighbours = from.run("ip", &["neigh", "show", &address.to_string()]).ok();
        let mac = island.hosts[2].row("attachments", "netns", &to.path()).unwrap()["mac"].clone();
        assert!(neighbours.contains(mac.as_str().unwrap()), "{neighbours}");
    }
}

#[test]
fn a_broadcast_reaches_every_container_exactly_once() {
    let Some(lab) = Lab::new("broadcast") else { return };
    let island = Island::new(&lab);
    let others = [
        &island.containers[0],
        &island.containers[2],
        &island.containers[3],
    ];
    let receivers = others.map(|other| other.udp(Ipv4Addr::UNSPECIFIED.into(), PORT));
    let sender = island.containers[1].udp(island.containers[1].v4, 0);
    sender.set_broadcast(true).unwrap();
    for to in ["10.47.255.255", "255.255.255.255"] {
        island.each_gets_each_once(&receivers, &sender, SocketAddr::new(to.parse().unwrap(), PORT));
    }
}

/// Beyond five routers broadcast takes the source's tree, once the others hold its key; before that, copies.
#[test]
fn a_broadcast_among_seven_hosts_reaches_each_exactly_once_while_and_after_keys_are_given() {
    let Some(lab) = Lab::new("broadcast-tree") else {
        return;
    };
    let places: Vec<_> = (0..7).map(|n| (n, n as u8 + 1)).collect();
    let island = Island::of(&lab, 7, &places);
    let others: Vec<_> = island
        .containers
        .iter()
        .enumerate()
        .filter(|(n, _)| *n != 1)
        .collect();
    let receivers: Vec<_> = others
        .iter()
        .map(|(_, other)| other.udp(Ipv4Addr::UNSPECIFIED.into(), PORT))
        .collect();
    let sender = island.containers[1].udp(island.containers[1].v4, 0);
    sender.set_broadcast(true).unwrap();
    for _ in 0..4 {
        island.each_gets_each_once(
            &receivers,
            &sender,
            SocketAddr::new([10, 47, 255, 255].into(), PORT),
        );
    }
}

#[test]
fn a_multicast_of_both_ip_versions_reaches_every_container_exactly_once() {
    let Some(lab) = Lab::new("multicast") else { return };
    let island = Island::new(&lab);
    let others = [
        &island.containers[0],
        &island.containers[2],
        &island.containers[3],
    ];
    let from = &island.containers[1];
    let v4 = |container: &Container| match container.v4 {
        std::net::IpAddr::V4(address) => address,
        std::net::IpAddr::V6(_) => unreachable!(),
    };

    let group = Ipv4Addr::new(239, 1, 2, 3);
    let receivers = others.map(|other| {
        let socket = other.udp(Ipv4Addr::UNSPECIFIED.into(), PORT);
        socket.join_multicast_v4(&group, &v4(other)).unwrap();
        socket
    });
    let sender = from.udp(from.v4, 0);
    SockRef::from(&sender).set_multicast_if_v4(&v4(from)).unwrap();
    island.each_gets_each_once(&receivers, &sender, (group, PORT).into());

    let group: Ipv6Addr = "ff15::1:2:3".parse().unwrap();
    let receivers = others.map(|other| {
        let socket = other.udp(Ipv6Addr::UNSPECIFIED.into(), PORT + 1);
        socket.join_multicast_v6(&group, index_of_eth0(other)).unwrap();
        socket
    });
    let sender = from.udp(from.v6, 0);
    SockRef::from(&sender)
        .set_multicast_if_v6(index_of_eth0(from))
        .unwrap();
    island.each_gets_each_once(&receivers, &sender, (group, PORT + 1).into());
}

#[test]
fn large_pings_and_tcp_pass() {
    let Some(lab) = Lab::new("large") else { return };
    let pair = lab.pair();
    let (from, to) = (&pair.left_container, &pair.right_container);
    for address in [to.v4, to.v6] {
        let out = from.run(
            "ping",
            &["-n", "-c5", "-i0.05", "-W2", "-s", "8972", &address.to_string()],
        );
        assert!(out.ok().contains(" 0% packet loss"), "{address}");
        tcp(from, to, address, &noise(5 << 20));
        tcp(
            to,
            from,
            if address.is_ipv4() { from.v4 } else { from.v6 },
            &noise(1 << 20),
        );
    }
}

#[test]
fn an_underlay_of_ipv6_alone_will_do() {
    let Some(lab) = Lab::new("only-v6") else { return };
    let switch = Switch::new();
    let hosts = [1, 2].map(|number| {
        let host = lab.host(&format!("h{number}"));
        switch.plug_bare(&host, Network(9));
        let ifname = Network(9).ifname();
        let at = fastpath::wire::End {
            netns: &host.netns,
            ifname: &ifname,
        };
        fastpath::wire::add_address(at, Network(9).v6(number), 64).unwrap();
        host
    });
    let _routers = [hosts[0].launch(&[]), hosts[1].launch(&["fd09::1"])];
    hosts.iter().for_each(|host| host.wait_for_peers(2));
    let (from, to) = (hosts[0].container(1), hosts[1].container(2));
    from.wait_for(&to);
    tcp(&from, &to, to.v4, &noise(1 << 20));
    assert_eq!(
        hosts[0].row("connections", "name", "h2").unwrap()["address"],
        "[fd09::2]:6783"
    );
}
