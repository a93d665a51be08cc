//! Places for connections that are still in their handshake: few enough that strangers can't fill the memory, and few
//! per network, so that one stranger can't keep new members out.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Places in all.
const MAX: usize = 256;
/// Places per IPv4 address or IPv6 /64.
const MAX_PER_NETWORK: usize = 16;

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    by_network: HashMap<IpAddr, usize>,
}

/// The places.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places(Arc<Mutex<Taken>>);

/// One taken place; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Places,
    network: IpAddr,
}

impl Places {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many are taken.
    pub(crate) fn count(&self) -> usize {
        self.taken().total
    }

    /// A place for somebody at `address`, if there is one left.
    pub(crate) fn take(&self, address: IpAddr) -> Option<Place> {
        let network = network_of(address);
        let mut taken = self.taken();
        let here = taken.by_network.get(&network).copied().unwrap_or(0);
        if taken.total >= MAX || here >= MAX_PER_NETWORK {
            return None;
        }
        taken.total += 1;
        taken.by_network.insert(network, here + 1);
        Some(Place {
            places: self.clone(),
            network,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.total -= 1;
        match taken.by_network.get_mut(&self.network) {
            Some(here) if *here > 1 => *here -= 1,
            _ => drop(taken.by_network.remove(&self.network)),
        }
    }
}

fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_network_leaves_places_for_others() {
        let places = Places::default();
        let crowd = |i: usize| IpAddr::from([0xfd00, 0, 0, 1, 0, 0, 0, i as u16]);
        let held: Vec<_> = (0..100).filter_map(|i| places.take(crowd(i))).collect();
        assert_eq!((held.len(), places.count()), (MAX_PER_NETWORK, MAX_PER_NETWORK));
        let other = places.take("10.0.0.1".parse().unwrap());
        assert!(other.is_some());
        drop(held);
        assert_eq!(places.count(), 1);
        drop(other);
        assert!(places.taken().by_network.is_empty());
    }

    #[test]
    fn there_is_an_end_to_them() {
        let places = Places::default();
        let held: Vec<_> = (0..1000_u32)
            .filter_map(|i| places.take(IpAddr::from(i.to_be_bytes())))
            .collect();
        assert_eq!(held.len(), MAX);
    }
}
