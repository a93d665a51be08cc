//! Frames on their way to containers: those that follow each other are put together into super-frames, so that the
//! kernel handles one packet instead of forty.
//!
//! 1. *Read*: the headers ([`Transport`]). What is no TCP or UDP packet goes on at once, behind all that waits.
//! 2. *Join*: of a few flows (`flow`), the one it belongs to; appended to it if it goes on where that ends, with
//!    the same headers. One copy. Its checksum must be right, or left to this end.
//! 3. *Begin*: else it goes behind what is there of its flow, and may begin the next super-frame.
//! 4. *Give*: a super-frame that can have no more is given away; others when the driver
//!    [flushes](Inbox::flush), which it does before it waits for anything.
//!
//! Cutting a super-frame again gives the very frames that it was made of, in their order
//! ([`Segments`](crate::offload::Segments)). One thing may differ: the identification of IPv4 packets that must not
//! be fragmented, which nobody may look at (RFC 6864 section 4.1). Frames of one flow keep their order.

mod flow;

use crate::offload::{Offload, Partial, Protocol, Transport};
use crate::plane::Sink;
use flow::Flow;
use mesh::Vni;

/// Flows that are gathered at a time.
const FLOWS: usize = 8;

/// Super-frames that are being gathered.
#[derive(Debug)]
pub struct Inbox {
    flows: [Flow; FLOWS],
    /// The next to give up for another.
    next: usize,
    gathers: Gathers,
    /// Most datagrams in a super-frame of UDP.
    most: u16,
}

/// Datagrams in a super-frame of UDP unless more are asked for: what every kernel takes that takes such at all.
const USUAL: u16 = 64;

/// What is put together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Gathers {
    /// Nothing: each frame goes on at once, its checksum completed.
    #[default]
    Nothing,
    /// TCP packets. Checksums may be left to the sink.
    Tcp,
    /// UDP datagrams as well.
    TcpAndUdp,
}

impl Default for Inbox {
    fn default() -> Self {
        Self {
            flows: std::array::from_fn(|_| Flow::default()),
            next: 0,
            gathers: Gathers::Nothing,
            most: USUAL,
        }
    }
}

/// A frame that came, and what its headers say if it is a TCP or UDP packet.
pub(crate) struct Arrived<'a> {
    pub vni: Vni,
    pub frame: &'a mut [u8],
    pub partial: Option<Partial>,
    transport: Option<Transport>,
}

impl<'a> Arrived<'a> {
    /// Completes a checksum of which this end can't say more than where it is; `None` if it would lie outside.
    pub(crate) fn new(
        vni: Vni,
        frame: &'a mut [u8],
        partial: Option<Partial>,
        gathers: Gathers,
    ) -> Option<Self> {
        let transport = match gathers {
            Gathers::Nothing => None,
            _ => Transport::parse(frame),
        };
        let known = partial.is_some() && partial == transport.map(|transport| transport.partial());
        let partial = match partial {
            Some(partial) if !known => {
                partial.complete(frame).then_some(())?;
                None
            }
            other => other,
        };
        Some(Self {
            vni,
            frame,
            partial,
            transport,
        })
    }
}

impl Inbox {
    /// Sets what is put together from now on.
    pub fn set_gathers(&mut self, gathers: Gathers) {
        self.gathers = gathers;
    }

    /// Lets super-frames of UDP have up to `most` datagrams, at least one. Kernels refuse more than they send in a run.
    pub fn set_most(&mut self, most: u16) {
        self.most = most.max(1);
    }

    /// What is put together.
    #[must_use]
    pub fn gathers(&self) -> Gathers {
        self.gathers
    }

    /// Appends a frame to what it follows. False: it does not follow anything that waits.
    pub(crate) fn join(&mut self, arrived: &Arrived<'_>, sink: &mut dyn Sink) -> bool {
        let Some(transport) = arrived.transport else {
            return false;
        };
        let flow = self
            .flows
            .iter_mut()
            .find(|flow| flow.is_of(arrived.vni, arrived.frame, &transport));
        let Some(flow) = flow else { return false };
        let joined = flow.append(arrived.frame, arrived.partial.is_some(), &transport);
        if !joined || flow.is_full(self.most) {
            flow.give(sink);
        }
        joined
    }

    /// Takes a frame that [joined](Self::join) nothing.
    pub(crate) fn begin(&mut self, arrived: Arrived<'_>, sink: &mut dyn Sink) {
        let Arrived {
            vni,
            frame,
            partial,
            transport,
        } = arrived;
        match transport {
            Some(transport) if self.takes(transport.protocol) && flow::may_begin(frame, &transport) => {
                let idle = self.flows.iter().position(Flow::is_idle);
                let place = idle.unwrap_or(self.next);
                self.next = (place + 1) % FLOWS;
                self.flows[place].give(sink);
                self.flows[place].begin(vni, frame, partial, transport);
            }
            _ => {
                if transport.is_none() {
                    self.flush(sink);
                }
                let offload = Offload {
                    checksum: partial,
                    segments: None,
                };
                give(vni, frame, &offload, transport.as_ref(), sink);
            }
        }
    }

    fn takes(&self, protocol: Protocol) -> bool {
        match self.gathers {
            Gathers::Nothing => false,
            Gathers::Tcp => protocol == Protocol::Tcp,
            Gathers::TcpAndUdp => true,
        }
    }

    /// Gives all that waits to the sink.
    pub fn flush(&mut self, sink: &mut dyn Sink) {
        for flow in &mut self.flows {
            flow.give(sink);
        }
    }
}

/// Gives a frame to the sink.
fn give(vni: Vni, frame: &mut [u8], offload: &Offload, transport: Option<&Transport>, sink: &mut dyn Sink) {
    match (transport, offload.checksum) {
        (Some(transport), Some(_)) => sink.offloaded(vni, frame, offload, transport),
        _ => sink.frame(vni, frame),
    }
}

#[cfg(test)]
mod tests;
