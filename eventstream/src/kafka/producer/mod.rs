//! The publishing machine: admission, librdkafka, delivery reports, rebuild.
//!
//! ```text
//! publish -> Admission (bounded, first in first out) -> Instance.produce -> librdkafka
//!                ^                                                             |
//!                '---- release <- outcome to slot, on_error <- delivery thread <'
//! ```
//!
//! One thread serves the delivery reports of one librdkafka instance and owns its end. When
//! librdkafka says that an instance is beyond repair, that thread puts a new instance in its
//! place, fails what the old one still held, and goes away with it.

mod admission;
mod delivery;
mod timed;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use rdkafka::config::ClientConfig;

use self::admission::{Admission, Refused};
use self::delivery::{Counters, DeliveryContext};
use self::timed::Timed;
use super::EmbeddedBroker;
use super::context::Reporter;
use super::error::from_code;
use super::native::{NativeProducer, Queue, TopicHandle};
use crate::error::{Error, ErrorKind, Result};
use crate::name::Topic;
use crate::receipt::{EventId, Receipt, SlotRef};
use crate::stats::WriterStats;
use crate::undelivered::Undelivered;

pub(crate) use self::delivery::OnError;

/// What a record carries beside its topic.
#[derive(Clone, Copy, Default)]
pub(crate) struct Outgoing<'a> {
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: &'a [(String, Option<Vec<u8>>)],
    pub(crate) timestamp_ms: Option<i64>,
    /// The event's own publish timeout, where it differs from the client's.
    pub(crate) timeout: Option<Duration>,
}

impl Outgoing<'_> {
    fn size(&self) -> usize {
        self.key.map_or(0, <[u8]>::len) + self.value.map_or(0, <[u8]>::len)
    }
}

/// How a producer is set up.
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
    /// The broker inside the process, which must outlive the delivery thread.
    pub(crate) keep_alive: Option<EmbeddedBroker>,
}

/// The handle: dropping it lets the delivery thread finish what was accepted, then end.
pub(crate) struct Producer {
    inner: Arc<Inner>,
}

/// What the handle and the delivery threads share.
struct Inner {
    options: ProducerOptions,
    admission: Admission,
    counters: Counters,
    /// `None` once the last delivery thread has ended.
    current: RwLock<Option<Arc<Instance>>>,
    timed: Mutex<Timed>,
    /// No more events come: end when the last one is delivered.
    stopping: AtomicBool,
    /// The shutdown deadline has passed: fail what is left, and keep it for the report.
    abandoned: AtomicBool,
    undelivered: Mutex<Vec<Undelivered>>,
    ended: tokio::sync::watch::Sender<bool>,
}

/// One librdkafka producer. Field order is drop order: handles go before the client.
struct Instance {
    topics: RwLock<HashMap<Box<str>, Arc<TopicEntry>>>,
    queue: Queue,
    native: NativeProducer<DeliveryContext>,
}

struct TopicEntry {
    topic: Topic,
    handle: TopicHandle,
}

/// The room that librdkafka adds to a record inside `message.max.bytes`: batch and record headers.
const RECORD_OVERHEAD: usize = 128;

impl Producer {
    pub(crate) fn start(options: ProducerOptions) -> Result<Self> {
        let instance = Arc::new(Instance::new(&options)?);
        let inner = Arc::new(Inner {
            admission: Admission::new(options.buffer_events, options.buffer_bytes),
            options,
            counters: Counters::default(),
            current: RwLock::new(Some(Arc::clone(&instance))),
            timed: Mutex::default(),
            stopping: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
            undelivered: Mutex::default(),
            ended: tokio::sync::watch::Sender::new(false),
        });
        delivery::spawn(Arc::clone(&inner), instance)?;
        Ok(Self { inner })
    }

    /// Accepts the record at once, or says why not.
    pub(crate) fn try_publish(
        &self,
        topic: &str,
        record: Outgoing<'_>,
        id: EventId,
    ) -> Result<Receipt> {
        self.inner.check_size(topic, &record)?;
        let slot = self
            .inner
            .admission
            .try_admit(record.size())
            .map_err(|refused| self.inner.refused(refused))?;
        self.inner.produce(topic, record, slot, id)
    }

