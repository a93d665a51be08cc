//! Which routers: selections that keep their meaning when a scenario is run at another size.

use super::values::{Share, as_text};
use crate::Random;
use serde::de::{Deserializer, Error as _, Visitor};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Routers, as one says them: `3`, `"all"`, `"last"`, `"0..5"` (0 to 4), `"0%..50%"` (the first half),
/// `"random 3"`, `"random 90%"`, the name of a group, or several of these: `"0, 5..8, left"`; a `!` takes away:
/// `"all, !0"`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(into = "String")]
pub struct Select(pub Vec<Term>);

/// One part of a [`Select`].
#[derive(Debug, Clone, PartialEq)]
pub struct Term {
    /// These are taken away from what the terms before gave.
    pub but: bool,
    /// Which.
    pub which: Which,
}

/// Some routers.
#[derive(Debug, Clone, PartialEq)]
pub enum Which {
    /// Each.
    All,
    /// The one with the highest number.
    Last,
    /// The one with this number.
    One(usize),
    /// From one number to another, the second not included.
    Range(usize, usize),
    /// The same by shares of all.
    Shares(Share, Share),
    /// So many, drawn.
    Random(usize),
    /// Such a share, drawn.
    RandomShare(Share),
    /// Those of a group of the scenario.
    Group(String),
}

/// A name of a group, a secret or a stream.
pub(super) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

impl FromStr for Which {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} names no routers; try 3, \"0..5\", \"0%..50%\", \"random 10%\", \"all\", \"last\" or a group"
            )
        };
        if let Some(count) = text.strip_prefix("random ") {
            let count = count.trim();
            return if count.ends_with('%') {
                Ok(Self::RandomShare(count.parse()?))
            } else {
                count.parse().map(Self::Random).map_err(|_| wrong())
            };
        }
        if let Some((first, last)) = text.split_once("..") {
            return if last.ends_with('%') {
                Ok(Self::Shares(first.parse()?, last.parse()?))
            } else {
                let ends = first.parse().and_then(|first| Ok((first, last.parse()?)));
                ends.map(|(first, last)| Self::Range(first, last))
                    .map_err(|_| wrong())
            };
        }
        match text {
            "all" => Ok(Self::All),
            "last" => Ok(Self::Last),
            _ if is_name(text) => Ok(Self::Group(text.to_owned())),
            _ => text.parse().map(Self::One).map_err(|_| wrong()),
        }
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => write!(f, "all"),
            Self::Last => write!(f, "last"),
            Self::One(number) => write!(f, "{number}"),
            Self::Range(first, last) => write!(f, "{first}..{last}"),
            Self::Shares(first, last) => write!(f, "{first}..{last}"),
            Self::Random(count) => write!(f, "random {count}"),
            Self::RandomShare(share) => write!(f, "random {share}"),
            Self::Group(name) => write!(f, "{name}"),
        }
    }
}

impl FromStr for Select {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let term = |text: &str| {
            let text = text.trim();
            let (but, text) = text
                .strip_prefix('!')
                .map_or((false, text), |rest| (true, rest.trim()));
            text.parse().map(|which| Term { but, which })
        };
        text.split(',').map(term).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for Select {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, term) in self.0.iter().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            let but = if term.but { "!" } else { "" };
            write!(f, "{comma}{but}{}", term.which)?;
        }
        Ok(())
    }
}

as_text!(Select);

impl<'de> Deserialize<'de> for Select {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Select;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(
                    f,
                    "a router's number, or routers such as \"0..5\" or \"random 10%\""
                )
            }
            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Select, E> {
                let number = usize::try_from(number).map_err(|_| E::custom("routers are counted from 0"))?;
                Ok(Select::one(number))
            }
            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Select, E> {
                self.visit_i64(i64::try_from(number).map_err(E::custom)?)
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Select, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Text).map_err(D::Error::custom)
    }
}

