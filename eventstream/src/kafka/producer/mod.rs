//! The publishing machine: admission, librdkafka, delivery reports, rebuild.
//!
//! ```text
//! publish -> Admission (bounded, first in first out) -> Instance.produce -> librdkafka
//!                ^                                                             |
//!                '---- release <- outcome to slot, on_error <- delivery thread <'
//! ```
//!
//! The first publish begins all of it: a client that only subscribes has no producer, and needs no right to write.
//! One thread serves the delivery reports, and it alone begins and ends librdkafka instances. When
//! librdkafka says that an instance is beyond repair, that thread takes it away from the
//! publishers, fails what it still held, and puts a new one in its place; publishers wait so long.

mod admission;
mod alarms;
mod causes;
mod connecting;
mod counters;
mod delivery;
mod failing;
mod instance;
mod refusal;
pub(crate) mod refusals;
mod timed;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::config::ClientConfig;
use rdkafka::types::RDKafkaErrorCode as Code;

use self::alarms::Alarms;
use self::causes::Causes;
use self::counters::Counters;
use self::instance::{Current, Instance, Refusal};
use self::refusal::Standing;
use self::refusals::closed;
use self::timed::Timed;
use super::EmbeddedBroker;
use super::context::Reporter;
use crate::error::{Error, Result};
use crate::name::Topic;
use crate::observe::health::Problem;
use crate::observe::metrics::{ClientMeter, WriterGauges};
use crate::observe::stats::WriterStats;
use crate::observe::trace::{self, Span};
use crate::observe::untold::Gathered;
use crate::publish::Undelivered;
use crate::publish::receipt::{EventId, Receipt, SlotRef};
use crate::witness::Witness;

pub(crate) use self::admission::{Admission, Refused};
pub(crate) use self::delivery::OnError;

/// The contents of a record besides its topic.
#[derive(Clone, Copy, Default)]
pub(crate) struct Outgoing<'a> {
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: &'a [(String, Option<Vec<u8>>)],
    pub(crate) timestamp_ms: Option<i64>,
    /// `None`: the partitioner chooses.
    pub(crate) partition: Option<i32>,
    /// The event's own publish timeout, if it differs from the client's.
    pub(crate) timeout: Option<Duration>,
    /// The span that publishes it, if it is observed.
    pub(crate) span: Option<&'a Span>,
}

impl Outgoing<'_> {
    /// Its size on the wire, as far as it is the user's data.
    fn size(&self) -> usize {
        let header = |(name, value): &(String, Option<Vec<u8>>)| {
            name.len() + value.as_ref().map_or(0, Vec::len)
        };
        let headers: usize = self.headers.iter().map(header).sum();
        self.key.map_or(0, <[u8]>::len) + self.value.map_or(0, <[u8]>::len) + headers
    }

    /// The bytes it takes in the buffer.
    pub(crate) fn room(&self) -> usize {
        self.size() + self.headers.len() * HEADER
    }
}

/// librdkafka's memory for a header in addition to its name and value.
const HEADER: usize = 64;

/// The settings of a producer.
pub(crate) struct ProducerOptions {
    pub(crate) name: Arc<str>,
    pub(crate) prefix: Arc<str>,
    pub(crate) config: ClientConfig,
    pub(crate) buffer_events: usize,
    pub(crate) buffer_bytes: usize,
    pub(crate) publish_timeout: Duration,
    pub(crate) message_max_bytes: usize,
    pub(crate) on_error: Option<OnError>,
    pub(crate) reporter: Arc<Reporter>,
    pub(crate) meter: ClientMeter,
    pub(crate) witness: Option<Arc<dyn Witness>>,
    /// The broker inside the process, which must outlive the delivery thread.
    #[expect(dead_code, reason = "held, not read")]
    pub(crate) keep_alive: Option<EmbeddedBroker>,
}

/// The handle: dropping it lets the delivery thread finish the accepted events, then end.
pub(crate) struct Producer {
    inner: Arc<Inner>,
}

