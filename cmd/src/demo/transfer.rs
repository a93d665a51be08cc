//! Moves the payload over TCP from one container to another, with a SHA-256 checksum taken on both ends.
//!
//! The payload is made of blocks of 1000 bytes: the marker, and bytes that are never the same twice. So every
//! segment of 1100 bytes or more has the whole marker in it. The receiver answers with its checksum.

use super::capture::Capture;
use super::limits::Limits;
use super::marker::Needle;
use anyhow::{Context, Result, bail};
use aws_lc_rs::digest::{Context as Digest, SHA256};
use fastpath::NetNs;
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The whole, in bytes.
pub(crate) const PAYLOAD: u64 = 100_000_000;
/// One block, in bytes.
const BLOCK: usize = 1000;
/// Blocks that are made and sent at once.
const BLOCKS: usize = 50;
/// Length of the checksum in bytes.
const CHECKSUM: usize = 32;
/// Longest time without any progress.
const STANDSTILL: Duration = Duration::from_secs(5);
/// Longest time for the whole transfer.
const LONGEST: Duration = Duration::from_secs(30);
/// How often those who wait look around.
const GLANCE: Duration = Duration::from_millis(100);
/// Room for what is read at once, in bytes.
const ROOM: usize = 256 << 10;

/// A transfer that arrived.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Transferred {
    /// From the first byte to the receiver's checksum.
    pub(crate) time: Duration,
    /// What both ends computed.
    pub(crate) checksum: [u8; CHECKSUM],
}

/// Where the payload goes from and to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ends<'a> {
    pub(crate) from: &'a NetNs,
    pub(crate) to: &'a NetNs,
    /// The receiver's address.
    pub(crate) address: IpAddr,
}

/// Sends the payload while `capture` listens; `progress` is told how many bytes have arrived.
pub(crate) fn transfer(
    ends: Ends<'_>,
    marker: &Needle,
    capture: &Capture,
    limits: &Limits,
    progress: impl FnMut(u64),
) -> Result<Transferred> {
    let listener = ends
        .to
        .run(|| TcpListener::bind((ends.address, 0)))?
        .context("listen in the receiving container")?;
    let to = listener.local_addr().context("the receiver's address")?;
    let mut sender = Sender {
        socket: connect(ends.from, to, capture.stride)?,
        arrived: &AtomicU64::new(0),
        patience: Patience::new(limits),
    };
    let arrived = sender.arrived;
    std::thread::scope(|scope| {
        let receiver = std::thread::Builder::new()
            .name("receiver".into())
            .spawn_scoped(scope, || receive(&listener, arrived, limits))
            .context("start a thread")?;
        let start = Instant::now();
        let sent = sender.run(marker, capture, progress);
        let time = start.elapsed();
        drop(sender);
        let received = receiver.join().unwrap_or_else(|_| bail!("the receiver panicked"));
        // When both failed, the sender's reason comes first: it knows which part stood still.
        let (ours, theirs) = sent?;
        let seen = received.context("receive")?;
        if ours != theirs || ours != seen {
            bail!("the SHA-256 checksums of what was sent and of what arrived differ");
        }
        Ok(Transferred { time, checksum: ours })
    })
}

fn connect(from: &NetNs, to: SocketAddr, stride: usize) -> Result<Socket> {
    let socket = from
        .run(|| {
            let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
            // What waits in the socket could all be on the wire before the capture is looked after again.
            if stride < 1 << 20 {
                socket.set_send_buffer_size(stride)?;
            }
            socket.connect_timeout(&SockAddr::from(to), STANDSTILL)?;
            io::Result::Ok(socket)
        })?
        .with_context(|| format!("connect to {to}"))?;
    socket.set_write_timeout(Some(GLANCE)).context("limit the wait")?;
    socket.set_read_timeout(Some(GLANCE)).context("limit the wait")?;
    Ok(socket)
}

/// Ends a transfer that stands still, lasts too long, or was interrupted.
struct Patience<'a> {
    limits: &'a Limits,
    until: Instant,
    moved: Instant,
}

impl<'a> Patience<'a> {
    fn new(limits: &'a Limits) -> Self {
        Self {
            limits,
            until: limits.until(LONGEST),
            moved: Instant::now(),
        }
    }

