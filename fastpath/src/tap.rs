//! The TAP device: the bridge port behind which the router sits. What the bridge sends to it, the router reads;
//! what the router writes, the bridge delivers.
//!
//! The device belongs to the open descriptor and goes with it, however the process ends: no frames queue up in
//! front of a dead router, and the next one starts clean.

use crate::netlink::{self, Socket};
use crate::sys;
use rustix::fs::{Mode, OFlags};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// Why there is no TAP device.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// `/dev/net/tun` can't be opened.
    #[error("open /dev/net/tun: {0} (is the tun module there, and may this user open it?)")]
    NoTun(io::Error),
    /// An interface of that name exists: another router runs with the same bridge name.
    #[error("an interface named {0} exists already; does another router use this bridge name?")]
    Busy(String),
    /// The device can't be made.
    #[error("make the TAP device {name}: {source}")]
    Create {
        /// The name asked for.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// The device was made, but not set up.
    #[error(transparent)]
    Netlink(#[from] netlink::NetlinkError),
}

/// Length of the header in front of frames, `struct virtio_net_hdr`.
pub const HEADER: usize = 10;

/// What the kernel leaves to the reader of a TAP, and takes from its writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offloads {
    /// Nothing: whole frames without a prefix. Kernels that refuse all else, or somebody asked for it.
    None,
    /// A header (`struct virtio_net_hdr`, ten bytes) in front of each frame; checksums, and TCP packets of up to 64 KiB.
    Tcp,
    /// As [`Tcp`](Self::Tcp), and runs of UDP datagrams (Linux 6.2).
    TcpAndUdp,
}

/// One queue of a TAP device: whole Ethernet frames, in and out.
#[derive(Debug)]
pub struct Tap {
    queue: OwnedFd,
    name: String,
    offloads: Offloads,
}

impl Tap {
    /// Makes the TAP device `name` (1–15 bytes) in the calling thread's namespace, with `mtu` bytes of MTU. It is
    /// down until the plan puts it into the bridge. Reads and writes block until
    /// [`set_nonblocking`](Self::set_nonblocking).
    ///
    /// # Errors
    /// Without CAP_NET_ADMIN, without `/dev/net/tun`, or when the name is taken.
    pub fn create(name: &str, mtu: u16) -> Result<Self, TapError> {
        Self::with_offloads(name, mtu, Offloads::None)
    }

    /// As [`create`](Self::create), with as much of `wanted` as the kernel grants ([`offloads`](Self::offloads)).
    ///
    /// # Errors
    /// Those of [`create`](Self::create). That the kernel grants less is none.
    pub fn with_offloads(name: &str, mtu: u16, wanted: Offloads) -> Result<Self, TapError> {
        let first = Self::first(name, wanted, 0)?;
        netlink::link::set_mtu(&mut Socket::open()?, name, mtu.into())?;
        Ok(first)
    }

    /// As [`with_offloads`](Self::with_offloads), with `count` queues (at least one): the kernel has frames of one flow
    /// wait in one of them.
    ///
    /// # Errors
    /// Those of [`create`](Self::create).
    pub fn queues(name: &str, mtu: u16, wanted: Offloads, count: usize) -> Result<Vec<Self>, TapError> {
        if count < 2 {
            return Ok(vec![Self::with_offloads(name, mtu, wanted)?]);
        }
        let mut queues = vec![Self::first(name, wanted, libc::IFF_MULTI_QUEUE)?];
        let offloads = queues[0].offloads;
        let header = match offloads {
            Offloads::None => 0,
            _ => libc::IFF_VNET_HDR,
        };
        while queues.len() < count {
            queues.push(Self {
                // Not exclusive: it is there, and its other queues are ours.
                queue: open_queue(name, libc::IFF_MULTI_QUEUE | header)?,
                name: name.to_owned(),
                offloads,
            });
        }
        netlink::link::set_mtu(&mut Socket::open()?, name, mtu.into())?;
        Ok(queues)
    }

