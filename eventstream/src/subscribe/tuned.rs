use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use super::handler::{BoxHandler, Handler};
use crate::delivery::Retry;

/// A handler with its own options: made by [`Handler::retry`] and [`Handler::timeout`].
pub struct Tuned<H, Args, S> {
    handler: H,
    retry: Option<Retry>,
    timeout: Option<Duration>,
    /// Determines the handler's types; the compiler cannot infer them otherwise.
    of: PhantomData<fn(Args, S)>,
}

impl<H, Args, S> Tuned<H, Args, S> {
    pub(super) fn new(handler: H) -> Self {
        Self {
            handler,
            retry: None,
            timeout: None,
            of: PhantomData,
        }
    }

    pub(super) fn with_retry(mut self, retry: Retry) -> Self {
        self.retry = Some(retry);
        self
    }

    pub(super) fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}

#[diagnostic::do_not_recommend]
impl<H, Args, S> Handler<Args, S> for Tuned<H, Args, S>
where
    H: Handler<Args, S>,
    Args: 'static,
    S: 'static,
{
    fn erase(self, state: &Arc<S>) -> BoxHandler
    where
        S: Send + Sync + 'static,
    {
        self.handler.erase(state).tuned(self.retry, self.timeout)
    }
}

impl<H: Clone, Args, S> Clone for Tuned<H, Args, S> {
    fn clone(&self) -> Self {
        Self {
            handler: self.handler.clone(),
            of: PhantomData,
            ..*self
        }
    }
}

impl<H, Args, S> fmt::Debug for Tuned<H, Args, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tuned")
            .field("retry", &self.retry)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
