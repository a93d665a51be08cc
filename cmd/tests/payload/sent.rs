//! What is sent, and how it is known again.

use crate::common::Container;
use aws_lc_rs::digest::{Context, SHA256};
use quinn_udp::{Transmit, UdpSocketState};
use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub(crate) const MEBIBYTE: usize = 1 << 20;
/// Bytes read and written at a time.
const BLOCK: usize = 128 << 10;
/// Longest pause of a stream.
const STALL: Duration = Duration::from_secs(20);
/// Datagrams on their way at a time: fewer than any queue takes, so that none may be lost, but more than a super-frame
/// may have.
const WINDOW: u32 = 400;
/// What has not arrived by then is lost.
const LOST: Duration = Duration::from_secs(1);
/// The largest payload of a datagram, where packets of 1500 bytes cross and where those of 9000 do: the larger ones go in
/// fragments or in halves.
pub(crate) const USUAL: usize = 2000;
pub(crate) const JUMBO: usize = 9500;

/// Whether all is to be sent that the full length asks for.
pub(crate) fn in_full() -> bool {
    std::env::var("WEFT_PAYLOAD").is_ok_and(|value| value == "full")
}

/// How many streams there were.
static STREAMS: AtomicU64 = AtomicU64::new(0);

/// SplitMix64: bytes that nothing makes equal to others.
fn fill(seed: u64, bytes: &mut [u8]) {
    let mut state = seed;
    for word in bytes.chunks_mut(8) {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word.copy_from_slice(&(z ^ (z >> 31)).to_le_bytes()[..word.len()]);
    }
}

/// A stream of so many bytes from one container to another.
pub(crate) fn stream(from: &Container, to: &Container, address: IpAddr, bytes: usize) {
    stream_while(from, to, address, |sent| bytes - sent);
}

/// A stream from one container to another, as long as `more` says of how many bytes at least there are to come after so
/// many were sent. Returns how many went.
pub(crate) fn stream_while(
    from: &Container,
    to: &Container,
    address: IpAddr,
    more: impl Fn(usize) -> usize,
) -> usize {
    let listener = to.netns.run(|| TcpListener::bind((address, 0))).unwrap().unwrap();
    let target = listener.local_addr().unwrap();
    let mut near = from
        .netns
        .run(|| TcpStream::connect_timeout(&target, STALL))
        .unwrap()
        .unwrap();
    let (mut far, _) = listener.accept().unwrap();
    far.set_read_timeout(Some(STALL)).unwrap();
    near.set_write_timeout(Some(STALL)).unwrap();
    // One block of noise, of which no other stream has the like, numbered anew each time: making so many bytes would take
    // longer than sending them.
    let mut block = vec![0; BLOCK];
    fill(STREAMS.fetch_add(1, Ordering::Relaxed), &mut block);
    std::thread::scope(|scope| {
        let receiver = scope.spawn(move || {
            let (mut digest, mut buffer, mut count) = (Context::new(&SHA256), vec![0; BLOCK], 0);
            loop {
                let length = far.read(&mut buffer).unwrap();
                if length == 0 {
                    return (count, digest.finish());
                }
                digest.update(&buffer[..length]);
                count += length;
            }
        });
        let (mut digest, mut progress) = (Context::new(&SHA256), Progress::start());
        let mut sent = 0;
        loop {
            let length = more(sent).min(BLOCK);
            if length == 0 {
                break;
            }
            for page in block.chunks_mut(1024) {
                page[..8].copy_from_slice(&(sent as u64).to_le_bytes());
            }
            near.write_all(&block[..length]).unwrap();
            digest.update(&block[..length]);
            sent += length;
            progress.at(|| format!("{} MiB to {address}", sent / MEBIBYTE));
        }
        drop(near);
        let (count, received) = receiver.join().unwrap();
        let digest = digest.finish();
        assert_eq!(count, sent);
        assert_eq!(
            received.as_ref(),
            digest.as_ref(),
            "what arrived is not what was sent"
        );
        let mark: String = digest.as_ref()[..4]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        progress.end(&format!(
            "{} MiB to {address}, SHA-256 {mark}… at both ends",
            sent / MEBIBYTE
        ));
        sent
    })
}

