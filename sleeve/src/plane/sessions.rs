//! Sessions by receiver index, read without a lock: an array of a fixed length, at whose places there are few each.

use super::peer::Peer;
use super::session::Session;
use arc_swap::{ArcSwap, Guard};
use std::sync::Arc;

/// Places; the low bits of an index say which. Some thousand sessions have one each, or nearly so.
const PLACES: usize = 4096;

/// A session, and with whom it is.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub session: Arc<Session>,
    pub peer: Arc<Peer>,
}

/// All sessions.
#[derive(Debug)]
pub(super) struct Sessions {
    places: Box<[ArcSwap<Vec<Entry>>]>,
}

/// A session that was found. Neither its count nor any other is touched to look at it.
pub(super) struct Found {
    place: Guard<Arc<Vec<Entry>>>,
    /// Where it is there.
    at: usize,
}

impl std::ops::Deref for Found {
    type Target = Entry;

    fn deref(&self) -> &Entry {
        &self.place[self.at]
    }
}

impl Default for Sessions {
    fn default() -> Self {
        let nothing = Arc::default();
        Self {
            places: (0..PLACES).map(|_| ArcSwap::new(Arc::clone(&nothing))).collect(),
        }
    }
}

impl Sessions {
    fn place(&self, index: u32) -> &ArcSwap<Vec<Entry>> {
        &self.places[index as usize % PLACES]
    }

    /// The session of that receiver index.
    pub(super) fn get(&self, index: u32) -> Option<Found> {
        let place = self.place(index).load();
        let at = place.iter().position(|entry| entry.session.index == index)?;
        Some(Found { place, at })
    }

    /// Puts one in.
    pub(super) fn insert(&self, entry: &Entry) {
        self.place(entry.session.index)
            .rcu(|old| old.iter().chain([entry]).cloned().collect::<Vec<_>>());
    }

    /// Takes one out.
    pub(super) fn remove(&self, session: &Session) {
        let other = |entry: &&Entry| !std::ptr::eq(&*entry.session, session);
        self.place(session.index)
            .rcu(|old| old.iter().filter(other).cloned().collect::<Vec<_>>());
    }
}
