//! Another plugin, called as a runtime would: it gives out the addresses.

use super::call::Call;
use super::conf::{Conf, get};
use super::error::{Code, Failure};
use crate::net::Cidr;
use serde_json::Value;
use std::io::Write;
use std::net::IpAddr;
use std::process::{Command, Stdio};

/// What it gave.
#[derive(Debug, Default)]
pub(super) struct Given {
    /// Addresses, each with the gateway of its network.
    pub(super) addresses: Vec<(Cidr, Option<IpAddr>)>,
    pub(super) routes: Vec<(Cidr, Option<IpAddr>)>,
    pub(super) dns: Value,
}

/// Calls the plugin of this type for `verb`, with the environment and the configuration of this call. What it printed.
pub(super) fn call(kind: &str, verb: &str, conf: &Conf, call: &Call) -> Result<String, Failure> {
    if call.path.is_empty() {
        let message = format!("CNI_PATH is missing, so the plugin {kind:?} can't be found");
        return Err(Failure::new(Code::Environment, message));
    }
    let found = call
        .path
        .iter()
        .map(|folder| folder.join(kind))
        .find(|file| file.is_file());
    let Some(program) = found else {
        let message = format!("failed to find plugin {kind:?} in path {:?}", call.path);
        return Err(Failure::new(Code::Config, message));
    };
    let failed = |what: &str, error: std::io::Error| {
        Failure::new(Code::Io, format!("cannot {what} {}", program.display())).with(error.to_string())
    };
    let mut child = Command::new(&program)
        .env("CNI_COMMAND", verb)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed("start", error))?;
    if let Some(mut input) = child.stdin.take() {
        // One that reads nothing has closed it; what it says counts.
        let _ = input.write_all(conf.text.as_bytes());
    }
    let output = child.wait_with_output().map_err(|error| failed("hear", error))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let report: Value = serde_json::from_str(&text).unwrap_or_default();
    let vague =
        || Failure::new(Code::Refused, format!("{kind} failed: {}", output.status)).with(text.clone());
    Err(Failure::of_other(&report).unwrap_or_else(vague))
}

impl Given {
    /// Reads the result of an ADD.
    pub(super) fn read(kind: &str, text: &str) -> Result<Self, Failure> {
        let wrong = || Failure::new(Code::Decode, format!("{kind} did not answer with a result")).with(text);
        let value: Value = serde_json::from_str(text).map_err(|_| wrong())?;
        let mut given = Self {
            dns: get(&value, "dns").cloned().unwrap_or_default(),
            ..Self::default()
        };
        let list = |key: &str| {
            get(&value, key)
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default()
        };
        let word = |object: &Value, key: &str| get(object, key).and_then(Value::as_str).map(str::to_owned);
        let gateway = |object: &Value, key: &str| match word(object, key).filter(|text| !text.is_empty()) {
            Some(text) => text.parse().map(Some).map_err(|_| wrong()),
            None => Ok(None),
        };
        for ip in list("ips") {
            let address = word(&ip, "address")
                .and_then(|text| text.parse().ok())
                .ok_or_else(wrong)?;
            given.addresses.push((address, gateway(&ip, "gateway")?));
        }
        for route in list("routes") {
            let dst = word(&route, "dst")
                .and_then(|text| text.parse().ok())
                .ok_or_else(wrong)?;
            given.routes.push((dst, gateway(&route, "gw")?));
        }
        if given.addresses.is_empty() {
            return Err(Failure::new(Code::Config, format!("{kind} gave no address")));
        }
        Ok(given)
    }
}
