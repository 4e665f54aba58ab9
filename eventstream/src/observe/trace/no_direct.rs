//! Without OpenTelemetry there are no tracers.

use super::bridge::Mark;
use super::{Labels, Publishing, Span, ToPublish};
use crate::error::Error;
use crate::record::Record;

/// There are none.
#[derive(Clone, Debug)]
pub(crate) enum Tracer {}

/// What the spans of a tracer have in common.
pub(super) enum Traces {}

impl Traces {
    pub(super) fn new(tracer: &Tracer, _: &str, _: &str, _: &str, _: Option<&str>) -> Self {
        match *tracer {}
    }
}

/// The context of a span of a tracer.
pub(crate) type Context = std::convert::Infallible;

/// The span of a publish call of a tracer.
pub(crate) type Waiting = std::convert::Infallible;

pub(super) fn publish(traces: &Traces, _: &Labels, _: &ToPublish<'_>) -> Publishing {
    match *traces {}
}

pub(super) fn published(span: &Waiting, _: i32, _: i64) {
    match *span {}
}

pub(super) fn not_published(span: &Waiting, _: &Error) {
    match *span {}
}

pub(super) fn stored(span: &Context, _: i32, _: i64) {
    match *span {}
}

pub(super) fn fail(span: &Context, _: &Error) {
    match *span {}
}

pub(super) fn mark(span: &Context) -> Mark {
    match *span {}
}

pub(super) fn in_scope<T>(span: &Context, _: impl FnOnce() -> T) -> T {
    match *span {}
}

pub(super) fn handle(traces: &Traces, _: &Labels, _: &Record, _: u32, _: &Mark) -> Span {
    match *traces {}
}

pub(super) fn handle_batch<'a>(
    traces: &Traces,
    _: &Labels,
    _: &Record,
    _: impl ExactSizeIterator<Item = &'a Record>,
) -> Span {
    match *traces {}
}

pub(super) fn dead_letter(
    traces: &Traces,
    _: &Labels,
    _: &Record,
    _: &str,
    _: &str,
    _: &Mark,
) -> Span {
    match *traces {}
}
