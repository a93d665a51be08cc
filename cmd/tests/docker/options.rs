//! What `docker network create` and `docker run` may be told besides.

use crate::common::{Network, until};
use crate::engine::{Engine, free, free_in};
use crate::{Hosts, is_home};
use fastpath::NetNs;
use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, TcpStream, UdpSocket};
use std::path::Path;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);
/// A group, and a port.
const GROUP: (Ipv4Addr, u16) = (Ipv4Addr::new(239, 1, 2, 3), 5353);

/// A socket inside a container.
fn socket_in(engine: &Engine<'_>, container: &str) -> UdpSocket {
    let path = format!("/proc/{}/ns/net", engine.pid(container));
    let netns = NetNs::open(Path::new(&path)).unwrap();
    let socket = netns.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, GROUP.1)));
    let socket = socket.unwrap().unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    socket
}

/// Whether a member of the group gets what a container of another host sends to it; both where their routes lead.
fn groups_work(from: &UdpSocket, member: &UdpSocket) -> bool {
    let mut buffer = [0; 64];
    from.send_to(b"to all", GROUP).unwrap();
    member
        .recv_from(&mut buffer)
        .is_ok_and(|(length, _)| &buffer[..length] == b"to all")
}

#[test]
fn options_of_networks_do_what_they_say() {
    let Some(hosts) = Hosts::new("docker-options") else {
        return;
    };
    let [host_a, host_r, host_b] = &hosts.hosts;
    let [a, b] = Engine::both([host_a, host_b]);
    host_a
        .weft(&["network", "add", "blue", "--subnet", "10.99.0.0/16"])
        .ok();
    for engine in [&a, &b] {
        engine
            .network("--subnet 10.32.0.0/12 -o multicast=true loud")
            .ok();
        let part = "--subnet 10.99.0.0/16 --ip-range 10.99.3.8/29 part";
        until("the network is known", SOON, || {
            (engine.network(part).code == Some(0)).then_some(())
        });
        for (options, why) in [
            (
                "--subnet 10.32.0.0/12 --gateway 10.32.0.1 odd",
                "can't be the --gateway",
            ),
            ("-o foo=bar odd", "does not know -o foo"),
            ("--ipam-opt foo=bar odd", "does not know --ipam-opt foo"),
            ("-o multicast=maybe odd", "not \"maybe\""),
            ("-o network=blue odd", "say --ipam-opt network=blue, too"),
            (
                "-o network=red --ipam-opt network=red odd",
                "weft network add red",
            ),
        ] {
            let failed = engine.network(options).failed(1);
            assert!(failed.contains(why), "{options}: {failed}");
        }
        let failed = engine
            .docker(&["network", "create", "-d", "weft", "odd"])
            .failed(1);
        assert!(failed.contains("say --ipam-driver weft, too"), "{failed}");
        engine
            .run("member", &["--network", "loud"], &["sleep", "1000"])
            .ok();
        engine
            .run("parted", &["--network", "part"], &["sleep", "1000"])
            .ok();
    }
    let all_free = || {
        hosts
            .hosts
            .iter()
            .map(|host| free(host) + free_in(host, "blue"))
            .sum::<u64>()
    };
    let before = all_free();

    // Both hosts give addresses of the same part, and none twice.
    a.run("more", &["--network", "part"], &["sleep", "1000"]).ok();
    let parted = [(&a, "parted"), (&a, "more"), (&b, "parted")];
    let parted = parted.map(|(engine, name)| engine.address(name, "part").parse::<Ipv4Addr>().unwrap());
    let of_part = |address: &Ipv4Addr| u32::from(*address) & !7 == u32::from(Ipv4Addr::new(10, 99, 3, 8));
    assert!(parted.iter().all(of_part), "{parted:?}");
    assert_eq!(parted.iter().collect::<BTreeSet<_>>().len(), 3, "{parted:?}");
    let first = parted[0].to_string();
    until("they reach each other", SOON, || {
        (b.exec("parted", &["ping", "-c1", "-W1", &first]).code == Some(0)).then_some(())
    });

    // Groups, where networks are told to carry them.
    let [from, member] = [&a, &b].map(|engine| socket_in(engine, "member"));
    member
        .join_multicast_v4(&GROUP.0, &Ipv4Addr::UNSPECIFIED)
        .unwrap();
    until("a frame for a group arrives", SOON, || {
        groups_work(&from, &member).then_some(())
    });
    let [from, member] = [&a, &b].map(|engine| socket_in(engine, "parted"));
    member
        .join_multicast_v4(&GROUP.0, &Ipv4Addr::UNSPECIFIED)
        .unwrap();
    for _ in 0..5 {
        assert!(!groups_work(&from, &member), "this network was not told to");
    }

    // A container that runs joins another network, and leaves it.
    a.docker(&["network", "connect", "--alias", "guest", "loud", "more"])
        .ok();
    let second = a.address("more", "loud");
    assert!(is_home(&second));
    until("it is reached there", SOON, || {
        (b.exec("member", &["ping", "-c1", "-W1", &second]).code == Some(0)).then_some(())
    });
    until("its name there is known", SOON, || {
        let found = host_b.weft(&["dns", "lookup", "guest"]);
        found.out.contains(&second).then_some(())
    });
    a.docker(&["network", "disconnect", "loud", "more"]).ok();
    until("its name there is gone", SOON, || {
        (host_b.weft(&["dns", "lookup", "guest"]).code == Some(1)).then_some(())
    });
    assert_ne!(b.exec("member", &["ping", "-c1", "-W1", &second]).code, Some(0));
    let still = parted[1].to_string();
    b.exec("parted", &["ping", "-c1", "-W2", &still]).ok();

    // Ports of the host, by both kinds of address.
    let serve = "mkdir /w; echo shop > /w/index.html; httpd -f -h /w -p 80";
    a.run(
        "shop",
        &["--network", "part", "-p", "8080:80"],
        &["sh", "-c", serve],
    )
    .ok();
    for host in [Network(1).v4(2), Network(1).v6(2)] {
        until("a port of the host leads into the container", SOON, || {
            asks(&host_r.netns, host).filter(|page| page.contains("shop"))
        });
    }

    a.docker(&["rm", "-f", "more", "shop", "parted", "member"]).ok();
    b.docker(&["rm", "-f", "parted", "member"]).ok();
    for engine in [&a, &b] {
        let pruned = engine.docker(&["network", "prune", "-f"]).ok();
        assert!(pruned.contains("loud") && pruned.contains("part"), "{pruned}");
        assert!(engine.pairs().is_empty(), "{:?}", engine.pairs());
    }
    until("all addresses are free", SOON, || {
        (all_free() == before + 4).then_some(())
    });
    // Where the host has a route to the range, Docker takes it only from its caller.
    host_a.weft(&["expose"]).ok();
    let failed = a.network("mesh").failed(1);
    assert!(failed.contains("say --subnet 10.32.0.0/12"), "{failed}");
    a.network("--subnet 10.32.0.0/12 mesh").ok();
}

/// What the web server at a host's port says.
fn asks(from: &NetNs, host: IpAddr) -> Option<String> {
    let mut stream = from.run(|| TcpStream::connect((host, 8080))).unwrap().ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}
