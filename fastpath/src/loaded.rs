//! What guard and fast path have in common: programs out of an object, tables, counters.

use crate::guard::GuardError;
use aya::Ebpf;
use aya::maps::{Map, MapData, MapError, MapInfo, PerCpuArray};
use aya::programs::{ProgramError, ProgramFd, SchedClassifier, loaded_programs};
use mesh::DropReason;
use std::net::IpAddr;

/// A loaded program.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) fd: ProgramFd,
    pub(crate) id: u32,
}

/// Loads the program of this name.
pub(crate) fn program(ebpf: &mut Ebpf, name: &'static str) -> Result<Program, GuardError> {
    let program = ebpf.program_mut(name).ok_or(GuardError::Incomplete(name))?;
    let program: &mut SchedClassifier = program.try_into()?;
    program.load()?;
    Ok(Program {
        fd: program.fd()?.try_clone().map_err(ProgramError::IOError)?,
        id: program.info()?.id(),
    })
}

/// Takes the table of this name.
pub(crate) fn map(ebpf: &mut Ebpf, name: &'static str) -> Result<Map, GuardError> {
    ebpf.take_map(name).ok_or(GuardError::Incomplete(name))
}

/// The tables that the program with this number uses, with their names.
pub(crate) fn of_program(program: u32) -> Result<Vec<(String, Map)>, MapError> {
    let found = loaded_programs()
        .filter_map(Result::ok)
        .find(|info| info.id() == program);
    let ids = found
        .and_then(|info| info.map_ids().ok().flatten())
        .unwrap_or_default();
    let open = |id: u32| {
        let name = MapInfo::from_id(id)?.name_as_str().unwrap_or_default().to_owned();
        Ok((name, Map::from_map_data(MapData::from_id(id)?)?))
    };
    ids.into_iter().map(open).collect()
}

/// `Ok` also when the entry to be removed is not there.
pub(crate) fn gone(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error)) if error.io_error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// An address as the programs have it: IPv4 mapped into IPv6.
pub(crate) fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// What was counted under each of the reasons, which stand in the order of their slots, summed over the processors.
pub(crate) fn read_counters(
    counters: &PerCpuArray<MapData, u64>,
    reasons: &[DropReason],
) -> Result<Vec<(DropReason, u64)>, GuardError> {
    let read = |(reason, slot): (&DropReason, u32)| Ok((*reason, counters.get(&slot, 0)?.iter().sum()));
    reasons.iter().zip(0_u32..).map(read).collect()
}
