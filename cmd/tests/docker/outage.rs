//! Routers, drivers and engines that are killed while containers run.

use crate::common::{Host, until};
use crate::engine::{Engine, free};
use crate::{Hosts, TO_R};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(15);

/// Pings from a container, and tells when answers came.
fn ping(pid: &str, to: &str) -> Child {
    let mut command = Command::new("nsenter");
    command.args(["-t", pid, "-n", "ping", "-n", "-D", "-i", "0.05", "-W", "1", to]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command.spawn().unwrap()
}

/// How many answers came, and the longest time between two.
fn gaps(child: Child) -> (usize, f64) {
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let out = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    let time = |line: &str| -> Option<f64> { line.strip_prefix('[')?.split_once(']')?.0.parse().ok() };
    let times: Vec<f64> = out
        .lines()
        .filter(|line| line.contains("bytes from"))
        .filter_map(time)
        .collect();
    let gap = times.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
    (times.len(), gap)
}

#[test]
fn a_router_that_is_killed_and_starts_again_is_missed_for_less_than_a_second() {
    let Some(mut hosts) = Hosts::new("docker-restart") else {
        return;
    };
    let [host_a, _, host_b] = &hosts.hosts;
    let [mut a, b] = Engine::both_with_live_restore([host_a, host_b]);
    for engine in [&a, &b] {
        engine.network("mesh").ok();
    }
    a.run("left", &["--network", "mesh"], &["sleep", "1000"]).ok();
    b.run("right", &["--network", "mesh"], &["sleep", "1000"]).ok();
    let left = a.address("left", "mesh");
    until("they reach each other", SOON, || {
        (b.exec("right", &["ping", "-c1", "-W1", &left]).code == Some(0)).then_some(())
    });
    let pinging = ping(&b.pid("right"), &left);
    std::thread::sleep(Duration::from_secs(2));
    hosts.routers[0].take().unwrap().kill();
    hosts.routers[0] = Some(host_a.launch(&[TO_R[0]]));
    std::thread::sleep(Duration::from_secs(4));
    let (count, gap) = gaps(pinging);
    println!("a router killed and started again: {count} answers, longest gap {gap:.3} s");
    // A program without optimisation takes its time to start.
    let most = if cfg!(debug_assertions) { 2.0 } else { 1.0 };
    assert!(
        count > 50 && gap < most,
        "{count} answers, longest gap {gap:.3} s"
    );
    // The driver is away for a moment: its socket is gone here, where no systemd holds it; what it knew it knows.
    a.run("more", &["--network", "mesh"], &["sleep", "1000"]).ok();
    b.exec("right", &["ping", "-c1", "-W2", &a.address("more", "mesh")])
        .ok();

    // The engine is killed under containers that outlive it.
    let pinging = ping(&b.pid("right"), &left);
    std::thread::sleep(Duration::from_millis(500));
    a.kill_docker();
    a.start_docker();
    a.wait();
    std::thread::sleep(Duration::from_secs(2));
    let (count, gap) = gaps(pinging);
    println!(
        "an engine killed and started again, with live-restore: {count} answers, longest gap {gap:.3} s"
    );
    assert!(count > 50 && gap < 1.0, "{count} answers, longest gap {gap:.3} s");
    let names = || host_b.weft(&["dns", "lookup", "left"]).code;
    assert_eq!((a.counts().1, names()), (2, Some(0)));
    let all_free = || hosts.hosts.iter().map(free).sum::<u64>();
    let before = all_free();
    a.run("third", &["--network", "mesh"], &["sleep", "1000"]).ok();
    assert_ne!(a.address("third", "mesh"), left);
    a.docker(&["rm", "-f", "left", "more", "third"]).ok();
    until("nothing of them is left", SOON, || {
        (a.pairs().is_empty() && a.counts().1 == 0 && all_free() == before + 2).then_some(())
    });
    a.docker(&["network", "rm", "mesh"]).ok();
}

/// Containers come and go as if nothing had been.
fn works(a: &Engine<'_>, b: &Engine<'_>, host: &Host) {
    a.run("new-left", &["--network", "mesh"], &["sleep", "1000"]).ok();
    b.run("new-right", &["--network", "mesh"], &["sleep", "1000"])
        .ok();
    let left = a.address("new-left", "mesh");
    until("new containers reach each other", SOON, || {
        (b.exec("new-right", &["ping", "-c1", "-W1", &left]).code == Some(0)).then_some(())
    });
    until("their names are known", SOON, || {
        (host.weft(&["dns", "lookup", "new-left"]).code == Some(0)).then_some(())
    });
    a.docker(&["rm", "-f", "new-left"]).ok();
    b.docker(&["rm", "-f", "new-right"]).ok();
}

#[test]
fn whoever_is_killed_first_all_is_as_it_was() {
    let Some(mut hosts) = Hosts::new("docker-killed") else {
        return;
    };
    let [host_a, _, host_b] = &hosts.hosts;
    let [mut a, b] = Engine::both([host_a, host_b]);
    for engine in [&a, &b] {
        engine.network("mesh").ok();
    }
    works(&a, &b, host_b);
    for router_first in [true, false] {
        a.run("victim", &["--network", "mesh"], &["sleep", "1000"]).ok();
        if router_first {
            hosts.routers[0].take().unwrap().kill();
            a.kill_driver();
            a.kill_docker();
        } else {
            a.kill_docker();
            hosts.routers[0].take().unwrap().kill();
            a.kill_driver();
        }
        // In the other order than they went.
        if router_first {
            a.start_driver();
            a.start_docker();
            std::thread::sleep(Duration::from_millis(500));
            hosts.routers[0] = Some(host_a.launch(&[TO_R[0]]));
        } else {
            hosts.routers[0] = Some(host_a.launch(&[TO_R[0]]));
            a.start_driver();
            a.start_docker();
        }
        a.wait();
        works(&a, &b, host_b);
        // It died with its engine, or lives on; it can be removed either way.
        a.docker(&["rm", "-f", "victim"]).ok();
        until("nothing of it is left", Duration::from_secs(20), || {
            (a.pairs().is_empty() && a.counts().1 == 0).then_some(())
        });
    }
}
