//! Which overlay is taken, and what status says of it.

use crate::common::{Host, Lab, Router, Switch, until};
use crate::{SOON, TRUST, overlay, wait_for_overlay, why};
use fastpath::esp::{Probe, ROLL, Xfrm};
use fastpath::names;
use std::time::Duration;

fn two(lab: &Lab, first: &[&str], second: &[&str]) -> (Switch, Vec<Host>, [Router; 2]) {
    let (switch, hosts) = lab.hosts_on_a_switch(2);
    let routers = [
        hosts[0].launch(first),
        hosts[1].launch(&[second, &["10.9.0.1"]].concat()),
    ];
    hosts.iter().for_each(|host| host.wait_for_peers(2));
    (switch, hosts, routers)
}

/// Waits until the reason that `host` gives for its neighbour holds `words`.
fn wait_for_words(host: &Host, name: &str, words: &str) {
    let what = format!(
        "{} says {words:?} of {name}, not {:?}",
        host.name,
        why(host, name)
    );
    until(&what, SOON, || why(host, name).contains(words).then_some(()));
    assert_eq!(overlay(host, name).as_deref(), Some("sleeve"));
}

/// True if the kernel, seen from this host, can encrypt what it carries.
fn has_esp(host: &Host) -> bool {
    let probe = || Xfrm::open("weft", 6784, ROLL).is_ok_and(|mut xfrm| xfrm.probe() == Probe::Able);
    host.netns.run(probe).unwrap()
}

#[test]
fn trust_on_one_side_means_encrypted() {
    let Some(lab) = Lab::new("fast-trust") else { return };
    let (_switch, hosts, _routers) = two(&lab, &TRUST, &[]);
    let names = [hosts[0].name.clone(), hosts[1].name.clone()];
    let (left, right) = (hosts[0].container(1), hosts[1].container(2));
    if has_esp(&hosts[0]) {
        println!("the kernel encrypts");
        wait_for_overlay(&hosts[0], &names[1], "fast", SOON);
        wait_for_overlay(&hosts[1], &names[0], "fast", SOON);
    } else {
        println!("the kernel can't encrypt: over sleeve");
        wait_for_words(&hosts[0], &names[1], "--trusted-subnets");
        wait_for_words(&hosts[1], &names[0], "--trusted-subnets");
        assert!(!interfaces(&hosts[1]).contains(&names::vxlan("weft")));
    }
    left.wait_for(&right);
    for host in &hosts {
        assert_eq!(host.status()["encrypted"], true);
    }
}

#[test]
fn sleeve_on_one_side_is_sleeve_for_both() {
    let Some(lab) = Lab::new("fast-sleeve") else {
        return;
    };
    let sleeve = [&TRUST[..], &["--overlay", "sleeve"]].concat();
    let (_switch, hosts, _routers) = two(&lab, &TRUST, &sleeve);
    let names = [hosts[0].name.clone(), hosts[1].name.clone()];
    wait_for_words(&hosts[0], &names[1], "offers no fast path");
    wait_for_words(&hosts[1], &names[0], "--overlay sleeve");
    let (left, right) = (hosts[0].container(1), hosts[1].container(2));
    left.wait_for(&right);
}

#[test]
fn another_port_is_told() {
    let Some(lab) = Lab::new("fast-port") else { return };
    let other = [&TRUST[..], &["--vxlan-port", "7000"]].concat();
    let (_switch, hosts, _routers) = two(&lab, &TRUST, &other);
    let names = [hosts[0].name.clone(), hosts[1].name.clone()];
    wait_for_words(&hosts[0], &names[1], "UDP port 7000");
    wait_for_words(&hosts[1], &names[0], "UDP port 6784");
}

#[test]
fn a_narrow_underlay_is_told() {
    let Some(lab) = Lab::new("fast-mtu") else { return };
    let wide = [&TRUST[..], &["--mtu", "1470"]].concat();
    let (_switch, hosts, _routers) = two(&lab, &wide, &wide);
    wait_for_words(&hosts[0], &hosts[1].name.clone(), "MTU");
}

#[test]
fn fast_only_drops_what_it_does_not_reach() {
    let Some(lab) = Lab::new("fast-only") else { return };
    let only = [&TRUST[..], &["--overlay", "fast"]].concat();
    let sleeve = [&TRUST[..], &["--overlay", "sleeve"]].concat();
    let (_switch, hosts, _routers) = two(&lab, &only, &sleeve);
    let (left, right) = (hosts[0].container(1), hosts[1].container(2));
    until("frames are dropped and counted", SOON, || {
        assert!(!left.pings(right.v4));
        (hosts[0].drops("vxlan_unproven") > 0).then_some(())
    });
}

#[test]
fn reset_takes_everything_away_and_another_launch_changes_its_mind() {
    let Some(lab) = Lab::new("fast-reset") else { return };
    let (_switch, hosts, [first, _second]) = two(&lab, &TRUST, &TRUST);
    let (left, right) = (hosts[0].container(1), hosts[1].container(2));
    let name = hosts[1].name.clone();
    wait_for_overlay(&hosts[0], &name, "fast", SOON);
    first.terminate();
    let router = hosts[0].launch(&["--overlay", "sleeve", "10.9.0.2"]);
    hosts[0].wait_for_peers(2);
    left.wait_for(&right);
    let has = |name: &String| interfaces(&hosts[0]).contains(name);
    assert!(!has(&names::vxlan("weft")) && !has(&names::stub("weft")));
    router.terminate();
    let _router = hosts[0].launch(&[&TRUST[..], &["10.9.0.2"]].concat());
    wait_for_overlay(&hosts[0], &name, "fast", Duration::from_secs(20));
    left.wait_for(&right);
    hosts[0].weft(&["reset", "--yes"]).ok();
    let left_over: Vec<_> = interfaces(&hosts[0])
        .into_iter()
        .filter(|name| name.starts_with('w'))
        .collect();
    assert_eq!(left_over, Vec::<String>::new());
}

fn interfaces(host: &Host) -> Vec<String> {
    fastpath::wire::interfaces(&host.netns).unwrap()
}
