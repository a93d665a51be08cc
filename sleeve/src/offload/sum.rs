//! The internet checksum, RFC 1071: a sum of 16-bit words in ones' complement.
//!
//! Such a sum may be taken in pieces of any even length and in any byte order, so it is taken eight bytes at a time.

/// The ones' complement sum over `bytes`, an odd last byte filled up with zero, added to `initial`; not folded, and
/// never above 2^48 for what a packet can hold.
#[must_use]
pub fn sum(initial: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    // Two halves of 32 bits each, so that no carry is lost: a packet has far fewer than 2^31 of them.
    let total = words.iter().fold(0u64, |total, word| {
        let word = u64::from_be_bytes(*word);
        total + (word >> 32) + (word & 0xffff_ffff)
    });
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let last = u64::from_be_bytes(last);
    initial + total + (last >> 32) + (last & 0xffff_ffff)
}

/// The sum in sixteen bits.
#[must_use]
pub fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    // The loop leaves sixteen bits.
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_example_of_rfc_1071() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(fold(sum(0, &bytes)), 0xddf2);
    }

    proptest! {
        #[test]
        fn agrees_with_sixteen_bits_at_a_time(bytes in prop::collection::vec(any::<u8>(), 0..2000), initial: u32) {
            let plain: u64 = bytes
                .chunks(2)
                .map(|pair| u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0)))
                .sum();
            prop_assert_eq!(fold(sum(initial.into(), &bytes)), fold(plain + u64::from(initial)));
        }
    }
}
