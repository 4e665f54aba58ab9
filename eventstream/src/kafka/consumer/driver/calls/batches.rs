//! Calls with several records.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use super::{AnyCall, Driver, Ended, EndedOne, Interrupted, Unhandled, Waiting, Watched};
use crate::delivery::{Concurrency, Input, RouteId, Started, Ticket};
use crate::kafka::consumer::routes::Route;
use crate::observe::trace::{self, Mark};
use crate::publish::Output;
use crate::record::Record;
use crate::subscribe::{BatchAnswer, Context, Staging};

/// The arguments of a batch handler's call.
pub(super) struct BatchCall {
    route: RouteId,
    records: Vec<Started<Arc<Record>>>,
    /// For each of them, where what is published is exactly once.
    stagings: Vec<Option<Arc<Staging>>>,
    timed: bool,
}

/// How a call with several records ended.
pub(in super::super) struct EndedBatch {
    route: RouteId,
    records: Vec<Started<Arc<Record>>>,
    /// By the position of the record.
    results: Vec<Result<(), Unhandled>>,
    outputs: Vec<Vec<Output>>,
    took: Option<Duration>,
    mark: Mark,
}

impl Driver {
    pub(in super::super) fn start_batch(
        &mut self,
        id: RouteId,
        records: Vec<Started<Arc<Record>>>,
    ) {
        let Some(attached) = self.routes.iter().find(|r| r.route.id == id) else {
            return;
        };
        let route = Arc::clone(&attached.route);
        let call = BatchCall {
            route: id,
            stagings: records.iter().map(|_| self.env.staging()).collect(),
            records,
            timed: self.meter.is_on(),
        };
        if let Some(serial) = &route.registration.serial {
            let turn = Box::pin(Arc::clone(serial).acquire_owned());
            self.waiting
                .push(Waiting::new(AnyCall::Batch(call), route, turn));
            return;
        }
        self.tally.retries += u64::from(call.is_again());
        if let Concurrency::PerKey(_) = route.options.concurrency {
            self.spawned.spawn(async move { call.run(&route).await });
        } else {
            self.running
                .push(Box::pin(async move { call.run(&route).await }));
        }
    }

    pub(super) fn ended_batch(&mut self, ended: EndedBatch) {
        let EndedBatch {
            route,
            records,
            results,
            outputs,
            took,
            mark,
        } = ended;
        if let Some(took) = took {
            self.meter.took(took);
        }
        let mut outcomes = Vec::with_capacity(records.len());
        let results = results.into_iter().zip(outputs);
        for (started, (result, outputs)) in records.into_iter().zip(results) {
            let ticket = started.ticket;
            let outcome = self.outcome(EndedOne {
                ticket,
                route,
                attempt: started.attempt,
                record: started.body,
                result,
                outputs,
                took: None,
                mark: Mark::clone(&mark),
            });
            outcomes.push((ticket, outcome));
        }
        let now = self.now();
        self.machine.handle(Input::BatchEnded {
            route,
            outcomes,
            now,
        });
    }
}

impl BatchCall {
    pub(super) fn route(&self) -> RouteId {
        self.route
    }

    pub(super) fn ticket(&self) -> Option<Ticket> {
        self.records.first().map(|first| first.ticket)
    }

    /// Whether it is a retry of a record, which is then alone.
    pub(super) fn is_again(&self) -> bool {
        self.records.iter().any(|started| started.attempt > 1)
    }

    pub(super) fn tickets(&self) -> Vec<Ticket> {
        let records = self.records.iter();
        records.map(|started| started.ticket).collect()
    }

    pub(super) async fn run(self, route: &Route) -> Ended {
        let records = || self.records.iter().map(|started| &*started.body);
        let span = trace::handle_batch(&route.registration.labels, records());
        let context = |(started, staging): (&Started<Arc<Record>>, &Option<Arc<Staging>>)| {
            Context::of(&started.body, started.attempt).staging(staging.as_ref())
        };
        let each = self.records.iter().zip(&self.stagings);
        let contexts: Vec<_> = each.map(context).collect();
        let handler = route.handlers.batch();
        let mut call = handler.map(|handler| move || handler.call(&contexts));
        let timeout = route.registration.handler_timeout;
        let mut watched = Watched::new(span, self.timed, timeout);
        let answer = poll_fn(|cx| watched.poll(&mut call, cx)).await;
        let results = results(answer, self.records.len());
        let failure = results.iter().find_map(|result| result.as_ref().err());
        let (took, mark) = watched.end(failure.map(Unhandled::error));
        let close = |staging: Option<Arc<Staging>>| staging.map_or_else(Vec::new, |s| s.close());
        let outputs = self.stagings.into_iter().map(close).collect();
        Ended::Batch(EndedBatch {
            route: self.route,
            records: self.records,
            results,
            outputs,
            took,
            mark,
        })
    }
}

/// The outcome of each record.
fn results(answer: Result<BatchAnswer, Interrupted>, records: usize) -> Vec<Result<(), Unhandled>> {
    let (rest, mut failed) = match answer {
        Ok(answer) => (answer.rest.map_err(Unhandled::returned), answer.failed),
        Err(interrupted) => (Err(interrupted.into()), std::collections::BTreeMap::new()),
    };
    let result = |position| match failed.remove(&position) {
        Some(error) => Err(Unhandled::returned(error)),
        None => rest.clone(),
    };
    (0..records).map(result).collect()
}
