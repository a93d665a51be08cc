//! A blocking netlink socket: one request, its answers, done.
//!
//! Requests to the kernel are answered before `send` returns, so there is nothing to wait for and no runtime to
//! need: such a socket works on any thread, in particular on one that has just entered a container's namespace.
//! The socket belongs to the namespace in which it was opened.

pub(crate) mod address;
pub(crate) mod link;
pub(crate) mod neighbour;
pub(crate) mod nft;
pub(crate) mod route;
pub(crate) mod tc;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_ECHO, NLM_F_EXCL, NLM_F_REQUEST,
    NetlinkBuffer, NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// The kernel fills at most this much per read of a dump.
const BUFFER: usize = 64 * 1024;
/// No request takes this long unless the machine is in trouble.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a dump that changed while it was read is read again.
const RETRIES: usize = 5;
/// Size of `nlmsghdr`, which the kernel echoes in front of its words.
const HEADER: usize = 16;
/// `NLMSGERR_ATTR_MSG`: why a request was refused, in words.
const ATTRIBUTE_WORDS: u16 = 1;

/// A netlink request failed.
#[derive(Debug, thiserror::Error)]
#[error("{doing}: {source}{}", .words.as_deref().map(|words| format!(" ({words})")).unwrap_or_default())]
pub struct NetlinkError {
    /// What was tried.
    pub doing: String,
    /// What the kernel answered.
    pub source: io::Error,
    /// The kernel's explanation, where it gives one.
    pub words: Option<String>,
}

impl NetlinkError {
    pub(crate) fn new(doing: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self {
            doing: doing.into(),
            source: source.into(),
            words: None,
        }
    }

    /// What the kernel answered: an error number, and the whole of an error message's body, with the words in it.
    pub(crate) fn refused(doing: &str, code: i32, body: &[u8]) -> Self {
        Self {
            doing: doing.to_owned(),
            source: io::Error::from_raw_os_error(code),
            words: body.get(4 + HEADER..).and_then(words),
        }
    }

    /// True when the kernel answered with this error number.
    #[must_use]
    pub fn is(&self, errno: rustix::io::Errno) -> bool {
        self.source.raw_os_error() == Some(errno.raw_os_error())
    }
}

/// `Ok` also when the thing to be made exists already.
pub(crate) fn or_exists(result: Result<(), NetlinkError>) -> Result<(), NetlinkError> {
    match result {
        Err(error) if error.is(rustix::io::Errno::EXIST) => Ok(()),
        other => other,
    }
}

/// `Ok` also when the thing to be removed is not there.
pub(crate) fn or_missing(result: Result<(), NetlinkError>) -> Result<(), NetlinkError> {
    use rustix::io::Errno;
    match result {
        Err(error)
            if [Errno::NODEV, Errno::NOENT, Errno::NXIO]
                .iter()
                .any(|&errno| error.is(errno)) =>
        {
            Ok(())
        }
        other => other,
    }
}

/// What a change may find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Change what is there.
    Change,
    /// Make it; it must not be there.
    Create,
    /// Make it or change it.
    Ensure,
}

impl Mode {
    fn flags(self) -> u16 {
        match self {
            Self::Change => NLM_F_ACK,
            Self::Create => NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL,
            Self::Ensure => NLM_F_ACK | NLM_F_CREATE,
        }
    }
}

/// A netlink socket of the namespace in which it was opened.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
    /// Numbers of interfaces whose names were asked for: in one conversation a name stays what it was.
    pub(crate) known: BTreeMap<String, u32>,
}

impl Socket {
    /// Opens a socket for requests in the calling thread's namespace.
    pub(crate) fn open() -> Result<Self, NetlinkError> {
        let trouble = |error: rustix::io::Errno| NetlinkError::new("open a netlink socket", error);
        let fd = raw(SocketFlags::CLOEXEC, 0)?;
        let timeout = rustix::net::sockopt::Timeout::Recv;
        rustix::net::sockopt::set_socket_timeout(&fd, timeout, Some(PATIENCE)).map_err(trouble)?;
        crate::sys::explain_refusals(&fd)
            .map_err(|error| NetlinkError::new("open a netlink socket", error))?;
        Ok(Self {
            fd,
            sequence: 0,
            buffer: vec![0; BUFFER],
            known: BTreeMap::new(),
        })
    }

    /// Asks for a change.
    pub(crate) fn change(
        &mut self,
        doing: &str,
        message: RouteNetlinkMessage,
        mode: Mode,
    ) -> Result<(), NetlinkError> {
        self.send(doing, message, mode.flags())?;
        self.receive(doing).map(|_| ())
    }

