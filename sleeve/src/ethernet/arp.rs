//! Answers to ARP requests (RFC 826) for addresses behind other routers.
//!
//! The published tables tell who has which address, so a request is answered at once by the asker's own router,
//! in the name of the one asked for, and floods nobody.

use super::parse::{ARP, Arp, Frame};
use super::write::Writer;
use mesh::Mac;
use std::net::IpAddr;

/// Length of a reply.
pub const REPLY: usize = 42;

/// Writes the reply to an ARP request into `reply`, to be sent out of the port it came from. Returns its length;
/// `None` if there is nothing to answer, or no room.
///
/// `lookup` tells the MAC address that holds an IP address **behind another router**; it must not know locally
/// attached addresses, whose holders answer for themselves. A probe for duplicates and an announcement of the
/// asker's own address (RFC 5227) are thus answered only if another router holds the address: a conflict. An
/// asker never gets its own MAC address.
pub fn answer(frame: &[u8], lookup: impl Fn(IpAddr) -> Option<Mac>, reply: &mut [u8]) -> Option<usize> {
    let frame = Frame::parse(frame).filter(|frame| frame.plain && frame.ethertype == ARP)?;
    let request = Arp::parse(frame.payload).filter(|arp| arp.operation == Arp::REQUEST)?;
    let asker = request.sender_mac;
    if asker != frame.source || asker.is_group() {
        return None;
    }
    let holder = lookup(request.target.into()).filter(|holder| *holder != asker)?;
    let mut writer = Writer::new(reply);
    writer.ethernet(asker, holder, ARP)?;
    writer.put(&Arp::PREFIX)?;
    writer.put(&Arp::REPLY.to_be_bytes())?;
    writer.put(&holder.0)?;
    writer.put(&request.target.octets())?;
    writer.put(&asker.0)?;
    writer.put(&request.sender.octets())?;
    Some(writer.length())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ethernet::samples::{A, B, arp_request};
    use proptest::prelude::*;

    fn remote(address: IpAddr) -> Option<Mac> {
        (address == IpAddr::from([10, 0, 0, 2])).then_some(B)
    }

    #[test]
    fn a_request_is_answered_in_the_holders_name() {
        let request = arp_request(A, [10, 0, 0, 1], [10, 0, 0, 2]);
        let mut reply = [0; REPLY];
        assert_eq!(answer(&request, remote, &mut reply), Some(REPLY));
        let golden = [
            2, 0, 0, 0, 0, 0xa, 2, 0, 0, 0, 0, 0xb, 8, 6, 0, 1, 8, 0, 6, 4, 0, 2, //
            2, 0, 0, 0, 0, 0xb, 10, 0, 0, 2, 2, 0, 0, 0, 0, 0xa, 10, 0, 0, 1,
        ];
        assert_eq!(reply, golden);
        assert_eq!(answer(&request, remote, &mut reply[..REPLY - 1]), None);
    }

    #[test]
    fn probes_and_announcements_are_answered_only_in_a_conflict() {
        let mut reply = [0; REPLY];
        for sender in [[0, 0, 0, 0], [10, 0, 0, 2]] {
            assert_eq!(
                answer(&arp_request(A, sender, [10, 0, 0, 2]), remote, &mut reply),
                Some(REPLY)
            );
            assert_eq!(reply[38..], sender);
            assert_eq!(
                answer(&arp_request(A, sender, [10, 0, 0, 3]), remote, &mut reply),
                None
            );
            // The tables may be behind: its own address still seems to lie elsewhere.
            assert_eq!(
                answer(&arp_request(B, sender, [10, 0, 0, 2]), remote, &mut reply),
                None
            );
        }
    }

    #[test]
    fn nothing_else_is_answered() {
        let mut reply = [0; REPLY];
        let request = arp_request(A, [10, 0, 0, 1], [10, 0, 0, 2]);
        let mut is_reply = request.clone();
        is_reply[21] = 2;
        let mut forged = request.clone();
        forged[27] ^= 1;
        let mut tagged = request.clone();
        tagged.splice(12..12, [0x81, 0, 0, 0]);
        for frame in [is_reply, forged, tagged, request[..41].to_vec()] {
            assert_eq!(answer(&frame, remote, &mut reply), None);
        }
    }

    proptest! {
        #[test]
        fn replies_parse_and_go_to_the_asker(mac: [u8; 5], sender: [u8; 4], target: [u8; 4], holder: [u8; 5]) {
            let with_first = |mac: [u8; 5]| Mac([2, mac[0], mac[1], mac[2], mac[3], mac[4]]);
            let [asker, holder] = [with_first(mac), with_first(holder)];
            let mut reply = [0; REPLY];
            let length = answer(&arp_request(asker, sender, target), |_| Some(holder), &mut reply);
            prop_assert_eq!(length.is_some(), asker != holder);
            let frame = Frame::parse(&reply).unwrap();
            if let Some(arp) = Arp::parse(frame.payload) {
                prop_assert_eq!((frame.destination, frame.source), (asker, holder));
                prop_assert_eq!((arp.operation, arp.sender_mac, arp.target_mac), (Arp::REPLY, holder, asker));
                prop_assert_eq!((arp.sender.octets(), arp.target.octets()), (target, sender));
            }
        }

        #[test]
        fn any_bytes_are_taken(bytes in prop::collection::vec(any::<u8>(), 0..80), at in 0usize..42, value: u8) {
            let mut reply = [0; REPLY];
            answer(&bytes, |_| Some(B), &mut reply);
            let mut mutated = arp_request(A, [10, 0, 0, 1], [10, 0, 0, 2]);
            mutated[at] = value;
            answer(&mutated, |_| Some(B), &mut reply);
        }
    }
}
