//! The replaying half: a core that is told what was recorded.

use super::{Answer, Entry, Mark, Start, blank};
use crate::{Admission, Input, Instant, Mesh, Output, Packet, PeerId, Signer};
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Characters of an output that a difference shows.
const SHOWN: usize = 400;

/// Where a replay first differs from the recording.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("input {input} ({what}) at {:.6} s, after {outputs} equal outputs: {difference}", at.0 as f64 / 1e6)]
pub struct Difference {
    /// The number of the input that led there; 0 is the core's start.
    pub input: u64,
    /// Its kind.
    pub what: String,
    /// Its time.
    pub at: Instant,
    /// Outputs that were the same before.
    pub outputs: u64,
    /// What differs.
    pub difference: String,
}

/// A core that is told what was recorded. Give it the entries in their order, then [`finish`](Self::finish).
pub struct Replay {
    mesh: Option<Mesh>,
    answers: Arc<Told>,
    /// What is to be done once its answers are known.
    pending: Option<Pending>,
    current: Current,
    /// Outputs that the recording has not come to.
    made: VecDeque<(Current, Output)>,
    inputs: u64,
    outputs: u64,
    is_complete: bool,
}

enum Pending {
    Start(Box<Start>),
    Input(Instant, Input),
}

/// What the core is doing.
#[derive(Debug, Clone)]
struct Current {
    input: u64,
    what: Arc<str>,
    at: Instant,
}

impl Replay {
    /// Nothing has happened yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            mesh: None,
            answers: Arc::default(),
            pending: None,
            current: Current {
                input: 0,
                what: "start".into(),
                at: Instant(0),
            },
            made: VecDeque::new(),
            inputs: 0,
            outputs: 0,
            is_complete: false,
        }
    }

    /// Takes the next entry.
    ///
    /// # Errors
    /// If the core did not do what was recorded.
    pub fn entry(&mut self, entry: Entry) -> Result<(), Difference> {
        match entry {
            Entry::Start(start) => {
                if self.mesh.is_some() || self.pending.is_some() {
                    return Err(self.differs("the recording starts twice".to_owned()));
                }
                self.current.at = start.at;
                self.pending = Some(Pending::Start(start));
            }
            Entry::Answer(answer) => self.answers.push(answer),
            Entry::Input { at, input, hashes } => {
                self.run()?;
                self.inputs += 1;
                let what = format!("{input:?}")
                    .chars()
                    .take_while(char::is_ascii_alphanumeric)
                    .collect::<String>();
                self.current = Current {
                    input: self.inputs,
                    what: what.into(),
                    at,
                };
                self.pending = Some(Pending::Input(at, with_hashes(input, &hashes)));
            }
            Entry::Output(mark) => {
                self.run()?;
                self.compare(&mark)?;
            }
            Entry::End => {
                self.run()?;
                self.is_complete = true;
            }
        }
        Ok(())
    }

    /// There are no more entries: how many inputs were given and outputs compared.
    ///
    /// # Errors
    /// If the recording never began.
    pub fn finish(self) -> Result<(u64, u64), Difference> {
        // A last input without its end may lack answers: it is not run.
        match (&self.mesh, &self.pending) {
            (None, Some(Pending::Start(_))) => Ok((0, 0)),
            (Some(_), pending) => Ok((self.inputs - u64::from(pending.is_some()), self.outputs)),
            (None, _) => Err(self.differs("the recording holds nothing".to_owned())),
        }
    }

    /// The core, as it is now.
    #[must_use]
    pub fn mesh(&self) -> Option<&Mesh> {
        self.mesh.as_ref()
    }

    /// True if the recording says that it ends here; else it was cut.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    fn run(&mut self) -> Result<(), Difference> {
        match (self.pending.take(), &mut self.mesh) {
            (None, Some(_)) => return Ok(()),
            (Some(Pending::Start(start)), _) => {
                let (seed, at) = (start.seed, start.at);
                let config = start.config(Arc::clone(&self.answers) as Arc<dyn Signer>);
                self.mesh = Some(Mesh::new(config, seed, at));
            }
            (Some(Pending::Input(at, input)), Some(mesh)) => mesh.handle_input(at, input),
            (_, None) => {
                return Err(self.differs("the recording does not begin with the core's start".to_owned()));
            }
        }
        while let Some(output) = self.mesh.as_mut().and_then(Mesh::poll_output) {
            self.made.push_back((self.current.clone(), output));
        }
        match self.answers.quarrel() {
            Some(quarrel) => Err(self.differs(quarrel)),
            None => Ok(()),
        }
    }

    fn compare(&mut self, recorded: &Mark) -> Result<(), Difference> {
        let Some((by, output)) = self.made.pop_front() else {
            return Err(self.differs(format!(
                "an output of kind {} was recorded, and none came",
                recorded.kind
            )));
        };
        if blank::mark(&output) != *recorded {
            let shown: String = format!("{output:?}").chars().take(SHOWN).collect();
            self.current = by;
            let kind = &recorded.kind;
            return Err(self.differs(format!(
                "an output of kind {kind} was recorded, another came: {shown}"
            )));
        }
        self.outputs += 1;
        Ok(())
    }

    fn differs(&self, difference: String) -> Difference {
        Difference {
            input: self.current.input,
            what: self.current.what.to_string(),
            at: self.current.at,
            outputs: self.outputs,
            difference,
        }
    }
}

