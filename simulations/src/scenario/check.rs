//! What can't be right about a file that can be read: groups that are not there, times out of order, numbers out of
//! range.

use super::select::is_name;
use super::{
    Action, Event, Expectation, Expected, Heal, MAIN_SECRET, SMALLEST_FRAME, Scenario, ScenarioError, Select,
    Time, Wires,
};
use crate::Random;
use mesh::DropReason;
use std::collections::BTreeMap;
use std::ops::Range;
use toml::Spanned;

/// Routers in a scenario at most: more than any figure asks for.
const MOST_PEERS: usize = 100_000;
/// The longest scenario.
const LONGEST: Time = Time::secs(7 * 86400);
/// The shortest distance between frames or flaps.
const SHORTEST: Time = Time::ms(1);

/// What TOML's reader says, with the line and the key that stands there.
pub(super) fn from_toml(text: &str, error: &toml::de::Error) -> ScenarioError {
    let line = error.span().map(|span| line_of(text, span.start));
    let key = line
        .and_then(|line| text.lines().nth(line - 1))
        .and_then(key_of)
        .filter(|key| !error.message().contains(&format!("`{key}`")));
    ScenarioError {
        line,
        key,
        what: error.message().replace('\n', " "),
    }
}

fn line_of(text: &str, at: usize) -> usize {
    let before = text.as_bytes().iter().take(at);
    1 + before.filter(|byte| **byte == b'\n').count()
}

/// What stands before the equals sign, or in a header's brackets.
fn key_of(line: &str) -> Option<String> {
    let line = line.trim();
    let key = match line.strip_prefix('[') {
        Some(header) => header.trim_matches(['[', ']']),
        None => line.split_once('=')?.0,
    };
    Some(key.trim().to_owned()).filter(|key| !key.is_empty())
}

/// A check in progress.
struct Check<'a> {
    scenario: &'a Scenario,
    text: &'a str,
    groups: BTreeMap<String, Vec<usize>>,
}

impl Scenario {
    pub(super) fn check(&self, text: &str) -> Result<(), ScenarioError> {
        let top = |key: &str, what: String| ScenarioError {
            line: text
                .lines()
                .position(|line| {
                    key_of(line).is_some_and(|found| found == key || line.trim_start().starts_with(key))
                })
                .map(|at| at + 1),
            key: Some(key.to_owned()),
            what,
        };
        let fits = self.name.len() <= 60 && is_name(&self.name);
        if !fits || self.name.ends_with('-') {
            return Err(top(
                "name",
                "a name has lower-case letters, digits and hyphens".into(),
            ));
        }
        if self.about.trim().is_empty() {
            return Err(top("about", "say in a sentence what it is about".into()));
        }
        let peers = self.peers;
        if peers.min == 0 || peers.min > peers.default || peers.default > peers.max || peers.max > MOST_PEERS
        {
            let what = format!("1 ≤ min ≤ default ≤ max ≤ {MOST_PEERS} must hold");
            return Err(top("peers", what));
        }
        if let Some((key, what)) = self.topology.fault() {
            return Err(top(key, what));
        }
        if let Some(beyond) = self
            .topology
            .edges
            .iter()
            .flatten()
            .flatten()
            .find(|end| **end >= peers.min)
        {
            return Err(top(
                "edges",
                format!("router {beyond}, but there may be only {}", peers.min),
            ));
        }
        if self.end() > LONGEST {
            return Err(top(
                "until",
                format!("it would last {}; at most {LONGEST}", self.end()),
            ));
        }
        for (name, select) in &self.groups {
            if !is_name(name) || ["all", "last", "random", "main"].contains(&name.as_str()) {
                return Err(top(
                    name,
                    "no name for a group: lower-case letters, digits, hyphens, no word of the language"
                        .into(),
                ));
            }
            if select.groups().next().is_some() {
                return Err(top(name, "a group is not made of groups".into()));
            }
        }
        // At the smallest size, then at the largest: shares may be empty at one, numbers beyond the other.
        for size in [peers.min, peers.default] {
            let groups = self
                .resolved_groups(size, &mut Random::new(0))
                .map_err(|what| top("groups", what))?;
            Check {
                scenario: self,
                text,
                groups,
            }
            .all(size)?;
        }
        Ok(())
    }

