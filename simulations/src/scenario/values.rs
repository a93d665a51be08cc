//! What stands to the right of the equals signs: times, delays, shares, rates, sizes.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

/// Makes a type that is written as a text readable by serde: through `FromStr`, and back through `Display`.
macro_rules! as_text {
    ($($name:ty),*) => { $(
        impl TryFrom<String> for $name {
            type Error = String;
            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    )* };
}
pub(super) use as_text;

/// A time, as `"250ms"`, `"1.5s"`, `"2m"`, `"12h"`, `"1d"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Time(pub Duration);

/// Units of time, in nanoseconds.
const UNITS: [(&str, f64); 7] = [
    ("us", 1e3),
    ("µs", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("h", 3600e9),
    ("d", 86400e9),
];
/// Longer than any scenario: a year.
const MOST_NANOS: f64 = 366.0 * 86400e9;

/// A number of at least zero, and the unit behind it.
fn split_number(text: &str) -> Option<(f64, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let number: f64 = text[..end].parse().ok()?;
    number.is_finite().then_some((number, text[end..].trim_start()))
}

impl Time {
    /// Milliseconds.
    #[must_use]
    pub const fn ms(ms: u64) -> Self {
        Self(Duration::from_millis(ms))
    }

    /// Seconds.
    #[must_use]
    pub const fn secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }
}

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let nanos = split_number(text).and_then(|(number, unit)| {
            let (_, size) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
            Some(number * size).filter(|nanos| *nanos <= MOST_NANOS)
        });
        nanos
            .map(|nanos| Self(Duration::from_nanos(nanos.round() as u64)))
            .ok_or_else(|| format!("{text:?} is no time such as \"250ms\", \"10s\" or \"2m\""))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = self.0.as_micros();
        match us {
            0 => write!(f, "0s"),
            _ if us.is_multiple_of(1_000_000) => write!(f, "{}s", us / 1_000_000),
            _ if us.is_multiple_of(1000) => write!(f, "{}ms", us / 1000),
            _ => write!(f, "{us}us"),
        }
    }
}

/// How a clock is moved: a [`Time`] with a sign, `"1d"`, `"-1d"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Jump {
    /// Into the past.
    pub back: bool,
    /// How far.
    pub by: Time,
}

impl FromStr for Jump {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (back, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        rest.parse().map(|by| Self { back, by })
    }
}

impl fmt::Display for Jump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.back { "-" } else { "" }, self.by)
    }
}

/// A time, or two of them between which each pair of routers draws its own: `"5ms"`, `"0.5ms..100ms"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Delay {
    /// The least.
    pub least: Time,
    /// The most.
    pub most: Time,
}

impl FromStr for Delay {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (least, most) = text.split_once("..").unwrap_or((text, text));
        let (least, most): (Time, Time) = (least.parse()?, most.parse()?);
        if least > most {
            return Err(format!("{text:?}: the first time is the larger one"));
        }
        Ok(Self { least, most })
    }
}

impl fmt::Display for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.least == self.most {
            write!(f, "{}", self.least)
        } else {
            write!(f, "{}..{}", self.least, self.most)
        }
    }
}

/// A share of something, as `"5%"`, `"0.1%"`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Share(pub f64);

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match split_number(text) {
            Some((number, "%")) if number <= 100.0 => Ok(Self(number / 100.0)),
            _ => Err(format!("{text:?} is no share from \"0%\" to \"100%\"")),
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Rounded, so that a share that was read is written the same.
        write!(f, "{}%", (self.0 * 1e8).round() / 1e6)
    }
}

/// Bits per second, as `"64kbit/s"`, `"100Mbit/s"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rate(pub u64);

