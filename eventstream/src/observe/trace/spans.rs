//! Spans of `tracing`, at level `DEBUG` and with a target of their own, so that a log at `INFO`
//! neither shows nor pays for a span for each event.

use tracing::Span;
use tracing::field::{Empty, display};

use super::bridge::{self as with, Mark};
use super::{Labels, Publishing, ToPublish, Wire, count};
use crate::error::Error;
use crate::guard::with_causes;
use crate::record::Record;

/// The target of all spans.
const TARGET: &str = "eventstream::spans";

pub(super) fn publish(labels: &Labels, event: &ToPublish<'_>) -> Publishing {
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
        return Publishing::default();
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
    Publishing {
        carried: with::carried(&own, &ambient),
        span: if recorded {
            super::Span::Tracing(span)
        } else {
            super::Span::Off
        },
    }
}

pub(super) fn deliver(publish: &Span) -> Span {
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

pub(super) fn stored(span: &Span, partition: i32, offset: i64) {
    span.record("messaging.destination.partition.id", display(partition));
    span.record("messaging.kafka.offset", offset);
}

pub(super) fn fail(span: &Span, error: &Error) {
    if !span.is_disabled() {
        span.record("otel.status_code", "ERROR");
        span.record("otel.status_description", with_causes(error));
        span.record("error.type", error.kind().as_str());
    }
}

pub(super) fn handle(labels: &Labels, record: &Record, attempt: u32, before: &Mark) -> super::Span {
    let span = handling(labels, record);
    if span.is_disabled() {
        return super::Span::Off;
    }
    with::adopt(&span, record);
    with::link(&span, before);
    if with::is_recorded(&with::mark(&span)) {
        span.record("messaging.client.id", &*labels.client);
        stored(&span, record.source.partition, record.offset);
        name_event(&span, record);
        span.record("eventstream.attempt", i64::from(attempt));
    }
    super::Span::Tracing(span)
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

pub(super) fn handle_batch<'a>(
    labels: &Labels,
    first: &Record,
    records: impl ExactSizeIterator<Item = &'a Record>,
) -> super::Span {
    let span = handling(labels, first);
    if span.is_disabled() {
        return super::Span::Off;
    }
    if with::is_recorded(&with::mark(&span)) {
        span.record("messaging.client.id", &*labels.client);
        let partition = display(first.source.partition);
        span.record("messaging.destination.partition.id", partition);
        span.record("messaging.batch.message_count", count(records.len()));
        records.for_each(|record| with::link_publisher(&span, record));
    }
    super::Span::Tracing(span)
}

fn name_event(span: &Span, record: &Record) {
    if let Some(event) = &record.event {
        span.record("messaging.message.id", event.id());
        span.record("eventstream.event.name", event.name());
    }
}

pub(super) fn dead_letter(
    labels: &Labels,
    record: &Record,
    topic: &str,
    reason: &str,
    last: &Mark,
) -> super::Span {
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
    if span.is_disabled() {
        return super::Span::Off;
    }
    name_event(&span, record);
    with::adopt(&span, record);
    with::link(&span, last);
    super::Span::Tracing(span)
}
