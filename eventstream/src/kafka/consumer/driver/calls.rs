//! Handler calls: how they start, and what follows.

mod batches;
mod watched;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::{AcquireError, OwnedSemaphorePermit};

use self::batches::{BatchCall, EndedBatch};
use self::watched::{Interrupted, Watched};
use super::Driver;
use super::failures::FailedCall;
use crate::delivery::{Concurrency, Input, Outcome, RouteId, Ticket};
use crate::error::{Error, ErrorKind};
use crate::guard::guarded;
use crate::kafka::consumer::routes::Route;
use crate::observe::trace::{self, Mark};
use crate::publish::Output;
use crate::record::Record;
use crate::subscribe::{self, BoxError, BoxHandler, Context, Handled, Staging};

pub(super) type Running = Pin<Box<dyn Future<Output = Ended> + Send>>;

/// How a handler call ended.
pub(super) enum Ended {
    One(EndedOne),
    Batch(EndedBatch),
}

/// How a call with one record ended.
pub(super) struct EndedOne {
    ticket: Ticket,
    route: RouteId,
    attempt: u32,
    record: Arc<Record>,
    result: Result<(), Unhandled>,
    /// What it has published, where that is exactly once.
    outputs: Vec<Output>,
    /// How long it took, if that is measured.
    took: Option<Duration>,
    mark: Mark,
}

#[derive(Clone)]
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
            staging: self.env.staging(),
            timed: self.meter.is_on(),
        };
        if let Some(serial) = &route.registration.serial {
            let turn = Box::pin(Arc::clone(serial).acquire_owned());
            self.waiting
                .push(Waiting::new(AnyCall::One(call), Arc::clone(route), turn));
            return;
        }
        if let Some(offers) = &route.registration.offers {
            let (offers, route) = (Arc::clone(offers), Arc::clone(route));
            self.offer(&offers, call, route, None);
            return;
        }
        self.tally.retries += u64::from(attempt > 1);
        if let Concurrency::PerKey(_) = route.options.concurrency {
            let route = Arc::clone(route);
            self.spawned.spawn(async move { call.run(&route).await });
            return;
        }
        // Most handlers complete at once; then nothing needs to be queued and woken.
        let (mut begun, mut handler) = call.begin(route);
        let first = poll_fn(|cx| Poll::Ready(begun.watched.poll(&mut handler, cx))).await;
        drop(handler);
        match first {
            Poll::Ready(result) => self.ended(begun.end(result)),
            Poll::Pending => self
                .running
                .push(Box::pin(begun.run(None::<fn() -> Handled>))),
        }
    }

    /// A waiting call has its permit: it starts, unless a message arrived meanwhile.
    pub(super) fn permitted(&mut self, at: usize) {
        let (ticket, id) = (
            self.waiting[at].call.ticket(),
            self.waiting[at].call.route(),
        );
        while let Ok(word) = self.words.try_recv() {
            self.heard(word);
        }
        let is = |waiting: &Waiting| waiting.call.ticket() == ticket && waiting.call.route() == id;
        let Some(at) = self.waiting.iter().position(is) else {
            return;
        };
        if self.shared.source.lost.is_cancelled() {
            // The message about the loss is on its way; another call may have the permit.
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
        let call = match (call, &route.registration.offers) {
            (AnyCall::One(call), Some(offers)) => {
                let offers = Arc::clone(offers);
                self.offer(&offers, call, route, permit);
                return;
            }
            (call, _) => call,
        };
        self.tally.retries += u64::from(call.is_again());
        self.running.push(Box::pin(async move {
            let _permit = permit;
            match call {
                AnyCall::One(call) => call.run(&route).await,
                AnyCall::Batch(call) => call.run(&route).await,
            }
        }));
    }

    /// Withdraws calls that have not started.
    pub(super) fn withdraw(&mut self, of: impl Fn(RouteId) -> bool) {
        self.withdraw_offers(&of);
        let mut at = 0;
        while at < self.waiting.len() {
            if !of(self.waiting[at].call.route()) {
                at += 1;
                continue;
            }
            let Waiting { call, .. } = self.waiting.swap_remove(at);
            self.machine.handle(Input::Withdrawn {
                route: call.route(),
                tickets: call.tickets(),
            });
        }
    }

    pub(super) fn ended(&mut self, ended: Ended) {
        match ended {
            Ended::One(ended) => self.ended_one(ended),
            Ended::Batch(ended) => self.ended_batch(ended),
        }
    }

    fn ended_one(&mut self, ended: EndedOne) {
        if let Some(took) = ended.took {
            self.meter.took(took);
        }
        let (ticket, route) = (ended.ticket, ended.route);
        let result = self.outcome(ended);
        self.machine.handle(Input::Outcome {
            ticket,
            route,
            result,
        });
    }

    /// Counts an outcome, and records and reports a failure.
    fn outcome(&mut self, ended: EndedOne) -> Outcome {
        let EndedOne {
            ticket,
            route,
            attempt,
            record,
            result,
            outputs,
            mark,
            ..
        } = ended;
        match result {
            Ok(()) => {
                self.stage(ticket, outputs);
                self.tally.handled += 1;
                if let Some(witness) = &mut self.witness {
                    witness.handled(&record);
                }
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
                    record: Arc::clone(&record),
                    error,
                    mark,
                    rejected,
                });
                if rejected {
                    Outcome::Rejected
                } else {
                    let attached = self.routes.iter().find(|r| r.route.id == route);
                    Outcome::Failed {
                        now: self.now(),
                        retry: attached.and_then(|r| r.route.own_retry(&record)),
                    }
                }
            }
        }
    }
}

