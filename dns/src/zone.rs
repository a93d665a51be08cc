//! Which names there are, in which network.

use crate::NameChange;
use hickory_proto::rr;
use mesh::{Name, Vni};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

/// Bytes of the longest domain: the longest name fits in front of it.
const MAX_DOMAIN: usize = 60;

/// Why a text is no domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a domain is a name such as weft.local, of at most {MAX_DOMAIN} characters")]
pub struct BadDomain;

/// All names of a mesh, under one domain.
#[derive(Debug, Clone)]
pub struct Zone {
    pub(crate) domain: rr::Name,
    networks: BTreeMap<Vni, Network>,
    /// Counts changes: the serial number of the zone.
    pub(crate) serial: u32,
}

/// The names of one network.
#[derive(Debug, Clone, Default)]
struct Network {
    addresses: HashMap<Name, Vec<IpAddr>>,
    /// What has names below it, and how many: it exists, though it may stand for nothing itself.
    above: HashMap<Box<str>, usize>,
    names: HashMap<IpAddr, BTreeSet<Name>>,
}

impl Zone {
    /// No names yet. The domain is that in which all are, such as `weft.local`.
    ///
    /// # Errors
    /// If that is no domain.
    pub fn new(domain: &str) -> Result<Self, BadDomain> {
        let labels = domain.trim_end_matches('.');
        if labels.len() > MAX_DOMAIN || labels.parse::<Name>().is_err() {
            return Err(BadDomain);
        }
        let mut domain = rr::Name::from_ascii(labels.to_ascii_lowercase()).map_err(|_| BadDomain)?;
        domain.set_fqdn(true);
        Ok(Self {
            domain,
            networks: BTreeMap::new(),
            serial: 1,
        })
    }

    /// The domain, with a dot at its end.
    #[must_use]
    pub fn domain(&self) -> String {
        self.domain.to_ascii()
    }

    /// A name stands for something else now.
    pub fn apply(&mut self, change: NameChange) {
        self.serial = self.serial.wrapping_add(1);
        let NameChange { vni, name, addresses } = change;
        let network = self.networks.entry(vni).or_default();
        network.remove(&name);
        if !addresses.is_empty() {
            network.insert(name, addresses);
        }
        if network.addresses.is_empty() {
            self.networks.remove(&vni);
        }
    }

    /// What a name stands for; `None` if there is no such name.
    #[must_use]
    pub fn addresses(&self, vni: Vni, name: &Name) -> Option<&[IpAddr]> {
        self.networks.get(&vni)?.addresses.get(name).map(Vec::as_slice)
    }

    /// The names of an address, in order.
    pub fn names(&self, vni: Vni, address: &IpAddr) -> impl Iterator<Item = &Name> + use<'_> {
        let network = self.networks.get(&vni);
        network
            .and_then(|network| network.names.get(address))
            .into_iter()
            .flatten()
    }

    /// All names of a network and what they stand for, in order.
    #[must_use]
    pub fn all(&self, vni: Vni) -> BTreeMap<&Name, &[IpAddr]> {
        let names = self
            .networks
            .get(&vni)
            .into_iter()
            .flat_map(|network| &network.addresses);
        names
            .map(|(name, addresses)| (name, addresses.as_slice()))
            .collect()
    }

    /// True if there are names below this one.
    pub(crate) fn is_above_others(&self, vni: Vni, name: &Name) -> bool {
        let network = self.networks.get(&vni);
        network.is_some_and(|network| network.above.contains_key(name.as_str()))
    }
}

impl Network {
    fn insert(&mut self, name: Name, addresses: Vec<IpAddr>) {
        for above in above(&name) {
            *self.above.entry(above.into()).or_default() += 1;
        }
        for address in &addresses {
            self.names.entry(*address).or_default().insert(name.clone());
        }
        self.addresses.insert(name, addresses);
    }

    fn remove(&mut self, name: &Name) {
        let Some(addresses) = self.addresses.remove(name) else {
            return;
        };
        for above in above(name) {
            if let Some(count) = self.above.get_mut(above) {
                *count -= 1;
                if *count == 0 {
                    self.above.remove(above);
                }
            }
        }
        for address in addresses {
            if let Some(names) = self.names.get_mut(&address) {
                names.remove(name);
                if names.is_empty() {
                    self.names.remove(&address);
                }
            }
        }
    }
}

/// `b.c` and `c` for `a.b.c`.
fn above(name: &Name) -> impl Iterator<Item = &str> {
    let text = name.as_str();
    text.match_indices('.').map(move |(at, _)| &text[at + 1..])
}
