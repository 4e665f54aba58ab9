//! The calls of handlers: how one starts, and what comes of it.

use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use futures_util::FutureExt;
use parking_lot::Mutex;

use super::Driver;
use crate::delivery::{Input, Ordering, Outcome, RouteId, Ticket};
use crate::error::{Error, ErrorKind};
use crate::handler::{self, BoxError, Context, Handler, RawRecord, Record};
use crate::kafka::consumer::routes::Route;

pub(super) type Running = Pin<Box<dyn Future<Output = Ended> + Send>>;

/// How a handler's call ended.
pub(super) struct Ended {
    ticket: Ticket,
    route: RouteId,
    result: Result<(), Unhandled>,
}

enum Unhandled {
    Failed(Error),
    Rejected(Error),
}

impl Driver {
    pub(super) async fn start(
        &mut self,
        ticket: Ticket,
        id: RouteId,
        attempt: u32,
        record: Arc<Record>,
    ) {
        let Some(attached) = self.routes.iter().find(|r| r.route.id == id) else {
            return;
        };
        let route = &attached.route;
        if Arc::get_mut(&mut self.rejection).is_none_or(|r| r.get_mut().is_some()) {
            self.rejection = Arc::default();
        }
        let rejection = Arc::clone(&self.rejection);
        let context = Context {
            record: Arc::clone(&record),
            attempt,
            rejection: Arc::clone(&rejection),
        };
        if let Ordering::PerKey(_) = route.options.ordering {
            let route = Arc::clone(route);
            self.spawned.spawn(async move {
                let result = finished(invoke(&route, context, record)).await;
                settle(ticket, id, result, &rejection)
            });
            return;
        }
        if route.registration.serial.is_some() {
            let route = Arc::clone(route);
            self.running.push(Box::pin(async move {
                let _permit = match &route.registration.serial {
                    // The semaphore is never closed, so there always is a permit.
                    Some(serial) => serial.acquire().await.ok(),
                    None => None,
                };
                let result = finished(invoke(&route, context, record)).await;
                settle(ticket, id, result, &rejection)
            }));
            return;
        }
        let result = match invoke(route, context, record) {
            Ok(mut call) => {
                // Most handlers are done at once; then nothing has to be queued and woken.
                let first = poll_fn(|cx| {
                    let poll = AssertUnwindSafe(|| call.as_mut().poll(cx));
                    Poll::Ready(std::panic::catch_unwind(poll))
                });
                match first.await {
                    Ok(Poll::Ready(result)) => Ok(result),
                    Ok(Poll::Pending) => {
                        self.running.push(Box::pin(async move {
                            settle(ticket, id, finished(Ok(call)).await, &rejection)
                        }));
                        return;
                    }
                    Err(panic) => Err(panic_text(&*panic)),
                }
            }
            Err(panic) => Err(panic),
        };
        self.ended(settle(ticket, id, result, &rejection));
    }

    pub(super) fn ended(&mut self, ended: Ended) {
        let Ended {
            ticket,
            route,
            result,
        } = ended;
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
                self.tally.failed_attempts += 1;
                let (error, rejected) = match unhandled {
                    Unhandled::Failed(error) => (error, false),
                    Unhandled::Rejected(error) => (error, true),
                };
                tracing::debug!(
                    topic = %self.shared.source.topic,
                    partition = self.shared.source.partition,
                    %error,
                    "handler failed"
                );
                self.shared.progress.lock().last_failure = Some(error.clone());
                self.remember_error(ticket, Some(route), error);
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

type Call = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;

/// Calls a handler, which may panic already here.
fn invoke(route: &Route, context: Context, record: Arc<Record>) -> Result<Call, String> {
    let name = record.event.as_ref().map(crate::event::Event::name);
    let Some(handler) = route.handlers.pick(name) else {
        return Err("the route has no handler for the event".to_owned());
    };
    let call = AssertUnwindSafe(|| match handler {
        Handler::Event(f) => match record.event.clone() {
            Some(event) => f(context, event),
            // A route was given an event without one: only if a table changed from raw handlers
            // to event handlers while the record was on its way.
            None => match handler::decode(&record) {
                Ok(event) => f(context, event),
                Err(error) => Box::pin(std::future::ready(Err(error.into()))),
            },
        },
        Handler::Raw(f) => f(context, RawRecord::new(record)),
    });
    std::panic::catch_unwind(call).map_err(|panic| panic_text(&*panic))
}

async fn finished(call: Result<Call, String>) -> Result<Result<(), BoxError>, String> {
    AssertUnwindSafe(call?)
        .catch_unwind()
        .await
        .map_err(|panic| panic_text(&*panic))
}

fn settle(
    ticket: Ticket,
    route: RouteId,
    result: Result<Result<(), BoxError>, String>,
    rejection: &Mutex<Option<String>>,
) -> Ended {
    let rejected = rejection.lock().take();
    let result = match (result, rejected) {
        (_, Some(reason)) => Err(Unhandled::Rejected(Error::new(ErrorKind::Handler, reason))),
        (Ok(Ok(())), None) => Ok(()),
        (Ok(Err(error)), None) => Err(Unhandled::Failed(
            Error::new(ErrorKind::Handler, "the handler returned an error").with_source(error),
        )),
        (Err(panic), None) => Err(Unhandled::Failed(Error::new(
            ErrorKind::Handler,
            format!("the handler panicked: {panic}"),
        ))),
    };
    Ended {
        ticket,
        route,
        result,
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}
