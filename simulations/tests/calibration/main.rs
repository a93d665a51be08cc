//! The simulated link beside real quinn: the same messages over both, how long they take and what is on the wire.
//!
//! Bounds are wide, as the machine may be busy while the real one runs. `--nocapture` prints the table.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod quinn;
#[path = "../../../cmd/src/link/tls.rs"]
#[allow(dead_code, unreachable_pub)]
mod tls;

use mesh::DropReason;
use simulations::{Class, HostId, World};
use std::time::Duration;

/// What passed, both directions together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Count {
    packets: u64,
    bytes: u64,
}

const ROUND_TRIPS: [u64; 2] = [20, 100];
const LENGTHS: [usize; 3] = [100, 10_000, 1_000_000];
/// With loss the mean of so many messages counts.
const TRIES: u64 = 5;
/// Nothing takes longer.
const LONGEST: Duration = Duration::from_secs(30);
/// How long keepalives are counted.
const IDLE: Duration = Duration::from_secs(10);
/// Payload of a keepalive's datagram.
const KEEPALIVE: usize = 10;

fn world(seed: u64, round_trip: Duration) -> (World, [HostId; 2]) {
    let mut world = World::new(seed);
    let hosts = world.add_hosts(2);
    let mut wire = world.network.usual();
    wire.latency = round_trip / 2;
    world.network.set_usual(wire);
    world.launch(hosts[0], &[]);
    world.launch(hosts[1], &[hosts[0]]);
    world.run(Duration::from_secs(5));
    (world, [hosts[0], hosts[1]])
}

/// How long so many bytes take in the simulation, in messages as long as may be. They say nothing, so the router at the
/// other end drops and counts them. `None`: the link ended, as it may when keepalives are lost and those that are sent
/// in their place wait behind a long message.
fn simulated(seed: u64, round_trip: Duration, loss: f64, length: usize) -> Option<Duration> {
    let (mut world, [near, far]) = world(seed, round_trip);
    let mut wire = world.network.usual();
    wire.loss = loss;
    world.network.set_usual(wire);
    let drops = |world: &World| world.router(far).unwrap().drops.get(DropReason::UnknownMessage);
    let (before, begin) = (drops(&world), world.now());
    let pieces = length.div_ceil(mesh::MAX_MESSAGE);
    for _ in 0..pieces {
        world.speak(near, &mesh::Packet::from(vec![0xff; length / pieces]));
    }
    while drops(&world) < before + pieces as u64 {
        world.run(Duration::from_millis(1));
        if world.now().since(begin) > LONGEST {
            return None;
        }
    }
    Some(world.now().since(begin))
}

fn mean(times: &[Duration]) -> Duration {
    times.iter().sum::<Duration>() / times.len().max(1) as u32
}

/// Of so many tries without loss the quickest counts.
const QUIET_TRIES: u64 = 3;

#[tokio::test(flavor = "current_thread")]
async fn messages_take_about_as_long_as_over_quinn() {
    let mut cases = Vec::new();
    for loss in [0.0, 0.02] {
        for round_trip in ROUND_TRIPS.map(Duration::from_millis) {
            cases.extend(LENGTHS.map(|length| (round_trip, loss, length)));
        }
    }
    let tries = |loss: f64| if loss > 0.0 { TRIES } else { 1 };
    // Those with loss all at once: what takes long is waiting. The others are over before, undisturbed.
    let mut running = Vec::new();
    for &(round_trip, loss, length) in cases.iter().filter(|(_, loss, _)| *loss == 0.0) {
        // A busy machine makes it slower, never quicker.
        let mut time = quinn::message(1, round_trip, loss, length).await;
        for _ in 1..QUIET_TRIES {
            time = time.min(quinn::message(1, round_trip, loss, length).await);
        }
        running.push(vec![tokio::spawn(async move { time })]);
    }
    for &(round_trip, loss, length) in cases.iter().filter(|(_, loss, _)| *loss > 0.0) {
        let messages =
            (0..tries(loss)).map(|seed| tokio::spawn(quinn::message(seed, round_trip, loss, length)));
        running.push(messages.collect::<Vec<_>>());
    }
    let mut wrong = Vec::new();
    println!("round trip  loss      bytes      quinn  simulated  ratio");
    for ((round_trip, loss, length), running) in cases.into_iter().zip(running) {
        let mut real = Vec::new();
        for message in running {
            real.push(message.await.unwrap());
        }
        let made: Vec<_> = (0..tries(loss) * 2)
            .filter_map(|seed| simulated(seed, round_trip, loss, length))
            .collect();
        assert!(made.len() > 1 || loss == 0.0, "links end");
        let (real, made) = (mean(&real), mean(&made));
        let ratio = made.as_secs_f64() / real.as_secs_f64();
        let line = format!(
            "{:>7} ms  {:>3.0} %  {length:>9}  {:>6} ms  {:>6} ms  {ratio:>5.2}",
            round_trip.as_millis(),
            loss * 100.0,
            real.as_millis(),
            made.as_millis()
        );
        println!("{line}");
        let bounds = if loss > 0.0 { 0.25..3.0 } else { 0.5..1.7 };
        if !bounds.contains(&ratio) {
            wrong.push(line);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test(flavor = "current_thread")]
async fn handshakes_and_keepalives_take_about_as_many_bytes_as_quinns() {
    let round_trip = Duration::from_millis(20);
    let (mut world, hosts) = world(1, round_trip);
    let sent = |world: &World, classes: &[Class]| {
        let mut sum = Count { packets: 0, bytes: 0 };
        for (host, class) in hosts
            .iter()
            .flat_map(|host| classes.iter().map(move |class| (host, class)))
        {
            let count = world.traffic(*host).sent(*class);
            sum.packets += count.packets;
            sum.bytes += count.bytes;
        }
        sum
    };
    let handshake = sent(&world, &[Class::Handshake]);
    let before = sent(&world, &[Class::Keepalive, Class::Ack]);
    world.run(IDLE);
    let after = sent(&world, &[Class::Keepalive, Class::Ack]);
    let idle = Count {
        packets: after.packets - before.packets,
        bytes: after.bytes - before.bytes,
    };
    let (real_handshake, real_idle) = quinn::idle(round_trip, KEEPALIVE, IDLE).await;
    println!("               quinn               simulated           ratio of bytes");
    for (what, real, made) in [
        ("handshake", real_handshake, handshake),
        ("idle, 10 s", real_idle, idle),
    ] {
        let ratio = made.bytes as f64 / real.bytes as f64;
        let line = format!(
            "{what:<11} {:>4} in {:>6} B {:>8} in {:>6} B      {ratio:.2}",
            real.packets, real.bytes, made.packets, made.bytes
        );
        println!("{line}");
        assert!((0.6..1.6).contains(&ratio), "{line}");
    }
}