/// Says now and then how far something is.
struct Progress {
    begun: Instant,
    said: Instant,
}

impl Progress {
    fn start() -> Self {
        let now = Instant::now();
        Self {
            begun: now,
            said: now,
        }
    }

    fn at(&mut self, what: impl FnOnce() -> String) {
        if self.said.elapsed() > Duration::from_secs(10) {
            self.said = Instant::now();
            println!("    … {} after {:.0?}", what(), self.begun.elapsed());
        }
    }

    fn end(&self, what: &str) {
        println!("  {what}, in {:.1?}", self.begun.elapsed());
    }
}

/// So many streams at the same time, of so many bytes each.
pub(crate) fn at_once(from: &Container, to: &Container, count: usize, bytes: usize) {
    std::thread::scope(|scope| {
        for _ in 0..count {
            scope.spawn(|| stream(from, to, to.v4, bytes));
        }
    });
}

/// Writes the payload of datagram `number` into `buffer`, which is as long as the largest may be.
fn payload(number: u32, buffer: &mut [u8]) -> &[u8] {
    let mut choice = [0; 8];
    fill(u64::from(number) ^ 0x5bd1_e995, &mut choice);
    let length = 4 + usize::from(u16::from_le_bytes([choice[0], choice[1]])) % (buffer.len() - 4);
    fill(number.into(), &mut buffer[..length]);
    buffer[..4].copy_from_slice(&number.to_be_bytes());
    &buffer[..length]
}

/// Sockets in both containers, the near one connected.
fn sockets(from: &Container, to: &Container, address: IpAddr) -> (UdpSocket, UdpSocket) {
    let far = to.udp(address, 0);
    let near = from.udp(if address.is_ipv4() { from.v4 } else { from.v6 }, 0);
    near.connect(far.local_addr().unwrap()).unwrap();
    far.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    rustix::net::sockopt::set_socket_recv_buffer_size_force(&far, 8 * MEBIBYTE).unwrap();
    (near, far)
}

/// Sends, a few ahead of what arrived, and checks that all arrive once and whole. `send` sends the next ones and says
/// how many these were, if there are more; `is_sent` says whether this is the datagram of that number. Returns how many
/// were sent and lost.
fn arrive(
    far: &UdpSocket,
    mut send: impl FnMut(u32) -> Option<u32>,
    mut is_sent: impl FnMut(u32, &[u8]) -> bool + Send,
) -> (u32, u32) {
    let (arrived, over) = (AtomicU32::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            let (mut seen, mut buffer) = (HashSet::new(), [0; JUMBO + 1]);
            loop {
                match far.recv(&mut buffer) {
                    Ok(length) => {
                        let number = u32::from_be_bytes(*buffer.first_chunk().unwrap());
                        assert!(seen.insert(number), "datagram {number} came twice");
                        assert!(
                            is_sent(number, &buffer[..length]),
                            "datagram {number} is not what was sent"
                        );
                        arrived.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(_) if over.load(Ordering::Relaxed) => return seen,
                    Err(_) => {}
                }
            }
        });
        let (mut sent, mut given_up) = (0, 0);
        let mut progress = Progress::start();
        while let Some(more) = send(sent) {
            sent += more;
            let waited = Instant::now();
            // What was lost is not waited for.
            while sent - given_up - arrived.load(Ordering::Relaxed) > WINDOW
                && waited.elapsed() < STALL
                && !receiver.is_finished()
            {
                if waited.elapsed() > LOST {
                    given_up = sent - arrived.load(Ordering::Relaxed);
                }
                std::thread::yield_now();
            }
            assert!(
                waited.elapsed() < STALL,
                "of {sent} datagrams only {} arrived",
                arrived.load(Ordering::Relaxed)
            );
            progress.at(|| format!("{sent} datagrams"));
        }
        std::thread::sleep(Duration::from_millis(300));
        over.store(true, Ordering::Relaxed);
        let seen = receiver.join().unwrap();
        let lost = sent - seen.len() as u32;
        let first: Vec<_> = (0..sent)
            .filter(|number| !seen.contains(number))
            .take(8)
            .collect();
        progress.end(&format!(
            "{sent} datagrams, {lost} lost {first:?}, the others once each and as they were sent"
        ));
        (sent, lost)
    })
}

