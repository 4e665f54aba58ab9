//! Spans of publishing and handling, with OpenTelemetry's attributes for messaging.
//!
//! | span | kind | from | to | parent |
//! |---|---|---|---|---|
//! | `publish` | producer | the call | the event is accepted; of a tracer: the outcome | the caller's span, else the event's own `spanContext` |
//! | `deliver`, not of a tracer | client | accepted | the outcome | `publish` |
//! | `handle` | consumer | a handler starts | it ends | the publisher; linked to the attempt before. Of a batch: none; linked to each publisher |
//! | `dead_letter` | producer | the decision | the broker's acknowledgement | the publisher; linked to the last attempt |
//!
//! There are two kinds. By default they are spans of `tracing` ([`spans`]). A client that has a
//! tracer makes them itself through OpenTelemetry's interface ([`direct`]): its sampler decides
//! before a span is built, and one span covers a publish call and its outcome. What only describes
//! an event is added once it is known that its trace is recorded; the rest is there for samplers.
//! Parents outside the process, links and the text that travels with an event need OpenTelemetry
//! too ([`bridge`]), which is there with the feature `opentelemetry`.

#[cfg(feature = "opentelemetry")]
mod bridge;
#[cfg(not(feature = "opentelemetry"))]
#[path = "no_bridge.rs"]
mod bridge;
#[cfg(feature = "opentelemetry")]
mod direct;
#[cfg(not(feature = "opentelemetry"))]
#[path = "no_direct.rs"]
mod direct;
mod spans;
#[cfg(feature = "opentelemetry")]
mod texts;
#[cfg(feature = "opentelemetry")]
mod waiting;

use std::borrow::Cow;
use std::sync::Arc;

/// The span of an earlier attempt, to link to.
pub(crate) use self::bridge::Mark;
/// Makes spans without `tracing`.
pub(crate) use self::direct::Tracer;
use self::direct::Traces;
use crate::error::Error;
use crate::event::SpanContext;
use crate::guard::{guarded, quietly};
use crate::publish::receipt::Delivery;
use crate::record::Record;

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// Names and values of a record's headers.
pub(crate) type Headers = [(String, Option<Vec<u8>>)];

/// What makes the spans of a client or of a group, and their common attributes.
pub(crate) struct Labels {
    pub(crate) client: Arc<str>,
    pub(crate) prefix: Arc<str>,
    /// The group as named on the broker; empty for publishing.
    pub(crate) group: Arc<str>,
    /// What makes the spans instead of `tracing`.
    traces: Option<Traces>,
}

impl Labels {
    /// Of a client that publishes, or of a group's registration for a topic.
    pub(crate) fn new(
        tracer: Option<&Tracer>,
        client: Arc<str>,
        prefix: Arc<str>,
        registered: Option<(Arc<str>, &str)>,
    ) -> Self {
        let (group, topic) =
            registered.map_or(("".into(), None), |(group, topic)| (group, Some(topic)));
        let traces = tracer.map(|tracer| Traces::new(tracer, &client, &group, &prefix, topic));
        Self {
            client,
            prefix,
            group,
            traces,
        }
    }
}

/// A span, ended once the last of its clones is dropped. One that is not recorded may still be
/// what other spans continue.
#[derive(Clone, Default)]
#[cfg_attr(
    not(feature = "opentelemetry"),
    expect(dead_code, reason = "there are no tracers")
)]
pub(crate) enum Span {
    /// Nobody observes, and there is no trace.
    #[default]
    Off,
    Tracing(::tracing::Span),
    /// Of a tracer, to work in.
    Active(direct::Context),
    /// Of a tracer, for the outcome of an event.
    Waiting(direct::Waiting),
}

/// What an event carries. That a trace is not sampled is in the envelope alone: a header costs
/// librdkafka as much as a fifth of the whole event, for a trace that nobody sees.
#[derive(Default)]
struct Carried {
    /// Not valid if there is no trace.
    span_context: SpanContext,
    /// Empty if there is none, or if the trace is not sampled.
    tracestate: String,
}

