//! Scenarios: a network, routers, what is done to them and what is expected, as a TOML file.
//!
//! `docs/scenarios.md` says how to write one. [`Scenario::parse`] is strict: an unknown key, a value that means
//! nothing, a group that is not there are errors that name the line.
//!
//! | file | subject |
//! |---|---|
//! | `values`, `select` | times, shares, sizes; which routers |
//! | `topology`, `wire`, `nat` | who can exchange packets, how well, and past which translators |
//! | `event`, `expect` | the timeline, and what must come of it |
//! | `check` | what can't be right about a file that can be read |
//! | `run/` | plays a scenario, and says what came of it |
//! | `builtin` | the scenarios that come with the program |

mod builtin;
mod check;
mod event;
mod expect;
mod nat;
mod one_of;
mod run;
mod select;
mod topology;
mod values;
mod wire;

pub use builtin::{builtin, builtins};
pub use event::{
    Action, Change, ClockJump, CloneOf, DiskState, Event, Flap, Heal, Join, Lie, LieKind, Pause, Restart,
    SecretChange,
};
pub use expect::{
    ControlBytes, Delivered, DialError, Expectation, Expected, Known, LinkCount, Refused, SessionSecret,
    Window,
};
pub use nat::Nat;
pub use run::{Converged, EventReport, FailureReport, Figures, Outcome, Report, Settings, Watch, run};
pub use select::{Select, Term, Which};
pub use topology::{Ground, Shape, Topology};
pub use values::{Bytes, Delay, Jump, Rate, Share, Time};
pub use wire::{Class, Profile, Wires};

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use toml::Spanned;

/// The name of the secret with which routers begin.
pub const MAIN_SECRET: &str = "main";
/// Traffic frames are at least so long: Ethernet header, number and marker.
pub const SMALLEST_FRAME: usize = 46;

/// A scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its name: lower-case letters, digits, hyphens.
    pub name: String,
    /// What it is about, in a sentence.
    pub about: String,
    /// How many routers.
    pub peers: Peers,
    /// When it ends. Default: when everything in it is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
    /// What stands behind handshakes and sealed packets.
    #[serde(default, skip_serializing_if = "Crypto::is_real")]
    pub crypto: Crypto,
    /// Who can exchange packets.
    #[serde(default)]
    pub topology: Topology,
    /// Selections with a name. One that draws does so once, at the beginning.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub groups: BTreeMap<String, Select>,
    /// All wires.
    #[serde(default)]
    pub wire: Profile,
    /// Some wires; later ones count more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wires: Vec<Spanned<Wires>>,
    /// Translators, each with some routers behind it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nat: Vec<Spanned<Nat>>,
    /// All routers.
    #[serde(default)]
    pub routers: RouterOptions,
    /// Some routers; later ones count more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub router: Vec<Spanned<SomeRouters>>,
    /// What containers send.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub traffic: Vec<Spanned<Traffic>>,
    /// What is done, in any order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub event: Vec<Spanned<Event>>,
    /// What is expected, in any order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expect: Vec<Spanned<Expectation>>,
    /// What is looked at when all is over.
    #[serde(default)]
    pub rest: Rest,
}

/// What stands behind handshakes and sealed packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Crypto {
    /// X25519 and the ciphers of the daemon.
    #[default]
    Real,
    /// [`crypto::fake`]: the same lengths and refusals for a fraction of the time.
    Fake,
}

impl Crypto {
    #[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
    fn is_real(&self) -> bool {
        *self == Self::Real
    }
}

/// How many routers: a number, or one to begin with and the range in which the scenario makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "RawPeers")]
pub struct Peers {
    /// Unless `--peers` says otherwise.
    pub default: usize,
    /// At least.
    pub min: usize,
    /// At most.
    pub max: usize,
}

/// As it is written.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "a number of routers, or { default = …, min = …, max = … }"
)]
enum RawPeers {
    Number(usize),
    Range(PeerRange),
}

/// As it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PeerRange {
    default: usize,
    min: Option<usize>,
    max: Option<usize>,
}

impl From<RawPeers> for Peers {
    fn from(raw: RawPeers) -> Self {
        let range = match raw {
            RawPeers::Number(default) => PeerRange {
                default,
                min: None,
                max: None,
            },
            RawPeers::Range(range) => range,
        };
        Self {
            default: range.default,
            min: range.min.unwrap_or(range.default),
            max: range.max.unwrap_or(range.default),
        }
    }
}

/// How a router is set up. What is not said is as for all routers, or as `weft launch` has it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouterOptions {
    /// Whether it dials addresses found in records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discovery: Option<bool>,
    /// What it is told to dial. Default: router 0 in a full topology, else those around it with a lower number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dial: Option<Select>,
    /// Discovery makes no more links than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_links: Option<usize>,
    /// Lowest and highest protocol version that it speaks. Default: this program's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub versions: Option<(u16, u16)>,
    /// Names of its secrets, at most two. Default: `main`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secrets: Option<Vec<String>>,
    /// When it is launched. Default: at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub launch: Option<Time>,
    /// Containers on its host. Default: one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub containers: Option<usize>,
    /// Subnets in which frames need no encryption.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trusted: Option<Vec<String>>,
    /// It is not one of the mesh: nothing is expected of it, and nobody is expected to reach it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outsider: Option<bool>,
}

