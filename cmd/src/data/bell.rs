//! Calls lanes that wait for packets: to look at the TAP anew, or to end.

use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

/// A descriptor for each lane, readable while that is called.
#[derive(Debug)]
pub(crate) struct Bell {
    lanes: Vec<OwnedFd>,
    over: AtomicBool,
}

impl Bell {
    /// For so many lanes.
    pub(crate) fn new(lanes: usize) -> io::Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let lanes = (0..lanes).map(|_| Ok(eventfd(0, flags)?));
        Ok(Self {
            lanes: lanes.collect::<io::Result<_>>()?,
            over: AtomicBool::new(false),
        })
    }

    /// How many there are.
    pub(crate) fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// Has all lanes look at the TAP.
    pub(crate) fn ring(&self) {
        for lane in &self.lanes {
            // Fails only when it has been rung 2^64 times unheard.
            let _ = rustix::io::write(lane, &1_u64.to_ne_bytes());
        }
    }

    /// Tells all lanes to end.
    pub(crate) fn stop(&self) {
        self.over.store(true, Ordering::Release);
        self.ring();
    }

    /// What a lane polls; `None` if there is no such lane.
    pub(super) fn of(&self, lane: usize) -> Option<BorrowedFd<'_>> {
        self.lanes.get(lane).map(AsFd::as_fd)
    }

    /// A lane has heard it. False: it is to end.
    pub(super) fn heard(&self, lane: usize) -> bool {
        if let Some(bell) = self.of(lane) {
            let _ = rustix::io::read(bell, &mut [0; 8]);
        }
        !self.over.load(Ordering::Acquire)
    }
}
