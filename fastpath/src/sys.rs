//! The few system calls that nobody has a safe wrapper for: the only place with `unsafe` in this crate.

#![allow(
    unsafe_code,
    reason = "ioctl, setsockopt, unshare and epoll take raw arguments"
)]

use rustix::io::Errno;
use rustix::thread::UnshareFlags;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// What a queue of a TAP device is asked for, as in `linux/if_tun.h`.
pub(crate) type TunFlags = libc::c_int;

/// As in `linux/if_packet.h`.
const PACKET_VNET_HDR: libc::c_int = 15;
/// The longest interface name with its closing zero, IFNAMSIZ.
const NAME_SIZE: usize = libc::IFNAMSIZ;

/// Attaches `file` (an open `/dev/net/tun`) to the TAP device `name`, making it if need be.
pub(crate) fn tun_attach(file: &impl AsFd, name: &str, flags: TunFlags) -> io::Result<()> {
    let flags = libc::c_short::from_ne_bytes((flags as u16).to_ne_bytes());
    let mut request = libc::ifreq {
        ifr_name: interface_name(name)?,
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: flags },
    };
    // SAFETY: TUNSETIFF reads and writes one `ifreq`, which lives until the call returns, and keeps no
    // pointer to it; the descriptor is open for the whole call.
    let result = unsafe { libc::ioctl(file.as_fd().as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Says what the reader of a TAP queue sees to itself: flags of TUNSETOFFLOAD.
pub(crate) fn tun_offload(file: &impl AsFd, flags: u32) -> io::Result<()> {
    // SAFETY: TUNSETOFFLOAD takes its argument as a number and touches no memory of ours; the descriptor is open for
    // the whole call.
    let result = unsafe {
        libc::ioctl(
            file.as_fd().as_raw_fd(),
            libc::TUNSETOFFLOAD,
            libc::c_ulong::from(flags),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// The names of the features of network devices, each at the place of its bit.
pub(crate) fn feature_names(socket: &impl AsFd, ifname: &str) -> io::Result<Vec<String>> {
    const SET_INFO: u32 = 0x37;
    const STRINGS: u32 = 0x1b;
    const FEATURES: u32 = 4;
    const LENGTH: usize = 32;
    // `struct ethtool_sset_info`, asking for one set, and room for its one answer.
    let mut info = [SET_INFO, 0, 0, 0, 0];
    let mask = (1_u64 << FEATURES).to_ne_bytes();
    for (word, bytes) in info[2..4].iter_mut().zip(mask.as_chunks::<4>().0) {
        *word = u32::from_ne_bytes(*bytes);
    }
    // SAFETY: the kernel writes one number for the one set behind the mask, for which there is room.
    unsafe { ethtool(socket, ifname, &mut info) }?;
    let count = info[4] as usize;
    let mut strings = vec![0_u32; 3 + count * (LENGTH / 4)];
    strings[..2].copy_from_slice(&[STRINGS, FEATURES]);
    // SAFETY: the kernel writes as many names of 32 bytes as it has just said there are; their number is fixed when
    // the kernel is compiled.
    unsafe { ethtool(socket, ifname, &mut strings) }?;
    let bytes: Vec<u8> = strings[3..].iter().flat_map(|word| word.to_ne_bytes()).collect();
    let name = |bytes: &[u8]| {
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(&bytes[..end]).into_owned()
    };
    Ok(bytes.chunks(LENGTH).map(name).collect())
}

/// Switches features on or off: for each 32 of them, which are meant, and which of these shall be on.
pub(crate) fn set_features(socket: &impl AsFd, ifname: &str, blocks: &[[u32; 2]]) -> io::Result<()> {
    const SET: u32 = 0x3b;
    let mut request = vec![SET, blocks.len() as u32];
    request.extend(blocks.iter().flatten());
    // SAFETY: `struct ethtool_sfeatures` with as many blocks as it says; the kernel writes nothing.
    unsafe { ethtool(socket, ifname, &mut request) }
}

/// # Safety
/// `request` is laid out as its command wants it, and has room for what the kernel writes.
unsafe fn ethtool(socket: &impl AsFd, ifname: &str, request: &mut [u32]) -> io::Result<()> {
    let mut outer = libc::ifreq {
        ifr_name: interface_name(ifname)?,
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_data: request.as_mut_ptr().cast(),
        },
    };
    let socket = socket.as_fd().as_raw_fd();
    // SAFETY: SIOCETHTOOL takes an `ifreq`, which lives until the call returns, as does what it points to; the rest
    // is the caller's promise.
    let result = unsafe { libc::ioctl(socket, libc::SIOCETHTOOL, &raw mut outer) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

fn interface_name(name: &str) -> io::Result<[libc::c_char; NAME_SIZE]> {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes.len() >= NAME_SIZE || bytes.contains(&0) {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let mut field = [0; NAME_SIZE];
    for (to, from) in field.iter_mut().zip(bytes) {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    Ok(field)
}

/// Asks the kernel to say in words why it refused a netlink request, and not to echo the whole request.
pub(crate) fn explain_refusals(socket: &impl AsFd) -> io::Result<()> {
    for option in [libc::NETLINK_EXT_ACK, libc::NETLINK_CAP_ACK] {
        let on: libc::c_int = 1;
        let size = size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: the pointer and the length describe `on`, which outlives the call; the kernel copies it.
        let result = unsafe {
            libc::setsockopt(
                socket.as_fd().as_raw_fd(),
                libc::SOL_NETLINK,
                option,
                (&raw const on).cast(),
                size,
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Has a classic BPF program choose among the UDP sockets of one port the one that gets a datagram: what it returns is
/// the place of the socket in the order in which they were bound. It sees the datagram without its UDP header.
pub(crate) fn steer(socket: &impl AsFd, program: &mut [libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        filter: program.as_mut_ptr(),
    };
    let size = size_of::<libc::sock_fprog>() as libc::socklen_t;
    // SAFETY: the pointer and the length describe `program`, and that the instructions, which both outlive the call; the
    // kernel checks and copies them.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const program).cast(),
            size,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Lets a packet socket send frames whose checksum or segments are left to the kernel: each begins with a
/// `virtio_net_hdr` then (packet(7), PACKET_VNET_HDR).
///
/// # Errors
/// What the kernel said.
pub(crate) fn leave_work(socket: &impl AsFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the pointer and the length describe `on`, which outlives the call; the kernel copies it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_PACKET,
            PACKET_VNET_HDR,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Makes a packet socket see, and send by, the interface with this index.
pub(crate) fn bind_packet(socket: &impl AsFd, interface: u32, protocol: u16) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: protocol.to_be(),
        sll_ifindex: interface.cast_signed(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the pointer and the length describe `address`, which outlives the call; the kernel copies it.
    let result = unsafe { libc::bind(socket.as_fd().as_raw_fd(), (&raw const address).cast(), size) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Hands `fd` to the tokio runtime, to wait until it can be read.
pub(crate) fn await_readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open, is always the same descriptor, and closes only when it is dropped.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
}

/// Moves the calling thread into a fresh network namespace.
pub(crate) fn unshare_network() -> Result<(), Errno> {
    // SAFETY: the flag does not touch the table of file descriptors, the one thing that would be unsound.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }
}

/// Moves the process, which must have one thread, into fresh user, network and mount namespaces.
pub(crate) fn unshare_user() -> Result<(), Errno> {
    let flags = UnshareFlags::NEWUSER | UnshareFlags::NEWNET | UnshareFlags::NEWNS;
    // SAFETY: as above, no flag touches the table of file descriptors.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}
