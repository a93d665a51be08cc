//! What must be on disk: keys and values, changed a few at a time.
//!
//! Each change of a network's addresses is a [`Batch`]: the driver stores all of it or nothing, for good, and says so;
//! only then is anybody told. Batches are stored in the order of their numbers.

use super::body::{Grant, Reclaimed, RingId};
use super::ranges::Span;
use super::ring::Holder;
use crate::record::Record;
use crate::{PeerId, Vni};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Changes that are stored together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// Counts the batches of a run.
    pub number: u64,
    /// Each key's new value; `None`: it goes. A key of four bytes, which is a network's number, stands for all that begin
    /// with it.
    pub changes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// Everything that is stored, as the driver read it at the start.
pub type Stored = BTreeMap<Vec<u8>, Vec<u8>>;

/// What was stored can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stored addresses are damaged")]
pub struct Damaged;

/// The small things that change together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// The division this router is in.
    pub(crate) ring: Option<RingId>,
    /// Counts changes of what this router owns, has given away, or uses without owning it. In its records, so that it
    /// can tell whether one of them knows more than its disk.
    pub(crate) serial: u64,
    /// What it gave away and has not heard the others know.
    pub(crate) grants: Vec<Grant>,
    /// Routers of a division that this router left, that were not heard of in the new one.
    pub(crate) fence: BTreeSet<PeerId>,
    /// From whom this router took over.
    pub(crate) reclaimed: Vec<Reclaimed>,
    /// There were other routers once.
    pub(crate) has_met: bool,
}

const STATE: u8 = b's';
const VIEW: u8 = b'v';
const BOOK: u8 = b'b';
const USED: u8 = b'u';
const FREED: u8 = b'f';
const SPARE: u8 = b'p';

fn key(vni: Vni, tag: u8, rest: &[u8]) -> Vec<u8> {
    [&vni.0.to_be_bytes()[..], &[tag], rest].concat()
}

/// Collects changes until they are made a batch.
#[derive(Debug, Default)]
pub(crate) struct Changes(Vec<(Vec<u8>, Option<Vec<u8>>)>);

impl Changes {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn take(&mut self, number: u64) -> Batch {
        let changes = std::mem::take(&mut self.0);
        Batch { number, changes }
    }

    fn put<T: Serialize>(&mut self, key: Vec<u8>, value: Option<&T>) {
        // Encoding fails only for types of unknown length, and none of ours is one.
        let value = value.map(|value| postcard::to_stdvec(value).unwrap_or_default());
        self.0.push((key, value));
    }

    pub(crate) fn state(&mut self, vni: Vni, state: &State) {
        self.put(key(vni, STATE, &[]), Some(state));
    }

    pub(crate) fn view(&mut self, vni: Vni, start: u32, entry: Option<(Span, Holder)>) {
        let entry = entry.map(|(span, holder)| (span.end, holder));
        self.put(key(vni, VIEW, &start.to_be_bytes()), entry.as_ref());
    }

    pub(crate) fn used(&mut self, vni: Vni, index: u32, holder: Option<&str>) {
        self.put(key(vni, USED, &index.to_be_bytes()), holder.as_ref());
    }

    pub(crate) fn spare(&mut self, vni: Vni, spans: &[(u32, u32)]) {
        self.put(key(vni, SPARE, &[]), Some(&spans));
    }

    pub(crate) fn freed(&mut self, vni: Vni, number: u64, index: Option<u32>) {
        self.put(key(vni, FREED, &number.to_be_bytes()), index.as_ref());
    }

    pub(crate) fn record(&mut self, vni: Vni, record: &Record) {
        self.0.push((
            key(vni, BOOK, &record.key.origin.0),
            Some(record.bytes().to_vec()),
        ));
    }
}

/// One network's part of what was stored.
#[derive(Debug, Default)]
pub(crate) struct Read {
    pub(crate) state: State,
    pub(crate) view: Vec<(Span, Holder)>,
    pub(crate) records: Vec<Arc<Record>>,
    pub(crate) used: Vec<(u32, String)>,
    pub(crate) freed: Vec<(u64, u32)>,
    /// Start and length of what was promised not to be used.
    pub(crate) spare: Vec<(u32, u32)>,
}

impl Read {
    /// Reads what was stored of a network.
    pub(crate) fn of(vni: Vni, stored: &Stored) -> Result<Self, Damaged> {
        let mut read = Self::default();
        let start = vni.0.to_be_bytes();
        let own = stored
            .range(start.to_vec()..)
            .take_while(|(key, _)| key.starts_with(&start));
        for (key, value) in own {
            let (tag, rest) = key[4..].split_first().ok_or(Damaged)?;
            match *tag {
                STATE => read.state = decoded(value)?,
                SPARE => read.spare = decoded(value)?,
                VIEW => {
                    let (end, holder) = decoded(value)?;
                    read.view.push((Span::new(number(rest)?, end), holder));
                }
                BOOK => {
                    let record = Record::parse(value.clone()).map_err(|_| Damaged)?;
                    read.records.push(Arc::new(record));
                }
                USED => read.used.push((number(rest)?, decoded(value)?)),
                FREED => {
                    let rest: [u8; 8] = rest.try_into().map_err(|_| Damaged)?;
                    read.freed.push((u64::from_be_bytes(rest), decoded(value)?));
                }
                _ => return Err(Damaged),
            }
        }
        Ok(read)
    }
}

fn number(bytes: &[u8]) -> Result<u32, Damaged> {
    Ok(u32::from_be_bytes(bytes.try_into().map_err(|_| Damaged)?))
}

fn decoded<'a, T: Deserialize<'a>>(value: &'a [u8]) -> Result<T, Damaged> {
    postcard::from_bytes(value).map_err(|_| Damaged)
}
