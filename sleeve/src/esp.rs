//! Agreement on security associations, under which the kernels of two neighbours encrypt the fast path (RFC 4303).
//!
//! ```text
//! sender                                                   receiver
//!   ── EspAsk: number, its address, the receiver's ───────▶  Output::EspInbound: the driver installs it
//!   ◀─ EspOffer: number, SPI, nonce, session ──────────────  Input::EspTaken
//!   Output::EspOutbound: the driver installs it
//! ```
//! Each direction for itself, inside the session. Who sends asks: it knows when an association is old, or lost. The
//! receiver has the new one in its kernel before the sender hears of it, so a change loses nothing. Both derive the key
//! from the session that the offer names; it never travels. An answer that is lost is asked for again with the same
//! number, and answered with the same offer.

use crate::context::Context;
use crate::message::{EspAsk, EspOffer, EspRefuse, Message};
use crate::{EspEnds, EspRefusal, How, Output, Via};
use crypto::esp::NONCE;
use mesh::{DropReason, Instant, PeerId};
use std::net::IpAddr;
use std::time::Duration;

/// Waits for an answer; then there is none.
const WAITS: [Duration; 4] = [
    Duration::from_millis(300),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];
/// A router is given a new association at most this often: each is work for the kernel.
const OFFER_EVERY: Duration = Duration::from_millis(200);

struct Asked {
    number: u64,
    ends: EspEnds,
    tries: usize,
    at: Instant,
}

struct Offered {
    ask: EspAsk,
    spi: u32,
    nonce: [u8; NONCE],
    /// The session's index at the other end.
    session: u32,
    at: Instant,
    /// The kernel has it.
    taken: bool,
}

/// What is agreed on with one other router.
pub(crate) struct Esp {
    peer: PeerId,
    ends: Result<EspEnds, EspRefusal>,
    asked: Option<Asked>,
    offered: Option<Offered>,
}

impl Esp {
    pub(crate) fn new(peer: PeerId) -> Self {
        Self {
            peer,
            ends: Err(EspRefusal::NotYet),
            asked: None,
            offered: None,
        }
    }

    /// Between which addresses the kernel may encrypt, or why it may not.
    pub(crate) fn set_ends(&mut self, cx: &mut Context, ends: Result<EspEnds, EspRefusal>) {
        self.ends = ends;
        if self.asked.as_ref().is_some_and(|asked| ends != Ok(asked.ends)) {
            self.refused(cx, EspRefusal::NotYet);
        }
    }

    /// The driver wants a new association towards the other router.
    pub(crate) fn ask(&mut self, cx: &mut Context, now: Instant) {
        let Ok(ends) = self.ends else {
            return self.refused(cx, EspRefusal::NotYet);
        };
        if self.asked.is_some() {
            return;
        }
        let (number, tries) = (cx.rng.next_u64(), 0);
        self.asked = Some(Asked {
            number,
            ends,
            tries,
            at: now,
        });
        self.tick(cx, now);
    }

    /// Asks, and asks again.
    pub(crate) fn tick(&mut self, cx: &mut Context, now: Instant) {
        let Some(asked) = self.asked.as_mut().filter(|asked| asked.at <= now) else {
            return;
        };
        let Some(wait) = WAITS.get(asked.tries) else {
            return self.refused(cx, EspRefusal::NoAnswer);
        };
        asked.tries += 1;
        asked.at = now + *wait;
        let EspEnds { here, there } = asked.ends;
        let number = asked.number;
        let ask = Message::EspAsk(EspAsk { number, here, there });
        // Without a session it is sent when the time of the next try has come.
        let _ = cx.send(now, &self.peer, &ask, How::Route);
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.asked.as_ref().map(|asked| asked.at)
    }

    /// The other router asks.
    pub(crate) fn asked(&mut self, cx: &mut Context, now: Instant, via: Via, ask: EspAsk) {
        let same = |address: IpAddr, other: IpAddr| address.to_canonical() == other.to_canonical();
        let ends = match self.ends {
            Ok(ends) if same(ends.here, ask.there) && same(ends.there, ask.here) => ends,
            other => {
                let why = other.err().unwrap_or(EspRefusal::Elsewhere).number();
                let refuse = Message::EspRefuse(EspRefuse {
                    number: ask.number,
                    why,
                });
                return cx.answer(now, &self.peer, &refuse, via);
            }
        };
        match &self.offered {
            Some(offered) if offered.ask == ask => return self.offer(cx, now),
            Some(offered) if now.since(offered.at) < OFFER_EVERY => {
                return cx.drop(DropReason::HandshakeRate);
            }
            _ => {}
        }
        let Some(session) = cx.session(now, &self.peer) else {
            return;
        };
        let mut nonce = [0; NONCE];
        cx.rng.fill_bytes(&mut nonce);
        // The first 256 are reserved (RFC 4303 §2.1).
        let spi = cx.rng.next_u32();
        let spi = if spi < 256 { spi | 256 } else { spi };
        let key = session.esp_receive().key(spi, &nonce);
        self.offered = Some(Offered {
            ask,
            spi,
            nonce,
            session: session.their_index,
            at: now,
            taken: false,
        });
        let (peer, number) = (self.peer, ask.number);
        cx.outputs.push_back(Output::EspInbound {
            peer,
            number,
            ends,
            spi,
            key,
        });
    }

    /// The kernel has what was asked for.
    pub(crate) fn taken(&mut self, cx: &mut Context, now: Instant, number: u64) {
        if let Some(offered) = self
            .offered
            .as_mut()
            .filter(|offered| offered.ask.number == number)
        {
            offered.taken = true;
            self.offer(cx, now);
        }
    }

    fn offer(&self, cx: &mut Context, now: Instant) {
        let Some(offered) = self.offered.as_ref().filter(|offered| offered.taken) else {
            return;
        };
        let offer = Message::EspOffer(EspOffer {
            number: offered.ask.number,
            spi: offered.spi,
            nonce: offered.nonce,
            session: offered.session,
        });
        // If it is lost, it is asked for again.
        let _ = cx.send(now, &self.peer, &offer, How::Route);
    }

    /// The other router has what this one asked for.
    pub(crate) fn offered(&mut self, cx: &mut Context, offer: &EspOffer) {
        let Some(asked) = self.asked.take_if(|asked| asked.number == offer.number) else {
            return;
        };
        let session = cx
            .plane
            .known(&self.peer)
            .and_then(|peer| peer.with_index(offer.session));
        let Some(session) = session.filter(|_| offer.spi >= 256) else {
            return self.refused(cx, EspRefusal::NotYet);
        };
        let key = session.esp_send().key(offer.spi, &offer.nonce);
        cx.outputs.push_back(Output::EspOutbound {
            peer: self.peer,
            ends: asked.ends,
            spi: offer.spi,
            key,
        });
    }

    /// The other router will not.
    pub(crate) fn declined(&mut self, cx: &mut Context, refuse: EspRefuse) {
        if self
            .asked
            .as_ref()
            .is_some_and(|asked| asked.number == refuse.number)
        {
            self.refused(cx, EspRefusal::of(refuse.why));
        }
    }

    fn refused(&mut self, cx: &mut Context, why: EspRefusal) {
        self.asked = None;
        let peer = self.peer;
        cx.outputs.push_back(Output::EspRefused { peer, why });
    }

    /// Nothing that was under way holds any more.
    pub(crate) fn reset(&mut self, cx: &mut Context) {
        self.offered = None;
        if self.asked.is_some() {
            self.refused(cx, EspRefusal::NotYet);
        }
    }
}
