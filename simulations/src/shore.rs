//! Where a router's data half leaves what it makes: acts for the world, news for the control half.

use crate::router::Act;
use mesh::{PeerId, Vni};
use sleeve::{Sink, Via};
use std::net::SocketAddr;

/// What the data half tells the control task.
pub(crate) enum News {
    Message(sleeve::Input),
    Need(sleeve::Input),
    Group(sleeve::Input),
    Alive(PeerId),
}

/// Takes what the data half makes.
#[derive(Default)]
pub(crate) struct Shore {
    pub(crate) acts: Vec<Act>,
    pub(crate) news: Vec<News>,
}

impl Sink for Shore {
    fn datagram(&mut self, to: SocketAddr, bytes: &[u8]) {
        let bytes = bytes.to_vec();
        self.acts.push(Act::Datagram { to, bytes });
    }

    fn frame(&mut self, vni: Vni, frame: &[u8]) {
        let bytes = frame.to_vec();
        self.acts.push(Act::Frame { vni, bytes });
    }

    fn control(&mut self, from: PeerId, via: Via, message: &[u8]) {
        let bytes = message.to_vec();
        self.news
            .push(News::Message(sleeve::Input::Message { from, via, bytes }));
    }

    fn need(&mut self, peer: PeerId) {
        self.news.push(News::Need(sleeve::Input::Need { peer }));
    }

    fn alive(&mut self, peer: PeerId) {
        self.news.push(News::Alive(peer));
    }

    fn group(&mut self, vni: Vni) {
        self.news.push(News::Group(sleeve::Input::Group { vni }));
    }

    fn tree(&mut self, vni: Vni, source: mesh::ShortId) {
        self.news
            .push(News::Group(sleeve::Input::TreeUsed { vni, source }));
    }
}
