//! What a container receives beyond its limit waits for its turn.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use common::{Host, MTU, ip, skipped, udp};
use fastpath::observe::Queue;
use fastpath::{Kernel, Limit, NetNs};
use std::process::Command;
use std::time::{Duration, Instant};

const LIMIT: Limit = Limit {
    rate: 1_000_000,
    burst: 50_000,
};

fn tc(host: &Host, args: &[&str]) -> String {
    let run = || Command::new("tc").args(args).output();
    let output = host.netns.run(run).unwrap().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}");
    String::from_utf8(output.stdout).unwrap()
}

fn queue(host: &mut Host, at: usize) -> Option<Queue> {
    let desired = host.desired.clone();
    let observed = host.kernel.observe(&desired, None).unwrap();
    observed.links[&desired.attachments[at].host_ifname].queue
}

#[test]
fn what_a_container_receives_waits_for_its_turn() {
    if skipped() {
        return;
    }
    let mut host = Host::new();
    let (left, right) = (
        NetNs::create_anonymous().unwrap(),
        NetNs::create_anonymous().unwrap(),
    );
    host.attach(&left, "eth0", &["10.1.0.1/16"]);
    let name = host.attach(&right, "eth0", &["10.1.0.2/16"]).host_ifname;
    host.desired.attachments[1].limits.receives = Some(LIMIT);
    host.converge();
    assert_eq!(queue(&mut host, 1), Some(Queue::of(LIMIT, MTU)));
    let listed = tc(&host, &["qdisc", "show", "dev", &name]);
    assert!(
        listed.contains("tbf 1: root") && listed.contains("rate 8Mbit"),
        "{listed}"
    );
    // A second of more than that.
    let (from, to) = (
        udp(&left, (ip("10.1.0.1"), 0).into()),
        udp(&right, (ip("10.1.0.2"), 0).into()),
    );
    let target = to.local_addr().unwrap();
    let receiver = std::thread::spawn(move || {
        let (mut bytes, mut buffer) = (0, [0; 2048]);
        to.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        while let Ok((length, _)) = to.recv_from(&mut buffer) {
            bytes += length + 42;
        }
        bytes
    });
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(1) {
        for _ in 0..4 {
            from.send_to(&[0; 1000], target).unwrap();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let took = start.elapsed().as_secs_f64();
    // What passed meanwhile, the burst, and what still waited at the end.
    let waited = f64::from(Queue::of(LIMIT, MTU).length);
    let (came, most) = (receiver.join().unwrap() as f64, 1e6 * took + 5e4 + waited);
    assert!((0.8 * most..1.02 * most).contains(&came), "{came} in {took}");
    // Taken away it is put back; another limit takes its place; and one of 100 Gbit/s has more than 32 bits.
    tc(&host, &["qdisc", "del", "dev", &name, "root"]);
    assert_eq!(queue(&mut host, 1), None);
    for limit in [
        LIMIT,
        Limit { burst: 1, ..LIMIT },
        Limit {
            rate: 12_500_000_000,
            burst: 1 << 31,
        },
    ] {
        host.desired.attachments[1].limits.receives = Some(limit);
        host.converge();
        assert_eq!(queue(&mut host, 1), Some(Queue::of(limit, MTU)));
    }
    // Somebody else's is left alone where there is no limit.
    let other = host.desired.attachments[0].host_ifname.clone();
    tc(&host, &["qdisc", "add", "dev", &other, "root", "pfifo"]);
    assert_eq!(host.converge().done, 0);
}
