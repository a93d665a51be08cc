//! Addresses for containers, without a coordinator.
//!
//! Each router owns parts of the pool and gives addresses out of them without asking anybody. What it owns changes only
//! by its own doing: it gives a part away in a signed record, to a router that asked for space. So no two routers that
//! agree on the division ever give out the same address, however they are cut off from each other.
//!
//! # The way of an address
//!
//! 1. A container wants one: [`Input::Allocate`](crate::Input) comes to `Ring::allocate` (`hand`).
//! 2. The first free one of what this router owns is taken (`space`), and a [`Batch`] ordered to be stored (`keep`).
//! 3. The driver says it is on disk; then the answer goes out.
//!
//! # The way of a range
//!
//! 1. A router has little left: `give` asks one that has much (`AskMessage`, over the control plane).
//! 2. That one takes half of its longest free range out of what it owns, has that stored, and issues its record.
//! 3. The record spreads like all others; everybody's `apply` moves the range in its view, and the router that asked
//!    stores that it owns it, says so in its own record, and gives addresses out of it.
//!
//! Divisions that were begun apart and meet are told apart by their [`RingId`]: the lower one stays, and who was in
//! the other enters it with nothing, its containers keeping what they have (`ring`). Records of routers that are gone
//! are kept and passed on by themselves (`exchange`), so that nothing they own is forgotten.
//!
//! | file | subject |
//! |---|---|
//! | `ring` | one network: its state, records of others, joining a division, what to store and to tell |
//! | `apply` | who owns what, from what the routers say |
//! | `give`, `hand` | ranges between routers; addresses for containers |
//! | `space`, `ranges`, `pool` | free addresses; maps of ranges; indices and addresses |
//! | `body`, `keep` | what is in records, and on disk |
//! | `exchange` | the core's side: networks, messages between neighbours |
//! | `spare` | what others may take over when a router is missed for long |
//! | `open` | networks that come and go |

mod apply;
pub(crate) mod body;
mod exchange;
mod give;
mod hand;
mod keep;
mod open;
mod pool;
mod ranges;
mod ring;
mod space;
mod spare;
#[cfg(test)]
mod tests;

pub(crate) use body::IpamBody;
pub use body::RingId;
pub(crate) use exchange::Addresses;
pub use exchange::{ASK_BYTE, AddressView, InUse, Setup};
pub use keep::{Batch, Damaged, Stored};
pub use pool::{BadPool, Pool};
pub(crate) use ring::Ring;
pub use ring::Trust;

use crate::{Instant, PeerId};
use serde::{Deserialize, Serialize};

/// What a router is told of a network's addresses at its start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// What addresses are taken from; the same on all routers.
    pub pool: Pool,
    /// The first division waits until the majority of so many routers see each other.
    pub init: Option<usize>,
    /// A majority takes over what a router promised not to use, once it could not be reached for so long; `None`: nobody
    /// takes anything over unless an operator says so.
    pub reclaim: Option<std::time::Duration>,
}

/// What a ring sees of the mesh.
pub(crate) trait Around {
    /// True if control messages reach a router.
    fn is_reachable(&self, peer: &PeerId) -> bool;
    /// The other routers that can be reached.
    fn reachable(&self) -> Vec<PeerId>;
    /// How many these are.
    fn count(&self) -> usize;
    /// True if a container is known to have this address, wherever it got it.
    fn is_taken(&self, index: u32) -> bool;
}

/// Somebody wants an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    /// Comes back in the answer.
    pub(crate) number: u64,
    /// Who: asking again under the same name gives the same address.
    pub(crate) holder: String,
    /// This one and no other.
    pub(crate) want: Option<u32>,
}

/// A request that waits for space.
#[derive(Debug)]
pub(crate) struct Waiting {
    request: Request,
    until: Instant,
    /// It has waited longer than most, for the first division.
    is_prolonged: bool,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) number: u64,
    pub(crate) result: Result<u32, Refusal>,
}

/// Messages about space, carried over as many hops as it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum AskMessage {
    /// Give me some, in this division, or this very address.
    Space { ring: Option<RingId>, at: Option<u32> },
    /// There is none to give.
    Nothing,
}

/// What a ring wants done.
#[derive(Debug)]
pub(crate) enum Act {
    /// Store this.
    Keep(Batch),
    /// Issue a record of what [`Ring::body`] says.
    Issue,
    /// Send this.
    Tell { to: PeerId, message: AskMessage },
    /// Tell who asked.
    Answer(Answer),
    /// For people.
    Log(IpamEvent),
}

