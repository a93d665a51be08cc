//! Which of several sockets on one UDP port a datagram goes to.
//!
//! The kernel would choose by the addresses, which are the same for all that two routers say to each other. So it is told
//! to look at what the datagram itself says: sleeve's name the lane they were sealed in, and everything else (QUIC, noise)
//! is for the first socket. What GRO has put together goes where its first datagram goes, so the others in it may be for
//! another lane.

use crate::sys;
use std::io;
use std::os::fd::AsFd;

/// Where a kind of datagram says its lane: in bits of one byte.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// The first byte of such datagrams.
    pub first: u8,
    /// Which byte.
    pub at: u8,
    /// How many bits stand below.
    pub shift: u8,
}

/// Has the sockets of `socket`'s port, `count` of them in the order in which they were bound, share what comes by lane.
///
/// # Errors
/// What the kernel says, before Linux 4.5.
pub fn by_lane(socket: &impl AsFd, count: u8, kinds: &[Kind]) -> io::Result<()> {
    sys::steer(socket, &mut program(count, kinds))
}

fn program(count: u8, kinds: &[Kind]) -> Vec<libc::sock_filter> {
    const FIRST: u32 = 0;
    let op = |code: u32, jt, k| libc::sock_filter {
        code: code as u16,
        jt,
        jf: 0,
        k,
    };
    let load = |at| op(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, at);
    let mut program = vec![load(FIRST)];
    for kind in kinds {
        program.extend([
            // Not this kind: on to the next.
            libc::sock_filter {
                jf: 4,
                ..op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, kind.first.into())
            },
            // Behind the end of a short datagram: a program that reads there returns 0.
            load(kind.at.into()),
            op(libc::BPF_ALU | libc::BPF_RSH | libc::BPF_K, 0, kind.shift.into()),
            op(
                libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K,
                0,
                count.max(1).into(),
            ),
            op(libc::BPF_RET | libc::BPF_A, 0, 0),
        ]);
    }
    program.push(op(libc::BPF_RET | libc::BPF_K, 0, 0));
    program
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use rustix::net::sockopt::set_socket_reuseport;
    use rustix::net::{AddressFamily, SocketType, bind, socket};
    use std::net::{SocketAddr, UdpSocket};
    use std::time::Duration;

    #[test]
    fn each_lane_gets_its_own() {
        let open = |address: SocketAddr, later: bool| {
            let socket = socket(AddressFamily::INET, SocketType::DGRAM, None).unwrap();
            set_socket_reuseport(&socket, later).unwrap();
            bind(&socket, &address).unwrap();
            set_socket_reuseport(&socket, true).unwrap();
            let socket = UdpSocket::from(socket);
            socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            socket
        };
        let first = open("127.0.0.1:0".parse().unwrap(), false);
        let address = first.local_addr().unwrap();
        let sockets = [first, open(address, true), open(address, true)];
        let kinds = [
            Kind {
                first: 1,
                at: 2,
                shift: 0,
            },
            Kind {
                first: 3,
                at: 3,
                shift: 4,
            },
        ];
        by_lane(&sockets[0], 3, &kinds).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        for (datagram, to) in [
            (&[1, 0, 0, 0x10][..], 0),
            (&[1, 0, 1, 0x20], 1),
            (&[1, 0, 5, 0], 2),
            (&[3, 0, 2, 0x1f], 1),
            (&[3, 0, 1, 0x20], 2),
            (&[4, 0, 1, 0x10], 0),
            (&[0x40, 0, 1, 0x10], 0),
            (&[1], 0),
            (&[3, 9], 0),
        ] {
            sender.send_to(datagram, address).unwrap();
            let mut buffer = [0; 16];
            let length = sockets[to].recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], datagram);
        }
        // The port is not open to others for that.
        assert!(UdpSocket::bind(address).is_err());
    }
}
