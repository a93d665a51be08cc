//! Traffic control: where the programs of the guard and of the fast path hang, and queues that limit what containers receive. A
//! filter or queue made by netlink stays when its maker dies.

use super::{Mode, NetlinkError, Socket, nft};
use crate::plan::Limit;
use netlink_packet_core::{DefaultNla, Nla as _};
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

/// A token bucket with a queue before it (`tbf`), as the kernel tells of it. How deep the bucket is can't be read back as it was
/// set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    /// Bytes in a second.
    pub rate: u64,
    /// Bytes that may wait.
    pub length: u32,
}

/// How long a frame may wait, as a fraction of a second: 25 ms, as the reference plugin `bandwidth` has it.
const LATENCY: u64 = 40;
/// So many bytes may wait at any rate: two super-frames, which come as one.
const FEW: u32 = 128 * 1024;
const ETHERNET: u64 = 14;

impl Queue {
    /// The queue for this limit before an interface with this MTU. A queue as long as a burst is what the reference plugin makes;
    /// but Kubernetes has bursts of 512 MiB, which would wait for minutes once the bucket is empty.
    #[must_use]
    pub fn of(limit: Limit, mtu: u16) -> Self {
        let rate = limit.rate.max(1);
        let length = rate / LATENCY + u64::from(burst(limit, mtu).min(FEW));
        Self {
            rate,
            length: u32::try_from(length).unwrap_or(u32::MAX),
        }
    }
}

/// What is longer than a burst would never pass, so it is no less than a frame.
fn burst(limit: Limit, mtu: u16) -> u32 {
    let burst = limit.burst.max(u64::from(mtu) + ETHERNET);
    u32::try_from(burst).unwrap_or(u32::MAX)
}

/// Our queue's number.
const QUEUE: TcHandle = TcHandle { major: 1, minor: 0 };
// Attributes of `tbf`, linux/pkt_sched.h.
const TBF_PARMS: u16 = 1;
const TBF_RATE64: u16 = 4;
const TBF_BURST: u16 = 6;
/// `TC_LINKLAYER_ETHERNET`: then the kernel needs no table of times.
const LINK_LAYER: u8 = 1;
/// Where in `struct tc_tbf_qopt` the rate of 32 bits and the queue's length are.
const RATE_AT: usize = 8;
const LENGTH_AT: usize = 24;

/// Lets what leaves by `interface` wait in a queue of ours; another's there is an error.
pub(crate) fn set_queue(
    socket: &mut Socket,
    interface: u32,
    limit: Limit,
    mtu: u16,
) -> Result<(), NetlinkError> {
    let queue = Queue::of(limit, mtu);
    let mut parms = [0; 36];
    parms[1] = LINK_LAYER;
    let rate = u32::try_from(queue.rate).unwrap_or(u32::MAX);
    parms[RATE_AT..RATE_AT + 4].copy_from_slice(&rate.to_ne_bytes());
    parms[LENGTH_AT..LENGTH_AT + 4].copy_from_slice(&queue.length.to_ne_bytes());
    let mut options = vec![
        (TBF_PARMS, parms.to_vec()),
        (TBF_BURST, burst(limit, mtu).to_ne_bytes().to_vec()),
    ];
    if u64::from(rate) != queue.rate {
        options.push((TBF_RATE64, queue.rate.to_ne_bytes().to_vec()));
    }
    let options = options
        .into_iter()
        .map(|(kind, value)| TcOption::Other(DefaultNla::new(kind, value)));
    let message = TcMessage::from_parts(
        header(interface, QUEUE, TcHandle::ROOT),
        vec![
            TcAttribute::Kind("tbf".to_owned()),
            TcAttribute::Options(options.collect()),
        ],
    );
    let doing = format!("limit what leaves by interface {interface}");
    socket.change(
        &doing,
        RouteNetlinkMessage::NewQueueDiscipline(message),
        Mode::Ensure,
    )
}

/// The queue in which what leaves by `interface` waits, if it is such a one.
pub(crate) fn queue(socket: &mut Socket, interface: u32) -> Result<Option<Queue>, NetlinkError> {
    let request = TcMessage::from_parts(header(interface, TcHandle::UNSPEC, TcHandle::ROOT), Vec::new());
    let doing = format!("look for the queue of interface {interface}");
    let answers = socket.get(&doing, RouteNetlinkMessage::GetQueueDiscipline(request));
    let answers = match answers {
        // An interface without a queue, or without this interface.
        Err(error)
            if [
                rustix::io::Errno::INVAL,
                rustix::io::Errno::NOENT,
                rustix::io::Errno::NODEV,
            ]
            .iter()
            .any(|errno| error.is(*errno)) =>
        {
            return Ok(None);
        }
        other => other?,
    };
    Ok(answers.iter().find_map(|answer| match answer {
        RouteNetlinkMessage::NewQueueDiscipline(message) => parse_queue(message),
        _ => None,
    }))
}

fn parse_queue(message: &TcMessage) -> Option<Queue> {
    let attributes = message.attributes.iter();
    let is_ours = attributes
        .clone()
        .any(|attribute| matches!(attribute, TcAttribute::Kind(kind) if kind == "tbf"));
    let options = attributes
        .filter(|_| is_ours)
        .find_map(|attribute| match attribute {
            TcAttribute::Options(options) => match options.as_slice() {
                [TcOption::Other(all)] => {
                    let mut bytes = vec![0; all.value_len()];
                    all.emit_value(&mut bytes);
                    Some(bytes)
                }
                _ => None,
            },
            _ => None,
        })?;
    let parms = nft::find(&options, TBF_PARMS)?;
    let number = |at: usize| Some(u32::from_ne_bytes(parms.get(at..at + 4)?.try_into().ok()?));
    let whole =
        nft::find(&options, TBF_RATE64).and_then(|bytes| Some(u64::from_ne_bytes(bytes.try_into().ok()?)));
    Some(Queue {
        rate: whole.map_or_else(|| number(RATE_AT).map(u64::from), Some)?,
        length: number(LENGTH_AT)?,
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_queue_holds_what_passes_in_25_ms_and_two_super_frames(
            rate in any::<u64>(), given in any::<u64>(), mtu in 1280_u16..
        ) {
            let limit = Limit { rate, burst: given };
            let (burst, queue) = (burst(limit, mtu), Queue::of(limit, mtu));
            prop_assert!(burst >= u32::from(mtu) + 14 && u64::from(burst) >= given.min(u32::MAX.into()));
            if rate / 40 < 1 << 31 {
                prop_assert_eq!(u64::from(queue.length), rate / 40 + u64::from(burst.min(131_072)));
            }
        }
    }
}
