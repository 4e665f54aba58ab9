use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use tracing::Span;

use super::Inner;
use super::admission::Left;
use super::instance::Instance;
use crate::error::{Error, ErrorKind, Result};
use crate::kafka::context::Reporter;
use crate::kafka::error::{classify, from_code};
use crate::kafka::native::Report;
use crate::metrics::{ClientMeter, OnStatistics, StoredMeter};
use crate::receipt::{SlotRef, Stored, Untold};
use crate::trace;
use crate::undelivered::Undelivered;

/// The callback for events that failed after they were accepted.
pub(crate) type OnError = Arc<dyn Fn(Undelivered) + Send + Sync>;

/// How long the delivery thread sleeps in librdkafka when nothing happens. It is woken for
/// everything that matters; this bounds what a missed wake-up could cost.
const IDLE: Duration = Duration::from_secs(1);

/// And how long when it waits for a purge, which a publisher in the middle of its call may outrun.
const PURGING: Duration = Duration::from_millis(20);

/// An instance that was lost sooner than this after its birth is replaced no sooner: what kills
/// each new one at once, such as a missing right, must not become a storm of new clients.
const LIFETIME: Duration = Duration::from_secs(1);

/// So many reports share one release of their room.
const TOGETHER: usize = 256;

const TELLING: &str = "telling an outcome panicked: a waker or a log subscriber is at fault";

/// What reports give back: room, and word to those who wait for an outcome. For many reports together, first the room:
/// woken one by one, publishers would come back for a place at a time, and librdkafka would send as many requests.
#[derive(Default)]
struct Told {
    left: Left,
    wakers: Vec<Waker>,
}

/// librdkafka's callbacks of a producer.
pub(crate) struct DeliveryContext {
    reporter: Arc<Reporter>,
    statistics: OnStatistics,
}

impl DeliveryContext {
    pub(super) fn new(reporter: Arc<Reporter>, meter: &ClientMeter) -> Self {
        Self {
            reporter,
            statistics: meter.producer_statistics(),
        }
    }
}

impl ClientContext for DeliveryContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.reporter.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.reporter.error(&error, reason);
    }

    fn stats_raw(&self, json: &[u8]) {
        (self.statistics)(json);
    }
}

/// Starts the thread that serves an instance's delivery reports.
pub(super) fn spawn(inner: Arc<Inner>, instance: Arc<Instance>) -> Result<()> {
    std::thread::Builder::new()
        .name("eventstream-delivery".to_owned())
        .spawn(move || run(&inner, instance))
        .map(drop)
        .map_err(|e| {
            Error::new(ErrorKind::Config, "start the delivery thread")
                .with_retriable(true)
                .with_source(e)
        })
}

fn run(inner: &Arc<Inner>, first: Arc<Instance>) {
    /// Whatever ends the thread, those who wait for its end are told.
    struct Ending<'a>(&'a Inner);
    impl Drop for Ending<'_> {
        fn drop(&mut self) {
            self.0.admission.close();
            self.0.current.clear();
            self.0.ended.send_replace(true);
            self.0.replaced.send_replace(());
        }
    }
    let _ending = Ending(inner);
    let mut next = Some(first);
    while let Some(instance) = next {
        next = match serve(inner, &instance) {
            Ended::Stopped => None,
            Ended::Lost => {
                retire(inner, &instance);
                rebuild(inner, instance.born)
            }
        };
        // It ends here, on this thread, since destroying a librdkafka client may block: its topics
        // are gone with `clear`, or go with it.
        inner.current.clear();
        if let Some(next) = &next {
            inner.current.set(next);
            inner.replaced.send_replace(());
        }
        drop(instance);
    }
}

enum Ended {
    Stopped,
    Lost,
}

fn serve(inner: &Inner, instance: &Instance) -> Ended {
    let mut told = Told::default();
    let mut meter = inner.options.meter.stored();
    let mut next_purge = Instant::now();
    loop {
        inner.serve_once(instance, inner.wait(instance), &mut told, &mut meter);
        inner.expire();
        inner.note_answer(instance);
        if instance.native.fatal_error().is_some() {
            return Ended::Lost;
        }
        // Not for each event served: with librdkafka's debug log a purge adds more lines to the queue
        // than one, and the reports behind them would never be reached.
        let now = Instant::now();
        if inner.is_purging() && now >= next_purge && instance.native.outstanding() > 0 {
            instance.native.purge();
            next_purge = now + PURGING;
        }
        if inner.is_finished() && instance.native.outstanding() == 0 {
            return Ended::Stopped;
        }
    }
}

