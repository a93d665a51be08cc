//! Frames that containers send, and what became of each.

use super::host;
use super::stage::Stage;
use crate::scenario::Scenario;
use crate::{ContainerId, HostId, number_of};
use mesh::{Instant, Mac};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

/// A frame that was sent.
#[derive(Debug, Clone)]
struct Sent {
    at: Instant,
    stream: usize,
    /// Hosts whose containers should get it, and how often each did.
    to: Vec<(ContainerId, u32)>,
    /// Whether sender and receivers could reach each other when it was sent.
    could_come: bool,
}

/// One pair, or one sender of broadcast.
#[derive(Debug)]
struct Flow {
    stream: usize,
    from: HostId,
    to: Option<HostId>,
    every: Duration,
    size: usize,
    stop: Option<Instant>,
}

/// All streams of a scenario.
#[derive(Debug)]
pub(super) struct Streams {
    names: Vec<String>,
    flows: Vec<Flow>,
    due: BinaryHeap<Reverse<(Instant, usize)>>,
    sent: BTreeMap<u64, Sent>,
    count: u64,
    twice: u64,
}

/// How much of a stream came.
pub(super) struct Came {
    pub(super) sent: u64,
    pub(super) came: u64,
    /// The first few that did not, for people.
    pub(super) missing: Vec<String>,
}

impl Streams {
    pub(super) fn new(scenario: &Scenario, stage: &Stage) -> Self {
        let mut streams = Self {
            names: Vec::new(),
            flows: Vec::new(),
            due: BinaryHeap::new(),
            sent: BTreeMap::new(),
            count: 0,
            twice: 0,
        };
        for (at, traffic) in scenario.traffic.iter().enumerate() {
            let traffic = traffic.get_ref();
            streams.names.push(traffic.name.clone());
            let from = stage.select(&traffic.from, "stream from", at);
            let to = traffic.to.as_ref().map(|to| stage.select(to, "stream to", at));
            for &sender in &from {
                let receivers: Vec<Option<usize>> = match &to {
                    None => vec![None],
                    Some(to) => to
                        .iter()
                        .filter(|to| **to != sender)
                        .map(|to| Some(*to))
                        .collect(),
                };
                for receiver in receivers {
                    let flow = Flow {
                        stream: at,
                        from: host(sender),
                        to: receiver.map(host),
                        every: traffic.every.0.max(Duration::from_micros(10)),
                        size: traffic.size,
                        stop: traffic.stop.map(|stop| Instant(0) + stop.0),
                    };
                    let first = Instant(0) + traffic.start.0;
                    streams.due.push(Reverse((first, streams.flows.len())));
                    streams.flows.push(flow);
                }
            }
        }
        streams
    }

