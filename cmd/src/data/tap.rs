//! The TAP thread. For each frame or super-frame a container sends to another host:
//!
//! 1. read from the TAP, behind a header that says what is left to do, into a buffer that lives as long as the thread;
//! 2. judged, answered locally, or cut and sealed into datagrams, which wait for others in a run, by the plane;
//! 3. runs that are full are sent, and all of them when there is nothing more to read: nothing waits for a batch.

use super::{Event, Shore};
use fastpath::tap::{Offloads, Tap};
use mesh::{DropReason, Instant, Vni};
use sleeve::offload::Offload;
use sleeve::{Plane, Scratch};
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// Largest frame: an IP packet of 64 KiB with its Ethernet header, tags and the header of offloads.
const BUFFER: usize = 65_536 + 64;

/// Frames that are read before runs that are not full are sent, while there are more: one container that never stops
/// must not hold up what another sends now and then.
const MOST_AT_ONCE: usize = 64;

/// Owns reading from the TAP of one network.
pub(crate) struct TapThread {
    pub(crate) shore: Shore,
    pub(crate) vni: Vni,
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
            scratch.outbox.set_most(self.shore.most_in_run());
            let there = self.read_all(&mut buffer, &mut scratch);
            scratch.flush(&mut self.shore);
            if !there {
                // Gone for all: should this news find no room, the patrol sees that there is none.
                self.shore.taps.lost(self.vni, &self.tap);
                self.shore.tell(Event::TapLost { vni: self.vni });
                return;
            }
        }
    }

    /// Reads until there is nothing more, or enough that what waits for others like it has waited long enough. False when
    /// the device is gone.
    fn read_all(&mut self, buffer: &mut [u8], scratch: &mut Scratch) -> bool {
        let plane = self.shore.plane.clone();
        for _ in 0..MOST_AT_ONCE {
            match self.tap.read(buffer) {
                Ok(length) => {
                    let now = self.shore.clock.now();
                    self.outbound(&plane, now, &buffer[..length], scratch);
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
        true
    }

    fn outbound(&mut self, plane: &Plane, now: Instant, bytes: &[u8], scratch: &mut Scratch) {
        let (shore, vni) = (&mut self.shore, self.vni);
        if self.tap.offloads() == Offloads::None {
            return plane.outbound(now, bytes, vni, scratch, shore);
        }
        match Offload::read(bytes) {
            Ok((offload, frame)) => {
                plane.outbound_batched(now, frame, offload, vni, scratch, shore);
            }
            Err(_) => shore.drops.count(DropReason::Malformed),
        }
    }
}

fn libc_eio() -> i32 {
    rustix::io::Errno::IO.raw_os_error()
}
