//! Runs a scenario: what it says is done to a [`World`](crate::World) at its time, what it expects is looked at, what became of
//! it is measured.
//!
//! ```text
//! Scenario ──► stage (hosts, wires, routers) ──► World
//!                 agenda: what is due next          │ runs up to that time
//!                 acts, traffic                 ──► │
//!                 look: expectations, convergence ◄─┘   every 50 ms of virtual time
//!                 rest: what must hold when all is over
//!              ──► Report
//! ```
//!
//! | file | subject |
//! |---|---|
//! | `stage` | the scenario's hosts, ground and secrets in a world |
//! | `acts`, `lie`, `garbage` | what is done |
//! | `traffic` | frames sent, and whether each came, once |
//! | `truth` | what the routers should know: who can reach whom |
//! | `sight` | what routers know, looked at again only where something changed |
//! | `looks` | whether an expectation holds now |
//! | `settle` | how long routers took after each event |
//! | `rest`, `joined` | what must hold at rest |
//! | `report` | what comes of it |

mod acts;
mod garbage;
mod joined;
mod lie;
mod looks;
mod report;
mod rest;
mod settle;
mod sight;
mod stage;
mod traffic;
mod truth;

pub use report::{Converged, EventReport, FailureReport, Figures, Report};

use super::{Expectation, Scenario, ScenarioError, Time};
use crate::{Cost, Film, HostId};
use acts::Act;
use mesh::Instant;
use settle::Settling;
use stage::Stage;
use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use traffic::Streams;

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// In worlds of more than so many routers looks are so much rarer.
const MANY: usize = 100;
/// Failures kept; what comes after a few says nothing new.
const MAX_FAILURES: usize = 20;
/// Things seen that one failure shows.
const MAX_SEEN: usize = 12;

/// How a scenario is run.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How many routers.
    pub peers: usize,
    /// Where all chance comes from.
    pub seed: u64,
}

/// Told of a run as it goes on.
pub trait Watch {
    /// So much of the virtual time is over.
    fn progress(&mut self, done: Duration, all: Duration) {
        let _ = (done, all);
    }

    /// A router, or the scenario itself (`None`), did or saw something.
    fn happened(&mut self, at: Instant, router: Option<usize>, what: &str) {
        let _ = (at, router, what);
    }

    /// Whether anybody listens to [`happened`](Self::happened).
    fn listens(&self) -> bool {
        false
    }
}

/// Nobody watches.
impl Watch for () {}

/// What came of a run.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// In figures.
    pub report: Report,
    /// In pictures.
    pub film: Film,
}

/// Runs a scenario.
///
/// # Errors
/// A size that the scenario does not allow, or names in it that mean nothing at that size. A failed expectation
/// is no error: the report tells.
pub fn run(scenario: &Scenario, settings: Settings, watch: &mut dyn Watch) -> Result<Outcome, ScenarioError> {
    let before = Cost::now();
    let mut run = Run::new(scenario, settings)?;
    let played = catch_unwind(AssertUnwindSafe(|| {
        run.play(watch);
        run.rest(watch);
        run.sizes();
    }));
    if let Err(panic) = &played {
        run.fail("nothing makes a router panic", vec![panic_text(&**panic)]);
    }
    Ok(run.outcome(before, played.is_ok()))
}

/// An expectation, and how far it is.
#[derive(Debug, Clone)]
struct Waiting {
    expectation: Expectation,
    /// Since when it holds.
    holds_since: Option<Instant>,
    /// The window before it begins: what had been sent then.
    sent_before: Option<Vec<u64>>,
    /// Links that had come and gone then.
    churn_before: Option<usize>,
}

struct Run<'a> {
    scenario: &'a Scenario,
    settings: Settings,
    stage: Stage,
    agenda: BTreeMap<(Instant, usize), Act>,
    streams: Streams,
    waiting: Vec<Waiting>,
    settling: Settling,
    film: Film,
    /// The sight that was filmed last.
    filmed: Option<u64>,
    /// The sight in which nothing was wrong at rest.
    right: Option<u64>,
    failures: Vec<FailureReport>,
    look_every: Duration,
    read_logs: Vec<usize>,
}

