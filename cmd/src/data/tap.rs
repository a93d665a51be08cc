//! What a lane does with what containers sent. For each frame or super-frame a container sends to another host:
//!
//! 1. read from the TAP, behind a header that says what is left to do, into a buffer that lives as long as the lane;
//! 2. judged, answered locally, or cut and sealed into datagrams, which wait for others in a run, by the plane;
//! 3. runs that are full are sent, and all of them when there is nothing more to read: nothing waits for a batch.

use super::Shore;
use fastpath::tap::{Offloads, Tap};
use mesh::{DropReason, Vni};
use sleeve::Scratch;
use sleeve::offload::Offload;
use std::io::ErrorKind;
use std::thread;

/// Largest frame: an IP packet of 64 KiB with its Ethernet header, tags and the header of offloads.
const BUFFER: usize = 65_536 + 64;

/// Frames that are read before runs that are not full are sent, while there are more: one container that never stops
/// must not hold up what another sends now and then.
const MOST_AT_ONCE: usize = 64;

/// Reads from a lane's queues of the TAPs.
pub(super) struct TapReader {
    shore: Shore,
    buffer: Vec<u8>,
}

impl TapReader {
    pub(super) fn new(shore: Shore) -> Self {
        Self {
            shore,
            buffer: vec![0; BUFFER],
        }
    }

    /// Where what comes of frames goes.
    pub(super) fn sink(&mut self) -> &mut Shore {
        &mut self.shore
    }

    /// Reads until there is nothing more, or enough that what waits for others like it has waited long enough. Says how many
    /// bytes that was; `None` when the device is gone.
    pub(super) fn read_all(&mut self, vni: Vni, tap: &Tap, scratch: &mut Scratch) -> Option<usize> {
        let Self { shore, buffer } = self;
        let mut all = 0;
        scratch.outbox.set_most(shore.most_in_run());
        for _ in 0..MOST_AT_ONCE {
            match tap.read(buffer) {
                Ok(length) => {
                    all += length;
                    outbound(shore, vni, tap, &buffer[..length], scratch);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // EIO: the device is down, which the repair of the bridge mends.
                Err(error) if error.raw_os_error() == Some(libc_eio()) => {
                    thread::sleep(std::time::Duration::from_millis(5));
                    break;
                }
                Err(_) => return None,
            }
        }
        Some(all)
    }
}

fn outbound(shore: &mut Shore, vni: Vni, tap: &Tap, bytes: &[u8], scratch: &mut Scratch) {
    let (plane, now) = (shore.plane.clone(), shore.clock.now());
    if tap.offloads() == Offloads::None {
        return plane.outbound(now, bytes, vni, scratch, shore);
    }
    match Offload::read(bytes) {
        Ok((offload, frame)) => {
            plane.outbound_batched(now, frame, offload, vni, scratch, shore);
        }
        Err(_) => shore.drops.count(DropReason::Malformed),
    }
}

fn libc_eio() -> i32 {
    rustix::io::Errno::IO.raw_os_error()
}
