//! Expectations: what must be so at a time, or become so within one.

use super::one_of::one_of;
use super::select::Select;
use super::values::{Bytes, Share, Time};
use serde::{Deserialize, Serialize};
use std::fmt;

one_of! {
    /// Something expected.
    ///
    /// It must be so at `at`, or become so `within` that time, and then stay so for `hold`.
    Expectation from RawExpectation "RawExpectation" {
        /// From when on it is expected.
        at: Time,
        /// How long it may take to become so.
        #[serde(default, skip_serializing_if = "is_none")]
        within: Time,
        /// How long it must stay so.
        #[serde(default, skip_serializing_if = "is_none")]
        hold: Time,
    }
    /// What is expected.
    what: Expected {
        /// These routers know the mesh as it is: they reach those that can be reached, and no others, and all have
        /// the same records.
        converged Converged(Select),
        /// Control messages pass between any of the first and any of the second, both ways.
        reachable Reachable([Select; 2]),
        /// No control messages pass between any of the first and any of the second.
        unreachable Unreachable([Select; 2]),
        /// There is a data route between any of the first and any of the second, both ways.
        routable Routable([Select; 2]),
        /// The data route from the first router named to the last goes over just those between.
        path Path(Vec<usize>),
        /// The data routes between any of the first and any of the second have no relay.
        direct Direct([Select; 2]),
        /// They have relays.
        relayed Relayed([Select; 2]),
        /// Any of the first has a link with any of the second.
        linked Linked([Select; 2]),
        /// None of the first has a link with any of the second.
        unlinked Unlinked([Select; 2]),
        /// How many links routers have.
        links Links(LinkCount),
        /// No link of these routers came or went, from `at` less `since` to `at`.
        no_link_churn NoLinkChurn(Window),
        /// Frames of a stream arrived.
        delivered Delivered(Delivered),
        /// Control traffic of each router stays below, from `at` less `since` to `at`.
        control_bytes ControlBytes(ControlBytes),
        /// How many routers the store of each holds.
        known Known(Known),
        /// How often something was refused, in sum over routers.
        refused Refused(Refused),
        /// The last dial of a router failed, with these words.
        dial_error DialError(DialError),
        /// Data sessions between the two use this secret.
        session_secret SessionSecret(SessionSecret),
    }
}

fn is_none(time: &Time) -> bool {
    *time == Time::default()
}

/// Links of routers, at least and at most.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkCount {
    /// Whose.
    #[serde(default = "Select::all")]
    pub of: Select,
    /// At least.
    #[serde(default)]
    pub min: usize,
    /// At most.
    #[serde(default = "most", skip_serializing_if = "is_most")]
    pub max: usize,
}

const fn most() -> usize {
    usize::MAX
}

fn is_most(number: &usize) -> bool {
    *number == most()
}

/// A stretch of time that ends when the expectation is looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Whom it is about.
    #[serde(default = "Select::all")]
    pub of: Select,
    /// Since when.
    pub since: Time,
}

/// How much of a stream arrives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delivered {
    /// The stream's name.
    pub stream: String,
    /// Frames sent since then count. Default: all.
    #[serde(default)]
    pub since: Time,
    /// Frames sent until then count. Default: a second before it is looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
    /// At least such a share must have come. Default: all. None may come twice, ever.
    #[serde(default = "whole")]
    pub share: Share,
}

const fn whole() -> Share {
    Share(1.0)
}

/// What control traffic costs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlBytes {
    /// Whose.
    #[serde(default = "Select::all")]
    pub of: Select,
    /// Since when.
    pub since: Time,
    /// Bytes sent in that time by each of them, headers of UDP and IP included, are fewer.
    pub below: Bytes,
}

/// What stores hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// Whose.
    #[serde(default = "Select::all")]
    pub of: Select,
    /// At least.
    #[serde(default)]
    pub min: usize,
    /// At most.
    #[serde(default = "most", skip_serializing_if = "is_most")]
    pub max: usize,
}

/// What was thrown away.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refused {
    /// Under which reason, as `weft status` names it.
    pub reason: String,
    /// By whom.
    #[serde(default = "Select::all")]
    pub by: Select,
    /// At least.
    #[serde(default)]
    pub min: u64,
    /// At most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<u64>,
}

/// Why a dial failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DialError {
    /// Whose.
    pub of: Select,
    /// Words in it.
    pub contains: String,
}

/// Under which secret sessions are made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionSecret {
    /// Whose sessions.
    pub between: [Select; 2],
    /// The secret's name.
    pub secret: String,
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers = |min: u64, max: Option<u64>| match max {
            Some(max) if min == 0 => format!("at most {max}"),
            Some(max) => format!("{min} to {max}"),
            None => format!("at least {min}"),
        };
        let counts = |min: usize, max: usize| numbers(min as u64, (!is_most(&max)).then_some(max as u64));
        match self {
            Self::Converged(of) => write!(f, "converged: {of}"),
            Self::Reachable([a, b]) => write!(f, "reachable: {a} and {b}"),
            Self::Unreachable([a, b]) => write!(f, "unreachable: {a} and {b}"),
            Self::Routable([a, b]) => write!(f, "routable: {a} and {b}"),
            Self::Path(path) => {
                let path: Vec<_> = path.iter().map(ToString::to_string).collect();
                write!(f, "path {}", path.join(", "))
            }
            Self::Direct([a, b]) => write!(f, "direct: {a} and {b}"),
            Self::Relayed([a, b]) => write!(f, "relayed: {a} and {b}"),
            Self::Linked([a, b]) => write!(f, "linked: {a} and {b}"),
            Self::Unlinked([a, b]) => write!(f, "unlinked: {a} and {b}"),
            Self::Links(links) => write!(f, "{} links of {}", counts(links.min, links.max), links.of),
            Self::NoLinkChurn(window) => {
                write!(f, "no link of {} came or went since {}", window.of, window.since)
            }
            Self::Delivered(Delivered {
                stream, since, share, ..
            }) if share.0 < 1.0 => {
                write!(f, "{share} of {stream} delivered since {since}, none twice")
            }
            Self::Delivered(Delivered { stream, since, .. }) => {
                write!(f, "{stream} delivered exactly once since {since}")
            }
            Self::ControlBytes(ControlBytes { of, since, below }) => {
                write!(f, "control bytes per router of {of} since {since} below {below}")
            }
            Self::Known(known) => write!(
                f,
                "{} routers known to {}",
                counts(known.min, known.max),
                known.of
            ),
            Self::Refused(Refused { reason, by, min, max }) => {
                write!(f, "{} times {reason} at {by}", numbers(*min, *max))
            }
            Self::DialError(DialError { of, contains }) => {
                write!(f, "dials of {of} fail with {contains:?}")
            }
            Self::SessionSecret(SessionSecret {
                between: [a, b],
                secret,
            }) => {
                write!(f, "sessions between {a} and {b} under secret {secret}")
            }
        }
    }
}
