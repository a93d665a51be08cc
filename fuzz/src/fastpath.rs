//! What the kernel's fast path hands to the router.

use ::fastpath::vxlan::{Answer, PROBE_TYPE};

/// A frame at the hatch → an answer to a probe: it says all of what was read, and what follows changes nothing.
pub fn probe_answer(input: &[u8]) {
    let Some(answer) = Answer::read(input) else {
        return;
    };
    assert_eq!(&input[12..14], PROBE_TYPE.to_be_bytes());
    assert_eq!(&input[22..24], answer.from.0.to_be_bytes());
    assert_eq!(&input[26..34], answer.number.to_be_bytes());
    assert_eq!(Answer::read(&input[..34]), Some(answer));
    assert_eq!(Answer::read(&input[..33]), None);
}
