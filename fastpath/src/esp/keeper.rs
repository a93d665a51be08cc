//! Decides what associations and policies there are to be, and when to ask a neighbour for another. Sans-IO.
//!
//! For each neighbour whose frames are to be encrypted: policies as soon as its address is known, then an association
//! towards it, which it gives. What the neighbour asks for in turn is made, and kept until another was used in its place
//! for [`LINGER`]. What a path needed stays for a while after the path is lost: frames may still take it.

use super::plan::{Desired, Observed, Report};
use super::{Direction, Ends, Key, ROLL_PACKETS, Sa, SaId};
use mesh::{Instant, PeerId};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// So much longer than frames may take a path that is lost, its policies and associations stay.
const KEEP: Duration = Duration::from_secs(60);
/// How long what was replaced still opens packets, which may be late.
const LINGER: Duration = Duration::from_secs(30);
/// Shortest and longest wait before a neighbour that would not is asked again.
const ASK_AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// Shortest and longest time that an association has to prove itself, if nothing comes back under it.
const DOUBT: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));
/// How long after the retirement of a secret all neighbours have sessions of another, from which to make keys.
const RETIRED: Duration = Duration::from_secs(10);
/// An answer comes sooner, be it that there is none.
const PATIENCE: Duration = Duration::from_secs(20);
/// Most associations of one neighbour that are kept: it asks for another when it has lost one.
const MOST: usize = 8;

/// What does not change.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// UDP port of VXLAN.
    pub port: u16,
    /// How long an association is used.
    pub roll: Duration,
    /// How long frames may take a path after it is lost.
    pub grace: Duration,
}

/// Why frames to a neighbour can't be encrypted by the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoEsp {
    /// This host can't.
    Here,
    /// The other can't, or may not.
    There,
    /// Keys are being agreed on.
    Agreeing,
    /// Each knows the other by another address than the other itself.
    Translated,
    /// The other does not answer.
    NoAnswer,
    /// The kernel would not take it.
    Refused,
}

impl fmt::Display for NoEsp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Here => "this host has no ESP",
            Self::There => "that router has no ESP",
            Self::Agreeing => "keys for ESP are being agreed on",
            Self::Translated => "a translator (NAT) stands between, which ESP does not pass",
            Self::NoAnswer => "that router does not answer when asked for ESP",
            Self::Refused => "this host's kernel refuses what ESP needs (see the log)",
        })
    }
}

/// News.
#[derive(Debug)]
pub enum Input {
    /// Frames to a neighbour are to be encrypted between these addresses. `None`: there is no path to it just now.
    Path {
        /// Who.
        peer: PeerId,
        /// The addresses.
        ends: Option<Ends>,
    },
    /// Frames to a neighbour, and from it, are not to be encrypted, as both trust each other's address.
    Plain {
        /// Who.
        peer: PeerId,
        /// Where it is.
        there: IpAddr,
    },
    /// A neighbour will encrypt so.
    Inbound {
        /// Who.
        peer: PeerId,
        /// Comes back in [`Output::Taken`].
        number: u64,
        /// Between which addresses.
        ends: Ends,
        /// The association's index.
        spi: u32,
        /// Its key.
        key: Key,
    },
    /// Encrypt so towards a neighbour.
    Outbound {
        /// Who.
        peer: PeerId,
        /// Between which addresses.
        ends: Ends,
        /// The association's index.
        spi: u32,
        /// Its key.
        key: Key,
    },
    /// A neighbour gives no association.
    Refused {
        /// Who.
        peer: PeerId,
        /// Why.
        why: NoEsp,
    },
    /// Whether probes come back from a neighbour, with all there that should be.
    Proven {
        /// Who.
        peer: PeerId,
        /// They do.
        proven: bool,
    },
    /// All associations are to be replaced: the secret behind them was retired.
    Renew,
    /// What there is, after [`Keeper::desired`] was made so.
    Seen(Report),
    /// Nothing happened but time.
    Tick,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Ask a neighbour for an association.
    Ask(PeerId),
    /// Tell a neighbour that what it asked for is there.
    Taken {
        /// Whom.
        peer: PeerId,
        /// The input's number.
        number: u64,
    },
    /// [`Keeper::state`] of a neighbour is another now.
    Changed(PeerId),
}

#[derive(Debug)]
struct Neighbour {
    ends: Option<Ends>,
    /// Why it gives no association.
    why: NoEsp,
    asking: bool,
    ask_at: Option<Instant>,
    wait: Duration,
    /// How long the next association has to prove itself.
    doubt: Duration,
    told: Result<(), NoEsp>,
}

#[derive(Debug)]
struct Outbound {
    spi: u32,
    born: Instant,
}

#[derive(Debug)]
struct Inbound {
    spi: u32,
    /// An earlier run left it: which of several is in use, nobody knows.
    adopted: bool,
    used: Option<Instant>,
}

