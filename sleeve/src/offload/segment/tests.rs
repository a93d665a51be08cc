//! What is cut is compared with frames put together by hand.

use super::*;
use crate::ethernet::samples::{self, Tcp};
use proptest::prelude::*;

/// A super-frame as a kernel gives it: the sum of the pseudo header where the checksum belongs.
fn partial(mut frame: Vec<u8>) -> Vec<u8> {
    let transport = Transport::parse(&frame).unwrap();
    let length = frame.len();
    transport.write_partial_sum(&mut frame, length);
    frame
}

fn cut(frame: &[u8], protocol: Protocol, size: u16, room: usize) -> Vec<Vec<u8>> {
    let transport = Transport::parse(frame).unwrap();
    let gso = Gso { protocol, size };
    let mut segments = Segments::new(frame, gso, Some(transport.partial())).unwrap();
    assert!(segments.fit(room));
    let (mut all, mut whole) = (vec![], vec![]);
    while let Some(segment) = segments.next() {
        segment.write(&mut whole);
        assert_eq!(whole.len(), segment_length(&whole));
        all.push(whole.clone());
    }
    all
}

fn segment_length(frame: &[u8]) -> usize {
    assert!(Transport::parse(frame).is_some_and(|transport| transport.is_intact(frame)));
    frame.len()
}

proptest! {
    #[test]
    fn tcp_is_cut_as_by_hand(
        six: bool, id: u16, sequence: u32, flags in prop::sample::select(vec![0x10u8, 0x18, 0x19, 0x90, 0xd8]),
        timestamps: bool, data in prop::collection::vec(any::<u8>(), 0..5000), size in 1u16..2000, room in 200usize..2500,
    ) {
        let options = if timestamps { Tcp::default().options } else { vec![] };
        let whole = Tcp { six, id, sequence, flags, options, ..Tcp::default() };
        let headers = if six { 54 } else { 34 } + 20 + whole.options.len();
        let most = usize::from(size).min(room - headers);
        let pieces: Vec<_> = if data.is_empty() { vec![&data[..]] } else { data.chunks(most).collect() };
        let mut expected = vec![];
        for (n, piece) in pieces.iter().enumerate() {
            let mut flags = flags;
            if n > 0 { flags &= !0x80 }
            if n + 1 < pieces.len() { flags &= !0x09 }
            let one = Tcp {
                id: id.wrapping_add(n as u16),
                sequence: sequence.wrapping_add((n * most) as u32),
                flags,
                ..whole.clone()
            };
            expected.push(one.frame(piece));
        }
        prop_assert_eq!(cut(&partial(whole.frame(&data)), Protocol::Tcp, size, room), expected);
    }

    #[test]
    fn udp_is_cut_as_by_hand(six: bool, id: u16, data in prop::collection::vec(any::<u8>(), 1..5000), size in 1u16..2000) {
        let expected: Vec<_> = data
            .chunks(size.into())
            .enumerate()
            .map(|(n, piece)| samples::udp_packet(six, (5, 6), id.wrapping_add(n as u16), piece))
            .collect();
        let whole = partial(samples::udp_packet(six, (5, 6), id, &data));
        prop_assert_eq!(cut(&whole, Protocol::Udp, size, 5000), expected);
    }

    #[test]
    fn any_bytes_are_cut_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), tcp: bool, size: u16, start: u16) {
        let protocol = if tcp { Protocol::Tcp } else { Protocol::Udp };
        let checksum = Some(Partial { start, offset: protocol.checksum_at() });
        if let Some(mut segments) = Segments::new(&bytes, Gso { protocol, size }, checksum) {
            while segments.next().is_some() {}
        }
    }
}

#[test]
fn datagrams_keep_their_size() {
    let whole = partial(samples::udp_packet(false, (5, 6), 1, &[7; 3000]));
    let gso = Gso {
        protocol: Protocol::Udp,
        size: 1400,
    };
    let checksum = Some(Transport::parse(&whole).unwrap().partial());
    let mut segments = Segments::new(&whole, gso, checksum).unwrap();
    assert!(!segments.fit(1400) && segments.fit(1442));
    let wrong = Some(Partial { start: 30, offset: 6 });
    assert!(Segments::new(&whole, gso, wrong).is_none());
    let other = Gso {
        protocol: Protocol::Tcp,
        size: 1400,
    };
    assert!(Segments::new(&whole, other, checksum).is_none());
}

/// IPv6 with an extension header of `options`, which begin with its length.
fn with_options(frame: &[u8], kind: u8, options: &[u8]) -> Vec<u8> {
    let header = [&[frame[20]], options].concat();
    let mut frame = [&frame[..54], &header, &frame[54..]].concat();
    frame[20] = kind;
    let length = (frame.len() - 54) as u16;
    frame[18..20].copy_from_slice(&length.to_be_bytes());
    frame
}

/// A container that sets `IPV6_DSTOPTS` or `IPV6_HOPOPTS` on a TCP socket: its kernel leaves the cutting to the TAP.
#[test]
fn tcp_behind_ipv6_options_is_cut() {
    let short = [0, 1, 4, 0, 0, 0, 0];
    let long = [&[32, 1, 254][..], &[0; 260]].concat();
    for (kind, options) in [(0, &short[..]), (60, &short), (60, &long)] {
        let data: Vec<_> = (0..3000u16).map(|n| n as u8).collect();
        let tcp = Tcp {
            six: true,
            ..Tcp::default()
        };
        let whole = partial(with_options(&tcp.frame(&data), kind, options));
        let expected: Vec<_> = (0u32..)
            .zip(data.chunks(1200))
            .map(|(n, piece)| {
                let tcp = Tcp {
                    sequence: tcp.sequence + n * 1200,
                    ..tcp.clone()
                };
                with_options(&tcp.frame(piece), kind, options)
            })
            .collect();
        assert_eq!(cut(&whole, Protocol::Tcp, 1200, 9000), expected);
    }
}
