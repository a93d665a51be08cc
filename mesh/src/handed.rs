//! What routers say of themselves, packed as a neighbour sends it: for worlds that begin with a mesh that stands.

use crate::gossip::pack;
use crate::record::{Record, kind};
use crate::wire::Message;
use crate::{Mesh, Packet};
use std::sync::Arc;

impl Mesh {
    /// All that these routers say of themselves, in messages as long as those that answer a comparison. What admits
    /// routers comes first. The records in them are the routers' own, shared by whoever takes the messages in.
    #[must_use]
    pub fn say_together<'a>(cores: impl Iterator<Item = &'a Self>) -> Vec<Packet> {
        let own = cores.flat_map(|core| core.store.records(&core.own.id).cloned());
        let (infos, others): (Vec<_>, Vec<_>) =
            own.partition(|record: &Arc<Record>| record.key.kind == kind::PEER_INFO);
        pack(infos.iter().chain(&others)).collect()
    }

    /// What this router says of its links now, in a message of its own; `None` before it has said anything.
    #[must_use]
    pub fn say_links(&self) -> Option<Packet> {
        let own = self.store.records(&self.own.id);
        let links: Vec<_> = own.filter(|record| record.key.kind == kind::LINK_STATE).collect();
        pack(links.into_iter()).next()
    }
}

impl Packet {
    /// True for records and for what routers say to each other to find out which they lack: a mesh in which all know
    /// the same can do without.
    #[must_use]
    pub fn is_of_records(&self) -> bool {
        matches!(
            self.message(),
            Ok(Message::Records(_)
                | Message::Root(_)
                | Message::Buckets(_)
                | Message::Held(_)
                | Message::Differ(_)
                | Message::Ask(_)
                | Message::Want(_))
        )
    }
}
