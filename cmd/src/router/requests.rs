//! Answers to what the verbs ask.

use super::containers::Answer;
use super::{Pings, Router, Waiting};
use crate::control::{Command, Echo, Found, PingPath, Refused, Request};
use crate::net::normal_target;
use mesh::{Input, Instant, PeerId};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::oneshot;

/// How long a ping over the control plane may take. Sleeve times its own.
const CONTROL_PATIENCE: Duration = Duration::from_secs(3);

impl Router {
    /// Does what a verb asks; the answer may come later.
    pub(crate) fn command(&mut self, command: Command) {
        match command {
            Command::Ask { request, answer } => self.ask(request, answer),
            Command::Find { peer, answer } => {
                let found = self.find(&peer).map(|peer| Found {
                    peer,
                    name: self.name(&peer),
                    route: self.mesh.data_path(&peer).unwrap_or_default(),
                });
                let _ = answer.send(found);
            }
            Command::Ping { peer, how, answer } => self.ping(peer, how, answer),
        }
    }

    fn ask(&mut self, request: Request, answer: Answer) {
        let result = match request {
            Request::Attach {
                mut container,
                addresses,
                names,
            } => {
                container.names = names;
                return self.attach(*container, &addresses, answer);
            }
            Request::Dns(request) => self.dns(request),
            Request::Allocate {
                network,
                holder,
                want,
            } => {
                return self.allocate_alone(network.as_deref(), holder, want, answer);
            }
            Request::Release { network, holder } => self
                .release_alone(network.as_deref(), &holder)
                .map(|()| Value::Null),
            Request::CollectAddresses { prefix, keep } => {
                self.collect_addresses(&prefix, &keep);
                Ok(Value::Null)
            }
            Request::SetNames { key, name, names } => return self.set_names(&key, name, names, answer),
            Request::Detach { container } => return self.detach(&container, answer),
            Request::Attached { key } => self.attached(&key),
            Request::DetachKey { key } => return self.detach_all(|other| other == key, answer),
            Request::Collect { prefix, keep } => {
                let is_over =
                    |other: &str| other.starts_with(&prefix) && !keep.iter().any(|key| key == other);
                return self.detach_all(is_over, answer);
            }
            Request::Expose { addresses, network } => {
                return self.expose(&addresses, network.as_deref(), answer);
            }
            Request::Hide { network } => return self.hide(network.as_deref(), answer),
            Request::Network(request) => return self.network_request(request, answer),
            Request::Ready => return drop(answer.send(self.ready())),
            Request::Ps => Ok(self.ps()),
            Request::Ipam { network } => self.ipam(network.as_deref()),
            Request::Reclaim { peer } => return self.reclaim(&peer, answer),
            Request::Status => return self.status_when_counted(answer),
            Request::Reset => return self.reset(answer),
            Request::Connect { replace, targets } => self.connect(replace, &targets),
            Request::Forget { peers } => self.forget(&peers),
            Request::SecretAdd { token } => return self.secret_add(&token, answer),
            Request::SecretList => Ok(self.secret_list()),
            Request::SecretRetire { id, force } => return self.secret_retire(&id, force, answer),
            Request::Invite => self.invite(),
            Request::Id => Ok(json!(self.settings.id.to_string())),
            Request::Stop => {
                self.stopping = true;
                Ok(Value::Null)
            }
            Request::Ping { .. } | Request::Trace { .. } => {
                Err("answered by the connection's own task".into())
            }
        };
        let _ = answer.send(result.map_err(Refused::from));
    }

    fn connect(&mut self, replace: bool, targets: &[String]) -> Result<Value, String> {
        let targets: Result<Vec<_>, _> = targets.iter().map(|target| normal_target(target)).collect();
        self.feed(Input::Connect {
            targets: targets?,
            replace,
        });
        Ok(Value::Null)
    }

    /// Each text is an address that is dialled, or names a router. Nothing is forgotten if one is neither.
    fn forget(&mut self, texts: &[String]) -> Result<Value, String> {
        let targets = self.mesh.targets();
        let mut inputs = Vec::new();
        for text in texts {
            let address = normal_target(text).ok();
            let target = targets.iter().find(|target| {
                target.target == *text || address.as_ref().is_some_and(|address| target.target == *address)
            });
            let peer = match target {
                Some(target) => {
                    inputs.push(Input::ForgetTarget {
                        target: target.target.clone(),
                    });
                    target.peer
                }
                None => Some(
                    self.find(text)
                        .map_err(|error| format!("{text} is no target, and {error}"))?,
                ),
            };
            inputs.extend(peer.map(|peer| Input::ForgetPeer { peer }));
        }
        inputs.into_iter().for_each(|input| self.feed(input));
        Ok(Value::Null)
    }

    fn ping(&mut self, peer: PeerId, how: PingPath, answer: oneshot::Sender<Result<Echo, String>>) {
        let sent = self.shore.clock.now();
        if peer == self.settings.id {
            let _ = answer.send(Ok(Echo {
                rtt: Duration::ZERO,
                path: vec![self.settings.name.clone()],
            }));
            return;
        }
        let id = self.pings.add(Waiting {
            peer,
            sent,
            how,
            answer,
        });
        match how {
            PingPath::Data(hops) => self.feed_sleeve(sleeve::Input::Ping { id, peer, hops }),
            PingPath::Control if self.mesh.control_path(&peer).is_some() => self.control_ping(id, peer),
            PingPath::Control => self
                .pings
                .finish(id, Err("there is no way to it over the control plane".into())),
        }
    }
}

impl Pings {
    fn add(&mut self, waiting: Waiting) -> u64 {
        self.next += 1;
        self.waiting.insert(self.next, waiting);
        self.next
    }

    /// When the ping was sent to `peer`, and which way.
    pub(crate) fn sent(&self, id: u64, peer: PeerId) -> Option<(Instant, PingPath)> {
        self.waiting
            .get(&id)
            .filter(|waiting| waiting.peer == peer)
            .map(|waiting| (waiting.sent, waiting.how))
    }

    /// Answers the one who asked, if still there.
    pub(crate) fn finish(&mut self, id: u64, result: Result<Echo, String>) {
        if let Some(waiting) = self.waiting.remove(&id) {
            let _ = waiting.answer.send(result);
        }
    }

    fn deadlines(&self) -> impl Iterator<Item = (u64, Instant)> {
        let over_control = self
            .waiting
            .iter()
            .filter(|(_, waiting)| matches!(waiting.how, PingPath::Control));
        over_control.map(|(id, waiting)| (*id, waiting.sent + CONTROL_PATIENCE))
    }

    /// When the next ping over the control plane counts as lost.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines().map(|(_, at)| at).min()
    }

    /// Gives up those that took too long.
    pub(crate) fn expire(&mut self, now: Instant) {
        let late: Vec<_> = self
            .deadlines()
            .filter(|(_, at)| *at <= now)
            .map(|(id, _)| id)
            .collect();
        for id in late {
            self.finish(
                id,
                Err(format!("no answer within {} s", CONTROL_PATIENCE.as_secs())),
            );
        }
    }
}
