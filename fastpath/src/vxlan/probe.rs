//! Probes: frames of an EtherType of their own, sent by the hatch, sent back by the kernel of the router they are for.
//!
//! ```text
//!  0              12     14      18     20   22     24         26       34    50 …
//!  | two made-up MACs | 88b6 | magic | kind | to | from | distance | number | via | zeros up to the size to be proven |
//! ```
//! The hatch's program reads distance and via, where they are not zero, instead of its table: so a way is proven before
//! it is used. A probe along this router's own tree in a network goes to all its members, and names the network instead
//! of `via`; others' are shown to the router that they pass.

use crate::loaded::octets;
use crate::netlink::{NetlinkError, Socket, link};
use crate::plan::probe_mac;
use crate::sys;
use mesh::{PeerLabel, Vni};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;
use tokio::io::unix::AsyncFd;

/// EtherType of probes: the second for local experiments of IEEE 802.
pub const PROBE_TYPE: u16 = 0x88b6;
const MAGIC: [u8; 4] = *b"WPB1";
const QUESTION: u16 = 1;
const ANSWER: u16 = 2;
const TREE: u16 = 3;
/// Bytes of all that before the zeros.
const HEADERS: usize = 50;
/// Where `via` is.
const VNI: usize = 34;
/// Ethernet header.
const ETHERNET: usize = 14;

/// Why probes can't be sent.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The socket can't be made or bound.
    #[error("the socket for probes: {0}")]
    Socket(#[from] io::Error),
    /// The hatch is not there.
    #[error(transparent)]
    Hatch(#[from] NetlinkError),
}

/// What a question or an answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// For whom it is.
    pub to: PeerLabel,
    /// Of whom.
    pub from: PeerLabel,
    /// By which an answer is known.
    pub number: u64,
    /// Bytes of the packet, without the Ethernet header.
    pub size: u16,
}

/// What comes by the hatch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came {
    /// A probe came back.
    Answer {
        /// Who sent it back.
        from: PeerLabel,
        /// The number it was sent with.
        number: u64,
    },
    /// A router asks, and there are no programs that would answer.
    Question {
        /// Whom it asks.
        to: PeerLabel,
        /// Who it is.
        from: PeerLabel,
        /// The number.
        number: u64,
        /// Bytes of the packet.
        size: u16,
    },
    /// A router probes its tree, which leads over this one.
    Tree {
        /// The network.
        vni: Vni,
        /// Whose tree.
        source: PeerLabel,
    },
}

/// The hatch. Needs a tokio runtime with I/O.
#[derive(Debug)]
pub struct ProbeSocket {
    socket: AsyncFd<OwnedFd>,
}

