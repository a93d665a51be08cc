//! What a router's record says of the addresses of one network.

use super::pool::Pool;
use super::ranges::Span;
use crate::{PeerId, Vni};
use serde::{Deserialize, Serialize};

/// Names a division of a pool: all that are in it got what they have from the one router that founded it. Of two that
/// meet the lower one stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RingId(pub [u8; 16]);

/// Ranges that one router may own, have given away and not heard of, and use without owning them.
pub(crate) const MAX_CLAIMS: usize = 512;
pub(crate) const MAX_GRANTS: usize = 128;
pub(crate) const MAX_STRAYS: usize = 1200;
/// Routers that one router may have taken ranges from.
pub(crate) const MAX_RECLAIMED: usize = 64;
/// Ranges that one router promises not to use.
pub(crate) const MAX_SPARE: usize = 16;

/// The body of a record of kind [`IPAM`](crate::record::kind::IPAM); its subkey is the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IpamBody {
    /// The network.
    pub(crate) vni: Vni,
    /// What is divided. Routers that were told other ranges have nothing to do with each other.
    pub(crate) pool: Pool,
    /// Which division of it.
    pub(crate) ring: RingId,
    /// Counts changes of what follows, over all runs of its origin.
    pub(crate) serial: u64,
    /// How many addresses its origin could give away or use, roughly.
    pub(crate) free: u32,
    /// What its origin owns, in order.
    pub(crate) claims: Vec<Claim>,
    /// What its origin gave away, as far as it has not heard that the others know.
    pub(crate) grants: Vec<Grant>,
    /// Addresses that containers of its origin have though it does not own them: start and length, in order.
    pub(crate) strays: Vec<(u32, u32)>,
    /// From whom its origin took what they owned, as they will not come back.
    pub(crate) reclaimed: Vec<Reclaimed>,
    /// Free addresses that its origin promises not to use without saying so before: start and length, in order.
    pub(crate) spare: Vec<(u32, u32)>,
}

/// A range that the record's origin owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claim {
    /// First index.
    pub(crate) start: u32,
    /// How many.
    pub(crate) len: u32,
    /// How often it changed hands.
    pub(crate) epoch: u64,
}

/// A range that the record's origin gave away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Grant {
    /// First index.
    pub(crate) start: u32,
    /// How many.
    pub(crate) len: u32,
    /// How often it changed hands, this time included.
    pub(crate) epoch: u64,
    /// Who owns it now.
    pub(crate) to: PeerId,
}

/// A router whose ranges another took over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reclaimed {
    /// Whose they were.
    pub(crate) peer: PeerId,
    /// The last that was heard of it: epoch and count of its record.
    pub(crate) version: (u64, u64),
    /// All it owned, as it will not come back; else only what it promised not to use.
    pub(crate) whole: bool,
}

impl Claim {
    pub(crate) fn span(&self) -> Span {
        Span::new(self.start, self.start.saturating_add(self.len))
    }
}

impl Grant {
    pub(crate) fn span(&self) -> Span {
        Span::new(self.start, self.start.saturating_add(self.len))
    }
}

impl IpamBody {
    /// Reads the body of a record; `None` if it contradicts itself or its subkey, or is larger than it may be.
    pub(crate) fn read(body: &[u8], subkey: u64) -> Option<Self> {
        let (body, _) = postcard::take_from_bytes::<Self>(body).ok()?;
        let (v4, prefix) = body.pool.v4();
        let is_pool = Pool::new((v4, prefix), body.pool.v6()) == Ok(body.pool);
        let fits = body.claims.len() <= MAX_CLAIMS
            && body.grants.len() <= MAX_GRANTS
            && body.strays.len() <= MAX_STRAYS
            && body.reclaimed.len() <= MAX_RECLAIMED
            && body.spare.len() <= MAX_SPARE;
        if !is_pool || !fits || u64::from(body.vni.0) != subkey || body.vni.0 > Vni::MAX {
            return None;
        }
        let size = body.pool.size();
        let within = |start: u32, len: u32| len > 0 && start.checked_add(len).is_some_and(|end| end <= size);
        let mut at = 0;
        for claim in &body.claims {
            if claim.start < at || !within(claim.start, claim.len) || claim.epoch >= MAX_EPOCH {
                return None;
            }
            at = claim.span().end;
        }
        let is_grant = |grant: &Grant| within(grant.start, grant.len) && grant.epoch < MAX_EPOCH;
        let mut spans = body.strays.iter().chain(&body.spare);
        let fits = body.grants.iter().all(is_grant) && spans.all(|(start, len)| within(*start, *len));
        fits.then_some(body)
    }
}

