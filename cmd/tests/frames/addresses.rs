//! Addresses that routers give out themselves.

use crate::common::{Container, Lab, until};
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

/// The addresses of a container that is attached without being told any.
fn attach(host: &crate::common::Host, container: &Container) -> Vec<String> {
    let out = host.weft(&["attach", "--netns", &container.path()]).ok();
    out.lines().map(str::to_owned).collect()
}

fn address(cidr: &str) -> IpAddr {
    cidr.split('/').next().unwrap().parse().unwrap()
}

fn ipam(host: &crate::common::Host) -> Value {
    serde_json::from_str(&host.weft(&["ipam", "--json"]).ok()).unwrap()
}

#[test]
fn a_router_alone_gives_out_addresses_at_once_and_remembers_them() {
    let Some(lab) = Lab::new("alone-addresses") else {
        return;
    };
    let host = lab.host("h1");
    let router = host.launch(&[]);
    let [first, second] = [1, 2].map(Container::detached);
    assert_eq!(attach(&host, &first), ["10.32.0.1/12", "fd57:4546:5400::1/64"]);
    assert_eq!(attach(&host, &first), ["10.32.0.1/12", "fd57:4546:5400::1/64"]);
    assert_eq!(attach(&host, &second), ["10.32.0.2/12", "fd57:4546:5400::2/64"]);
    assert!(first.pings(address("10.32.0.2")) && first.pings(address("fd57:4546:5400::2")));
    let ps = host.weft(&["ps"]).ok();
    assert!(
        ps.contains("10.32.0.1/12") && ps.contains("fd57:4546:5400::2/64"),
        "{ps}"
    );

    // What is freed comes last; what is used survives `kill -9`.
    host.weft(&["detach", "--netns", &first.path()]).ok();
    router.kill();
    let _router = host.launch(&[]);
    let third = Container::detached(3);
    assert_eq!(attach(&host, &third)[0], "10.32.0.3/12");
    assert_eq!(ipam(&host)["free"], (1 << 20) - 4);
    // A container that ended while no router ran.
    let gone = attach(&host, &Container::detached(4));
    assert_eq!(gone[0], "10.32.0.4/12");
    until("its address is free", Duration::from_secs(10), || {
        (ipam(&host)["free"] == (1 << 20) - 4).then_some(())
    });
}

#[test]
fn routers_that_see_each_other_divide_the_range_and_use_what_is_theirs_alone() {
    let Some(lab) = Lab::new("divided") else { return };
    let (_switch, hosts) = lab.hosts_on_a_switch(3);
    let mut routers = vec![hosts[0].launch(&[])];
    routers.extend(hosts[1..].iter().map(|host| host.launch(&["10.9.0.1"])));
    hosts.iter().for_each(|host| host.wait_for_peers(3));
    until("all own a part", Duration::from_secs(15), || {
        let is_whole = |host| {
            let view = ipam(host);
            let shares = view["shares"].as_array().unwrap();
            let sum: u64 = shares
                .iter()
                .map(|share| share["addresses"].as_u64().unwrap())
                .sum();
            shares.len() == 3 && sum == 1 << 20 && view["state"] == "confirmed"
        };
        hosts.iter().all(is_whole).then_some(())
    });
    // Alone, each goes on, also after a restart.
    let last = routers.pop().unwrap();
    drop(routers);
    last.kill();
    let _last = hosts[2].launch(&["10.9.0.1"]);
    let mut containers = Vec::new();
    let start = std::time::Instant::now();
    let early = Container::detached(200);
    let mut seen: BTreeSet<_> = [attach(&hosts[2], &early)[0].clone()].into();
    assert!(
        start.elapsed() > Duration::from_secs(8),
        "it waits for the others for ten seconds"
    );
    assert_eq!(ipam(&hosts[2])["state"], "unconfirmed");
    let _others: Vec<_> = hosts[..2].iter().map(|host| host.launch(&[])).collect();
    for host in &hosts {
        for number in 0..3 {
            let container = Container::detached(number);
            assert!(seen.insert(attach(host, &container)[0].clone()));
            containers.push(container);
        }
    }
    assert_eq!(seen.len(), 10);
    hosts.iter().for_each(|host| host.wait_for_peers(3));
    let to = address(seen.first().unwrap());
    until("the first reaches the others", Duration::from_secs(10), || {
        containers
            .iter()
            .all(|container| container.pings(to))
            .then_some(())
    });
}

