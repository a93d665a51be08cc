//! The port guard: eBPF programs before each container's port and before the host's side of the bridge.
//!
//! `guard.bpf.c` beside this file says what passes.
//! The programs hang at the clsact hook by netlink, not by a link of this process: they stay when the router dies.
//! A router that starts again loads them anew, fills the new maps first, and then puts each new program in the
//! place of the old one in one step, so no port is unguarded at any time.

use crate::loaded::{Program, gone, map, octets, of_program, program, read_counters};
use crate::netlink::{NetlinkError, Socket, tc};
use crate::observe::{Gate, Guarded};
use crate::plan::Limit;
use aya::maps::{HashMap, MapData, MapError, PerCpuArray};
use aya::programs::ProgramError;
use aya::{EbpfError, EbpfLoader};
use mesh::{DropReason, Mac};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The compiled programs; `build-ebpf.sh` makes them from `guard.bpf.c`.
static OBJECT: &[u8] = aya::include_bytes_aligned!("guard.bpf.o");

/// What each counter of the programs stands for, in the order of `enum reason` in `guard.bpf.c`.
const REASONS: [DropReason; 6] = [
    DropReason::SpoofedMac,
    DropReason::SpoofedAddress,
    DropReason::DhcpServer,
    DropReason::RouterAdvertisement,
    DropReason::HostBound,
    DropReason::OverLimit,
];

