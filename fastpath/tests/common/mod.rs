//! A host in a namespace of its own, containers in theirs, and frames made by hand.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

pub mod frames;

use fastpath::wire::{End, PacketSocket};
use fastpath::{Attachment, Desired, Kernel, Linux, NetNs, NetNsRef, Report, Tap, converge, names};
use mesh::{DropReason, Mac};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

pub const BRIDGE: &str = "weft";
pub const MTU: u16 = 1390;
pub const BRIDGE_MAC: Mac = Mac([2, 0xb, 0, 0, 0, 1]);
const PATIENCE: Duration = Duration::from_secs(2);
const QUIET: Duration = Duration::from_millis(150);

/// True when the test can't run here, which it says; in continuous integration that is a failure.
pub fn skipped() -> bool {
    if fastpath::user::is_root() {
        return false;
    }
    assert!(!in_ci(), "these tests need root, and CI=true");
    println!("skipped: needs root, to make network namespaces");
    true
}

/// True in continuous integration, where a skipped test is a failed one.
pub fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub struct Host {
    pub netns: NetNs,
    pub kernel: Linux,
    pub tap: Option<Tap>,
    pub desired: Desired,
}

impl Host {
    pub fn new() -> Self {
        let mut host = Self::without_guard();
        host.kernel.load_guard().unwrap();
        host.converge();
        host
    }

    pub fn without_guard() -> Self {
        let netns = NetNs::create_anonymous().unwrap();
        let tap = netns
            .run(|| Tap::create(&names::tap(BRIDGE), MTU))
            .unwrap()
            .unwrap();
        tap.set_nonblocking(true).unwrap();
        let desired = Desired {
            bridge: BRIDGE.to_owned(),
            bridge_mac: Some(BRIDGE_MAC),
            mtu: MTU,
            tap: names::tap(BRIDGE),
            fast: None,
            plain: None,
            gateway: None,
            attachments: Vec::new(),
        };
        let kernel = Linux::in_netns(netns.clone());
        let mut host = Self {
            netns,
            kernel,
            tap: Some(tap),
            desired,
        };
        host.converge();
        host
    }

    /// Makes it so, and checks that nothing is left to do.
    pub fn converge(&mut self) -> Report {
        let report = self.try_converge();
        assert!(report.is_reached(), "{report:?}");
        let again = self.try_converge();
        assert_eq!(
            again.done,
            0,
            "{again:?} {:#?}",
            self.kernel.observe(&self.desired, None)
        );
        report
    }

    pub fn try_converge(&mut self) -> Report {
        converge(&mut self.kernel, &self.desired).unwrap()
    }

    pub fn attach(&mut self, container: &NetNs, ifname: &str, addresses: &[&str]) -> Attachment {
        let netns = NetNsRef {
            path: container.path(),
            inode: container.inode(),
        };
        let addresses = addresses
            .iter()
            .map(|text| {
                let (address, prefix) = text.split_once('/').unwrap();
                (address.parse().unwrap(), prefix.parse().unwrap())
            })
            .collect();
        let last = self.desired.attachments.len() as u8 + 1;
        let random = [0xfe, 0xed, 0, 0, 0, last];
        let attachment = Attachment::new(BRIDGE, netns, ifname, addresses, random);
        self.desired.attachments.push(attachment.clone());
        self.converge();
        attachment
    }

    pub fn counter(&mut self, reason: DropReason) -> u64 {
        let counters = self.kernel.read_counters().unwrap();
        counters.iter().find(|(found, _)| *found == reason).unwrap().1
    }

    pub fn kernel_counters(&mut self) -> Vec<(DropReason, u64)> {
        self.kernel.read_counters().unwrap()
    }

    pub fn interfaces(&self) -> Vec<String> {
        fastpath::wire::interfaces(&self.netns).unwrap()
    }

    /// Frames that came to the router since the last call, after a moment of silence.
    pub fn tap_frames(&self) -> Vec<Vec<u8>> {
        let tap = self.tap.as_ref().unwrap();
        let (mut frames, mut buffer) = (Vec::new(), [0; 4096]);
        let mut last = Instant::now();
        while last.elapsed() < QUIET && frames.len() < 1000 {
            match tap.read(&mut buffer) {
                Ok(length) => {
                    frames.push(buffer[..length].to_vec());
                    last = Instant::now();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(error) => panic!("{error}"),
            }
        }
        frames
    }
}

pub fn udp(netns: &NetNs, address: SocketAddr) -> UdpSocket {
    let socket = netns.run(|| UdpSocket::bind(address)).unwrap().unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// One datagram there and one back.
pub fn reaches(from: (&NetNs, IpAddr), to: (&NetNs, IpAddr)) -> bool {
    let asker = udp(from.0, (from.1, 0).into());
    let answerer = udp(to.0, (to.1, 0).into());
    let mut buffer = [0; 16];
    asker.send_to(b"there", answerer.local_addr().unwrap()).is_ok()
        && answerer
            .recv_from(&mut buffer)
            .is_ok_and(|(_, source)| source.ip() == from.1 && answerer.send_to(b"back", source).is_ok())
        && asker
            .recv_from(&mut buffer)
            .is_ok_and(|(length, _)| &buffer[..length] == b"back")
}

/// Sends frames as they are from inside a container.
pub fn raw(netns: &NetNs, ifname: &str) -> PacketSocket {
    let socket = PacketSocket::of_interface(End { netns, ifname }).unwrap();
    socket.set_timeout(Duration::from_millis(300)).unwrap();
    socket
}