impl Select {
    /// One router.
    #[must_use]
    pub fn one(number: usize) -> Self {
        Self::of(Which::One(number))
    }

    /// All routers.
    #[must_use]
    pub fn all() -> Self {
        Self::of(Which::All)
    }

    fn of(which: Which) -> Self {
        Self(vec![Term { but: false, which }])
    }

    /// The groups that are named.
    pub(super) fn groups(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|term| match &term.which {
            Which::Group(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// The routers, in the order of their numbers.
    ///
    /// # Errors
    /// Numbers beyond `peers`, groups that are not there.
    pub fn resolve(
        &self,
        peers: usize,
        groups: &BTreeMap<String, Vec<usize>>,
        random: &mut Random,
    ) -> Result<Vec<usize>, String> {
        let mut taken = vec![false; peers];
        for term in &self.0 {
            for number in term.which.resolve(peers, groups, random)? {
                taken[number] = !term.but;
            }
        }
        let numbers = taken.into_iter().enumerate();
        Ok(numbers
            .filter(|(_, taken)| *taken)
            .map(|(number, _)| number)
            .collect())
    }
}

impl Which {
    fn resolve(
        &self,
        peers: usize,
        groups: &BTreeMap<String, Vec<usize>>,
        random: &mut Random,
    ) -> Result<Vec<usize>, String> {
        let of = |share: &Share| (share.0 * peers as f64).round() as usize;
        let mut draw = |count: usize| {
            let mut pool: Vec<_> = (0..peers).collect();
            for at in 0..count.min(peers) {
                let other = at + random.below((peers - at) as u64) as usize;
                pool.swap(at, other);
            }
            pool.truncate(count);
            pool
        };
        match self {
            Self::All => Ok((0..peers).collect()),
            Self::Last => Ok(peers.checked_sub(1).into_iter().collect()),
            Self::One(number) if *number < peers => Ok(vec![*number]),
            Self::Range(first, last) if first <= last && *last <= peers => Ok((*first..*last).collect()),
            Self::Shares(first, last) if first <= last => Ok((of(first)..of(last)).collect()),
            Self::Random(count) if *count <= peers => Ok(draw(*count)),
            Self::RandomShare(share) => Ok(draw(of(share))),
            Self::Group(name) => groups
                .get(name)
                .cloned()
                .ok_or_else(|| format!("there is no group {name:?}")),
            _ => Err(format!(
                "\"{self}\" among {peers} routers, 0 to {}",
                peers.saturating_sub(1)
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn which(text: &str, peers: usize) -> Result<Vec<usize>, String> {
        let groups = BTreeMap::from([("left".to_owned(), vec![0, 2])]);
        text.parse::<Select>()?
            .resolve(peers, &groups, &mut Random::new(1))
    }

    #[test]
    fn routers_are_named_in_many_ways() {
        assert_eq!(which("3", 5).unwrap(), [3]);
        assert_eq!(which("last", 5).unwrap(), [4]);
        assert_eq!(which("1..3", 5).unwrap(), [1, 2]);
        assert_eq!(which("0%..50%", 10).unwrap(), [0, 1, 2, 3, 4]);
        assert_eq!(which("50%..100%", 11).unwrap(), [6, 7, 8, 9, 10]);
        assert_eq!(which("all, !left", 4).unwrap(), [1, 3]);
        assert_eq!(which("4, left", 5).unwrap(), [0, 2, 4]);
        assert_eq!(which("random 90%", 50).unwrap().len(), 45);
        assert_eq!(which("random 3", 50).unwrap().len(), 3);
        for text in ["0%..50%", "all, !left", "random 90%", "0, 5..8"] {
            assert_eq!(text.parse::<Select>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        for text in ["5", "3..9", "right", "random 6", "4..2"] {
            assert!(which(text, 5).is_err(), "{text}");
        }
        for text in ["", "Left", "-1", "a..b", "random many", "0%..200%"] {
            assert!(text.parse::<Select>().is_err(), "{text}");
        }
    }
}
