use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};
use tracing::Span;

use crate::publish::receipt::SlotRef;

/// The `deliver` spans of the events in flight, for those that are traced.
#[derive(Default)]
pub(super) struct Traces {
    /// So that untraced events cost one load.
    open: AtomicUsize,
    spans: Mutex<HashMap<usize, Span>>,
}

/// Delays the outcomes of traced events until the spans of the events passed on are stored.
pub(super) struct Opening<'a> {
    traces: &'a Traces,
    spans: MutexGuard<'a, HashMap<usize, Span>>,
}

impl Traces {
    /// Before an event is passed on, as its outcome may come at once.
    pub(super) fn opening(&self) -> Opening<'_> {
        self.open.fetch_add(1, Ordering::SeqCst);
        Opening {
            traces: self,
            spans: self.spans.lock(),
        }
    }

    /// The span of an event with an outcome, if it is traced.
    pub(super) fn take(&self, slot: &SlotRef) -> Option<Span> {
        if self.open.load(Ordering::SeqCst) == 0 {
            return None;
        }
        let span = self.spans.lock().remove(&slot.address())?;
        self.open.fetch_sub(1, Ordering::SeqCst);
        Some(span)
    }
}

impl Opening<'_> {
    /// The event was passed on.
    pub(super) fn opened(mut self, slot: &SlotRef, span: Span) {
        self.spans.insert(slot.address(), span);
    }

    /// It was not.
    pub(super) fn cancelled(self) {
        self.traces.open.fetch_sub(1, Ordering::SeqCst);
    }
}