/// The publishing of an event. The default is one that nobody observes, in no trace.
#[derive(Default)]
pub(crate) struct Publishing {
    /// [`Span::Off`] unless it is recorded, so that filling in its fields is worth the cost.
    span: Span,
    carried: Carried,
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

/// A number of records. Signed, as OpenTelemetry's numbers are: its bridge makes a text of any other.
fn count(records: usize) -> i64 {
    i64::try_from(records).unwrap_or(i64::MAX)
}

/// The caller's span, as an event carries it. `None` if there is no trace.
pub(crate) fn current() -> Option<SpanContext> {
    let carried = guarded(|| bridge::carried(&Mark::default(), &bridge::ambient()))?;
    carried.valid().copied()
}

/// Starts the publishing of an event.
pub(crate) fn publish(labels: &Labels, event: &ToPublish<'_>) -> Publishing {
    let begun = guarded(|| match &labels.traces {
        Some(traces) => direct::publish(traces, labels, event),
        None => spans::publish(labels, event),
    });
    begun.unwrap_or_default()
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

impl Carried {
    fn valid(&self) -> Option<&SpanContext> {
        self.span_context.is_valid().then_some(&self.span_context)
    }
}

impl Publishing {
    /// The envelope's span context if the caller gave none.
    pub(crate) fn span_context(&self) -> Option<&SpanContext> {
        self.carried.valid()
    }

    /// The span, if it is recorded.
    pub(crate) fn span(&self) -> Option<&Span> {
        (!matches!(self.span, Span::Off)).then_some(&self.span)
    }

    /// The event's headers, with the trace's unless the event already has one.
    pub(crate) fn headers<'a>(&self, own: &'a Headers) -> Cow<'a, Headers> {
        let sampled = self.carried.valid().filter(|span| span.is_sampled());
        let has_own = || own.iter().any(|(name, _)| name == TRACEPARENT);
        let Some(sampled) = sampled.filter(|_| !has_own()) else {
            return own.into();
        };
        let mut all = Vec::with_capacity(own.len() + 2);
        all.extend_from_slice(own);
        let header = |name: &str, value: String| (name.to_owned(), Some(value.into_bytes()));
        all.push(header(TRACEPARENT, sampled.to_traceparent()));
        let tracestate = &self.carried.tracestate;
        if !tracestate.is_empty() {
            all.push(header(TRACESTATE, tracestate.clone()));
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
    match publish {
        Span::Off => Span::Off,
        Span::Tracing(publish) => Span::Tracing(spans::deliver(publish)),
        Span::Active(_) | Span::Waiting(_) => publish.clone(),
    }
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
    match span {
        Span::Off => {}
        Span::Tracing(span) => end(|| spans::stored(span, partition, offset)),
        Span::Active(span) => end(|| direct::stored(span, partition, offset)),
        Span::Waiting(span) => end(|| direct::published(span, partition, offset)),
    }
}

/// Records why something failed.
pub(crate) fn fail(span: &Span, error: &Error) {
    match span {
        Span::Off => {}
        Span::Tracing(span) => end(|| spans::fail(span, error)),
        Span::Active(span) => end(|| direct::fail(span, error)),
        Span::Waiting(span) => end(|| direct::not_published(span, error)),
    }
}

/// One handler call. [`Span::Off`] if the subscriber panics.
pub(crate) fn handle(labels: &Labels, record: &Record, attempt: u32, before: &Mark) -> Span {
    let begun = guarded(|| match &labels.traces {
        Some(traces) => direct::handle(traces, labels, record, attempt, before),
        None => spans::handle(labels, record, attempt, before),
    });
    begun.unwrap_or(Span::Off)
}

/// One handler call with several records, linked to where each was published. [`Span::Off`] if
/// there are none, or if the subscriber panics.
pub(crate) fn handle_batch<'a>(
    labels: &Labels,
    records: impl ExactSizeIterator<Item = &'a Record> + Clone,
) -> Span {
    let Some(first) = records.clone().next() else {
        return Span::Off;
    };
    let begun = guarded(|| match &labels.traces {
        Some(traces) => direct::handle_batch(traces, labels, first, records),
        None => spans::handle_batch(labels, first, records),
    });
    begun.unwrap_or(Span::Off)
}

/// The mark of a failed call, for the next attempt and the dead letter.
pub(crate) fn mark(span: &Span) -> Mark {
    let marked = guarded(|| match span {
        Span::Off | Span::Waiting(_) => Mark::default(),
        Span::Tracing(span) => bridge::mark(span),
        Span::Active(span) => direct::mark(span),
    });
    marked.unwrap_or_default()
}

/// The writing of a dead letter. [`Span::Off`] if the subscriber panics.
pub(crate) fn dead_letter(
    labels: &Labels,
    record: &Record,
    topic: &str,
    reason: &'static str,
    last: &Mark,
) -> Span {
    let begun = guarded(|| match &labels.traces {
        Some(traces) => direct::dead_letter(traces, labels, record, topic, reason, last),
        None => spans::dead_letter(labels, record, topic, reason, last),
    });
    begun.unwrap_or(Span::Off)
}

/// Records the outcome of a dead letter.
pub(crate) fn dead_lettered(span: &Span, result: &Result<Delivery, Error>) {
    match result {
        Ok(delivery) => stored(span, delivery.partition(), delivery.offset()),
        Err(error) => fail(span, error),
    }
}

impl Span {
    /// Runs `inside` as part of the span.
    pub(crate) fn in_scope<T>(&self, inside: impl FnOnce() -> T) -> T {
        match self {
            Self::Off | Self::Waiting(_) => inside(),
            Self::Tracing(span) => span.in_scope(inside),
            Self::Active(span) => direct::in_scope(span, inside),
        }
    }

    /// What log lines belong to.
    pub(crate) fn of_logs(&self) -> ::tracing::Span {
        match self {
            Self::Tracing(span) => span.clone(),
            Self::Off | Self::Active(_) | Self::Waiting(_) => ::tracing::Span::none(),
        }
    }
}
