//! The router, as the driver sees it: it may be away for a moment.

use crate::control::{Client, Request, passes};
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long a call of Docker's waits for a router that does not run.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it waits before it asks once more.
pub(super) const PAUSE: Duration = Duration::from_millis(50);

/// The router behind its control socket.
pub(super) struct Weft {
    socket: PathBuf,
    /// The router has something that nobody needs any more, or may have.
    is_untidy: AtomicBool,
}

/// Why the router did not do what it was asked.
pub(super) enum Failed {
    /// A moment later it may do it.
    Away(String),
    Refused(String),
}

impl Weft {
    pub(super) fn new(socket: PathBuf) -> Self {
        let is_untidy = AtomicBool::new(true);
        Self { socket, is_untidy }
    }

    /// Asks, and waits for the router if it is away.
    pub(super) async fn ask(&self, request: Request) -> Result<Value, String> {
        let (request, until) = (Arc::new(request), Instant::now() + PATIENCE);
        loop {
            match self.try_ask(&request).await {
                Ok(value) => return Ok(value),
                Err(Failed::Away(_)) if Instant::now() < until => sleep(PAUSE).await,
                Err(Failed::Away(why) | Failed::Refused(why)) => return Err(why),
            }
        }
    }

    /// Takes something away. If that fails it is done later, with all else that nobody needs.
    pub(super) async fn undo(&self, request: Request) {
        if self.try_ask(&Arc::new(request)).await.is_err() {
            self.is_untidy.store(true, Ordering::Release);
        }
    }

    /// Whether something is to be taken away; from now on it is not.
    pub(super) fn take_untidy(&self) -> bool {
        self.is_untidy.swap(false, Ordering::AcqRel)
    }

    /// Asks once. The client blocks: on a thread of its own.
    pub(super) async fn try_ask(&self, request: &Arc<Request>) -> Result<Value, Failed> {
        let (socket, request) = (self.socket.clone(), request.clone());
        let asked = tokio::task::spawn_blocking(move || Client::connect(&socket)?.ask(&request)).await;
        match asked {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                let text = format!("{error:#}");
                Err(if passes(&error) {
                    Failed::Away(text)
                } else {
                    Failed::Refused(text)
                })
            }
            Err(error) => Err(Failed::Refused(error.to_string())),
        }
    }
}
