//! Frames made by hand, without padding: a host whose bridges call iptables would cut it off again.

use mesh::Mac;
use std::net::{Ipv4Addr, Ipv6Addr};

pub fn ethernet(to: Mac, from: Mac, kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = [to.0, from.0].concat();
    frame.extend(kind.to_be_bytes());
    frame.extend(payload);
    frame
}

pub fn arp(from: Mac, sender: (Mac, Ipv4Addr), target: Ipv4Addr, operation: u16) -> Vec<u8> {
    let mut body = vec![0, 1, 8, 0, 6, 4];
    body.extend(operation.to_be_bytes());
    body.extend(sender.0.0);
    body.extend(sender.1.octets());
    body.extend([0; 6]);
    body.extend(target.octets());
    ethernet(Mac::BROADCAST, from, 0x0806, &body)
}

fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// IPv4 and UDP, without a UDP checksum.
pub fn udp4(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), data: &[u8]) -> Vec<u8> {
    let length = 28 + data.len() as u16;
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
    packet.extend(from.0.octets());
    packet.extend(to.0.octets());
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(from.1.to_be_bytes());
    packet.extend(to.1.to_be_bytes());
    packet.extend((length - 20).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(data);
    packet
}

/// IPv6 with a chain of extension headers, each eight bytes, before `payload` of kind `last`.
pub fn ipv6(from: Ipv6Addr, to: Ipv6Addr, chain: &[u8], last: u8, payload: &[u8]) -> Vec<u8> {
    let length = (chain.len() * 8 + payload.len()) as u16;
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([chain.first().copied().unwrap_or(last), 255]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    for index in 0..chain.len() {
        let next = chain.get(index + 1).copied().unwrap_or(last);
        // Padding options for hop-by-hop and destination options; a fragment header with offset 0.
        let body: [u8; 6] = if chain[index] == 44 {
            [0; 6]
        } else {
            [1, 4, 0, 0, 0, 0]
        };
        packet.extend([next, 0]);
        packet.extend(body);
    }
    packet.extend(payload);
    packet
}
