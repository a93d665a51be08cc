//! What the kernel's fast path hands to the router.

use ::fastpath::vxlan::{Came, PROBE_TYPE};

/// A frame at the hatch → an answer to a probe, or a probe of a tree: it says all of what was read, and what follows
/// changes nothing.
pub fn probe_answer(input: &[u8]) {
    let Some(came) = Came::read(input) else {
        return;
    };
    assert_eq!(&input[12..14], PROBE_TYPE.to_be_bytes());
    let needed = match came {
        Came::Answer { from, number } => {
            assert_eq!(&input[22..24], from.0.to_be_bytes());
            assert_eq!(&input[26..34], number.to_be_bytes());
            34
        }
        Came::Question {
            to,
            from,
            number,
            size,
        } => {
            assert_eq!(&input[20..22], to.0.to_be_bytes());
            assert_eq!(&input[22..24], from.0.to_be_bytes());
            assert_eq!(&input[26..34], number.to_be_bytes());
            assert_eq!(usize::from(size) + 14, input.len());
            return;
        }
        Came::Tree { vni, source } => {
            assert_eq!(&input[22..24], source.0.to_be_bytes());
            assert_eq!(&input[34..38], vni.0.to_be_bytes());
            38
        }
    };
    assert_eq!(Came::read(&input[..needed]), Some(came));
    assert_eq!(Came::read(&input[..needed - 1]), None);
}
