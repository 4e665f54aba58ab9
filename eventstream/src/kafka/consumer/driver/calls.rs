//! The calls of handlers: how one starts, and what comes of it.

use std::error::Error as StdError;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use ::tracing::Span;
use parking_lot::Mutex;
use tokio::sync::{AcquireError, OwnedSemaphorePermit};

use super::Driver;
use super::failures::FailedCall;
use crate::delivery::{Input, Ordering, Outcome, RouteId, Ticket};
use crate::error::{Error, ErrorKind};
use crate::guard::{self, guarded};
use crate::handler::{self, BoxError, Context, Handler, RawRecord, Record, Rejected};
use crate::kafka::consumer::routes::Route;
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
        if Arc::get_mut(&mut self.rejection).is_none_or(|r| r.get_mut().is_some()) {
            self.rejection = Arc::default();
        }
        let call = Call {
            ticket,
            route: id,
            attempt,
            before,
            record,
            rejection: Arc::clone(&self.rejection),
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
        if let Ordering::PerKey(_) = route.options.ordering {
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

type Handled = Result<(), BoxError>;

/// What a handler is called with, and for whom.
struct Call {
    ticket: Ticket,
    route: RouteId,
    attempt: u32,
    /// The attempt before, to be linked with.
    before: Mark,
    record: Arc<Record>,
    rejection: Arc<Mutex<Option<Rejected>>>,
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
    rejection: Arc<Mutex<Option<Rejected>>>,
    span: Span,
    started: Option<Instant>,
    /// The future, or the panic of the call that should have given one.
    future: Result<Pin<Box<dyn Future<Output = Handled> + Send>>, String>,
}

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
            rejection: Arc::clone(&self.rejection),
        };
        let name = record.event.as_ref().map(crate::event::Event::name);
        let future = match route.handlers.pick(name) {
            Some(handler) => {
                let call = || match handler {
                    Handler::Event(f) => match record.event.clone() {
                        Some(event) => f(context, event),
                        // A route was given an event without one: only if a table changed from raw
                        // handlers to event handlers while the record was on its way.
                        None => match handler::decode(&record) {
                            Ok(event) => f(context, event),
                            Err(error) => Box::pin(std::future::ready(Err(error.into()))),
                        },
                    },
                    Handler::Raw(f) => f(context, RawRecord::new(Arc::clone(&record))),
                };
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
            rejection: self.rejection,
            span,
            started,
            future,
        }
    }
}

impl Begun {
    /// Polls the future once, in its span; a panic is its end.
    fn poll(&mut self, cx: &mut std::task::Context<'_>) -> Poll<Result<Handled, String>> {
        let future = match &mut self.future {
            Ok(future) => future,
            Err(panic) => return Poll::Ready(Err(std::mem::take(panic))),
        };
        let poll = || future.as_mut().poll(cx);
        match catch_unwind(AssertUnwindSafe(|| self.span.in_scope(poll))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(panic_text(&*panic))),
        }
    }

    async fn run(mut self) -> Ended {
        let result = poll_fn(|cx| self.poll(cx)).await;
        self.end(result)
    }

    fn end(self, result: Result<Handled, String>) -> Ended {
        let result = settle(result, &self.rejection);
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

fn settle(
    result: Result<Result<(), BoxError>, String>,
    rejection: &Mutex<Option<Rejected>>,
) -> Result<(), Unhandled> {
    let rejected = rejection.lock().take();
    match (result, rejected) {
        (_, Some(rejected)) => Err(Unhandled::Rejected(rejected.into_error())),
        (Ok(Ok(())), None) => Ok(()),
        (Ok(Err(error)), None) => {
            // What does not fit its type now will not fit later.
            let misfit = guarded(|| is_misfit(&*error)).unwrap_or(false);
            let error =
                Error::new(ErrorKind::Handler, "the handler returned an error").with_source(error);
            Err(match misfit {
                true => Unhandled::Rejected(error),
                false => Unhandled::Failed(error),
            })
        }
        (Err(panic), None) => Err(Unhandled::Panicked(Error::new(
            ErrorKind::Handler,
            format!("the handler panicked: {panic}"),
        ))),
    }
}

/// Whether an error of this crate about decoding is among the causes.
fn is_misfit(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    for _ in 0..guard::CAUSES {
        let Some(error) = next else { break };
        if let Some(own) = error.downcast_ref::<Error>()
            && own.kind() == ErrorKind::Decode
        {
            return true;
        }
        // It leaves the error that it was made of out of its causes.
        let inner = error.downcast_ref::<std::io::Error>();
        next = match inner.and_then(std::io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    false
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}