/// The arguments of a call, and whom it is for.
pub(super) struct Call {
    pub(super) ticket: Ticket,
    pub(super) route: RouteId,
    pub(super) attempt: u32,
    /// The previous attempt, to link to.
    before: Mark,
    pub(super) record: Arc<Record>,
    staging: Option<Arc<Staging>>,
    timed: bool,
}

/// A call that has not started.
enum AnyCall {
    One(Call),
    Batch(BatchCall),
}

impl AnyCall {
    fn route(&self) -> RouteId {
        match self {
            Self::One(call) => call.route,
            Self::Batch(call) => call.route(),
        }
    }

    /// Of its first record.
    fn ticket(&self) -> Option<Ticket> {
        match self {
            Self::One(call) => Some(call.ticket),
            Self::Batch(call) => call.ticket(),
        }
    }

    fn tickets(&self) -> Vec<Ticket> {
        match self {
            Self::One(call) => vec![call.ticket],
            Self::Batch(call) => call.tickets(),
        }
    }

    fn is_again(&self) -> bool {
        match self {
            Self::One(call) => call.attempt > 1,
            Self::Batch(call) => call.is_again(),
        }
    }
}

/// A call that waits for its turn among the partitions of its registration.
pub(super) struct Waiting {
    call: AnyCall,
    route: Arc<Route>,
    permit: Option<OwnedSemaphorePermit>,
    turn: Turn,
}

impl Waiting {
    fn new(call: AnyCall, route: Arc<Route>, turn: Turn) -> Self {
        Self {
            call,
            route,
            permit: None,
            turn,
        }
    }
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

/// A call that has begun and has not ended.
struct Begun {
    ticket: Ticket,
    route: RouteId,
    attempt: u32,
    record: Arc<Record>,
    staging: Option<Arc<Staging>>,
    watched: Watched<Result<(), BoxError>>,
}

impl Call {
    async fn run(self, route: &Route) -> Ended {
        let (begun, handler) = self.begin(route);
        begun.run(handler).await
    }

    /// Runs until the answer to a pulled event.
    pub(super) async fn run_pulled(self, route: &Route, answered: Handled) -> Ended {
        let begun = self.begun(route, None);
        begun.run(Some(|| answered)).await
    }

    /// Begins with a handler that is still to be called; `None` if the route has none for the event.
    fn begin(self, route: &Route) -> (Begun, Option<impl FnOnce() -> Handled>) {
        let context = Context::of(&self.record, self.attempt).staging(self.staging.as_ref());
        let handler = route.handler(&self.record);
        let timeout = handler.and_then(BoxHandler::timeout);
        let call = handler.map(|handler| || handler.call(context));
        (self.begun(route, timeout), call)
    }

    fn begun(self, route: &Route, own_timeout: Option<Duration>) -> Begun {
        let registration = &route.registration;
        let span = trace::handle(
            &registration.labels,
            &self.record,
            self.attempt,
            &self.before,
        );
        let timeout = own_timeout.or(registration.handler_timeout);
        Begun {
            ticket: self.ticket,
            route: self.route,
            attempt: self.attempt,
            watched: Watched::new(span, self.timed, timeout),
            record: self.record,
            staging: self.staging,
        }
    }
}

impl Begun {
    /// Runs to the end; with no call if that was made.
    async fn run(mut self, mut call: Option<impl FnOnce() -> Handled>) -> Ended {
        let result = poll_fn(|cx| self.watched.poll(&mut call, cx)).await;
        self.end(result)
    }

    fn end(self, result: Result<Result<(), BoxError>, Interrupted>) -> Ended {
        let result = match result {
            Ok(returned) => returned.map_err(Unhandled::returned),
            Err(interrupted) => Err(interrupted.into()),
        };
        let (took, mark) = self
            .watched
            .end(result.as_ref().err().map(Unhandled::error));
        Ended::One(EndedOne {
            ticket: self.ticket,
            route: self.route,
            attempt: self.attempt,
            record: self.record,
            result,
            outputs: self
                .staging
                .map_or_else(Vec::new, |staging| staging.close()),
            took,
            mark,
        })
    }
}

impl Unhandled {
    /// The handler returned an error.
    fn returned(error: BoxError) -> Self {
        let is_final = guarded(|| subscribe::is_final(&*error)).unwrap_or(false);
        let error =
            Error::new(ErrorKind::Handler, "the handler returned an error").with_source(error);
        match is_final {
            true => Self::Rejected(error),
            false => Self::Failed(error),
        }
    }
}

impl From<Interrupted> for Unhandled {
    fn from(interrupted: Interrupted) -> Self {
        match interrupted {
            Interrupted::Panicked(panic) => Self::Panicked(Error::new(
                ErrorKind::Handler,
                format!("the handler panicked: {panic}"),
            )),
            Interrupted::TimedOut(timeout) => {
                let text = format!("no result within the handler timeout of {timeout:?}");
                Self::returned(Error::new(ErrorKind::Timeout, text).into())
            }
        }
    }
}