/// As [`arrive`], of `count` datagrams, of which next to none may be lost.
fn all_arrive(
    far: &UdpSocket,
    count: u32,
    mut send: impl FnMut(u32) -> u32,
    is_sent: impl FnMut(u32, &[u8]) -> bool + Send,
) {
    let (_, lost) = arrive(far, |sent| (sent < count).then(|| send(sent)), is_sent);
    // The kernel may drop some while the path is new, and where a stall was taken for a loss there is twice the window on
    // its way; more would be somebody's fault.
    assert!(
        lost * 500 <= count.min(100_000),
        "{lost} of {count} datagrams were lost"
    );
}

/// So many numbered datagrams of random sizes, up to `largest` bytes.
pub(crate) fn datagrams(from: &Container, to: &Container, address: IpAddr, count: u32, largest: usize) {
    let (near, far) = sockets(from, to, address);
    let (mut buffer, mut own) = (vec![0; largest], vec![0; largest]);
    all_arrive(
        &far,
        count,
        |number| send_one(&near, number, &mut buffer),
        |number, bytes| payload(number, &mut own) == bytes,
    );
}

/// Numbered datagrams of random sizes, until `over` says so. Returns how many were sent and lost.
pub(crate) fn datagrams_until(
    from: &Container,
    to: &Container,
    address: IpAddr,
    over: impl Fn() -> bool,
) -> (u32, u32) {
    let (near, far) = sockets(from, to, address);
    let (mut buffer, mut own) = (vec![0; USUAL], vec![0; USUAL]);
    arrive(
        &far,
        |number| (!over()).then(|| send_one(&near, number, &mut buffer)),
        |number, bytes| payload(number, &mut own) == bytes,
    )
}

fn send_one(near: &UdpSocket, number: u32, buffer: &mut [u8]) -> u32 {
    let payload = payload(number, buffer);
    // The first one larger than the path is refused once its MTU is known; then it goes in fragments.
    if near.send(payload).is_err() {
        near.send(payload).unwrap();
    }
    1
}

/// So many runs of datagrams that the container leaves to be cut (`UDP_SEGMENT`), all sizes.
pub(crate) fn runs_of_datagrams(from: &Container, to: &Container, address: IpAddr, count: u32) {
    const IN_RUN: u32 = 30;
    let (near, far) = sockets(from, to, address);
    let state = UdpSocketState::new((&near).into()).unwrap();
    assert!(state.max_gso_segments() > 1, "this kernel has no UDP_SEGMENT");
    // The same for ten runs, which the receiving router may put together: more than a kernel takes.
    let size = |run: u32| 8 + (run as usize / 10 * 37) % 1200;
    let datagram = move |number: u32| {
        let run = number / IN_RUN;
        // The last of ten runs is shorter.
        let last = number % (10 * IN_RUN) == 10 * IN_RUN - 1;
        let length = size(run) - if last { (run as usize) % 4 } else { 0 };
        let mut bytes = vec![0; length];
        fill(number.into(), &mut bytes);
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        bytes
    };
    let target = far.local_addr().unwrap();
    let send = |number: u32| {
        let contents: Vec<u8> = (number..number + IN_RUN).flat_map(datagram).collect();
        let transmit = Transmit {
            destination: target,
            ecn: None,
            contents: &contents,
            segment_size: Some(size(number / IN_RUN)),
            src_ip: None,
        };
        state.try_send((&near).into(), &transmit).unwrap();
        IN_RUN
    };
    all_arrive(&far, count * IN_RUN, send, move |number, bytes| {
        datagram(number) == bytes
    });
}