impl<'a> Run<'a> {
    fn new(scenario: &'a Scenario, settings: Settings) -> Result<Self, ScenarioError> {
        let stage = Stage::new(scenario, settings)?;
        let agenda = acts::agenda(scenario, &stage);
        let streams = Streams::new(scenario, &stage);
        let waiting = scenario.expect.iter().map(|expectation| Waiting {
            expectation: expectation.get_ref().clone(),
            holds_since: None,
            sent_before: None,
            churn_before: None,
        });
        let rarer = u32::try_from(settings.peers / MANY).unwrap_or(u32::MAX) + 1;
        Ok(Self {
            scenario,
            settings,
            agenda,
            streams,
            waiting: waiting.collect(),
            settling: Settling::new(),
            film: Film::default(),
            filmed: None,
            right: None,
            failures: Vec::new(),
            look_every: LOOK_EVERY * rarer.min(20),
            read_logs: Vec::new(),
            stage,
        })
    }

    fn now(&self) -> Instant {
        self.stage.world.now()
    }

    /// From the beginning to the scenario's end.
    fn play(&mut self, watch: &mut dyn Watch) {
        let end = self.scenario.end().0;
        while self.step(self.now(), watch) {}
        loop {
            self.look(watch);
            let now = self.now();
            let passed = now.since(Instant(0));
            watch.progress(passed, end);
            if passed >= end {
                return;
            }
            let next_look = now + self.look_every.min(end - passed);
            while self.step(next_look, watch) {}
        }
    }

    /// Lets the world run up to what is due next, and does that; false when nothing is due before `limit`, where
    /// the world is then.
    fn step(&mut self, limit: Instant, watch: &mut dyn Watch) -> bool {
        let act = self.agenda.first_key_value().map(|((at, _), _)| *at);
        let frame = self.streams.next_at();
        let due = [act, frame]
            .into_iter()
            .flatten()
            .min()
            .filter(|due| *due <= limit);
        let now = self.now();
        self.stage.world.run(due.unwrap_or(limit).since(now));
        match due {
            None => return false,
            Some(due) if act == Some(due) => self.act(watch),
            Some(_) => self.streams.send(&mut self.stage),
        }
        true
    }

    fn act(&mut self, watch: &mut dyn Watch) {
        let Some(((at, _), act)) = self.agenda.pop_first() else {
            return;
        };
        if let Some(text) = act.text() {
            watch.happened(at, None, &text);
            let traffic = self.stage.total_traffic();
            self.settling.event(at, text, traffic);
        }
        self.stage.perform(&act, &mut self.streams);
    }

    /// Looks at everything that is looked at now and then.
    fn look(&mut self, watch: &mut dyn Watch) {
        let now = self.now();
        self.stage.refresh();
        let Stage { truth, sight, .. } = &self.stage;
        let version = sight.version();
        self.settling.look(now, truth.members(), version, sight.settled());
        if self.filmed.replace(version) == Some(version) {
            self.film.pass(now.0 / 1000);
        } else {
            self.film
                .look(now.0 / 1000, sight.states(), sight.links().iter().copied());
        }
        if let Some(twice) = self.streams.collect(&mut self.stage) {
            self.fail("no frame comes twice", vec![twice]);
        }
        self.violations();
        self.expectations(now, watch);
        if watch.listens() {
            self.tell(watch);
        }
    }

    /// What happened since the last look that must never happen.
    fn violations(&mut self) {
        let violations = self.stage.new_violations();
        if !violations.is_empty() {
            self.fail("what must never happen does not happen", violations);
        }
    }

    fn expectations(&mut self, now: Instant, watch: &mut dyn Watch) {
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.retain_mut(|one| {
            let Expectation { at, within, hold, .. } = one.expectation;
            one.note_before(now, &self.stage);
            let from = Instant(0) + at.0;
            if now < from {
                return true;
            }
            let seen = looks::against(&one.expectation.what, one, &self.stage, &self.streams, now);
            let text = one.expectation.what.to_string();
            if seen.is_empty() {
                let since = *one.holds_since.get_or_insert(now);
                let is_done = now >= since + hold.0;
                if is_done {
                    watch.happened(now, None, &format!("as expected: {text}"));
                }
                return !is_done;
            }
            let was_so = one.holds_since.is_some();
            if was_so || now >= from + within.0 {
                let how = expected(&text, at, within, hold, was_so);
                self.fail(&how, seen);
                return false;
            }
            true
        });
        self.waiting = waiting;
    }