/// Shared by the handle and the delivery thread.
struct Inner {
    options: ProducerOptions,
    admission: Admission,
    alarms: Alarms,
    counters: Counters,
    /// Whether the delivery thread runs, readable without the lock.
    started: AtomicBool,
    start: Mutex<Start>,
    current: Current,
    standing: Standing,
    causes: Arc<Causes>,
    gathered: Arc<Gathered>,
    /// Notified whenever an instance is inserted or removed.
    replaced: tokio::sync::watch::Sender<()>,
    timed: Mutex<Timed>,
    /// No more events will come: end when the last one is delivered.
    stopping: AtomicBool,
    /// A shutdown has started: keep failed events for its report.
    collecting: AtomicBool,
    /// The shutdown deadline has passed: fail what is left.
    abandoned: AtomicBool,
    undelivered: Mutex<Vec<Undelivered>>,
    ended: tokio::sync::watch::Sender<bool>,
}

/// The state of starting at the first publish.
#[derive(Default)]
enum Start {
    #[default]
    NotYet,
    Done,
    /// The client was shut down before it published anything.
    Never,
}

/// How long an admitted publisher waits before it tries librdkafka again.
const AGAIN: Duration = Duration::from_millis(10);

impl Producer {
    /// A producer that starts with the first publish. Faults in its files are found now.
    pub(crate) fn new(options: ProducerOptions) -> Result<Self> {
        let protocol = options.config.get("security.protocol");
        if protocol.is_some_and(|protocol| protocol.contains("ssl")) {
            Instance::try_out(&options)?;
        }
        let inner = Arc::new(Inner {
            admission: Admission::new(options.buffer_events, options.buffer_bytes),
            alarms: Alarms::default(),
            gathered: Arc::new(Gathered::new(Arc::clone(&options.name))),
            options,
            counters: Counters::default(),
            started: AtomicBool::new(false),
            start: Mutex::default(),
            current: Current::default(),
            standing: Standing::default(),
            causes: Arc::default(),
            replaced: tokio::sync::watch::Sender::new(()),
            timed: Mutex::default(),
            stopping: AtomicBool::new(false),
            collecting: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
            undelivered: Mutex::default(),
            ended: tokio::sync::watch::Sender::new(false),
        });
        let watched = Arc::downgrade(&inner);
        inner
            .options
            .meter
            .watch(move || watched.upgrade().map(|inner| inner.gauges()));
        Ok(Self { inner })
    }

    /// Creates the librdkafka producer and its thread, once.
    fn begin(&self) -> Result<()> {
        let inner = &self.inner;
        if inner.started.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut start = inner.start.lock();
        match *start {
            Start::Done => {}
            Start::Never => return Err(closed()),
            Start::NotYet => {
                let instance = Arc::new(Instance::new(&inner.options, &inner.causes)?);
                inner.current.set(&instance);
                if let Err(error) = delivery::spawn(Arc::clone(inner), instance) {
                    inner.current.clear();
                    return Err(error);
                }
                *start = Start::Done;
                inner.started.store(true, Ordering::Release);
            }
        }
        Ok(())
    }

    /// Whether a broker could take a record of this size.
    pub(crate) fn check_size(&self, topic: &str, record: &Outgoing<'_>) -> Result<()> {
        self.inner.check_size(topic, record)
    }

    /// Accepts the record at once, or returns why not.
    pub(crate) fn try_publish(
        &self,
        topic: &str,
        record: Outgoing<'_>,
        id: EventId,
    ) -> Result<Receipt> {
        let inner = &*self.inner;
        inner.check_size(topic, &record)?;
        self.begin()?;
        let deadline = record
            .timeout
            .and_then(|timeout| Instant::now().checked_add(inner.patience(timeout)));
        let slot = inner
            .admission
            .try_admit(record.room())
            .map_err(|refused| inner.refused(refused))?;
        let mut admitted = Admitted::new(inner, slot, &record);
        inner
            .hand_over(topic, &record, &mut admitted, deadline, id)
            .unwrap_or_else(|_| Err(inner.refused(Refused::Full)))
    }

