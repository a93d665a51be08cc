//! Rolling the secret over three routers, while containers talk.

use crate::common::traffic::Pings;
use crate::common::{Host, Lab, fresh_secret, until};
use serde_json::Value;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);

fn list(host: &Host) -> Vec<Value> {
    let text = host.weft(&["secret", "list", "--json"]).ok();
    serde_json::from_str(&text).unwrap()
}

fn lacking(host: &Host) -> usize {
    list(host)
        .iter()
        .map(|secret| secret["lacking"].as_array().unwrap().len())
        .sum()
}

#[test]
fn the_secret_is_rolled_over_three_routers_without_losing_a_ping() {
    let Some(lab) = Lab::new("roll") else { return };
    let (_switch, hosts) = lab.hosts_on_a_switch(3);
    let mut routers = vec![hosts[0].launch(&[])];
    for host in &hosts[1..] {
        routers.push(host.launch(&["10.9.0.1"]));
    }
    hosts.iter().for_each(|host| host.wait_for_peers(3));
    let (left, right) = (hosts[1].container(2), hosts[2].container(3));
    left.wait_for(&right);
    hosts[1].wait_for_direct("h3");
    let pings = Pings::start(&left, right.v4, Duration::from_millis(20));
    let old = list(&hosts[0])[0]["id"].as_str().unwrap().to_owned();

    let new = fresh_secret();
    hosts[0].weft_with(&["secret", "add", "-"], &new).ok();
    until("the others are shown to lack it", SOON, || {
        (lacking(&hosts[0]) == 2).then_some(())
    });
    let refusal = hosts[0].weft(&["secret", "retire", &old]).failed(1);
    assert!(
        refusal.contains("h2") && refusal.contains("h3") && refusal.contains("--force"),
        "{refusal}"
    );

    let file = lab.dir.join("new");
    std::fs::write(&file, &new).unwrap();
    hosts[1].weft(&["secret", "add", file.to_str().unwrap()]).ok();
    hosts[2].weft_with(&["secret", "add"], &new).ok();
    for host in &hosts {
        until("nobody lacks a secret", SOON, || {
            (lacking(host) == 0).then_some(())
        });
        let text = host.weft(&["secret", "list"]).ok();
        assert!(!text.contains("weft1-") && !text.contains(&new), "{text}");
    }
    for host in &hosts {
        host.weft(&["secret", "retire", &old]).ok();
        assert_eq!(list(host).len(), 1);
    }
    // Links and sessions are made anew with the new secret.
    until("all reach all", SOON, || {
        hosts.iter().all(|host| host.reachable().len() == 3).then_some(())
    });
    let count = pings.stop();
    assert!(count.lost == 0 && count.sent > 50, "{count:?}");

    // Who has only the old one is kept out; who has the new one gets in.
    let late = lab.host("late");
    _switch.plug(&late, crate::common::Network(9), 9);
    let stranger = late.exec(&["10.9.0.1"], Some(&lab.secret));
    until("the old secret is refused", SOON, || {
        (hosts[0].drops("secret_refused") > 0).then_some(())
    });
    stranger.kill();
    let _late = late.exec(&["10.9.0.1"], Some(&new));
    late.wait_for_socket();
    late.wait_for_peers(4);
}

/// Nobody but the router that still has both secrets dials here.
#[test]
fn who_has_both_secrets_dials_who_has_retired_one() {
    let Some(lab) = Lab::new("offer") else { return };
    let (_switch, hosts) = lab.hosts_on_a_switch(2);
    let new = fresh_secret();
    let _retired = hosts[0].exec(&["--no-discovery"], Some(&new));
    hosts[0].wait_for_socket();
    let _both = hosts[1].launch(&[]);
    hosts[1].weft_with(&["secret", "add"], &new).ok();
    hosts[1].weft(&["connect", "10.9.0.1"]).ok();
    hosts[1].wait_for_peers(2);
    assert_eq!(list(&hosts[1]).len(), 2);
}

#[test]
fn a_third_secret_a_retired_one_and_an_unknown_one_are_refused() {
    let Some(lab) = Lab::new("secret-rules") else {
        return;
    };
    let host = lab.host("h1");
    let _router = host.launch(&[]);
    let second = fresh_secret();
    host.weft_with(&["secret", "add"], &second).ok();
    host.weft_with(&["secret", "add"], &second).ok();
    assert_eq!(list(&host).len(), 2);
    let refusal = host.weft_with(&["secret", "add"], &fresh_secret()).failed(1);
    assert!(refusal.contains("retire"), "{refusal}");
    let old = list(&host)[0]["id"].as_str().unwrap().to_owned();
    host.weft(&["secret", "retire", &old]).ok();
    let refusal = host.weft_with(&["secret", "add"], &lab.secret).failed(1);
    assert!(refusal.contains("retired"), "{refusal}");
    host.weft(&["secret", "retire", "0123456789abcdef"]).failed(1);
    let last = list(&host)[0]["id"].as_str().unwrap().to_owned();
    host.weft(&["secret", "retire", &last, "--force"]).failed(1);
    host.weft_with(&["secret", "add"], "short").failed(1);
}
