//! Spans of publishing and handling, with OpenTelemetry's attributes for messaging.
//!
//! | span | kind | from | to | parent |
//! |---|---|---|---|---|
//! | `publish` | producer | the call | the event is accepted | the caller's span, else the event's own `spanContext` |
//! | `deliver` | client | accepted | the outcome | `publish` |
//! | `handle` | consumer | a handler starts | it ends | the publisher; linked to the attempt before. Of a batch: none; linked to each publisher |
//! | `dead_letter` | producer | the decision | the broker's acknowledgement | the publisher; linked to the last attempt |
//!
//! They are at level `DEBUG` with the target [`TARGET`], so that a log at `INFO` neither shows nor
//! pays for a span for each event. What only describes an event is added once it is known that its
//! trace is recorded; the rest is there for samplers. Parents outside the process, links and the text that travels
//! with an event are the bridge's, which is there with the feature `opentelemetry`.

#[cfg(feature = "opentelemetry")]
mod bridge;
#[cfg(not(feature = "opentelemetry"))]
mod no_bridge;

use std::borrow::Cow;
use std::sync::Arc;

use tracing::Span;
use tracing::field::{Empty, display};

#[cfg(feature = "opentelemetry")]
use self::bridge as with;
#[cfg(not(feature = "opentelemetry"))]
use self::no_bridge as with;
use crate::error::Error;
use crate::guard::{guarded, quietly};
use crate::publish::receipt::Delivery;
use crate::record::Record;

/// The span of an earlier attempt, to link to.
pub(crate) use self::with::Mark;

/// The target of all spans.
const TARGET: &str = "eventstream::spans";

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// Names and values of a record's headers.
pub(crate) type Headers = [(String, Option<Vec<u8>>)];

/// Common attributes of the spans of a client or of a group.
pub(crate) struct Labels {
    pub(crate) client: Arc<str>,
    pub(crate) prefix: Arc<str>,
    /// The group as named on the broker; empty for publishing.
    pub(crate) group: Arc<str>,
}

/// What an event carries.
struct Carried {
    traceparent: String,
    /// Empty if there is none.
    tracestate: String,
    /// In Jaeger's text format.
    span_context: String,
}

/// The publishing of an event that is observed, or that continues a trace.
pub(crate) struct Publishing {
    span: Span,
    /// The span is recorded, so filling in its fields is worth the cost.
    recorded: bool,
    carried: Option<Carried>,
}

/// What is known of an event before it is published.
pub(crate) struct ToPublish<'a> {
    pub(crate) topic: &'a str,
    /// Empty for an audit log.
    pub(crate) name: &'a str,
    pub(crate) id: &'a str,
    /// Given by the caller.
    pub(crate) span_context: &'a str,
}

/// The caller's span, as the text that an event carries. `None` if there is no trace.
pub(crate) fn current(given: &str) -> Option<String> {
    let carried = guarded(|| with::carried(&with::ambient(), &Default::default(), given));
    carried.flatten().map(|carried| carried.span_context)
}

/// Starts the publishing of an event. `None` if nobody observes it and there is no trace.
pub(crate) fn publish(labels: &Labels, event: &ToPublish<'_>) -> Option<Box<Publishing>> {
    guarded(|| begin_publish(labels, event)).flatten()
}

fn begin_publish(labels: &Labels, event: &ToPublish<'_>) -> Option<Box<Publishing>> {
    let ambient = with::ambient();
    let span = tracing::debug_span!(
        target: TARGET,
        "publish",
        otel.name = %format_args!("publish {}", Wire(&labels.prefix, event.topic)),
        otel.kind = "producer",
        otel.status_code = Empty,
        otel.status_description = Empty,
        error.r#type = Empty,
        messaging.system = "kafka",
        messaging.operation.name = "publish",
        messaging.operation.r#type = "create",
        messaging.destination.name = %Wire(&labels.prefix, event.topic),
        messaging.client.id = Empty,
        messaging.message.id = Empty,
        eventstream.event.name = Empty,
    );
    if span.is_disabled() && !with::is_some(&ambient) {
        return None;
    }
    if !with::is_some(&ambient) {
        with::adopt_text(&span, event.span_context);
    }
    let own = with::mark(&span);
    let recorded = !span.is_disabled() && with::is_recorded(&own);
    if recorded {
        span.record("messaging.client.id", &*labels.client);
        span.record("messaging.message.id", event.id);
        span.record("eventstream.event.name", event.name);
    }
    let carried = with::carried(&own, &ambient, event.span_context);
    (carried.is_some() || recorded).then(|| {
        Box::new(Publishing {
            span,
            recorded,
            carried,
        })
    })
}