    /// Accepts the record, waiting for room up to its publish timeout.
    pub(crate) async fn publish(
        &self,
        topic: &str,
        record: Outgoing<'_>,
        id: EventId,
    ) -> Result<Receipt> {
        let inner = &*self.inner;
        inner.check_size(topic, &record)?;
        self.begin()?;
        let own = record.timeout.map(|timeout| inner.patience(timeout));
        let patience = own.unwrap_or(inner.options.publish_timeout);
        let deadline = Instant::now().checked_add(patience);
        let admitted = inner.admission.admit(record.room());
        let slot = match inner.until(deadline, admitted).await {
            Some(admitted) => admitted.map_err(|refused| inner.refused(refused))?,
            None => return Err(inner.no_room(topic, patience)),
        };
        let mut admitted = Admitted::new(inner, slot, &record);
        let mut id = id;
        loop {
            let mut replaced = inner.replaced.subscribe();
            let own_deadline = own.and(deadline);
            match inner.hand_over(topic, &record, &mut admitted, own_deadline, id) {
                Ok(outcome) => return outcome,
                Err(back) => id = back,
            }
            let now = Instant::now();
            if deadline.is_some_and(|deadline| deadline <= now) {
                return Err(inner.no_room(topic, patience));
            }
            let again = now + AGAIN;
            let again = deadline.map_or(again, |deadline| deadline.min(again));
            // Either way it tries again: an instance has arrived, or a moment has passed.
            let _ = inner.until(Some(again), replaced.changed()).await;
        }
    }

    /// Waits until everything accepted before this call has its outcome.
    pub(crate) async fn flush(&self, timeout: Duration) -> Result<()> {
        let deadline = Instant::now().checked_add(timeout);
        let flushed = self.inner.admission.flushed();
        if self.inner.until(deadline, flushed).await.is_some() {
            return Ok(());
        }
        let pending = self.inner.admission.pending();
        let error = refusals::pending(pending, timeout);
        Err(match self.inner.options.reporter.problem() {
            Some(problem) => error.with_source(problem.into_error()),
            None => error,
        })
    }

    /// Accepts no more events, waits for the outcomes, and after the timeout fails and returns
    /// events without one. Ends the delivery thread.
    pub(crate) async fn shutdown(&self, timeout: Duration) -> Vec<Undelivered> {
        let inner = &*self.inner;
        inner.collecting.store(true, Ordering::SeqCst);
        inner.close();
        let deadline = Instant::now().checked_add(timeout);
        if inner.until(deadline, self.emptied()).await.is_none() {
            inner.abandoned.store(true, Ordering::SeqCst);
            inner.replaced.send_replace(());
            inner.wake();
            self.emptied().await;
        }
        self.stop();
        self.ended().await;
        std::mem::take(&mut *inner.undelivered.lock())
    }

    /// Nothing is in flight, or nothing is left to deliver it.
    async fn emptied(&self) {
        tokio::select! {
            () = self.inner.admission.flushed() => {}
            () = self.ended() => {}
        }
    }

    async fn ended(&self) {
        let mut ended = self.inner.ended.subscribe();
        // An error would mean that the sender is gone, but `inner` holds it.
        let _ = ended.wait_for(|ended| *ended).await;
    }

    pub(crate) fn stats(&self) -> WriterStats {
        let admission = &self.inner.admission;
        let (_, bytes) = admission.in_flight();
        self.inner
            .counters
            .snapshot(admission.pending(), bytes, admission.waiting())
    }

    /// Why the brokers do not allow this client to publish, as last reported.
    pub(crate) fn refusal(&self) -> Option<Problem> {
        self.inner.standing.problem()
    }

    fn stop(&self) {
        self.inner.stopping.store(true, Ordering::SeqCst);
        self.inner.wake();
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.inner.close();
        self.stop();
        let events = self.inner.admission.pending();
        if events > 0 {
            tracing::warn!(
                client = &*self.inner.options.name,
                events,
                "client dropped before its events were delivered; they are delivered in the \
                 background as long as the process lives: call `shutdown` to wait for them"
            );
        }
    }
}

