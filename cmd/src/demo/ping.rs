//! Echo requests from inside a container: ICMP (RFC 792) and ICMPv6 (RFC 4443), by a raw socket.

use super::limits::Limits;
use anyhow::{Context, Result, bail};
use fastpath::NetNs;
use rand_core::{OsRng, RngCore};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io::{ErrorKind, Read};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// Bytes after the ICMP header, as `ping` sends them.
const PAYLOAD: usize = 56;
/// Length of the ICMP header of an echo.
const HEADER: usize = 8;
/// Between two requests of a series.
const PAUSE: Duration = Duration::from_millis(5);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// Types of messages.
const V4_REQUEST: u8 = 8;
const V4_REPLY: u8 = 0;
const V6_REQUEST: u8 = 128;
const V6_REPLY: u8 = 129;

/// Which answers count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// To the last request only.
    ToThis,
    /// To any request of this pinger.
    ToAny,
}

/// Asks one address for echoes.
#[derive(Debug)]
pub(crate) struct Pinger {
    socket: Socket,
    to: IpAddr,
    identifier: u16,
    sequence: u16,
}

impl Pinger {
    /// Opens a raw socket in a container's namespace.
    pub(crate) fn open(container: &NetNs, to: IpAddr) -> Result<Self> {
        let (domain, protocol) = match to {
            IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
            IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
        };
        let socket = container
            .run(|| Socket::new(domain, Type::RAW, Some(protocol)))?
            .context("open a raw socket")?;
        Ok(Self {
            socket,
            to,
            // A raw socket hears the answers to everybody's requests.
            identifier: OsRng.next_u32() as u16,
            sequence: 0,
        })
    }

    /// Sends one request and returns the time to its answer; `None` if there is none within `patience`.
    pub(crate) fn once(&mut self, patience: Duration) -> Result<Option<Duration>> {
        self.ask(patience, Answer::ToThis)
    }

    fn ask(&mut self, patience: Duration, wanted: Answer) -> Result<Option<Duration>> {
        self.sequence = self.sequence.wrapping_add(1);
        let request = request(self.to, self.identifier, self.sequence);
        let start = Instant::now();
        match self
            .socket
            .send_to(&request, &SockAddr::from(SocketAddr::new(self.to, 0)))
        {
            Ok(_) => self.answer(start, patience, wanted),
            Err(error) if is_unreachable(&error) => {
                std::thread::sleep(PAUSE);
                Ok(None)
            }
            Err(error) => Err(error).with_context(|| format!("ping {}", self.to)),
        }
    }

    fn answer(&self, start: Instant, patience: Duration, wanted: Answer) -> Result<Option<Duration>> {
        let mut buffer = [0; 2048];
        loop {
            let Some(left) = patience
                .checked_sub(start.elapsed())
                .filter(|left| !left.is_zero())
            else {
                return Ok(None);
            };
            self.socket
                .set_read_timeout(Some(left))
                .context("limit the wait")?;
            match (&self.socket).read(&mut buffer) {
                Ok(length) => {
                    let packet = buffer.get(..length).unwrap_or_default();
                    let found = reply(self.to, packet).filter(|(whose, _)| *whose == self.identifier);
                    if found.is_some_and(|(_, number)| wanted == Answer::ToAny || number == self.sequence) {
                        return Ok(Some(start.elapsed()));
                    }
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) => {}
                Err(error) if is_unreachable(&error) => {}
                Err(error) => return Err(error).with_context(|| format!("wait for {}", self.to)),
            }
        }
    }

    /// Pings until there is an answer; returns how long that took.
    pub(crate) fn first(&mut self, at_most: Duration, limits: &Limits) -> Result<Duration> {
        let what = format!("an echo of {}", self.to);
        // Short, because the first requests may be lost; so a late answer to an earlier one counts too.
        let patience = Duration::from_millis(10);
        let (_, time) = limits.wait(&what, at_most, PAUSE, || self.ask(patience, Answer::ToAny))?;
        Ok(time)
    }

    /// Pings `count` times. At most one in a hundred may stay without answer.
    pub(crate) fn series(&mut self, count: usize, limits: &Limits) -> Result<Times> {
        let mut times = Vec::with_capacity(count);
        let mut lost = 0;
        for sent in 1..=count {
            limits.check()?;
            match self.once(PATIENCE)? {
                Some(time) => times.push(time),
                None => lost += 1,
            }
            if lost * 100 > count {
                bail!("{lost} of {sent} pings to {} stayed without answer", self.to);
            }
            std::thread::sleep(PAUSE);
        }
        Ok(Times::new(times, lost))
    }
}

