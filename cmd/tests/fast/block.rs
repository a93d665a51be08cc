//! A firewall between two hosts: traffic moves to sleeve, and back, and one TCP connection lives through all of it.

use crate::common::traffic::Flow;
use crate::common::{Host, Lab, Switch, until};
use crate::{Line, SOON, TRUST, overlay, wait_for_overlay, why};
use std::time::{Duration, Instant};

/// Blocks the fast path's port at a host, or no more.
fn block(host: &Host, on: bool) {
    host.nft(if on {
        "add table inet block\nadd chain inet block in { type filter hook input priority 0; }\n\
         add chain inet block out { type filter hook output priority 0; }\n\
         add rule inet block in udp dport 6784 drop\nadd rule inet block out udp dport 6784 drop\n"
    } else {
        "delete table inet block\n"
    });
}

/// How long until frames from `host` to `name` take this overlay.
fn moved(host: &Host, name: &str, to: &str) -> Duration {
    let start = Instant::now();
    wait_for_overlay(host, name, to, Duration::from_secs(20));
    start.elapsed()
}

#[test]
fn a_blocked_port_moves_traffic_to_sleeve_and_back() {
    let Some(lab) = Lab::new("fast-block") else { return };
    let (_switch, hosts): (Switch, Vec<Host>) = lab.hosts_on_a_switch(2);
    let _routers = [
        hosts[0].launch(&TRUST),
        hosts[1].launch(&[&TRUST[..], &["10.9.0.1"]].concat()),
    ];
    hosts.iter().for_each(|host| host.wait_for_peers(2));
    let (left, right) = (hosts[0].container(1), hosts[1].container(2));
    left.wait_for(&right);
    let name = hosts[1].name.clone();
    wait_for_overlay(&hosts[0], &name, "fast", SOON);
    let flow = Flow::start(&left, &right, right.v4);
    for _ in 0..2 {
        std::thread::sleep(Duration::from_secs(1));
        block(&hosts[1], true);
        let took = moved(&hosts[0], &name, "sleeve");
        assert!(took < Duration::from_secs(3), "{took:?}");
        until("the reason is told", Duration::from_secs(5), || {
            why(&hosts[0], &name).contains("UDP port 6784").then_some(())
        });
        std::thread::sleep(Duration::from_secs(2));
        block(&hosts[1], false);
        let took = moved(&hosts[0], &name, "fast");
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
    std::thread::sleep(Duration::from_secs(1));
    let flow = flow.stop();
    assert!(flow.whole && flow.longest < Duration::from_secs(4), "{flow:?}");
}

#[test]
fn a_blocked_first_hop_moves_what_goes_over_it() {
    let Some(lab) = Lab::new("fast-block-hop") else {
        return;
    };
    let line = Line::new(&lab);
    line.wait_for_fast(SOON);
    let [a, r, _] = &line.hosts;
    let flow = Flow::start(&line.left, &line.right, line.right.v4);
    std::thread::sleep(Duration::from_secs(1));
    block(a, true);
    let took = moved(a, "b", "sleeve");
    assert!(took < Duration::from_secs(3), "{took:?}");
    wait_for_overlay(r, "a", "sleeve", Duration::from_secs(3));
    assert_eq!(overlay(r, "b").as_deref(), Some("fast"), "the other hop stays");
    std::thread::sleep(Duration::from_secs(2));
    block(a, false);
    let took = moved(a, "b", "fast");
    assert!(took < Duration::from_secs(5), "{took:?}");
    line.wait_for_fast(SOON);
    let flow = flow.stop();
    assert!(flow.whole && flow.longest < Duration::from_secs(4), "{flow:?}");
}