/// Why there is no guard, or not before some port.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// The kernel does not take the object: no privileges (CAP_BPF, CAP_NET_ADMIN), a user namespace, no eBPF.
    #[error("the eBPF guard can't be loaded: {0}")]
    Load(#[from] EbpfError),
    /// The kernel does not take a program.
    #[error("the eBPF guard can't be loaded: {0}")]
    Program(#[from] ProgramError),
    /// A table of the guard can't be read or written.
    #[error("a table of the eBPF guard: {0}")]
    Map(#[from] MapError),
    /// The object lacks a part; it was built from another source.
    #[error("the eBPF guard's object has no {0}")]
    Incomplete(&'static str),
    /// A program can't be hung before its interface.
    #[error(transparent)]
    Attach(#[from] NetlinkError),
}

impl GuardError {
    /// True when privileges are lacking (as in a user namespace), so that trying again is of no use.
    #[must_use]
    pub fn is_permission(&self) -> bool {
        let mut next: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = next {
            let denied = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
            if denied == Some(std::io::ErrorKind::PermissionDenied) {
                return true;
            }
            next = error.source();
        }
        false
    }
}

/// Key of the table of addresses: interface index in native order, then the address, IPv4 mapped into IPv6.
type AddressKey = [u8; 20];
/// `struct bucket` of `guard.bpf.c`: the lock's place, then rate, depth, and when it is full.
type BucketValue = [u8; 32];
type Buckets = HashMap<MapData, u32, BucketValue>;

/// The loaded guard and what it enforces; [`Linux::set_guard`](crate::Linux::set_guard) puts it to use.
pub struct Guard {
    port: Program,
    host: Program,
    ports: HashMap<MapData, u32, [u8; 12]>,
    /// Where the host is, and where those are for whom it forwards: network and address, interface and what it is.
    ends: HashMap<MapData, [u8; 12], [u8; 8]>,
    addresses: HashMap<MapData, AddressKey, u8>,
    /// How much may come from which port.
    buckets: Buckets,
    /// The number of another run's program, and its buckets, which are as full as they are.
    earlier: Option<(u32, Option<Buckets>)>,
    counters: PerCpuArray<MapData, u64>,
    rules: BTreeMap<u32, Guarded>,
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard")
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}

impl Guard {
    /// Loads the programs. They hang nowhere yet. Takes some 50 ms of processor time and, for that long, 20 MB;
    /// a router that starts does something else meanwhile.
    ///
    /// # Errors
    /// When the kernel or the privileges don't allow it.
    pub fn load() -> Result<Self, GuardError> {
        // The loader reads the types of the running kernel, by which the program finds its way about in a frame's structure.
        match Self::load_with(EbpfLoader::new().override_global("sees_open", &1_u8, true)) {
            Ok(guard) => Ok(guard),
            Err(error) if error.is_permission() => Err(error),
            // A kernel without types, or one that keeps its memory from programs.
            Err(error) => {
                let guard = Self::load_with(EbpfLoader::new().btf(None))?;
                tracing::warn!(
                    "the port guard can't see under this kernel what checksums a container leaves open, so one with CAP_NET_RAW \
                     may have them written over its addresses: {error}"
                );
                Ok(guard)
            }
        }
    }

    fn load_with(loader: &mut EbpfLoader<'_>) -> Result<Self, GuardError> {
        let mut ebpf = loader.load(OBJECT)?;
        Ok(Self {
            port: program(&mut ebpf, "guard_port")?,
            host: program(&mut ebpf, "guard_host")?,
            ports: HashMap::try_from(map(&mut ebpf, "ports")?)?,
            ends: HashMap::try_from(map(&mut ebpf, "ends")?)?,
            addresses: HashMap::try_from(map(&mut ebpf, "addresses")?)?,
            buckets: HashMap::try_from(map(&mut ebpf, "buckets")?)?,
            earlier: None,
            counters: PerCpuArray::try_from(map(&mut ebpf, "counters")?)?,
            rules: BTreeMap::new(),
        })
    }

    /// Enforces `rules` on interface `index`. New addresses are allowed before old ones are refused.
    pub(crate) fn protect(
        &mut self,
        socket: &mut Socket,
        index: u32,
        rules: &Guarded,
    ) -> Result<(), GuardError> {
        let limit = limit(Some(rules));
        if let Some(limit) = limit {
            self.limit(socket, index, limit)?;
        }
        let (program, name) = match rules {
            Guarded::Host => (&self.host, "guard_host"),
            Guarded::Port {
                mac,
                addresses,
                gate,
                limit,
            } => {
                for address in addresses {
                    self.addresses.insert(address_key(index, *address), 1, 0)?;
                }
                if let Some(place) = place(Some(rules)) {
                    self.ends.insert(place, end_value(index, gate.0), 0)?;
                }
                let value = port_value(*mac, *gate, limit.is_some());
                self.ports.insert(index, value, 0)?;
                (&self.port, "guard_port")
            }
        };
        tc::attach(socket, index, &program.fd, name)?;
        let old = self.rules.insert(index, rules.clone());
        if place(old.as_ref()) != place(Some(rules)) {
            self.forget_end(old.as_ref(), index)?;
        }
        let kept = addresses(Some(rules));
        for address in addresses(old.as_ref()).difference(&kept) {
            gone(self.addresses.remove(&address_key(index, *address)))?;
        }
        if limit.is_none() {
            gone(self.buckets.remove(&index))?;
        }
        Ok(())
    }

    /// Gives a port its bucket. One that is there and the same stays, and so does what another run left of it: nobody gets
    /// another burst because the router has been started again.
    fn limit(&mut self, socket: &mut Socket, index: u32, limit: Limit) -> Result<(), GuardError> {
        let full = bucket_value(limit);
        let is_same = |there: &BucketValue| there[..FULL_AT] == full[..FULL_AT];
        if self.buckets.get(&index, 0).is_ok_and(|there| is_same(&there)) {
            return Ok(());
        }
        let earlier = self.earlier(socket, index);
        let left = earlier.and_then(|buckets| buckets.get(&index, 0).ok());
        let value = left.filter(is_same).unwrap_or(full);
        Ok(self.buckets.insert(index, value, 0)?)
    }

    /// The buckets of the program that hangs there, if it is another run's. All ports have the same one, most likely.
    fn earlier(&mut self, socket: &mut Socket, index: u32) -> Option<&Buckets> {
        let program = tc::attached(socket, index).ok().flatten();
        let program = program.filter(|program| *program != self.port.id)?;
        if self.earlier.as_ref().is_none_or(|(known, _)| *known != program) {
            let tables = of_program(program).unwrap_or_default();
            let buckets = tables.into_iter().find(|(name, _)| name == "buckets");
            let buckets = buckets.and_then(|(_, table)| HashMap::try_from(table).ok());
            self.earlier = Some((program, buckets));
        }
        self.earlier.as_ref()?.1.as_ref()
    }

    /// What is enforced on interface `index`, given the number of the program that hangs there.
    pub(crate) fn rules(&self, index: u32, program: u32) -> Option<&Guarded> {
        self.rules.get(&index).filter(|rules| match rules {
            Guarded::Host => program == self.host.id,
            Guarded::Port { .. } => program == self.port.id,
        })
    }

    /// Forgets interfaces that are no more.
    pub(crate) fn retain(&mut self, alive: &BTreeSet<u32>) {
        let dead: Vec<_> = self
            .rules
            .keys()
            .filter(|index| !alive.contains(index))
            .copied()
            .collect();
        dead.into_iter().for_each(|index| self.forget(index));
    }

    /// Forgets an interface that is no more.
    pub(crate) fn forget(&mut self, index: u32) {
        let rules = self.rules.remove(&index);
        let end = self.forget_end(rules.as_ref(), index);
        let results = addresses(rules.as_ref())
            .into_iter()
            .map(|address| gone(self.addresses.remove(&address_key(index, address))))
            .chain([
                end,
                gone(self.ports.remove(&index)),
                gone(self.buckets.remove(&index)),
            ])
            .collect::<Result<Vec<()>, _>>();
        if let Err(error) = results {
            tracing::debug!(%error, index, "an entry of the guard stays behind");
        }
    }

    /// What the rules name is not behind this port any more; it may be behind another by now.
    fn forget_end(&mut self, rules: Option<&Guarded>, index: u32) -> Result<(), MapError> {
        let Some(place) = place(rules) else {
            return Ok(());
        };
        let is_here = |value: [u8; 8]| value.starts_with(&index.to_ne_bytes());
        if self.ends.get(&place, 0).is_ok_and(is_here) {
            gone(self.ends.remove(&place))?;
        }
        Ok(())
    }

    /// What was dropped since [`load`](Self::load), summed over the processors.
    pub(crate) fn read_counters(&self) -> Result<Vec<(DropReason, u64)>, GuardError> {
        read_counters(&self.counters, &REASONS)
    }
}

fn addresses(rules: Option<&Guarded>) -> BTreeSet<IpAddr> {
    match rules {
        Some(Guarded::Port { addresses, .. }) => addresses.iter().copied().collect(),
        _ => BTreeSet::new(),
    }
}

fn limit(rules: Option<&Guarded>) -> Option<Limit> {
    match rules {
        Some(Guarded::Port { limit, .. }) => *limit,
        _ => None,
    }
}

/// Under what a port with a gate is found.
fn place(rules: Option<&Guarded>) -> Option<[u8; 12]> {
    match rules {
        Some(Guarded::Port {
            mac,
            gate: (Gate::Through | Gate::Host, network),
            ..
        }) => {
            let ([a, b, c, d], [e, f, g, h, i, j]) = (network.to_ne_bytes(), mac.0);
            Some([a, b, c, d, e, f, g, h, i, j, 0, 0])
        }
        _ => None,
    }
}

fn address_key(index: u32, address: IpAddr) -> AddressKey {
    let mut key = [0; 20];
    key[..4].copy_from_slice(&index.to_ne_bytes());
    key[4..].copy_from_slice(&octets(address));
    key
}

fn port_value(mac: Mac, (gate, network): (Gate, u32), is_limited: bool) -> [u8; 12] {
    let ([a, b, c, d, e, f], [g, h, i, j]) = (mac.0, network.to_ne_bytes());
    [a, b, c, d, e, f, gate_value(gate), is_limited.into(), g, h, i, j]
}

/// Where it stands in a bucket when it will be full.
const FULL_AT: usize = 24;

/// A full bucket. The lock is the kernel's; a time long ago is as good as now.
fn bucket_value(limit: Limit) -> BucketValue {
    let mut value = [0; 32];
    value[8..16].copy_from_slice(&limit.rate.max(1).to_ne_bytes());
    value[16..FULL_AT].copy_from_slice(&limit.depth().to_ne_bytes());
    value
}

fn end_value(index: u32, gate: Gate) -> [u8; 8] {
    let ([a, b, c, d], [e, f, g, h]) = (index.to_ne_bytes(), u32::from(gate_value(gate)).to_ne_bytes());
    [a, b, c, d, e, f, g, h]
}

/// As `enum gate` of `guard.bpf.c`.
fn gate_value(gate: Gate) -> u8 {
    match gate {
        Gate::No => 0,
        Gate::Through => 1,
        Gate::Host => 2,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::NetNs;
    use crate::wire::{self, End};

    #[test]
    fn a_bucket_is_as_deep_as_its_burst_takes() {
        let depth = |rate, burst| Limit { rate, burst }.depth();
        assert_eq!(depth(1_000_000, 100_000), 100_000_000);
        assert_eq!(depth(3, 1), 333_333_333);
        assert_eq!(depth(1, 0), 0);
        // Neither a rate of nothing nor the largest numbers lead to times that can't be added up.
        let uptime = 1_u64 << 60;
        for burst in [u64::MAX, u32::MAX.into()] {
            assert!(uptime.checked_add(depth(0, burst)).is_some());
        }
    }

    #[test]
    fn what_is_forgotten_leaves_nothing_in_the_tables() {
        if !crate::user::is_root() {
            return println!("skipped: needs root, to make network namespaces");
        }
        let netns = NetNs::create_anonymous().unwrap();
        let end = |ifname| End {
            netns: &netns,
            ifname,
        };
        wire::connect(end("left"), end("right"), 1500).unwrap();
        let index = wire::index(end("left")).unwrap();
        let mut guard = Guard::load().unwrap();
        let rules = |limit| Guarded::Port {
            mac: Mac([2, 0, 0, 0, 0, 1]),
            addresses: vec![IpAddr::from([10, 0, 0, 1])],
            gate: (Gate::Through, 1),
            limit,
        };
        let work = || {
            let mut socket = Socket::open().unwrap();
            let limit = Some(Limit { rate: 5, burst: 6 });
            guard.protect(&mut socket, index, &rules(limit)).unwrap();
            assert_eq!(guard.buckets.keys().count(), 1);
            guard.protect(&mut socket, index, &rules(None)).unwrap();
            assert_eq!(guard.buckets.keys().count(), 0);
            guard.protect(&mut socket, index, &rules(limit)).unwrap();
            guard.forget(index);
            let left = [
                guard.buckets.keys().count(),
                guard.ports.keys().count(),
                guard.ends.keys().count(),
                guard.addresses.keys().count(),
            ];
            assert_eq!(left, [0; 4]);
        };
        netns.run(work).unwrap();
    }
}
