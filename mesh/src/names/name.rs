//! A name as it stands in a record: lower-case labels, without the domain.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Bytes of the longest name: with a domain behind it, it still fits into the 253 of DNS (RFC 1035, 2.3.4).
pub const MAX_NAME: usize = 190;
/// Bytes of a label.
const MAX_LABEL: usize = 63;

/// Labels of letters, digits, `-` and `_`, with dots between them, in lower case; never empty.
///
/// Case does not matter in DNS (RFC 4343), so there is but one way to write a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Name(Box<str>);

/// Why a text is no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// Too long, as a whole or in one of its labels, or nothing between two dots.
    #[error("a name has labels of 1 to {MAX_LABEL} characters with dots between them, {MAX_NAME} in all")]
    Length,
    /// Something else than letters, digits, `-` and `_`.
    #[error("a name has letters, digits, - and _ only, and - neither first nor last")]
    Character,
}

impl Name {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        if text.len() > MAX_NAME {
            return Err(BadName::Length);
        }
        for label in text.split('.') {
            if label.is_empty() || label.len() > MAX_LABEL {
                return Err(BadName::Length);
            }
            let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            if !label.bytes().all(is_usual) || label.starts_with('-') || label.ends_with('-') {
                return Err(BadName::Character);
            }
        }
        Ok(Self(text.to_ascii_lowercase().into()))
    }
}

impl TryFrom<String> for Name {
    type Error = BadName;

    fn try_from(text: String) -> Result<Self, BadName> {
        text.parse()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_labels_of_usual_characters() {
        for good in ["web", "WEB-1", "a.b.c", "_http._tcp", "9", &"x".repeat(63)] {
            assert_eq!(good.parse::<Name>().unwrap().as_str(), good.to_lowercase());
        }
        for long in ["", ".", "a.", ".a", "a..b", &"x".repeat(64), &"a.".repeat(100)] {
            assert_eq!(long.parse::<Name>(), Err(BadName::Length), "{long}");
        }
        for odd in ["a b", "ä", "-a", "a-", "a.-b", "a/b", "a\0", "*"] {
            assert_eq!(odd.parse::<Name>(), Err(BadName::Character), "{odd}");
        }
    }

    proptest! {
        #[test]
        fn there_is_one_way_to_write_a_name(text: String) {
            if let Ok(name) = text.parse::<Name>() {
                prop_assert!(name.as_str().eq_ignore_ascii_case(&text));
                prop_assert_eq!(name.as_str().parse::<Name>(), Ok(name.clone()));
            }
        }
    }
}