/// What people should know about addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum IpamEvent {
    /// This router divided the pool among so many.
    Founded {
        /// Itself included.
        shares: usize,
    },
    /// Two groups that began apart have met, and this router's division yields to the other.
    Joined {
        /// The division it was in.
        left: RingId,
        /// The one it is in.
        ring: RingId,
        /// So many addresses were its own.
        lost: u32,
    },
    /// Nobody could be asked whether this router's state is the newest: it goes on with what it has.
    Unconfirmed,
    /// A router was told another range: its addresses and ours have nothing to do with each other.
    OtherPool {
        /// Which.
        peer: PeerId,
        /// What it was told.
        pool: Pool,
    },
    /// This router took over what another, missed for long, had promised not to use.
    TookOver {
        /// From whom.
        from: PeerId,
        /// How many addresses.
        count: u32,
    },
    /// Another router took over what this one owned.
    Lost {
        /// Who.
        to: PeerId,
        /// How many addresses.
        count: u32,
    },
    /// Containers of two routers have the same address.
    Doubled {
        /// It.
        address: std::net::IpAddr,
        /// The routers.
        peers: [PeerId; 2],
    },
}

/// Why there is no address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// All addresses of the pool are in use.
    #[error("all addresses of the range are in use")]
    Full,
    /// Others have free addresses and were asked; they did not answer in time.
    #[error("this router has no free address left, and the others have not given it any yet: try again")]
    NoSpaceYet,
    /// Only routers that can't be reached have any left.
    #[error(
        "this router has no free address left, and those that have some can't be reached: \
         `weft reclaim` those that will not come back"
    )]
    Unreachable,
    /// The state has not been compared with a neighbour's since the start.
    #[error(
        "this router has not heard from the others since it started, so its addresses may be out of date: try again"
    )]
    Unsettled,
    /// The first division waits for more routers.
    #[error("addresses are divided when {needed} routers see each other (--ipalloc-init), and {seen} do")]
    TooFew {
        /// Routers seen, this one included.
        seen: usize,
        /// How many it takes.
        needed: usize,
    },
    /// The router whose turn it is has not divided the pool yet.
    #[error("the routers have not divided the addresses of this network in ten seconds: try again")]
    Undivided,
    /// This router left a division for another, and has not heard of these there.
    #[error(
        "two groups of routers that began apart have met, and these have not been heard of since: {}. Addresses are \
         given out when they are; if they will not come back, `weft reclaim` each",
        names(.0)
    )]
    Fenced(Vec<PeerId>),
    /// Too many requests wait.
    #[error("too many requests for addresses wait: try again")]
    Busy,
    /// It was released before it was stored.
    #[error("the container was detached before it had its address")]
    Released,
    /// The wanted address is not one of the pool's, or not one for a host.
    #[error("it is not an address of the range that hosts may have")]
    NotInPool,
    /// A container has the wanted address.
    #[error("it is in use")]
    Taken,
    /// Others may take over the wanted address if this router is missed for long: it is taken back first.
    #[error(
        "it is one of those that others may take over when this router is missed; it is being taken back: try again"
    )]
    Promised,
    /// The router that owns it was asked for the wanted address, and has not answered.
    #[error("the router that it belongs to was asked for it and has not answered: try again")]
    Asking(Option<PeerId>),
    /// The wanted address is another router's, which does not give it or can't be asked.
    #[error("it belongs to another router, which uses it or can't be reached")]
    Elsewhere(Option<PeerId>),
    /// The router to take over from can be reached.
    #[error("it can be reached: stop it first, if it is not to come back")]
    StillThere,
    /// Nothing is known of the router to take over from.
    #[error("it is not known to have any addresses")]
    Unknown,
}

impl Refusal {
    /// True if who asks again in a moment may well be given addresses.
    #[must_use]
    pub fn passes_soon(&self) -> bool {
        matches!(
            self,
            Self::NoSpaceYet
                | Self::Unsettled
                | Self::Undivided
                | Self::Busy
                | Self::Promised
                | Self::Asking(_)
        )
    }

    /// True if waiting a little may help.
    fn may_pass(&self) -> bool {
        match self {
            Self::NoSpaceYet
            | Self::Unreachable
            | Self::Unsettled
            | Self::TooFew { .. }
            | Self::Undivided
            | Self::Fenced(_)
            | Self::Promised
            | Self::Asking(_) => true,
            Self::Full
            | Self::Busy
            | Self::Released
            | Self::NotInPool
            | Self::Taken
            | Self::Elsewhere(_)
            | Self::StillThere
            | Self::Unknown => false,
        }
    }
}

fn names(peers: &[PeerId]) -> String {
    let names: Vec<_> = peers.iter().map(PeerId::brief).collect();
    names.join(", ")
}
