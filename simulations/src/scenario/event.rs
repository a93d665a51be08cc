//! The timeline: what is done to the network and to routers.

use super::one_of::one_of;
use super::select::Select;
use super::values::{Jump, Time};
use super::wire::Profile;
use serde::{Deserialize, Serialize};
use std::fmt;

one_of! {
    /// Something that is done at a time.
    Event from RawEvent "RawEvent" {
        /// When, after the beginning.
        at: Time,
    }
    /// What is done.
    action: Action {
        /// From now on packets pass only inside each of these groups; who is in none forms one more with the others
        /// that are in none.
        partition Partition(Vec<Select>),
        /// Ends partitions, cuts, blocks and changes of wires: all of them, or those between two selections.
        heal Heal(Heal),
        /// No packets between any of the first and any of the second.
        cut Cut([Select; 2]),
        /// No packets from any of the first to any of the second; the other way they pass.
        block Block([Select; 2]),
        /// Cut and healed in turns.
        flap Flap(Flap),
        /// Wires become other than they were.
        wire Wire(Change),
        /// Processes are killed without a word.
        crash Crash(Select),
        /// Routers stop and say goodbye.
        stop Stop(Select),
        /// Crashed, stopped or running routers are launched; running ones are killed first.
        restart Restart(Restart),
        /// Routers that were not launched at the beginning come, spread over a time.
        join Join(Join),
        /// Hosts get new addresses; nobody tells the others.
        readdress Readdress(Select),
        /// The translators before these hosts restart: all their mappings get new ports.
        rebind Rebind(Select),
        /// A secret is made known to routers: `weft secret add`.
        add_secret AddSecret(SecretChange),
        /// Routers stop accepting a secret: `weft secret retire`.
        retire_secret RetireSecret(SecretChange),
        /// Processes stand still, and their clocks go on: a virtual machine is paused, a laptop sleeps.
        pause Pause(Pause),
        /// Clocks of hosts jump.
        clock Clock(ClockJump),
        /// A copy of a router's disk is put into a new host, which launches it.
        clone Clone(CloneOf),
        /// A member turns liar.
        lie Lie(Lie),
        /// A container comes to each of these hosts.
        attach Attach(Select),
        /// Each container of these hosts goes.
        detach Detach(Select),
    }
}

/// What is healed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "`true`, or two selections of routers")]
pub enum Heal {
    /// Everything.
    All(bool),
    /// What is between two selections.
    Between([Select; 2]),
}

/// A link that comes and goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flap {
    /// Whose.
    pub between: [Select; 2],
    /// From one cut to the next; it is cut for half of that.
    pub period: Time,
    /// When it ends, healed.
    pub until: Time,
}

/// Other wires.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Between whom.
    pub between: [Select; 2],
    /// Only from the first to the second.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub one_way: bool,
    /// How they become; what is not said stays.
    pub to: Profile,
}

/// What is on the disk of a router that is launched again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskState {
    /// What the last run left.
    #[default]
    Kept,
    /// Nothing: a new identity, the secret, what it was told to dial.
    Lost,
    /// What was on it when the scenario began.
    Old,
}

/// Routers launched again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restart {
    /// Which.
    pub routers: Select,
    /// With which disk.
    #[serde(default)]
    pub disk: DiskState,
}

/// A crowd that comes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// Who; not launched before.
    pub routers: Select,
    /// In how long.
    #[serde(default)]
    pub over: Time,
}

/// A secret and the routers it is about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretChange {
    /// Its name; `main` is the one that routers begin with.
    pub secret: String,
    /// On which routers.
    pub routers: Select,
}

/// Processes that stand still.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pause {
    /// Which.
    pub routers: Select,
    /// For how long.
    pub length: Time,
}

/// A jump of clocks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockJump {
    /// Whose.
    pub routers: Select,
    /// How far, `"1d"` or `"-1d"`.
    pub by: Jump,
}

/// A second router with the identity of another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloneOf {
    /// Whose disk.
    pub of: Select,
    /// Whom the clone dials.
    pub dial: Select,
}

/// How a member lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LieKind {
    /// It claims links, signed by itself, with routers it has none with.
    FalseLinks,
    /// It says again what others said earlier.
    OldRecords,
    /// It hands on records of others with the last byte changed.
    ForgedRecords,
    /// It says as much as it can, new records and nonsense.
    Flood,
    /// It makes up routers, each with keys of its own and the mesh's secret, and hands on their records.
    MintedOrigins,
    /// Any bytes, and damaged copies of real messages and datagrams, over links and to data ports, there in anybody's name.
    Garbage,
}