/// A topic as named on the broker.
struct Wire<'a>(&'a str, &'a str);

impl std::fmt::Display for Wire<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            "" => f.write_str(self.1),
            prefix => write!(f, "{prefix}.{}", self.1),
        }
    }
}

impl Publishing {
    /// The envelope's span context if the caller gave none.
    pub(crate) fn span_context(&self) -> Option<&str> {
        self.carried.as_ref().map(|carried| &*carried.span_context)
    }

    pub(crate) fn span(&self) -> Option<&Span> {
        self.recorded.then_some(&self.span)
    }

    /// The event's headers, with the trace's unless the event already has one.
    pub(crate) fn headers<'a>(&self, own: &'a Headers) -> Cow<'a, Headers> {
        let Some(carried) = &self.carried else {
            return own.into();
        };
        if own.iter().any(|(name, _)| name == TRACEPARENT) {
            return own.into();
        }
        let mut all = own.to_vec();
        for (name, value) in [
            (TRACEPARENT, &carried.traceparent),
            (TRACESTATE, &carried.tracestate),
        ] {
            if !value.is_empty() {
                all.push((name.to_owned(), Some(value.clone().into_bytes())));
            }
        }
        all.into()
    }

    /// The call was refused.
    pub(crate) fn refused(&self, error: &Error) {
        fail(&self.span, error);
    }
}

/// From acceptance of an event to its outcome.
pub(crate) fn deliver(publish: &Span) -> Span {
    tracing::debug_span!(
        target: TARGET,
        parent: publish,
        "deliver",
        otel.kind = "client",
        otel.status_code = Empty,
        otel.status_description = Empty,
        error.r#type = Empty,
        messaging.system = "kafka",
        messaging.operation.name = "deliver",
        messaging.operation.r#type = "send",
        messaging.destination.partition.id = Empty,
        messaging.kafka.offset = Empty,
    )
}

/// Records an outcome. If the subscriber panics, as it does for spans that belong to another one,
/// that is logged and has no other effect.
fn end(record: impl FnOnce()) {
    if guarded(record).is_none() {
        quietly(|| ::tracing::error!("ending a span panicked in a tracing subscriber"));
    }
}

/// Records where an event was stored.
pub(crate) fn stored(span: &Span, partition: i32, offset: i64) {
    if !span.is_disabled() {
        end(|| {
            span.record("messaging.destination.partition.id", display(partition));
            span.record("messaging.kafka.offset", offset);
        });
    }
}

/// Records why something failed.
pub(crate) fn fail(span: &Span, error: &Error) {
    if !span.is_disabled() {
        end(|| {
            span.record("otel.status_code", "ERROR");
            span.record("otel.status_description", display(error));
            span.record("error.type", error.kind().as_str());
        });
    }
}

/// One handler call. `None` if the subscriber panics.
pub(crate) fn handle(labels: &Labels, record: &Record, attempt: u32, before: &Mark) -> Span {
    guarded(|| begin_handle(labels, record, attempt, before)).unwrap_or_else(Span::none)
}

fn begin_handle(labels: &Labels, record: &Record, attempt: u32, before: &Mark) -> Span {
    let span = handling(labels, record);
    if !span.is_disabled() {
        with::adopt(&span, record);
        with::link(&span, before);
        if with::is_recorded(&with::mark(&span)) {
            span.record("messaging.client.id", &*labels.client);
            stored(&span, record.source.partition, record.offset);
            name_event(&span, record);
            span.record("eventstream.attempt", attempt);
        }
    }
    span
}