/// What a new association was made for.
#[derive(Debug)]
struct Fresh {
    sa: Sa,
    peer: PeerId,
    number: u64,
}

/// Decides for one router.
#[derive(Debug)]
pub struct Keeper {
    settings: Settings,
    neighbours: BTreeMap<PeerId, Neighbour>,
    /// Where encryption is demanded, and until when, if no path needs it now.
    guarded: BTreeMap<Ends, Option<Instant>>,
    outbound: BTreeMap<Ends, Outbound>,
    inbound: BTreeMap<Ends, Vec<Inbound>>,
    fresh: Vec<Fresh>,
    observed: Observed,
    outputs: Vec<Output>,
    dirty: bool,
}

impl Keeper {
    /// Starts with what an earlier run left.
    #[must_use]
    pub fn new(settings: Settings, now: Instant, left: Observed) -> Self {
        let mut keeper = Self {
            settings,
            neighbours: BTreeMap::new(),
            guarded: BTreeMap::new(),
            outbound: BTreeMap::new(),
            inbound: BTreeMap::new(),
            fresh: Vec::new(),
            observed: Observed::default(),
            outputs: Vec::new(),
            dirty: true,
        };
        let until = Some(now + settings.grace + KEEP);
        // In the order of their making, as if this run had made them: their indices are random.
        let mut sas: Vec<_> = left.sas.iter().collect();
        sas.sort_by_key(|(_, seen)| seen.made);
        for (id, seen) in sas {
            keeper.guarded.insert(seen.ends, until);
            match seen.direction {
                // Older than it may be: another is asked for as soon as there is somebody to ask.
                Direction::Out => {
                    let (spi, born) = (id.spi, Instant(0));
                    keeper.outbound.insert(seen.ends, Outbound { spi, born });
                }
                Direction::In => keeper.inbound.entry(seen.ends).or_default().push(Inbound {
                    spi: id.spi,
                    adopted: true,
                    used: None,
                }),
            }
        }
        for (policy, _) in &left.policies {
            let here = match policy.there {
                IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            };
            let there = policy.there;
            keeper.guarded.insert(Ends { here, there }, until);
        }
        keeper.observed = left;
        keeper
    }

    /// True if what there is to be changed: make it so, then hand in [`Input::Seen`].
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// What there is to be.
    #[must_use]
    pub fn desired(&self) -> Desired {
        let outbound = self.outbound.iter().map(|(ends, sa)| SaId {
            to: ends.there,
            spi: sa.spi,
        });
        let inbound = self.inbound.iter().flat_map(|(ends, sas)| {
            sas.iter().map(|sa| SaId {
                to: ends.here,
                spi: sa.spi,
            })
        });
        Desired {
            port: self.settings.port,
            guarded: self.guarded.keys().copied().collect(),
            keep: outbound.chain(inbound).collect(),
            fresh: self.fresh.iter().map(|fresh| fresh.sa.clone()).collect(),
        }
    }

    /// Between which addresses nothing is to pass unencrypted.
    pub fn guarded(&self) -> impl Iterator<Item = &Ends> {
        self.guarded.keys()
    }

    /// Whether frames to a neighbour are encrypted by the kernel now, and else why not.
    ///
    /// # Errors
    /// Why not.
    pub fn state(&self, peer: &PeerId) -> Result<(), NoEsp> {
        let neighbour = self.neighbours.get(peer).ok_or(NoEsp::Agreeing)?;
        let ends = neighbour.ends.ok_or(NoEsp::Agreeing)?;
        if !self.observed.is_guarded(ends, self.settings.port) {
            return Err(NoEsp::Refused);
        }
        if self.outbound.contains_key(&ends) {
            Ok(())
        } else {
            Err(neighbour.why)
        }
    }

    /// True if an earlier run left all that frames to this address need to be encrypted.
    #[must_use]
    pub fn protects(&self, there: IpAddr) -> bool {
        let is_there =
            |ends: &Ends| ends.there == there && self.observed.is_guarded(*ends, self.settings.port);
        self.outbound.keys().any(is_there)
    }

