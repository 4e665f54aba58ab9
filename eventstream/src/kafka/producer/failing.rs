//! The error of a failed event, and where it is reported.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode as Code;

use super::Inner;
use super::admission::Left;
use super::refusals;
use crate::error::{Error, ErrorKind};
use crate::guard;
use crate::kafka::denied::{Operation, Resource, is_denied};
use crate::kafka::error::{classify, from_code};
use crate::kafka::native::Report;
use crate::name::prefixed;
use crate::observe::trace::{self, Span};
use crate::observe::untold::Untold;
use crate::publish::Undelivered;
use crate::publish::receipt::SlotRef;

const NOT_STORED: &str = "; the event is not stored";
const MAYBE_STORED: &str = "; a request was in flight, so the event may have been stored";

/// A failed event. Its headers are copied only for `on_error` and `shutdown`.
struct Failed<'a, H> {
    topic: &'a str,
    key: Option<&'a [u8]>,
    value: &'a [u8],
    headers: H,
}

impl Inner {
    /// Handles the failure in a report.
    pub(super) fn fail(&self, report: &Report<'_>, code: Code) {
        let prefix = &*self.options.prefix;
        let wire = report.topic.name();
        let topic = match wire.strip_prefix(prefix) {
            Some(rest) if !prefix.is_empty() => rest.strip_prefix('.').unwrap_or(wire),
            _ => wire,
        };
        let error = self.failure(topic, report.partition, code, report.maybe_stored);
        let value = report.value.unwrap_or_default();
        let event = Failed {
            topic,
            key: report.key,
            value,
            headers: || report.headers(),
        };
        self.failed(event, &report.slot, error);
    }

