//! One super-frame that is being gathered, and what may follow it.
//!
//! A frame follows if it has the same headers but for lengths, checksums, IPv4's identification and TCP's sequence
//! number, and TCP's goes on where the last one ended; all of one size, only the last may be shorter. TCP's FIN and
//! PSH end a super-frame; SYN, RST, URG and CWR never stand in one.

use crate::offload::{Gso, Offload, Partial, Protocol, Transport};
use crate::plane::Sink;
use crate::wire::field;
use crate::wire::inner::ETHERNET;
use mesh::Vni;

/// The longest IP packet.
const MAX_PACKET: usize = 65_535;
/// TCP's flags, at 13.
const FLAGS: usize = 13;
const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
const ECE: u8 = 0x40;
/// Flags that end a super-frame.
const LAST: u8 = FIN | PSH;
/// IPv4: must not be fragmented.
const DONT_FRAGMENT: u8 = 0x40;

/// What was gathered of one flow.
#[derive(Debug)]
pub(super) struct Flow {
    vni: Vni,
    /// The first frame, and the payload of the others; empty: idle.
    bytes: Vec<u8>,
    transport: Transport,
    /// Where the first frame's checksum is to be made.
    partial: Option<Partial>,
    /// Payload of each frame but the last.
    size: usize,
    count: u16,
    /// Nothing may follow.
    ended: bool,
    /// The first frame's checksum is right, or partial.
    verified: bool,
}

impl Default for Flow {
    fn default() -> Self {
        Self {
            vni: Vni(0),
            bytes: Vec::new(),
            transport: Transport {
                protocol: Protocol::Udp,
                six: false,
                network: 0,
                transport: 0,
                payload: 0,
            },
            partial: None,
            size: 0,
            count: 0,
            ended: false,
            verified: false,
        }
    }
}

/// True for a frame that others may follow.
pub(super) fn may_begin(frame: &[u8], transport: &Transport) -> bool {
    let plain = match transport.protocol {
        Protocol::Tcp => frame[transport.transport + FLAGS] & !ECE == ACK,
        // Without a checksum it is to stay so.
        Protocol::Udp => frame[transport.transport + 6..transport.transport + 8] != [0, 0],
    };
    // Kernels put nothing together behind a VLAN tag, and do not all take it put together.
    let untagged = transport.network == ETHERNET;
    // The same holds of IPv6 options: UDP behind them is not cut.
    let optioned = transport.six && transport.has_options();
    plain && untagged && !optioned && frame.len() > transport.payload && transport.header_is_intact(frame)
}

impl Flow {
    pub(super) fn is_idle(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Nothing more fits, or there are `most` datagrams.
    pub(super) fn is_full(&self, most: u16) -> bool {
        let many = self.transport.protocol == Protocol::Udp && self.count >= most;
        self.ended || many || self.bytes.len() - self.transport.network + self.size > MAX_PACKET
    }

    /// Starts with a frame that [may begin](may_begin).
    pub(super) fn begin(&mut self, vni: Vni, frame: &[u8], partial: Option<Partial>, transport: Transport) {
        self.bytes.clear();
        self.bytes.extend_from_slice(frame);
        self.vni = vni;
        self.transport = transport;
        self.partial = partial;
        self.size = frame.len() - transport.payload;
        self.count = 1;
        self.ended = false;
        self.verified = partial.is_some();
    }

    /// True if `frame` is of this flow: the same network, Ethernet header, addresses and ports.
    pub(super) fn is_of(&self, vni: Vni, frame: &[u8], transport: &Transport) -> bool {
        let Transport {
            network,
            transport: start,
            six,
            ..
        } = self.transport;
        let addresses = if six { network + 8 } else { network + 12 };
        let same = |from: usize, to: usize| self.bytes.get(from..to) == frame.get(from..to);
        !self.is_idle()
            && self.vni == vni
            && (start, network, six, self.transport.protocol)
                == (transport.transport, transport.network, transport.six, transport.protocol)
            && same(0, network)
            // The addresses, and behind them (there may be options) the ports.
            && same(addresses, start + 4)
    }

    /// Appends a frame of this flow if it follows.
    pub(super) fn append(&mut self, frame: &[u8], partial: bool, transport: &Transport) -> bool {
        let length = frame.len() - transport.payload;
        let packet = self.bytes.len() - transport.network + length;
        let fits = !self.ended && length > 0 && length <= self.size && packet <= MAX_PACKET;
        if !fits || self.transport != *transport || !self.follows(frame) {
            return false;
        }
        if !self.verified {
            self.verified = self.transport.is_intact(&self.bytes);
        }
        if !self.verified || !(partial || transport.is_intact(frame)) {
            return false;
        }
        self.bytes.extend_from_slice(&frame[transport.payload..]);
        self.count += 1;
        self.ended = length < self.size;
        if transport.protocol == Protocol::Tcp {
            let flags = transport.transport + FLAGS;
            self.bytes[flags] |= frame[flags] & LAST;
            self.ended |= frame[flags] & LAST != 0;
        }
        true
    }

    /// True if the headers of `frame` are those of the next frame.
    fn follows(&self, frame: &[u8]) -> bool {
        let head = &self.bytes;
        let Transport {
            network,
            transport,
            payload,
            six,
            protocol,
        } = self.transport;
        let same = |from: usize, to: usize| head.get(from..to) == frame.get(from..to);
        let ip = if six {
            // Class, flow label; protocol, hop limit.
            same(network, network + 4) && same(network + 6, network + 8)
        } else {
            let id = self.transport.id(head).wrapping_add(self.count);
            let atomic = frame[network + 6] & DONT_FRAGMENT != 0;
            same(network, network + 2)
                && same(network + 6, network + 10)
                && same(network + 20, transport)
                && (atomic || self.transport.id(frame) == id)
                && self.transport.header_is_intact(frame)
        };
        ip && match protocol {
            Protocol::Udp => frame[transport + 6..transport + 8] != [0, 0],
            Protocol::Tcp => {
                let sequence = |bytes: &[u8]| field(bytes, transport + 4).map_or(0, u32::from_be_bytes);
                let sent = (head.len() - payload) as u32;
                let flags = frame[transport + FLAGS];
                sequence(frame) == sequence(head).wrapping_add(sent)
                    && same(transport + 8, transport + FLAGS)
                    && flags & !LAST == head[transport + FLAGS] & !LAST
                    // Window; urgent pointer and options.
                    && same(transport + 14, transport + 16)
                    && same(transport + 18, payload)
            }
        }
    }

    /// Gives what was gathered to the sink.
    pub(super) fn give(&mut self, sink: &mut dyn Sink) {
        if self.is_idle() {
            return;
        }
        let transport = self.transport;
        let mut offload = Offload {
            checksum: self.partial,
            segments: None,
        };
        if self.count > 1 {
            let length = self.bytes.len();
            let id = transport.id(&self.bytes);
            transport.write_lengths(&mut self.bytes[..transport.payload], length, id);
            transport.write_partial_sum(&mut self.bytes[..transport.payload], length);
            offload = Offload {
                checksum: Some(transport.partial()),
                segments: Some(Gso {
                    protocol: transport.protocol,
                    // No more than a packet, and that is below 2^16.
                    size: self.size as u16,
                }),
            };
        }
        super::give(self.vni, &mut self.bytes, &offload, Some(&transport), sink);
        self.bytes.clear();
    }
}
