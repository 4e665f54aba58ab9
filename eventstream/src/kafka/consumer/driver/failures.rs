//! Failed records: dead letters, skipped records, and who is notified.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{Driver, LastError};
use crate::config::CommitPolicy;
use crate::delivery::{Failure, FloodGuard, Input, Reason, RouteId, Ticket};
use crate::error::{Error, ErrorKind};
use crate::guard::{guarded, tracing, with_causes};
use crate::kafka::consumer::letters::{self, Cause};
use crate::kafka::consumer::words::ToPoller;
use crate::observe::health::Problem;
use crate::observe::trace::Mark;
use crate::publish::receipt::Delivery;
use crate::record::{self, Record};
use crate::subscribe::{Context, DeadLetter, DeadLetterReason, FailedAttempt, reason};

/// A dead letter and whether it was written.
pub(super) struct Letter {
    failure: Failure<Arc<Record>>,
    result: Result<Delivery, Error>,
}

/// A failed handler call.
pub(super) struct FailedCall {
    pub(super) ticket: Ticket,
    pub(super) route: RouteId,
    pub(super) attempt: u32,
    pub(super) record: Arc<Record>,
    pub(super) error: Error,
    pub(super) mark: Mark,
    /// No retry can fix it.
    pub(super) rejected: bool,
}

/// The error of a dead letter: the handler's own with its causes, without our text around it.
fn own_text(error: &Error) -> String {
    let source = || {
        error
            .source()
            .filter(|_| error.kind() == ErrorKind::Handler)
    };
    let own = guarded(source).flatten().unwrap_or(error);
    with_causes(guarded(|| reason(own)).unwrap_or(own))
}

impl Driver {
    /// Records a failed call and reports it: in the log at once, then at growing intervals.
    pub(super) fn failed(&mut self, call: FailedCall) {
        let next = self.next_within(&call);
        let route = Some(call.route);
        let same = |last: &&LastError| last.ticket == call.ticket && last.route == route;
        let now = Instant::now();
        let since = self.errors.iter().find(same).map_or(now, |last| last.since);
        self.forget_error(call.ticket, route);
        if let Some(witness) = &mut self.witness {
            witness.failed(call.record.offset, call.attempt, &call.error);
        }
        if let Some(untold) = self.failures_told.due(now) {
            self.log_failure(&call, next, untold);
        }
        let attached = self.routes.iter().find(|r| r.route.id == call.route);
        if let Some(registration) = attached.map(|r| &r.route.registration)
            && let Some(next) = next
            && registration.told.wants_retries()
        {
            let context = Context::of(&call.record, call.attempt);
            let attempt = FailedAttempt::new(context, call.error.clone(), next);
            registration.told.retry(attempt);
        }
        self.errors_changed = true;
        self.errors.push(LastError {
            ticket: call.ticket,
            route,
            error: call.error,
            mark: call.mark,
            offset: call.record.offset,
            attempts: call.attempt,
            since,
            again: next.is_some(),
        });
    }

    /// When the handler is called again at the latest; `None` if it is not.
    fn next_within(&self, call: &FailedCall) -> Option<Duration> {
        if call.rejected || self.env.commit == CommitPolicy::BeforeProcessing {
            return None;
        }
        let attached = self.routes.iter().find(|r| r.route.id == call.route)?;
        let own = attached.route.own_retry(&call.record);
        own.unwrap_or(attached.route.options.retry)
            .next_within(call.attempt)
    }

    /// Event bodies do not belong in a log; a key suffices to find the record.
    fn log_failure(&self, call: &FailedCall, next: Option<Duration>, untold: u64) {
        let event = call.record.event.as_ref().map(crate::event::Event::name);
        let key = call.record.key().map(std::str::from_utf8);
        let key = key.and_then(Result::ok);
        let error = with_causes(&call.error);
        let source = &self.shared.source;
        let (group, topic) = (&*self.env.wire_group, source.topic.as_str());
        let (partition, offset, attempt) = (source.partition, call.record.offset, call.attempt);
        match next {
            Some(next_within) => tracing::warn!(
                group,
                topic,
                partition,
                offset,
                event,
                key,
                attempt,
                ?next_within,
                untold,
                error,
                "a handler failed and is retried; the records behind it wait"
            ),
            None => tracing::warn!(
                group,
                topic,
                partition,
                offset,
                event,
                key,
                attempt,
                untold,
                error,
                "a handler failed, and this attempt was the last"
            ),
        }
    }

