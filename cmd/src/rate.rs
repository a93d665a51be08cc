//! Rates as people write them: `20M` is twenty million bits a second.

use fastpath::Limit;
use std::fmt;
use std::str::FromStr;

/// Letters for thousand, million and so on.
const UNITS: [(&str, u64); 4] = [
    ("T", 1_000_000_000_000),
    ("G", 1_000_000_000),
    ("M", 1_000_000),
    ("k", 1000),
];
/// A limit lets pass at once what it lets pass in a tenth of a second, but so many bytes at least.
const LEAST_BURST: u64 = 16 * 1024;

/// Bits in a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate(u64);

impl Rate {
    /// That of a limit.
    pub(crate) fn of(limit: Limit) -> Self {
        Self(limit.rate.saturating_mul(8))
    }

    /// Of so many bits in a second.
    pub(crate) fn of_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Bits in a second.
    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    /// The limit that a container gets which is to have this rate.
    pub(crate) fn limit(self) -> Limit {
        let rate = self.0 / 8;
        Limit {
            rate,
            burst: (rate / 10).clamp(LEAST_BURST, u32::MAX.into()),
        }
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "is no rate: 800k, 20M and 1G are bits a second".to_owned();
        let short = text.strip_suffix("bit").unwrap_or(text);
        let unit = UNITS.iter().find_map(|(letter, unit)| {
            let number = short
                .strip_suffix(letter)
                .or_else(|| short.strip_suffix(&letter.to_lowercase()));
            Some((number?, *unit))
        });
        let (number, unit) = unit.unwrap_or((short, 1));
        let bits: u64 = number.parse().map_err(|_| wrong())?;
        let bits = bits.checked_mul(unit).ok_or_else(wrong)?;
        if bits < 8 {
            return Err("is less than eight bits a second".into());
        }
        Ok(Self(bits))
    }
}

/// With the largest unit that leaves a whole number.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.iter().find(|(_, unit)| self.0.is_multiple_of(*unit));
        match unit {
            Some((letter, unit)) => write!(f, "{}{letter}", self.0 / unit),
            None => write!(f, "{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_and_written() {
        for (text, bits, shown) in [
            ("800k", 800_000, "800k"),
            ("20M", 20_000_000, "20M"),
            ("20mbit", 20_000_000, "20M"),
            ("1G", 1_000_000_000, "1G"),
            ("1500M", 1_500_000_000, "1500M"),
            ("1001", 1001, "1001"),
            ("2Tbit", 2_000_000_000_000, "2T"),
        ] {
            let rate: Rate = text.parse().unwrap();
            assert_eq!((rate.bits(), rate.to_string().as_str()), (bits, shown));
        }
        for text in ["", "k", "-1k", "1.5M", "7", "20 M", "20MB", "99999999999T"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_limit_lets_a_tenth_of_a_second_pass_at_once() {
        let limit = |text: &str| text.parse::<Rate>().unwrap().limit();
        let expected = |rate, burst| Limit { rate, burst };
        assert_eq!(limit("80M"), expected(10_000_000, 1_000_000));
        assert_eq!(limit("80k"), expected(10_000, LEAST_BURST));
        assert_eq!(limit("2T").burst, u64::from(u32::MAX));
        assert_eq!(Rate::of(limit("80k")).to_string(), "80k");
    }
}
