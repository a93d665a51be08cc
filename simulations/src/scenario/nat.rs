//! Translators between some routers and the others.

use super::select::Select;
use super::values::Time;
use crate::{NatKind, NatOptions};
use serde::{Deserialize, Serialize};

/// One translator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nat {
    /// Who is behind it.
    pub which: Select,
    /// How it maps and filters.
    pub kind: NatKind,
    /// Whether those behind it reach each other by their outside addresses.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hairpin: bool,
    /// Whether those behind it can't reach each other by their inside addresses.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub isolated: bool,
    /// After how long without a packet from inside a mapping ends. Default: 30 s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Time>,
}

impl Nat {
    pub(super) fn options(&self) -> NatOptions {
        let usual = NatOptions::new(self.kind);
        NatOptions {
            hairpin: self.hairpin,
            isolated: self.isolated,
            timeout: self.timeout.map_or(usual.timeout, |timeout| timeout.0),
            ..usual
        }
    }
}
