//! The random scenario of a seed.

use crate::Random;
use crate::scenario::{
    Action, Change, ClockJump, Crypto, DiskState, Event, Flap, Heal, Pause, Profile, Restart, Scenario,
    ScenarioError, Select,
};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::time::Duration;
use toml::Spanned;

/// Routers find each other before the first fault.
const CALM: Duration = Duration::from_secs(10);
/// How long faults go on. What is looked at when they are over takes 25 seconds at least, so each seed has two
/// minutes.
const FAULTS: Duration = Duration::from_secs(85);
/// How many routers there are.
const PEERS: RangeInclusive<u64> = 20..=60;
/// How many of them broadcast at the end: with all it would be more than a third of a large seed's time.
const SENDERS: usize = 6;
/// Shortest and longest time between two faults, and that some of them last.
const PAUSE: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(8)];
/// Of so many seeds one has real cryptography; with it a run takes twice as long.
const REAL_CRYPTO: u64 = 20;
/// At most such a share of the routers is down at a time, in percent.
const MAX_DOWN: usize = 40;

/// The scenario of a seed: 20 to 60 routers, links bounded at six, faults of all kinds, then peace.
///
/// # Errors
/// None for any seed; a scenario that can't be read would be a mistake in here, and is reported as what it is.
pub fn draw(seed: u64) -> Result<Scenario, ScenarioError> {
    let mut random = Random::new(seed).fork("swarm", 0);
    let peers = count(&mut random);
    let mut scenario = story(seed, peers, random, FAULTS, PAUSE)?;
    if !seed.is_multiple_of(REAL_CRYPTO) {
        scenario.crypto = Crypto::Fake;
    }
    Ok(scenario)
}

/// The same of so many routers, with faults for so long and with such pauses between them, and fake cryptography. At
/// the end nothing is looked at: it is what such a run costs that is of interest.
///
/// # Errors
/// As [`draw`] has.
pub fn draw_faults(
    seed: u64,
    peers: usize,
    length: Duration,
    pause: [Duration; 2],
) -> Result<Scenario, ScenarioError> {
    let random = Random::new(seed).fork("faults", 0);
    let mut scenario = story(seed, peers, random, length, pause)?;
    scenario.crypto = Crypto::Fake;
    scenario.rest.check = false;
    Ok(scenario)
}

fn story(
    seed: u64,
    peers: usize,
    mut random: Random,
    length: Duration,
    pause: [Duration; 2],
) -> Result<Scenario, ScenarioError> {
    let mut scenario = Scenario::parse(&frame(seed, peers, &mut random))?;
    let mut drawing = Drawing {
        random,
        peers,
        down: BTreeSet::new(),
        forgot: false,
        moved: false,
    };
    let (mut at, end) = (CALM, CALM + length);
    while at < end {
        let action = drawing.fault(at);
        scenario.event.extend(action.map(|action| event(at, action)));
        at += drawing.random.between(pause[0], pause[1]);
    }
    scenario.event.push(event(end, Action::Heal(Heal::All(true))));
    // From here on the wires lose nothing, so that nothing but the routers can be to blame.
    let everywhere = [Select::all(), Select::all()];
    let none = "0%".parse().ok();
    scenario.event.push(event(
        end,
        Action::Wire(Change {
            between: everywhere,
            one_way: false,
            to: Profile {
                loss: none,
                duplicate: none,
                reorder: none,
                ..Profile::default()
            },
        }),
    ));
    // One event each, so that shrinking takes a restart away together with nothing else.
    for router in drawing.down {
        let (routers, disk) = (Select::one(router), DiskState::Kept);
        scenario
            .event
            .push(event(end, Action::Restart(Restart { routers, disk })));
    }
    Ok(scenario)
}

/// How many routers. Small meshes more often: in the time of one of 60 four of 20 are run.
fn count(random: &mut Random) -> usize {
    let mut more = || random.below(PEERS.end() - PEERS.start() + 1);
    (PEERS.start() + more().min(more())) as usize
}

/// Everything but the faults.
fn frame(seed: u64, peers: usize, random: &mut Random) -> String {
    let pick = |random: &mut Random| random.below(peers as u64);
    let mut text = format!(
        "name = \"swarm-{seed}\"\nabout = \"Random faults of seed {seed}, then peace.\"\npeers = {peers}\n\
         [routers]\nmax_links = 6\n[wire]\ndelay = \"{}ms..{}ms\"\n",
        1 + random.below(5),
        6 + random.below(95),
    );
    for (key, share) in [("loss", 8), ("duplicate", 5), ("reorder", 10)] {
        if random.chance(0.3) {
            let _ = writeln!(text, "{key} = \"{}%\"", 1 + random.below(share));
        }
    }
    for number in 0..3 + random.below(4) {
        let (from, to) = (pick(random), pick(random));
        if from != to {
            let _ = write!(
                text,
                "[[traffic]]\nname = \"stream-{number}\"\nfrom = {from}\nto = {to}\nevery = \"{}ms\"\nsize = {}\n",
                100 + random.below(900),
                60 + random.below(1300),
            );
        }
    }
    text + &format!("[rest]\nwithin = \"90s\"\nsenders = {SENDERS}\n")
}

