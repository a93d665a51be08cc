//! A sink that keeps what a data half gives away.

use mesh::{PeerId, Vni};
use sleeve::{Input, Sink, Via};
use std::net::SocketAddr;

/// What a data half gave away.
#[derive(Debug, Default)]
pub struct Caught {
    /// Datagrams to send.
    pub datagrams: Vec<(SocketAddr, Vec<u8>)>,
    /// Frames for containers.
    pub frames: Vec<(Vni, Vec<u8>)>,
    /// News for the control half.
    pub inputs: Vec<Input>,
}

impl Sink for Caught {
    fn datagram(&mut self, to: SocketAddr, bytes: &[u8]) {
        self.datagrams.push((to, bytes.to_vec()));
    }

    fn frame(&mut self, vni: Vni, frame: &[u8]) {
        self.frames.push((vni, frame.to_vec()));
    }

    fn control(&mut self, from: PeerId, via: Via, message: &[u8]) {
        let bytes = message.to_vec();
        self.inputs.push(Input::Message { from, via, bytes });
    }

    fn need(&mut self, peer: PeerId) {
        self.inputs.push(Input::Need { peer });
    }

    fn alive(&mut self, peer: PeerId) {
        self.inputs.push(Input::Alive { peer });
    }

    fn group(&mut self, vni: Vni) {
        self.inputs.push(Input::Group { vni });
    }

    fn tree(&mut self, vni: Vni, source: mesh::ShortId) {
        self.inputs.push(Input::TreeUsed { vni, source });
    }
}
