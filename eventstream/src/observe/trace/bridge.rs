//! Converts between `tracing`'s spans and OpenTelemetry's contexts.

use opentelemetry::Context;
use opentelemetry::trace::{
    SpanContext as OtelContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState,
};
use std::str::FromStr;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::{Carried, TRACEPARENT, TRACESTATE};
use crate::event::SpanContext;
use crate::record::Record;

/// A span to link to. Boxed, as it is part of each handler call and rarely set.
pub(crate) type Mark = Option<Box<OtelContext>>;

pub(super) fn is_some(mark: &Mark) -> bool {
    mark.is_some()
}

/// The caller's current span.
pub(super) fn ambient() -> Mark {
    let active = Context::map_current(|context| {
        let active = context.has_active_span();
        active.then(|| context.span().span_context().clone())
    });
    if active.is_none() && !tracing::dispatcher::has_been_set() {
        return None;
    }
    // A layer that does not set OpenTelemetry's current span still knows it.
    active
        .filter(OtelContext::is_valid)
        .map(Box::new)
        .or_else(|| mark(&Span::current()))
}

/// Whether a mark's span is recorded; if OpenTelemetry does not know it, another subscriber does.
pub(super) fn is_recorded(mark: &Mark) -> bool {
    mark.as_ref().is_none_or(|context| context.is_sampled())
}

pub(super) fn mark(span: &Span) -> Mark {
    if span.is_disabled() {
        return None;
    }
    let context = span.context().span().span_context().clone();
    context.is_valid().then(|| Box::new(context))
}

/// Makes a span the child of one that a caller gave as text.
pub(super) fn adopt_text(span: &Span, text: &str) {
    if !span.is_disabled() && !text.is_empty() {
        set_parent(span, jaeger(text));
    }
}

/// Makes a span the child of the one that published a record.
pub(super) fn adopt(span: &Span, record: &Record) {
    set_parent(span, publisher(record));
}

/// Links a span to the one that published a record.
pub(super) fn link_publisher(span: &Span, record: &Record) {
    if let Some(publisher) = publisher(record) {
        span.add_link(publisher);
    }
}

/// The span that published a record, from the header `traceparent` or the envelope.
pub(super) fn publisher(record: &Record) -> Option<OtelContext> {
    let envelope = || jaeger(record.event.as_ref()?.span_context());
    w3c(record).or_else(envelope)
}

fn set_parent(span: &Span, parent: Option<OtelContext>) {
    if let Some(parent) = parent {
        // Fails if no layer listens; then there is no trace either.
        let _ = span.set_parent(Context::new().with_remote_span_context(parent));
    }
}

pub(super) fn link(span: &Span, mark: &Mark) {
    if let Some(mark) = mark {
        span.add_link(OtelContext::clone(mark));
    }
}

/// What an event carries: the `publish` span, or the caller's if that is disabled.
pub(super) fn carried(own: &Mark, ambient: &Mark) -> Carried {
    match (own, ambient) {
        (Some(own), ambient) => carry(own, ambient.as_deref()),
        (None, Some(ambient)) => carry(ambient, None),
        (None, None) => Carried::default(),
    }
}

/// What an event carries of a span and its parent.
pub(super) fn carry(span: &OtelContext, parent: Option<&OtelContext>) -> Carried {
    let id = |context: &OtelContext| u64::from_be_bytes(context.span_id().to_bytes());
    Carried {
        span_context: SpanContext {
            trace_id: u128::from_be_bytes(span.trace_id().to_bytes()),
            span_id: id(span),
            parent_id: parent.map_or(0, id),
            flags: u8::from(span.is_sampled()),
        },
        tracestate: if span.is_sampled() {
            span.trace_state().header()
        } else {
            String::new()
        },
    }
}

fn w3c(record: &Record) -> Option<OtelContext> {
    let header = |wanted: &str| {
        let (_, value) = record.headers().iter().find(|(name, _)| name == wanted)?;
        std::str::from_utf8(value.as_deref()?).ok()
    };
    let context = SpanContext::from_traceparent(header(TRACEPARENT)?).ok()?;
    let state = header(TRACESTATE).and_then(|state| TraceState::from_str(state).ok());
    Some(remote(context, state.unwrap_or_default()))
}

/// The span that a text in Jaeger's format names.
pub(super) fn jaeger(text: &str) -> Option<OtelContext> {
    if text.is_empty() {
        return None;
    }
    let context: SpanContext = text.parse().ok()?;
    context
        .is_valid()
        .then(|| remote(context, TraceState::default()))
}

fn remote(context: SpanContext, state: TraceState) -> OtelContext {
    let flags = match context.is_sampled() {
        true => TraceFlags::SAMPLED,
        false => TraceFlags::default(),
    };
    OtelContext::new(
        TraceId::from_bytes(context.trace_id.to_be_bytes()),
        SpanId::from_bytes(context.span_id.to_be_bytes()),
        flags,
        true,
        state,
    )
}