/// Units of rates.
const RATES: [(&str, u64); 4] = [
    ("bit/s", 1),
    ("kbit/s", 1000),
    ("Mbit/s", 1_000_000),
    ("Gbit/s", 1_000_000_000),
];

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bits = split_number(text).and_then(|(number, unit)| {
            let (_, size) = RATES.into_iter().find(|(name, _)| *name == unit)?;
            Some((number * size as f64) as u64)
        });
        bits.filter(|bits| (1000..=1_000_000_000_000).contains(bits))
            .map(Self)
            .ok_or_else(|| format!("{text:?} is no rate such as \"64kbit/s\" or \"100Mbit/s\""))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, size): &&(&str, u64)| self.0.is_multiple_of(*size) && self.0 >= *size;
        let (unit, size) = RATES.iter().rev().find(fits).unwrap_or(&RATES[0]);
        write!(f, "{}{unit}", self.0 / size)
    }
}

/// Bytes, as `"500B"`, `"20kB"`, `"1.5MB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Bytes(pub u64);

/// Units of sizes.
const SIZES: [(&str, u64); 4] = [("B", 1), ("kB", 1000), ("MB", 1_000_000), ("GB", 1_000_000_000)];

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bytes = split_number(text).and_then(|(number, unit)| {
            let (_, size) = SIZES.into_iter().find(|(name, _)| *name == unit)?;
            Some((number * size as f64) as u64)
        });
        bytes
            .filter(|bytes| *bytes <= 1_000_000_000_000)
            .map(Self)
            .ok_or_else(|| format!("{text:?} is no size such as \"500B\" or \"20kB\""))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, size): &&(&str, u64)| self.0.is_multiple_of(*size) && self.0 >= *size;
        let (unit, size) = SIZES.iter().rev().find(fits).unwrap_or(&SIZES[0]);
        write!(f, "{}{unit}", self.0 / size)
    }
}

/// A subnet, as `10.0.0.0/8`.
pub(crate) fn subnet(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = text.split_once('/')?;
    let (address, length): (IpAddr, u8) = (address.parse().ok()?, length.parse().ok()?);
    let most = if address.is_ipv4() { 32 } else { 128 };
    (length <= most).then_some((address, length))
}

as_text!(Time, Jump, Delay, Share, Rate, Bytes);

#[cfg(test)]
mod tests {
    use super::*;

    fn again<T: FromStr<Err = String> + fmt::Display>(text: &str) -> Result<String, String> {
        text.parse::<T>().map(|value| value.to_string())
    }

    #[test]
    fn what_is_read_is_written_the_same() {
        for text in ["0s", "250ms", "500us", "10s", "90s"] {
            assert_eq!(again::<Time>(text).unwrap(), text);
        }
        assert_eq!(again::<Time>("1.5s").unwrap(), "1500ms");
        assert_eq!(again::<Time>("2m").unwrap(), "120s");
        assert_eq!(again::<Jump>("-1d").unwrap(), "-86400s");
        assert_eq!(again::<Delay>("0.5ms..100ms").unwrap(), "500us..100ms");
        for text in ["0%", "5%", "0.1%", "33%", "100%"] {
            assert_eq!(again::<Share>(text).unwrap(), text);
        }
        for text in ["64kbit/s", "100Mbit/s", "1Gbit/s"] {
            assert_eq!(again::<Rate>(text).unwrap(), text);
        }
        for text in ["500B", "20kB", "1500B", "3MB"] {
            assert_eq!(again::<Bytes>(text).unwrap(), text);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "5",
            "s",
            "-1s",
            "5 parsecs",
            "1e3s",
            "..s",
            "999999999d",
            "nans",
        ] {
            assert!(again::<Time>(text).is_err(), "{text}");
        }
        assert!(again::<Delay>("5ms..1ms").is_err());
        for text in ["101%", "5", "%", "-1%"] {
            assert!(again::<Share>(text).is_err(), "{text}");
        }
        assert!(again::<Rate>("0bit/s").is_err() && again::<Rate>("5MB").is_err());
        assert!(again::<Bytes>("5").is_err());
    }
}