    /// After all that, routers hold no more than those explain who are or were there.
    fn sizes(&mut self) {
        self.violations();
        let grown = self.stage.world.grown();
        if !grown.is_empty() {
            self.fail("no table grows beyond what those explain who were there", grown);
        }
    }

    fn fail(&mut self, expected: &str, mut seen: Vec<String>) {
        if self.failures.len() >= MAX_FAILURES {
            return;
        }
        let more = seen.len().saturating_sub(MAX_SEEN);
        seen.truncate(MAX_SEEN);
        if more > 0 {
            seen.push(format!("… and {more} more"));
        }
        let Settings { peers, seed } = self.settings;
        self.failures.push(FailureReport {
            at_ms: self.now().0 / 1000,
            expected: expected.to_owned(),
            seen: seen.join("; "),
            replay: format!(
                "weft simulate {} --peers {peers} --seed {seed}",
                self.scenario.name
            ),
        });
    }

    /// Passes on what routers said since the last look.
    fn tell(&mut self, watch: &mut dyn Watch) {
        let now = self.now();
        for host in self.stage.world.hosts() {
            self.read_logs.resize(self.read_logs.len().max(host.0 + 1), 0);
            let Some(router) = self.stage.world.router(host) else {
                self.read_logs[host.0] = 0;
                continue;
            };
            let read = self.read_logs[host.0].min(router.said());
            let kept = router.log.len();
            let skip = kept.saturating_sub(router.said() - read);
            for (at, line) in router.log.iter().skip(skip) {
                watch.happened(*at, Some(host.0), &format!("{line:?}"));
            }
            self.read_logs[host.0] = router.said();
        }
        let _ = now;
    }

    fn outcome(mut self, before: Cost, is_whole: bool) -> Outcome {
        let now = self.now();
        self.stage.refresh();
        let total = self.stage.total_traffic();
        let events = self.settling.finish(total);
        let figures = Figures {
            frames_sent: self.streams.sent(),
            frames_lost: self.streams.lost(),
            frames_twice: self.streams.twice(),
            frames_unwell_converging: self.streams.unwell_in(&converging(&events, now)),
            messages_per_router: self.stage.per_router(total.all_sent().messages),
            bytes_per_router: self.stage.per_router(total.control_bytes() / 2),
            // What panicked is in no state to be asked for anything.
            stretch: is_whole.then(|| self.stage.stretch()).flatten(),
            virtual_time: now.since(Instant(0)),
            cost: Cost::now().since(before),
        };
        let report = Report {
            ok: self.failures.is_empty(),
            name: self.scenario.name.clone(),
            seed: self.settings.seed,
            trace_hash: self.stage.world.trace_hash().to_string(),
            peers: self.settings.peers,
            events,
            failures: self.failures,
            figures,
        };
        Outcome {
            report,
            film: self.film,
        }
    }
}

impl Waiting {
    /// Remembers how things were when the window before the expectation began.
    fn note_before(&mut self, now: Instant, stage: &Stage) {
        let Some(since) = looks::window(&self.expectation.what) else {
            return;
        };
        if self.sent_before.is_none() && now >= Instant(0) + since.0 {
            let hosts = stage.world.hosts();
            self.sent_before = Some(hosts.map(|host| stage.control_sent(host)).collect());
            self.churn_before = Some(stage.churn());
        }
    }
}

/// From each event until all knew the mesh as it then was, or to the next event.
fn converging(events: &[EventReport], end: Instant) -> Vec<(Instant, Instant)> {
    let starts = events.iter().map(|event| Instant(event.at_ms * 1000));
    let ends = starts.clone().skip(1).chain([end]);
    let spans = events.iter().zip(starts.zip(ends));
    spans
        .map(|(event, (start, end))| {
            let took = event.converged_ms.max.map(Duration::from_millis);
            (start, took.map_or(end, |took| start + took))
        })
        .collect()
}

/// What a panic said.
fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("panicked: {}", text.unwrap_or_default())
}

fn expected(text: &str, at: Time, within: Time, hold: Time, was_so: bool) -> String {
    if was_so {
        format!("{text}, from {at} on for {hold}")
    } else if within == Time::default() {
        format!("{text}, at {at}")
    } else {
        format!("{text}, within {within} of {at}")
    }
}

/// The host of a router of the scenario: they have the same numbers.
fn host(router: usize) -> HostId {
    HostId(router)
}
