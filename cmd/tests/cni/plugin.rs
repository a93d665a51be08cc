//! Calls the plugin.

use crate::common::WEFT;
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// What a call printed, and whether it succeeded.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) success: bool,
    pub(crate) output: Value,
    pub(crate) text: String,
}

/// Calls the plugin with these variables and no others, and this configuration.
pub(crate) fn call(variables: &[(&str, &str)], input: &str) -> Answer {
    let mut command = Command::new(WEFT);
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.envs(variables.iter().copied());
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit());
    let mut child = command.spawn().unwrap();
    // One that reads nothing has ended before.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    Answer {
        success: output.status.success(),
        output: serde_json::from_str(&text).unwrap_or_default(),
        text,
    }
}

impl Answer {
    /// What a call that must succeed printed.
    pub(crate) fn ok(self) -> Value {
        assert!(self.success, "{}", self.text);
        self.output
    }

    /// The code and the message of a call that must fail.
    pub(crate) fn failed(self) -> (u64, String) {
        assert!(!self.success, "it succeeded: {}", self.text);
        let code = self.output["code"]
            .as_u64()
            .unwrap_or_else(|| panic!("no code: {}", self.text));
        assert!(self.output["cniVersion"].is_string(), "{}", self.text);
        let words = format!(
            "{} {}",
            self.output["msg"].as_str().unwrap(),
            self.output["details"]
        );
        (code, words)
    }
}

/// A configuration that has nothing wrong, for the router behind this socket.
pub(crate) fn conf(socket: &Path, version: &str) -> Value {
    json!({ "cniVersion": version, "name": "mesh", "type": "weft-net", "socket": socket })
}
