//! The real kernel, by an XFRM netlink socket: one request, its answers, done.

use super::message::{self, Lifetime, Mark};
use super::plan::{Kernel, Observed, Op, Seen};
use super::{Direction, Ends, HARD_PACKETS, Key, Sa, hard};
use crate::netlink::{NetlinkError, messages};
use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use zeroize::Zeroizing;

/// `XFRMGRP_EXPIRE`, `XFRMGRP_SA`, `XFRMGRP_POLICY` of `linux/xfrm.h`.
const GROUPS: u32 = 2 | 4 | 8;
const BUFFER: usize = 64 * 1024;
const PATIENCE: Duration = Duration::from_secs(5);
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// Why the kernel did not do it.
pub type EspError = NetlinkError;

/// What the kernel can.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// ESP as it is needed.
    Able,
    /// No ESP; in words why not.
    Unable(String),
}

/// The kernel's associations and policies, seen from the namespace in which this was opened.
#[derive(Debug)]
pub struct Xfrm {
    socket: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
    mark: Mark,
    port: u16,
    lifetime: Lifetime,
}

fn open(flags: SocketFlags, groups: u32) -> Result<OwnedFd, NetlinkError> {
    let trouble = |error: Errno| NetlinkError::new("open an XFRM socket", error);
    let protocol = rustix::net::RawProtocol::new(message::PROTOCOL).map(Protocol::from_raw);
    let fd = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)
        .map_err(trouble)?;
    rustix::net::bind(&fd, &SocketAddrNetlink::new(0, groups)).map_err(trouble)?;
    Ok(fd)
}

impl Xfrm {
    /// Opens it for the router with this bridge, whose packets go to this UDP port, and whose associations are to be
    /// used for about as long as `roll`.
    ///
    /// # Errors
    /// When the kernel has no XFRM, or the privileges don't suffice.
    pub fn open(bridge: &str, port: u16, roll: Duration) -> Result<Self, NetlinkError> {
        let socket = open(SocketFlags::CLOEXEC, 0)?;
        let timeout = rustix::net::sockopt::Timeout::Recv;
        rustix::net::sockopt::set_socket_timeout(&socket, timeout, Some(PATIENCE))
            .map_err(|error| NetlinkError::new("set up an XFRM socket", error))?;
        crate::sys::explain_refusals(&socket)
            .map_err(|error| NetlinkError::new("set up an XFRM socket", error))?;
        Ok(Self {
            socket,
            sequence: 0,
            buffer: vec![0; BUFFER],
            mark: Mark::of_bridge(bridge),
            port,
            lifetime: Lifetime {
                seconds: hard(roll).as_secs(),
                packets: HARD_PACKETS,
            },
        })
    }

    /// Makes an association that serves nobody, and removes it: does the kernel take it?
    pub fn probe(&mut self) -> Probe {
        // Addresses for documentation (RFC 5737); nothing is ever sent there.
        let [here, there] = [1, 2].map(|host| IpAddr::from(Ipv4Addr::new(192, 0, 2, host)));
        let sa = Sa {
            direction: Direction::Out,
            ends: Ends { here, there },
            spi: 0x5745_4654,
            key: Key([0x5a; 36]),
        };
        let made = self.apply(&Op::AddSa(sa.clone()));
        let gone = self.apply(&Op::RemoveSa(sa.id()));
        // It may have been left by one that was killed in between.
        let made = made.or_else(|error| {
            if error.is(Errno::EXIST) {
                Ok(())
            } else {
                Err(error)
            }
        });
        if let Err(error) = made.and(gone) {
            return Probe::Unable(unable(&error));
        }
        Probe::Able
    }

    /// Removes all that is this router's.
    ///
    /// # Errors
    /// What the kernel said; the rest is removed nevertheless.
    pub fn remove_all(&mut self) -> Result<(), NetlinkError> {
        let report = super::converge(self, &super::Desired::default())?;
        report
            .failed
            .into_iter()
            .next()
            .map_or(Ok(()), |(_, error)| Err(error))
    }

    /// Sends a request and gives `take` each answer's body.
    fn request(
        &mut self,
        doing: &str,
        (kind, flags): (u16, u16),
        body: &[u8],
        mut take: impl FnMut(&[u8]),
    ) -> Result<(), NetlinkError> {
        let trouble = |error: Errno| NetlinkError::new(doing, error);
        self.sequence = self.sequence.wrapping_add(1);
        // Never grown, so that no key is left behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(16 + body.len()));
        let length = u32::try_from(16 + body.len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&length.to_ne_bytes());
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&(NLM_F_REQUEST | flags).to_ne_bytes());
        bytes.extend_from_slice(&self.sequence.to_ne_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(body);
        rustix::net::send(&self.socket, &bytes, SendFlags::empty()).map_err(trouble)?;
        loop {
            let received = rustix::net::recv(&self.socket, &mut self.buffer[..], RecvFlags::empty());
            let (length, _) = received.map_err(trouble)?;
            for (header, body) in messages(&self.buffer[..length]) {
                if header.sequence_number != self.sequence {
                    continue; // the late answer to a request that was given up
                }
                match (header.message_type, body.first_chunk()) {
                    (ERROR | DONE, Some(code)) => {
                        return match i32::from_ne_bytes(*code) {
                            0.. => Ok(()),
                            code => Err(NetlinkError::refused(doing, code.saturating_neg(), body)),
                        };
                    }
                    (DONE, None) => return Ok(()),
                    _ => take(body),
                }
            }
        }
    }
}

