//! What containers send while a test disturbs the mesh.

use super::run::finish;
use super::{Container, start};
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Pings that go on in the background.
pub struct Pings {
    child: Option<(Child, String)>,
    every: Duration,
    started: Instant,
}

/// How late an answer may be on a busy machine: pings sent within this time of the end are not yet lost.
const ON_THE_WAY: Duration = Duration::from_millis(500);
/// Shortest time that pings are watched.
const WATCHED: Duration = Duration::from_millis(1500);

/// How many pings were sent, and how many were never answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    pub sent: u32,
    pub lost: u32,
}

impl Pings {
    /// Starts to ping, every `every`.
    pub fn start(from: &Container, to: IpAddr, every: Duration) -> Self {
        let seconds = every.as_secs_f64().to_string();
        let child = start(
            &from.netns,
            "ping",
            &["-n", "-i", &seconds, "-W", "1", &to.to_string()],
        );
        Self {
            child: Some(child),
            every,
            started: Instant::now(),
        }
    }

    /// Ends, not before [`WATCHED`], and counts.
    pub fn stop(mut self) -> Count {
        // What was done to the mesh last shall show, too.
        std::thread::sleep(WATCHED.saturating_sub(self.started.elapsed()).max(ON_THE_WAY));
        let (child, text) = self.child.take().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let out = finish(child, text, "").out;
        let Count { sent, lost } = count(&out);
        let last = out.lines().rev().find_map(sequence).unwrap_or(0);
        let waiting = sent.saturating_sub(last);
        let on_the_way = (ON_THE_WAY.as_millis() / self.every.as_millis()) as u32;
        Count {
            sent,
            lost: lost.saturating_sub(waiting.min(on_the_way)),
        }
    }
}

/// The number of the ping that a line of `ping` tells the answer of.
fn sequence(line: &str) -> Option<u32> {
    let (_, rest) = line.split_once("icmp_seq=")?;
    rest.split_whitespace().next()?.parse().ok()
}

impl Drop for Pings {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Sends `count` pings, one every `every`, and counts.
pub fn ping(from: &Container, to: IpAddr, sent: u32, every: Duration) -> Count {
    let (every, sent) = (every.as_secs_f64().to_string(), sent.to_string());
    let args = ["-n", "-q", "-i", &every, "-W", "1", "-c", &sent, &to.to_string()];
    count(&from.run("ping", &args).out)
}

/// Reads the summary that `ping` prints.
fn count(text: &str) -> Count {
    let line = text.lines().find(|line| line.contains("packets transmitted"));
    let line = line.unwrap_or_else(|| panic!("no summary in {text:?}"));
    let number = |after: &str| -> u32 {
        let part = line.split(',').find(|part| part.contains(after)).unwrap();
        part.split_whitespace().next().unwrap().parse().unwrap()
    };
    let sent = number("packets transmitted");
    Count {
        sent,
        lost: sent - number("received"),
    }
}

/// Moves `payload` over TCP from one container to another and checks that it arrived whole. Returns the time.
pub fn tcp(from: &Container, to: &Container, address: IpAddr, payload: &[u8]) -> Duration {
    let listener = to.netns.run(|| TcpListener::bind((address, 0))).unwrap().unwrap();
    let target = listener.local_addr().unwrap();
    let start = Instant::now();
    std::thread::scope(|scope| {
        let receiver = scope.spawn(|| receive(&listener, payload.len()));
        send(from, target, payload);
        let received = receiver.join().unwrap();
        assert!(received == payload, "what arrived is not what was sent");
    });
    start.elapsed()
}

/// One TCP connection that goes on in the background: a number every few milliseconds.
pub struct Flow {
    stop: Arc<AtomicBool>,
    sender: JoinHandle<io::Result<u64>>,
    receiver: JoinHandle<(u64, bool, Duration)>,
}

/// What became of it.
#[derive(Debug)]
pub struct FlowReport {
    /// All that was sent arrived, in order.
    pub whole: bool,
    /// The longest time in which nothing arrived.
    pub longest: Duration,
}

impl Flow {
    /// Connects, and starts to send.
    pub fn start(from: &Container, to: &Container, address: IpAddr) -> Self {
        let listener = to.netns.run(|| TcpListener::bind((address, 0))).unwrap().unwrap();
        let target = listener.local_addr().unwrap();
        let connected = from.netns.run(|| TcpStream::connect_timeout(&target, STALL));
        let mut stream = connected.unwrap().unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_write_timeout(Some(STALL)).unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        accepted.set_read_timeout(Some(STALL)).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let sender = std::thread::spawn(move || {
            let mut number = 0_u64;
            while !stopped.load(Ordering::Relaxed) {
                stream.write_all(&number.to_be_bytes())?;
                number += 1;
                std::thread::sleep(Duration::from_millis(5));
            }
            Ok(number)
        });
        let receiver = std::thread::spawn(move || {
            let (mut next, mut in_order, mut longest) = (0_u64, true, Duration::ZERO);
            let (mut number, mut last) = ([0; 8], Instant::now());
            while accepted.read_exact(&mut number).is_ok() {
                in_order &= u64::from_be_bytes(number) == next;
                next += 1;
                longest = longest.max(last.elapsed());
                last = Instant::now();
            }
            (next, in_order, longest)
        });
        Self {
            stop,
            sender,
            receiver,
        }
    }

    /// Ends it.
    pub fn stop(self) -> FlowReport {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.sender.join().unwrap();
        let (received, in_order, longest) = self.receiver.join().unwrap();
        FlowReport {
            whole: in_order && sent.is_ok_and(|sent| sent == received),
            longest,
        }
    }
}

/// Longest pause in a TCP connection.
const STALL: Duration = Duration::from_secs(20);

fn receive(listener: &TcpListener, expected: usize) -> Vec<u8> {
    let until = Instant::now() + STALL;
    listener.set_nonblocking(true).unwrap();
    let mut stream = loop {
        match listener.accept() {
            Ok((stream, _)) => break stream,
            Err(error) => assert!(Instant::now() < until, "nobody connects: {error}"),
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(STALL)).unwrap();
    let mut received = Vec::with_capacity(expected);
    stream.read_to_end(&mut received).unwrap();
    received
}

fn send(from: &Container, target: SocketAddr, payload: &[u8]) {
    let stream = from
        .netns
        .run(|| TcpStream::connect_timeout(&target, STALL))
        .unwrap();
    let mut stream = stream.unwrap();
    stream.set_write_timeout(Some(STALL)).unwrap();
    stream.write_all(payload).unwrap();
}

/// Bytes that no compression or chance makes equal to others.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(step).collect()
}
