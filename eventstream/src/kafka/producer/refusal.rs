use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rdkafka::types::RDKafkaErrorCode as Code;

use crate::error::Error;
use crate::observe::health::Problem;

/// Whether the brokers refuse all publishing of this client: librdkafka then gives up for good, and a new instance
/// would get the same answer. Events published before the next retry is due are rejected at once; the first one after
/// that has a new instance created.
#[derive(Default)]
pub(super) struct Standing {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    refused: Option<(Code, Problem)>,
    /// It is too early to retry.
    stands: bool,
    wanted: bool,
}

impl Standing {
    /// The brokers refuse this client. Returns whether they did before, with nothing stored in between.
    pub(super) fn set(&self, code: Code, error: Error) -> bool {
        let mut state = self.state.lock();
        state.stands = true;
        state.wanted = false;
        let before = state.refused.take().filter(|(before, _)| *before == code);
        let is_known = before.is_some();
        let problem = match before {
            Some((_, before)) => Problem::at(error, before.since()),
            None => Problem::now(error),
        };
        state.refused = Some((code, problem));
        is_known
    }

    /// The same, reported for an event.
    pub(super) fn describe(&self, error: &Error) {
        if let Some((_, said)) = &mut self.state.lock().refused {
            *said = Problem::at(error.clone(), said.since());
        }
    }

    /// Something was stored.
    pub(super) fn clear(&self) {
        *self.state.lock() = State::default();
    }

    /// It is time to retry.
    pub(super) fn expire(&self) {
        self.state.lock().stands = false;
    }

    pub(super) fn problem(&self) -> Option<Problem> {
        let state = self.state.lock();
        state.refused.as_ref().map(|(_, problem)| problem.clone())
    }

    pub(super) fn code(&self) -> Option<Code> {
        self.state.lock().refused.as_ref().map(|(code, _)| *code)
    }

    /// An instance is requested; returns the code if it is too early for one.
    pub(super) fn wanted(&self) -> Option<Code> {
        let mut state = self.state.lock();
        if state.stands {
            return state.refused.as_ref().map(|(code, _)| *code);
        }
        state.wanted = true;
        self.changed.notify_all();
        None
    }

    /// Waits for a request up to this long; returns whether there is one.
    pub(super) fn wait(&self, at_most: Duration) -> bool {
        let mut state = self.state.lock();
        if !state.wanted {
            self.changed.wait_for(&mut state, at_most);
        }
        state.wanted
    }

    pub(super) fn wake(&self) {
        self.changed.notify_all();
    }
}
