//! Spans through OpenTelemetry's interface, without `tracing`.
//!
//! A span is started with what a sampler may ask for: the kind, the operation as its name, the
//! system, the destination and the group. Only if it is recorded it gets its full name and the
//! rest; otherwise its ids are kept, which travel on, and the span itself is dropped at once.

use std::fmt;
use std::sync::Arc;

use opentelemetry::trace::{
    self, Span as _, SpanBuilder, SpanContext as OtelContext, SpanKind, SpanRef, Status,
    TraceContextExt,
};
use opentelemetry::{KeyValue, StringValue};

pub(crate) use opentelemetry::Context;

/// The span of a publish call and its outcome.
pub(crate) use super::waiting::Waiting;

use super::bridge::{self, Mark};
use super::texts::{Named, event_name, named, recurring};
use super::waiting::WaitingSpans;
use super::{Labels, Publishing, Span, ToPublish, count};
use crate::error::Error;
use crate::guard::with_causes;
use crate::name::prefixed;
use crate::record::Record;

const CLIENT_ID: &str = "messaging.client.id";
const DESTINATION: &str = "messaging.destination.name";
const EVENT_NAME: &str = "eventstream.event.name";
const GROUP: &str = "messaging.consumer.group.name";
const MESSAGE_ID: &str = "messaging.message.id";
const OFFSET: &str = "messaging.kafka.offset";
const OPERATION: &str = "messaging.operation.name";
const OPERATION_TYPE: &str = "messaging.operation.type";
const PARTITION: &str = "messaging.destination.partition.id";
const SYSTEM: &str = "messaging.system";

/// As many as the recorded span of a handler call has, so that they are allocated once.
const ATTRIBUTES: usize = 11;

/// A tracer of any implementation.
#[derive(Clone)]
pub(crate) struct Tracer(Arc<dyn Starts>);

impl Tracer {
    pub(crate) fn new<T>(tracer: T) -> Self
    where
        T: trace::Tracer + Send + Sync + 'static,
        T::Span: Send + Sync + 'static,
    {
        Self(Arc::new(Starter {
            tracer,
            waiting: WaitingSpans::default(),
        }))
    }
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tracer")
    }
}

/// A tracer, and what the spans of a client or of a registration have in common.
pub(super) struct Traces {
    starts: Arc<dyn Starts>,
    client: StringValue,
    /// Empty for publishing.
    group: StringValue,
    /// For handlers, whose topic is known before.
    handle: Option<Named>,
}

impl Traces {
    pub(super) fn new(
        tracer: &Tracer,
        client: &str,
        group: &str,
        prefix: &str,
        topic: Option<&str>,
    ) -> Self {
        Self {
            starts: Arc::clone(&tracer.0),
            client: recurring(client),
            group: recurring(group),
            handle: topic.map(|topic| named("handle", prefix, topic)),
        }
    }
}

/// Starts a span, and describes it if it is recorded.
trait Starts: Send + Sync {
    /// One to work in.
    fn start(&self, parent: Context, of: &Describes<'_>) -> Started;

    /// One that waits for an outcome if it is recorded, and what the event carries of it.
    fn publish(&self, parent: &Context, of: &Describes<'_>) -> Publishing;
}

struct Starter<T: trace::Tracer> {
    tracer: T,
    waiting: WaitingSpans<T::Span>,
}

enum Started {
    Recorded(Context),
    /// What goes on inside a span that is not recorded continues the trace that it is part of, so
    /// that it is not sampled anew: the parent's, or with the span's own ids.
    Unrecorded(Span),
}

/// What a span gets: at once what a sampler may ask for, and the rest once it is recorded.
struct Describes<'a> {
    operation: &'static str,
    operation_type: &'static str,
    kind: SpanKind,
    named: Named,
    traces: &'a Traces,
    more: More<'a>,
}

/// Passes further attributes to a span.
type More<'a> = &'a dyn Fn(&mut dyn FnMut(KeyValue));

impl Describes<'_> {
    /// Inline, or the large builder would be copied once more.
    #[inline]
    fn begin(&self) -> SpanBuilder {
        let mut attributes = Vec::with_capacity(ATTRIBUTES);
        attributes.push(KeyValue::new(SYSTEM, "kafka"));
        attributes.push(KeyValue::new(DESTINATION, self.named.topic.clone()));
        let group = &self.traces.group;
        if !group.as_str().is_empty() {
            attributes.push(KeyValue::new(GROUP, group.clone()));
        }
        SpanBuilder {
            name: self.operation.into(),
            span_kind: Some(self.kind.clone()),
            attributes: Some(attributes),
            ..SpanBuilder::default()
        }
    }