    /// Reports a failure once: a slot that already has an outcome keeps it. The receipt comes last,
    /// so that its waiter finds the callback called and the event counted.
    fn failed<H>(&self, event: Failed<'_, H>, slot: &SlotRef, error: Error)
    where
        H: FnOnce() -> Vec<(String, Option<Vec<u8>>)>,
    {
        // Only this thread completes slots.
        if slot.is_done() {
            return;
        }
        self.counters.failed();
        self.options.meter.failed(error.kind());
        self.end_span(slot, |span| trace::fail(span, &error));
        let Failed { topic, value, .. } = event;
        let collecting = self.collecting.load(Ordering::SeqCst);
        if !collecting && self.options.on_error.is_none() {
            slot.fail_untold(Arc::new(self.untold(topic, value, error)));
            return;
        }
        let undelivered = Undelivered::new(
            topic,
            event.key.map(<[u8]>::to_vec),
            value.to_vec(),
            (event.headers)(),
            error.clone(),
        );
        if collecting {
            self.undelivered.lock().push(undelivered.clone());
        }
        if let Some(on_error) = &self.options.on_error
            && guard::guarded(|| on_error(undelivered)).is_none()
        {
            let client = &*self.options.name;
            guard::tracing::error!(client, topic, "the on_error callback panicked");
        }
        slot.complete(Err(error));
    }

    /// Ends the span of an event, if it has one. A subscriber that panics, as it does for another
    /// subscriber's span, must not prevent the outcome.
    pub(super) fn end_span(&self, slot: &SlotRef, tell: impl FnOnce(&Span)) {
        if let Some(span) = slot.take_span() {
            self.guarded(
                "ending a span panicked in a tracing subscriber",
                move || {
                    tell(&span);
                    drop(span);
                },
            );
        }
    }

    fn untold(&self, topic: &str, value: &[u8], error: Error) -> Untold {
        /// Fields common to envelopes and audit logs.
        #[derive(Default, serde::Deserialize)]
        #[serde(default)]
        struct Named {
            #[serde(alias = "_id")]
            id: String,
            #[serde(alias = "actionName")]
            name: String,
        }
        let Named { id, name } = serde_json::from_slice(value).unwrap_or_default();
        Untold {
            gathered: Arc::clone(&self.gathered),
            topic: topic.to_owned(),
            event: name,
            id,
            error,
        }
    }

    fn failure(&self, topic: &str, partition: i32, code: Code, maybe_stored: bool) -> Error {
        let code = match code {
            // A partition that the cluster no longer has goes away with the events queued for it.
            Code::BrokerDestroy => Code::UnknownPartition,
            code => code,
        };
        let state = if maybe_stored {
            MAYBE_STORED
        } else {
            NOT_STORED
        };
        if matches!(code, Code::PurgeQueue | Code::PurgeInflight) {
            return self.purged(topic, state);
        }
        if classify(code).0 == ErrorKind::Timeout {
            let partition = (partition >= 0).then_some(partition);
            let cause = self.cause(topic, partition);
            return from_code(format!("publish to {topic}{state}{cause}"), code);
        }
        self.error_of(topic, code, state)
    }

    /// Why the event was taken out of librdkafka.
    fn purged(&self, topic: &str, state: &str) -> Error {
        if let Some(refused) = self.options.reporter.refused() {
            return refused;
        }
        if let Some(code) = self.standing.code() {
            let error = self.turned_away(topic, code, state);
            self.standing.describe(&error);
            return error;
        }
        if self.is_abandoned() {
            let cause = self.cause(topic, None);
            let text = format!(
                "publish to {topic}: not delivered before the shutdown deadline{state}{cause}"
            );
            return Error::new(ErrorKind::Closed, text);
        }
        let text = format!("publish to {topic}: the producer was replaced{state}");
        Error::new(ErrorKind::Fatal, text).with_retriable(true)
    }

    /// An error of librdkafka or of a broker about one event.
    pub(super) fn error_of(&self, topic: &str, code: Code, state: &str) -> Error {
        if is_denied(code) {
            return self.turned_away(topic, code, state);
        }
        from_code(format!("publish to {topic}{state}"), code)
    }

    /// The brokers do not allow this client to publish to the topic.
    pub(super) fn turned_away(&self, topic: &str, code: Code, state: &str) -> Error {
        if !is_denied(code) {
            return no_idempotence(&format!("publish to {topic}{state}"), code);
        }
        // A producer id is given to a principal that may write to any topic, and before Kafka 2.8 to one with a
        // separate right.
        let also = if code == Code::ClusterAuthorizationFailed {
            " (nor IdempotentWrite on the cluster, which brokers before 2.8 require as well)"
        } else {
            ""
        };
        let wire = prefixed(&self.options.prefix, topic);
        let doing = format!("publish to {topic}{state}{also}");
        let on = Resource::Topic(&wire);
        self.options
            .reporter
            .denied(&doing, Operation::Write, on, code)
    }

    /// The error of an instance that the brokers refuse permanently; `None` if it was lost for another reason.
    pub(super) fn refusal(&self, code: Code) -> Option<Error> {
        if is_denied(code) {
            let doing =
                "publish (no topic may be written to, and nothing else gives a producer id)";
            let on = Resource::Cluster;
            let reporter = &self.options.reporter;
            return Some(reporter.denied(doing, Operation::IdempotentWrite, on, code));
        }
        (code == Code::UnsupportedFeature).then(|| no_idempotence("publish", code))
    }

    /// Why events are late, as far as known.
    fn cause(&self, topic: &str, partition: Option<i32>) -> String {
        let wire = prefixed(&self.options.prefix, topic);
        let connection = self.options.reporter.last_error();
        let now = Instant::now();
        let cause = self.causes.of(&wire, partition, connection.as_ref(), now);
        cause.map(|cause| format!("; {cause}")).unwrap_or_default()
    }

    pub(super) fn no_room(&self, topic: &str, patience: Duration) -> Error {
        let cause = self.cause(topic, None);
        refusals::no_room(patience, &cause)
    }

    /// Fails the events whose own timeout has passed. Returns their number; their reports are still
    /// to come.
    pub(super) fn expire(&self, left: &mut Left) -> usize {
        let mut expired = 0;
        loop {
            let due = self.timed.lock().pop_due(Instant::now());
            let Some(entry) = due else { return expired };
            let topic = entry.topic.as_str();
            let cause = self.cause(topic, None);
            let error = Error::new(
                ErrorKind::Timeout,
                format!(
                    "publish to {topic}: no acknowledgement within the event's timeout; the event \
                     is still queued or being sent, and may be stored later{cause}"
                ),
            );
            left.outcome(&entry.slot);
            expired += 1;
            let event = Failed {
                topic,
                key: entry.key.as_deref(),
                value: &entry.value,
                headers: || entry.headers.clone(),
            };
            self.guarded(super::delivery::TELLING, || {
                self.failed(event, &entry.slot, error);
            });
        }
    }
}

fn no_idempotence(doing: &str, code: Code) -> Error {
    let text = format!(
        "{doing}: these brokers do not support the idempotent producer (Apache Kafka 0.11 and later do): set `idempotence` to false"
    );
    Error::new(ErrorKind::Unsupported, text)
        .with_retriable(false)
        .with_source(rdkafka::error::KafkaError::Global(code))
}
