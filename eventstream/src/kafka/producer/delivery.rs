use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::{Inner, Instance};
use crate::error::{Error, ErrorKind, Result};
use crate::kafka::context::Reporter;
use crate::kafka::error::{classify, from_code};
use crate::kafka::native::Report;
use crate::receipt::{SlotRef, Stored};
use crate::stats::WriterStats;
use crate::undelivered::Undelivered;

/// The callback for events that failed after they were accepted.
pub(crate) type OnError = Arc<dyn Fn(Undelivered) + Send + Sync>;

/// How long the delivery thread sleeps in librdkafka when nothing happens. It is woken for
/// everything that matters; this bounds what a missed wake-up could cost.
const IDLE: Duration = Duration::from_secs(1);

/// librdkafka's callbacks of a producer.
pub(crate) struct DeliveryContext {
    reporter: Arc<Reporter>,
}

impl DeliveryContext {
    pub(super) fn new(reporter: Arc<Reporter>) -> Self {
        Self { reporter }
    }
}

impl ClientContext for DeliveryContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.reporter.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.reporter.error(error, reason);
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

fn run(inner: &Arc<Inner>, mut instance: Arc<Instance>) {
    loop {
        match serve(inner, &instance) {
            Ended::Stopped => break,
            Ended::Lost => {
                finish_lost(inner, &instance);
                let next = inner.current.read().as_ref().map(Arc::clone);
                match next {
                    Some(next) => instance = next,
                    None => break,
                }
            }
        }
    }
    // The instance ends on this thread: destroying a librdkafka client may block.
    inner.current.write().take();
    drop(instance);
    inner.ended.send_replace(true);
}

enum Ended {
    Stopped,
    Lost,
}

fn serve(inner: &Inner, instance: &Arc<Instance>) -> Ended {
    let client = instance.native.client();
    let mut purged = false;
    loop {
        let wait = inner.timed.lock().next_deadline().map_or(IDLE, |at| {
            at.saturating_duration_since(Instant::now()).min(IDLE)
        });
        instance.queue.serve(client, round_up(wait), &mut |report| {
            inner.reported(report);
        });
        inner.expire();
        if instance.native.fatal_error().is_some() {
            return Ended::Lost;
        }
        if let Some(refused) = inner.options.reporter.refused()
            && instance.native.outstanding() > 0
        {
            tracing::debug!(%refused, "failing what waits for brokers that refuse this client");
            instance.native.purge();
        }
        if inner.abandoned.load(Ordering::SeqCst) && !purged {
            instance.native.purge();
            purged = true;
        }
        if inner.stopping.load(Ordering::SeqCst)
            && inner.admission.in_flight().0 == 0
            && instance.native.outstanding() == 0
        {
            return Ended::Stopped;
        }
    }
}

/// librdkafka counts milliseconds; rounding down would spin through the last one.
fn round_up(wait: Duration) -> Duration {
    Duration::from_millis(u64::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(u64::MAX))
}

/// Reports the loss, brings in a new instance, and fails what the old one held. The new one is in
/// place first, so that publishers lose no time; order within a key holds among what is accepted
/// from then on, because none of it is in the old one.
fn finish_lost(inner: &Inner, lost: &Arc<Instance>) {
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
    while let Err(error) = inner.replace(lost) {
        // Creating a client fails for want of threads or memory: what waits is not lost.
        tracing::error!(client = &*inner.options.name, %error, "no new producer, trying again");
        std::thread::park_timeout(Duration::from_millis(500));
    }
    lost.native.purge();
    while lost.native.outstanding() > 0 {
        lost.queue.serve(
            lost.native.client(),
            Duration::from_millis(100),
            &mut |report| {
                inner.reported(report);
            },
        );
    }
}

impl Inner {
    /// One delivery report: the outcome to the receipt, a failure also to the callback.
    fn reported(&self, report: Report<'_>) {
        let size = report.size();
        match report.error {
            None => {
                if self.counters.stored(size) {
                    self.options.reporter.accepted();
                }
                report.slot.complete(Ok(Stored {
                    partition: report.partition,
                    offset: report.offset,
                    timestamp_ms: report.timestamp_ms,
                }));
            }
            Some(code) => {
                let topic = report
                    .topic
                    .strip_prefix(&*self.options.prefix)
                    .map_or(report.topic, |rest| rest.trim_start_matches('.'));
                let error = self.failure(topic, code, report.maybe_stored);
                let value = report.value.unwrap_or_default();
                self.failed(topic, report.key, value, &report.slot, error);
            }
        }
        self.admission.release(&report.slot, size);
    }

    /// Tells a failure, once: a slot that has its outcome already keeps it.
    fn failed(&self, topic: &str, key: Option<&[u8]>, value: &[u8], slot: &SlotRef, error: Error) {
        if !slot.complete(Err(error.clone())) {
            return;
        }
        self.counters.failed();
        let undelivered = Undelivered::new(topic, key.map(<[u8]>::to_vec), value.to_vec(), error);
        if self.abandoned.load(Ordering::SeqCst) {
            self.undelivered.lock().push(undelivered.clone());
        }
        let Some(on_error) = &self.options.on_error else {
            return;
        };
        if catch_unwind(AssertUnwindSafe(|| on_error(undelivered))).is_err() {
            tracing::error!(
                client = &*self.options.name,
                topic,
                "the on_error callback panicked"
            );
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

/// What happened since the client was made.
#[derive(Default)]
pub(super) struct Counters {
    accepted: AtomicU64,
    stored: AtomicU64,
    stored_bytes: AtomicU64,
    failed: AtomicU64,
    rebuilt: AtomicU64,
}

impl Counters {
    pub(super) fn accepted(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a stored event; `true` for the first.
    fn stored(&self, bytes: usize) -> bool {
        self.stored_bytes
            .fetch_add(u64::try_from(bytes).unwrap_or(0), Ordering::Relaxed);
        self.stored.fetch_add(1, Ordering::Relaxed) == 0
    }

    fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn rebuilt(&self) {
        self.rebuilt.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn snapshot(
        &self,
        in_flight: usize,
        in_flight_bytes: usize,
        waiting: usize,
    ) -> WriterStats {
        WriterStats {
            accepted: self.accepted.load(Ordering::Relaxed),
            stored: self.stored.load(Ordering::Relaxed),
            stored_bytes: self.stored_bytes.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            rebuilt: self.rebuilt.load(Ordering::Relaxed),
            in_flight,
            in_flight_bytes,
            waiting,
        }
    }
}
