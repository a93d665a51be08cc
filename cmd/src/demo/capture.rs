//! Reads along on a wire, as an eavesdropper at the relay would: every frame, in both directions.
//!
//! One thread per wire: a packet socket (packet(7)) in the relay's namespace, a filter that leaves the frames of
//! one interface, and the search for the marker in each frame. The marker fits whole into every segment of the
//! payload, so there is no need to put the stream together.
//!
//! A packet socket drops frames when its buffer is full. So whoever produces traffic calls
//! [`Capture::keep_pace`] now and then, and waits until everything before has been read.

use super::limits::Limits;
use super::marker::Needle;
use super::world::{Wire, World};
use anyhow::{Context, Result};
use fastpath::wire::{self, End};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// `ETH_P_ALL` of `linux/if_ether.h`.
const ALL_PROTOCOLS: u16 = 3;
/// The buffer asked for, in bytes; without privileges the kernel gives less.
const BUFFER: usize = 64 << 20;
/// Longest frame: the kernel may pass on many segments as one.
const LONGEST: usize = 256 << 10;
/// How long a thread may take to notice that it shall end.
const NAP: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 20_000_000,
};
/// Longest wait for the threads to catch up.
const CATCH_UP: Duration = Duration::from_millis(500);
/// How long a datagram may take from one end of a wire to the other.
const FLIGHT: Duration = Duration::from_secs(2);

/// Ears on all wires. Dropping it ends them.
#[derive(Debug)]
pub(crate) struct Capture {
    ears: Vec<Ear>,
    stop: Arc<AtomicBool>,
    /// Bytes that may be sent between two calls of [`Self::keep_pace`].
    pub(crate) stride: usize,
}

/// One wire's thread.
#[derive(Debug)]
struct Ear {
    wire: Wire,
    heard: Arc<Heard>,
    thread: Option<JoinHandle<()>>,
    /// What the interface had counted at the start.
    before: u64,
}

/// What a thread has heard so far.
#[derive(Debug, Default)]
struct Heard {
    bytes: AtomicU64,
    /// Frames with the marker in them.
    marked: AtomicU64,
    /// How often there was nothing left to read.
    pauses: AtomicU64,
}

/// What was heard on one wire.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Overheard {
    pub(crate) wire: Wire,
    /// Bytes that were searched.
    pub(crate) bytes: u64,
    /// Bytes that crossed the wire, as the interface counts them.
    pub(crate) crossed: u64,
    /// Frames with the marker in them.
    pub(crate) marked: u64,
}

impl Capture {
    /// Listens on `wires` for `marker`.
    pub(crate) fn start(world: &World, wires: &[Wire], marker: &Needle) -> Result<Self> {
        let mut capture = Self {
            ears: Vec::new(),
            stop: Arc::default(),
            stride: usize::MAX,
        };
        for &wire in wires {
            capture.listen(world, wire, marker.clone())?;
        }
        Ok(capture)
    }

    fn listen(&mut self, world: &World, wire: Wire, marker: Needle) -> Result<()> {
        let end = world.inner_end(wire);
        let index = wire::index(end)?;
        let socket = end
            .netns
            .run(|| open(index))?
            .with_context(|| format!("listen on the wire {}", wire.name))?;
        // An eighth, because a short frame takes much more of the buffer than its length.
        self.stride = self.stride.min(socket.recv_buffer_size().unwrap_or(0) / 8);
        let before = counter(end)?;
        let heard = Arc::new(Heard::default());
        let (ours, stop) = (Arc::clone(&heard), Arc::clone(&self.stop));
        let thread = std::thread::Builder::new()
            .name("capture".into())
            .spawn(move || hear(&socket, &marker, &ours, &stop))
            .context("start a thread")?;
        self.ears.push(Ear {
            wire,
            heard,
            thread: Some(thread),
            before,
        });
        Ok(())
    }

    /// Waits until all that crossed the wires up to now has been read.
    pub(crate) fn keep_pace(&self) {
        let until = Instant::now() + CATCH_UP;
        for ear in &self.ears {
            let seen = ear.heard.pauses.load(Ordering::Acquire);
            while ear.heard.pauses.load(Ordering::Acquire) == seen && Instant::now() < until {
                std::thread::sleep(Duration::from_micros(50));
            }
        }
    }

    /// What has been heard up to now.
    pub(crate) fn overheard(&self, world: &World) -> Result<Vec<Overheard>> {
        self.keep_pace();
        let each = self.ears.iter().map(|ear| {
            let crossed = counter(world.inner_end(ear.wire))?.saturating_sub(ear.before);
            Ok(Overheard {
                wire: ear.wire,
                bytes: ear.heard.bytes.load(Ordering::Acquire),
                crossed,
                marked: ear.heard.marked.load(Ordering::Acquire),
            })
        });
        each.collect()
    }