    /// When the next frame is sent.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((at, _))| *at)
    }

    /// Sends what is due.
    pub(super) fn send(&mut self, stage: &mut Stage) {
        let Some(Reverse((at, number))) = self.due.pop() else {
            return;
        };
        let flow = &self.flows[number];
        let next = at + flow.every;
        if flow.stop.is_none_or(|stop| next < stop) {
            self.due.push(Reverse((next, number)));
        }
        if flow.stop.is_some_and(|stop| at >= stop) {
            return;
        }
        let containers = stage.live_containers();
        let of = |host: HostId| {
            containers
                .iter()
                .copied()
                .find(|container| container.host == host)
        };
        let Some(from) = of(flow.from) else { return };
        let (size, stream, to) = (flow.size, flow.stream, flow.to);
        self.frame(stage, stream, from, to.map(of), size);
    }

    /// Sends one frame: to a container that may not be there, or, `None`, to all.
    fn frame(
        &mut self,
        stage: &mut Stage,
        stream: usize,
        from: ContainerId,
        to: Option<Option<ContainerId>>,
        size: usize,
    ) {
        let at = stage.world.now();
        self.count += 1;
        let number = self.count;
        let receivers: Vec<_> = match to {
            Some(to) => to.into_iter().collect(),
            None => {
                let others = stage.live_containers().into_iter();
                others
                    .filter(|to| *to != from && stage.truth.joins(from.host, to.host))
                    .collect()
            }
        };
        let could_come =
            !receivers.is_empty() && receivers.iter().all(|to| stage.truth.joins(from.host, to.host));
        let mac = match to {
            Some(Some(to)) => stage.world.container(to).mac,
            Some(None) => return,
            None => Mac::BROADCAST,
        };
        let frame = stage.world.container(from).frame(mac, number, size);
        stage.world.send(from, &frame);
        let to = receivers.into_iter().map(|to| (to, 0)).collect();
        self.sent.insert(
            number,
            Sent {
                at,
                stream,
                to,
                could_come,
            },
        );
    }

    /// One broadcast from each of these containers; returns their numbers.
    pub(super) fn broadcast(&mut self, stage: &mut Stage, senders: &[ContainerId], size: usize) -> Vec<u64> {
        let first = self.count;
        for from in senders {
            self.frame(stage, usize::MAX, *from, None, size);
        }
        (first + 1..=self.count).collect()
    }

    /// What stands against each of these frames having come exactly once.
    pub(super) fn not_once(&self, numbers: &[u64]) -> Vec<String> {
        let sent = numbers.iter().filter_map(|number| self.sent.get(number));
        let wrong = sent.flat_map(|sent| sent.to.iter().filter(|(_, count)| *count != 1));
        wrong
            .map(|(to, count)| format!("host {} got a broadcast {count} times", to.host.0))
            .collect()
    }

    /// Takes in what containers received. Says so if a frame came to one of them twice.
    pub(super) fn collect(&mut self, stage: &mut Stage) -> Option<String> {
        let mut twice = None;
        for container in stage.world.containers() {
            for received in std::mem::take(&mut stage.world.container_mut(container).received) {
                let Some(sent) = number_of(&received.frame).and_then(|number| self.sent.get_mut(&number))
                else {
                    continue;
                };
                match sent.to.iter_mut().find(|(to, _)| *to == container) {
                    Some((_, count)) => *count += 1,
                    None => sent.to.push((container, 1)),
                }
                let count = sent
                    .to
                    .iter()
                    .find(|(to, _)| *to == container)
                    .map_or(0, |(_, count)| *count);
                if count > 1 {
                    self.twice += 1;
                    let stream = self.names.get(sent.stream).map_or("a broadcast", String::as_str);
                    twice.get_or_insert_with(|| {
                        format!(
                            "a frame of {stream}, sent at {} ms, came to host {} {count} times",
                            sent.at.0 / 1000,
                            container.host.0
                        )
                    });
                }
            }
        }
        twice
    }

    /// What became of a stream's frames that were sent in a time.
    pub(super) fn came(&self, name: &str, since: Instant, until: Instant) -> Came {
        let stream = self.names.iter().position(|own| own == name);
        let mut came = Came {
            sent: 0,
            came: 0,
            missing: Vec::new(),
        };
        let in_time = |sent: &&Sent| Some(sent.stream) == stream && sent.at >= since && sent.at < until;
        for sent in self.sent.values().filter(in_time) {
            for (to, count) in &sent.to {
                came.sent += 1;
                came.came += u64::from(*count > 0);
                if *count == 0 && came.missing.len() < 5 {
                    let at = sent.at.0 / 1000;
                    came.missing
                        .push(format!("sent at {at} ms, it never came to host {}", to.host.0));
                }
            }
        }
        came
    }

    /// Frames sent while they could come.
    pub(super) fn sent(&self) -> u64 {
        self.all().count() as u64
    }

    /// Those of them that did not.
    pub(super) fn lost(&self) -> u64 {
        self.all().filter(|count| *count == 0).count() as u64
    }

    /// Those that were lost, or came more than once, and had been sent in one of these times.
    pub(super) fn unwell_in(&self, times: &[(Instant, Instant)]) -> u64 {
        let is_in = |sent: &&Sent| times.iter().any(|(from, to)| (*from..*to).contains(&sent.at));
        let could = self.sent.values().filter(|sent| sent.could_come).filter(is_in);
        could
            .flat_map(|sent| &sent.to)
            .filter(|(_, count)| *count != 1)
            .count() as u64
    }

    /// Those that came more than once.
    pub(super) fn twice(&self) -> u64 {
        self.twice
    }

    fn all(&self) -> impl Iterator<Item = u32> + '_ {
        let could = self.sent.values().filter(|sent| sent.could_come);
        could.flat_map(|sent| sent.to.iter().map(|(_, count)| *count))
    }
}
