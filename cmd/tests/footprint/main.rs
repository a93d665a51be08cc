//! What a router costs, and what it bears. Each test runs alone on its machine.
//!
//! The limits are those of a release build; a debug build gets twice the time and says so.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../common/mod.rs"]
mod common;

use common::traffic::{noise, ping};
use common::{Lab, Network, Router, until};
use std::net::UdpSocket;
use std::time::{Duration, Instant};

const DATAGRAMS: u32 = 100_000;
const FLOOD: Duration = Duration::from_secs(8);
const PINGS: u32 = 500;
const MOST_LOST: u32 = 5;
/// Pages of the program itself count, of which a debug build has many more.
const MOST_MEMORY_KIB: u64 = if cfg!(debug_assertions) { 40 } else { 32 } * 1024;
/// Of one core.
const MOST_IDLE_CPU: f64 = 0.005;
const LINKED: Duration = Duration::from_millis(300);

/// Times that a debug build may take longer.
const SLOW: u32 = if cfg!(debug_assertions) { 2 } else { 1 };

/// A lab that nothing else disturbs.
fn quiet_lab(name: &'static str) -> Option<Lab> {
    if SLOW > 1 {
        println!("a debug build: it gets {SLOW} times what a release build may take");
    }
    Lab::alone(name)
}

#[test]
fn a_flood_of_100_000_random_datagrams_costs_at_most_five_of_500_pings() {
    let Some(lab) = quiet_lab("flood") else { return };
    let pair = lab.pair();
    let attacker = lab.host("attacker");
    pair.switch.plug(&attacker, Network(9), 66);
    let (socket, bytes) = (
        attacker
            .netns
            .run(|| UdpSocket::bind("10.9.0.66:0"))
            .unwrap()
            .unwrap(),
        noise(1 << 20),
    );
    let (count, sent) = std::thread::scope(|scope| {
        let flood = scope.spawn(|| {
            let start = Instant::now();
            let mut sent = 0;
            for number in 0..DATAGRAMS {
                // Two of three are of the kinds that sleeve reads further than the first byte.
                let at = (number as usize * 7919) % (bytes.len() - 1500);
                let mut datagram = bytes[at..at + 1 + at % 1400].to_vec();
                if number % 3 > 0 {
                    datagram[0] = (number % 4) as u8;
                }
                sent += u32::from(socket.send_to(&datagram, "10.9.0.2:6783").is_ok());
                let due = FLOOD * number / DATAGRAMS;
                std::thread::sleep(due.saturating_sub(start.elapsed()));
            }
            sent
        });
        let every = FLOOD / PINGS;
        let count = ping(&pair.left_container, pair.right_container.v4, PINGS, every);
        (count, flood.join().unwrap())
    });
    assert_eq!((count.sent, sent), (PINGS, DATAGRAMS));
    let drops = pair.right.status()["drops"].clone();
    let counted: u64 = drops
        .as_object()
        .unwrap()
        .values()
        .map(|count| count.as_u64().unwrap())
        .sum();
    println!("{count:?}, counted {counted}: {drops}");
    assert!(count.lost <= MOST_LOST, "{count:?}");
    assert!(counted > u64::from(DATAGRAMS) / 2, "{counted}: {drops}");
    assert_eq!(pair.right.reachable().len(), 2);
}

/// Time on a processor since its start, of all threads.
fn processor_time(router: &Router) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", router.pid())).unwrap();
    let nanoseconds = tasks.map(|task| {
        let path = task.unwrap().path().join("schedstat");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let first = text.split_whitespace().next().unwrap_or("0");
        first.parse::<u64>().unwrap()
    });
    Duration::from_nanos(nanoseconds.sum())
}

fn memory_kib(router: &Router) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/status", router.pid())).unwrap();
    let line = text.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_router_with_five_peers_stays_small_and_idle() {
    let Some(lab) = quiet_lab("idle") else { return };
    let (_switch, hosts) = lab.hosts_on_a_switch(6);
    let mut routers = vec![hosts[0].launch(&[])];
    for host in &hosts[1..] {
        routers.push(host.launch(&["10.9.0.1"]));
    }
    hosts.iter().for_each(|host| host.wait_for_peers(6));
    let containers: Vec<_> = (0..6).map(|at| hosts[at].container(at as u8 + 1)).collect();
    containers[1..]
        .iter()
        .for_each(|other| containers[0].wait_for(other));

    // After the searches for path MTUs have ended.
    std::thread::sleep(Duration::from_secs(5));
    let long = std::env::var("WEFT_LONG").as_deref() == Ok("1");
    let watched = Duration::from_secs(if long { 60 } else { 15 });
    let before: Vec<_> = routers.iter().map(processor_time).collect();
    std::thread::sleep(watched);
    let limit = MOST_IDLE_CPU * f64::from(SLOW);
    for ((router, host), before) in routers.iter().zip(&hosts).zip(before) {
        let share = (processor_time(router) - before).as_secs_f64() / watched.as_secs_f64();
        let memory = memory_kib(router);
        println!("{}: {:.2} % of a core, {memory} KiB", host.name, share * 100.0);
        assert!(
            share < limit,
            "{} uses {:.2} % of a core",
            host.name,
            share * 100.0
        );
        assert!(memory < MOST_MEMORY_KIB, "{} takes {memory} KiB", host.name);
    }
}

#[test]
fn a_router_answers_and_is_linked_300_ms_after_it_was_started() {
    let Some(lab) = quiet_lab("speed") else { return };
    let (_switch, hosts) = lab.hosts_on_a_switch(2);
    let _first = hosts[0].launch(&[]);
    let (mut answered, mut linked) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        let router = hosts[1].exec(&["10.9.0.1"], Some(&lab.secret));
        hosts[1].wait_for_socket();
        answered.push(router.started.elapsed());
        until("it is linked", Duration::from_secs(5), || {
            let outcome = hosts[1].weft(&["status", "--json"]);
            outcome.out.contains("\"state\": \"established\"").then_some(())
        });
        linked.push(router.started.elapsed());
        router.terminate();
        hosts[0].wait_for_peers(1);
    }
    for (what, times) in [
        ("the socket answers", &mut answered),
        ("established", &mut linked),
    ] {
        times.sort_unstable();
        println!("from exec until {what}: {times:?}");
        let median = times[times.len() / 2];
        assert!(median < LINKED * SLOW, "{what}: median {median:?} of {times:?}");
    }
}
