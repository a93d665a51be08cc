//! Datagrams on their way out, gathered into runs that leave with one call.
//!
//! A run is what the kernel takes at once (`UDP_SEGMENT`): datagrams to one address, one behind the other in one
//! buffer, all of one size but the last, which may be shorter. They are sealed where they lie.
//!
//! 1. *Run*: the one to that address, of a few; a place is found by sending what is in it.
//! 2. *Make*: the datagram is written behind those that are there.
//! 3. *Finish*: it belongs to the run, or what is before it leaves and it begins the next one (the one case in which
//!    a datagram is moved). A run that has no room for another like it leaves at once; others wait for
//!    [`flush`](Outbox::flush), which the driver calls before it waits for anything.
//!
//! Datagrams to one address leave in the order in which they were made.

use crate::plane::Sink;
use crate::wire::size::MAX_DATAGRAM;
use std::net::{Ipv4Addr, SocketAddr};

/// Runs to different addresses that are gathered at a time.
const RUNS: usize = 8;
/// Datagrams in a run unless more are asked for: what every kernel with `UDP_SEGMENT` takes.
const USUAL: usize = 64;

/// Runs that are being gathered.
#[derive(Debug)]
pub struct Outbox {
    runs: [Run; RUNS],
    /// Most datagrams in a run.
    most: usize,
    /// The next run to give up for another address.
    next: usize,
    lane: u8,
}

#[derive(Debug)]
struct Run {
    to: SocketAddr,
    bytes: Vec<u8>,
    /// The first datagram's length; 0: there is none.
    size: usize,
    count: usize,
}

/// A datagram that is being made.
#[derive(Debug)]
pub struct Place {
    run: usize,
    /// Where it begins.
    pub start: usize,
}

impl Default for Outbox {
    fn default() -> Self {
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let run = || Run {
            to: nowhere,
            bytes: Vec::new(),
            size: 0,
            count: 0,
        };
        Self {
            runs: std::array::from_fn(|_| run()),
            most: USUAL,
            next: 0,
            lane: 0,
        }
    }
}

impl Outbox {
    /// Lets runs have up to `most` datagrams, at least one.
    pub fn set_most(&mut self, most: usize) {
        self.most = most.max(1);
    }

    /// The lane whose keys its datagrams are sealed with.
    #[must_use]
    pub fn lane(&self) -> u8 {
        self.lane
    }

    pub(crate) fn set_lane(&mut self, lane: u8) {
        self.lane = lane;
    }

    /// Begins a datagram to `to`: its bytes go to the end of [`Self::bytes`].
    pub fn begin(&mut self, to: SocketAddr, sink: &mut dyn Sink) -> Place {
        let known = self.runs.iter().position(|run| run.to == to);
        let run = known.unwrap_or_else(|| {
            let idle = self.runs.iter().position(|run| run.count == 0);
            let place = idle.unwrap_or(self.next);
            self.next = (place + 1) % RUNS;
            self.runs[place].send(sink);
            self.runs[place].to = to;
            place
        });
        let start = self.runs[run].bytes.len();
        Place { run, start }
    }

    /// The bytes of a run; those of the datagram begin at its start.
    pub fn bytes(&mut self, place: &Place) -> &mut Vec<u8> {
        &mut self.runs[place.run].bytes
    }

    /// The datagram is ready.
    pub fn finish(&mut self, place: &Place, sink: &mut dyn Sink) {
        let most = self.most;
        let run = &mut self.runs[place.run];
        let length = run.bytes.len() - place.start;
        if run.count > 0 && (length > run.size || run.bytes.len() > MAX_DATAGRAM) {
            sink.datagrams(run.to, &run.bytes[..place.start], run.size);
            run.bytes.copy_within(place.start.., 0);
            run.bytes.truncate(length);
            run.count = 0;
        }
        if run.count == 0 {
            run.size = length;
        }
        run.count += 1;
        let full = run.count >= most || run.bytes.len() + run.size > MAX_DATAGRAM;
        if length < run.size || full {
            run.send(sink);
        }
    }

    /// There is no datagram after all.
    pub fn give_up(&mut self, place: &Place) {
        self.runs[place.run].bytes.truncate(place.start);
    }

    /// A datagram that is ready already.
    pub fn push(&mut self, to: SocketAddr, datagram: &[u8], sink: &mut dyn Sink) {
        let place = self.begin(to, sink);
        self.bytes(&place).extend_from_slice(datagram);
        self.finish(&place, sink);
    }

    /// Sends all that is there.
    pub fn flush(&mut self, sink: &mut dyn Sink) {
        for run in &mut self.runs {
            run.send(sink);
        }
    }
}

impl Run {
    fn send(&mut self, sink: &mut dyn Sink) {
        if self.count > 0 {
            sink.datagrams(self.to, &self.bytes, self.size);
        }
        self.bytes.clear();
        self.count = 0;
    }
}
