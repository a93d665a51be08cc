use super::*;
use crate::testing::{admission, config, id, info, info_record, record};
use crate::wire::{Blob, Hello, Message, Routed};
use crate::{Direction, LinkId, LinkLabel, Mac, Mesh, Output, Packet, Vni};
use proptest::prelude::*;
use std::sync::Mutex;

/// A sink that the test can look into.
#[derive(Clone, Default)]
struct Shelf(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Shelf {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn contains(hay: &[u8], needle: &[u8]) -> bool {
    hay.windows(needle.len()).any(|window| window == needle)
}

fn hello(n: u8) -> Packet {
    Packet::new(Message::Hello(Hello {
        version_min: 1,
        version_max: 1,
        name: format!("host-{n}").parse().unwrap(),
        instance: u64::from(n),
        epoch: 1,
        observed: "10.0.0.1:1".parse().unwrap(),
        number: 1,
    }))
}

fn blobs(blobs: &[&[u8]]) -> Packet {
    let blobs: Vec<_> = blobs.iter().map(|blob| Blob(blob.to_vec())).collect();
    Packet::from([&[5], &postcard::to_stdvec(&blobs).unwrap()[..]].concat())
}

const HANDSHAKE: &[u8] = b"the bytes of a handshake";

/// Some of everything that may come to a core.
fn inputs() -> Vec<Input> {
    let mut false_one = info_record(4, 1, 1).bytes().to_vec();
    *false_one.last_mut().unwrap() ^= 1;
    let body = [&postcard::to_stdvec(&info(5, 1)).unwrap()[..], HANDSHAKE].concat();
    let longer = record(5, (1, 0), (1, 1), &body);
    let unknown = record(5, (99, 7), (1, 1), HANDSHAKE);
    let unreadable = record(5, (3, 7), (1, 1), &[[0xee; 30].as_slice(), HANDSHAKE].concat());
    let routed = Message::Routed(Routed {
        origin: id(2),
        path: vec![id(1)],
        cursor: 0,
        payload: Blob(HANDSHAKE.to_vec()),
    });
    let link = LinkId(1);
    let message = |packet: Packet| Input::Message { link, packet };
    vec![
        Input::Addresses(vec!["10.0.0.1:6783".parse().unwrap()]),
        Input::Attach {
            vni: Vni(1),
            mac: Mac([2; 6]),
            addresses: vec![],
        },
        Input::LinkUp {
            link,
            peer: id(2),
            address: "10.0.0.2:6783".parse().unwrap(),
            direction: Direction::In,
            target: None,
        },
        message(hello(2)),
        message(Packet::from(info_record(2, 1, 1).bytes().to_vec())),
        message(blobs(&[
            info_record(2, 1, 1).bytes(),
            HANDSHAKE,
            &false_one,
            longer.bytes(),
        ])),
        message(blobs(&[
            unknown.bytes(),
            unreadable.bytes(),
            info_record(3, 2, 2).bytes(),
        ])),
        message(Packet::from(routed.encode())),
        message(Packet::from([&[200], HANDSHAKE].concat())),
        message(Packet::from(Vec::new())),
        Input::SendTo {
            peer: id(2),
            payload: HANDSHAKE.to_vec(),
        },
        Input::PathUp {
            peer: id(2),
            mtu: 1500,
            rtt: Duration::from_millis(3),
        },
        Input::FastPath { port: 6784 },
        Input::SecretsChanged,
        Input::EpochPersisted(2),
    ]
}

/// Records a core that is given these, a tick after each. Returns what it said.
fn record_run(inputs: Vec<Input>, limit: u64) -> (Vec<u8>, Vec<Output>) {
    let (mut config, _) = config(1);
    config.data_key = *b"a key that nobody needs to know.";
    let shelf = Shelf::default();
    let mut recorder = Recorder::start(&mut config, [1; 32], Instant(5), shelf.clone(), limit).unwrap();
    let mut mesh = Mesh::new(config, [1; 32], Instant(5));
    let mut outputs = Vec::new();
    let mut now = Instant(5);
    for input in inputs.into_iter().flat_map(|input| [input, Input::Tick]) {
        now = now + Duration::from_millis(700);
        recorder.input(now, &input);
        mesh.handle_input(now, input);
        while let Some(output) = mesh.poll_output() {
            recorder.output(&output);
            outputs.push(output);
        }
    }
    drop(recorder);
    let bytes = shelf.0.lock().unwrap().clone();
    (bytes, outputs)
}

fn entries(recording: &[u8]) -> Vec<Entry> {
    let mut rest = recording.strip_prefix(FIRST_LINE.as_bytes()).unwrap();
    let mut entries = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk() {
        let (entry, after) = after.split_at(u32::from_le_bytes(*length) as usize);
        entries.push(Entry::read(entry).unwrap());
        rest = after;
    }
    assert!(rest.is_empty());
    entries
}

fn replay(entries: Vec<Entry>) -> Result<(u64, u64), Difference> {
    let mut replay = Replay::new();
    for entry in entries {
        replay.entry(entry)?;
    }
    replay.finish()
}

#[test]
fn a_replay_does_what_was_recorded() {
    let (recording, outputs) = record_run(inputs(), u64::MAX);
    assert!(
        outputs
            .iter()
            .any(|output| matches!(output, Output::Deliver { .. }))
    );
    assert!(outputs.iter().any(|output| matches!(output, Output::Peer(_))));
    let counted = replay(entries(&recording)).unwrap();
    assert_eq!(counted, (2 * inputs().len() as u64, outputs.len() as u64));
}

#[test]
fn nothing_secret_is_recorded() {
    let (recording, _) = record_run(inputs(), u64::MAX);
    for n in 1..6 {
        assert!(
            !contains(&recording, &admission(&id(n)).proof),
            "the proof of {n}"
        );
    }
    assert!(!contains(&recording, b"a key that nobody needs to know."));
    assert!(!contains(&recording, HANDSHAKE) && !contains(&recording, &HANDSHAKE[4..12]));
    assert!(contains(&recording, b"host-3"), "names are kept");
}

#[test]
fn a_difference_is_found_where_it_is() {
    let (recording, _) = record_run(inputs(), u64::MAX);
    let mut told = entries(&recording);
    // The core learns of another router's data path instead.
    let at = told.iter().position(|entry| {
        matches!(
            entry,
            Entry::Input {
                input: Input::PathUp { .. },
                ..
            }
        )
    });
    let Entry::Input { input, .. } = &mut told[at.unwrap()] else {
        panic!()
    };
    *input = Input::SendTo {
        peer: id(2),
        payload: vec![0; 9],
    };
    let found = replay(told).unwrap_err();
    assert_eq!((found.input, found.what.as_str()), (23, "SendTo"));
    assert!(
        found.to_string().contains("16.100005 s") && found.to_string().contains("Send"),
        "{found}"
    );

    // Another answer is another run, too.
    let mut told = entries(&recording);
    for entry in &mut told {
        if let Entry::Answer(Answer::Verified(verdict)) = entry {
            *verdict = false;
        }
    }
    let found = replay(told).unwrap_err();
    assert_eq!(found.what, "Message");

    // And one answer more or less is noticed as such.
    let mut told = entries(&recording);
    let at = told
        .iter()
        .position(|entry| matches!(entry, Entry::Answer(Answer::Admitted(_))))
        .unwrap();
    let removed = told.remove(at);
    assert!(replay(told.clone()).unwrap_err().difference.contains("signer"));
    told.insert(at, removed.clone());
    told.insert(at, removed);
    assert!(replay(told).unwrap_err().difference.contains("signer"));
}

#[test]
fn a_recording_that_was_cut_is_replayed_as_far_as_it_goes() {
    let (whole, _) = record_run(inputs(), u64::MAX);
    let all = entries(&whole);
    for cut in 2..all.len() {
        let (inputs, _) = replay(all[..cut].to_vec()).unwrap();
        assert!(inputs <= cut as u64);
    }
    assert!(replay(all[1..].to_vec()).is_err() && replay(Vec::new()).is_err());
    for limit in [600, 1000, 1500] {
        let (cut, _) = record_run(inputs(), limit);
        assert!(cut.len() as u64 <= limit && cut.len() as u64 > limit / 2);
        let told = entries(&cut);
        assert!(matches!(told.last(), Some(Entry::End)));
        replay(told).unwrap();
    }
    let (mut config, _) = config(1);
    assert!(Recorder::start(&mut config, [0; 32], Instant(0), Vec::new(), 10).is_err());
}

#[test]
fn the_input_that_a_core_panicked_on_is_the_last() {
    let shelf = Shelf::default();
    let outcome = std::panic::catch_unwind(|| {
        let (mut config, _) = config(1);
        let mut recorder =
            Recorder::start(&mut config, [1; 32], Instant(0), shelf.clone(), u64::MAX).unwrap();
        let _mesh = Mesh::new(config, [1; 32], Instant(0));
        recorder.input(Instant(1), &Input::Tick);
        panic!("on purpose");
    });
    assert!(outcome.is_err());
    let told = entries(&shelf.0.lock().unwrap());
    assert!(matches!(
        told[told.len() - 2..],
        [Entry::Input { .. }, Entry::End]
    ));
    assert_eq!(replay(told).unwrap().0, 1);
}

#[test]
fn a_full_disk_ends_the_recording_and_nothing_else() {
    struct Full(usize);
    impl std::io::Write for Full {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 = self
                .0
                .checked_sub(bytes.len())
                .ok_or(std::io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let (mut config, _) = config(1);
    let mut recorder = Recorder::start(&mut config, [1; 32], Instant(0), Full(400), u64::MAX).unwrap();
    for _ in 0..200 {
        recorder.input(Instant(1), &Input::Tick);
        config.signer.admissions();
    }
    assert!(matches!(recorder.take_ended(), Some(Ended::Failed(_))));
    assert!(recorder.take_ended().is_none());
}

proptest! {
    /// Whatever comes: a blank is as long, is read as the same kind or refused for the same reason, and is its own blank.
    #[test]
    fn blanks_are_alike(bytes in any::<Vec<u8>>(), kind in 0..14_u8, cut in any::<prop::sample::Index>(), pick in any::<prop::sample::Index>(), byte: u8) {
        let mut damaged = match &inputs()[pick.index(inputs().len())] {
            Input::Message { packet, .. } => packet.bytes().to_vec(),
            _ => [&[kind], &bytes[..]].concat(),
        };
        if !damaged.is_empty() {
            let at = cut.index(damaged.len());
            damaged[at] = byte;
        }
        for given in [bytes.clone(), [&[kind], &bytes[..]].concat(), damaged] {
            let packet = Packet::from(given.clone());
            let input = Input::Message { link: LinkId(1), packet };
            let (once, hashes) = blank::input(&input);
            let (twice, _) = blank::input(&once);
            prop_assert_eq!(&once, &twice);
            let (Input::Message { packet: before, .. }, Input::Message { packet: after, .. }) = (&input, &once) else { panic!() };
            prop_assert_eq!(before.message().err(), after.message().err());
            if before.message().is_ok() {
                prop_assert_eq!(after.len(), given.len());
            }
            if let (Ok(Message::Records(before)), Ok(Message::Records(after))) = (before.message(), after.message()) {
                prop_assert_eq!(&before.refused, &after.refused);
                prop_assert_eq!(hashes.len(), after.records.len());
                for (before, after) in before.records.iter().zip(&after.records) {
                    prop_assert_eq!(before.key, after.key);
                    prop_assert_eq!(before.body().is_some(), after.body().is_some());
                    prop_assert_eq!(before.bytes().len(), after.bytes().len());
                    prop_assert_eq!(before.links(), after.links());
                    prop_assert_eq!(before.macs(), after.macs());
                }
            }
        }
    }

    #[test]
    fn any_bytes_are_an_entry_or_none(bytes in any::<Vec<u8>>()) {
        if let Some(entry) = Entry::read(&bytes) {
            let _ = Replay::new().entry(entry);
        }
    }
}

#[test]
fn names_of_labels_survive() {
    // Detours and routes go into marks whole: two that differ in a label have different ones.
    let detour = |label| Output::Detour {
        neighbor: id(2),
        label: LinkLabel(label),
        route: None,
    };
    assert_ne!(blank::mark(&detour(1)), blank::mark(&detour(2)));
    assert_eq!(blank::mark(&detour(1)), blank::mark(&detour(1)));
}
