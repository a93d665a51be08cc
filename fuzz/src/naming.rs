//! Names: what routers say of them, and what containers ask.

use crate::bytes::{Bytes, pieces};
use dns::{Transport, Verdict, Zone, failure, is_answer};
use mesh::{Name, NameChange, Names, NamesBody, PeerId, Vni};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

const OWN: PeerId = PeerId([0x40; 32]);
/// Bytes of an answer over UDP, whatever was asked.
const MOST: usize = 1232;

/// Any bodies of any routers, in any order, and routers that come and go: what names stand for depends on what was said
/// last and who is there, not on how it came to that; and what was told of changes adds up to it.
pub fn claims(input: &[u8]) {
    let mut names = Names::new(OWN);
    let (mut bodies, mut away) = (BTreeMap::new(), BTreeSet::new());
    let mut told: BTreeMap<(Vni, Name), Vec<IpAddr>> = BTreeMap::new();
    for piece in pieces(input) {
        let mut bytes = Bytes(piece);
        let (what, origin) = (bytes.byte(), PeerId([bytes.byte() % 4 + 0x3f; 32]));
        let [a, b, c, chunk] = bytes.array();
        let subkey = u64::from(u32::from_be_bytes([0, a, b, c])) << 16 | u64::from(chunk);
        let changes = match what % 6 {
            0 => {
                away.insert(origin);
                names.note_reached(&origin, false)
            }
            1 => {
                away.remove(&origin);
                names.note_reached(&origin, true)
            }
            2 => {
                bodies.retain(|(of, _), _| *of != origin);
                names.forget(&origin)
            }
            _ => {
                let Ok((body, _)) = postcard::take_from_bytes::<NamesBody>(bytes.0) else {
                    continue;
                };
                let again = postcard::to_stdvec(&body).expect("plain data");
                assert_eq!(postcard::from_bytes(&again).as_ref(), Ok(&body));
                let changes = names.learn(origin, subkey, &body, !away.contains(&origin));
                bodies.insert((origin, subkey), body);
                changes
            }
        };
        for NameChange { vni, name, addresses } in changes {
            assert!(addresses.is_sorted(), "{addresses:?}");
            match addresses.as_slice() {
                [] => assert!(told.remove(&(vni, name)).is_some()),
                _ => assert_ne!(told.insert((vni, name), addresses.clone()), Some(addresses)),
            }
        }
    }
    let mut anew = Names::new(OWN);
    let mut told_anew: BTreeMap<(Vni, Name), Vec<IpAddr>> = BTreeMap::new();
    for ((origin, subkey), body) in bodies.iter().rev() {
        for change in anew.learn(*origin, *subkey, body, !away.contains(origin)) {
            told_anew.insert((change.vni, change.name), change.addresses);
        }
    }
    told_anew.retain(|_, addresses| !addresses.is_empty());
    assert_eq!(told, told_anew);
    for ((vni, name), addresses) in &told {
        assert_eq!(&names.lookup(*vni, name), addresses);
    }
}

/// Any question, asked of a server that knows some names.
pub fn question(input: &[u8]) {
    let mut zone = Zone::new("weft.local").expect("a domain");
    for (name, addresses) in [
        ("web", &[[10, 32, 0, 1], [10, 32, 0, 2]][..]),
        ("a.b", &[[10, 32, 0, 3]]),
    ] {
        zone.apply(NameChange {
            vni: Vni::DEFAULT,
            name: name.parse().expect("a name"),
            addresses: addresses.iter().map(|address| IpAddr::from(*address)).collect(),
        });
    }
    let mut rng = StdRng::seed_from_u64(1);
    for transport in [Transport::Udp, Transport::Tcp] {
        if let Verdict::Answer(answer) = zone.answer(input, Vni::DEFAULT, transport, &mut rng) {
            assert!(answer.len() <= MOST || transport == Transport::Tcp);
            // Number as in the question; and who gets an answer as a question says nothing.
            assert_eq!(answer[..2], input[..2]);
            assert_eq!(
                zone.answer(&answer, Vni::DEFAULT, transport, &mut rng),
                Verdict::Silence
            );
        }
    }
    let failed = failure(input, dns::ResponseCode::ServFail);
    assert!(failed.is_none_or(|failed| failed[..2] == input[..2]));
    assert!(!is_answer(input, input) || input[2] & 0x80 != 0);
}