    /// Passes on how many bytes were moved: 0 when the wait was in vain, which is no error yet.
    fn allow(&mut self, moved: io::Result<usize>) -> Result<Option<usize>> {
        self.limits.check()?;
        let now = Instant::now();
        if now >= self.until {
            bail!("it took longer than {} s", LONGEST.as_secs());
        }
        match moved {
            Ok(length) => {
                self.moved = now;
                Ok(Some(length))
            }
            Err(error) if is_pause(error.kind()) => {
                if now - self.moved > STANDSTILL {
                    bail!("nothing moved for {} s", STANDSTILL.as_secs());
                }
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn is_pause(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

struct Sender<'a> {
    socket: Socket,
    arrived: &'a AtomicU64,
    patience: Patience<'a>,
}

impl Sender<'_> {
    /// Sends everything; returns our checksum and the receiver's.
    fn run(
        &mut self,
        marker: &Needle,
        capture: &Capture,
        mut progress: impl FnMut(u64),
    ) -> Result<([u8; CHECKSUM], [u8; CHECKSUM])> {
        let mut digest = Digest::new(&SHA256);
        let mut blocks = Blocks::new(marker);
        let (mut sent, mut unread) = (0, 0);
        while sent < PAYLOAD {
            let chunk = blocks.next_chunk();
            digest.update(chunk);
            self.write(chunk).context("send")?;
            sent += chunk.len() as u64;
            unread += chunk.len();
            if unread >= capture.stride {
                capture.keep_pace();
                unread = 0;
            }
            progress(self.arrived.load(Ordering::Relaxed));
        }
        self.socket.shutdown(Shutdown::Write).context("end the stream")?;
        let theirs = self
            .read_checksum(&mut progress)
            .context("wait for the receiver's checksum")?;
        progress(PAYLOAD);
        Ok((finish(digest)?, theirs))
    }

    fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let written = self.patience.allow((&self.socket).write(bytes))?;
            bytes = bytes.get(written.unwrap_or(0)..).unwrap_or_default();
        }
        Ok(())
    }

    fn read_checksum(&mut self, progress: &mut impl FnMut(u64)) -> Result<[u8; CHECKSUM]> {
        let mut checksum = [0; CHECKSUM];
        let mut filled = 0;
        while let Some(room) = checksum.get_mut(filled..).filter(|room| !room.is_empty()) {
            match self.patience.allow((&self.socket).read(room))? {
                Some(0) => bail!("the stream ended before it"),
                Some(length) => filled += length,
                None => progress(self.arrived.load(Ordering::Relaxed)),
            }
        }
        Ok(checksum)
    }
}

/// Takes one connection, reads it to its end, and answers with the checksum of what came.
fn receive(listener: &TcpListener, arrived: &AtomicU64, limits: &Limits) -> Result<[u8; CHECKSUM]> {
    let stream = accept(listener, limits)?;
    stream.set_read_timeout(Some(GLANCE)).context("limit the wait")?;
    let mut patience = Patience::new(limits);
    let mut digest = Digest::new(&SHA256);
    let mut buffer = vec![0; ROOM];
    loop {
        match patience.allow((&stream).read(&mut buffer))? {
            Some(0) => break,
            Some(length) => {
                digest.update(buffer.get(..length).unwrap_or_default());
                arrived.fetch_add(length as u64, Ordering::Relaxed);
            }
            None => {}
        }
    }
    let checksum = finish(digest)?;
    (&stream)
        .write_all(&checksum)
        .context("answer with the checksum")?;
    Ok(checksum)
}

fn accept(listener: &TcpListener, limits: &Limits) -> Result<std::net::TcpStream> {
    listener
        .set_nonblocking(true)
        .context("wait for the connection")?;
    let pause = Duration::from_millis(1);
    let (stream, _) = limits.wait("the connection", STANDSTILL, pause, || match listener.accept() {
        Ok((stream, _)) => Ok(Some(stream)),
        Err(error) if is_pause(error.kind()) => Ok(None),
        Err(error) => Err(error.into()),
    })?;
    stream.set_nonblocking(false).context("wait for the payload")?;
    Ok(stream)
}

fn finish(digest: Digest) -> Result<[u8; CHECKSUM]> {
    let checksum = digest.finish();
    checksum.as_ref().try_into().context("the length of SHA-256")
}

/// Makes the payload.
struct Blocks {
    chunk: Vec<u8>,
    marker_length: usize,
    state: u64,
}

impl Blocks {
    fn new(marker: &Needle) -> Self {
        let mut chunk = vec![0; BLOCK * BLOCKS];
        for block in chunk.chunks_exact_mut(BLOCK) {
            for (to, from) in block.iter_mut().zip(marker.bytes()) {
                *to = *from;
            }
        }
        Self {
            chunk,
            marker_length: marker.bytes().len(),
            state: 0,
        }
    }

    /// The next blocks: the same marker, other bytes.
    fn next_chunk(&mut self) -> &[u8] {
        for block in self.chunk.chunks_exact_mut(BLOCK) {
            let rest = block.get_mut(self.marker_length..).unwrap_or_default();
            for word in rest.chunks_mut(8) {
                self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                // The mixing step of SplitMix64: nothing in the payload repeats or can be compressed.
                let mut z = self.state;
                z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                let bytes = (z ^ (z >> 31)).to_ne_bytes();
                let length = word.len();
                word.copy_from_slice(bytes.get(..length).unwrap_or_default());
            }
        }
        &self.chunk
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_is_a_whole_number_of_chunks() {
        assert_eq!(PAYLOAD % (BLOCK * BLOCKS) as u64, 0);
    }

    #[test]
    fn every_segment_has_the_marker_and_no_two_blocks_are_alike() {
        let marker = Needle::random();
        let mut blocks = Blocks::new(&marker);
        let mut payload = blocks.next_chunk().to_vec();
        payload.extend_from_slice(blocks.next_chunk());
        let segment = BLOCK + marker.bytes().len() - 1;
        for at in (0..payload.len() - segment).step_by(7) {
            assert!(marker.is_in(&payload[at..at + segment]), "at {at}");
        }
        let distinct: std::collections::BTreeSet<_> = payload.chunks(BLOCK).collect();
        assert_eq!(distinct.len(), payload.len() / BLOCK);
    }
}
