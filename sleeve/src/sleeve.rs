//! The control half: makes sessions and direct paths, and keeps them.

use crate::{Config, Input, Output, PathView, Plane, SessionView};
use mesh::Instant;
use rand_core::CryptoRngCore;
use std::collections::VecDeque;
use std::sync::Arc;

/// The control half of a router's data path. Sans-IO: inputs and time come in, outputs are drained.
pub struct Sleeve {
    config: Config,
    plane: Arc<Plane>,
    rng: Box<dyn CryptoRngCore + Send>,
    outputs: VecDeque<Output>,
}

impl Sleeve {
    /// A control half for `plane`. `rng` makes keys, indices and nonces.
    #[must_use]
    pub fn new(config: Config, plane: Arc<Plane>, rng: Box<dyn CryptoRngCore + Send>, _now: Instant) -> Self {
        Self {
            config,
            plane,
            rng,
            outputs: VecDeque::new(),
        }
    }

    /// Takes one input. Timers fire only on [`Input::Tick`].
    pub fn handle_input(&mut self, _now: Instant, _input: Input) {}

    /// The next thing to do; drain after every input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When the next [`Input::Tick`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// The sessions that are sent on, for status.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionView> {
        Vec::new()
    }

    /// The direct paths, for status.
    #[must_use]
    pub fn paths(&self) -> Vec<PathView> {
        Vec::new()
    }
}