impl Inner {
    fn gauges(&self) -> WriterGauges {
        let (in_flight_events, in_flight_bytes) = self.admission.in_flight();
        WriterGauges {
            in_flight_events,
            in_flight_bytes,
            capacity_events: self.options.buffer_events,
            capacity_bytes: self.options.buffer_bytes,
            waiting: self.admission.waiting(),
        }
    }

    /// Accepts no more events.
    fn close(&self) {
        self.admission.close();
        let mut start = self.start.lock();
        if matches!(*start, Start::NotYet) {
            *start = Start::Never;
            self.ended.send_replace(true);
        }
    }

    /// Makes the delivery thread check at once.
    fn wake(&self) {
        self.current.wake();
        self.standing.wake();
    }

    /// Awaits the future until the deadline.
    async fn until<F: Future>(&self, at: Option<Instant>, future: F) -> Option<F::Output> {
        self.alarms
            .until(at, delivery::IDLE, || self.wake(), future)
            .await
    }

    fn check_size(&self, topic: &str, record: &Outgoing<'_>) -> Result<()> {
        refusals::check_size(topic, record, self.options.message_max_bytes)
    }

    fn refused(&self, refused: Refused) -> Error {
        match refused {
            Refused::Closed => closed(),
            Refused::Full => refusals::full(self.options.buffer_events, self.options.buffer_bytes),
        }
    }

    /// The event's own timeout; the client's is the upper bound.
    fn patience(&self, own: Duration) -> Duration {
        own.min(self.options.publish_timeout)
    }

    /// Passes an admitted record to librdkafka. The id is returned if that is not possible now.
    fn hand_over(
        &self,
        topic: &str,
        record: &Outgoing<'_>,
        admitted: &mut Admitted<'_>,
        own_deadline: Option<Instant>,
        id: EventId,
    ) -> Result<Result<Receipt>, EventId> {
        let Some(slot) = admitted.slot.take() else {
            return Err(id);
        };
        let prefix = &self.options.prefix;
        // Before it is passed on, as its outcome may come at once.
        if let Some(span) = admitted.deliver.take() {
            slot.trace(span);
        }
        let produced = self.current.produce(topic, prefix, record, slot.clone());
        if produced.is_err() {
            admitted.deliver = slot.take_span();
        }
        let refusal = match produced {
            // Its report releases the room.
            Ok(topic) => {
                self.counters.accepted();
                if let Some(deadline) = own_deadline {
                    self.watch(&topic, record, &slot, deadline);
                }
                return Ok(Ok(Receipt::new(slot, topic, id)));
            }
            Err(refusal) => refusal,
        };
        admitted.slot = Some(slot);
        match refusal {
            Refusal::NoInstance if self.is_over() => Ok(Err(closed())),
            Refusal::NoInstance => match self.standing.wanted() {
                Some(code) => Ok(Err(self.turned_away(topic, code, ""))),
                None => Err(id),
            },
            // librdkafka's own queue is full: it is larger than the admission, but counts a message
            // until a little after its report.
            Refusal::Code(Code::QueueFull) => Err(id),
            Refusal::Code(code) => Ok(Err(self.error_of(topic, code, ""))),
            Refusal::Error(error) => Ok(Err(error)),
        }
    }

    /// There will be no further instance.
    fn is_over(&self) -> bool {
        self.is_abandoned() || *self.ended.borrow()
    }

    fn watch(&self, topic: &Topic, record: &Outgoing<'_>, slot: &SlotRef, deadline: Instant) {
        let (slot, topic) = (slot.clone(), topic.clone());
        let first = self.timed.lock().push(deadline, slot, topic, record);
        if first {
            self.current.wake();
        }
    }
}

/// An admitted event that librdkafka does not have: dropping it frees its room.
struct Admitted<'a> {
    inner: &'a Inner,
    /// `None` once librdkafka has it.
    slot: Option<SlotRef>,
    deliver: Option<Span>,
}

impl<'a> Admitted<'a> {
    fn new(inner: &'a Inner, slot: SlotRef, record: &Outgoing<'_>) -> Self {
        Self {
            inner,
            slot: Some(slot),
            deliver: record.span.map(trace::deliver),
        }
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        if let Some(slot) = &self.slot {
            self.inner.admission.release(slot);
        }
    }
}
