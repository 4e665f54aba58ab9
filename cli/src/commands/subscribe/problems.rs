//! Errors of a subscription: each cause is reported once, and a permanent error ends it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use eventstream::{Error, ErrorKind};
use tokio_util::sync::CancellationToken;

use crate::exit::chain;
use crate::output;

#[derive(Default)]
pub(super) struct Problems {
    state: Mutex<State>,
    ended: CancellationToken,
}

#[derive(Default)]
struct State {
    told: Vec<Told>,
    fatal: Option<Error>,
}

struct Told {
    kind: ErrorKind,
    /// The text without its numbers, such as ports and durations.
    cause: String,
    text: String,
    again: u64,
}

/// The maximum number of causes to remember; errors beyond them are printed each time.
const CAUSES: usize = 100;

impl Problems {
    /// Prints an error if its cause is new, and counts it otherwise. A permanent error is printed
    /// at the end.
    pub(super) fn hear(&self, error: &Error) {
        let mut state = self.state();
        if error.is_final() {
            state.fatal.get_or_insert_with(|| error.clone());
            self.ended.cancel();
            return;
        }
        let text = chain(error);
        let cause = without_numbers(&text);
        let kind = error.kind();
        let mut told = state.told.iter_mut();
        if let Some(known) = told.find(|told| told.kind == kind && told.cause == cause) {
            known.again += 1;
            return;
        }
        output::say(&format!("error: {text}"));
        if state.told.len() < CAUSES {
            let again = 0;
            state.told.push(Told {
                kind,
                cause,
                text,
                again,
            });
        }
    }

    /// Cancelled once there is a permanent error.
    pub(super) fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    pub(super) fn fatal(&self) -> Option<Error> {
        self.state().fatal.clone()
    }

    /// Prints how often each cause was repeated.
    pub(super) fn say_repeated(&self) {
        for told in self.state().told.iter().filter(|told| told.again > 0) {
            let times = if told.again == 1 { "time" } else { "times" };
            output::say(&format!("{} more {times}: {}", told.again, told.text));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn without_numbers(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_digit()).collect()
}