    /// Makes the device with its first queue.
    fn first(name: &str, wanted: Offloads, extra: sys::TunFlags) -> Result<Self, TapError> {
        let plain = || open_queue(name, libc::IFF_TUN_EXCL | extra);
        let (queue, offloads) = match wanted {
            Offloads::None => (plain()?, Offloads::None),
            _ => {
                let queue = open_queue(name, libc::IFF_TUN_EXCL | libc::IFF_VNET_HDR | extra)?;
                let granted = |offloads| sys::tun_offload(&queue, flags(offloads)).is_ok();
                let ladder = [Offloads::TcpAndUdp, Offloads::Tcp];
                let steps = ladder
                    .into_iter()
                    .filter(|step| *step == wanted || *step == Offloads::Tcp);
                match steps.into_iter().find(|&step| granted(step)) {
                    Some(step) => (queue, step),
                    None => {
                        drop(queue);
                        (plain()?, Offloads::None)
                    }
                }
            }
        };
        Ok(Self {
            queue,
            name: name.to_owned(),
            offloads,
        })
    }

    /// The interface's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What was granted. Unless it is [`Offloads::None`], a header stands in front of each frame, in and out.
    #[must_use]
    pub fn offloads(&self) -> Offloads {
        self.offloads
    }

    /// Makes reads and writes return [`io::ErrorKind::WouldBlock`] instead of waiting, or wait again.
    ///
    /// # Errors
    /// Never in practice; what the system says.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        Ok(rustix::io::ioctl_fionbio(&self.queue, nonblocking)?)
    }

    /// Reads one frame, behind its header if there are offloads; what is longer than `buffer` is cut.
    ///
    /// # Errors
    /// `WouldBlock` when there is none; `EBADFD` once somebody has deleted the device.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(&self.queue, buffer)?)
    }

    /// Writes one frame, of a TAP without offloads.
    ///
    /// # Errors
    /// `EINVAL` for a frame without a whole header; `EIO` while the device is down.
    pub fn write(&self, frame: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(&self.queue, frame)?)
    }

    /// Writes one frame of a TAP with offloads, with its header in front of it.
    ///
    /// # Errors
    /// Those of [`write`](Self::write); `EINVAL` also for a header that does not fit the frame.
    pub fn write_with(&self, header: &[u8; HEADER], frame: &[u8]) -> io::Result<usize> {
        let parts = [IoSlice::new(header), IoSlice::new(frame)];
        Ok(rustix::io::writev(&self.queue, &parts)?)
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }
}

impl AsRawFd for Tap {
    fn as_raw_fd(&self) -> RawFd {
        self.queue.as_raw_fd()
    }
}

/// What is asked of the kernel, as in `linux/if_tun.h`: TUN_F_CSUM, TSO4, TSO6, TSO_ECN; USO4, USO6.
fn flags(offloads: Offloads) -> u32 {
    const TCP: u32 = 0x01 | 0x02 | 0x04 | 0x08;
    const UDP: u32 = 0x20 | 0x40;
    match offloads {
        Offloads::None => 0,
        Offloads::Tcp => TCP,
        Offloads::TcpAndUdp => TCP | UDP,
    }
}

/// Opens one queue of the TAP device `name`. `extra` is where flags for offloads (IFF_VNET_HDR) and for several
/// queues (IFF_MULTI_QUEUE) enter; each further queue is one more call.
fn open_queue(name: &str, extra: sys::TunFlags) -> Result<OwnedFd, TapError> {
    let file = rustix::fs::open("/dev/net/tun", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| TapError::NoTun(error.into()))?;
    match sys::tun_attach(&file, name, libc::IFF_TAP | libc::IFF_NO_PI | extra) {
        Ok(()) => Ok(file),
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => Err(TapError::Busy(name.to_owned())),
        Err(source) => Err(TapError::Create {
            name: name.to_owned(),
            source,
        }),
    }
}
