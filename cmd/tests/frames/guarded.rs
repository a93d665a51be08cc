//! What a container may not do: it is dropped and counted.

use crate::common::{Container, Host, Lab, Pair, until};
use crate::packets::{arp, ethernet, ipv6, udp4};
use fastpath::wire::{End, PacketSocket};
use mesh::Mac;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(3);
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const STRANGER: Mac = Mac([2, 0xba, 0xad, 0, 0, 1]);
/// In every frame that must not arrive.
const MARKER: &[u8] = b"must never arrive";

fn socket(container: &Container) -> PacketSocket {
    let at = End {
        netns: &container.netns,
        ifname: "eth0",
    };
    let socket = PacketSocket::of_interface(at).unwrap();
    socket.set_timeout(Duration::from_millis(500)).unwrap();
    socket
}

fn mac(host: &Host, container: &Container) -> Mac {
    let row = host.row("attachments", "netns", &container.path()).unwrap();
    let bytes: Vec<u8> = row["mac"]
        .as_str()
        .unwrap()
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect();
    Mac(bytes.try_into().unwrap())
}

fn v4(address: IpAddr) -> Ipv4Addr {
    match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => panic!("{address}"),
    }
}

fn v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V6(address) => address,
        IpAddr::V4(_) => panic!("{address}"),
    }
}

/// The left container sends `frame` five times: `reason` counts them, and the right one sees none.
fn refuses(pair: &Pair, reason: &str, frame: &[u8]) {
    let (sender, receiver) = (socket(&pair.left_container), socket(&pair.right_container));
    let before = pair.left.drops(reason);
    for _ in 0..5 {
        sender.send(frame).unwrap();
    }
    until(&format!("five are counted as {reason}"), SOON, || {
        (pair.left.drops(reason) >= before + 5).then_some(())
    });
    let mut buffer = [0; 2048];
    loop {
        match receiver.receive(&mut buffer) {
            Ok(length) => {
                let arrived = buffer[..length].windows(MARKER.len()).any(|part| part == MARKER);
                assert!(!arrived, "a frame that counts as {reason} arrived");
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn another_mac_or_address_dhcp_answers_and_router_advertisements_are_dropped_and_counted() {
    let Some(lab) = Lab::new("guard") else { return };
    let pair = lab.pair();
    let (left, right) = (&pair.left_container, &pair.right_container);
    let own = mac(&pair.left, left);
    let to = mac(&pair.right, right);
    let (own4, to4, own6) = (v4(left.v4), v4(right.v4), v6(left.v6));
    let udp = |from: Ipv4Addr, ports: (u16, u16)| udp4((from, ports.0), (to4, ports.1), MARKER);
    let fake4 = Ipv4Addr::new(10, 32, 9, 9);
    let fake6: Ipv6Addr = "fd32::99".parse().unwrap();

    refuses(
        &pair,
        "spoofed_mac",
        &ethernet(to, STRANGER, IPV4, &udp(own4, (1, 2))),
    );
    refuses(
        &pair,
        "spoofed_address",
        &ethernet(to, own, IPV4, &udp(fake4, (1, 2))),
    );
    refuses(
        &pair,
        "spoofed_address",
        &ethernet(to, own, IPV6, &ipv6(fake6, v6(right.v6), &[], 59, MARKER)),
    );
    refuses(&pair, "spoofed_address", &arp(own, (own, fake4), to4, 1));
    refuses(
        &pair,
        "dhcp_server",
        &ethernet(to, own, IPV4, &udp(own4, (67, 68))),
    );

    let link_local: Ipv6Addr = {
        let Mac([a, b, c, d, e, f]) = own;
        let pair = |high: u8, low: u8| u16::from(high) << 8 | u16::from(low);
        Ipv6Addr::new(
            0xfe80,
            0,
            0,
            0,
            pair(a ^ 2, b),
            pair(c, 0xff),
            pair(0xfe, d),
            pair(e, f),
        )
    };
    let all_nodes: Ipv6Addr = "ff02::1".parse().unwrap();
    let mut advertisement = vec![134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    advertisement.extend(MARKER);
    for from in [link_local, own6] {
        for chain in [&[][..], &[60, 60]] {
            let packet = ipv6(from, all_nodes, chain, 58, &advertisement);
            let frame = ethernet(Mac([0x33, 0x33, 0, 0, 0, 1]), own, IPV6, &packet);
            refuses(&pair, "router_advertisement", &frame);
        }
    }
    // Its own traffic is as good as before.
    left.wait_for(right);
}

#[test]
fn nothing_of_the_host_or_its_router_answers_to_a_container() {
    let Some(lab) = Lab::new("host-bound") else { return };
    let (_switch, hosts) = lab.hosts_on_a_switch(2);
    let _routers = [
        hosts[0].launch(&["--http", "0.0.0.0:6784"]),
        hosts[1].launch(&["10.9.0.1"]),
    ];
    hosts.iter().for_each(|host| host.wait_for_peers(2));
    let (container, other) = (hosts[0].container(1), hosts[1].container(2));
    container.wait_for(&other);

    let links = crate::common::run_in(&hosts[0].netns, "ip", &["-o", "link", "show", "weft"]).ok();
    let bridge = links
        .split("link/ether ")
        .nth(1)
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap();
    let inside = |args: &[&str]| container.run("ip", args).ok();
    inside(&["route", "add", "10.9.0.0/24", "dev", "eth0"]);
    inside(&["-6", "route", "add", "fd09::/64", "dev", "eth0"]);
    for address in ["10.9.0.1", "fd09::1"] {
        inside(&["neigh", "replace", address, "lladdr", bridge, "dev", "eth0"]);
        assert!(!container.pings(address.parse().unwrap()), "{address} answers");
        for port in [6783, 6784] {
            let target = (address.parse::<IpAddr>().unwrap(), port).into();
            let opened = container
                .netns
                .run(|| TcpStream::connect_timeout(&target, Duration::from_millis(300)).is_ok());
            assert!(!opened.unwrap(), "{target} answers");
        }
    }
    let out = container.run("ping", &["-n", "-c2", "-W1", "ff02::1%eth0"]).out;
    let answers = out.lines().filter(|line| line.contains("bytes from fe80"));
    let macs = [&container, &other].map(|one| {
        let host = if one.v4 == container.v4 {
            &hosts[0]
        } else {
            &hosts[1]
        };
        format!("{:x}", mac(host, one).0[5])
    });
    for line in answers {
        assert!(
            macs.iter().any(|end| line.contains(end.as_str())),
            "somebody else answers: {line}"
        );
    }
    until("the tries are counted", SOON, || {
        (hosts[0].drops("host_bound") > 0 || hosts[0].drops("spoofed_address") > 0).then_some(())
    });
    container.wait_for(&other);
}
