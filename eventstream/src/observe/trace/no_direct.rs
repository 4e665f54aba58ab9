//! Without OpenTelemetry there are no tracers.

use super::bridge::Mark;
use super::{Labels, Publishing, Span, ToPublish};
use crate::error::Error;
use crate::record::Record;

/// There are none.
#[derive(Clone, Debug)]
pub(crate) enum Tracer {}

/// The context of a span of a tracer.
pub(crate) type Context = std::convert::Infallible;

/// The span of a publish call of a tracer.
pub(crate) type Published = std::convert::Infallible;

pub(super) fn publish(tracer: &Tracer, _: &Labels, _: &ToPublish<'_>) -> Option<Publishing> {
    match *tracer {}
}

pub(super) fn published(span: &Published, _: i32, _: i64) {
    match *span {}
}

pub(super) fn not_published(span: &Published, _: &Error) {
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

pub(super) fn handle(tracer: &Tracer, _: &Labels, _: &Record, _: u32, _: &Mark) -> Span {
    match *tracer {}
}

pub(super) fn handle_batch<'a>(
    tracer: &Tracer,
    _: &Labels,
    _: &Record,
    _: impl ExactSizeIterator<Item = &'a Record>,
) -> Span {
    match *tracer {}
}

pub(super) fn dead_letter(
    tracer: &Tracer,
    _: &Labels,
    _: &Record,
    _: &str,
    _: &str,
    _: &Mark,
) -> Span {
    match *tracer {}
}
