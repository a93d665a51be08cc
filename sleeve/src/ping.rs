//! The operator's round trips over the data path.

use std::time::Duration;

/// How long a session, and then the answer, is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);