    /// Waits until the marker has been heard on `wire`.
    pub(crate) fn await_marked(&self, wire: Wire, limits: &Limits) -> Result<()> {
        let what = format!("the marker on the wire {}", wire.name);
        let pause = Duration::from_millis(1);
        let heard = || {
            let ear = self.ears.iter().find(|ear| ear.wire.interface == wire.interface);
            ear.is_some_and(|ear| ear.heard.marked.load(Ordering::Acquire) > 0)
        };
        limits
            .wait(&what, FLIGHT, pause, || Ok(heard().then_some(())))
            .map(|_| ())
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for ear in &mut self.ears {
            if let Some(thread) = ear.thread.take() {
                // It has nothing to say but what it counted.
                let _ = thread.join();
            }
        }
    }
}

/// Opens a packet socket that gets the frames of the interface with this index only.
fn open(index: u32) -> io::Result<Socket> {
    let protocol = Protocol::from(i32::from(ALL_PROTOCOLS.to_be()));
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol))?;
    // From its first moment the socket gets frames of all interfaces: let none in any more, throw away what has
    // come, then let in the right ones.
    socket.attach_filter(&[RETURN_NOTHING])?;
    while recv(&socket, &mut [0; 16][..], RecvFlags::DONTWAIT).is_ok() {}
    if rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER).is_err() {
        socket.set_recv_buffer_size(BUFFER)?;
    }
    socket.attach_filter(&only(index))?;
    Ok(socket)
}

/// A classic BPF program (bpf(4)): return 0, nothing of the frame.
const RETURN_NOTHING: SockFilter = SockFilter::new(0x06, 0, 0, 0);

/// A classic BPF program that lets in the frames of one interface.
fn only(index: u32) -> [SockFilter; 4] {
    /// `SKF_AD_OFF + SKF_AD_IFINDEX` of `linux/filter.h`.
    const INTERFACE: u32 = (-0x1000_i32 + 8).cast_unsigned();
    [
        SockFilter::new(0x20, 0, 0, INTERFACE), // load it
        SockFilter::new(0x15, 0, 1, index),     // if it is not ours, skip one
        SockFilter::new(0x06, 0, 0, u32::MAX),  // return the whole frame
        RETURN_NOTHING,
    ]
}

/// Reads and searches until told to stop.
fn hear(socket: &Socket, marker: &Needle, heard: &Heard, stop: &AtomicBool) {
    let mut buffer = vec![0; LONGEST];
    loop {
        match recv(socket, &mut buffer[..], RecvFlags::DONTWAIT) {
            Ok((length, _)) => {
                let frame = buffer.get(..length).unwrap_or_default();
                let marked = u64::from(marker.is_in(frame));
                heard.marked.fetch_add(marked, Ordering::Release);
                heard.bytes.fetch_add(length as u64, Ordering::Release);
            }
            Err(Errno::AGAIN) => {
                heard.pauses.fetch_add(1, Ordering::Release);
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                // However it ends, the next read tells.
                let _ = poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&NAP));
            }
            // An interface that went down says so once.
            Err(Errno::INTR | Errno::NETDOWN) => {}
            Err(_) => return,
        }
    }
}

/// Bytes received and sent by an interface since it was made.
fn counter(end: End<'_>) -> Result<u64> {
    let table = end
        .netns
        .run(|| std::fs::read_to_string("/proc/thread-self/net/dev"))?
        .context("read the counters of the interfaces")?;
    count(&table, end.ifname).with_context(|| format!("there are no counters for {}", end.ifname))
}

/// Received plus sent bytes of `interface` in a table like `/proc/net/dev`.
fn count(table: &str, interface: &str) -> Option<u64> {
    let fields = table.lines().find_map(|line| {
        let (name, fields) = line.split_once(':')?;
        (name.trim() == interface).then_some(fields)
    })?;
    let mut fields = fields
        .split_ascii_whitespace()
        .map(|field| field.parse::<u64>().ok());
    let received = fields.next()??;
    let sent = fields.nth(7)??;
    Some(received + sent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_from_their_columns() {
        let table = "Inter-|   Receive                |  Transmit\n \
             face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets\n    \
             lo:       7       1    0    0    0     0          0         0        8       1    0\n  \
             eth0: 1000      10    0    0    0     0          0         0      234       3    0\n";
        assert_eq!(count(table, "eth0"), Some(1234));
        assert_eq!(count(table, "lo"), Some(15));
        assert_eq!(count(table, "eth"), None);
        assert_eq!(count("eth0: x", "eth0"), None);
    }
}
