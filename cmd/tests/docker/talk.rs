//! Containers of two engines reach each other, by address and by name.

use crate::common::until;
use crate::engine::{Engine, free};
use crate::{Hosts, NAMES, is_home};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);

#[test]
fn containers_of_two_engines_reach_each_other_by_address_and_by_name() {
    let Some(hosts) = Hosts::new("docker-talk") else {
        return;
    };
    let [host_a, host_r, host_b] = &hosts.hosts;
    let [a, b] = Engine::both([host_a, host_b]);
    let before = [a.counts(), b.counts()];
    // Who is asked for an address of somebody else's share gets some of that: only the sum of all three stays.
    let all_free = || hosts.hosts.iter().map(free).sum::<u64>();
    until("the range is divided", SOON, || {
        hosts.hosts.iter().all(|host| free(host) > 0).then_some(())
    });
    let free_before = all_free();
    for engine in [&a, &b] {
        // Docker takes addresses of the caller's choice only where the range is, too.
        engine.network("--subnet 10.32.0.0/12 mesh").ok();
    }
    for (engine, name) in [&a, &b].into_iter().zip(["web", "client"]) {
        engine.run(name, &["--network", "mesh"], &["sleep", "1000"]).ok();
    }
    let [web, client] = [a.address("web", "mesh"), b.address("client", "mesh")];
    assert!(
        is_home(&web) && is_home(&client) && web != client,
        "{web} {client}"
    );
    until("a container pings another", SOON, || {
        (b.exec("client", &["ping", "-c1", "-W1", &web]).code == Some(0)).then_some(())
    });
    a.exec("web", &["ping", "-c1", "-W1", &client]).ok();
    // Bridged frames of one host pass Docker's firewall, too.
    a.run("beside", &["--network", "mesh"], &["sleep", "1000"]).ok();
    a.exec("beside", &["ping", "-c1", "-W2", &web]).ok();

    // TCP, and ports of the host.
    a.exec(
        "web",
        &[
            "sh",
            "-c",
            "mkdir /www; echo hello > /www/index.html; httpd -h /www -p 80",
        ],
    )
    .ok();
    let page = b
        .exec("client", &["wget", "-q", "-O-", &format!("http://{web}/")])
        .ok();
    assert_eq!(page.trim(), "hello");
    a.run(
        "shop",
        &["--network", "mesh", "-p", "8080:80"],
        &[
            "sh",
            "-c",
            "mkdir /w; echo shop > /w/index.html; httpd -f -h /w -p 80",
        ],
    )
    .ok();
    let ask = || {
        let stream = host_r.netns.run(|| TcpStream::connect("10.1.0.2:8080")).unwrap();
        let mut stream = stream.ok()?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        text.contains("shop").then_some(())
    };
    until("a port of the host leads into the container", SOON, ask);

    // An address and a MAC address of the caller's choice.
    let wanted = "10.47.1.7";
    let mac = "02:42:0a:00:00:77";
    b.run(
        "fixed",
        &["--network", "mesh", "--ip", wanted, "--mac-address", mac],
        &["sleep", "1000"],
    )
    .ok();
    assert_eq!(b.address("fixed", "mesh"), wanted);
    assert!(b.exec("fixed", &["ip", "link"]).ok().contains(mac));
    a.exec("web", &["ping", "-c1", "-W2", wanted]).ok();

    // Names, from Docker's API over the mesh to a container's resolver.
    until("others know its name", SOON, || {
        host_b
            .weft(&["dns", "lookup", "web"])
            .out
            .contains(&web)
            .then_some(())
    });
    let labelled = [
        "--network",
        "mesh",
        "--network-alias",
        "till",
        "--label",
        "weft.name=cash",
    ];
    a.run("desk", &labelled, &["sleep", "1000"]).ok();
    for name in ["desk", "till", "cash"] {
        until("it is found under all its names", SOON, || {
            (host_b.weft(&["dns", "lookup", name]).code == Some(0)).then_some(())
        });
    }
    // From a container's resolver to Docker's, and from there to the name server of its host.
    host_b.weft(&["expose", &format!("{}/12", NAMES[1])]).ok();
    b.run(
        "asker",
        &[
            "--network",
            "mesh",
            "--dns",
            NAMES[1],
            "--dns-search",
            "weft.local",
        ],
        &["sleep", "1000"],
    )
    .ok();
    until("a container finds another by its name", SOON, || {
        let found = b.exec("asker", &["nslookup", "web.weft.local"]);
        (found.code == Some(0) && found.out.contains(&web)).then_some(())
    });
    for name in ["cash.weft.local", "till"] {
        b.exec("asker", &["ping", "-c1", "-W2", name]).ok();
    }
    a.docker(&["rm", "-f", "web", "beside", "shop", "desk"]).ok();
    until("its name goes with it", SOON, || {
        (host_b.weft(&["dns", "lookup", "web"]).code == Some(1)).then_some(())
    });
    b.docker(&["rm", "-f", "client", "fixed", "asker"]).ok();
    host_b.weft(&["hide"]).ok();
    for (engine, before) in [&a, &b].into_iter().zip(before) {
        engine.docker(&["network", "rm", "mesh"]).ok();
        until("nothing is left", SOON, || {
            (engine.pairs().is_empty() && engine.counts().1 == before.1).then_some(())
        });
    }
    until("all addresses are free again", SOON, || {
        (all_free() == free_before).then_some(())
    });
}

