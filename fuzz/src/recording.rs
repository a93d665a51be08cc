//! Recordings: whatever a neighbour sends, a recorded core and its replay do the same, and the recording holds no
//! payload; and no recording harms who reads it.

use crate::bytes::pieces;
use crate::records::{Judge, hello};
use crate::router::{LINK, NEIGHBOR, OWN};
use mesh::recording::{Entry, FIRST_LINE, Recorder, Replay};
use mesh::{Config, Direction, Input, Instant, Mesh, Output, Packet};
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A payload that no fuzzer guesses.
const MARKED: [u8; 32] = *b"a handshake nobody else may see!";

#[derive(Clone, Default)]
struct Shelf(Arc<Mutex<Vec<u8>>>);

impl Write for Shelf {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .expect("nobody panics with it")
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Messages on a link whose router is recorded, one a piece. The first byte says whether signatures are believed.
pub fn recording(input: &[u8]) {
    let (first, rest) = input.split_first().unwrap_or((&0, &[]));
    let shelf = Shelf::default();
    let name = "under-test".parse().expect("a name");
    let judge = Judge {
        own: OWN,
        gullible: first % 2 == 1,
    };
    let mut config = Config::new(OWN, name, MARKED, 1, Arc::new(judge));
    (config.instance, config.discovery) = (1, false);
    let now = Instant(1_000_000);
    let recorder = Recorder::start(&mut config, [1; 32], now, shelf.clone(), u64::MAX);
    let mut recorder = recorder.expect("memory takes everything");
    let mut mesh = Mesh::new(config, [1; 32], now);
    let message = |bytes: &[u8]| Input::Message {
        link: LINK,
        packet: Packet::from(bytes.to_vec()),
    };
    let up = Input::LinkUp {
        link: LINK,
        peer: NEIGHBOR,
        address: ([203, 0, 113, 1], 6783).into(),
        direction: Direction::In,
        target: None,
    };
    let payload = MARKED.to_vec();
    let send = Input::SendTo {
        peer: NEIGHBOR,
        payload,
    };
    let told = pieces(rest).into_iter().map(message);
    let told = [up, message(&hello("neighbor", 5))]
        .into_iter()
        .chain(told)
        .chain([send]);
    let mut outputs = 0;
    for (step, input) in told.flat_map(|input| [input, Input::Tick]).enumerate() {
        let now = now + Duration::from_millis(100 * step as u64);
        recorder.input(now, &input);
        mesh.handle_input(now, input);
        while let Some(output) = mesh.poll_output() {
            recorder.output(&output);
            outputs += u64::from(!matches!(output, Output::Log(_)));
        }
    }
    drop(recorder);
    let recorded = shelf.0.lock().expect("nobody panics with it").clone();
    assert!(
        !recorded.windows(8).any(|window| window == &MARKED[..8]),
        "a payload was recorded"
    );
    let mut replay = Replay::new();
    for entry in entries(&recorded[FIRST_LINE.len()..]) {
        if let Err(difference) = replay.entry(entry.expect("what was written is read")) {
            panic!("{difference}");
        }
    }
    assert!(replay.is_complete());
    let (_, compared) = replay.finish().expect("it began");
    assert!(compared >= outputs);
    // And any bytes as a recording.
    let mut replay = Replay::new();
    let _ = entries(input)
        .map_while(|entry| replay.entry(entry?).ok())
        .count();
}

/// The entries that these bytes hold; `None` for what is none.
fn entries(mut bytes: &[u8]) -> impl Iterator<Item = Option<Entry>> {
    std::iter::from_fn(move || {
        let (length, rest) = bytes.split_first_chunk()?;
        let length = (u32::from_le_bytes(*length) as usize).min(rest.len());
        let (entry, rest) = rest.split_at(length);
        bytes = rest;
        Some(Entry::read(entry))
    })
}