/// What a liar does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lie {
    /// Who lies.
    pub by: Select,
    /// How.
    pub kind: LieKind,
    /// How many records or messages in all.
    pub count: usize,
    /// Over how long.
    #[serde(default)]
    pub over: Time,
}

fn both(between: &[Select; 2]) -> String {
    format!("{} and {}", between[0], between[1])
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Partition(groups) => {
                let groups: Vec<_> = groups.iter().map(ToString::to_string).collect();
                write!(f, "partition {}", groups.join(" | "))
            }
            Self::Heal(Heal::All(_)) => write!(f, "heal"),
            Self::Heal(Heal::Between(pair)) => write!(f, "heal {}", both(pair)),
            Self::Cut(pair) => write!(f, "cut {}", both(pair)),
            Self::Block(pair) => write!(f, "block {} to {}", pair[0], pair[1]),
            Self::Flap(flap) => {
                let Flap {
                    between,
                    period,
                    until,
                } = flap;
                write!(f, "flap {} every {period} until {until}", both(between))
            }
            Self::Wire(change) => write!(f, "wire of {}: {}", both(&change.between), change.to),
            Self::Crash(routers) => write!(f, "crash {routers}"),
            Self::Stop(routers) => write!(f, "stop {routers}"),
            Self::Restart(Restart { routers, disk }) => match disk {
                DiskState::Kept => write!(f, "restart {routers}"),
                DiskState::Lost => write!(f, "restart {routers} with a new disk"),
                DiskState::Old => write!(f, "restart {routers} with an old disk"),
            },
            Self::Join(join) => write!(f, "join {} over {}", join.routers, join.over),
            Self::Readdress(routers) => write!(f, "new address for {routers}"),
            Self::Rebind(routers) => write!(f, "rebind before {routers}"),
            Self::AddSecret(change) => write!(f, "add secret {} on {}", change.secret, change.routers),
            Self::RetireSecret(change) => write!(f, "retire secret {} on {}", change.secret, change.routers),
            Self::Pause(pause) => write!(f, "pause {} for {}", pause.routers, pause.length),
            Self::Clock(jump) => write!(f, "clock of {} by {}", jump.routers, jump.by),
            Self::Clone(clone) => write!(f, "clone of {}", clone.of),
            Self::Lie(lie) => {
                let kind = match lie.kind {
                    LieKind::FalseLinks => "false links",
                    LieKind::OldRecords => "old records",
                    LieKind::ForgedRecords => "forged records",
                    LieKind::Flood => "messages in a flood",
                    LieKind::MintedOrigins => "minted origins",
                    LieKind::Garbage => "pieces of garbage",
                };
                write!(f, "{} {kind} by {}", lie.count, lie.by)
            }
            Self::Attach(hosts) => write!(f, "attach on {hosts}"),
            Self::Detach(hosts) => write!(f, "detach on {hosts}"),
        }
    }
}

impl Event {
    /// When its last change is done, if nothing is random about that.
    #[must_use]
    pub fn done(&self) -> Time {
        match &self.action {
            Action::Flap(flap) => flap.until.max(self.at),
            Action::Join(join) => Time(self.at.0 + join.over.0),
            Action::Lie(lie) => Time(self.at.0 + lie.over.0),
            Action::Pause(pause) => Time(self.at.0 + pause.length.0),
            _ => self.at,
        }
    }
}

impl Action {
    /// Calls with each selection of routers in it.
    pub(crate) fn selects(&mut self, each: &mut dyn FnMut(&mut Select)) {
        match self {
            Self::Partition(groups) => groups.iter_mut().for_each(each),
            Self::Heal(Heal::All(_)) => {}
            Self::Heal(Heal::Between(pair)) | Self::Cut(pair) | Self::Block(pair) => {
                pair.iter_mut().for_each(each);
            }
            Self::Flap(flap) => flap.between.iter_mut().for_each(each),
            Self::Wire(change) => change.between.iter_mut().for_each(each),
            Self::Crash(routers)
            | Self::Stop(routers)
            | Self::Readdress(routers)
            | Self::Rebind(routers)
            | Self::Attach(routers)
            | Self::Detach(routers)
            | Self::Restart(Restart { routers, .. })
            | Self::Join(Join { routers, .. })
            | Self::AddSecret(SecretChange { routers, .. })
            | Self::RetireSecret(SecretChange { routers, .. })
            | Self::Pause(Pause { routers, .. })
            | Self::Clock(ClockJump { routers, .. })
            | Self::Lie(Lie { by: routers, .. }) => each(routers),
            Self::Clone(clone) => [&mut clone.of, &mut clone.dial].into_iter().for_each(each),
        }
    }
}