/// Epochs from here up are refused, so that one can always be added.
pub(crate) const MAX_EPOCH: u64 = 1 << 62;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn body() -> IpamBody {
        IpamBody {
            vni: Vni(1),
            pool: Pool::default(),
            ring: RingId([7; 16]),
            serial: 5,
            free: 9,
            claims: vec![
                Claim {
                    start: 0,
                    len: 4,
                    epoch: 1,
                },
                Claim {
                    start: 4,
                    len: 4,
                    epoch: 2,
                },
            ],
            grants: vec![Grant {
                start: 9,
                len: 1,
                epoch: 3,
                to: PeerId([2; 32]),
            }],
            strays: vec![(100, 3)],
            reclaimed: vec![Reclaimed {
                peer: PeerId([3; 32]),
                version: (1, 2),
                whole: true,
            }],
            spare: vec![(0, 2)],
        }
    }

    fn read(body: &IpamBody) -> Option<IpamBody> {
        IpamBody::read(&postcard::to_stdvec(body).unwrap(), 1)
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let good = body();
        assert_eq!(read(&good), Some(good.clone()));
        assert_eq!(IpamBody::read(&postcard::to_stdvec(&good).unwrap(), 2), None);
        let spoil = |spoil: fn(&mut IpamBody)| {
            let mut bad = body();
            spoil(&mut bad);
            read(&bad)
        };
        assert_eq!(spoil(|bad| bad.claims[1].start = 3), None);
        assert_eq!(spoil(|bad| bad.claims[1].len = 1 << 20), None);
        assert_eq!(spoil(|bad| bad.claims[1].len = u32::MAX), None);
        assert_eq!(spoil(|bad| bad.claims[0].len = 0), None);
        assert_eq!(spoil(|bad| bad.claims[0].epoch = u64::MAX), None);
        assert_eq!(spoil(|bad| bad.grants[0].start = 1 << 20), None);
        assert_eq!(spoil(|bad| bad.strays[0].1 = u32::MAX), None);
        assert_eq!(spoil(|bad| bad.spare[0].0 = 1 << 20), None);
        assert_eq!(spoil(|bad| bad.spare = vec![(0, 1); 17]), None);
        assert_eq!(
            spoil(|bad| bad.claims = vec![
                Claim {
                    start: 0,
                    len: 1,
                    epoch: 1
                };
                600
            ]),
            None
        );
    }

    #[test]
    fn the_fullest_fits_into_a_record() {
        let most = u32::try_from(MAX_CLAIMS).unwrap();
        let mut full = body();
        let claim = |n| Claim {
            start: 900_000 + 2 * n,
            len: 1,
            epoch: 1000,
        };
        full.claims = (0..most).map(claim).collect();
        let to = PeerId([2; 32]);
        full.grants = (0..128)
            .map(|n| Grant {
                start: 900_000 + n,
                len: 9999,
                epoch: 1000,
                to,
            })
            .collect();
        full.strays = vec![(900_000, 1); MAX_STRAYS];
        assert!(read(&full).is_some());
        assert!(postcard::to_stdvec(&full).unwrap().len() < 16_000);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), subkey: u64) {
            let _ = IpamBody::read(&bytes, subkey);
        }

        #[test]
        fn any_byte_may_change(at in any::<prop::sample::Index>(), byte: u8) {
            let mut bytes = postcard::to_stdvec(&body()).unwrap();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Some(read) = IpamBody::read(&bytes, 1) {
                prop_assert!(read.claims.iter().all(|claim| claim.span().end <= read.pool.size()));
            }
        }
    }
}
