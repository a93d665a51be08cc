//! What the kernel's fast path hands to the router.

use ::fastpath::esp::message::{self, Lifetime, Mark};
use ::fastpath::esp::{Direction, Ends, Key, Sa};
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

/// What the kernel tells of associations and policies → what was read, written again, is read as the same.
pub fn xfrm(input: &[u8]) {
    let mark = Mark::of_bridge("weft");
    if let Some(read) = message::read_sa(input, mark) {
        let ends = match read.direction {
            Direction::In => Ends {
                here: read.id.to,
                there: read.from,
            },
            Direction::Out => Ends {
                here: read.from,
                there: read.id.to,
            },
        };
        let sa = Sa {
            direction: read.direction,
            ends,
            spi: read.id.spi,
            key: Key([1; 36]),
        };
        let lifetime = Lifetime {
            seconds: 1,
            packets: 1,
        };
        let again = message::read_sa(&message::new_sa(&sa, mark, 6784, lifetime), mark).unwrap();
        assert_eq!(
            (again.id, again.direction, again.from),
            (read.id, read.direction, read.from)
        );
    }
    if let Some((policy, _)) = message::read_policy(input, mark) {
        let again = message::read_policy(&message::new_policy(policy, mark), mark);
        assert_eq!(again, Some((policy, 0)));
    }
}
