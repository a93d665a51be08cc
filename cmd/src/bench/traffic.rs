//! What is sent: streams, datagrams, round trips. Each runs for a time and counts what arrived.

use super::place::Ends;
use crate::demo::limits::Limits;
use crate::demo::ping::{Pinger, Times};
use anyhow::{Context, Result};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Bytes written at a time to a stream.
const WRITE: usize = 128 * 1024;
/// Payload of small datagrams.
const SMALL: usize = 64;
/// How long nothing may come before a stream is given up, and before datagrams are taken to have ended.
const PATIENCE: Duration = Duration::from_secs(5);
const ENDED: Duration = Duration::from_millis(300);

/// What a stream carried.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Carried {
    bytes: u64,
    time: Duration,
}

impl Carried {
    /// Bits a second.
    pub(crate) fn bits(self) -> f64 {
        self.bytes as f64 * 8.0 / self.time.as_secs_f64()
    }

    /// How much it was.
    pub(crate) fn gib(self) -> f64 {
        self.bytes as f64 / f64::from(1 << 30)
    }
}

fn any() -> SocketAddr {
    (Ipv4Addr::UNSPECIFIED, 0).into()
}

/// A listener at the far end, and a connection to it.
fn connect(ends: Ends<'_>) -> Result<(TcpStream, TcpStream)> {
    let listener = ends.to.run(|| TcpListener::bind(any()))?.context("listen")?;
    let port = listener.local_addr().context("the listener's port")?.port();
    let to = SocketAddr::new(ends.address, port);
    let near = ends
        .from
        .run(|| TcpStream::connect_timeout(&to, PATIENCE))?
        .context("connect")?;
    let (far, _) = listener.accept().context("accept the connection")?;
    for stream in [&near, &far] {
        stream
            .set_read_timeout(Some(PATIENCE))
            .and_then(|()| stream.set_write_timeout(Some(PATIENCE)))
            .and_then(|()| stream.set_nodelay(true))
            .context("set up a connection")?;
    }
    Ok((near, far))
}

/// One TCP stream for `time`.
pub(crate) fn stream(ends: Ends<'_>, time: Duration, limits: &Limits) -> Result<Carried> {
    let (mut near, mut far) = connect(ends)?;
    std::thread::scope(|scope| {
        let receiver = scope.spawn(move || -> Result<Carried> {
            let mut buffer = vec![0; WRITE];
            let (mut bytes, start) = (0, Instant::now());
            loop {
                match far.read(&mut buffer).context("read the stream")? {
                    0 => break,
                    length => bytes += length as u64,
                }
            }
            Ok(Carried {
                bytes,
                time: start.elapsed(),
            })
        });
        let block = vec![0x5a; WRITE];
        let until = limits.until(time);
        let mut written = Ok(());
        while written.is_ok() && Instant::now() < until && !limits.interrupted() {
            written = near.write_all(&block);
        }
        drop(near);
        let received = receiver
            .join()
            .unwrap_or_else(|_| Err(anyhow::anyhow!("the receiving thread panicked")));
        written.context("write the stream")?;
        received
    })
}

/// Small datagrams, as many as can be sent for `time`; returns how many arrived a second.
pub(crate) fn datagrams(ends: Ends<'_>, time: Duration, limits: &Limits) -> Result<f64> {
    let far = ends.to.run(|| UdpSocket::bind(any()))?.context("bind")?;
    let port = far.local_addr().context("the socket's port")?.port();
    let near = ends.from.run(|| UdpSocket::bind(any()))?.context("bind")?;
    near.connect((ends.address, port)).context("connect")?;
    far.set_read_timeout(Some(ENDED)).context("limit the wait")?;
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            let (mut count, start, mut last) = (0_u64, Instant::now(), Instant::now());
            let mut buffer = [0; 2048];
            loop {
                match far.recv(&mut buffer) {
                    Ok(_) => {
                        count += 1;
                        if count % 64 == 0 {
                            last = Instant::now();
                        }
                    }
                    Err(_) if over.load(Ordering::Relaxed) => break,
                    Err(_) => {}
                }
            }
            count as f64 / (last - start).as_secs_f64().max(time.as_secs_f64())
        });
        let until = limits.until(time);
        let block = [0x5a; SMALL];
        while !limits.interrupted() && Instant::now() < until {
            for _ in 0..64 {
                // A full queue is what this is about.
                let _ = near.send(&block);
            }
        }
        over.store(true, Ordering::Relaxed);
        receiver
            .join()
            .map_err(|_| anyhow::anyhow!("the receiving thread panicked"))
    })
}

/// Round trips of one byte over TCP for `time`; returns how many a second.
pub(crate) fn round_trips(ends: Ends<'_>, time: Duration, limits: &Limits) -> Result<f64> {
    let (mut near, mut far) = connect(ends)?;
    std::thread::scope(|scope| {
        let echo = scope.spawn(move || {
            let mut byte = [0];
            while far.read_exact(&mut byte).is_ok() && far.write_all(&byte).is_ok() {}
        });
        let (mut count, start, until) = (0_u64, Instant::now(), limits.until(time));
        let mut trips = || -> std::io::Result<()> {
            let mut byte = [7];
            while Instant::now() < until && !limits.interrupted() {
                near.write_all(&byte)?;
                near.read_exact(&mut byte)?;
                count += 1;
            }
            Ok(())
        };
        let result = trips();
        drop(near);
        let _ = echo.join();
        result.context("go to and fro")?;
        Ok(count as f64 / start.elapsed().as_secs_f64())
    })
}

/// Pings while nothing else happens.
pub(crate) fn pings(ends: Ends<'_>, count: usize, limits: &Limits) -> Result<Times> {
    let mut pinger = Pinger::open(ends.from, ends.address)?;
    pinger.first(PATIENCE, limits)?;
    pinger.series(count, limits)
}

/// Pings for a time, which something else fills.
pub(crate) fn pings_for(ends: Ends<'_>, time: Duration, limits: &Limits) -> Result<Times> {
    let address: IpAddr = ends.address;
    let mut pinger = Pinger::open(ends.from, address)?;
    // The stream grows first; it goes on a moment longer than the pings.
    std::thread::sleep(time / 4);
    pinger.series_until(limits.until(time / 2), limits)
}
