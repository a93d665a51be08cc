//! Routers that stand still, die and return: established traffic does not notice.

use crate::common::Lab;
use crate::common::traffic::{Pings, noise, ping, tcp};
use crate::{Line, SOON, TRUST, overlay};
use rustix::process::Signal;
use std::time::Duration;

const MEGABYTE: usize = 1 << 20;

#[test]
fn traffic_goes_on_over_a_relay_while_all_routers_stand_still() {
    let Some(lab) = Lab::new("fast-still") else { return };
    let line = Line::new(&lab);
    line.wait_for_fast(SOON);
    let pings = Pings::start(&line.left, line.right.v4, Duration::from_millis(10));
    for router in &line.routers {
        router.signal(Signal::STOP);
    }
    tcp(&line.left, &line.right, line.right.v4, &noise(20 * MEGABYTE));
    let still = ping(&line.left, line.right.v6, 400, Duration::from_millis(10));
    assert_eq!(still.lost, 0, "{still:?}");
    std::thread::sleep(Duration::from_secs(1));
    for router in &line.routers {
        router.signal(Signal::CONT);
    }
    std::thread::sleep(Duration::from_secs(5));
    let count = pings.stop();
    assert_eq!(count.lost, 0, "{count:?}");
    line.wait_for_fast(SOON);
    for host in &line.hosts {
        let drops = host.status()["drops"].clone();
        let vxlan = drops
            .as_object()
            .unwrap()
            .keys()
            .filter(|name| name.starts_with("vxlan"));
        assert_eq!(vxlan.count(), 0, "{}: {drops}", host.name);
    }
}

#[test]
fn a_router_that_is_killed_and_returns_loses_no_frame() {
    let Some(lab) = Lab::new("fast-kill") else { return };
    let mut line = Line::new(&lab);
    line.wait_for_fast(SOON);
    let pings = Pings::start(&line.left, line.right.v4, Duration::from_millis(10));
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
    // Longer than anything is kept without a reason.
    std::thread::sleep(Duration::from_secs(65));
    let count = pings.stop();
    assert_eq!(count.lost, 0, "{count:?}");
    assert_eq!(overlay(&line.hosts[0], "b").as_deref(), Some("fast"));
}
