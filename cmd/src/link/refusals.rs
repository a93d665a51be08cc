//! Where runs of datagrams are not sent to for a while.
//!
//! A network card that can't cut a run (`UDP_SEGMENT`) says so only when one is sent, and so does a way that can't take one:
//! one that the kernel encrypts, or whose MTU has just become smaller. It says nothing of other destinations, and may not
//! hold for ever; so it is noted for the one destination, and tried again after a second.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a destination gets single datagrams.
const LAST: Duration = Duration::from_secs(1);
/// Most destinations that are noted; the oldest go first.
const MOST: usize = 64;

/// Destinations that refused a run, and when.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// There are some: the one thing that is read for each run as long as all goes well.
    any: AtomicBool,
    list: Mutex<Vec<(SocketAddr, Instant)>>,
}

impl Refusals {
    /// A run to `to` was refused.
    pub(super) fn note(&self, now: Instant, to: SocketAddr) {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.retain(|(other, _)| *other != to);
        if list.len() >= MOST {
            list.remove(0);
        }
        list.push((to, now));
        self.any.store(true, Ordering::Relaxed);
    }

    /// True if a run to `to` was refused lately. `now` is asked only if there is anything to look for.
    pub(super) fn has(&self, now: impl FnOnce() -> Instant, to: SocketAddr) -> bool {
        if !self.any.load(Ordering::Relaxed) {
            return false;
        }
        let now = now();
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.retain(|(_, at)| now.duration_since(*at) < LAST);
        self.any.store(!list.is_empty(), Ordering::Relaxed);
        list.iter().any(|(other, _)| *other == to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_destination_is_spared_for_a_while() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        let address = |port| SocketAddr::from(([10, 0, 0, 1], port));
        let has = |after, port| refusals.has(|| start + after, address(port));
        assert!(!has(Duration::ZERO, 1));
        refusals.note(start, address(1));
        assert!(has(LAST / 2, 1));
        assert!(!has(LAST / 2, 2), "another's way is not to blame");
        refusals.note(start + LAST / 2, address(1));
        assert!(has(LAST, 1), "again");
        assert!(!has(LAST * 2, 1));
        assert!(!refusals.any.load(Ordering::Relaxed), "nothing is left");
    }

    #[test]
    fn there_are_never_many() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        for port in 0..1000 {
            refusals.note(start, SocketAddr::from(([10, 0, 0, 1], port)));
        }
        assert_eq!(refusals.list.lock().map(|list| list.len()).ok(), Some(MOST));
        assert!(refusals.has(|| start, SocketAddr::from(([10, 0, 0, 1], 999))));
    }
}