#[test]
fn containers_are_in_the_networks_that_they_name() {
    let Some(hosts) = Hosts::new("docker-networks") else {
        return;
    };
    let [host_a, _, host_b] = &hosts.hosts;
    let [a, b] = Engine::both([host_a, host_b]);
    host_a.weft(&["network", "add", "blue"]).ok();
    until("both know the network", SOON, || {
        host_b
            .weft(&["network", "list"])
            .ok()
            .contains("blue")
            .then_some(())
    });
    for engine in [&a, &b] {
        engine
            .network("--ipam-opt network=blue -o network=blue --internal blue")
            .ok();
        engine
            .network("--ipv6 --subnet 10.32.0.0/12 --subnet fd57:4546:5400::/64 mesh")
            .ok();
        let odd = engine.network("--subnet 10.99.0.0/16 odd").failed(1);
        assert!(odd.contains("weft network add"), "{odd}");
    }
    // One in both, one in each.
    a.run("both", &["--network", "mesh"], &["sleep", "1000"]).ok();
    a.docker(&["network", "connect", "blue", "both"]).ok();
    b.run("of-mesh", &["--network", "mesh"], &["sleep", "1000"]).ok();
    b.run("of-blue", &["--network", "blue"], &["sleep", "1000"]).ok();
    let [mesh, blue] = [b.address("of-mesh", "mesh"), b.address("of-blue", "blue")];
    assert!(is_home(&mesh) && !is_home(&blue), "{mesh} {blue}");
    for to in [&mesh, &blue] {
        until("it reaches both", SOON, || {
            (a.exec("both", &["ping", "-c1", "-W1", to]).code == Some(0)).then_some(())
        });
    }
    assert_eq!(b.exec("of-mesh", &["ping", "-c1", "-W1", &blue]).code, Some(1));
    // IPv6, with the same number in both ranges.
    let text = "{{(index .NetworkSettings.Networks \"mesh\").GlobalIPv6Address}}";
    let six = b
        .docker(&["inspect", "-f", text, "of-mesh"])
        .ok()
        .trim()
        .to_owned();
    assert!(six.starts_with("fd57:4546:5400::"), "{six}");
    until("it answers over IPv6", SOON, || {
        (a.exec("both", &["ping", "-6", "-c1", "-W1", &six]).code == Some(0)).then_some(())
    });
    // An internal network leads nowhere else.
    assert!(!b.exec("of-blue", &["ip", "route"]).ok().contains("default"));
}