    fn describe(&self, span: &mut impl trace::Span) {
        span.update_name(self.named.name.clone());
        span.set_attribute(KeyValue::new(OPERATION, self.operation));
        span.set_attribute(KeyValue::new(OPERATION_TYPE, self.operation_type));
        span.set_attribute(KeyValue::new(CLIENT_ID, self.traces.client.clone()));
        (self.more)(&mut |attribute| span.set_attribute(attribute));
    }
}

impl<T> Starts for Starter<T>
where
    T: trace::Tracer + Send + Sync,
    T::Span: Send + Sync + 'static,
{
    fn start(&self, parent: Context, of: &Describes<'_>) -> Started {
        let mut span = self.tracer.build_with_context(of.begin(), &parent);
        if span.is_recording() {
            of.describe(&mut span);
            return Started::Recorded(Context::new().with_span(span));
        }
        let own = span.span_context();
        // If the publisher is not recorded either, its ids will do.
        Started::Unrecorded(
            if parent.has_active_span() && !parent.span().span_context().is_sampled() {
                Span::Active(parent)
            } else if own.is_valid() {
                Span::Active(child_of(Some(own.clone())))
            } else {
                Span::Off
            },
        )
    }

    fn publish(&self, parent: &Context, of: &Describes<'_>) -> Publishing {
        let mut span = self.tracer.build_with_context(of.begin(), parent);
        let parent = parent.has_active_span().then(|| parent.span());
        let parent = parent.as_ref().map(SpanRef::span_context);
        let carried = bridge::carry(span.span_context(), parent);
        let span = if span.is_recording() {
            of.describe(&mut span);
            Span::Waiting(self.waiting.hold(span))
        } else {
            Span::Off
        };
        Publishing { span, carried }
    }
}

pub(super) fn publish(traces: &Traces, labels: &Labels, event: &ToPublish<'_>) -> Publishing {
    let ambient = bridge::ambient();
    let parent = match &ambient {
        Some(ambient) => Some(OtelContext::clone(ambient)),
        None => bridge::jaeger(event.span_context),
    };
    let describes = Describes {
        operation: "publish",
        operation_type: "send",
        kind: SpanKind::Producer,
        named: named("publish", &labels.prefix, event.topic),
        traces,
        more: &|add| {
            add(KeyValue::new(MESSAGE_ID, event.id.to_owned()));
            add(KeyValue::new(EVENT_NAME, event_name(event.name)));
        },
    };
    let mut begun = traces.starts.publish(&child_of(parent), &describes);
    if begun.carried.valid().is_none() {
        begun.carried = bridge::carried(&Mark::default(), &ambient);
    }
    begun
}

fn child_of(parent: Option<OtelContext>) -> Context {
    match parent {
        Some(parent) => Context::new().with_remote_span_context(parent),
        None => Context::new(),
    }
}

fn place(partition: i32, offset: i64) -> [KeyValue; 2] {
    // The conventions make a partition's id a text.
    [
        KeyValue::new(PARTITION, number(partition)),
        KeyValue::new(OFFSET, offset),
    ]
}

/// A partition's id as text; without an allocation for most.
fn number(partition: i32) -> StringValue {
    const FEW: [&str; 12] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"];
    let few = usize::try_from(partition).ok().and_then(|at| FEW.get(at));
    few.map_or_else(|| partition.to_string().into(), |text| (*text).into())
}

/// A published event was stored.
pub(super) fn published(span: &Waiting, partition: i32, offset: i64) {
    span.stored(place(partition, offset));
}

/// It was not.
pub(super) fn not_published(span: &Waiting, error: &Error) {
    span.fail(error.kind().as_str(), with_causes(error));
}

/// A dead letter was stored.
pub(super) fn stored(span: &Context, partition: i32, offset: i64) {
    span.span().set_attributes(place(partition, offset));
}

pub(super) fn fail(span: &Context, error: &Error) {
    let span = span.span();
    if span.is_recording() {
        span.set_attribute(KeyValue::new("error.type", error.kind().as_str()));
        span.set_status(Status::error(with_causes(error)));
    }
}

pub(super) fn mark(span: &Context) -> Mark {
    let context = span.span().span_context().clone();
    context.is_valid().then(|| Box::new(context))
}

pub(super) fn in_scope<T>(span: &Context, inside: impl FnOnce() -> T) -> T {
    let _attached = span.clone().attach();
    inside()
}

