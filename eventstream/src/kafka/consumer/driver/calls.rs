//! The calls of handlers: how one starts, and what comes of it.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use ::tracing::Span;
use tokio::sync::{AcquireError, OwnedSemaphorePermit};
use tokio::time::Sleep;

use super::Driver;
use super::failures::FailedCall;
use crate::delivery::{Concurrency, Input, Outcome, RouteId, Ticket};
use crate::error::{Error, ErrorKind};
use crate::guard::{guarded, panic_text};
use crate::kafka::consumer::routes::Route;
use crate::record::Record;
use crate::subscribe::{self, BoxError, Context, Handled};
use crate::trace::{self, Mark};

pub(super) type Running = Pin<Box<dyn Future<Output = Ended> + Send>>;

/// How a handler's call ended.
pub(super) struct Ended {
    ticket: Ticket,
    route: RouteId,
    attempt: u32,
    record: Arc<Record>,
    result: Result<(), Unhandled>,
    /// How long it took, where that is measured.
    took: Option<Duration>,
    mark: Mark,
}

enum Unhandled {
    Failed(Error),
    Panicked(Error),
    Rejected(Error),
}

impl Unhandled {
    fn error(&self) -> &Error {
        let (Self::Failed(error) | Self::Panicked(error) | Self::Rejected(error)) = self;
        error
    }
}

impl Driver {
    pub(super) async fn start(
        &mut self,
        ticket: Ticket,
        id: RouteId,
        attempt: u32,
        record: Arc<Record>,
    ) {
        let mut before = None;
        if attempt > 1 {
            before = self.find_mark(ticket, Some(id));
        }
        let Some(attached) = self.routes.iter().find(|r| r.route.id == id) else {
            return;
        };
        let route = &attached.route;
        let call = Call {
            ticket,
            route: id,
            attempt,
            before,
            record,
            timed: self.meter.is_on(),
        };
        if let Some(serial) = &route.registration.serial {
            self.waiting.push(Waiting {
                call,
                route: Arc::clone(route),
                permit: None,
                turn: Box::pin(Arc::clone(serial).acquire_owned()),
            });
            return;
        }
        self.tally.retries += u64::from(attempt > 1);
        if let Concurrency::PerKey(_) = route.options.concurrency {
            let route = Arc::clone(route);
            self.spawned
                .spawn(async move { call.begin(&route).run().await });
            return;
        }
        // Most handlers are done at once; then nothing has to be queued and woken.
        let mut begun = call.begin(route);
        match poll_fn(|cx| Poll::Ready(begun.poll(cx))).await {
            Poll::Ready(result) => self.ended(begun.end(result)),
            Poll::Pending => self.running.push(Box::pin(begun.run())),
        }
    }

    /// A call that waited has its permit: it begins, unless something was said meanwhile.
    pub(super) fn permitted(&mut self, at: usize) {
        let (ticket, id) = (self.waiting[at].call.ticket, self.waiting[at].call.route);
        while let Ok(word) = self.words.try_recv() {
            self.heard(word);
        }
        let is = |waiting: &Waiting| waiting.call.ticket == ticket && waiting.call.route == id;
        let Some(at) = self.waiting.iter().position(is) else {
            return;
        };
        if self.shared.source.lost.is_cancelled() {
            // The word of the loss is on its way; others may have the permit.
            self.waiting[at].permit = None;
            self.waiting[at].turn = Box::pin(std::future::pending());
            return;
        }
        let Waiting {
            call,
            route,
            permit,
            ..
        } = self.waiting.swap_remove(at);
        self.tally.retries += u64::from(call.attempt > 1);
        self.running.push(Box::pin(async move {
            let _permit = permit;
            call.begin(&route).run().await
        }));
    }

    /// Calls that have not begun are taken back.
    pub(super) fn withdraw(&mut self, of: impl Fn(RouteId) -> bool) {
        let mut at = 0;
        while at < self.waiting.len() {
            if !of(self.waiting[at].call.route) {
                at += 1;
                continue;
            }
            let Waiting { call, .. } = self.waiting.swap_remove(at);
            self.machine.handle(Input::Withdrawn {
                ticket: call.ticket,
                route: call.route,
            });
        }
    }

    pub(super) fn ended(&mut self, ended: Ended) {
        let Ended {
            ticket,
            route,
            attempt,
            record,
            result,
            took,
            mark,
        } = ended;
        if let Some(took) = took {
            self.meter.took(took);
        }
        let result = match result {
            Ok(()) => {
                self.tally.handled += 1;
                self.forget_error(ticket, Some(route));
                if let Some(guard) = self.flood_guard(route) {
                    guard.lock().done();
                }
                Outcome::Handled
            }
            Err(unhandled) => {
                let (count, error, rejected) = match unhandled {
                    Unhandled::Failed(error) => (&mut self.tally.failed, error, false),
                    Unhandled::Panicked(error) => (&mut self.tally.panicked, error, false),
                    Unhandled::Rejected(error) => (&mut self.tally.rejected, error, true),
                };
                *count += 1;
                self.failed(FailedCall {
                    ticket,
                    route,
                    attempt,
                    record,
                    error,
                    mark,
                    rejected,
                });
                if rejected {
                    Outcome::Rejected
                } else {
                    Outcome::Failed { now: self.now() }
                }
            }
        };
        self.machine.handle(Input::Outcome {
            ticket,
            route,
            result,
        });
    }
}