    /// Accepts the record, waiting for room for at most its publish timeout.
    pub(crate) async fn publish(
        &self,
        topic: &str,
        record: Outgoing<'_>,
        id: EventId,
    ) -> Result<Receipt> {
        self.inner.check_size(topic, &record)?;
        let patience = record.timeout.unwrap_or(self.inner.options.publish_timeout);
        let admitted = tokio::time::timeout(patience, self.inner.admission.admit(record.size()));
        let slot = match admitted.await {
            Ok(admitted) => admitted.map_err(|refused| self.inner.refused(refused))?,
            Err(_) => return Err(self.inner.no_room(patience)),
        };
        self.inner.produce(topic, record, slot, id)
    }

    /// Waits until everything accepted before this call has its outcome; `false` when the
    /// deadline came first.
    pub(crate) async fn flush(&self, deadline: Duration) -> bool {
        tokio::time::timeout(deadline, self.inner.admission.flushed())
            .await
            .is_ok()
    }

    /// Takes no more events, waits for the outcomes, fails what has none at the deadline and
    /// returns it. Ends the delivery thread.
    pub(crate) async fn shutdown(&self, deadline: Duration) -> Vec<Undelivered> {
        self.inner.admission.close();
        if !self.flush(deadline).await {
            self.inner.abandoned.store(true, Ordering::SeqCst);
            self.inner.wake();
            self.inner.admission.flushed().await;
        }
        self.stop();
        let mut ended = self.inner.ended.subscribe();
        // An error says that the sender is gone, which it is not: `inner` holds it.
        let _ = ended.wait_for(|ended| *ended).await;
        std::mem::take(&mut *self.inner.undelivered.lock())
    }

    pub(crate) fn stats(&self) -> WriterStats {
        let (events, bytes) = self.inner.admission.in_flight();
        self.inner
            .counters
            .snapshot(events, bytes, self.inner.admission.waiting())
    }

    /// Runs `f` on the current librdkafka client, for metadata.
    pub(crate) fn with_native<T>(
        &self,
        f: impl FnOnce(&rdkafka::client::Client<DeliveryContext>) -> T,
    ) -> Result<T> {
        let instance = self.inner.current.read().as_ref().map(Arc::clone);
        instance
            .map(|instance| f(instance.native.client()))
            .ok_or_else(closed)
    }

    fn stop(&self) {
        self.inner.stopping.store(true, Ordering::SeqCst);
        self.inner.wake();
    }

