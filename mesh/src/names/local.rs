//! The names of this router's host, spread over chunks for publication.
//!
//! A name stays in its chunk for as long as it has room there, so that a change touches one record only.

use super::{MAX_CHUNKS, MAX_NAME_ADDRESSES, Name, NamesBody, Publish};
use crate::Vni;
use crate::chunk::{self, Chunks, subkey};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Bytes that a chunk may take, so that with its envelope it fits into a record.
const MAX_CHUNK_BYTES: usize = 15 * 1024;
/// Bytes of an address, at most.
const ADDRESS: usize = 17;
/// Bytes of the two lengths of an entry, at most.
const LENGTHS: usize = 4;

type Chunk = BTreeMap<Name, Vec<IpAddr>>;

/// Names by network and chunk.
#[derive(Debug, Clone, Default)]
pub(super) struct Local {
    networks: Chunks<Name, Vec<IpAddr>>,
}

impl Local {
    /// Adds a name, changes its addresses or, if there are none, removes it. Returns the chunks to publish, in that
    /// order; `None` if the network has no room left: nothing changes then.
    pub(super) fn set(&mut self, vni: Vni, name: &Name, mut addresses: Vec<IpAddr>) -> Option<Vec<Publish>> {
        addresses.sort_unstable();
        addresses.dedup();
        addresses.truncate(MAX_NAME_ADDRESSES);
        let chunks = self.networks.entry(vni).or_default();
        let old = chunks.iter().position(|chunk| chunk.contains_key(name));
        if addresses.is_empty() {
            let Some(old) = old else { return Some(Vec::new()) };
            chunks[old].remove(name);
            return Some(vec![body(vni, old, &chunks[old])]);
        }
        if old.is_some_and(|old| chunks[old].get(name) == Some(&addresses)) {
            return Some(Vec::new());
        }
        let weight = weight(name, &addresses);
        let fits = |chunk: &Chunk| {
            let others = chunk.iter().filter(|(other, _)| *other != name);
            others
                .map(|(name, addresses)| self::weight(name, addresses))
                .sum::<usize>()
                + weight
                <= MAX_CHUNK_BYTES
        };
        let stays = old.filter(|old| fits(&chunks[*old]));
        let new = match stays.or_else(|| chunks.iter().position(fits)) {
            Some(new) => new,
            None if chunks.len() >= usize::from(MAX_CHUNKS) => return None,
            None => {
                chunks.push(Chunk::new());
                chunks.len() - 1
            }
        };
        chunks[new].insert(name.clone(), addresses);
        let mut changed = vec![new];
        // First where it is, then where it was: nobody shall miss it in between.
        if let Some(old) = old.filter(|old| *old != new) {
            chunks[old].remove(name);
            changed.push(old);
        }
        Some(
            changed
                .into_iter()
                .map(|number| body(vni, number, &chunks[number]))
                .collect(),
        )
    }

    /// The addresses of a name; none if it is not there.
    pub(super) fn get(&self, vni: Vni, name: &Name) -> &[IpAddr] {
        let mut chunks = self.networks.get(&vni).into_iter().flatten();
        chunks
            .find_map(|chunk| chunk.get(name))
            .map_or(&[], Vec::as_slice)
    }

    /// How many chunks are not empty.
    pub(super) fn used(&self) -> usize {
        chunk::used(&self.networks)
    }

    /// Forgets networks of which nothing is left.
    pub(super) fn forget_unused(&mut self) {
        chunk::forget_unused(&mut self.networks);
    }

    /// All chunks ever used, empty ones too.
    pub(super) fn bodies(&self) -> impl Iterator<Item = Publish> {
        self.networks.iter().flat_map(|(vni, chunks)| {
            let numbered = chunks.iter().enumerate();
            numbered.map(|(number, chunk)| body(*vni, number, chunk))
        })
    }
}

fn weight(name: &Name, addresses: &[IpAddr]) -> usize {
    name.as_str().len() + LENGTHS + addresses.len() * ADDRESS
}

fn body(vni: Vni, number: usize, chunk: &Chunk) -> Publish {
    let entries = chunk
        .iter()
        .map(|(name, addresses)| (name.to_string(), addresses.clone()))
        .collect();
    // There are never more than `MAX_CHUNKS`.
    (
        subkey(vni, u16::try_from(number).unwrap_or(MAX_CHUNKS)),
        NamesBody { vni, entries },
    )
}