/// What a handler is called with, and for whom.
struct Call {
    ticket: Ticket,
    route: RouteId,
    attempt: u32,
    /// The attempt before, to be linked with.
    before: Mark,
    record: Arc<Record>,
    timed: bool,
}

/// A call that waits for its turn among the partitions of its registration.
pub(super) struct Waiting {
    call: Call,
    route: Arc<Route>,
    permit: Option<OwnedSemaphorePermit>,
    turn: Turn,
}

type Turn = Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send>>;

/// Waits until one of the calls has its permit.
pub(super) fn next_permit(waiting: &mut [Waiting]) -> impl Future<Output = usize> {
    poll_fn(|cx| {
        for (at, waiting) in waiting.iter_mut().enumerate() {
            // The semaphore is never closed, so there always is a permit in the end.
            if let Poll::Ready(permit) = waiting.turn.as_mut().poll(cx) {
                waiting.permit = permit.ok();
                return Poll::Ready(at);
            }
        }
        Poll::Pending
    })
}

/// A handler that was called and whose future is not done.
struct Begun {
    ticket: Ticket,
    route: RouteId,
    attempt: u32,
    record: Arc<Record>,
    span: Span,
    started: Option<Instant>,
    /// The future, or the panic of the call that should have given one.
    future: Result<Handled, String>,
    timeout: Option<Duration>,
    /// Runs from the first time that the handler waits.
    timer: Option<Pin<Box<Sleep>>>,
}

/// What a handler returned, or the text of its panic.
type Returned = Result<Result<(), BoxError>, String>;

impl Call {
    /// Calls the handler, which may panic already here.
    fn begin(self, route: &Route) -> Begun {
        let record = self.record;
        let span = trace::handle(
            &route.registration.labels,
            &record,
            self.attempt,
            &self.before,
        );
        let started = self.timed.then(Instant::now);
        let context = Context {
            record: Arc::clone(&record),
            attempt: self.attempt,
        };
        let name = record.event.as_ref().map(crate::event::Event::name);
        let future = match route.handlers.pick(name) {
            Some(handler) => {
                let call = || handler.call(context);
                catch_unwind(AssertUnwindSafe(|| span.in_scope(call)))
                    .map_err(|panic| panic_text(&*panic))
            }
            None => Err("the route has no handler for the event".to_owned()),
        };
        Begun {
            ticket: self.ticket,
            route: self.route,
            attempt: self.attempt,
            record,
            span,
            started,
            future,
            timeout: route.registration.handler_timeout,
            timer: None,
        }
    }
}

impl Begun {
    /// Polls the future once, in its span; a panic is its end, and so is its timeout.
    fn poll(&mut self, cx: &mut std::task::Context<'_>) -> Poll<Returned> {
        let future = match &mut self.future {
            Ok(future) => future,
            Err(panic) => return Poll::Ready(Err(std::mem::take(panic))),
        };
        let poll = || future.as_mut().poll(cx);
        match catch_unwind(AssertUnwindSafe(|| self.span.in_scope(poll))) {
            Ok(Poll::Ready(result)) => return Poll::Ready(Ok(result)),
            Ok(Poll::Pending) => {}
            Err(panic) => return Poll::Ready(Err(panic_text(&*panic))),
        }
        let Some(timeout) = self.timeout else {
            return Poll::Pending;
        };
        let sleep = || Box::pin(tokio::time::sleep(timeout));
        let timer = self.timer.get_or_insert_with(sleep);
        timer.as_mut().poll(cx).map(|()| {
            let text = format!("no result within the handler timeout of {timeout:?}");
            Ok(Err(Error::new(ErrorKind::Timeout, text).into()))
        })
    }

    async fn run(mut self) -> Ended {
        let result = poll_fn(|cx| self.poll(cx)).await;
        self.end(result)
    }

    fn end(self, result: Returned) -> Ended {
        let result = settle(result);
        let took = self.started.map(|started| started.elapsed());
        let mark = match &result {
            Ok(()) => None,
            Err(unhandled) => {
                trace::fail(&self.span, unhandled.error());
                trace::mark(&self.span)
            }
        };
        Ended {
            ticket: self.ticket,
            route: self.route,
            attempt: self.attempt,
            record: self.record,
            result,
            took,
            mark,
        }
    }
}

fn settle(returned: Returned) -> Result<(), Unhandled> {
    match returned {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            let is_final = guarded(|| subscribe::is_final(&*error)).unwrap_or(false);
            let error =
                Error::new(ErrorKind::Handler, "the handler returned an error").with_source(error);
            Err(match is_final {
                true => Unhandled::Rejected(error),
                false => Unhandled::Failed(error),
            })
        }
        Err(panic) => Err(Unhandled::Panicked(Error::new(
            ErrorKind::Handler,
            format!("the handler panicked: {panic}"),
        ))),
    }
}
