//! Where all parts of the core put what the driver shall do.

use crate::wire::Message;
use crate::{DropReason, Drops, Event, LinkId, Output, Packet};
use std::collections::VecDeque;
use std::sync::Arc;

/// Outputs for which room is kept. After ten thousand new routes it would be a megabyte and more.
const KEPT_ROOM: usize = 256;

/// Outputs that wait to be polled, and the drop counters.
#[derive(Debug)]
pub(crate) struct Outbox {
    queue: VecDeque<Output>,
    drops: Arc<Drops>,
}

impl Outbox {
    /// An empty one.
    pub(crate) fn new(drops: Arc<Drops>) -> Self {
        Self {
            queue: VecDeque::new(),
            drops,
        }
    }

    /// Adds an output.
    pub(crate) fn push(&mut self, output: Output) {
        self.queue.push_back(output);
    }

    /// The oldest output.
    pub(crate) fn pop(&mut self) -> Option<Output> {
        let output = self.queue.pop_front();
        if output.is_none() && self.queue.capacity() > KEPT_ROOM {
            self.queue = VecDeque::new();
        }
        output
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Sends a message on the ordered stream of a link.
    pub(crate) fn send(&mut self, link: LinkId, message: Message) {
        self.carry(link, Packet::new(message));
    }

    /// Sends what may go over several links on the ordered stream of this one.
    pub(crate) fn carry(&mut self, link: LinkId, packet: Packet) {
        self.push(Output::Send {
            link,
            packet,
            reliable: true,
        });
    }

    /// Sends a message that may be lost.
    pub(crate) fn send_lossy(&mut self, link: LinkId, message: Message) {
        self.push(Output::Send {
            link,
            packet: Packet::new(message),
            reliable: false,
        });
    }

    /// Adds a line to the log.
    pub(crate) fn log(&mut self, event: Event) {
        self.push(Output::Log(event));
    }

    /// Counts something that was thrown away.
    pub(crate) fn drop(&mut self, reason: DropReason) {
        self.drops.count(reason);
    }

    /// Counts something that was refused, and says so in the log.
    pub(crate) fn refuse(&mut self, reason: DropReason, detail: String) {
        self.drops.count(reason);
        self.log(Event::Refused { reason, detail });
    }
}