/// Hears of what others do to associations and policies, and of those that end.
#[derive(Debug)]
pub struct Watch(AsyncFd<OwnedFd>);

impl Watch {
    /// Starts to listen in the calling thread's namespace. Needs a tokio runtime with I/O.
    ///
    /// # Errors
    /// When the kernel has no XFRM, or the privileges don't suffice.
    pub fn open() -> Result<Self, NetlinkError> {
        let news = open(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, GROUPS)?;
        let news = crate::sys::await_readable(news)
            .map_err(|error| NetlinkError::new("watch an XFRM socket", error))?;
        Ok(Self(news))
    }

    /// Waits until somebody, the router included, changed something, or something ended. Nothing is lost when the
    /// future is dropped.
    ///
    /// # Errors
    /// When the socket fails; it won't get better.
    pub async fn changed(&self) -> io::Result<()> {
        let mut heard = false;
        let mut buffer = [0; 4096];
        loop {
            let mut ready = self.0.readable().await?;
            loop {
                match rustix::net::recv(ready.get_inner(), &mut buffer[..], RecvFlags::empty()) {
                    Ok(_) | Err(Errno::NOBUFS) => heard = true,
                    Err(Errno::AGAIN) => break,
                    Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            ready.clear_ready();
            if heard {
                return Ok(());
            }
        }
    }
}

impl Kernel for Xfrm {
    fn observe(&mut self) -> Result<Observed, NetlinkError> {
        let (mut observed, mark) = (Observed::default(), self.mark);
        let (sas, policies) = (&mut observed.sas, &mut observed.policies);
        let list = |kind| (kind, NLM_F_DUMP);
        self.request(
            "list the IPsec associations",
            list(message::GET_SA),
            &message::list_sas(),
            |body| sas.extend(message::read_sa(body, mark).map(|read| (read.id, Seen::read(&read)))),
        )?;
        self.request(
            "list the IPsec policies",
            list(message::GET_POLICY),
            &[],
            |body| policies.extend(message::read_policy(body, mark)),
        )?;
        Ok(observed)
    }

    fn apply(&mut self, op: &Op) -> Result<(), NetlinkError> {
        let (doing, kind, body) = match op {
            Op::AddPolicy(policy) => (
                format!("demand encryption with {}", policy.there),
                message::NEW_POLICY,
                message::new_policy(*policy, self.mark),
            ),
            Op::RemovePolicy(policy, index) => (
                format!("no longer demand encryption with {}", policy.there),
                message::DELETE_POLICY,
                message::delete_policy(*policy, *index),
            ),
            Op::AddSa(sa) => (
                format!("make an IPsec association with {}", sa.ends.there),
                message::NEW_SA,
                message::new_sa(sa, self.mark, self.port, self.lifetime),
            ),
            Op::RemoveSa(id) => (
                format!("remove the IPsec association {:#x} to {}", id.spi, id.to),
                message::DELETE_SA,
                message::delete_sa(*id),
            ),
        };
        let body = Zeroizing::new(body);
        let done = self.request(&doing, (kind, NLM_F_ACK), &body, |_| {});
        match (op, done) {
            // Gone by itself, or by another's hand.
            (Op::RemoveSa(_), Err(error)) if error.is(Errno::SRCH) => Ok(()),
            (Op::RemovePolicy(..), Err(error)) if error.is(Errno::NOENT) => Ok(()),
            (_, done) => done,
        }
    }
}

/// What a refusal of the throwaway association means.
fn unable(error: &NetlinkError) -> String {
    let no_esp = [
        Errno::NOSYS,
        Errno::PROTONOSUPPORT,
        Errno::NOENT,
        Errno::AFNOSUPPORT,
        Errno::OPNOTSUPP,
    ];
    if no_esp.iter().any(|errno| error.is(*errno)) {
        format!(
            "this host's kernel has no IPsec ESP with AES-256-GCM ({})",
            error.source
        )
    } else {
        format!("this host's kernel lets no IPsec ESP be set up: {error}")
    }
}

/// Packets that the kernel has dropped in the calling thread's namespace because they were not encrypted as a policy
/// demands: this router's, or another's on this host. `None`: the kernel does not count.
#[must_use]
pub fn dropped() -> Option<u64> {
    // `thread-self`, because `/proc/net` is the namespace of the process's first thread.
    let counters = std::fs::read_to_string("/proc/thread-self/net/xfrm_stat").ok()?;
    let mut lines = counters.lines().map(str::split_whitespace);
    let mut found = lines.find_map(|mut line| (line.next() == Some("XfrmInTmplMismatch")).then_some(line))?;
    found.next()?.parse().ok()
}

/// What makes the kernel pass packets of this interface by all policies, if something does.
#[must_use]
pub fn bypass(interface: &str, address: IpAddr) -> Option<String> {
    let keys: &[&str] = match address {
        IpAddr::V4(_) => &[
            "ipv4/conf/#/disable_xfrm",
            "ipv4/conf/#/disable_policy",
            "ipv4/conf/all/disable_policy",
        ],
        IpAddr::V6(_) => &["ipv6/conf/#/disable_policy"],
    };
    keys.iter().find_map(|key| {
        let key = key.replace('#', interface);
        let value = std::fs::read_to_string(format!("/proc/sys/net/{key}")).ok()?;
        (value.trim() != "0").then(|| format!("net/{key} is set, by which packets go past IPsec"))
    })
}
