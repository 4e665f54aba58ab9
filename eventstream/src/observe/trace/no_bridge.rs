//! Without OpenTelemetry: spans have no ids, so events carry nothing.

use tracing::Span;

use super::Carried;
use crate::record::Record;

/// There are none.
pub(crate) type Mark = Option<std::convert::Infallible>;

pub(super) fn is_some(_: &Mark) -> bool {
    false
}

pub(super) fn ambient() -> Mark {
    None
}

pub(super) fn is_recorded(_: &Mark) -> bool {
    true
}

pub(super) fn mark(_: &Span) -> Mark {
    None
}

pub(super) fn adopt_text(_: &Span, _: &str) {}

pub(super) fn adopt(_: &Span, _: &Record) {}

pub(super) fn link_publisher(_: &Span, _: &Record) {}

pub(super) fn link(_: &Span, _: &Mark) {}

pub(super) fn carried(_: &Mark, _: &Mark) -> Carried {
    Carried::default()
}
