//! The last steps of every packet on its way out: which way, how much room, seal, send.

use super::peer::{Peer, Way};
use super::session::Session;
use super::{How, Plane, Scratch, Sink};
use crate::wire::relay::RelayHeader;
use crate::wire::{self, size};
use mesh::{DropReason, Instant, LinkLabel, PeerId};
use std::net::SocketAddr;
use std::sync::Arc;

/// A way that can be used now.
pub(super) struct Path<'a> {
    /// Where the packet goes first.
    address: SocketAddr,
    /// The longest plaintext that fits.
    pub room: usize,
    /// Frames may go unencrypted.
    plain: bool,
    pub relay: Option<Relay<'a>>,
}

/// The relays of a way.
pub(super) struct Relay<'a> {
    /// With the first of them.
    session: Arc<Session>,
    labels: &'a [LinkLabel],
}

/// What is to be sealed, and for whom.
pub(super) struct Packet<'a> {
    pub peer: &'a Peer,
    pub session: &'a Session,
    /// The plaintext, in pieces.
    pub parts: &'a [&'a [u8]],
    /// It is a frame: it may go unencrypted where the path allows that.
    pub frame: bool,
}

impl Plane {
    /// Seals a control message for `peer` and sends it. `message` begins with its kind byte.
    ///
    /// # Errors
    /// Why it was not sent; the caller decides whether that counts as a drop.
    pub fn send_control(
        &self,
        now: Instant,
        peer: &PeerId,
        message: &[u8],
        how: How<'_>,
        scratch: &mut Scratch,
        sink: &mut dyn Sink,
    ) -> Result<(), DropReason> {
        let peer = self.known(peer).ok_or(DropReason::NoSession)?;
        let session = peer.sending(now).ok_or(DropReason::NoSession)?;
        let way = peer.way.load();
        let path = match how {
            How::Direct(address) => Path {
                address,
                room: size::MAX_DATAGRAM - size::SEAL,
                plain: false,
                relay: None,
            },
            How::Route => path(now, &peer, way.as_deref())?,
            How::Via { first, labels: [] } => direct(&*self.known(&first).ok_or(DropReason::NoRoute)?)?,
            How::Via { first, labels } => {
                let first = self.known(&first).ok_or(DropReason::NoRoute)?;
                relayed(now, &first, labels, u16::MAX)?
            }
        };
        if message.len() > path.room {
            return Err(DropReason::TooBig);
        }
        let packet = Packet {
            peer: &peer,
            session: &session,
            parts: &[message],
            frame: false,
        };
        self.send(&packet, &path, &mut scratch.out, sink)
    }

    /// Seals one packet, whose size has been seen to, and sends it.
    pub(super) fn send(
        &self,
        packet: &Packet<'_>,
        path: &Path<'_>,
        out: &mut Vec<u8>,
        sink: &mut dyn Sink,
    ) -> Result<(), DropReason> {
        let start = path
            .relay
            .as_ref()
            .map_or(0, |relay| wire::relay::length(relay.labels.len()));
        out.clear();
        out.resize(start + wire::data::LENGTH, 0);
        for part in packet.parts {
            out.extend_from_slice(part);
        }
        packet.session.seal(path.plain && packet.frame, out, start)?;
        if let Some(relay) = &path.relay {
            let header = RelayHeader::new(relay.labels, self.config.id.short(), packet.peer.short);
            stamp(header.ok_or(DropReason::NoRoute)?, &relay.session, out)?;
        }
        sink.datagram(path.address, out);
        Ok(())
    }
}

/// Writes a relay header for the next hop, which `session` is with.
pub(super) fn stamp(header: RelayHeader, session: &Session, datagram: &mut [u8]) -> Result<(), DropReason> {
    let counter = session.next_relay_counter()?;
    let header = RelayHeader {
        index: session.their_index,
        counter,
        ..header
    };
    let written = header.write(datagram, |bytes| session.relay_tag(counter, bytes));
    if written {
        Ok(())
    } else {
        Err(DropReason::NoSession)
    }
}

/// The way to `peer` as it can be used now.
pub(super) fn path<'a>(now: Instant, peer: &Peer, way: Option<&'a Way>) -> Result<Path<'a>, DropReason> {
    match way {
        None => Err(DropReason::NoRoute),
        Some(Way::Direct) => direct(peer),
        Some(Way::Relayed { first, labels, mtu }) => relayed(now, first, labels, *mtu),
    }
}

fn direct(peer: &Peer) -> Result<Path<'static>, DropReason> {
    let direct = peer.direct.load();
    let direct = direct.as_ref().ok_or(DropReason::NoRoute)?;
    let room = size::room(direct.mtu, direct.address);
    Ok(Path {
        address: direct.address,
        room,
        plain: direct.plain,
        relay: None,
    })
}

fn relayed<'a>(
    now: Instant,
    first: &Peer,
    labels: &'a [LinkLabel],
    mtu: u16,
) -> Result<Path<'a>, DropReason> {
    let direct = first.direct.load();
    let direct = direct.as_ref().ok_or(DropReason::NoRoute)?;
    let session = first.sending(now).ok_or(DropReason::NoSession)?;
    // The source sees its own first hop narrow before the others learn of it.
    let room = size::relayed_room(mtu.min(direct.mtu), labels.len());
    Ok(Path {
        address: direct.address,
        room,
        plain: false,
        relay: Some(Relay { session, labels }),
    })
}