impl Pinger {
    /// Pings until a moment has come, however many stay without answer.
    pub(crate) fn series_until(&mut self, until: Instant, limits: &Limits) -> Result<Times> {
        let (mut times, mut lost) = (Vec::new(), 0);
        while Instant::now() < until {
            limits.check()?;
            match self.once(PATIENCE)? {
                Some(time) => times.push(time),
                None => lost += 1,
            }
            std::thread::sleep(PAUSE);
        }
        Ok(Times::new(times, lost))
    }
}

/// There is no way just now, as opposed to never.
fn is_unreachable(error: &std::io::Error) -> bool {
    let lost = [
        ErrorKind::HostUnreachable,
        ErrorKind::NetworkUnreachable,
        ErrorKind::NetworkDown,
        ErrorKind::ConnectionRefused,
    ];
    lost.contains(&error.kind()) || error.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error())
}

/// The round trips of a series, shortest first.
#[derive(Debug, Clone)]
pub(crate) struct Times {
    sorted: Vec<Duration>,
    /// Requests without answer.
    pub(crate) lost: usize,
}

impl Times {
    fn new(mut times: Vec<Duration>, lost: usize) -> Self {
        times.sort_unstable();
        Self { sorted: times, lost }
    }

    /// How many were answered.
    pub(crate) fn count(&self) -> usize {
        self.sorted.len()
    }

    /// The time that `percent` of the answers did not exceed.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.sorted.len() * percent).div_ceil(100).max(1);
        self.sorted.get(rank - 1).copied().unwrap_or_default()
    }
}

/// An echo request.
fn request(to: IpAddr, identifier: u16, sequence: u16) -> Vec<u8> {
    let kind = if to.is_ipv4() { V4_REQUEST } else { V6_REQUEST };
    let mut message = vec![kind, 0, 0, 0];
    message.extend(identifier.to_be_bytes());
    message.extend(sequence.to_be_bytes());
    message.extend((0..PAYLOAD).map(|at| at as u8));
    // The kernel fills in the checksum of ICMPv6 (RFC 3542, 3.1), and not that of ICMP.
    if to.is_ipv4() {
        let [high, low] = checksum(&message).to_be_bytes();
        message.splice(2..4, [high, low]);
    }
    message
}

/// Identifier and sequence number of an echo reply. For IPv4 the socket gives the IP header too.
fn reply(from: IpAddr, packet: &[u8]) -> Option<(u16, u16)> {
    let (kind, message) = match from {
        IpAddr::V4(_) => {
            let header = usize::from(packet.first()? & 0x0f) * 4;
            (V4_REPLY, packet.get(header..)?)
        }
        IpAddr::V6(_) => (V6_REPLY, packet),
    };
    let [found, 0, _, _, i, d, s, q] = *message.first_chunk::<HEADER>()? else {
        return None;
    };
    (found == kind).then(|| (u16::from_be_bytes([i, d]), u16::from_be_bytes([s, q])))
}

/// The internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| match *pair {
        [high, low] => u32::from(u16::from_be_bytes([high, low])),
        [last] => u32::from(u16::from_be_bytes([last, 0])),
        _ => 0,
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);

    #[test]
    fn checksums() {
        // The example of RFC 1071, section 3.
        assert_eq!(
            checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]),
            !0xddf2
        );
        assert_eq!(checksum(&[]), 0xffff);
        assert_eq!(checksum(&[0xff]), !0xff00);
        // A message with its checksum in place sums to zero.
        assert_eq!(checksum(&request(V4, 1, 2)), 0);
    }

    #[test]
    fn replies_are_told_from_everything_else() {
        let mut message = request(V6, 0x1234, 7);
        assert_eq!(reply(V6, &message), None);
        message[0] = V6_REPLY;
        assert_eq!(reply(V6, &message), Some((0x1234, 7)));
        assert_eq!(reply(V6, &message[..7]), None);

        let mut packet = vec![0x46; 1];
        packet.extend([0; 23]);
        packet.extend(request(V4, 0x1234, 7));
        assert_eq!(reply(V4, &packet), None);
        packet[24] = V4_REPLY;
        assert_eq!(reply(V4, &packet), Some((0x1234, 7)));
        assert_eq!(reply(V4, &[]), None);
    }

    #[test]
    fn percentiles() {
        let times = Times::new((1..=200).rev().map(Duration::from_micros).collect(), 0);
        assert_eq!(times.percentile(50), Duration::from_micros(100));
        assert_eq!(times.percentile(99), Duration::from_micros(198));
        assert_eq!(times.percentile(100), Duration::from_micros(200));
        assert_eq!(Times::new(Vec::new(), 3).percentile(50), Duration::ZERO);
    }
}