    /// The routers of each group.
    pub(crate) fn resolved_groups(
        &self,
        peers: usize,
        random: &mut Random,
    ) -> Result<BTreeMap<String, Vec<usize>>, String> {
        let mut groups = self.topology.groups(peers);
        for (at, (name, select)) in self.groups.iter().enumerate() {
            let mut random = random.fork("group", at as u64);
            let routers = select.resolve(peers, &BTreeMap::new(), &mut random);
            groups.insert(name.clone(), routers.map_err(|what| format!("{name}: {what}"))?);
        }
        Ok(groups)
    }
}

impl Check<'_> {
    fn fault(&self, span: Range<usize>, key: &str, what: impl Into<String>) -> ScenarioError {
        // The line of the key itself, if it is to be found in the table.
        let table = self.text.get(span.clone()).unwrap_or_default();
        let inside = table
            .split_inclusive('\n')
            .scan(0, |at, line| {
                let start = *at;
                *at += line.len();
                Some((start, line))
            })
            .find(|(_, line)| line.trim_start().starts_with(key))
            .map_or(0, |(at, _)| at);
        ScenarioError {
            line: (!self.text.is_empty()).then(|| line_of(self.text, span.start + inside)),
            key: Some(key.to_owned()),
            what: what.into(),
        }
    }

    fn select(
        &self,
        peers: usize,
        span: &Range<usize>,
        key: &str,
        select: &Select,
    ) -> Result<Vec<usize>, ScenarioError> {
        select
            .resolve(peers, &self.groups, &mut Random::new(0))
            .map_err(|what| self.fault(span.clone(), key, what))
    }

    fn all(&self, peers: usize) -> Result<(), ScenarioError> {
        let scenario = self.scenario;
        if let Some(dial) = &scenario.routers.dial {
            self.select(peers, &(0..0), "dial", dial)?;
        }
        for wires in &scenario.wires {
            self.wires(peers, wires)?;
        }
        let mut behind = vec![false; peers];
        for nat in &scenario.nat {
            let (span, nat) = (nat.span(), nat.get_ref());
            for router in self.select(peers, &span, "which", &nat.which)? {
                if std::mem::replace(&mut behind[router], true) {
                    let what = format!("router {router} is behind two translators");
                    return Err(self.fault(span, "which", what));
                }
            }
        }
        for router in &scenario.router {
            let (span, router) = (router.span(), router.get_ref());
            self.select(peers, &span, "which", &router.which)?;
            if let Some(dial) = &router.is.dial {
                self.select(peers, &span, "dial", dial)?;
            }
            self.options(&span, &router.is)?;
        }
        self.options(&(0..0), &scenario.routers)?;
        for traffic in &scenario.traffic {
            let (span, traffic) = (traffic.span(), traffic.get_ref());
            self.select(peers, &span, "from", &traffic.from)?;
            if let Some(to) = &traffic.to {
                self.select(peers, &span, "to", to)?;
            }
            if !is_name(&traffic.name) {
                return Err(self.fault(
                    span,
                    "name",
                    "a stream's name has lower-case letters, digits and hyphens",
                ));
            }
            let same = scenario
                .traffic
                .iter()
                .filter(|other| other.get_ref().name == traffic.name);
            if same.count() > 1 {
                return Err(self.fault(span, "name", format!("there are two streams {:?}", traffic.name)));
            }
            if traffic.every < SHORTEST {
                return Err(self.fault(span, "every", format!("at least {SHORTEST}")));
            }
            if !(SMALLEST_FRAME..=1404).contains(&traffic.size) {
                return Err(self.fault(
                    span,
                    "size",
                    format!("frames have {SMALLEST_FRAME} to 1404 bytes"),
                ));
            }
            if traffic.stop.is_some_and(|stop| stop < traffic.start) {
                return Err(self.fault(span, "stop", "it stops before it starts"));
            }
        }
        for event in &scenario.event {
            self.event(peers, event)?;
        }
        for expect in &scenario.expect {
            self.expect(peers, expect)?;
        }
        Ok(())
    }

    fn options(&self, span: &Range<usize>, options: &super::RouterOptions) -> Result<(), ScenarioError> {
        let secrets = options.secrets.as_deref();
        if secrets.is_some_and(|secrets| {
            !(1..=2).contains(&secrets.len()) || !secrets.iter().all(|name| is_name(name))
        }) {
            return Err(self.fault(span.clone(), "secrets", "one or two names"));
        }
        if options.containers.is_some_and(|containers| containers > 200) {
            return Err(self.fault(span.clone(), "containers", "at most 200 on a host"));
        }
        if options.versions.is_some_and(|(least, most)| least > most) {
            return Err(self.fault(span.clone(), "versions", "the lowest first"));
        }
        if options.max_links == Some(0) {
            return Err(self.fault(span.clone(), "max_links", "at least 1"));
        }
        for subnet in options.trusted.iter().flatten() {
            if super::values::subnet(subnet).is_none() {
                return Err(self.fault(
                    span.clone(),
                    "trusted",
                    format!("{subnet:?} is no subnet such as \"10.0.0.0/8\""),
                ));
            }
        }
        Ok(())
    }

    fn wires(&self, peers: usize, wires: &Spanned<Wires>) -> Result<(), ScenarioError> {
        let (span, wires) = (wires.span(), wires.get_ref());
        match (&wires.between, wires.class) {
            (Some(between), None) => {
                for select in between {
                    self.select(peers, &span, "between", select)?;
                }
                Ok(())
            }
            (None, Some(_)) if self.scenario.topology.clusters.is_some() && !wires.one_way => Ok(()),
            (None, Some(_)) => Err(self.fault(
                span,
                "class",
                "only a topology of clusters has classes, and they go both ways",
            )),
            _ => Err(self.fault(span, "between", "say between whom, or which class, one of both")),
        }
    }

    fn event(&self, peers: usize, event: &Spanned<Event>) -> Result<(), ScenarioError> {
        let (span, event) = (event.span(), event.get_ref());
        let key = event.action.key();
        let fault = |what: &str| Err(self.fault(span.clone(), key, what));
        let select = |of: &Select| self.select(peers, &span, key, of);
        let secret = |name: &str| is_name(name);
        match &event.action {
            Action::Partition(groups) => {
                if groups.len() < 2 {
                    return fault("a partition has at least two groups");
                }
                let mut seen = vec![false; peers];
                for of in groups {
                    for router in select(of)? {
                        if std::mem::replace(&mut seen[router], true) {
                            return fault(&format!("router {router} is in two groups"));
                        }
                    }
                }
            }
            Action::Heal(Heal::All(false)) => {
                return fault("it heals all with `true`, or names two selections");
            }
            Action::Heal(Heal::All(true)) => {}
            Action::Heal(Heal::Between(pair)) | Action::Cut(pair) | Action::Block(pair) => {
                select(&pair[0])?;
                select(&pair[1])?;
            }
            Action::Wire(change) => {
                select(&change.between[0])?;
                select(&change.between[1])?;
            }
            Action::Flap(flap) => {
                select(&flap.between[0])?;
                select(&flap.between[1])?;
                if flap.period < SHORTEST || flap.until <= event.at {
                    return fault("its period is at least 1ms, and it ends after it begins");
                }
            }
            Action::Crash(of)
            | Action::Stop(of)
            | Action::Readdress(of)
            | Action::Rebind(of)
            | Action::Attach(of)
            | Action::Detach(of) => {
                select(of)?;
            }
            Action::Restart(restart) => {
                select(&restart.routers)?;
            }
            Action::Join(join) => {
                select(&join.routers)?;
            }
            Action::AddSecret(change) | Action::RetireSecret(change) => {
                select(&change.routers)?;
                if !secret(&change.secret) {
                    return fault("a secret's name has lower-case letters, digits and hyphens");
                }
            }
            Action::Pause(pause) => {
                select(&pause.routers)?;
            }
            Action::Clock(jump) => {
                select(&jump.routers)?;
            }
            Action::Clone(clone) => {
                select(&clone.dial)?;
                if select(&clone.of)?.len() != 1 {
                    return fault("one router is cloned");
                }
            }
            Action::Lie(lie) => {
                select(&lie.by)?;
                if lie.count == 0 || lie.count > 1_000_000 {
                    return fault("count is 1 to 1000000");
                }
            }
        }
        if self.scenario.until.is_some_and(|until| event.done() > until) {
            return Err(self.fault(span.clone(), "at", "it is done after the scenario's `until`"));
        }
        Ok(())
    }

    fn expect(&self, peers: usize, expect: &Spanned<Expectation>) -> Result<(), ScenarioError> {
        let (span, expect) = (expect.span(), expect.get_ref());
        let key = expect.what.key();
        let fault = |what: String| Err(self.fault(span.clone(), key, what));
        let select = |of: &Select| self.select(peers, &span, key, of);
        match &expect.what {
            Expected::Converged(of) => {
                select(of)?;
            }
            Expected::Reachable(pair)
            | Expected::Unreachable(pair)
            | Expected::Routable(pair)
            | Expected::Direct(pair)
            | Expected::Relayed(pair)
            | Expected::Linked(pair)
            | Expected::Unlinked(pair)
            | Expected::SessionSecret(super::SessionSecret { between: pair, .. }) => {
                select(&pair[0])?;
                select(&pair[1])?;
            }
            Expected::Path(path) => {
                if path.len() < 2 || path.iter().any(|router| *router >= peers) {
                    return fault("a path has at least two routers that are there".into());
                }
            }
            Expected::Links(super::LinkCount { of, min, max })
            | Expected::Known(super::Known { of, min, max }) => {
                select(of)?;
                if min > max {
                    return fault("min is more than max".into());
                }
            }
            Expected::NoLinkChurn(window) => {
                select(&window.of)?;
                if window.since >= expect.at {
                    return fault("since when? Earlier than `at`".into());
                }
            }
            Expected::Delivered(delivered) => {
                let mut streams = self.scenario.traffic.iter().map(toml::Spanned::get_ref);
                if !streams.any(|traffic| traffic.name == delivered.stream) {
                    return fault(format!("there is no stream {:?}", delivered.stream));
                }
            }
            Expected::ControlBytes(bytes) => {
                select(&bytes.of)?;
                if bytes.since >= expect.at {
                    return fault("since when? Earlier than `at`".into());
                }
            }
            Expected::Refused(refused) => {
                select(&refused.by)?;
                if !DropReason::ALL
                    .iter()
                    .any(|reason| reason.name() == refused.reason)
                {
                    return fault(format!("there is no reason {:?}", refused.reason));
                }
            }
            Expected::DialError(error) => {
                select(&error.of)?;
            }
        }
        if let Expected::SessionSecret(session) = &expect.what
            && session.secret != MAIN_SECRET
            && !self.scenario.event.iter().any(|event| {
                matches!(&event.get_ref().action, Action::AddSecret(change) if change.secret == session.secret)
            })
        {
            return fault(format!("nobody is ever given the secret {:?}", session.secret));
        }
        if self.scenario.until.is_some_and(|until| expect.at > until) {
            return Err(self.fault(span.clone(), "at", "it is expected after the scenario's `until`"));
        }
        Ok(())
    }
}
