//! A lane: one thread that carries frames both ways, with its own socket, its own queue of each TAP, and its own keys.
//!
//! 1. It [waits](super::watch) until the UDP port or the TAP has something, in one call for both.
//! 2. What came to the port is [received](super::udp), opened, and written to the TAP or sent on.
//! 3. What containers sent is [read](super::tap), sealed, and sent. This is tried after each receive, without asking:
//!    where the kernel answers at once, its answer is there before the write to the TAP has returned.
//!
//! One thread for both, because every hand-over between threads may have to wake a sleeping processor, which takes longer
//! than all else that happens to a frame ([ADR 28](../../../docs/adr/0028-lanes.md)).

use super::{Event, Shore};
use crate::data::tap::TapReader;
use crate::data::udp::UdpReader;
use crate::data::watch::Watch;
use crate::link::{ConnectionIds, QuicQueue};
use rustix::event::Timespec;
use sleeve::Scratch;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// What a lane is made of.
pub(crate) struct Lane {
    pub(crate) shore: Shore,
    pub(crate) queue: Arc<QuicQueue>,
    pub(crate) ids: ConnectionIds,
    /// How long it may look for packets before it sleeps.
    pub(crate) busy_poll: Duration,
}

/// What a lane waits for, by number: the bell, the socket, and from this one on the TAPs.
const BELL: usize = 0;
const SOCKET: usize = 1;
const TAPS: usize = 2;

/// Looks, and does not wait.
const NOT_AT_ALL: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

impl Lane {
    /// Starts the thread.
    pub(crate) fn start(self) -> io::Result<JoinHandle<()>> {
        thread::Builder::new()
            .name(format!("lane {}", self.shore.lane))
            .spawn(move || self.run())
    }

    fn run(self) {
        let Self {
            shore,
            queue,
            ids,
            busy_poll,
        } = self;
        let _tripwire = super::Tripwire {
            name: "lane",
            news: shore.news.clone(),
        };
        let mut scratch = Scratch::default();
        // At most eight.
        scratch.set_lane(shore.lane as u8);
        let mut lane = Running {
            udp: UdpReader::new(shore.clone(), queue, ids),
            tap: TapReader::new(shore.clone()),
            patience: Patience::new(busy_poll),
            scratch,
            shore,
        };
        loop {
            match lane.with_these_taps() {
                Ok(true) => {}
                Ok(false) => return,
                // A router without it would be deaf and look alive.
                Err(_) => {
                    let _ = lane.shore.news.blocking_send(Event::ThreadEnded { name: "lane" });
                    return;
                }
            }
        }
    }
}

/// A lane at work.
struct Running {
    udp: UdpReader,
    tap: TapReader,
    patience: Patience,
    scratch: Scratch,
    shore: Shore,
}

impl Running {
    /// Carries frames until there are other TAPs than now, or, which it says by false, until it is to end.
    fn with_these_taps(&mut self) -> io::Result<bool> {
        let shore = self.shore.clone();
        let bell = shore.bell.of(shore.lane).ok_or(io::ErrorKind::NotFound)?;
        let networks = shore.taps.all();
        let taps: Vec<_> = networks
            .iter()
            .filter_map(|(vni, queues)| Some((*vni, queues, queues.get(shore.lane)?)))
            .collect();
        let mut watch = Watch::new()?;
        watch.add(BELL, bell)?;
        watch.add(SOCKET, shore.socket.as_socket())?;
        for (place, (_, _, tap)) in taps.iter().enumerate() {
            watch.add(TAPS + place, tap)?;
        }
        loop {
            self.patience.wait(&mut watch)?;
            if watch.is_ready(BELL) {
                return Ok(shore.bell.heard(shore.lane));
            }
            let mut turn = Turn::default();
            if watch.is_ready(SOCKET) {
                turn.came = self.udp.receive_all(&mut self.scratch);
            }
            // That one is tried unasked: where the kernel answers at once, its answer is there.
            let wrote = self.udp.wrote();
            let mut lost = false;
            for (place, (vni, queues, tap)) in taps.iter().enumerate() {
                if !watch.is_ready(TAPS + place) && wrote != Some(*vni) {
                    continue;
                }
                match self.tap.read_all(*vni, tap, &mut self.scratch) {
                    Some(bytes) => turn.went += bytes,
                    None => {
                        lost = true;
                        // Should this news find no room, the patrol sees that there is none.
                        if shore.taps.lost(*vni, queues) {
                            shore.tell(Event::TapLost { vni: *vni });
                        }
                    }
                }
            }
            self.scratch.flush(self.tap.sink());
            self.patience.note(turn);
            if lost {
                return Ok(true);
            }
        }
    }
}