    pub(super) fn dead_letter(&mut self, failure: Failure<Arc<Record>>) {
        let sender = Arc::clone(&self.env.sender);
        let cause = Cause {
            error: self
                .find_error(&failure)
                .map_or_else(String::new, |error| own_text(&error)),
            group: Arc::clone(&self.env.wire_group),
            suffix: Arc::clone(&self.env.dead_letter_suffix),
            labels: Arc::clone(&self.env.labels),
            last: self.find_mark(failure.ticket, failure.route),
        };
        if self.staged.is_some() {
            let result = letters::output(&sender, &failure, &cause).map(|output| {
                let delivery = Delivery::nowhere(output.topic.clone());
                self.stage(failure.ticket, vec![output]);
                delivery
            });
            self.lettered(Letter { failure, result });
            return;
        }
        self.letters.push(Box::pin(async move {
            let result = letters::write(&sender.producer, &failure, &cause).await;
            Letter { failure, result }
        }));
    }

    pub(super) fn lettered(&mut self, letter: Letter) {
        let Letter { failure, result } = letter;
        let stored = result.is_ok();
        match result {
            Ok(delivery) => {
                self.tally.dead_letters[DeadLetterReason::from(failure.reason) as usize] += 1;
                if failure.reason == Reason::Stopped {
                    self.count_unhandled(failure.route);
                }
                if self.witness.is_some() {
                    let letter = self.letter(&failure, delivery.clone());
                    if let Some(witness) = &mut self.witness {
                        witness.dead_lettered(letter);
                    }
                }
                self.tell_dead_letter(&failure, delivery);
                let mut progress = self.shared.progress.lock();
                progress
                    .blocked
                    .take_if(|(offset, _)| *offset == failure.offset);
                drop(progress);
                self.forget_error(failure.ticket, failure.route);
                self.watch_flood(failure.route);
            }
            Err(error) => {
                self.tally.letter_failures += 1;
                let error = Error::new(
                    error.kind(),
                    format!(
                        "dead letter of {}/{} offset {}: it cannot be written, so the offset does \
                         not move; tried again with backoff{}",
                        self.shared.source.topic,
                        self.shared.source.partition,
                        failure.offset,
                        if error.kind() == ErrorKind::TooLarge {
                            "; it is larger than `message_max_bytes` or the max.message.bytes of \
                             its topic"
                        } else {
                            ""
                        }
                    ),
                )
                .with_source(error);
                tracing::warn!(%error, "dead letter failed");
                self.tell(failure.route, &error);
                let mut progress = self.shared.progress.lock();
                let before = progress.blocked.take();
                let before = before.filter(|(offset, _)| *offset == failure.offset);
                let problem = Problem::after(before.as_ref().map(|(_, known)| known), error);
                progress.blocked = Some((failure.offset, problem));
            }
        }
        let now = self.now();
        self.machine.handle(Input::DeadLettered {
            ticket: failure.ticket,
            route: failure.route,
            stored,
            now,
        });
    }

    /// Reports a dead letter to the route's registration, or to all of them.
    pub(super) fn tell_dead_letter(&self, failure: &Failure<Arc<Record>>, delivery: Delivery) {
        let mut told = Vec::new();
        for attached in &self.routes {
            let registration = &attached.route.registration;
            let concerned = failure.route.is_none_or(|id| attached.route.id == id);
            if concerned
                && registration.on_dead_letter.is_some()
                && !told.contains(&registration.id)
            {
                told.push(registration.id);
                registration.tell_dead_letter(&self.letter(failure, delivery.clone()));
            }
        }
    }

    fn letter(&self, failure: &Failure<Arc<Record>>, delivery: Delivery) -> DeadLetter {
        let error = self.find_error(failure);
        DeadLetter::new(
            &failure.body,
            failure.attempts,
            failure.reason.into(),
            error.map_or_else(String::new, |error| own_text(&error)),
            delivery,
        )
    }

    /// Pauses a registration with too many dead letters.
    pub(super) fn watch_flood(&self, route: Option<RouteId>) {
        let tripped: Vec<_> = self
            .routes
            .iter()
            .filter(|r| route.is_none_or(|id| r.route.id == id))
            .map(|r| &r.route.registration)
            .filter(|r| r.flood.as_ref().is_some_and(|g| g.lock().dead_lettered()))
            .collect();
        for registration in tripped {
            let error = Error::new(
                ErrorKind::Handler,
                "too many dead letters: the subscription is paused until `resume`",
            )
            .with_remedy("find and fix what the dead letters have in common, then call `resume`");
            tracing::error!(topic = %self.shared.source.topic, "{error}");
            registration.tell(&error);
            let mut state = registration.state.lock();
            state.paused = true;
            state.problem = Some(Problem::now(error));
            drop(state);
            self.poller.send(ToPoller::LookAgain);
        }
    }

