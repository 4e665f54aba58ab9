use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::RwLock;

use super::causes::Causes;
use super::{Outgoing, ProducerOptions};
use crate::error::Result;
use crate::kafka::error::from_kafka;
use crate::kafka::native::{NativeProducer, Queue, TopicHandle};
use crate::kafka::tokens::Supply;
use crate::name::{Topic, prefixed};
use crate::publish::receipt::SlotRef;

use super::delivery::DeliveryContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::types::RDKafkaErrorCode as Code;

/// One librdkafka producer. Field order is drop order: queue and supply go before the client.
pub(super) struct Instance {
    pub(super) queue: Queue,
    _supply: Option<Supply>,
    pub(super) native: NativeProducer<DeliveryContext>,
    pub(super) born: Instant,
    /// It is idempotent.
    pub(super) needs_id: bool,
    /// The crate itself enabled the log about messages.
    listens: bool,
}

/// librdkafka's log about messages: the only place that shows why a broker does not accept them for now.
const MESSAGES: &str = "msg";

impl Instance {
    pub(super) fn new(options: &ProducerOptions, causes: &Arc<Causes>) -> Result<Self> {
        let mut config = options.config.clone();
        let listens = config.get("debug").is_none();
        if listens {
            // At this level none of it is written or even formatted: see `listen`.
            config.set("debug", MESSAGES);
            config.set_log_level(RDKafkaLogLevel::Info);
        }
        let native = create(&config, options, causes)?;
        Ok(Self {
            queue: Queue::main(native.client()),
            _supply: options.reporter.supply(native.client()),
            native,
            born: Instant::now(),
            needs_id: config.get("enable.idempotence") == Some("true"),
            listens,
        })
    }

    /// Checks what librdkafka reads when a client is created, such as certificate files, without a connection.
    pub(super) fn try_out(options: &ProducerOptions) -> Result<()> {
        let mut config = options.config.clone();
        config.remove("bootstrap.servers");
        create(&config, options, &Arc::default()).map(drop)
    }

    /// Whether librdkafka logs the brokers' response to each request.
    pub(super) fn listen(&self, on: bool) {
        if self.listens {
            self.native.log_level(if on {
                RDKafkaLogLevel::Debug
            } else {
                RDKafkaLogLevel::Info
            });
        }
    }
}

fn create(
    config: &ClientConfig,
    options: &ProducerOptions,
    causes: &Arc<Causes>,
) -> Result<NativeProducer<DeliveryContext>> {
    // A program does not ask for the log about messages with its log mode.
    let passes_on = config.get("debug") != Some(MESSAGES);
    let context = DeliveryContext::new(options, Arc::clone(causes), passes_on);
    NativeProducer::new(config, context).map_err(|e| from_kafka("create the producer", e))
}

/// The instance that publishers use, behind one lock with its topics.
///
/// Only the delivery thread inserts and removes an instance, and it keeps the instance until
/// afterwards, so no publisher ever destroys one. Publishers hold the lock for reading while they
/// pass an event on: once it is removed, nothing more gets into it.
#[derive(Default)]
pub(super) struct Current(RwLock<Option<Live>>);

/// Field order is drop order: topics go before the client.
struct Live {
    /// Sorted: finding one of a few takes a few comparisons, which is less than a hash.
    topics: BTreeMap<Box<str>, TopicEntry>,
    instance: Arc<Instance>,
}

struct TopicEntry {
    topic: Topic,
    handle: TopicHandle,
}

/// Why librdkafka did not accept an event.
pub(super) enum Refusal {
    /// There is no instance now, or it is lost.
    NoInstance,
    Code(Code),
    Error(crate::error::Error),
}

impl Current {
    pub(super) fn set(&self, instance: &Arc<Instance>) {
        *self.0.write() = Some(Live {
            topics: BTreeMap::new(),
            instance: Arc::clone(instance),
        });
    }

    pub(super) fn clear(&self) {
        let before = self.0.write().take();
        // Outside the lock: it frees topics.
        drop(before);
    }

    /// Whether anything was to be published to the instance.
    pub(super) fn has_topics(&self) -> bool {
        let current = self.0.read();
        current.as_ref().is_some_and(|live| !live.topics.is_empty())
    }

    /// Makes the delivery thread check at once.
    pub(super) fn wake(&self) {
        if let Some(live) = &*self.0.read() {
            live.instance.queue.wake();
        }
    }

    /// Passes an event to librdkafka, which copies it.
    pub(super) fn produce(
        &self,
        topic: &str,
        prefix: &str,
        record: &Outgoing<'_>,
        slot: SlotRef,
    ) -> Result<Topic, Refusal> {
        let mut current = self.0.read();
        loop {
            let live = current.as_ref().ok_or(Refusal::NoInstance)?;
            if let Some(entry) = live.topics.get(topic) {
                return match live.send(entry, record, slot) {
                    Ok(()) => Ok(entry.topic.clone()),
                    Err((Code::Fatal, _)) => Err(Refusal::NoInstance),
                    Err(_) if live.instance.native.fatal_error().is_some() => {
                        Err(Refusal::NoInstance)
                    }
                    Err((code, _)) => Err(Refusal::Code(code)),
                };
            }
            drop(current);
            self.add_topic(topic, prefix)?;
            current = self.0.read();
        }
    }

    fn add_topic(&self, topic: &str, prefix: &str) -> Result<(), Refusal> {
        let checked = Topic::new(topic).map_err(Refusal::Error)?;
        let mut current = self.0.write();
        let live = current.as_mut().ok_or(Refusal::NoInstance)?;
        if !live.topics.contains_key(topic) {
            let handle = live
                .instance
                .native
                .topic(&prefixed(prefix, topic))
                .map_err(|e| Refusal::Error(from_kafka(format!("publish to {topic}"), e)))?;
            let entry = TopicEntry {
                topic: checked,
                handle,
            };
            live.topics.insert(topic.into(), entry);
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn inject_fatal(&self) {
        if let Some(live) = &*self.0.read() {
            live.instance.native.inject_fatal();
        }
    }
}

impl Live {
    fn send(
        &self,
        entry: &TopicEntry,
        record: &Outgoing<'_>,
        slot: SlotRef,
    ) -> Result<(), (Code, SlotRef)> {
        let native = &self.instance.native;
        let is_plain = record.headers.is_empty()
            && record.timestamp_ms.is_none()
            && record.partition.is_none();
        if is_plain {
            native.produce(&entry.handle, record.key, record.value, slot)
        } else {
            native.produce_with(&entry.handle, record, slot)
        }
    }
}
