//! Traffic control: where the programs of the guard and of the fast path hang. A filter made by netlink stays when its maker dies.

use super::{Mode, NetlinkError, Socket};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{
    TcAttribute, TcBpfFlags, TcFilterBpfOption, TcHandle, TcHeader, TcMessage, TcOption,
};
use std::os::fd::{AsFd, AsRawFd};

/// Our filter's place: before whatever others hang there.
const PRIORITY: u32 = 1;
/// Our filter's number at that place. Fixed, so that a new program takes the place of the old one at once.
const HANDLE: u32 = 1;
/// `ETH_P_ALL`.
const ALL_PROTOCOLS: u16 = 3;

fn header(interface: u32, handle: TcHandle, parent: TcHandle) -> TcHeader {
    TcHeader {
        index: interface.cast_signed(),
        handle,
        parent,
        ..TcHeader::default()
    }
}

/// Where a program hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    minor: u16,
    priority: u32,
}

/// Before what comes in by an interface.
pub(crate) const INGRESS: Place = Place {
    minor: TcHandle::MIN_INGRESS,
    priority: PRIORITY,
};
/// Before what leaves by an interface.
pub(crate) const EGRESS: Place = Place {
    minor: TcHandle::MIN_EGRESS,
    priority: PRIORITY,
};
/// Before what comes in and has passed the guard.
pub(crate) const BEHIND_GUARD: Place = Place {
    minor: TcHandle::MIN_INGRESS,
    priority: PRIORITY + 1,
};

impl Place {
    fn handle(self) -> TcHandle {
        TcHandle {
            major: TcHandle::CLSACT.major,
            minor: self.minor,
        }
    }
}

/// Hangs `program` before everything that comes in by `interface`; see [`attach_at`].
pub(crate) fn attach(
    socket: &mut Socket,
    interface: u32,
    program: &impl AsFd,
    name: &str,
) -> Result<(), NetlinkError> {
    attach_at(socket, interface, INGRESS, program, name)
}

/// Hangs `program` there, in place of what we hung there before; there is no moment without either.
pub(crate) fn attach_at(
    socket: &mut Socket,
    interface: u32,
    place: Place,
    program: &impl AsFd,
    name: &str,
) -> Result<(), NetlinkError> {
    let number = TcHandle {
        major: TcHandle::CLSACT.major,
        minor: 0,
    };
    let queue = TcMessage::from_parts(
        header(interface, number, TcHandle::CLSACT),
        vec![TcAttribute::Kind("clsact".to_owned())],
    );
    let doing = format!("prepare interface {interface} for a filter");
    super::or_exists(socket.change(
        &doing,
        RouteNetlinkMessage::NewQueueDiscipline(queue),
        Mode::Create,
    ))?;

    let mut head = header(interface, HANDLE.into(), place.handle());
    head.info = place.priority << 16 | u32::from(ALL_PROTOCOLS.to_be());
    let fd = program.as_fd().as_raw_fd().cast_unsigned();
    let options = [
        TcFilterBpfOption::ProgFd(fd),
        TcFilterBpfOption::ProgName(name.to_owned()),
        TcFilterBpfOption::Flags(TcBpfFlags::DirectAction),
    ];
    let filter = TcMessage::from_parts(
        head,
        vec![
            TcAttribute::Kind("bpf".to_owned()),
            TcAttribute::Options(options.map(TcOption::Bpf).to_vec()),
        ],
    );
    let doing = format!("attach {name} to interface {interface}");
    socket.change(
        &doing,
        RouteNetlinkMessage::NewTrafficFilter(filter),
        Mode::Ensure,
    )
}

/// Takes our filter at a place off `interface`.
pub(crate) fn detach(socket: &mut Socket, interface: u32, place: Place) -> Result<(), NetlinkError> {
    let mut head = header(interface, HANDLE.into(), place.handle());
    head.info = place.priority << 16 | u32::from(ALL_PROTOCOLS.to_be());
    let filter = TcMessage::from_parts(head, vec![TcAttribute::Kind("bpf".to_owned())]);
    let doing = format!("take a program off interface {interface}");
    socket.change(
        &doing,
        RouteNetlinkMessage::DelTrafficFilter(filter),
        Mode::Change,
    )
}

/// The number of the program that hangs in our place before what comes in by `interface`, if any.
pub(crate) fn attached(socket: &mut Socket, interface: u32) -> Result<Option<u32>, NetlinkError> {
    attached_at(socket, interface, INGRESS)
}

/// The number of the program that hangs in our place there, if any.
pub(crate) fn attached_at(
    socket: &mut Socket,
    interface: u32,
    place: Place,
) -> Result<Option<u32>, NetlinkError> {
    let request = TcMessage::from_parts(header(interface, TcHandle::UNSPEC, place.handle()), Vec::new());
    let doing = format!("list filters of interface {interface}");
    let answers = socket.dump(&doing, &RouteNetlinkMessage::GetTrafficFilter(request));
    let answers = match answers {
        // No clsact, so no filters either.
        Err(error) if error.is(rustix::io::Errno::INVAL) || error.is(rustix::io::Errno::NODEV) => {
            return Ok(None);
        }
        other => other?,
    };
    Ok(answers.iter().find_map(|answer| match answer {
        RouteNetlinkMessage::NewTrafficFilter(filter) if is_at(filter, place) => program(filter),
        _ => None,
    }))
}

fn is_at(filter: &TcMessage, place: Place) -> bool {
    filter.header.info >> 16 == place.priority && u32::from(filter.header.handle) == HANDLE
}

fn program(filter: &TcMessage) -> Option<u32> {
    filter.attributes.iter().find_map(|attribute| match attribute {
        TcAttribute::Options(options) => options.iter().find_map(|option| match option {
            TcOption::Bpf(TcFilterBpfOption::ProgId(id)) => Some(*id),
            _ => None,
        }),
        _ => None,
    })
}