/// How some routers are set up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SomeRouters {
    /// Which.
    pub which: Select,
    /// How.
    pub is: RouterOptions,
}

/// A stream of frames.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Traffic {
    /// Its name.
    pub name: String,
    /// Whose containers send.
    pub from: Select,
    /// To whose containers; each sender to each of them. Without it they broadcast.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Select>,
    /// From one frame to the next, of each pair.
    pub every: Time,
    /// Bytes of a frame.
    #[serde(default = "usual_frame")]
    pub size: usize,
    /// When it starts.
    #[serde(default)]
    pub start: Time,
    /// When it stops. Default: at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<Time>,
}

const fn usual_frame() -> usize {
    200
}

/// What is looked at when all is over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rest {
    /// Whether the network is whole again at the end, so that everything must come right.
    pub check: bool,
    /// In how long.
    pub within: Time,
    /// What is not looked at, because this scenario's network does not allow it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skip: Vec<RestCheck>,
    /// How many containers broadcast, chosen by the seed; all of them, if nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub senders: Option<usize>,
}

impl Default for Rest {
    fn default() -> Self {
        Self {
            check: true,
            within: Time::secs(30),
            skip: Vec::new(),
            senders: None,
        }
    }
}

/// Something that must hold at rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestCheck {
    /// All routers that reach one another have the same records.
    Digests,
    /// Routers that can reach one another have data routes.
    Routable,
    /// No path goes through a router twice.
    Loops,
    /// Paths cost at most 1.25 times the least, or are direct ones that are kept for being direct.
    Cost,
    /// A broadcast comes to each container of the mesh once.
    Broadcast,
    /// A link that one end claims the other end claims too.
    TwoWay,
    /// Routers that are gone are not reached.
    Dead,
    /// Each router has its number of links, and they join all.
    Links,
    /// Control traffic is back at what an idle mesh needs.
    Control,
    /// A router that comes fresh learns what the others know.
    Fresh,
}

/// Why a file is no scenario.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{}{what}", .line.map(|line| format!("line {line}: ")).unwrap_or_default(), .key.as_ref().map(|key| format!("{key}: ")).unwrap_or_default())]
pub struct ScenarioError {
    /// Where, counted from 1.
    pub line: Option<usize>,
    /// About which key.
    pub key: Option<String>,
    /// What is wrong.
    pub what: String,
}

impl Scenario {
    /// Reads a scenario and checks it at every size that it allows.
    ///
    /// # Errors
    /// The first thing that is wrong, with its line.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let scenario: Self = toml::from_str(text).map_err(|error| check::from_toml(text, &error))?;
        scenario.check(text)?;
        Ok(scenario)
    }

    /// As a file that [`Scenario::parse`] reads.
    ///
    /// # Errors
    /// Never for one that was read; numbers beyond TOML's.
    pub fn to_toml(&self) -> Result<String, ScenarioError> {
        toml::to_string(self).map_err(|error| ScenarioError {
            line: None,
            key: None,
            what: error.to_string(),
        })
    }

    /// When everything in it is done.
    #[must_use]
    pub fn end(&self) -> Time {
        let events = self.event.iter().map(|event| event.get_ref().done());
        let expected = self.expect.iter().map(|expect| {
            let Expectation { at, within, hold, .. } = expect.get_ref();
            Time(at.0 + within.0 + hold.0)
        });
        let traffic = self.traffic.iter().filter_map(|traffic| traffic.get_ref().stop);
        let launches = self.router.iter().filter_map(|router| router.get_ref().is.launch);
        let last = events.chain(expected).chain(traffic).chain(launches).max();
        self.until.or(last).unwrap_or_default()
    }

    /// How a router is set up.
    pub(crate) fn options(&self, some: &[(Vec<usize>, RouterOptions)], router: usize) -> RouterOptions {
        let mut options = self.routers.clone();
        for (_, more) in some
            .iter()
            .filter(|(which, _)| which.binary_search(&router).is_ok())
        {
            let more = more.clone();
            options = RouterOptions {
                discovery: more.discovery.or(options.discovery),
                dial: more.dial.or(options.dial),
                max_links: more.max_links.or(options.max_links),
                versions: more.versions.or(options.versions),
                secrets: more.secrets.or(options.secrets),
                launch: more.launch.or(options.launch),
                containers: more.containers.or(options.containers),
                trusted: more.trusted.or(options.trusted),
                outsider: more.outsider.or(options.outsider),
            };
        }
        options
    }
}
