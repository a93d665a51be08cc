//! The recording half: sees everything the core sees, and writes it down blanked.

use super::{Answer, Entry, FIRST_LINE, Start, blank};
use crate::{Admission, Config, Input, Instant, Output, PeerId, Signer};
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

/// Room kept for the last entry.
const END: u64 = 16;

/// Why a recording came to its end.
#[derive(Debug)]
pub enum Ended {
    /// It is as long as it may be.
    Full,
    /// It could not be written.
    Failed(io::Error),
}

/// Writes down what one core is told and says.
///
/// Dropping it completes the recording, also when the core has panicked: the input that it panicked on is the last.
pub struct Recorder<W: Write> {
    /// None once the recording has ended.
    sink: Option<W>,
    answers: Arc<Answers>,
    room: u64,
    ended: Option<Ended>,
    frame: Vec<u8>,
}

/// The router's own signer, and what it said since the last entry.
struct Answers {
    signer: Arc<dyn Signer>,
    /// None once nobody listens any more.
    said: Mutex<Option<Vec<Answer>>>,
}

impl<W: Write> Recorder<W> {
    /// Begins with the settings of a core that is about to be made from `config` and `seed`. The config's signer is
    /// replaced by one that is listened to. No more than `limit` bytes are written.
    ///
    /// # Errors
    /// If the first entry can't be written.
    pub fn start(config: &mut Config, seed: [u8; 32], now: Instant, sink: W, limit: u64) -> io::Result<Self> {
        let answers = Arc::new(Answers {
            signer: Arc::clone(&config.signer),
            said: Mutex::new(Some(Vec::new())),
        });
        let start = Start::new(config, seed, now);
        config.signer = Arc::clone(&answers) as Arc<dyn Signer>;
        let mut recorder = Self {
            sink: Some(sink),
            answers,
            room: limit,
            ended: None,
            frame: FIRST_LINE.as_bytes().to_vec(),
        };
        recorder.write(&Entry::Start(Box::new(start)));
        recorder.flush();
        match recorder.ended.take() {
            None => Ok(recorder),
            Some(Ended::Failed(error)) => Err(error),
            Some(Ended::Full) => Err(io::Error::other("the limit leaves no room for anything")),
        }
    }

    /// The core is about to be given this.
    pub fn input(&mut self, now: Instant, input: &Input) {
        if self.sink.is_none() {
            return;
        }
        self.write_answers();
        let (input, hashes) = blank::input(input);
        self.write(&Entry::Input {
            at: now,
            input,
            hashes,
        });
    }

    /// The core was asked for an output, and gave this.
    pub fn output(&mut self, output: &Output) {
        if self.sink.is_none() {
            return;
        }
        self.write_answers();
        self.write(&Entry::Output(blank::mark(output)));
    }

    /// Hands on what a buffered sink still holds.
    pub fn flush(&mut self) {
        if let Some(Err(error)) = self.sink.as_mut().map(Write::flush) {
            self.end(Ended::Failed(error));
        }
    }

    /// Why it ended, told once; `None` while it goes on.
    pub fn take_ended(&mut self) -> Option<Ended> {
        self.ended.take()
    }

    fn write_answers(&mut self) {
        let said = self.answers.take();
        for answer in said {
            self.write(&Entry::Answer(answer));
        }
    }

    fn write(&mut self, entry: &Entry) {
        entry.write(&mut self.frame);
        let frame = std::mem::take(&mut self.frame);
        let length = frame.len() as u64;
        if self.room < length + END {
            return self.complete(Ended::Full);
        }
        self.room -= length;
        if let Some(Err(error)) = self.sink.as_mut().map(|sink| sink.write_all(&frame)) {
            self.end(Ended::Failed(error));
        }
        self.frame = frame;
        self.frame.clear();
    }

    fn complete(&mut self, why: Ended) {
        let mut last = Vec::new();
        Entry::End.write(&mut last);
        let written = self
            .sink
            .as_mut()
            .map(|sink| sink.write_all(&last).and_then(|()| sink.flush()));
        self.end(match written {
            Some(Err(error)) => Ended::Failed(error),
            _ => why,
        });
    }

    fn end(&mut self, why: Ended) {
        self.sink = None;
        self.ended = Some(why);
        *self.answers.said.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl<W: Write> Drop for Recorder<W> {
    fn drop(&mut self) {
        if self.sink.is_some() {
            self.write_answers();
        }
        if self.sink.is_some() {
            self.complete(Ended::Full);
        }
    }
}

impl Answers {
    fn take(&self) -> Vec<Answer> {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn say(&self, answer: Answer) {
        if let Some(said) = self.said.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            said.push(answer);
        }
    }
}

impl Signer for Answers {
    fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.signer.sign(message)
    }

    fn verify(&self, origin: &PeerId, message: &[u8], signature: &[u8; 64]) -> bool {
        let verdict = self.signer.verify(origin, message, signature);
        self.say(Answer::Verified(verdict));
        verdict
    }

    fn admissions(&self) -> Vec<Admission> {
        let admissions = self.signer.admissions();
        let blank = admissions.iter().map(|admission| Admission {
            secret: admission.secret,
            proof: [0; 16],
        });
        self.say(Answer::Admissions(blank.collect()));
        admissions
    }

    fn admits(&self, origin: &PeerId, proofs: &[Admission]) -> bool {
        let verdict = self.signer.admits(origin, proofs);
        self.say(Answer::Admitted(verdict));
        verdict
    }

    fn hash(&self, record: &[u8]) -> [u8; 16] {
        let hash = self.signer.hash(record);
        self.say(Answer::Signed(hash));
        hash
    }
}
