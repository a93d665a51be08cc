//! Recordings: of simulated routers, and replayed, whoever made them.

use mesh::recording::{Difference, Entry, FIRST_LINE, MAX_ENTRY, Recorder, Replay};
use mesh::{Config, Input, Instant, Output, Packet, PeerId, PeerName};
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

const OURS: &str = env!("CARGO_PKG_VERSION");

/// A recording in memory. Clones are one and the same.
#[derive(Debug, Clone, Default)]
pub struct Recording(Arc<Mutex<Vec<u8>>>);

impl Recording {
    /// What was recorded so far, as it would stand in a file.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Write for Recording {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Stands between a simulated router and its core.
pub(crate) struct Tape(Recorder<Recording>);

impl Tape {
    /// Of a core that is about to be made. What an earlier run left in the recording goes.
    pub(crate) fn start(
        recording: &Recording,
        config: &mut Config,
        seed: [u8; 32],
        now: Instant,
    ) -> Option<Self> {
        recording.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Recorder::start(config, seed, now, recording.clone(), u64::MAX)
            .ok()
            .map(Self)
    }

    /// Routers share records, with what one found out about them. A replayed core has nobody to share with, so a
    /// recorded one may not either.
    pub(crate) fn input(&mut self, now: Instant, input: Input) -> Input {
        let input = match input {
            Input::Message { link, packet } => {
                let packet = alone(&packet);
                Input::Message { link, packet }
            }
            other => other,
        };
        self.0.input(now, &input);
        input
    }

    pub(crate) fn output(&mut self, output: Output) -> Output {
        self.0.output(&output);
        match output {
            Output::Send {
                link,
                packet,
                reliable,
            } => Output::Send {
                link,
                packet: alone(&packet),
                reliable,
            },
            other => other,
        }
    }
}

fn alone(packet: &Packet) -> Packet {
    Packet::from(packet.bytes().to_vec())
}

/// A recording that was replayed, and did not differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replayed {
    /// Whose it is.
    pub id: PeerId,
    /// That router's name.
    pub name: PeerName,
    /// Inputs given.
    pub inputs: u64,
    /// Outputs compared.
    pub outputs: u64,
    /// The time of the last input.
    pub last: Instant,
    /// False: the recording was cut, by a crash of the machine, say.
    pub is_complete: bool,
}

/// Why a recording could not be replayed to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It can't be read.
    #[error("cannot read the recording: {0}")]
    Read(#[from] io::Error),
    /// It is no recording, or one of another format.
    #[error("not a recording of this version's format")]
    Foreign,
    /// It was made by another version, whose core may do otherwise.
    #[error("made by version {0}; this is version {OURS}")]
    Version(String),
    /// An entry makes no sense.
    #[error("damaged after {0} entries")]
    Damaged(u64),
    /// The core did something else.
    #[error("{0}")]
    Differs(#[from] Box<Difference>),
}

/// Tells a core what was recorded, and compares what it does. `progress` hears of each entry's time.
///
/// # Errors
/// Where the core first does something else, or if the recording can't be read.
pub fn replay(mut from: impl Read, mut progress: impl FnMut(Instant)) -> Result<Replayed, ReplayError> {
    let mut first = [0; FIRST_LINE.len()];
    from.read_exact(&mut first).map_err(|_| ReplayError::Foreign)?;
    if first != *FIRST_LINE.as_bytes() {
        return Err(ReplayError::Foreign);
    }
    let mut replay = Replay::new();
    let (mut entries, mut last, mut whose) = (0, Instant(0), None);
    while let Some(entry) = next(&mut from, entries)? {
        match &entry {
            Entry::Start(start) if start.version != OURS => {
                return Err(ReplayError::Version(start.version.clone()));
            }
            Entry::Start(start) => whose = Some((start.id(), start.name().clone())),
            Entry::Input { at, .. } => {
                last = *at;
                progress(last);
            }
            Entry::Answer(_) | Entry::Output(_) | Entry::End => {}
        }
        replay.entry(entry).map_err(Box::new)?;
        entries += 1;
    }
    let is_complete = replay.is_complete();
    let (inputs, outputs) = replay.finish().map_err(Box::new)?;
    let (id, name) = whose.ok_or(ReplayError::Damaged(entries))?;
    Ok(Replayed {
        id,
        name,
        inputs,
        outputs,
        last,
        is_complete,
    })
}

/// The next entry; `None` at the end, also in the middle of an entry: whoever wrote it was stopped there.
fn next(from: &mut impl Read, number: u64) -> Result<Option<Entry>, ReplayError> {
    let Some(length) = exactly(from, 4)? else {
        return Ok(None);
    };
    let length = length
        .iter()
        .rev()
        .fold(0, |length, byte| (length << 8) | usize::from(*byte));
    if length > MAX_ENTRY {
        return Err(ReplayError::Damaged(number));
    }
    match exactly(from, length)? {
        Some(bytes) => Entry::read(&bytes).map(Some).ok_or(ReplayError::Damaged(number)),
        None => Ok(None),
    }
}

/// So many bytes, if there are as many.
fn exactly(from: &mut impl Read, length: usize) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    from.take(length as u64).read_to_end(&mut bytes)?;
    Ok((bytes.len() == length).then_some(bytes))
}
