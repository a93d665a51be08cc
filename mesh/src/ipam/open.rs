//! Networks that come and go while the router runs.

use super::{Batch, Pool, Refusal, Ring, Settings, Stored};
use crate::{Instant, Mac, Mesh, Output, PeerId, Vni};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::net::IpAddr;

impl Ring {
    /// Those who wait for an answer.
    pub(super) fn waiting_numbers(&self) -> Vec<u64> {
        let waiting = self.waiting.iter().map(|waiting| waiting.request.number);
        waiting
            .chain(self.answers.iter().map(|(_, answer)| answer.number))
            .collect()
    }
}

impl Mesh {
    /// What a network's addresses are taken from.
    pub(crate) fn pool_of(&self, vni: Vni) -> Option<Pool> {
        self.addresses.rings.get(&vni).map(|ring| *ring.pool())
    }

    /// From now on addresses of this network are given out. Nothing happens if they are already, or if this router gives
    /// out none at all.
    pub(crate) fn open_addresses(&mut self, now: Instant, vni: Vni, pool: Pool) {
        let Some((init, reclaim)) = self.addresses.terms() else {
            return;
        };
        if self.pool_of(vni) == Some(pool) {
            return;
        }
        self.close_addresses(vni);
        let knows_others = self.store.count_reached() > 0;
        let rng = StdRng::from_seed(self.rng.random());
        let settings = Settings { pool, init, reclaim };
        let place = (self.own.id, vni);
        // Of nothing, nothing is damaged.
        let Ok(ring) = Ring::load(place, &settings, &Stored::new(), knows_others, now, rng) else {
            return;
        };
        self.addresses.rings.insert(vni, ring);
        let there: Vec<(Mac, PeerId, Vec<IpAddr>)> = self.containers_of(vni);
        for (mac, peer, addresses) in there {
            self.note_container(vni, mac, peer, Some(&addresses));
        }
        self.act_on_addresses(now, vni);
        // Neighbours may know what this router did in it once. They are asked in a way that they answer: a sum that is
        // theirs, too, they would only take note of, and who is to divide the range would wait for the next comparison.
        let links: Vec<_> = self.links.neighbors().map(|(_, link)| link.id).collect();
        links.into_iter().for_each(|link| self.tell_book(link));
    }

    fn containers_of(&self, vni: Vni) -> Vec<(Mac, PeerId, Vec<IpAddr>)> {
        let own = self.own.id;
        let local = self
            .registry
            .local(vni)
            .map(|(mac, addresses)| (*mac, own, addresses));
        let others = self.registry.iter().filter(|(other, ..)| *other == vni);
        let others = others.map(|(_, mac, peer, addresses)| (mac, peer, addresses));
        local
            .chain(others)
            .map(|(mac, peer, addresses)| (mac, peer, addresses.to_vec()))
            .collect()
    }

    /// No addresses of this network are given out any more, and what is stored of them goes.
    pub(crate) fn close_addresses(&mut self, vni: Vni) {
        let Some(waiting) = self.addresses.close(vni) else {
            return;
        };
        for number in waiting {
            let result = Err(Refusal::Unknown);
            self.out.push(Output::Allocated { number, result });
        }
        let changes = vec![(vni.0.to_be_bytes().to_vec(), None)];
        let batch = Batch { number: 0, changes };
        self.out.push(Output::KeepAddresses { vni, batch });
    }
}