    pub(super) fn flood_guard(&self, route: RouteId) -> Option<&Mutex<FloodGuard>> {
        self.routes
            .iter()
            .find(|r| r.route.id == route)
            .and_then(|r| r.route.registration.flood.as_ref())
    }

    pub(super) fn skipped(&mut self, failure: &Failure<Arc<Record>>) {
        self.tally.skipped[DeadLetterReason::from(failure.reason) as usize] += 1;
        if failure.reason == Reason::Unmatched {
            // Acknowledged by the policy, and counted on arrival.
            return;
        }
        if failure.reason == Reason::Stopped {
            self.count_unhandled(failure.route);
        } else if failure.reason != Reason::Undecodable {
            let error = self.failure_error(failure, "skipped, according to the policy");
            self.tell(failure.route, &error);
        }
        self.forget_error(failure.ticket, failure.route);
    }

    fn count_unhandled(&mut self, route: Option<RouteId>) {
        let mut routes = self.routes.iter_mut();
        if let Some(attached) = routes.find(|attached| Some(attached.route.id) == route) {
            attached.unhandled += 1;
        }
    }

    /// Reports, all at once, what stopped subscriptions left behind.
    pub(super) fn tell_unhandled(&mut self) {
        for attached in &mut self.routes {
            let count = std::mem::take(&mut attached.unhandled);
            if count == 0 {
                continue;
            }
            let source = &self.shared.source;
            let error = Error::new(
                ErrorKind::Handler,
                format!(
                    "{}/{}: {count} records were not handled before the subscription stopped, \
                     and no other takes them: they count as unmatched",
                    source.topic, source.partition,
                ),
            );
            tracing::warn!(
                group = &*self.env.wire_group,
                topic = %source.topic,
                partition = source.partition,
                count,
                "records of a stopped subscription were not handled, and count as unmatched"
            );
            attached.route.registration.tell(&error);
        }
    }

    pub(super) fn failure_error(&self, failure: &Failure<Arc<Record>>, what: &str) -> Error {
        let error = Error::new(
            ErrorKind::Handler,
            format!(
                "{}/{} offset {}, {} after {} attempts: {what}",
                self.shared.source.topic,
                self.shared.source.partition,
                failure.offset,
                DeadLetterReason::from(failure.reason).as_str(),
                failure.attempts,
            ),
        );
        match self.find_error(failure) {
            Some(cause) => error.with_source(cause),
            None => error,
        }
    }

    pub(super) fn context_of(&self, record: &Record, doing: &str, error: &Error) -> Error {
        Error::new(
            ErrorKind::Decode,
            format!(
                "{doing} {}/{} offset {}",
                record.source.topic, record.source.partition, record.offset
            ),
        )
        .with_source(error.clone())
    }

    /// Reports an error to the registration of a route, or to all of this topic; returns which
    /// these are.
    pub(super) fn tell(&self, route: Option<RouteId>, error: &Error) -> Vec<u32> {
        if self.env.log_errors {
            tracing::warn!(group = &*self.env.wire_group, %error, "subscription");
        }
        let mut told = Vec::new();
        for attached in &self.routes {
            let registration = &attached.route.registration;
            if route.is_none_or(|id| attached.route.id == id) && !told.contains(&registration.id) {
                told.push(registration.id);
                registration.tell(error);
            }
        }
        told
    }

    pub(super) fn find_mark(&self, ticket: Ticket, route: Option<RouteId>) -> Mark {
        let mut errors = self.errors.iter();
        errors
            .find(|last| last.ticket == ticket && last.route == route)
            .and_then(|last| Mark::clone(&last.mark))
    }

    pub(super) fn forget_error(&mut self, ticket: Ticket, route: Option<RouteId>) {
        if !self.errors.is_empty() {
            self.errors_changed = true;
            self.errors
                .retain(|last| !(last.ticket == ticket && last.route == route));
        }
    }

    pub(super) fn find_error(&self, failure: &Failure<Arc<Record>>) -> Option<Error> {
        if failure.reason == Reason::Undecodable {
            return record::decode(&failure.body).err();
        }
        self.errors
            .iter()
            .find(|last| last.ticket == failure.ticket && last.route == failure.route)
            .map(|last| last.error.clone())
    }
}