    #[cfg(test)]
    pub(crate) fn inject_fatal(&self) {
        if let Some(instance) = &*self.inner.current.read() {
            instance.native.inject_fatal();
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.inner.admission.close();
        self.stop();
        let (events, _) = self.inner.admission.in_flight();
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
    fn check_size(&self, topic: &str, record: &Outgoing<'_>) -> Result<()> {
        let headers: usize = record
            .headers
            .iter()
            .map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len))
            .sum();
        let size = record.size() + headers;
        let max = self.options.message_max_bytes;
        if size + RECORD_OVERHEAD > max {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!(
                    "publish to {topic}: the event has {size} bytes, allowed are {} \
                     (message.max.bytes {max} less {RECORD_OVERHEAD} for the record's headers)",
                    max.saturating_sub(RECORD_OVERHEAD)
                ),
            ));
        }
        Ok(())
    }

    fn refused(&self, refused: Refused) -> Error {
        match refused {
            Refused::Closed => closed(),
            Refused::Full => Error::new(
                ErrorKind::BufferFull,
                format!(
                    "publish: the buffer is full ({} events, {} bytes)",
                    self.options.buffer_events, self.options.buffer_bytes
                ),
            ),
        }
    }

    fn no_room(&self, patience: Duration) -> Error {
        Error::new(
            ErrorKind::Timeout,
            format!("publish: the buffer stayed full for {patience:?}; the event was not accepted"),
        )
    }

    /// Hands an admitted record to librdkafka. On an error it was not accepted, and its slot is free.
    fn produce(
        &self,
        topic: &str,
        record: Outgoing<'_>,
        slot: SlotRef,
        id: EventId,
    ) -> Result<Receipt> {
        let receipt_slot = slot.clone();
        let size = record.size();
        match self.hand_over(topic, record, slot) {
            Ok(topic) => {
                if let Some(timeout) = record.timeout
                    && timeout < self.options.publish_timeout
                {
                    self.watch(&topic, record, &receipt_slot, timeout);
                }
                Ok(Receipt::new(receipt_slot, topic, id))
            }
            Err(error) => {
                self.admission.release(&receipt_slot, size);
                Err(error)
            }
        }
    }

    fn hand_over(&self, topic: &str, record: Outgoing<'_>, slot: SlotRef) -> Result<Topic> {
        let mut slot = slot;
        loop {
            let current = self.current.read();
            let instance = current.as_ref().ok_or_else(closed)?;
            let entry = instance.topic(topic, &self.options.prefix)?;
            let sent = if record.headers.is_empty() && record.timestamp_ms.is_none() {
                instance
                    .native
                    .produce(&entry.handle, record.key, record.value, slot)
            } else {
                instance.native.produce_with(
                    &entry.handle,
                    record.key,
                    record.value,
                    record.headers,
                    record.timestamp_ms,
                    slot,
                )
            };
            match sent {
                Ok(()) => {
                    self.counters.accepted();
                    return Ok(entry.topic.clone());
                }
                Err((code, back)) if instance.native.fatal_error().is_some() => {
                    // The instance is lost, and this event never was in it. Whoever sees it first
                    // replaces it.
                    let lost = Arc::clone(instance);
                    drop(current);
                    tracing::debug!(?code, "producer instance lost while publishing");
                    self.replace(&lost)?;
                    slot = back;
                }
                Err((code, _)) => return Err(from_code(format!("publish to {topic}"), code)),
            }
        }
    }

    /// Puts a new instance in the place of a lost one, unless someone already has.
    fn replace(self: &Inner, lost: &Arc<Instance>) -> Result<()> {
        let mut current = self.current.write();
        match &*current {
            Some(instance) if Arc::ptr_eq(instance, lost) => {}
            _ => return Ok(()),
        }
        *current = Some(Arc::new(Instance::new(&self.options)?));
        self.counters.rebuilt();
        // The thread of the lost instance starts the new one's: see `delivery::run`.
        lost.queue.wake();
        Ok(())
    }

    fn watch(&self, topic: &Topic, record: Outgoing<'_>, slot: &SlotRef, timeout: Duration) {
        let first = self.timed.lock().push(
            Instant::now() + timeout,
            slot.clone(),
            topic.clone(),
            record.key,
            record.value,
        );
        if first {
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(instance) = &*self.current.read() {
            instance.queue.wake();
        }
    }
}

impl Instance {
    fn new(options: &ProducerOptions) -> Result<Self> {
        let context = DeliveryContext::new(Arc::clone(&options.reporter));
        let native = NativeProducer::new(&options.config, context)
            .map_err(|e| super::error::from_kafka("create the producer", e))?;
        Ok(Self {
            topics: RwLock::default(),
            queue: Queue::main(native.client()),
            native,
        })
    }

    fn topic(&self, topic: &str, prefix: &str) -> Result<Arc<TopicEntry>> {
        if let Some(entry) = self.topics.read().get(topic) {
            return Ok(Arc::clone(entry));
        }
        let checked = Topic::new(topic)?;
        let handle = self
            .native
            .topic(&super::prefixed(prefix, topic))
            .map_err(|e| super::error::from_kafka(format!("publish to {topic}"), e))?;
        let entry = Arc::new(TopicEntry {
            topic: checked,
            handle,
        });
        Ok(Arc::clone(
            self.topics.write().entry(topic.into()).or_insert(entry),
        ))
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "publish: the client has been shut down")
}