impl ProbeSocket {
    /// Opens the hatch `name` in the calling thread's namespace.
    ///
    /// # Errors
    /// When it is not there, or without CAP_NET_RAW.
    pub fn open(name: &str) -> Result<Self, ProbeError> {
        let index = link::index(&mut Socket::open()?, name)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = rustix::net::socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None)
            .map_err(io::Error::from)?;
        sys::bind_packet(&fd, index, PROBE_TYPE)?;
        Ok(Self {
            socket: sys::await_readable(fd)?,
        })
    }

    /// Asks a router: by the way that the tables know, or by the next router at an address, so many hops away.
    ///
    /// # Errors
    /// What the kernel said; `ENETDOWN` once the hatch is gone or down.
    pub fn ask(&self, probe: Probe, by: Option<(IpAddr, u8)>) -> io::Result<()> {
        self.send(&probe_frame(probe, by))
    }

    /// Asks all members of a network along this router's own tree.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub fn ask_tree(&self, vni: Vni, from: PeerLabel, number: u64, size: u16) -> io::Result<()> {
        self.send(&tree_probe_frame(vni, from, number, size))
    }

    /// Where there are no programs: asks a router, a direct neighbour at this host.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub fn ask_host(&self, host: Ipv4Addr, probe: Probe) -> io::Result<()> {
        self.send(&to_host(host, frame(QUESTION, probe, None)))
    }

    /// Where there are no programs: answers the question of the router at this host.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub fn answer_host(&self, host: Ipv4Addr, probe: Probe) -> io::Result<()> {
        self.send(&to_host(host, frame(ANSWER, probe, None)))
    }

    fn send(&self, question: &[u8]) -> io::Result<()> {
        match rustix::net::send(self.socket.get_ref(), question, SendFlags::empty()) {
            // Lost, as it may be anywhere.
            Ok(_) | Err(Errno::AGAIN | Errno::NOBUFS) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for what comes. Nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// When the hatch is gone or down.
    pub async fn next(&self) -> io::Result<Came> {
        // Of a longer frame the rest is of no use.
        let mut buffer = [0; 64];
        loop {
            let mut ready = self.socket.readable().await?;
            match rustix::net::recv(ready.get_inner(), &mut buffer[..], RecvFlags::TRUNC) {
                Ok((length, whole)) => {
                    let came = buffer.get(..length).and_then(Came::read);
                    if let Some(mut came) = came {
                        if let Came::Question { size, .. } = &mut came {
                            *size = u16::try_from(whole.saturating_sub(ETHERNET)).unwrap_or(u16::MAX);
                        }
                        return Ok(came);
                    }
                }
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The frame that [`ProbeSocket::ask`] sends.
#[must_use]
pub fn probe_frame(probe: Probe, by: Option<(IpAddr, u8)>) -> Vec<u8> {
    frame(QUESTION, probe, by)
}

/// The whole frame of a probe.
fn frame(kind: u16, probe: Probe, by: Option<(IpAddr, u8)>) -> Vec<u8> {
    let Probe {
        to,
        from,
        number,
        size,
    } = probe;
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    frame.extend(PROBE_TYPE.to_be_bytes());
    frame.extend(MAGIC);
    for field in [kind, to.0, from.0, by.map_or(0, |(_, distance)| distance.into())] {
        frame.extend(field.to_be_bytes());
    }
    frame.extend(number.to_be_bytes());
    frame.extend(by.map_or([0; 16], |(address, _)| octets(address)));
    frame.resize((ETHERNET + usize::from(size)).max(HEADERS), 0);
    frame
}

/// To the made-up address that leads to this host.
fn to_host(host: Ipv4Addr, mut frame: Vec<u8>) -> Vec<u8> {
    frame[..6].copy_from_slice(&probe_mac(host).0);
    frame
}

/// The frame that [`ProbeSocket::ask_tree`] sends: for a group, and with the network where `via` is.
#[must_use]
pub fn tree_probe_frame(vni: Vni, from: PeerLabel, number: u64, size: u16) -> Vec<u8> {
    let to = PeerLabel::NONE;
    let mut frame = frame(
        TREE,
        Probe {
            to,
            from,
            number,
            size,
        },
        None,
    );
    frame[0] = 3;
    frame[VNI..VNI + 4].copy_from_slice(&vni.0.to_be_bytes());
    frame
}

impl Came {
    /// Reads an answer's frame or a tree's probe, or as much of it as its headers; `None` for anything else.
    #[must_use]
    pub fn read(frame: &[u8]) -> Option<Self> {
        let rest = frame
            .get(ETHERNET - 2..)?
            .strip_prefix(&PROBE_TYPE.to_be_bytes())?;
        let fields = rest.strip_prefix(&MAGIC)?;
        let field = |at: usize| Some(u16::from_be_bytes(*fields.get(at..)?.first_chunk()?));
        let (kind, from) = (field(0)?, PeerLabel(field(4)?));
        match kind {
            ANSWER => Some(Self::Answer {
                from,
                number: u64::from_be_bytes(*fields.get(8..)?.first_chunk()?),
            }),
            QUESTION => Some(Self::Question {
                to: PeerLabel(field(2)?),
                from,
                number: u64::from_be_bytes(*fields.get(8..)?.first_chunk()?),
                size: u16::try_from(frame.len() - ETHERNET).ok()?,
            }),
            TREE => Some(Self::Tree {
                vni: Vni(u32::from_be_bytes(*frame.get(VNI..)?.first_chunk()?)),
                source: from,
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_sent_back_is_read(to: u16, from: u16, number: u64, size in 0..9000_u16) {
            let (asked, asker) = (PeerLabel(to), PeerLabel(from));
            let mut frame = probe_frame(Probe { to: asked, from: asker, number, size }, None);
            let whole = frame.len() as u16 - 14;
            prop_assert_eq!(
                Came::read(&frame),
                Some(Came::Question { to: asked, from: asker, number, size: whole })
            );
            // As the program does it.
            frame[18..20].copy_from_slice(&2_u16.to_be_bytes());
            frame[20..22].copy_from_slice(&from.to_be_bytes());
            frame[22..24].copy_from_slice(&to.to_be_bytes());
            prop_assert_eq!(Came::read(&frame), Some(Came::Answer { from: PeerLabel(to), number }));
        }

        #[test]
        fn a_probe_of_a_tree_names_network_and_source(vni: u32, from: u16, number: u64, size in 0..9000_u16) {
            let (vni, source) = (Vni(vni), PeerLabel(from));
            let frame = tree_probe_frame(vni, source, number, size);
            prop_assert_eq!(frame[0] & 1, 1);
            prop_assert_eq!(Came::read(&frame), Some(Came::Tree { vni, source }));
        }

        #[test]
        fn anything_else_is_not(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(Came::read(&bytes), None);
        }
    }
}
