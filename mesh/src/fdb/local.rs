//! The ports of this router, spread over chunks for publication.
//!
//! A port stays in its chunk for as long as it is attached, so that a change touches one record only.

use super::{MAX_CHUNK_ENTRIES, MAX_CHUNKS, MAX_ENTRY_ADDRESSES, MacsBody};
use crate::chunk::{self, Chunks, subkey};
use crate::{Mac, Vni};
use std::collections::BTreeMap;
use std::net::IpAddr;

type Chunk = BTreeMap<Mac, Vec<IpAddr>>;

/// Locally attached ports by network and chunk.
#[derive(Debug, Clone, Default)]
pub(super) struct Local {
    networks: Chunks<Mac, Vec<IpAddr>>,
}

impl Local {
    /// Adds a port or changes its addresses. Returns the chunk to publish: none if nothing changed. `Err` if the
    /// network has no room left.
    pub(super) fn attach(
        &mut self,
        vni: Vni,
        mac: Mac,
        mut addresses: Vec<IpAddr>,
    ) -> Result<Option<(u64, MacsBody)>, Full> {
        addresses.sort_unstable();
        addresses.dedup();
        addresses.truncate(MAX_ENTRY_ADDRESSES);
        let chunks = self.networks.entry(vni).or_default();
        let number = match chunks.iter().position(|chunk| chunk.contains_key(&mac)) {
            Some(number) => number,
            None => with_room(chunks)?,
        };
        // The number comes from a search in `chunks`, which at most grew since.
        let Some(chunk) = chunks.get_mut(number) else {
            return Err(Full);
        };
        if chunk.get(&mac) == Some(&addresses) {
            return Ok(None);
        }
        chunk.insert(mac, addresses);
        Ok(Some(body(vni, number, chunk)))
    }

    /// Removes a port. Returns the chunk to publish, if it was there.
    pub(super) fn detach(&mut self, vni: Vni, mac: &Mac) -> Option<(u64, MacsBody)> {
        let chunks = self.networks.get_mut(&vni)?;
        let (number, chunk) = chunks
            .iter_mut()
            .enumerate()
            .find_map(|(n, chunk)| chunk.remove(mac).map(|_| (n, chunk)))?;
        Some(body(vni, number, chunk))
    }

    pub(super) fn contains(&self, vni: Vni, mac: &Mac) -> bool {
        self.networks
            .get(&vni)
            .is_some_and(|chunks| chunks.iter().any(|chunk| chunk.contains_key(mac)))
    }

    /// The ports of a network, chunk by chunk.
    pub(super) fn ports(&self, vni: Vni) -> impl Iterator<Item = (&Mac, &[IpAddr])> {
        let chunks = self.networks.get(&vni).into_iter().flatten();
        chunks
            .flatten()
            .map(|(mac, addresses)| (mac, addresses.as_slice()))
    }

    /// The networks with at least one port.
    pub(super) fn networks(&self) -> impl Iterator<Item = Vni> {
        let used = self
            .networks
            .iter()
            .filter(|(_, chunks)| chunks.iter().any(|chunk| !chunk.is_empty()));
        used.map(|(vni, _)| *vni)
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
    pub(super) fn bodies(&self) -> impl Iterator<Item = (u64, MacsBody)> {
        self.networks.iter().flat_map(|(vni, chunks)| {
            chunks
                .iter()
                .enumerate()
                .map(|(number, chunk)| body(*vni, number, chunk))
        })
    }
}

/// There is no room for another port in this network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

/// The first chunk with room for a port.
fn with_room(chunks: &mut Vec<Chunk>) -> Result<usize, Full> {
    if let Some(number) = chunks.iter().position(|chunk| chunk.len() < MAX_CHUNK_ENTRIES) {
        return Ok(number);
    }
    if chunks.len() >= usize::from(MAX_CHUNKS) {
        return Err(Full);
    }
    chunks.push(Chunk::new());
    Ok(chunks.len() - 1)
}

fn body(vni: Vni, number: usize, chunk: &Chunk) -> (u64, MacsBody) {
    let entries = chunk
        .iter()
        .map(|(mac, addresses)| (*mac, addresses.clone()))
        .collect();
    // `with_room` makes no more than `MAX_CHUNKS`.
    (
        subkey(vni, u16::try_from(number).unwrap_or(MAX_CHUNKS)),
        MacsBody { vni, entries },
    )
}