    /// Takes in news. Drain [`take_outputs`](Self::take_outputs) afterwards.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        match input {
            Input::Path { peer, ends } => self.set_path(now, peer, ends),
            Input::Plain { peer, there } => {
                self.set_path(now, peer, None);
                let used = self.used();
                self.forget(|ends| ends.there == there && !used.contains(ends));
            }
            Input::Inbound {
                peer,
                number,
                ends,
                spi,
                key,
            } => {
                let direction = Direction::In;
                self.make(peer, number, direction, ends, spi, key);
                // It has all it needs to answer, too.
                let lacks = !self.outbound.contains_key(&ends);
                if let Some(neighbour) = self.neighbours.get_mut(&peer)
                    && lacks
                    && !neighbour.asking
                {
                    neighbour.ask_at = Some(now);
                }
            }
            Input::Outbound { peer, ends, spi, key } => {
                self.make(peer, 0, Direction::Out, ends, spi, key);
            }
            Input::Refused { peer, why } => self.refused(now, peer, why),
            Input::Proven { peer, proven } => self.proven(now, peer, proven),
            Input::Renew => {
                for neighbour in self.neighbours.values_mut().filter(|one| one.ends.is_some()) {
                    neighbour.ask_at = Some(now + RETIRED);
                }
            }
            Input::Seen(report) => self.seen(now, report),
            Input::Tick => {}
        }
        self.tick(now);
        self.tell();
    }

    /// What is to be done.
    pub fn take_outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    /// When to hand in the next [`Tick`](Input::Tick).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let asks = self.neighbours.values().filter_map(|one| one.ask_at);
        let ends = self.guarded.values().flatten().copied();
        let lingering = self.inbound.values().filter_map(|sas| expiry(sas));
        asks.chain(ends).chain(lingering).min()
    }

    /// The addresses that paths are between now.
    fn used(&self) -> BTreeSet<Ends> {
        self.neighbours.values().filter_map(|one| one.ends).collect()
    }

    fn forget(&mut self, is_gone: impl Fn(&Ends) -> bool) {
        let before = self.guarded.len();
        self.guarded.retain(|ends, _| !is_gone(ends));
        self.outbound.retain(|ends, _| !is_gone(ends));
        self.inbound.retain(|ends, _| !is_gone(ends));
        self.fresh.retain(|fresh| !is_gone(&fresh.sa.ends));
        self.dirty |= self.guarded.len() != before;
    }

    fn set_path(&mut self, now: Instant, peer: PeerId, ends: Option<Ends>) {
        if ends.is_none() && !self.neighbours.contains_key(&peer) {
            return;
        }
        let neighbour = self.neighbours.entry(peer).or_insert_with(|| Neighbour {
            ends: None,
            why: NoEsp::Agreeing,
            asking: false,
            ask_at: None,
            wait: ASK_AGAIN.0,
            doubt: DOUBT.0,
            told: Err(NoEsp::Agreeing),
        });
        let old = std::mem::replace(&mut neighbour.ends, ends);
        if old == ends {
            return;
        }
        (neighbour.asking, neighbour.why) = (false, NoEsp::Agreeing);
        (neighbour.wait, neighbour.doubt) = (ASK_AGAIN.0, DOUBT.0);
        neighbour.ask_at = ends.map(|ends| {
            let born = self.outbound.get(&ends).map(|sa| sa.born);
            born.map_or(now, |born| (born + self.settings.roll).max(now))
        });
        if let Some(ends) = ends {
            self.dirty |= self.guarded.insert(ends, None).is_none();
        }
        if let Some(old) = old.filter(|old| !self.used().contains(old)) {
            self.guarded.insert(old, Some(now + self.settings.grace + KEEP));
        }
    }

    /// Has the kernel make an association. Where nothing demands encryption, it would be of no use.
    fn make(&mut self, peer: PeerId, number: u64, direction: Direction, ends: Ends, spi: u32, key: Key) {
        if !self.guarded.contains_key(&ends) {
            return;
        }
        let sa = Sa {
            direction,
            ends,
            spi,
            key,
        };
        self.fresh.push(Fresh { sa, peer, number });
        self.dirty = true;
    }

    fn refused(&mut self, now: Instant, peer: PeerId, why: NoEsp) {
        if let Some(neighbour) = self.neighbours.get_mut(&peer).filter(|one| one.ends.is_some()) {
            (neighbour.asking, neighbour.why) = (false, why);
            neighbour.ask_at = Some(now + neighbour.wait);
            neighbour.wait = (neighbour.wait * 2).min(ASK_AGAIN.1);
        }
    }

    /// An association under which nothing comes back may be one that the other has lost.
    fn proven(&mut self, now: Instant, peer: PeerId, proven: bool) {
        let Some(neighbour) = self.neighbours.get_mut(&peer) else {
            return;
        };
        let born = neighbour
            .ends
            .and_then(|ends| self.outbound.get(&ends))
            .map(|sa| sa.born);
        if proven {
            neighbour.doubt = DOUBT.0;
        } else if !neighbour.asking && born.is_some_and(|born| born + neighbour.doubt <= now) {
            neighbour.doubt = (neighbour.doubt * 2).min(DOUBT.1);
            neighbour.ask_at = Some(now);
        }
    }

    fn seen(&mut self, now: Instant, report: Report) {
        let Report { observed, .. } = report;
        self.dirty = false;
        let has = |to, spi| observed.sas.contains_key(&SaId { to, spi });
        let mut lost: Vec<_> = self
            .outbound
            .extract_if(.., |ends, sa| !has(ends.there, sa.spi))
            .map(|(ends, _)| ends)
            .collect();
        for (ends, sas) in &mut self.inbound {
            sas.retain(|sa| has(ends.here, sa.spi));
        }
        self.inbound.retain(|_, sas| !sas.is_empty());
        for fresh in std::mem::take(&mut self.fresh) {
            let Sa {
                direction, ends, spi, ..
            } = fresh.sa;
            match (direction, observed.sas.contains_key(&fresh.sa.id())) {
                (Direction::In, true) => self.opens(fresh.peer, fresh.number, ends, spi),
                (Direction::Out, true) => {
                    lost.retain(|gone| *gone != ends);
                    self.seals(now, fresh.peer, ends, spi);
                }
                (Direction::Out, false) => self.refused(now, fresh.peer, NoEsp::Refused),
                // The other will ask again.
                (Direction::In, false) => {}
            }
        }
        for (id, seen) in &observed.sas {
            match seen.direction {
                Direction::Out if seen.packets >= ROLL_PACKETS => lost.push(seen.ends),
                Direction::In if seen.packets > 0 => {
                    let sas = self.inbound.get_mut(&seen.ends).map(Vec::as_mut_slice);
                    for sa in sas.unwrap_or_default().iter_mut().filter(|sa| sa.spi == id.spi) {
                        sa.used.get_or_insert(now);
                    }
                }
                _ => {}
            }
        }
        for neighbour in self.neighbours.values_mut().filter(|one| !one.asking) {
            if neighbour.ends.is_some_and(|ends| lost.contains(&ends)) {
                neighbour.ask_at = neighbour.ask_at.map(|at| at.min(now));
            }
        }
        self.observed = observed;
    }

    fn opens(&mut self, peer: PeerId, number: u64, ends: Ends, spi: u32) {
        let sas = self.inbound.entry(ends).or_default();
        sas.push(Inbound {
            spi,
            adopted: false,
            used: None,
        });
        if sas.len() > MOST {
            // Not the last, nor the one in use.
            let in_use = sas.iter().rposition(|sa| sa.used.is_some());
            sas.remove(usize::from(in_use == Some(0)));
            self.dirty = true;
        }
        self.outputs.push(Output::Taken { peer, number });
    }

    /// Packets to a neighbour are encrypted under this association from now on.
    fn seals(&mut self, now: Instant, peer: PeerId, ends: Ends, spi: u32) {
        // The one before has just served its last packet.
        self.dirty |= self.outbound.insert(ends, Outbound { spi, born: now }).is_some();
        if let Some(neighbour) = self.neighbours.get_mut(&peer) {
            (neighbour.asking, neighbour.why) = (false, NoEsp::Agreeing);
            neighbour.wait = ASK_AGAIN.0;
            // Not all neighbours at the same time.
            let roll = self.settings.roll;
            neighbour.ask_at = Some(now + roll - roll / 10 * (spi % 16) / 16);
        }
    }

    fn tick(&mut self, now: Instant) {
        for (peer, neighbour) in &mut self.neighbours {
            if neighbour.ask_at.is_some_and(|at| at <= now) {
                (neighbour.asking, neighbour.ask_at) = (true, Some(now + PATIENCE));
                self.outputs.push(Output::Ask(*peer));
            }
        }
        let over = |until: &Option<Instant>| until.is_some_and(|until| until <= now);
        if self.guarded.values().any(over) {
            let gone: BTreeSet<_> = self
                .guarded
                .iter()
                .filter(|(_, until)| over(until))
                .map(|(ends, _)| *ends)
                .collect();
            self.forget(|ends| gone.contains(ends));
            self.neighbours.retain(|_, one| one.ends.is_some());
        }
        for sas in self.inbound.values_mut() {
            if expiry(sas).is_some_and(|at| at <= now) {
                let last = successor(sas).unwrap_or(0);
                sas.drain(..last);
                self.dirty = true;
            }
        }
    }

    fn tell(&mut self) {
        for peer in self.neighbours.keys().copied().collect::<Vec<_>>() {
            let state = self.state(&peer);
            if let Some(neighbour) = self.neighbours.get_mut(&peer)
                && neighbour.told != state
            {
                neighbour.told = state;
                self.outputs.push(Output::Changed(peer));
            }
        }
    }
}

/// The last association that was used, if it is not one that was left: what is before it is over soon.
fn successor(sas: &[Inbound]) -> Option<usize> {
    sas.iter()
        .rposition(|sa| sa.used.is_some() && !sa.adopted)
        .filter(|place| *place > 0)
}

/// When what was replaced goes.
fn expiry(sas: &[Inbound]) -> Option<Instant> {
    let used = sas.get(successor(sas)?)?.used?;
    Some(used + LINGER)
}
