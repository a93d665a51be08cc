//! The fast path: eBPF programs that carry frames between hosts in VXLAN, past the router.
//!
//! `vxlan.bpf.c` beside this file says what they do. [`Switch`] loads them and hangs them before their devices;
//! [`Tables`] is what they look things up in, written by the router entry by entry; [`ProbeSocket`] is the hatch by
//! which the router's probes enter and leave. What of it is written when, [`overlay`](crate::overlay) decides.
//!
//! Like the guard they hang there by netlink and stay when the router dies, with their tables. The next router loads
//! new ones, copies the tables ([`Switch::load`]) and then puts each new program in the place of the old in one step.

mod probe;
mod tables;

pub use probe::{Came, PROBE_TYPE, Probe, ProbeError, ProbeSocket, probe_frame, tree_probe_frame};
pub use tables::{Hop, Local, MOST_BRANCHES, MOST_MEMBERS, PATIENCE, Place, Tables};

use crate::guard::GuardError;
use crate::loaded::{Program, map, of_program, program, read_counters};
use crate::names;
use crate::netlink::{Socket, link, tc};
use crate::observe::Hook;
use aya::EbpfLoader;
use aya::maps::{Array, HashMap, MapData, MapError, PerCpuArray};
use mesh::{DropReason, Mac, Vni};
use std::collections::{BTreeMap, BTreeSet};
use tables::{PlaceKey, place};

/// The compiled programs; `build-ebpf.sh` makes them from `vxlan.bpf.c`.
static OBJECT: &[u8] = aya::include_bytes_aligned!("vxlan.bpf.o");

/// What each counter of the programs stands for, in the order of `enum reason` in `vxlan.bpf.c`.
const REASONS: [DropReason; 11] = [
    DropReason::VxlanUnknownSource,
    DropReason::VxlanTruncated,
    DropReason::VxlanNoLabel,
    DropReason::VxlanUnknownLabel,
    DropReason::VxlanLoop,
    DropReason::VxlanHopLimit,
    DropReason::VxlanNotAttached,
    DropReason::VxlanSpoofed,
    DropReason::VxlanUnproven,
    DropReason::VxlanForsaken,
    DropReason::VxlanNotParent,
];

/// Places in the table of devices.
const VXLAN: u32 = 0;
const HATCH: u32 = 1;

/// In the table of local addresses: what is for this one goes over the bridge; `BY_BRIDGE` in `vxlan.bpf.c`. The interface is
/// named all the same, as by it an entry is known to be of a container that is gone, or of another than the one forgotten.
const BY_BRIDGE: u32 = 1 << 31;

/// The loaded programs; [`Linux::set_switch`](crate::Linux::set_switch) puts them to use.
pub struct Switch {
    port_out: Program,
    mesh_out: Program,
    mesh_in: Program,
    tap_in: Program,
    hatch_out: Program,
    ports: HashMap<MapData, u32, [u32; 2]>,
    networks: HashMap<MapData, u32, u32>,
    locals: HashMap<MapData, PlaceKey, u32>,
    devices: Array<MapData, u32>,
    counters: PerCpuArray<MapData, u64>,
    /// What hangs before each interface, and the interface it was told of.
    hooked: BTreeMap<u32, (Hook, u32)>,
    /// The tables hold what an earlier router left, and were not gone through yet.
    has_inherited: bool,
}

impl std::fmt::Debug for Switch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Switch")
            .field("hooked", &self.hooked)
            .finish_non_exhaustive()
    }
}

impl Switch {
    /// Loads the programs, and into their tables whatever an earlier router with this bridge left in those that hang
    /// in the calling thread's namespace. They hang nowhere yet.
    ///
    /// # Errors
    /// When the kernel or the privileges don't allow it.
    pub fn load(bridge: &str) -> Result<(Self, Tables), GuardError> {
        let mut ebpf = EbpfLoader::new().btf(None).load(OBJECT)?;
        let mut tables = Tables::new(&mut ebpf)?;
        let mut switch = Self {
            port_out: program(&mut ebpf, "port_out")?,
            mesh_out: program(&mut ebpf, "mesh_out")?,
            mesh_in: program(&mut ebpf, "mesh_in")?,
            tap_in: program(&mut ebpf, "tap_in")?,
            hatch_out: program(&mut ebpf, "hatch_out")?,
            ports: HashMap::try_from(map(&mut ebpf, "ports")?)?,
            networks: HashMap::try_from(map(&mut ebpf, "networks")?)?,
            locals: HashMap::try_from(map(&mut ebpf, "locals")?)?,
            devices: Array::try_from(map(&mut ebpf, "devices")?)?,
            counters: PerCpuArray::try_from(map(&mut ebpf, "counters")?)?,
            hooked: BTreeMap::new(),
            has_inherited: true,
        };
        for program in earlier(bridge) {
            if let Err(error) = switch.inherit(&mut tables, program) {
                tracing::warn!(
                    "the fast path starts anew, as what the last router left can't be read: {error}"
                );
            }
        }
        Ok((switch, tables))
    }

    /// Copies all that the program with this number looks things up in, so that each program works from the moment at
    /// which it takes the place of the old one. (The table of ports is filled as they are hooked.)
    fn inherit(&mut self, tables: &mut Tables, program: u32) -> Result<(), MapError> {
        for (name, old) in of_program(program)? {
            match name.as_str() {
                "locals" => tables::copy(&HashMap::try_from(old)?, &mut self.locals)?,
                "networks" => tables::copy(&HashMap::try_from(old)?, &mut self.networks)?,
                "devices" => {
                    let old = Array::<_, u32>::try_from(old)?;
                    for place in [VXLAN, HATCH] {
                        self.devices.set(place, old.get(&place, 0)?, 0)?;
                    }
                }
                _ => tables.copy_from(&name, old)?,
            }
        }
        Ok(())
    }

