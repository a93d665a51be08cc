//! A tap on the wire of a switch: it hears what a host sends, and speaks in its place.

use crate::common::{Host, Network, Switch};
use crate::packets::{ethernet, udp4};
use fastpath::wire::{End, PacketSocket};
use mesh::Mac;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

pub(crate) const PORT: u16 = 6783;
/// Where the UDP payload of an IPv4 frame begins.
const PAYLOAD: usize = 14 + 20 + 8;

/// A datagram between two routers, with the MAC addresses it was seen with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) macs: (Mac, Mac),
    pub(crate) from: Ipv4Addr,
    pub(crate) to: Ipv4Addr,
    pub(crate) bytes: Vec<u8>,
}

impl Heard {
    /// Reads an Ethernet frame with IPv4 and UDP between two data ports.
    fn read(frame: &[u8]) -> Option<Self> {
        // Longer ones are several datagrams that the card is to take apart.
        let is_ours = (PAYLOAD + 1..=1514).contains(&frame.len())
            && frame[12..15] == [8, 0, 0x45]
            && frame[23] == 17
            && frame[34..38] == [PORT.to_be_bytes(), PORT.to_be_bytes()].concat()[..];
        let mac = |at: usize| Mac(frame[at..at + 6].try_into().unwrap());
        let address = |at: usize| Ipv4Addr::from(<[u8; 4]>::try_from(&frame[at..at + 4]).unwrap());
        is_ours.then(|| {
            let length = usize::from(u16::from_be_bytes([frame[38], frame[39]]));
            Self {
                macs: (mac(0), mac(6)),
                from: address(26),
                to: address(30),
                bytes: frame[PAYLOAD..34 + length].to_vec(),
            }
        })
    }

    /// The same bytes back to where they came from.
    pub(crate) fn reflected(&self) -> Self {
        Self {
            macs: (self.macs.1, self.macs.0),
            from: self.to,
            to: self.from,
            bytes: self.bytes.clone(),
        }
    }

    /// Other bytes between the same ends.
    pub(crate) fn with(&self, bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            ..self.clone()
        }
    }

    fn frame(&self) -> Vec<u8> {
        let packet = udp4((self.from, PORT), (self.to, PORT), &self.bytes);
        ethernet(self.macs.0, self.macs.1, 0x0800, &packet)
    }
}

/// Listens on the switch's port of one host.
pub(crate) struct Tap {
    socket: PacketSocket,
    own: Ipv4Addr,
}

impl Tap {
    /// On the wire to `host`, which has the number `number` on `network`.
    pub(crate) fn on(switch: &Switch, host: &Host, network: Network, number: u8) -> Self {
        Self::at(
            &switch.netns,
            &format!("p{}-{}", network.0, host.name),
            network.v4(number),
        )
    }

    /// On an interface whose far end has the address `own`.
    pub(crate) fn at(netns: &fastpath::NetNs, ifname: &str, own: IpAddr) -> Self {
        let IpAddr::V4(own) = own else {
            panic!("{own} is not IPv4")
        };
        let socket = PacketSocket::of_interface(End { netns, ifname }).unwrap();
        socket.set_timeout(Duration::from_millis(50)).unwrap();
        Self { socket, own }
    }

    /// Up to `count` datagrams for the host at the far end whose first byte is `kind`, heard within `time`.
    pub(crate) fn hear(&self, time: Duration, count: usize, fits: impl Fn(u8) -> bool) -> Vec<Heard> {
        let until = Instant::now() + time;
        let (mut found, mut frame) = (Vec::new(), vec![0; 4096]);
        while found.len() < count && Instant::now() < until {
            match self.socket.receive(&mut frame) {
                Ok(length) => found.extend(
                    Heard::read(&frame[..length])
                        .filter(|heard| heard.to == self.own && fits(heard.bytes[0])),
                ),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => panic!("{error}"),
            }
        }
        found
    }

    /// Sends a datagram to the far end.
    pub(crate) fn say(&self, heard: &Heard) {
        self.socket.send(&heard.frame()).unwrap();
    }
}
