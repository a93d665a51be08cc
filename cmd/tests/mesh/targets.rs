//! What is dialled, what no more, and what a router is called by.

use crate::common::{Host, Lab, until};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(5);

fn targets(host: &Host) -> Vec<String> {
    let status = host.status();
    let rows = status["targets"].as_array().unwrap().iter();
    rows.map(|row| row["address"].as_str().unwrap().to_owned())
        .collect()
}

fn alone(host: &Host) {
    until(&format!("{} is alone", host.name), SOON, || {
        (host.reachable().len() == 1).then_some(())
    });
}

#[test]
fn connect_links_replace_forgets_the_others_and_forget_closes() {
    let Some(lab) = Lab::new("connect") else { return };
    let (_switch, hosts) = lab.hosts_on_a_switch(3);
    let _routers: Vec<_> = hosts
        .iter()
        .map(|host| host.launch(&["--no-discovery"]))
        .collect();
    let host = &hosts[0];
    host.weft(&["connect", "10.9.0.2"]).ok();
    host.wait_for_peers(2);
    assert_eq!(targets(host), ["10.9.0.2:6783"]);

    host.weft(&["connect", "--replace", "10.9.0.3:6783"]).ok();
    assert_eq!(targets(host), ["10.9.0.3:6783"]);
    until("h3 is linked", SOON, || {
        host.reachable().contains(&"h3".to_owned()).then_some(())
    });

    host.weft(&["forget", "10.9.0.3"]).ok();
    assert!(targets(host).is_empty());
    host.weft(&["forget", "h2"]).ok();
    alone(host);
    alone(&hosts[2]);

    let wrong = host.weft(&["forget", "nobody"]).failed(1);
    assert!(wrong.contains("nobody"), "{wrong}");
    let wrong = host.weft(&["connect", "not an address"]).failed(1);
    assert!(wrong.contains("not an address"), "{wrong}");
}

#[test]
fn a_name_that_two_routers_bear_is_refused_with_both_ids() {
    let Some(lab) = Lab::new("ambiguous") else { return };
    let (_switch, hosts) = lab.hosts_on_a_switch(3);
    let _routers = [
        hosts[0].launch(&[]),
        hosts[1].launch(&["--name", "twin", "10.9.0.1"]),
        hosts[2].launch(&["--name", "twin", "10.9.0.1"]),
    ];
    hosts[0].wait_for_peers(3);
    let ids = [&hosts[1], &hosts[2]].map(|host| host.weft(&["id"]).ok().trim().to_owned());
    for verb in ["ping", "trace", "forget"] {
        let refusal = hosts[0].weft(&[verb, "twin"]).failed(1);
        assert!(ids.iter().all(|id| refusal.contains(id)), "{verb}: {refusal}");
    }
    for id in [ids[0].as_str(), &ids[1][..12]] {
        let answer = hosts[0].weft(&["ping", "-c", "1", id]).ok();
        assert!(answer.contains("twin seq=1 rtt="), "{answer}");
    }
    let answer = hosts[0].weft(&["ping", "-c1", "--control", &ids[0]]).ok();
    assert!(answer.contains("twin seq=1 rtt="), "{answer}");
}