    /// Hangs the right program before interface `index`, once it knows what it needs. `other`: the index of the
    /// interface that the hook names.
    pub(crate) fn hook(
        &mut self,
        socket: &mut Socket,
        index: u32,
        hook: &Hook,
        other: u32,
    ) -> Result<(), GuardError> {
        match hook {
            Hook::Port { vni, mac, by_bridge } => {
                self.ports.insert(index, [vni.0, other], 0)?;
                self.locals
                    .insert(place(*vni, *mac), deliver_at(index, *by_bridge), 0)?;
            }
            Hook::Stub { vni, .. } => {
                self.ports.insert(index, [vni.0, other], 0)?;
                self.networks.insert(vni.0, index, 0)?;
            }
            Hook::Tap { vni, .. } => self.ports.insert(index, [vni.0, other], 0)?,
            Hook::Vxlan => self.devices.set(VXLAN, index, 0)?,
            Hook::Hatch => self.devices.set(HATCH, index, 0)?,
        }
        let (program, place, name) = self.place(hook);
        tc::attach_at(socket, index, place, &program.fd, name)?;
        let before = self.hooked.insert(index, (hook.clone(), other));
        if let Some((Hook::Port { vni, mac, by_bridge }, _)) = before.filter(|(before, _)| before != hook) {
            self.forget_local(vni, mac, deliver_at(index, by_bridge));
        }
        Ok(())
    }

    /// Which program a hook hangs, and where.
    fn place(&self, hook: &Hook) -> (&Program, tc::Place, &'static str) {
        match hook {
            Hook::Port { .. } => (&self.port_out, tc::BEHIND_GUARD, "port_out"),
            Hook::Stub { .. } => (&self.mesh_out, tc::EGRESS, "mesh_out"),
            Hook::Vxlan => (&self.mesh_in, tc::INGRESS, "mesh_in"),
            Hook::Tap { .. } => (&self.tap_in, tc::INGRESS, "tap_in"),
            Hook::Hatch => (&self.hatch_out, tc::EGRESS, "hatch_out"),
        }
    }

    /// An address is not at that port any more; it may be at another.
    fn forget_local(&mut self, vni: Vni, mac: Mac, at: u32) {
        let key = place(vni, mac);
        if self.locals.get(&key, 0).is_ok_and(|now| now == at) {
            let _ = self.locals.remove(&key);
        }
    }

    /// What hangs before interface `index`, if it is ours and up to date. `program_at` tells the number of the program
    /// at a place, `index_of` finds interfaces.
    pub(crate) fn hooked(
        &self,
        index: u32,
        program_at: impl FnOnce(tc::Place) -> Option<u32>,
        index_of: impl FnOnce(&str) -> Option<u32>,
    ) -> Option<&Hook> {
        let (hook, other) = self.hooked.get(&index)?;
        let (program, place, _) = self.place(hook);
        let is_current = hook.other().is_none_or(|name| index_of(name) == Some(*other));
        (is_current && program_at(place) == Some(program.id)).then_some(hook)
    }

    /// Forgets interfaces that are no more.
    pub(crate) fn retain(&mut self, alive: &BTreeSet<u32>) {
        if std::mem::take(&mut self.has_inherited) {
            self.drop_dead_locals(alive);
        }
        let dead: Vec<_> = self
            .hooked
            .keys()
            .filter(|index| !alive.contains(index))
            .copied()
            .collect();
        dead.into_iter().for_each(|index| self.forget(index));
    }

    /// Forgets an interface that is no more.
    pub(crate) fn forget(&mut self, index: u32) {
        if let Some((Hook::Port { vni, mac, by_bridge }, _)) = self.hooked.remove(&index) {
            self.forget_local(vni, mac, deliver_at(index, by_bridge));
        }
        // It may have had no entry.
        let _ = self.ports.remove(&index);
    }

    /// Containers that ended while no router ran are not here any more: their addresses may be elsewhere by now.
    fn drop_dead_locals(&mut self, alive: &BTreeSet<u32>) {
        let all = self.locals.iter().filter_map(Result::ok);
        let dead: Vec<_> = all
            .filter(|(_, at)| !alive.contains(&(at & !BY_BRIDGE)))
            .map(|(key, _)| key)
            .collect();
        for key in dead {
            let _ = self.locals.remove(&key);
        }
    }

    /// What was dropped since [`load`](Self::load), summed over the processors.
    pub(crate) fn read_counters(&self) -> Result<Vec<(DropReason, u64)>, GuardError> {
        read_counters(&self.counters, &REASONS)
    }
}

/// The programs of an earlier router that together use all tables.
fn earlier(bridge: &str) -> Vec<u32> {
    let places = [
        (names::vxlan(bridge), tc::INGRESS),
        (names::stub(bridge), tc::EGRESS),
    ];
    let find = |(name, place): (String, tc::Place)| {
        let mut socket = Socket::open().ok()?;
        let index = link::index(&mut socket, &name).ok()?;
        tc::attached_at(&mut socket, index, place).ok()?
    };
    places.into_iter().filter_map(find).collect()
}

/// Where what is for an address is delivered: at its pair's host end, or over the bridge. (The kernel counts interfaces
/// from one, as signed numbers.)
fn deliver_at(index: u32, by_bridge: bool) -> u32 {
    if by_bridge { index | BY_BRIDGE } else { index }
}