fn event(at: Duration, action: Action) -> Spanned<Event> {
    let at = crate::scenario::Time(at);
    Spanned::new(0..0, Event { at, action })
}

/// What has been drawn so far.
struct Drawing {
    random: Random,
    peers: usize,
    down: BTreeSet<usize>,
    /// Somebody forgot whom it knew. Such a one finds the others at the address of router 0 alone, or is router 0 and found
    /// there: it is kept.
    forgot: bool,
    /// It has another address than it is looked for at: it keeps its disk.
    moved: bool,
}

impl Drawing {
    /// One fault, or the end of some; nothing if what was drawn makes no sense now.
    fn fault(&mut self, at: Duration) -> Option<Action> {
        let (a, b) = (self.router(), self.router());
        let between = || [Select::one(a), Select::one(b)];
        let (from, length) = (Select::one(a), self.random.between(PAUSE[0], PAUSE[1]));
        let time = crate::scenario::Time;
        match self.random.below(20) {
            0 | 1 if a != b => Some(Action::Cut(between())),
            2 | 3 if a != b => Some(Action::Block(between())),
            4 => Some(Action::Partition(self.halves())),
            5 | 6 => Some(Action::Heal(Heal::All(true))),
            7 if a != b => Some(Action::Flap(Flap {
                between: between(),
                period: time(Duration::from_millis(100) + length),
                until: time(at + length * 4),
            })),
            8..=10 if a != b => Some(Action::Wire(Change {
                between: between(),
                one_way: self.random.chance(0.5),
                to: self.profile()?,
            })),
            11 | 12 if self.may_fall(a) => Some(Action::Crash(from)),
            13 if self.may_fall(a) => Some(Action::Stop(from)),
            14..=16 => {
                let disk = [DiskState::Kept, DiskState::Kept, DiskState::Old, DiskState::Lost];
                // A router that runs is killed first; one that is down comes back.
                let back = self.down.pop_first().unwrap_or(a);
                let drawn = disk[self.random.below(4) as usize];
                let disk = if back == 0 && self.moved {
                    DiskState::Kept
                } else {
                    drawn
                };
                self.forgot |= disk != DiskState::Kept;
                let routers = Select::one(back);
                Some(Action::Restart(Restart { routers, disk }))
            }
            17 if !self.down.contains(&a) => Some(Action::Pause(Pause {
                routers: from,
                length: time(length),
            })),
            18 => {
                let days = if self.random.chance(0.5) { "1d" } else { "-1d" };
                days.parse()
                    .ok()
                    .map(|by| Action::Clock(ClockJump { routers: from, by }))
            }
            19 if !(self.down.contains(&a) || (a == 0 && self.forgot)) => {
                self.moved |= a == 0;
                Some(Action::Readdress(from))
            }
            _ => None,
        }
    }

    fn router(&mut self) -> usize {
        self.random.below(self.peers as u64) as usize
    }

    fn may_fall(&mut self, router: usize) -> bool {
        // Somebody must be left to come back to, and router 0 is whom newcomers know.
        router > 0 && (self.down.len() + 1) * 100 < self.peers * MAX_DOWN && self.down.insert(router)
    }

    /// Two or three groups that hold everybody.
    fn halves(&mut self) -> Vec<Select> {
        let count = 2 + self.random.below(2) as usize;
        let mut groups = vec![Vec::new(); count];
        for router in 0..self.peers {
            let group = self.random.below(count as u64) as usize;
            groups[group].push(router.to_string());
        }
        let texts = groups.iter().filter(|group| !group.is_empty());
        texts.filter_map(|group| group.join(", ").parse().ok()).collect()
    }

    fn profile(&mut self) -> Option<Profile> {
        let below = self.random.below(60);
        let mut profile = Profile::default();
        match self.random.below(6) {
            0 => profile.loss = format!("{below}%").parse().ok(),
            1 => profile.delay = format!("{}ms", 1 + below * 4).parse().ok(),
            2 => profile.jitter = format!("{}ms", 1 + below * 2).parse().ok(),
            3 => profile.duplicate = format!("{below}%").parse().ok(),
            4 => profile.reorder = format!("{below}%").parse().ok(),
            _ => profile.mtu = Some(1200 + 5 * below as u16),
        }
        Some(profile)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_gives_a_scenario_that_can_be_written_and_read() {
        for seed in 0..200 {
            let drawn = draw(seed).unwrap();
            let text = drawn.to_toml().unwrap();
            let read = Scenario::parse(&text).unwrap_or_else(|error| panic!("seed {seed}: {error}\n{text}"));
            assert_eq!(read.to_toml().unwrap(), text, "seed {seed}");
            assert!(drawn.event.len() >= 10, "seed {seed}: {}", drawn.event.len());
            assert!(PEERS.contains(&(drawn.peers.default as u64)));
        }
        assert_eq!(draw(3).unwrap().to_toml(), draw(3).unwrap().to_toml());
        assert_ne!(draw(3).unwrap().to_toml(), draw(4).unwrap().to_toml());
        let real = |seed: &u64| draw(*seed).unwrap().crypto == Crypto::Real;
        assert_eq!((1..=100).filter(real).collect::<Vec<_>>(), [20, 40, 60, 80, 100]);
    }
}
