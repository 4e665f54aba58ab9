use std::fmt;
use std::time::Duration;

use crate::error::Error;
use crate::subscribe::Context;

/// A handler's failure after which it is called again with the same record. Given to
/// [`Subscribe::on_retry`](crate::Subscribe::on_retry).
#[derive(Clone)]
pub struct FailedAttempt {
    context: Context,
    error: Error,
    next: Duration,
}

impl FailedAttempt {
    pub(crate) fn new(context: Context, error: Error, next: Duration) -> Self {
        Self {
            context,
            error,
            next,
        }
    }

    /// The record's position, and which attempt failed.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// The failure. The handler's own error is its [`source`](std::error::Error::source).
    pub fn error(&self) -> &Error {
        &self.error
    }

    /// The longest time until the next attempt.
    pub fn next_within(&self) -> Duration {
        self.next
    }
}

impl fmt::Debug for FailedAttempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FailedAttempt")
            .field("context", &self.context)
            .field("error", &self.error)
            .field("next_within", &self.next)
            .finish()
    }
}
