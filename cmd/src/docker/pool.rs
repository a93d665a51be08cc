//! A pool, as Docker is told to name it: `NETWORK/4` or `NETWORK/6`, one range of a network of the router's.

use std::fmt;
use std::str::FromStr;

/// What is before the name of a pool out of which a swarm's manager asks. No network is called so.
const SWARM: &str = "swarm:";

/// What Docker asks for addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pool {
    /// The router's name for the network.
    pub(super) network: String,
    pub(super) is_v6: bool,
    /// A swarm's manager asks, for tasks on any node.
    pub(super) is_swarms: bool,
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let swarm = if self.is_swarms { SWARM } else { "" };
        let kind = if self.is_v6 { 6 } else { 4 };
        write!(f, "{swarm}{}/{kind}", self.network)
    }
}

impl FromStr for Pool {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (is_swarms, rest) = match text.strip_prefix(SWARM) {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (network, is_v6) = match rest.rsplit_once('/') {
            Some((name, "4")) => (name, false),
            Some((name, "6")) => (name, true),
            _ => return Err(format!("{text:?} is no pool of weft's")),
        };
        Ok(Self {
            network: network.to_owned(),
            is_v6,
            is_swarms,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_is_read_as_it_was_written() {
        for text in ["default/4", "blue/6", "swarm:default/4"] {
            let pool: Pool = text.parse().unwrap();
            assert_eq!(pool.to_string(), text);
        }
        for text in ["", "default", "default/5", "swarm:"] {
            assert!(text.parse::<Pool>().is_err(), "{text}");
        }
    }
}
