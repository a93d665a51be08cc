//! Links that must not be, and links of which there must be one.

use crate::common::traffic::Pings;
use crate::common::{Host, Lab, fresh_secret, until};
use serde_json::Value;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(8);
const PINGS: Duration = Duration::from_millis(20);

/// Rows of connections that are up between this router and `name`.
fn links(status: &Value, name: &str) -> usize {
    let rows = status["connections"].as_array().unwrap().iter();
    rows.filter(|row| row["name"] == name && row["state"] == "established")
        .count()
}

#[test]
fn another_secret_is_refused_in_plain_words_and_traffic_goes_on() {
    let Some(lab) = Lab::new("wrong-secret") else {
        return;
    };
    let pair = lab.pair();
    let pings = Pings::start(&pair.left_container, pair.right_container.v4, PINGS);
    let stranger = lab.host("stranger");
    pair.switch.plug(&stranger, crate::common::Network(9), 7);
    let _router = stranger.exec(&["10.9.0.1"], Some(&fresh_secret()));
    stranger.wait_for_socket();
    let (error, _) = until("the target fails", SOON, || {
        stranger.row("targets", "address", "10.9.0.1:6783")?["error"]
            .as_str()
            .map(str::to_owned)
    });
    assert!(error.contains("secret"), "{error}");
    until("the refusal is counted", SOON, || {
        (pair.left.drops("secret_refused") > 0).then_some(())
    });
    assert!(pair.left.log().contains("secret_refused"));
    assert_eq!(pair.left.reachable(), ["h1", "h2"]);
    assert_eq!(stranger.reachable(), ["stranger"]);
    let count = pings.stop();
    assert!(count.lost == 0 && count.sent > 20, "{count:?}");
}

#[test]
fn a_router_that_dials_itself_says_so_and_goes_on() {
    let Some(lab) = Lab::new("self-dial") else { return };
    let (_switch, hosts) = lab.hosts_on_a_switch(1);
    let _router = hosts[0].launch(&["10.9.0.1"]);
    until("the attempt is counted", SOON, || {
        (hosts[0].drops("self_link") > 0).then_some(())
    });
    let row = hosts[0].row("targets", "address", "10.9.0.1:6783").unwrap();
    let error = row["error"].as_str().unwrap_or_default();
    assert!(error.contains("itself"), "{row}");
    assert_eq!(hosts[0].reachable(), ["h1"]);
    assert_eq!(links(&hosts[0].status(), "h1"), 0);
}

#[test]
fn two_that_dial_each_other_at_once_end_with_one_link() {
    let Some(lab) = Lab::new("dial-at-once") else {
        return;
    };
    let (_switch, hosts) = lab.hosts_on_a_switch(2);
    let _routers = [
        hosts[0].exec(&["10.9.0.2"], Some(&lab.secret)),
        hosts[1].exec(&["10.9.0.1"], Some(&lab.secret)),
    ];
    hosts.iter().for_each(Host::wait_for_socket);
    hosts.iter().for_each(|host| host.wait_for_peers(2));
    until("one link is left, the same on both ends", SOON, || {
        let left = hosts[0].row("connections", "name", "h2")?;
        let right = hosts[1].row("connections", "name", "h1")?;
        let one = links(&hosts[0].status(), "h2") == 1 && links(&hosts[1].status(), "h1") == 1;
        (one && left["direction"] != right["direction"]).then_some(())
    });
    for host in &hosts {
        let target = &host.status()["targets"][0];
        assert_eq!(
            (&target["state"], &target["error"]),
            (&"established".into(), &Value::Null)
        );
    }
    let (left, right) = (hosts[0].container(1), hosts[1].container(2));
    left.wait_for(&right);
}

#[test]
fn the_same_identity_on_two_hosts_is_noticed_and_traffic_goes_on() {
    let Some(lab) = Lab::new("clone") else { return };
    let pair = lab.pair();
    let pings = Pings::start(&pair.left_container, pair.right_container.v4, PINGS);
    let clone = lab.host("clone");
    pair.switch.plug(&clone, crate::common::Network(9), 7);
    let mut copy = std::process::Command::new("cp");
    copy.arg("-r").arg(pair.right.state_dir()).arg(clone.state_dir());
    let copy = copy.status().unwrap();
    assert!(copy.success());
    // A copied disk knows of containers that are not on this host.
    std::fs::remove_file(clone.state_dir().join("attachments.json")).unwrap();
    let _router = clone.launch(&[]);
    until("the clash is counted somewhere", SOON, || {
        let hosts = [&pair.left, &pair.right, &clone];
        hosts
            .iter()
            .any(|host| host.drops("identity_clash") > 0)
            .then_some(())
    });
    let logs = [pair.left.log(), pair.right.log(), clone.log()].concat();
    assert!(logs.contains("same identity") || logs.contains("identity_clash"));
    // Long enough for the clone to dial a second time.
    std::thread::sleep(Duration::from_secs(2));
    let count = pings.stop();
    assert!(count.lost <= 1 && count.sent > 50, "{count:?}");
}
