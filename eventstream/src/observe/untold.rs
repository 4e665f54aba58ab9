use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::error::{Error, ErrorKind};

/// After the first, failures with the same cause are logged together at this interval.
const INTERVAL: Duration = Duration::from_secs(10);

/// A failure that only the receipt can report.
#[derive(Debug)]
pub(crate) struct Untold {
    pub(crate) gathered: Arc<Gathered>,
    pub(crate) topic: String,
    /// The event's name and id, if any.
    pub(crate) event: String,
    pub(crate) id: String,
    pub(crate) error: Error,
}

impl Untold {
    /// The last resort, so that nothing is lost silently.
    pub(crate) fn tell(self: &Arc<Self>) {
        self.gathered.add(self, Instant::now());
    }

    fn cause(&self) -> Cause {
        let source = std::error::Error::source(&self.error);
        Cause {
            topic: self.topic.clone(),
            kind: self.error.kind(),
            source: source.map(ToString::to_string).unwrap_or_default(),
        }
    }
}

/// The unreported failures of one client, by cause: the first is logged, then their number at intervals, and the rest
/// at the end.
#[derive(Debug)]
pub(crate) struct Gathered {
    client: Arc<str>,
    causes: Mutex<HashMap<Cause, Count>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Cause {
    topic: String,
    kind: ErrorKind,
    source: String,
}

#[derive(Debug)]
struct Count {
    told: Instant,
    /// How many since then.
    more: u64,
    /// The last of those, without its reference back to this, which would keep it alive forever.
    last: Last,
}

#[derive(Debug, Default)]
struct Last {
    event: String,
    id: String,
    error: Option<Error>,
}

impl Gathered {
    pub(crate) fn new(client: Arc<str>) -> Self {
        Self {
            client,
            causes: Mutex::default(),
        }
    }

    fn add(&self, untold: &Untold, now: Instant) {
        let cause = untold.cause();
        let due = {
            let mut causes = self.causes.lock();
            if let Some(count) = causes.get_mut(&cause) {
                count.more += 1;
                count.last = Last {
                    event: untold.event.clone(),
                    id: untold.id.clone(),
                    error: Some(untold.error.clone()),
                };
                count.take_due(now)
            } else {
                let count = Count {
                    told: now,
                    more: 0,
                    last: Last::default(),
                };
                causes.insert(cause.clone(), count);
                drop(causes);
                return self.first(untold);
            }
        };
        if let Some((more, last)) = due {
            self.more(&cause, more, &last);
        }
    }

    /// Logs what is due, and drops causes without failures since they were last logged.
    pub(crate) fn look(&self, now: Instant) {
        let mut due = Vec::new();
        self.causes.lock().retain(|cause, count| {
            if let Some((more, last)) = count.take_due(now) {
                due.push((cause.clone(), more, last));
                return true;
            }
            count.more > 0 || now < count.told + INTERVAL
        });
        for (cause, more, last) in due {
            self.more(&cause, more, &last);
        }
    }

    fn first(&self, untold: &Untold) {
        let Untold {
            topic,
            event,
            id,
            error,
            ..
        } = untold;
        tracing::error!(
            client = &*self.client,
            topic,
            event,
            id,
            kind = error.kind().as_str(),
            %error,
            cause = std::error::Error::source(error).map(tracing::field::display),
            "an event was not stored; its receipt was dropped and there is no on_error callback"
        );
    }

    fn more(&self, cause: &Cause, events: u64, last: &Last) {
        let Last { event, id, error } = last;
        tracing::error!(
            client = &*self.client,
            topic = cause.topic,
            events,
            event,
            id,
            kind = cause.kind.as_str(),
            error = error.as_ref().map(tracing::field::display),
            cause = cause.source,
            "more events were not stored for the same reason, of which this is the last; their receipts were \
             dropped and there is no on_error callback"
        );
    }
}

impl Count {
    fn take_due(&mut self, now: Instant) -> Option<(u64, Last)> {
        if self.more == 0 || now < self.told + INTERVAL {
            return None;
        }
        self.told = now;
        Some((
            std::mem::take(&mut self.more),
            std::mem::take(&mut self.last),
        ))
    }
}

/// The last receipt and the client are gone.
impl Drop for Gathered {
    fn drop(&mut self) {
        for (cause, count) in std::mem::take(&mut *self.causes.lock()) {
            if count.more > 0 {
                self.more(&cause, count.more, &count.last);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<String>>>);

    impl tracing::Subscriber for Lines {
        fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
            tracing::span::Id::from_u64(1)
        }
        fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
        fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
        fn event(&self, event: &tracing::Event<'_>) {
            struct Text(String);
            impl tracing::field::Visit for Text {
                fn record_debug(&mut self, f: &tracing::field::Field, v: &dyn std::fmt::Debug) {
                    self.0 += &format!("{}={v:?} ", f.name());
                }
            }
            let mut text = Text(String::new());
            event.record(&mut text);
            self.0.lock().push(text.0);
        }
        fn enter(&self, _: &tracing::span::Id) {}
        fn exit(&self, _: &tracing::span::Id) {}
    }

    fn fail(gathered: &Arc<Gathered>, topic: &str, id: usize, now: Instant) {
        let error = Error::new(ErrorKind::Timeout, format!("publish {id}")).with_source("late");
        let untold = Untold {
            gathered: Arc::clone(gathered),
            topic: topic.into(),
            event: "e".into(),
            id: format!("<{id}>"),
            error,
        };
        gathered.add(&untold, now);
    }

    #[test]
    fn one_cause_is_told_first_then_as_a_number_and_at_last() {
        let lines = Lines::default();
        tracing::subscriber::with_default(lines.clone(), || {
            let gathered = Arc::new(Gathered::new("c".into()));
            let start = Instant::now();
            for i in 0..1_000 {
                fail(&gathered, "t", i, start);
            }
            fail(&gathered, "other", 1, start);
            assert_eq!(lines.0.lock().len(), 2, "the first of each cause");
            gathered.look(start + INTERVAL / 2);
            assert_eq!(lines.0.lock().len(), 2);
            gathered.look(start + INTERVAL);
            for i in 1_000..1_005 {
                fail(&gathered, "t", i, start + INTERVAL);
            }
            assert_eq!(lines.0.lock().len(), 3);
            drop(gathered);
        });
        let lines = lines.0.lock();
        assert_eq!(lines.len(), 4, "{lines:#?}");
        assert!(lines[0].contains("<0>"), "{}", lines[0]);
        assert!(lines[2].contains("events=999") && lines[2].contains("<999>"));
        assert!(lines[3].contains("events=5") && lines[3].contains("<1004>"));
    }

    #[test]
    fn a_cause_that_comes_back_later_is_told_in_full_again() {
        let lines = Lines::default();
        tracing::subscriber::with_default(lines.clone(), || {
            let gathered = Arc::new(Gathered::new("c".into()));
            let start = Instant::now();
            fail(&gathered, "t", 1, start);
            gathered.look(start + INTERVAL);
            fail(&gathered, "t", 2, start + INTERVAL);
        });
        assert_eq!(lines.0.lock().len(), 2);
    }
}