/// Takes a lost instance away from the publishers and fails what it held. None of it is in the next
/// one, so order within a key holds among what is accepted from then on.
fn retire(inner: &Inner, lost: &Instance) {
    let (code, reason) = lost
        .native
        .fatal_error()
        .unwrap_or((Code::Fatal, String::new()));
    tracing::error!(
        client = &*inner.options.name,
        ?code,
        reason,
        outstanding = lost.native.outstanding(),
        "the producer cannot go on and is replaced; what it held is reported as failed"
    );
    inner.current.clear();
    let mut told = Told::default();
    let mut meter = inner.options.meter.stored();
    while lost.native.outstanding() > 0 {
        lost.native.purge();
        inner.serve_once(lost, PURGING, &mut told, &mut meter);
    }
}

/// A new instance; none when the client ends before it is needed.
fn rebuild(inner: &Inner, born: Instant) -> Option<Arc<Instance>> {
    const LOOK: Duration = Duration::from_millis(20);
    let mut due = born + LIFETIME;
    loop {
        if inner.is_finished() {
            return None;
        }
        if Instant::now() < due {
            std::thread::sleep(LOOK);
            continue;
        }
        match Instance::new(&inner.options) {
            Ok(instance) => {
                inner.counters.rebuilt();
                inner.options.meter.rebuilt();
                return Some(Arc::new(instance));
            }
            // Creating a client fails for want of threads or memory: what waits is not lost.
            Err(error) => {
                tracing::error!(client = &*inner.options.name, %error, "no new producer, trying again");
                due = Instant::now() + LIFETIME;
            }
        }
    }
}

/// librdkafka counts milliseconds; rounding down would spin through the last one.
fn round_up(wait: Duration) -> Duration {
    Duration::from_millis(u64::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(u64::MAX))
}

impl Inner {
    /// How long librdkafka may sleep.
    fn wait(&self, instance: &Instance) -> Duration {
        if self.is_purging() && instance.native.outstanding() > 0 {
            return PURGING;
        }
        self.timed.lock().next_deadline().map_or(IDLE, |at| {
            at.saturating_duration_since(Instant::now()).min(IDLE)
        })
    }

    /// What is in librdkafka is to fail now: the shutdown deadline has passed, or the brokers do
    /// not let this client in and never did.
    fn is_purging(&self) -> bool {
        self.abandoned.load(Ordering::SeqCst) || self.options.reporter.refused().is_some()
    }

    /// What a producer is not told: that a broker lets it in, at first or at last.
    fn note_answer(&self, instance: &Instance) {
        let reporter = &self.options.reporter;
        if !reporter.was_accepted() && instance.native.has_metadata() {
            reporter.accepted();
        }
    }

    /// Nothing is in flight, and nothing more comes.
    fn is_finished(&self) -> bool {
        self.stopping.load(Ordering::SeqCst) && self.admission.in_flight().0 == 0
    }

    /// Serves one event of librdkafka, which may hold many reports.
    fn serve_once(
        &self,
        instance: &Instance,
        wait: Duration,
        told: &mut Told,
        meter: &mut StoredMeter,
    ) {
        let mut answered = false;
        let client = instance.native.client();
        instance.queue.serve(client, round_up(wait), &mut |report| {
            told.left.add(&report.slot, report.size());
            if report.error.is_none() && !answered {
                answered = true;
                self.options.reporter.accepted();
            }
            self.guarded(TELLING, || self.reported(&report, meter, &mut told.wakers));
            if told.left.events() >= TOGETHER {
                self.give_back(told);
            }
        });
        self.give_back(told);
    }

    fn give_back(&self, told: &mut Told) {
        let for_room = match told.left.events() {
            0 => Vec::new(),
            _ => self.admission.release_all(&mut told.left),
        };
        for waker in for_room.into_iter().chain(told.wakers.drain(..)) {
            self.guarded(TELLING, || waker.wake());
        }
    }

    /// A waker or a log subscriber that panics must not take the other reports with it.
    fn guarded(&self, panicked: &'static str, tell: impl FnOnce()) {
        if catch_unwind(AssertUnwindSafe(tell)).is_err() {
            let client = &*self.options.name;
            // The subscriber may be what panicked.
            let _ = catch_unwind(|| tracing::error!(client, "{panicked}"));
        }
    }

