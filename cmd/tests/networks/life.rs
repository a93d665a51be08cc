//! A network from its beginning to its end.

use crate::common::{Container, Host, Lab, until};
use crate::networks;
use std::net::IpAddr;
use std::time::Duration;

fn attach(host: &Host, container: &Container, network: &str) -> IpAddr {
    let out = host
        .weft(&["attach", "--netns", &container.path(), "--network", network])
        .ok();
    out.lines()
        .next()
        .unwrap()
        .split('/')
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

fn wait_for_networks(host: &Host, count: usize) {
    until("the networks are known", Duration::from_secs(5), || {
        (networks(host).len() == count).then_some(())
    });
}

#[test]
fn a_network_is_added_on_one_host_used_on_all_and_removed_again() {
    let Some(lab) = Lab::new("network-life") else {
        return;
    };
    let (_switch, hosts) = lab.hosts_on_a_switch(3);
    let mut routers = vec![hosts[0].launch(&[])];
    routers.extend(hosts[1..].iter().map(|host| host.launch(&["10.9.0.1"])));
    hosts.iter().for_each(|host| host.wait_for_peers(3));

    let nobody = Container::detached(0);
    let refused = hosts[0]
        .weft(&["attach", "--netns", &nobody.path(), "--network", "blue"])
        .failed(1);
    assert!(refused.contains("there is no network blue"), "{refused}");
    hosts[0].weft(&["network", "add", "default"]).failed(1);
    let added = hosts[0].weft(&["network", "add", "blue"]).ok();
    assert!(
        added.contains("blue") && added.contains("fd57:4546:54"),
        "{added}"
    );
    let numbered = hosts[1].weft(&["network", "add", "red", "--vni", "77", "--subnet", "10.60.0.0/24"]);
    assert!(numbered.ok().contains("10.60.0.0/24"));
    hosts.iter().for_each(|host| wait_for_networks(host, 2));
    let taken = hosts[2]
        .weft(&["network", "add", "green", "--vni", "77"])
        .failed(1);
    assert!(taken.contains("red"), "{taken}");

    // By name and by number, each with addresses of its own.
    let containers: Vec<_> = (0..4).map(Container::detached).collect();
    let first = attach(&hosts[0], &containers[0], "blue");
    let second = attach(&hosts[2], &containers[1], "blue");
    assert_ne!(first, second);
    until("blue is one network", Duration::from_secs(10), || {
        containers[0].pings(second).then_some(())
    });
    let red = attach(&hosts[2], &containers[2], "77");
    assert!(red.to_string().starts_with("10.60.0."), "{red}");
    let home = attach(&hosts[2], &containers[3], "default");
    let IpAddr::V4(v4) = home else { panic!("{home}") };
    assert_eq!(u32::from(v4) >> 20, 0x0a2, "{home} is not of 10.32.0.0/12");
    let ps = hosts[2].weft(&["ps"]).ok();
    assert!(ps.contains("blue") && ps.contains("red"), "{ps}");
    // Each network has names of its own.
    let path = containers[1].path();
    hosts[2]
        .weft(&["attach", "--netns", &path, "--network", "blue", "--name", "shop"])
        .ok();
    let lookup = |options: &[&str]| hosts[0].weft(&[&["dns", "lookup"], options].concat());
    until("the first host knows the name", Duration::from_secs(5), || {
        let found = lookup(&["shop", "--network", "blue"]);
        (found.code == Some(0) && found.out.contains(&second.to_string())).then_some(())
    });
    let reverse = lookup(&[&second.to_string(), "--network", "blue"]).ok();
    assert!(reverse.contains("shop.weft.local"), "{reverse}");
    let other = lookup(&["shop", "--network", "red"]).failed(1);
    assert!(other.contains("no container of network red"), "{other}");
    lookup(&["shop"]).failed(1);
    lookup(&["shop", "--network", "green"]).failed(1);
    let list = hosts[0].weft(&["dns", "list", "--network", "blue"]).ok();
    assert!(list.contains("shop"), "{list}");
    let ipam = hosts[2].weft(&["ipam", "--network", "red"]).ok();
    assert!(ipam.contains("10.60.0.0/24"), "{ipam}");

    // Who added them goes; who comes back, and who comes later, knows them all the same.
    let in_use = hosts[1].weft(&["network", "remove", "blue"]).failed(1);
    assert!(in_use.contains("2 routers have containers in it"), "{in_use}");
    routers.remove(0).kill();
    routers.remove(1).kill();
    let _again = hosts[2].launch(&["10.9.0.2"]);
    wait_for_networks(&hosts[2], 2);
    until("its containers are there", Duration::from_secs(10), || {
        (hosts[2].weft(&["ps", "--json"]).ok().matches("\"blue\"").count() == 1).then_some(())
    });
    let late = lab.host("h4");
    _switch.plug(&late, crate::common::Network(9), 4);
    let _late = late.launch(&["10.9.0.2"]);
    until("a newcomer knows them", Duration::from_secs(20), || {
        (networks(&late).len() == 2).then_some(())
    });
    let _first = hosts[0].launch(&["10.9.0.2"]);
    hosts[0].wait_for_peers(4);
    until("blue is whole again", Duration::from_secs(10), || {
        containers[0].pings(second).then_some(())
    });
    let third = Container::detached(9);
    let third_at = attach(&late, &third, "blue");
    until(
        "the newcomer's container is in it",
        Duration::from_secs(10),
        || containers[0].pings(third_at).then_some(()),
    );

    // The end.
    for (host, container) in [
        (&hosts[0], &containers[0]),
        (&hosts[2], &containers[1]),
        (&late, &third),
    ] {
        host.weft(&["detach", "--netns", &container.path()]).ok();
    }
    until("nobody is in it", Duration::from_secs(5), || {
        (hosts[1].weft(&["network", "remove", "blue"]).code == Some(0)).then_some(())
    });
    for host in hosts.iter().chain([&late]) {
        wait_for_networks(host, 1);
    }
    let links = crate::common::run_in(&hosts[0].netns, "ip", &["-o", "link"]).ok();
    assert!(!links.contains("weft-"), "{links}");
    // The same name again is another network.
    hosts[0].weft(&["network", "add", "blue"]).ok();
    let again = attach(&hosts[0], &containers[0], "blue");
    assert!(again.to_string().starts_with("10."), "{again}");
}

#[test]
fn a_network_that_is_called_as_the_default_one_is_numbered_is_another() {
    let Some(lab) = Lab::new("network-one") else {
        return;
    };
    let host = lab.host("h1");
    let _router = host.launch(&[]);
    host.weft(&["network", "add", "1", "--subnet", "10.61.0.0/24"])
        .ok();
    let containers = [1, 2].map(Container::detached);
    let address = attach(&host, &containers[0], "1").to_string();
    assert!(address.starts_with("10.61.0."), "{address}");
    let address = attach(&host, &containers[1], "default").to_string();
    assert!(address.starts_with("10.32."), "{address}");
}
