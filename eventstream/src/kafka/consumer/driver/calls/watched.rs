use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

use crate::error::Error;
use crate::guard::panic_text;
use crate::observe::trace::{self, Mark, Span};

type Future<T> = Pin<Box<dyn std::future::Future<Output = T> + Send>>;

/// A handler's call and then its future, in its span, with panics caught and a time limit.
pub(super) struct Watched<T> {
    span: Span,
    started: Option<Instant>,
    /// From the first poll on.
    future: Option<Future<T>>,
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
    pub(super) fn new(span: Span, timed: bool, timeout: Option<Duration>) -> Self {
        Self {
            span,
            started: timed.then(Instant::now),
            future: None,
            timeout,
            timer: None,
        }
    }

    /// Calls the handler, unless that was done, and polls its future once, both in one visit to its
    /// span. A panic of either ends it, as the timeout does.
    pub(super) fn poll(
        &mut self,
        call: &mut Option<impl FnOnce() -> Future<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<T, Interrupted>> {
        let future = &mut self.future;
        let poll = || {
            if let Some(call) = call.take() {
                *future = Some(call());
            }
            Some(future.as_mut()?.as_mut().poll(cx))
        };
        match catch_unwind(AssertUnwindSafe(|| self.span.in_scope(poll))) {
            Ok(Some(Poll::Ready(result))) => return Poll::Ready(Ok(result)),
            Ok(Some(Poll::Pending)) => {}
            Ok(None) => {
                let text = "the route has no handler for the event".to_owned();
                return Poll::Ready(Err(Interrupted::Panicked(text)));
            }
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