#[test]
fn what_a_dead_router_owned_is_taken_over_when_the_operator_says_so() {
    let Some(lab) = Lab::new("reclaimed") else { return };
    let (_switch, hosts) = lab.hosts_on_a_switch(2);
    let small = ["--ipalloc-range", "10.40.0.0/28", "--ipalloc-range-v6", "none"];
    let _first = hosts[0].launch(&small);
    let second = hosts[1].launch(&[&small[..], &["10.9.0.1"]].concat());
    hosts.iter().for_each(|host| host.wait_for_peers(2));
    until("both own a part", Duration::from_secs(10), || {
        (ipam(&hosts[0])["shares"].as_array().unwrap().len() == 2).then_some(())
    });
    let refused = hosts[0].weft(&["reclaim", "h2"]).failed(1);
    assert!(refused.contains("can be reached"), "{refused}");
    second.kill();
    until("the other is gone", Duration::from_secs(10), || {
        (hosts[0].reachable().len() == 1).then_some(())
    });
    let mut containers = Vec::new();
    let refused = loop {
        let container = Container::detached(u8::try_from(containers.len()).unwrap());
        let outcome = hosts[0].weft(&["attach", "--netns", &container.path()]);
        if outcome.code != Some(0) {
            break outcome.failed(1);
        }
        containers.push(container);
    };
    assert_eq!(containers.len(), 7);
    assert!(
        refused.contains("weft reclaim"),
        "{refused} {:#}",
        ipam(&hosts[0])
    );
    assert_eq!(hosts[0].weft(&["reclaim", "h2"]).ok(), "8 addresses\n");
    for number in 0..7 {
        let container = Container::detached(100 + number);
        attach(&hosts[0], &container);
        containers.push(container);
    }
    let full = Container::detached(99);
    let refused = hosts[0].weft(&["attach", "--netns", &full.path()]).failed(1);
    assert!(
        refused.contains("all addresses of the range are in use"),
        "{refused}"
    );
}

#[test]
fn the_host_itself_is_reached_when_it_is_exposed() {
    let Some(lab) = Lab::new("exposed") else { return };
    let pair = lab.pair();
    let refused = pair.right.weft(&["hide"]).failed(1);
    assert!(refused.contains("not exposed"), "{refused}");
    let out = pair.right.weft(&["expose"]).ok();
    let of_host = address(out.lines().next().unwrap());
    assert_eq!(pair.right.weft(&["expose"]).ok(), out);
    until("containers reach the host", Duration::from_secs(10), || {
        (pair.left_container.pings(of_host) && pair.right_container.pings(of_host)).then_some(())
    });
    let left = pair.left_container.v4.to_string();
    crate::common::run_in(&pair.right.netns, "ping", &["-n", "-c1", "-W3", &left]).ok();
    // Routers do not try each other at it, and multicast of the host's own stays where it was.
    let status = pair.left.status().to_string();
    assert!(!status.contains(&format!("{of_host}:6783")), "{status}");
    let routes = crate::common::run_in(&pair.right.netns, "ip", &["route"]).ok();
    assert!(
        routes.contains("dev weft-host") && !routes.contains("224.0.0.0"),
        "{routes}"
    );
    pair.right.weft(&["hide"]).ok();
    assert!(!pair.left_container.pings(of_host));
    let links = crate::common::run_in(&pair.right.netns, "ip", &["-o", "link"]).ok();
    assert!(!links.contains("weft-host"), "{links}");
}

#[test]
fn groups_that_began_apart_meet_and_say_which_addresses_are_there_twice() {
    let Some(lab) = Lab::new("apart") else { return };
    let (_switch, hosts) = lab.hosts_on_a_switch(2);
    let _routers: Vec<_> = hosts.iter().map(|host| host.launch(&[])).collect();
    let mut containers = Vec::new();
    let mut attach_to = |host: &crate::common::Host| {
        let container = Container::detached(u8::try_from(containers.len()).unwrap());
        let address = attach(host, &container)[0].clone();
        containers.push(container);
        address
    };
    for host in &hosts {
        assert_eq!(attach_to(host), "10.32.0.1/12");
    }
    attach_to(&hosts[0]);
    let twice = |host| {
        let view = ipam(host);
        let doubled = view["doubled"].as_array().unwrap();
        doubled
            .iter()
            .map(|one| {
                (
                    one["address"].to_string(),
                    one["routers"].as_array().unwrap().len(),
                )
            })
            .collect::<Vec<_>>()
    };
    hosts.iter().for_each(|host| assert_eq!(twice(host), []));
    hosts[1].weft(&["connect", "10.9.0.1"]).ok();
    for host in &hosts {
        host.wait_for_peers(2);
        let what = format!("{} names the address that is there twice", host.name);
        until(&what, Duration::from_secs(5), || {
            (twice(host) == [("\"10.32.0.1\"".to_owned(), 2)]).then_some(())
        });
    }
    // Each keeps what it has; what is new is new everywhere.
    for host in &hosts {
        let ps = host.weft(&["ps"]).ok();
        assert!(ps.contains("10.32.0.1/12"), "{ps}");
    }
    let mut seen: BTreeSet<String> = ["10.32.0.1/12", "10.32.0.2/12"].map(str::to_owned).into();
    for _ in 0..4 {
        for host in &hosts {
            let address = attach_to(host);
            assert!(seen.insert(address.clone()), "{address} is new at {}", host.name);
        }
    }
    let shares = ipam(&hosts[0])["shares"].as_array().unwrap().len();
    assert_eq!(shares, 2);
}
