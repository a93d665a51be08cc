//! What a runtime asks: the environment's variables, checked as the specification's section 2 wants them.

use super::error::{Code, Failure};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Longest name of an interface, in bytes.
const LONGEST_IFNAME: usize = 15;

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Add,
    Del,
    Check,
    Gc,
    Status,
    Version,
}

/// A call, with what its verb needs.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) verb: Verb,
    /// Empty for verbs without container.
    pub(super) container: String,
    /// Empty if it was not given.
    pub(super) netns: String,
    pub(super) ifname: String,
    /// `KEY=VALUE` pairs of `CNI_ARGS`.
    pub(super) args: BTreeMap<String, String>,
    /// Where other plugins lie.
    pub(super) path: Vec<PathBuf>,
}

impl Call {
    /// Reads the variables by `get`, which gives an empty text for one that is not set.
    pub(super) fn read(get: impl Fn(&str) -> String) -> Result<Self, Failure> {
        let wrong = |message: String| Failure::new(Code::Environment, message);
        let verb = match get("CNI_COMMAND").as_str() {
            "ADD" => Verb::Add,
            "DEL" => Verb::Del,
            "CHECK" => Verb::Check,
            "GC" => Verb::Gc,
            "STATUS" => Verb::Status,
            "VERSION" => Verb::Version,
            "" => return Err(wrong("required env variables [CNI_COMMAND] missing".into())),
            other => return Err(wrong(format!("unknown CNI_COMMAND: {other}"))),
        };
        let needed: &[&str] = match verb {
            Verb::Add | Verb::Check => &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"],
            Verb::Del => &["CNI_CONTAINERID", "CNI_IFNAME"],
            Verb::Gc => &["CNI_PATH"],
            Verb::Status | Verb::Version => &[],
        };
        let missing: Vec<_> = needed
            .iter()
            .copied()
            .filter(|name| get(name).is_empty())
            .collect();
        if !missing.is_empty() {
            return Err(wrong(format!(
                "required env variables [{}] missing",
                missing.join(",")
            )));
        }
        let call = Self {
            verb,
            container: get("CNI_CONTAINERID"),
            netns: get("CNI_NETNS"),
            ifname: get("CNI_IFNAME"),
            args: args(&get("CNI_ARGS")).map_err(wrong)?,
            // An empty one would mean whatever folder this happens to run in.
            path: std::env::split_paths(&get("CNI_PATH"))
                .filter(|folder| !folder.as_os_str().is_empty())
                .collect(),
        };
        if needed.contains(&"CNI_CONTAINERID") && !is_name(&call.container) {
            return Err(wrong(format!(
                "invalid characters in CNI_CONTAINERID: {:?}",
                call.container
            )));
        }
        if needed.contains(&"CNI_IFNAME") && !is_ifname(&call.ifname) {
            return Err(wrong(format!(
                "CNI_IFNAME is no name of an interface: {:?}",
                call.ifname
            )));
        }
        Ok(call)
    }
}

/// Letters, digits, `_`, `.` and `-`, the first a letter or digit: names of networks and containers.
pub(super) fn is_name(text: &str) -> bool {
    let starts = text
        .bytes()
        .next()
        .is_some_and(|first| first.is_ascii_alphanumeric());
    starts
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

fn is_ifname(text: &str) -> bool {
    let fits = (1..=LONGEST_IFNAME).contains(&text.len()) && text != "." && text != "..";
    fits && text
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !b"/:%".contains(&byte))
}

/// `K=V;K2=V2`; a value may be empty.
fn args(text: &str) -> Result<BTreeMap<String, String>, String> {
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=').filter(|(key, _)| !key.is_empty())?;
        Some((key.to_owned(), value.to_owned()))
    };
    let pairs = text.split(';').filter(|pair| !pair.is_empty());
    pairs
        .map(|text| pair(text).ok_or_else(|| format!("CNI_ARGS: invalid pair {text:?}")))
        .collect()
}