    /// Asks for one thing.
    pub(crate) fn get(
        &mut self,
        doing: &str,
        message: RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, NetlinkError> {
        // What a queue is like the kernel tells whoever listens, and the asker only as an echo.
        self.send(doing, message, NLM_F_ACK | NLM_F_ECHO)?;
        self.receive(doing).map(|(answers, _)| answers)
    }

    /// Asks for all there is of a kind. A list that changed while it was read is read again.
    pub(crate) fn dump(
        &mut self,
        doing: &str,
        message: &RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, NetlinkError> {
        let mut last = Vec::new();
        for _ in 0..RETRIES {
            self.send(doing, message.clone(), NLM_F_DUMP)?;
            let (answers, torn) = self.receive(doing)?;
            if !torn {
                return Ok(answers);
            }
            last = answers;
        }
        Ok(last)
    }

    fn send(&mut self, doing: &str, message: RouteNetlinkMessage, flags: u16) -> Result<(), NetlinkError> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::from(message));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        let sent = rustix::net::send(&self.fd, &bytes, SendFlags::empty());
        sent.map(|_| ()).map_err(|error| NetlinkError::new(doing, error))
    }

    /// Reads answers up to the acknowledgement or the end of the list; true when the list changed meanwhile.
    fn receive(&mut self, doing: &str) -> Result<(Vec<RouteNetlinkMessage>, bool), NetlinkError> {
        let (mut answers, mut torn) = (Vec::new(), false);
        loop {
            let received = rustix::net::recv(&self.fd, &mut self.buffer[..], RecvFlags::empty());
            let (length, _) = received.map_err(|error| NetlinkError::new(doing, error))?;
            for (header, body) in messages(&self.buffer[..length]) {
                if header.sequence_number != self.sequence {
                    continue; // the late answer to a request that was given up
                }
                torn |= header.flags & NLM_F_DUMP_INTR != 0;
                match answer(doing, &header, body)? {
                    Answer::End => return Ok((answers, torn)),
                    Answer::Item(item) => answers.push(*item),
                    Answer::Other => {}
                }
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Opens a route netlink socket that hears `groups` (a mask of RTMGRP bits).
pub(crate) fn raw(flags: SocketFlags, groups: u32) -> Result<OwnedFd, NetlinkError> {
    let trouble = |error: rustix::io::Errno| NetlinkError::new("open a netlink socket", error);
    // The number of NETLINK_ROUTE is 0, which is what no protocol at all means.
    let fd =
        rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None).map_err(trouble)?;
    rustix::net::bind(&fd, &SocketAddrNetlink::new(0, groups)).map_err(trouble)?;
    Ok(fd)
}

enum Answer {
    End,
    Item(Box<RouteNetlinkMessage>),
    Other,
}

const NOOP: u16 = 1;
const ERROR: u16 = 2;
const DONE: u16 = 3;

fn answer(doing: &str, header: &NetlinkHeader, body: &[u8]) -> Result<Answer, NetlinkError> {
    match header.message_type {
        NOOP => Ok(Answer::Other),
        // Both begin with an error number, negative, or 0.
        ERROR | DONE => match body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code)) {
            0 => Ok(Answer::End),
            code if code > 0 => Ok(Answer::End),
            code => Err(NetlinkError::refused(doing, code.saturating_neg(), body)),
        },
        // What this version can't read is left out: newer kernels say more than we know.
        _ => Ok(RouteNetlinkMessage::deserialize(header, body)
            .map_or(Answer::Other, |item| Answer::Item(Box::new(item)))),
    }
}

/// The messages in one datagram from the kernel.
pub(crate) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (NetlinkHeader, &[u8])> {
    std::iter::from_fn(move || {
        let whole = bytes;
        let buffer = NetlinkBuffer::new_checked(&whole).ok()?;
        let length = usize::try_from(buffer.length()).ok()?;
        let mut header = NetlinkHeader::default();
        header.length = buffer.length();
        header.message_type = buffer.message_type();
        header.flags = buffer.flags();
        header.sequence_number = buffer.sequence_number();
        let body = whole.get(HEADER..length)?;
        bytes = whole.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((header, body))
    })
}

/// Finds the explanation among the attributes after an error.
fn words(mut attributes: &[u8]) -> Option<String> {
    while let [a, b, c, d, ..] = *attributes {
        let length = usize::from(u16::from_ne_bytes([a, b]));
        let value = attributes.get(4..length)?;
        if u16::from_ne_bytes([c, d]) == ATTRIBUTE_WORDS {
            return Some(String::from_utf8_lossy(value).trim_end_matches('\0').to_owned());
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn arbitrary_bytes_are_never_fatal(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            for (header, body) in messages(&bytes) {
                let _ = answer("test", &header, body);
            }
            let _ = words(&bytes);
        }
    }

    #[test]
    fn the_explanation_is_found_behind_other_attributes() {
        let mut bytes = vec![8, 0, 2, 0, 1, 2, 3, 4];
        bytes.extend([9, 0, 1, 0]);
        bytes.extend(b"why\0\0");
        assert_eq!(words(&bytes).as_deref(), Some("why"));
    }
}