pub(super) fn handle(
    traces: &Traces,
    labels: &Labels,
    record: &Record,
    attempt: u32,
    before: &Mark,
) -> Span {
    let more = |add: &mut dyn FnMut(KeyValue)| {
        place(record.source.partition, record.offset)
            .into_iter()
            .for_each(&mut *add);
        add(KeyValue::new("eventstream.attempt", i64::from(attempt)));
        name_event(record, add);
    };
    let describes = handling(traces, labels, record, &more);
    let parent = child_of(bridge::publisher(record));
    match traces.starts.start(parent, &describes) {
        Started::Recorded(span) => {
            link(&span, before);
            Span::Active(span)
        }
        Started::Unrecorded(span) => span,
    }
}

fn handling<'a>(
    traces: &'a Traces,
    labels: &Labels,
    record: &Record,
    more: More<'a>,
) -> Describes<'a> {
    let operation = "handle";
    let named = || named(operation, &labels.prefix, record.source.topic.as_str());
    Describes {
        operation,
        operation_type: "process",
        kind: SpanKind::Consumer,
        named: traces.handle.clone().unwrap_or_else(named),
        traces,
        more,
    }
}

pub(super) fn handle_batch<'a>(
    traces: &Traces,
    labels: &Labels,
    first: &Record,
    records: impl ExactSizeIterator<Item = &'a Record>,
) -> Span {
    let count = count(records.len());
    let more = |add: &mut dyn FnMut(KeyValue)| {
        add(KeyValue::new(PARTITION, number(first.source.partition)));
        add(KeyValue::new("messaging.batch.message_count", count));
    };
    let describes = handling(traces, labels, first, &more);
    match traces.starts.start(Context::new(), &describes) {
        Started::Recorded(span) => {
            for publisher in records.filter_map(bridge::publisher) {
                span.span().add_link(publisher, Vec::new());
            }
            Span::Active(span)
        }
        Started::Unrecorded(span) => span,
    }
}

pub(super) fn dead_letter(
    traces: &Traces,
    labels: &Labels,
    record: &Record,
    topic: &str,
    reason: &'static str,
    last: &Mark,
) -> Span {
    let source = &record.source;
    let describes = Describes {
        operation: "dead_letter",
        operation_type: "send",
        kind: SpanKind::Producer,
        named: named("dead_letter", &labels.prefix, topic),
        traces,
        more: &|add| {
            add(KeyValue::new("eventstream.dead_letter.reason", reason));
            let from = prefixed(&labels.prefix, source.topic.as_str());
            add(KeyValue::new("eventstream.source.topic", from));
            let partition = i64::from(source.partition);
            add(KeyValue::new("eventstream.source.partition", partition));
            add(KeyValue::new("eventstream.source.offset", record.offset));
            name_event(record, add);
        },
    };
    let parent = child_of(bridge::publisher(record));
    match traces.starts.start(parent, &describes) {
        Started::Recorded(span) => {
            link(&span, last);
            Span::Active(span)
        }
        Started::Unrecorded(_) => Span::Off,
    }
}

fn link(span: &Context, to: &Mark) {
    if let Some(to) = to {
        span.span().add_link(OtelContext::clone(to), Vec::new());
    }
}

fn name_event(record: &Record, add: &mut dyn FnMut(KeyValue)) {
    if let Some(event) = &record.event {
        add(KeyValue::new(MESSAGE_ID, event.id().to_owned()));
        add(KeyValue::new(EVENT_NAME, event_name(event.name())));
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanId, TraceId, TracerProvider as _};
    use opentelemetry_sdk::trace::{IdGenerator, SdkTracerProvider};

    use super::*;

    #[derive(Debug)]
    struct NoIds;

    impl IdGenerator for NoIds {
        fn new_trace_id(&self) -> TraceId {
            TraceId::INVALID
        }

        fn new_span_id(&self) -> SpanId {
            SpanId::INVALID
        }
    }

    #[test]
    fn a_sampled_span_without_ids_is_not_carried() {
        let provider = SdkTracerProvider::builder()
            .with_id_generator(NoIds)
            .build();
        let tracer = Tracer::new(provider.tracer("test"));
        let labels = Labels::new(Some(&tracer), "client".into(), "".into(), None);
        let event = ToPublish {
            topic: "t",
            name: "n",
            id: "i",
            span_context: "",
        };
        let publishing = crate::observe::trace::publish(&labels, &event);
        assert!(publishing.span().is_some());
        assert_eq!(publishing.span_context(), None);
        assert!(publishing.headers(&[]).is_empty());
    }
}
