//! Names, control messages, records and forwarding entries. The decoders are `mesh`'s own business, so whole routers
//! get the bytes.

use crate::bytes::{Bytes, pieces};
use crate::records::{self, Header, Hello, kind};
use crate::router::{NEIGHBOR, OWN, Router, THIRD};
use mesh::{Fdb, FdbChange, Mac, MacsBody, PeerId, PeerName, Registry, Vni};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

/// Wrong signatures that a neighbour may forward before it is put off.
const MAX_BAD_SIGNATURES: u64 = 16;

/// Text → names → text.
pub fn names(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    if let Ok(id) = text.parse::<PeerId>() {
        assert_eq!(id.to_string(), text.to_ascii_lowercase());
        assert!(text.to_ascii_lowercase().starts_with(&id.brief()));
    }
    if let Ok(name) = text.parse::<PeerName>() {
        assert_eq!(name.as_str(), text);
        assert!(text.bytes().all(|byte| byte.is_ascii_graphic()) && text.len() <= 63);
    }
    if let Ok(mac) = text.parse::<Mac>() {
        assert_eq!(mac.to_string(), text.to_ascii_lowercase());
    }
}

/// Messages on an established link, one a piece. The link ends only by a goodbye or too many wrong signatures; else
/// it goes on working, and nobody has spoken in another's name.
pub fn link_message(input: &[u8]) {
    let mut router = Router::linked(false);
    let before = router.mesh.info(&OWN).cloned();
    for piece in pieces(input) {
        router.message(piece);
        if !router.is_linked() {
            let parted = piece.first() == Some(&kind::GOODBYE);
            assert!(
                parted || router.bad_signatures() > MAX_BAD_SIGNATURES,
                "closed by {piece:x?}"
            );
            return router.check();
        }
    }
    router.check();
    router.pass(Duration::from_secs(2));
    router.check();
    assert_eq!(
        router.mesh.info(&OWN),
        before.as_ref(),
        "a neighbour changed what this router says of itself"
    );
    router.check_link();
    router.check();
}

/// The first messages on a connection, one a piece: before a greeting they have no effect but its end.
pub fn greeting(input: &[u8]) {
    let mut router = Router::connected(false);
    let mut greeted = false;
    for piece in pieces(input) {
        router.message(piece);
        greeted |= router.open.contains(&crate::router::LINK) && is_hello(piece);
        assert_eq!(router.is_linked() || router.news > 0, greeted, "after {piece:x?}");
        if router.open.is_empty() || greeted {
            break;
        }
    }
    router.check();
    if !greeted {
        router.pass(Duration::from_secs(4));
        assert!(router.open.is_empty() && router.news == 0);
    }
}

/// True for a hello that speaks our version.
fn is_hello(bytes: &[u8]) -> bool {
    let Some((&kind::HELLO, body)) = bytes.split_first() else {
        return false;
    };
    let hello = postcard::take_from_bytes::<Hello>(body);
    hello.is_ok_and(|((lowest, highest, ..), _)| lowest <= 1 && highest >= 1)
}

/// Records that got past the signature, one a piece: a router of the mesh can say anything. Two routers get them in
/// opposite order, and come to the same picture; neither is harmed.
///
/// Bytes of a piece: origin, kind, network (3), chunk, epoch, counter, body.
pub fn record_body(input: &[u8]) {
    let mut made: Vec<_> = pieces(input).into_iter().map(any_record).collect();
    let mut forth = Router::linked(true);
    forth.message(&records::records(&made));
    made.reverse();
    let mut back = Router::linked(true);
    back.message(&records::records(&made));
    for router in [&mut forth, &mut back] {
        router.check();
        router.pass(Duration::from_secs(2));
        router.check();
        assert!(router.is_linked());
    }
    let picture = |router: &Router| {
        let peers = router.mesh.peers().into_iter().filter(|peer| peer.id != OWN);
        peers
            .map(|peer| (peer.id, peer.info, peer.links))
            .collect::<Vec<_>>()
    };
    assert_eq!(picture(&forth), picture(&back));
    assert_eq!(forth.fdb, back.fdb);
    // Not so for networks: what a router once said of one and no longer says is known to those that heard it, who say it to
    // all. But of each name and each number there is one.
    for router in [&forth, &back] {
        let views = router.mesh.network_views();
        let mut numbers: Vec<_> = views
            .iter()
            .filter(|view| view.rival.is_none())
            .map(|view| view.vni)
            .collect();
        numbers.sort_unstable();
        assert!(numbers.is_sorted_by(|a, b| a < b) && views.is_sorted_by(|a, b| a.name < b.name));
    }
}

