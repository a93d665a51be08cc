//! Errors as the CNI specification wants them: a code, a sentence, and details, as JSON on standard output.

use serde_json::{Value, json};

/// What went wrong, by the codes of the specification, section 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    /// The version of the configuration is none that this plugin speaks.
    Version = 1,
    /// A key of the configuration has a value that can't be honoured.
    Unsupported = 2,
    /// The container does not exist.
    UnknownContainer = 3,
    /// A variable of the environment is missing or makes no sense.
    Environment = 4,
    /// Reading or writing failed.
    Io = 5,
    /// What was read is not what it should be.
    Decode = 6,
    /// The configuration contradicts itself or what is there.
    Config = 7,
    /// Something passing stands in the way.
    TryAgain = 11,
    /// STATUS: the plugin can't do an ADD now.
    NotAvailable = 50,
    /// The same, and what is attached may not reach everything.
    LimitedConnectivity = 51,
    /// The router refused, for a reason of its own.
    Refused = 100,
}

/// An error to report.
#[derive(Debug)]
pub(super) struct Failure {
    code: u32,
    message: String,
    details: String,
}

impl Failure {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code: code as u32,
            message: message.into(),
            details: String::new(),
        }
    }

    /// What more there is to say.
    pub(super) fn with(mut self, details: impl Into<String>) -> Self {
        self.details = details.into();
        self
    }

    /// What a plugin that was called by this one reported, as it is; `None` if it is no such report.
    pub(super) fn of_other(report: &Value) -> Option<Self> {
        let text = |key: &str| report[key].as_str().unwrap_or_default().to_owned();
        Some(Self {
            code: u32::try_from(report["code"].as_u64()?).ok()?,
            message: text("msg"),
            details: text("details"),
        })
    }

    /// True if it is this.
    pub(super) fn is(&self, code: Code) -> bool {
        self.code == code as u32
    }

    /// The same as a reason why no container can be added (STATUS).
    pub(super) fn unavailable(mut self) -> Self {
        self.code = Code::NotAvailable as u32;
        self
    }

    /// As it is printed.
    pub(super) fn report(&self, version: &str) -> Value {
        json!({
            "cniVersion": version,
            "code": self.code,
            "msg": self.message,
            "details": self.details,
        })
    }
}
