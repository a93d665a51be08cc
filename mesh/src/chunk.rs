//! Records that say a part of what a router has in one network: how such a chunk is named.

use crate::Vni;
use std::collections::BTreeMap;

/// What a router has, network by network and there chunk by chunk.
pub(crate) type Chunks<K, V> = BTreeMap<Vni, Vec<BTreeMap<K, V>>>;

/// How many chunks are not empty.
pub(crate) fn used<K, V>(networks: &Chunks<K, V>) -> usize {
    let chunks = networks.values().flatten();
    chunks.filter(|chunk| !chunk.is_empty()).count()
}

/// Forgets networks of which nothing is left.
pub(crate) fn forget_unused<K, V>(networks: &mut Chunks<K, V>) {
    networks.retain(|_, chunks| chunks.iter().any(|chunk| !chunk.is_empty()));
}

/// The name of a chunk among its origin's records: the network in the upper bits, the chunk's number in the lower
/// sixteen.
pub(crate) fn subkey(vni: Vni, chunk: u16) -> u64 {
    u64::from(vni.0) << 16 | u64::from(chunk)
}

/// The network in a subkey. Only valid subkeys are ever stored.
pub(crate) fn network(subkey: u64) -> Vni {
    Vni(u32::try_from(subkey >> 16).unwrap_or(u32::MAX))
}

/// True if it names one of the first `chunks` chunks of the network.
pub(crate) fn is_valid(subkey: u64, vni: Vni, chunks: u16) -> bool {
    vni.0 <= Vni::MAX && network(subkey) == vni && subkey & 0xffff < u64::from(chunks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_of_one_network() {
        for vni in [0, 1, Vni::MAX].map(Vni) {
            assert_eq!(network(subkey(vni, 7)), vni);
            assert!(is_valid(subkey(vni, 7), vni, 8));
            assert!(!is_valid(subkey(vni, 8), vni, 8), "there is none of that number");
            assert!(!is_valid(subkey(Vni(2), 7), vni, 8), "it is another's");
        }
        let none = Vni(Vni::MAX + 1);
        assert!(!is_valid(subkey(none, 0), none, 8));
        assert!(!is_valid(u64::MAX, Vni(u32::MAX), 8));
    }
}
