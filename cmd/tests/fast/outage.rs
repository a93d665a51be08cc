//! Routers that stand still, die and return: established traffic does not notice.

use crate::common::traffic::{Pings, noise, ping, tcp};
use crate::common::{Container, Host, Lab};
use crate::{Line, SOON, TRUST, overlay};
use rustix::process::Signal;
use std::time::Duration;

const MEGABYTE: usize = 1 << 20;

#[test]
fn traffic_goes_on_over_a_relay_while_all_routers_stand_still() {
    let Some(lab) = Lab::new("fast-still") else { return };
    let line = Line::new(&lab);
    line.wait_for_fast(SOON);
    // Probes that come to a relay before it knows its own hops are dropped.
    let vxlan_drops = || line.hosts.each_ref().map(drops_of_vxlan);
    let before = vxlan_drops();
    let pings = Pings::start(&line.left, line.right.v4, Duration::from_millis(20));
    for router in &line.routers {
        router.signal(Signal::STOP);
    }
    tcp(&line.left, &line.right, line.right.v4, &noise(20 * MEGABYTE));
    let still = ping(&line.left, line.right.v6, 400, Duration::from_millis(10));
    assert_eq!(still.lost, 0, "{still:?}");
    assert_eq!(broadcast(&line.left, &line.right), 20);
    std::thread::sleep(Duration::from_secs(1));
    for router in &line.routers {
        router.signal(Signal::CONT);
    }
    std::thread::sleep(Duration::from_secs(5));
    let count = pings.stop();
    assert_eq!(count.lost, 0, "{count:?}");
    line.wait_for_fast(SOON);
    assert_eq!(vxlan_drops(), before);
}

/// How many of twenty broadcasts of one container come to another.
fn broadcast(from: &Container, to: &Container) -> usize {
    let socket = to.udp("0.0.0.0".parse().unwrap(), 0);
    let port = socket.local_addr().unwrap().port();
    let sender = from.udp(from.v4, 0);
    sender.set_broadcast(true).unwrap();
    for _ in 0..20 {
        sender.send_to(b"to all", ("10.47.255.255", port)).unwrap();
    }
    let mut buffer = [0; 16];
    (0..40)
        .take_while(|_| socket.recv_from(&mut buffer).is_ok())
        .count()
}

fn drops_of_vxlan(host: &Host) -> Vec<(String, u64)> {
    let status = host.status();
    let drops = status["drops"].as_object().unwrap().iter();
    let vxlan = drops.filter(|(name, _)| name.starts_with("vxlan"));
    vxlan
        .map(|(name, count)| (name.clone(), count.as_u64().unwrap()))
        .collect()
}

#[test]
fn a_router_that_is_killed_and_returns_loses_nothing() {
    let Some(lab) = Lab::new("fast-kill") else { return };
    let mut line = Line::new(&lab);
    line.wait_for_fast(SOON);
    let pings = Pings::start(&line.left, line.right.v4, Duration::from_millis(20));
    // The relay, then an end.
    for (at, target) in [(0, None), (1, Some("10.1.0.1"))] {
        line.routers.remove(0).kill();
        std::thread::sleep(Duration::from_secs(1));
        let host = &line.hosts[1 - at];
        let args: Vec<_> = TRUST.into_iter().chain(target).collect();
        line.routers.push(host.launch(&args));
        line.hosts[1].wait_for_peers(3);
        line.wait_for_fast(Duration::from_secs(20));
    }
    let count = pings.stop();
    assert_eq!(count.lost, 0, "{count:?}");
    // Longer than anything is kept without a reason.
    for _ in 0..2 {
        let count = ping(&line.left, line.right.v4, 160, Duration::from_millis(200));
        assert_eq!(count.lost, 0, "{count:?}");
    }
    assert_eq!(overlay(&line.hosts[0], "b").as_deref(), Some("fast"));
}
