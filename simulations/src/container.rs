//! Containers: ports on a host's bridge that send frames and keep what they get.

use crate::Port;
use mesh::{Instant, Mac, Vni};
use std::net::IpAddr;

/// In every frame made by [`Container::frame`], so that it is recognised wherever it is seen in clear.
pub const MARKER: &[u8; 24] = b"weft-simulations-payload";
/// A protocol that nothing looks into (IEEE 802, local experimental).
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];
/// Ethernet header, number, marker.
const SHORTEST: usize = 14 + 8 + MARKER.len();

/// A frame that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// When.
    pub at: Instant,
    /// The Ethernet frame.
    pub frame: Vec<u8>,
}

/// A container.
#[derive(Debug, Clone)]
pub struct Container {
    /// Its network.
    pub vni: Vni,
    /// Its MAC address.
    pub mac: Mac,
    /// Its IP addresses.
    pub addresses: Vec<IpAddr>,
    /// Every frame that came, until somebody takes it out.
    pub received: Vec<Received>,
}

impl Container {
    /// A frame of `length` bytes (Ethernet header included, at least 46) with a number to know it by.
    #[must_use]
    pub fn frame(&self, to: Mac, number: u64, length: usize) -> Vec<u8> {
        let mut frame = Vec::with_capacity(length.max(SHORTEST));
        frame.extend(to.0);
        frame.extend(self.mac.0);
        frame.extend(ETHERTYPE);
        frame.extend(number.to_be_bytes());
        frame.extend(MARKER);
        let filler = (frame.len()..length).map(|at| at as u8);
        frame.extend(filler);
        frame
    }

    /// Its port, as the router is told of it.
    pub(crate) fn port(&self) -> Port {
        Port {
            vni: self.vni,
            mac: self.mac,
            addresses: self.addresses.clone(),
        }
    }

    /// How often the frame with this number came.
    #[must_use]
    pub fn count(&self, number: u64) -> usize {
        self.received
            .iter()
            .filter(|received| number_of(&received.frame) == Some(number))
            .count()
    }

    /// When the frame with this number came first.
    #[must_use]
    pub fn arrival(&self, number: u64) -> Option<Instant> {
        let mut numbered = self.received.iter();
        numbered
            .find(|received| number_of(&received.frame) == Some(number))
            .map(|received| received.at)
    }

    /// True for frames this container's interface takes.
    pub(crate) fn takes(&self, vni: Vni, frame: &[u8]) -> bool {
        let to = frame.first_chunk().map(|to| Mac(*to));
        self.vni == vni && to.is_some_and(|to| to.is_group() || to == self.mac)
    }
}

/// The number of a frame made by [`Container::frame`].
#[must_use]
pub fn number_of(frame: &[u8]) -> Option<u64> {
    let numbered = frame.get(12..14) == Some(&ETHERTYPE[..]) && frame.get(22..SHORTEST) == Some(&MARKER[..]);
    let number = frame.get(14..22)?.first_chunk()?;
    numbered.then(|| u64::from_be_bytes(*number))
}

/// Which bytes are in the marker.
static IN_MARKER: [bool; 256] = {
    let mut is_in = [false; 256];
    let mut at = 0;
    while at < MARKER.len() {
        is_in[MARKER[at] as usize] = true;
        at += 1;
    }
    is_in
};

/// True if `bytes` hold the marker. Wherever that stands it covers one of the bytes looked at.
pub(crate) fn shows_marker(bytes: &[u8]) -> bool {
    let mut covered = (MARKER.len() - 1..bytes.len()).step_by(MARKER.len());
    covered.any(|at| {
        let byte = bytes[at];
        let mut places = MARKER.iter().enumerate().filter(|(_, own)| **own == byte);
        IN_MARKER[usize::from(byte)] && places.any(|(place, _)| bytes[at - place..].starts_with(MARKER))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_marker_is_found_wherever_it_is() {
        for before in 0..60 {
            for after in 0..30 {
                let mut bytes = [
                    b"weft".repeat(15)[..before].to_vec(),
                    MARKER.to_vec(),
                    vec![b'w'; after],
                ]
                .concat();
                assert!(shows_marker(&bytes), "{before} {after}");
                bytes[before + 7] ^= 1;
                assert!(!shows_marker(&bytes), "{before} {after}");
            }
        }
        assert!(!shows_marker(&MARKER[1..]) && !shows_marker(&[]));
    }

    #[test]
    fn frames_are_known_by_their_number() {
        let container = Container {
            vni: Vni::DEFAULT,
            mac: Mac([2, 0, 0, 0, 0, 1]),
            addresses: Vec::new(),
            received: Vec::new(),
        };
        let frame = container.frame(Mac::BROADCAST, 77, 200);
        assert_eq!((frame.len(), number_of(&frame)), (200, Some(77)));
        assert!(shows_marker(&frame) && container.takes(Vni::DEFAULT, &frame));
        assert!(!container.takes(Vni(9), &frame));
        assert_eq!(number_of(&frame[..40]), None);
        assert_eq!(container.frame(Mac::BROADCAST, 1, 0).len(), SHORTEST);
    }
}