/// The span of a call. Empty fields are known only for one record, or only for several.
fn handling(labels: &Labels, record: &Record) -> Span {
    let topic = record.source.topic.as_str();
    tracing::debug_span!(
        target: TARGET,
        parent: None,
        "handle",
        otel.name = %format_args!("handle {}", Wire(&labels.prefix, topic)),
        otel.kind = "consumer",
        otel.status_code = Empty,
        otel.status_description = Empty,
        error.r#type = Empty,
        messaging.system = "kafka",
        messaging.operation.name = "handle",
        messaging.operation.r#type = "process",
        messaging.consumer.group.name = &*labels.group,
        messaging.destination.name = %Wire(&labels.prefix, topic),
        messaging.client.id = Empty,
        messaging.destination.partition.id = Empty,
        messaging.kafka.offset = Empty,
        messaging.message.id = Empty,
        messaging.batch.message_count = Empty,
        eventstream.event.name = Empty,
        eventstream.attempt = Empty,
    )
}

/// One handler call with several records, linked to where each was published. `None` if there are none, or if the
/// subscriber panics.
pub(crate) fn handle_batch<'a>(
    labels: &Labels,
    records: impl ExactSizeIterator<Item = &'a Record> + Clone,
) -> Span {
    let first = records.clone().next();
    let begin = || Some(begin_handle_batch(labels, first?, records));
    guarded(begin).flatten().unwrap_or_else(Span::none)
}

fn begin_handle_batch<'a>(
    labels: &Labels,
    first: &Record,
    records: impl ExactSizeIterator<Item = &'a Record>,
) -> Span {
    let span = handling(labels, first);
    if !span.is_disabled() && with::is_recorded(&with::mark(&span)) {
        span.record("messaging.client.id", &*labels.client);
        let partition = display(first.source.partition);
        span.record("messaging.destination.partition.id", partition);
        span.record("messaging.batch.message_count", records.len());
        records.for_each(|record| with::link_publisher(&span, record));
    }
    span
}

fn name_event(span: &Span, record: &Record) {
    if let Some(event) = &record.event {
        span.record("messaging.message.id", event.id());
        span.record("eventstream.event.name", event.name());
    }
}

/// The mark of a failed call, for the next attempt and the dead letter.
pub(crate) fn mark(span: &Span) -> Mark {
    guarded(|| with::mark(span)).unwrap_or_default()
}

/// The writing of a dead letter. `None` if the subscriber panics.
pub(crate) fn dead_letter(
    labels: &Labels,
    record: &Record,
    topic: &str,
    reason: &str,
    last: &Mark,
) -> Span {
    guarded(|| begin_dead_letter(labels, record, topic, reason, last)).unwrap_or_else(Span::none)
}

fn begin_dead_letter(
    labels: &Labels,
    record: &Record,
    topic: &str,
    reason: &str,
    last: &Mark,
) -> Span {
    let span = tracing::debug_span!(
        target: TARGET,
        parent: None,
        "dead_letter",
        otel.name = %format_args!("dead_letter {}", Wire(&labels.prefix, topic)),
        otel.kind = "producer",
        otel.status_code = Empty,
        otel.status_description = Empty,
        error.r#type = Empty,
        messaging.system = "kafka",
        messaging.operation.name = "dead_letter",
        messaging.operation.r#type = "send",
        messaging.client.id = &*labels.client,
        messaging.consumer.group.name = &*labels.group,
        messaging.destination.name = %Wire(&labels.prefix, topic),
        messaging.destination.partition.id = Empty,
        messaging.kafka.offset = Empty,
        messaging.message.id = Empty,
        eventstream.event.name = Empty,
        eventstream.dead_letter.reason = reason,
        eventstream.source.topic = %Wire(&labels.prefix, record.source.topic.as_str()),
        eventstream.source.partition = record.source.partition,
        eventstream.source.offset = record.offset,
    );
    if !span.is_disabled() {
        name_event(&span, record);
        with::adopt(&span, record);
        with::link(&span, last);
    }
    span
}

/// Records the outcome of a dead letter.
pub(crate) fn dead_lettered(span: &Span, result: &Result<Delivery, Error>) {
    match result {
        Ok(delivery) => stored(span, delivery.partition(), delivery.offset()),
        Err(error) => fail(span, error),
    }
}
