//! What a lane waits for: its bell, its socket and its queue of each TAP, in one call.
//!
//! By epoll (`epoll(7)`), level-triggered: the kernel notes what becomes ready, while `poll` would ask each descriptor
//! before it sleeps and again when it is woken. In a network of its own that is three, but a host may have a TAP for each of
//! many.

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use std::io;

/// Descriptors that are watched until they can be read, each called by a number.
pub(super) struct Watch {
    epoll: OwnedFd,
    ready: Vec<epoll::Event>,
}

impl Watch {
    /// Of nothing yet.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            ready: Vec::new(),
        })
    }

    /// Watches one more, until that is closed.
    pub(super) fn add(&mut self, number: usize, descriptor: impl AsFd) -> io::Result<()> {
        let data = epoll::EventData::new_u64(number as u64);
        epoll::add(&self.epoll, descriptor, data, epoll::EventFlags::IN)?;
        // Room for all at once.
        self.ready.reserve_exact(self.ready.capacity() + 1);
        Ok(())
    }

    /// Waits for so long at most, without end if that is `None`, until one can be read. Says whether one can.
    pub(super) fn wait(&mut self, time: Option<&Timespec>) -> io::Result<bool> {
        loop {
            self.ready.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut self.ready), time) {
                Err(Errno::INTR) => {}
                other => return Ok(other? > 0),
            }
        }
    }

    /// Whether that one could be read when it was last waited.
    pub(super) fn is_ready(&self, number: usize) -> bool {
        self.ready.iter().any(|event| {
            let data = event.data;
            data.u64() == number as u64
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use rustix::event::{EventfdFlags, eventfd};

    #[test]
    fn it_names_all_that_are_ready_and_no_others() {
        let made = [(); 3].map(|()| eventfd(0, EventfdFlags::NONBLOCK).unwrap());
        let mut watch = Watch::new().unwrap();
        for (number, one) in made.iter().enumerate() {
            watch.add(number, one).unwrap();
        }
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        assert!(!watch.wait(Some(&now)).unwrap());
        for number in [2, 0] {
            rustix::io::write(&made[number], &1_u64.to_ne_bytes()).unwrap();
        }
        // Until they are read.
        for _ in 0..2 {
            assert!(watch.wait(None).unwrap());
            assert_eq!(
                [0, 1, 2].map(|number| watch.is_ready(number)),
                [true, false, true]
            );
        }
        for number in [2, 0] {
            rustix::io::read(&made[number], &mut [0; 8]).unwrap();
        }
        assert!(!watch.wait(Some(&now)).unwrap());
        assert!(![0, 1, 2].into_iter().any(|number| watch.is_ready(number)));
    }
}