    /// One delivery report: the outcome to the receipt, whose waker is for later; a failure also to the callback.
    fn reported(&self, report: &Report<'_>, meter: &mut StoredMeter, wakers: &mut Vec<Waker>) {
        let topic = report.topic;
        let Some(code) = report.error else {
            let bytes = report.size();
            self.counters.stored(bytes);
            meter.stored(topic.key(), || topic.name(), report.partition, bytes);
            wakers.extend(report.slot.store(Stored {
                partition: report.partition,
                offset: report.offset,
                timestamp_ms: report.timestamp_ms,
            }));
            self.end_span(&report.slot, |span| {
                trace::stored(span, report.partition, report.offset);
            });
            return;
        };
        let prefix = &*self.options.prefix;
        let wire = topic.name();
        let topic = match wire.strip_prefix(prefix) {
            Some(rest) if !prefix.is_empty() => rest.strip_prefix('.').unwrap_or(wire),
            _ => wire,
        };
        let error = self.failure(topic, code, report.maybe_stored);
        let value = report.value.unwrap_or_default();
        self.failed(topic, report.key, value, &report.slot, error);
    }

    /// Tells a failure, once: a slot that has its outcome already keeps it. The receipt comes last,
    /// so that who awaits it finds the callback called and the event counted.
    fn failed(&self, topic: &str, key: Option<&[u8]>, value: &[u8], slot: &SlotRef, error: Error) {
        // Only this thread completes slots.
        if slot.is_done() {
            return;
        }
        self.counters.failed();
        self.options.meter.failed(error.kind());
        self.end_span(slot, |span| trace::fail(span, &error));
        let undelivered = Undelivered::new(
            topic,
            key.map(<[u8]>::to_vec),
            value.to_vec(),
            error.clone(),
        );
        let collecting = self.collecting.load(Ordering::SeqCst);
        if !collecting && self.options.on_error.is_none() {
            slot.fail_untold(self.untold(topic, value, error));
            return;
        }
        if collecting {
            self.undelivered.lock().push(undelivered.clone());
        }
        if let Some(on_error) = &self.options.on_error
            && catch_unwind(AssertUnwindSafe(|| on_error(undelivered))).is_err()
        {
            tracing::error!(
                client = &*self.options.name,
                topic,
                "the on_error callback panicked"
            );
        }
        slot.complete(Err(error));
    }

    /// Ends the span of an event, where it has one. A subscriber that panics, as it does for a span
    /// that another one knows, must not take the outcome with it.
    fn end_span(&self, slot: &SlotRef, tell: impl FnOnce(&Span)) {
        if let Some(span) = self.traces.take(slot) {
            self.guarded(
                "ending a span panicked: a subscriber is at fault",
                move || {
                    tell(&span);
                    drop(span);
                },
            );
        }
    }

    fn untold(&self, topic: &str, value: &[u8], error: Error) -> Untold {
        /// What envelopes and audit logs have in common.
        #[derive(Default, serde::Deserialize)]
        #[serde(default)]
        struct Named {
            #[serde(alias = "_id")]
            id: String,
            #[serde(alias = "actionName")]
            name: String,
        }
        let Named { id, name } = serde_json::from_slice(value).unwrap_or_default();
        Untold {
            client: Arc::clone(&self.options.name),
            topic: topic.to_owned(),
            event: name,
            id,
            error,
        }
    }

    fn failure(&self, topic: &str, code: Code, maybe_stored: bool) -> Error {
        let state = if maybe_stored {
            "; a request was under way, the event may be stored all the same"
        } else {
            "; the event is not stored"
        };
        if matches!(code, Code::PurgeQueue | Code::PurgeInflight) {
            if let Some(refused) = self.options.reporter.refused() {
                return refused;
            }
            return if self.abandoned.load(Ordering::SeqCst) {
                Error::new(
                    ErrorKind::Closed,
                    format!(
                        "publish to {topic}: not delivered before the shutdown deadline{state}"
                    ),
                )
            } else {
                Error::new(
                    ErrorKind::Fatal,
                    format!("publish to {topic}: the producer was replaced{state}"),
                )
                .with_retriable(true)
            };
        }
        let mut doing = format!("publish to {topic}{state}");
        if classify(code).0 == ErrorKind::Timeout
            && let Some(last) = self.options.reporter.last_error()
        {
            doing = format!("{doing}; last error of the connection: {last}");
        }
        from_code(doing, code)
    }

    /// Fails the events whose own timeout has passed.
    fn expire(&self) {
        loop {
            let due = self.timed.lock().pop_due(Instant::now());
            let Some(entry) = due else { return };
            let topic = entry.topic.as_str();
            let error = Error::new(
                ErrorKind::Timeout,
                format!(
                    "publish to {topic}: no acknowledgement within the event's timeout; \
                     the event may be stored all the same"
                ),
            );
            self.failed(
                topic,
                entry.key.as_deref(),
                &entry.value,
                &entry.slot,
                error,
            );
        }
    }
}
