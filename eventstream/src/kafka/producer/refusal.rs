use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rdkafka::types::RDKafkaErrorCode as Code;

use crate::error::Error;
use crate::observe::health::Problem;

/// That the brokers let this client publish nothing: librdkafka gives up for good then, and a new instance would be told
/// the same. Who publishes before it is time to try again is refused at once; the first one after that has a new
/// instance made.
#[derive(Default)]
pub(super) struct Standing {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    refused: Option<(Code, Problem)>,
    /// It is too early to try again.
    stands: bool,
    wanted: bool,
}

impl Standing {
    /// The brokers refuse this client. Whether they did so before as well, without anything stored in between.
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

    /// The same, said of an event.
    pub(super) fn describe(&self, error: &Error) {
        if let Some((_, said)) = &mut self.state.lock().refused {
            *said = Problem::at(error.clone(), said.since());
        }
    }

    /// Something was stored.
    pub(super) fn clear(&self) {
        *self.state.lock() = State::default();
    }

    /// It is time to try again.
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

    /// An instance is wanted; the code where it is too early for one.
    pub(super) fn wanted(&self) -> Option<Code> {
        let mut state = self.state.lock();
        if state.stands {
            return state.refused.as_ref().map(|(code, _)| *code);
        }
        state.wanted = true;
        self.changed.notify_all();
        None
    }

    /// Waits for that at most so long; whether it is.
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
