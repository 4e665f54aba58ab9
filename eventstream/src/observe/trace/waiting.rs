//! Recorded spans that wait for the outcomes of their events, many in one allocation.
//!
//! The thread that ends a span is not the one that started it. With an allocation for each, both
//! threads would wait for the allocator's lock again and again, which costs more than the span.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering, fence};

use opentelemetry::KeyValue;
use opentelemetry::trace::{self, Status};
use parking_lot::Mutex;

/// How many spans share an allocation.
const TOGETHER: usize = 64;

/// A span that waits. It ends when the last clone is dropped.
pub(crate) struct Waiting {
    among: Arc<dyn Holds>,
    index: usize,
}

impl Waiting {
    pub(super) fn stored(&self, place: [KeyValue; 2]) {
        self.among.stored(self.index, place);
    }

    pub(super) fn fail(&self, kind: &'static str, error: String) {
        self.among.fail(self.index, kind, error);
    }
}

impl Clone for Waiting {
    fn clone(&self) -> Self {
        self.among
            .clones(self.index)
            .fetch_add(1, Ordering::Relaxed);
        Self {
            among: Arc::clone(&self.among),
            index: self.index,
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let clones = self.among.clones(self.index);
        // The orderings are those of `Arc`: what the other clones did comes before the end.
        if clones.fetch_sub(1, Ordering::Release) == 1 {
            fence(Ordering::Acquire);
            self.among.end(self.index);
        }
    }
}

/// Spans of any tracer.
trait Holds: Send + Sync {
    fn clones(&self, index: usize) -> &AtomicU32;
    fn stored(&self, index: usize, place: [KeyValue; 2]);
    fn fail(&self, index: usize, kind: &'static str, error: String);
    fn end(&self, index: usize);
}

struct Chunk<S>(Box<[Place<S>]>);

struct Place<S> {
    clones: AtomicU32,
    span: Mutex<Option<S>>,
}

impl<S: trace::Span + Send> Holds for Chunk<S> {
    fn clones(&self, index: usize) -> &AtomicU32 {
        &self.0[index].clones
    }

    fn stored(&self, index: usize, place: [KeyValue; 2]) {
        if let Some(span) = &mut *self.0[index].span.lock() {
            span.set_attributes(place);
        }
    }

    fn fail(&self, index: usize, kind: &'static str, error: String) {
        if let Some(span) = &mut *self.0[index].span.lock() {
            span.set_attribute(KeyValue::new("error.type", kind));
            span.set_status(Status::error(error));
        }
    }

    fn end(&self, index: usize) {
        let ended = self.0[index].span.lock().take();
        // Outside the lock: it runs the tracer's code.
        drop(ended);
    }
}

/// The spans of a tracer that wait.
pub(super) struct WaitingSpans<S>(Mutex<Next<S>>);

struct Next<S> {
    chunk: Option<Arc<Chunk<S>>>,
    index: usize,
}

impl<S> Default for WaitingSpans<S> {
    fn default() -> Self {
        Self(Mutex::new(Next {
            chunk: None,
            index: 0,
        }))
    }
}

impl<S: trace::Span + Send + 'static> WaitingSpans<S> {
    pub(super) fn hold(&self, span: S) -> Waiting {
        let (among, index) = self.place();
        among.0[index].clones.store(1, Ordering::Relaxed);
        *among.0[index].span.lock() = Some(span);
        Waiting { among, index }
    }

    /// A place that nobody else has.
    fn place(&self) -> (Arc<Chunk<S>>, usize) {
        let mut next = self.0.lock();
        if next.index == TOGETHER {
            *next = Next {
                chunk: None,
                index: 0,
            };
        }
        let chunk = next.chunk.get_or_insert_with(|| Arc::new(Chunk::new()));
        let chunk = Arc::clone(chunk);
        next.index += 1;
        (chunk, next.index - 1)
    }
}

impl<S> Chunk<S> {
    fn new() -> Self {
        let place = |_| Place {
            clones: AtomicU32::new(0),
            span: Mutex::new(None),
        };
        Self((0..TOGETHER).map(place).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::trace::noop::NoopTracer;
    use opentelemetry::trace::{Tracer as _, TracerProvider as _};
    use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};

    #[test]
    fn each_span_ends_once_with_its_last_clone_and_with_its_own_outcome() {
        let exporter = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder()
            .with_simple_exporter(exporter.clone())
            .build();
        let tracer = provider.tracer("test");
        let spans = WaitingSpans::default();
        let all: Vec<_> = (0..3 * TOGETHER)
            .map(|number| spans.hold(tracer.start(number.to_string())))
            .collect();
        let clones = all.clone();
        for (number, span) in (0..).zip(&all) {
            span.stored([KeyValue::new("number", number), KeyValue::new("x", 0)]);
        }
        drop(all);
        assert_eq!(exporter.get_finished_spans().unwrap().len(), 0);
        // On several threads, as publishing and delivery are.
        std::thread::scope(|scope| {
            let mut clones = clones.into_iter();
            while let Some(span) = clones.next() {
                let more: Vec<_> = clones.by_ref().take(49).collect();
                scope.spawn(move || drop((span, more)));
            }
        });
        let mut ended: Vec<_> = exporter.get_finished_spans().unwrap();
        ended.sort_by_key(|span| span.name.parse::<usize>().unwrap());
        assert_eq!(ended.len(), 3 * TOGETHER);
        for (number, span) in (0..).zip(&ended) {
            assert_eq!(span.name, number.to_string());
            assert_eq!(span.attributes[0], KeyValue::new("number", number));
        }
    }

    #[test]
    fn a_chunk_is_freed_with_its_last_span() {
        let tracer = NoopTracer::new();
        let spans = WaitingSpans::default();
        let held: Vec<_> = (0..=TOGETHER)
            .map(|_| spans.hold(tracer.start("a")))
            .collect();
        let first = Arc::downgrade(&held[0].among);
        let mut held = held.into_iter();
        let last = held.next_back();
        let last_of_first = held.next_back();
        drop(held);
        assert!(first.upgrade().is_some());
        drop(last_of_first);
        assert!(first.upgrade().is_none());
        drop(last);
    }
}
