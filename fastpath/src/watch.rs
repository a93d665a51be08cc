//! Tells when links or addresses change, so that the router looks again.
//!
//! In the host's namespace the kernel says so (rtnetlink groups). In containers' namespaces nobody does without an
//! open socket in each, which would keep the namespaces alive; there the router looks every two seconds
//! ([`POLL`]).

use crate::netlink::{NetlinkError, messages, raw};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SocketFlags};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;
use tokio::io::unix::AsyncFd;

/// How often to look into containers' namespaces.
pub const POLL: Duration = Duration::from_secs(2);

/// RTMGRP_LINK, RTMGRP_IPV4_IFADDR and RTMGRP_IPV6_IFADDR of `linux/rtnetlink.h`.
const GROUPS: u32 = 0x1 | 0x10 | 0x100;

const RTM_NEWLINK: u16 = 16;
const RTM_DELADDR: u16 = 21;
/// RTM_NEWADDR and RTM_DELADDR follow the three of links.
const RTM_NEWADDR: u16 = 20;

/// What changed since the last time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Changes {
    /// Links: re-plan.
    pub links: bool,
    /// Addresses of the host: the underlay may be another.
    pub addresses: bool,
}

/// Hears of changes in the namespace in which it was opened.
#[derive(Debug)]
pub struct Watcher {
    socket: AsyncFd<OwnedFd>,
    buffer: Vec<u8>,
}

impl Watcher {
    /// Starts to listen in the calling thread's namespace. Needs a tokio runtime with I/O.
    ///
    /// # Errors
    /// When no netlink socket is to be had.
    pub fn new() -> Result<Self, NetlinkError> {
        let fd = raw(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, GROUPS)?;
        let socket = crate::sys::await_readable(fd)
            .map_err(|error| NetlinkError::new("watch a netlink socket", error))?;
        Ok(Self {
            socket,
            buffer: vec![0; 32 * 1024],
        })
    }

    /// Waits for a change, then takes all that is there; a burst is one answer. What the router itself changes is
    /// heard too. Nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// When the socket fails; it won't get better.
    pub async fn changed(&mut self) -> io::Result<Changes> {
        loop {
            let mut ready = self.socket.readable().await?;
            let mut changes = Changes::default();
            loop {
                match rustix::net::recv(ready.get_inner(), &mut self.buffer[..], RecvFlags::empty()) {
                    Ok((length, _)) => note(&self.buffer[..length], &mut changes),
                    Err(Errno::AGAIN) => {
                        ready.clear_ready();
                        break;
                    }
                    // More came than the socket holds: anything may have changed.
                    Err(Errno::NOBUFS) => {
                        changes = Changes {
                            links: true,
                            addresses: true,
                        }
                    }
                    Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            if changes != Changes::default() {
                return Ok(changes);
            }
        }
    }
}

fn note(bytes: &[u8], changes: &mut Changes) {
    for (header, _) in messages(bytes) {
        match header.message_type {
            RTM_NEWADDR..=RTM_DELADDR => changes.addresses = true,
            RTM_NEWLINK..RTM_NEWADDR => changes.links = true,
            _ => {}
        }
    }
}