/// The bytes that were carried between two waits.
#[derive(Clone, Copy, Default)]
struct Turn {
    came: usize,
    went: usize,
}

/// More bytes in a turn than this are no question and no answer.
const FEW: usize = 4096;

/// Waits, awake for a while where that has paid.
///
/// To wake a processor that sleeps takes longer than to carry a packet, and two that ask and answer each other let it
/// fall asleep between any two packets. So where something small went after something came, or came after something
/// went, and that soon, a lane looks for the next for as long before it blocks, giving way to whoever else wants the
/// processor. Streams are left to gather while it sleeps: the more there is at once, the less each packet costs.
struct Patience {
    /// What counts as soon; zero: nothing does.
    most: Duration,
    /// Whether the next packet came that soon the last time, when what was carried before it came in, and when it went out.
    pays: [bool; 2],
    /// The last turn was part of a conversation.
    answered: bool,
    /// What was carried last went out.
    went: bool,
}

impl Patience {
    fn new(most: Duration) -> Self {
        Self {
            most,
            pays: [false; 2],
            answered: false,
            went: false,
        }
    }

    /// What was done since the last wait.
    fn note(&mut self, turn: Turn) {
        let Turn { came, went } = turn;
        if came + went > 0 {
            let both = came > 0 && went > 0;
            self.answered = came + went <= FEW && (both || self.went != (went > 0));
            self.went = went > 0;
        }
    }

    /// Returns once there is something to do.
    fn wait(&mut self, watch: &mut Watch) -> io::Result<()> {
        let begun = Instant::now();
        let soon = || begun.elapsed() < self.most;
        let pays = &mut self.pays[usize::from(self.went)];
        let mut there = false;
        if *pays && self.answered {
            while !there && soon() {
                there = watch.wait(Some(&NOT_AT_ALL))?;
                if !there {
                    thread::yield_now();
                }
            }
        }
        if !there {
            watch.wait(None)?;
        }
        *pays = soon();
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use rustix::event::{EventfdFlags, eventfd};

    #[test]
    fn only_conversations_keep_it_awake() {
        let mut patience = Patience::new(Duration::from_micros(100));
        let mut answered = |came, went| {
            patience.note(Turn { came, went });
            patience.answered
        };
        assert!(!answered(100, 0), "nothing was asked");
        assert!(answered(0, 100));
        assert!(!answered(0, 100), "nobody answered");
        assert!(answered(100, 0));
        assert!(answered(0, 0), "nothing was carried: as before");
        assert!(answered(100, 100));
        assert!(!answered(FEW, 100), "a stream");
        assert!(!answered(0, 1 << 16));
    }

    #[test]
    fn it_is_awake_only_where_that_has_paid() {
        let most = Duration::from_millis(20);
        let event = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
        let ring = || rustix::io::write(&event, &1_u64.to_ne_bytes()).unwrap();
        let mut watch = Watch::new().unwrap();
        watch.add(0, &event).unwrap();
        let mut patience = Patience::new(most);
        patience.note(Turn { came: 1, went: 1 });
        ring();
        patience.wait(&mut watch).unwrap();
        assert_eq!(patience.pays, [false, true], "what came at once came soon");
        rustix::io::read(&event, &mut [0; 8]).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(most * 3);
                ring();
            });
            patience.wait(&mut watch).unwrap();
        });
        assert_eq!(patience.pays, [false, false]);
        assert!(watch.is_ready(0));
    }
}
