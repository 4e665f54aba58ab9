use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

use crate::error::Error;
use crate::guard::panic_text;
use crate::observe::trace::{self, Mark, Span};

type Future<T> = Pin<Box<dyn std::future::Future<Output = T> + Send>>;

/// A handler's future, in its span, with panics caught and a time limit.
pub(super) struct Watched<T> {
    span: Span,
    started: Option<Instant>,
    /// The future, or the panic of the call that should have returned it.
    future: Result<Future<T>, String>,
    timeout: Option<Duration>,
    /// Starts when the handler first waits.
    timer: Option<Pin<Box<Sleep>>>,
}

/// Why a handler returned nothing.
pub(super) enum Interrupted {
    Panicked(String),
    TimedOut(Duration),
}

impl<T> Watched<T> {
    /// Calls the handler, which may already panic. `None` if the route has none for the event.
    pub(super) fn begin(
        call: Option<impl FnOnce() -> Future<T>>,
        span: Span,
        timed: bool,
        timeout: Option<Duration>,
    ) -> Self {
        let started = timed.then(Instant::now);
        let future = match call {
            Some(call) => catch_unwind(AssertUnwindSafe(|| span.in_scope(call)))
                .map_err(|panic| panic_text(&*panic)),
            None => Err("the route has no handler for the event".to_owned()),
        };
        Self {
            span,
            started,
            future,
            timeout,
            timer: None,
        }
    }

    /// Polls the future once, in its span; a panic or the timeout ends it.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, Interrupted>> {
        let future = match &mut self.future {
            Ok(future) => future,
            Err(panic) => return Poll::Ready(Err(Interrupted::Panicked(std::mem::take(panic)))),
        };
        let poll = || future.as_mut().poll(cx);
        match catch_unwind(AssertUnwindSafe(|| self.span.in_scope(poll))) {
            Ok(Poll::Ready(result)) => return Poll::Ready(Ok(result)),
            Ok(Poll::Pending) => {}
            Err(panic) => {
                return Poll::Ready(Err(Interrupted::Panicked(panic_text(&*panic))));
            }
        }
        let Some(timeout) = self.timeout else {
            return Poll::Pending;
        };
        let sleep = || Box::pin(tokio::time::sleep(timeout));
        let timer = self.timer.get_or_insert_with(sleep);
        timer
            .as_mut()
            .poll(cx)
            .map(|()| Err(Interrupted::TimedOut(timeout)))
    }

    /// Ends the span; returns how long it took, and its mark if it failed.
    pub(super) fn end(self, failure: Option<&Error>) -> (Option<Duration>, Mark) {
        let took = self.started.map(|started| started.elapsed());
        let mark = failure.and_then(|error| {
            trace::fail(&self.span, error);
            trace::mark(&self.span)
        });
        (took, mark)
    }
}