fn any_record(piece: &[u8]) -> Vec<u8> {
    let mut bytes = Bytes(piece);
    let origin = match bytes.byte() {
        0 => NEIGHBOR,
        1 => THIRD,
        2 => OWN,
        other => PeerId([other; 32]),
    };
    let kind = bytes.byte();
    let [a, b, c, chunk] = bytes.array();
    let subkey = u64::from(u32::from_be_bytes([0, a, b, c])) << 16 | u64::from(chunk);
    let sequence = |byte: u8| {
        if byte == 0xff {
            records::MAX_SEQUENCE - 1
        } else {
            byte.into()
        }
    };
    let (epoch, counter) = (sequence(bytes.byte()), sequence(bytes.byte()));
    let header = Header {
        origin,
        kind,
        subkey,
        epoch,
        counter,
    };
    records::record(header, bytes.0, |_| [0; 64])
}

/// Bodies of forwarding records, and own ports, one change a piece: the changes that are told add up to the table,
/// and the table is one that the newest bodies alone lead to.
///
/// Bytes of a piece: what to do, origin, network (3), chunk, then a body, or a MAC address to attach.
pub fn forwarding(input: &[u8]) {
    let mut registry = Registry::new(OWN);
    let (mut bodies, mut ports) = (BTreeMap::new(), BTreeSet::new());
    let mut told = Told::default();
    for piece in pieces(input) {
        let mut bytes = Bytes(piece);
        let (what, origin) = (bytes.byte(), PeerId([bytes.byte() % 4 + 0x3f; 32]));
        let [a, b, c, chunk] = bytes.array();
        let vni = Vni(u32::from_be_bytes([0, a, b, c]));
        let subkey = u64::from(vni.0) << 16 | u64::from(chunk);
        match what % 6 {
            0 => {
                let mac = Mac(bytes.array());
                ports.insert((vni, mac));
                told.take(registry.attach(vni, mac, Vec::new()).fdb);
            }
            1 => {
                let mac = Mac(bytes.array());
                ports.remove(&(vni, mac));
                told.take(registry.detach(vni, &mac).fdb);
            }
            2 => {
                bodies.retain(|(of, _), _| *of != origin);
                told.take(registry.forget(&origin));
            }
            _ => {
                let Ok((body, _)) = postcard::take_from_bytes::<MacsBody>(bytes.0) else {
                    continue;
                };
                let again = postcard::to_stdvec(&body).expect("plain data");
                assert_eq!(postcard::from_bytes(&again).as_ref(), Ok(&body));
                told.take(registry.learn(origin, subkey, &body));
                bodies.insert((origin, subkey), body);
            }
        }
    }
    let mut anew = Registry::new(OWN);
    let mut told_anew = Told::default();
    for ((origin, subkey), body) in bodies.iter().rev() {
        told_anew.take(anew.learn(*origin, *subkey, body));
    }
    for (vni, mac) in ports {
        told_anew.take(anew.attach(vni, mac, Vec::new()).fdb);
    }
    assert_eq!(table(&registry), table(&anew));
    assert_eq!(told.table, table(&registry));
    assert_eq!(
        (&told.table, &told.members),
        (&told_anew.table, &told_anew.members)
    );
}

type Table = BTreeMap<(Vni, Mac), (PeerId, Vec<IpAddr>)>;

fn table(registry: &Registry) -> Table {
    let entries = registry.iter().map(|(vni, mac, peer, addresses)| {
        assert_eq!(registry.lookup(vni, &mac), Some(peer));
        assert!(peer != OWN && registry.members(vni).any(|member| *member == peer));
        ((vni, mac), (peer, addresses.to_vec()))
    });
    entries.collect()
}

/// What the data threads make of the changes.
#[derive(Default)]
struct Told {
    table: Table,
    members: BTreeMap<Vni, Vec<PeerId>>,
}

impl Told {
    fn take(&mut self, changes: Vec<Fdb>) {
        for Fdb { vni, change } in changes {
            match change {
                FdbChange::Set { mac, peer, addresses } => {
                    self.table.insert((vni, mac), (peer, addresses));
                }
                FdbChange::Remove { mac } => assert!(self.table.remove(&(vni, mac)).is_some()),
                FdbChange::Members(members) if members.is_empty() => {
                    self.members.remove(&vni);
                }
                FdbChange::Members(members) => {
                    self.members.insert(vni, members);
                }
            }
        }
    }
}