impl Default for Replay {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay")
            .field("inputs", &self.inputs)
            .field("outputs", &self.outputs)
            .finish_non_exhaustive()
    }
}

/// A message's records get back the hashes they had before they were blanked.
fn with_hashes(input: Input, hashes: &[[u8; 16]]) -> Input {
    match input {
        Input::Message { link, packet } => Input::Message {
            link,
            packet: Packet::with_hashes(packet, hashes),
        },
        other => other,
    }
}

/// The answers that were recorded, in the place of a signer.
#[derive(Default)]
struct Told(Mutex<(VecDeque<Answer>, Option<String>)>);

impl Told {
    fn push(&self, answer: Answer) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .0
            .push_back(answer);
    }

    /// What the core asked otherwise than was recorded.
    fn quarrel(&self) -> Option<String> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left = told
            .0
            .drain(..)
            .next()
            .map(|left| format!("the core did not ask the signer what led to {left:?}"));
        told.1.take().or(left)
    }

    fn next<T>(&self, question: &str, pick: impl Fn(&Answer) -> Option<T>) -> Option<T> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = told.0.pop_front();
        let picked = answer.as_ref().and_then(pick);
        if picked.is_none() && told.1.is_none() {
            told.1 = Some(match answer {
                Some(answer) => {
                    format!("the core asked the signer to {question}; the answer recorded is {answer:?}")
                }
                None => format!("the core asked the signer to {question}; no such answer was recorded"),
            });
        }
        picked
    }
}

impl Signer for Told {
    fn sign(&self, _: &[u8]) -> [u8; 64] {
        [0; 64]
    }

    fn verify(&self, _: &PeerId, _: &[u8], _: &[u8; 64]) -> bool {
        let pick = |answer: &Answer| match answer {
            Answer::Verified(verdict) => Some(*verdict),
            _ => None,
        };
        self.next("verify a signature", pick).unwrap_or(false)
    }

    fn admissions(&self) -> Vec<Admission> {
        let pick = |answer: &Answer| match answer {
            Answer::Admissions(admissions) => Some(admissions.clone()),
            _ => None,
        };
        self.next("show its proofs", pick).unwrap_or_default()
    }

    fn admits(&self, _: &PeerId, _: &[Admission]) -> bool {
        let pick = |answer: &Answer| match answer {
            Answer::Admitted(verdict) => Some(*verdict),
            _ => None,
        };
        self.next("judge a proof", pick).unwrap_or(false)
    }

    fn hash(&self, _: &[u8]) -> [u8; 16] {
        let pick = |answer: &Answer| match answer {
            Answer::Signed(hash) => Some(*hash),
            _ => None,
        };
        self.next("sign a record", pick).unwrap_or_default()
    }
}
