//! The TAP thread. For each frame a container sends to another host:
//!
//! 1. read from the TAP into a buffer that lives as long as the thread;
//! 2. judged, answered locally, or sealed into datagrams, by the plane;
//! 3. sent.

use super::{Event, Shore};
use fastpath::tap::Tap;
use mesh::Vni;
use sleeve::Scratch;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// Largest frame: an IP packet of 64 KiB with its Ethernet header.
const BUFFER: usize = 65_536 + 64;

/// Owns reading from the TAP.
pub(crate) struct TapThread {
    pub(crate) shore: Shore,
    pub(crate) tap: Arc<Tap>,
}

impl TapThread {
    /// Starts the thread. It ends when the device is gone.
    pub(crate) fn start(self) -> io::Result<JoinHandle<()>> {
        thread::Builder::new()
            .name("tap".into())
            .spawn(move || self.run())
    }

    fn run(mut self) {
        let _tripwire = super::Tripwire {
            name: "tap",
            news: self.shore.news.clone(),
        };
        let mut buffer = vec![0; BUFFER];
        let mut scratch = Scratch::default();
        let stop = self.shore.stop.clone();
        while matches!(stop.wait_readable(&*self.tap), Ok(true)) {
            if !self.read_all(&mut buffer, &mut scratch) {
                // Gone for all: should this news find no room, the patrol sees that there is none.
                self.shore.tap.store(None);
                self.shore.tell(Event::TapLost);
                return;
            }
        }
    }

    /// Reads until there is nothing more. False when the device is gone.
    fn read_all(&mut self, buffer: &mut [u8], scratch: &mut Scratch) -> bool {
        loop {
            match self.tap.read(buffer) {
                Ok(length) => {
                    let now = self.shore.clock.now();
                    let plane = self.shore.plane.clone();
                    plane.outbound(now, &buffer[..length], Vni::DEFAULT, scratch, &mut self.shore);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // EIO: the device is down, which the repair of the bridge mends.
                Err(error) if error.raw_os_error() == Some(libc_eio()) => {
                    thread::sleep(std::time::Duration::from_millis(100));
                    return true;
                }
                Err(_) => return false,
            }
        }
    }
}

fn libc_eio() -> i32 {
    rustix::io::Errno::IO.raw_os_error()
}
