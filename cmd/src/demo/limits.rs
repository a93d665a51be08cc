//! What bounds the demo: its time, and the user's patience (Ctrl-C, SIGTERM, SIGHUP).
//!
//! Every wait of the demo goes through [`Limits`], so that none lasts longer than it may and all end soon after a
//! signal. A second signal ends the process at once; the janitor then removes what is left.

use anyhow::{Context, Result, bail};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// Exit code after a second signal: 128 + SIGINT.
const INTERRUPTED: i32 = 130;

/// The time everything together may take, and whether a signal came.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    end: Instant,
    interrupted: Arc<AtomicBool>,
}

impl Limits {
    /// Starts the clock and listens for signals, on a thread of its own.
    pub(crate) fn start(total: Duration) -> Result<Self> {
        let limits = Self::without_signals(total);
        let interrupted = Arc::clone(&limits.interrupted);
        let (ready, is_ready) = std::sync::mpsc::channel();
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                let result = listen(&interrupted, || ready.send(Ok(())).is_ok());
                let _ = ready.send(result);
            })
            .context("start a thread")?;
        is_ready.recv().context("the thread for signals ended")??;
        Ok(limits)
    }

    fn without_signals(total: Duration) -> Self {
        Self {
            end: Instant::now() + total,
            interrupted: Arc::default(),
        }
    }

    /// True once a signal came.
    pub(crate) fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// An error once a signal came or the time is up.
    pub(crate) fn check(&self) -> Result<()> {
        if self.interrupted() {
            bail!("interrupted");
        }
        if Instant::now() >= self.end {
            bail!("the time for all of this is up");
        }
        Ok(())
    }

    /// The moment `at_most` from now, or the end of the demo if that is earlier.
    pub(crate) fn until(&self, at_most: Duration) -> Instant {
        self.end.min(Instant::now() + at_most)
    }

    /// Polls every `pause` until there is something, and returns it with the time that took. An error of `poll`
    /// ends the wait. `what` completes "waited 3 s for …".
    pub(crate) fn wait<T>(
        &self,
        what: &str,
        at_most: Duration,
        pause: Duration,
        mut poll: impl FnMut() -> Result<Option<T>>,
    ) -> Result<(T, Duration)> {
        let start = Instant::now();
        let until = self.until(at_most);
        loop {
            if self.interrupted() {
                bail!("interrupted");
            }
            if let Some(found) = poll()? {
                return Ok((found, start.elapsed()));
            }
            if Instant::now() >= until {
                bail!(
                    "waited {:.1} s for {what}, in vain",
                    start.elapsed().as_secs_f64()
                );
            }
            std::thread::sleep(pause);
        }
    }
}

/// Waits for signals until the process ends; returns only when it can't.
fn listen(interrupted: &AtomicBool, ready: impl FnOnce() -> bool) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .context("start a runtime for signals")?;
    runtime.block_on(async {
        let listen = |kind| signal(kind).context("listen for signals");
        let mut int = listen(SignalKind::interrupt())?;
        let mut term = listen(SignalKind::terminate())?;
        let mut hangup = listen(SignalKind::hangup())?;
        ready();
        loop {
            tokio::select! {
                _ = int.recv() => {}
                _ = term.recv() => {}
                _ = hangup.recv() => {}
            }
            if interrupted.swap(true, Ordering::Relaxed) {
                std::process::exit(INTERRUPTED);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(1);

    #[test]
    fn a_wait_ends_with_what_it_waited_for_or_with_its_time() {
        let limits = Limits::without_signals(Duration::from_secs(60));
        let mut polls = 0;
        let (found, _) = limits
            .wait("three", Duration::from_secs(10), SOON, || {
                polls += 1;
                Ok((polls == 3).then_some(polls))
            })
            .unwrap();
        assert_eq!(found, 3);
        let late = limits.wait("nothing", SOON, SOON, || Ok(None::<()>)).unwrap_err();
        assert!(late.to_string().contains("for nothing"), "{late}");
    }

    #[test]
    fn nothing_lasts_longer_than_the_whole() {
        let limits = Limits::without_signals(Duration::ZERO);
        assert!(limits.check().is_err());
        assert!(limits.until(Duration::from_secs(9)) <= Instant::now());
        assert!(
            limits
                .wait("x", Duration::from_secs(9), SOON, || Ok(None::<()>))
                .is_err()
        );
    }

    #[test]
    fn a_signal_ends_a_wait() {
        let limits = Limits::without_signals(Duration::from_secs(60));
        limits.interrupted.store(true, Ordering::Relaxed);
        let ended = limits
            .wait("x", Duration::from_secs(9), SOON, || Ok(Some(())))
            .unwrap_err();
        assert_eq!(ended.to_string(), "interrupted");
    }
}
