//! What lies between hosts: how long packets take, and which are lost.

use super::select::Select;
use super::values::{Delay, Rate, Share, Time};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a wire does to packets. What is not said stays as it is: 1 ms, no loss, 1500 bytes to begin with.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// How long a packet takes, one way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<Delay>,
    /// Up to so much longer, drawn for each packet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Time>,
    /// Share of packets that are lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<Share>,
    /// Share of packets that come twice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicate: Option<Share>,
    /// Share of packets that come later than those sent after them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reorder: Option<Share>,
    /// What passes at most; a bounded queue stands before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// Largest IP packet in bytes; larger ones vanish without a word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
}

/// A kind of wires in a topology of clusters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Between routers of one cluster.
    Inside,
    /// Between clusters.
    Across,
}

/// The profile of some wires.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wires {
    /// Those between any of the first and any of the second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub between: Option<[Select; 2]>,
    /// Those of a class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<Class>,
    /// Only from the first to the second.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub one_way: bool,
    /// What they do; what is not said is as `[wire]` says.
    pub is: Profile,
}

impl Profile {
    /// This, and what it does not say from another.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            delay: self.delay.or(other.delay),
            jitter: self.jitter.or(other.jitter),
            loss: self.loss.or(other.loss),
            duplicate: self.duplicate.or(other.duplicate),
            reorder: self.reorder.or(other.reorder),
            rate: self.rate.or(other.rate),
            mtu: self.mtu.or(other.mtu),
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        let mut add =
            |name: &str, value: Option<String>| parts.extend(value.map(|value| format!("{name} {value}")));
        add("delay", self.delay.map(|value| value.to_string()));
        add("jitter", self.jitter.map(|value| value.to_string()));
        add("loss", self.loss.map(|value| value.to_string()));
        add("duplicate", self.duplicate.map(|value| value.to_string()));
        add("reorder", self.reorder.map(|value| value.to_string()));
        add("rate", self.rate.map(|value| value.to_string()));
        add("MTU", self.mtu.map(|value| value.to_string()));
        write!(
            f,
            "{}",
            if parts.is_empty() {
                "as before".into()
            } else {
                parts.join(", ")
            }
        )
    }
}
