//! The one place that knows librdkafka.

mod admin;
mod config;
mod consumer;
mod context;
mod denied;
mod diagnosis;
mod embedded;
mod error;
mod examine;
mod groups;
mod inspect;
mod list_offsets;
mod native;
mod producer;
mod questions;
mod scan;
mod trial;
mod verify;

use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use self::config::ClientConfigs;
use self::consumer::{Consumers, ConsumersOptions};
use self::context::Reporter;
use self::producer::{OnError, Producer, ProducerOptions};
use crate::config::BrokerConfig;
use crate::deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::metadata::{Metadata, MetadataQuery};
use crate::name::{Topic, check_whole_topic};
use crate::observe::health::Health;
use crate::observe::metrics::{ClientMeter, STATISTICS_INTERVAL};
use crate::observe::stats::{ReaderStats, WriterStats};
use crate::observe::trace::{self, Labels, Publishing, ToPublish};
use crate::publish::AuditLog;
use crate::publish::Undelivered;
use crate::publish::receipt::{EventId, Receipt};
use crate::publish::{KEPT, Publish, PublishRaw};
use crate::subscribe::{CheckedSubscribe, Subscription};
use crate::witness::Witness;

pub(crate) use self::consumer::RegisteredRoutes;
pub(crate) use self::denied::{Operation, Resource, right_remedy};
pub use self::embedded::EmbeddedBroker;
#[cfg(feature = "testing")]
pub use self::embedded::Refusal;
pub(crate) use self::examine::{Examination, Examiner, round_trip};
pub(crate) use self::groups::PlannedSeek;
pub(crate) use self::producer::Outgoing;
#[cfg(feature = "testing")]
pub(crate) use self::producer::{Admission, Refused, refusals};
pub(crate) use self::scan::{Bounds, Scan, Span};
pub(crate) use self::verify::unverified;

/// A topic as the broker knows it; an empty prefix leaves it as it is.
pub(crate) fn prefixed(prefix: &str, name: &str) -> String {
    if prefix.is_empty() {
        name.to_owned()
    } else {
        format!("{prefix}.{name}")
    }
}

/// A group as the broker knows it. It has the dot without a prefix too, where the Go SDK has its offsets.
pub(crate) fn wire_group(prefix: &str, group: &str) -> String {
    format!("{prefix}.{group}")
}

/// What the `kafka` and `embedded` streams are made with. The configuration has been validated.
pub(crate) struct KafkaOptions {
    pub(crate) prefix: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) brokers: Vec<String>,
    pub(crate) embedded: Option<EmbeddedBroker>,
    pub(crate) is_embedded: bool,
    pub(crate) config: BrokerConfig,
    pub(crate) on_error: Option<OnError>,
    pub(crate) meter: ClientMeter,
    pub(crate) witness: Option<Arc<dyn Witness>>,
}

/// The `kafka` and `embedded` streams.
pub(crate) struct Kafka {
    producer: Arc<Producer>,
    consumers: Consumers,
    configs: Arc<ClientConfigs>,
    prefix: Arc<str>,
    labels: Labels,
    strict: bool,
    dead_letter_suffix: Box<str>,
    reporter: Arc<Reporter>,
    meter: ClientMeter,
    /// Last: it outlives the clients above.
    embedded: Option<EmbeddedBroker>,
}

thread_local! {
    /// Where envelopes are written. librdkafka copies them, so one buffer serves a thread.
    static ENCODED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Kafka {
    pub(crate) fn start(options: KafkaOptions) -> Result<Self> {
        let KafkaOptions {
            prefix,
            name,
            mut brokers,
            embedded,
            is_embedded,
            mut config,
            on_error,
            meter,
            witness,
        } = options;
        if meter.is_on() {
            config
                .statistics_interval
                .get_or_insert(STATISTICS_INTERVAL);
        }
        if let Some(broker) = &embedded {
            brokers = broker.address().split(',').map(str::to_owned).collect();
        }
        let reporter = Arc::new(Reporter::new(Arc::clone(&name), &config).of_brokers(&brokers));
        let presets = match (is_embedded, &witness) {
            (false, _) => &[][..],
            (true, None) => config::EMBEDDED,
            (true, Some(_)) => config::TESTING,
        };
        let configs = Arc::new(ClientConfigs::new(&config, &brokers, presets)?);
        reporter.asks_with(&configs.admin);
        let producer = Arc::new(Producer::new(ProducerOptions {
            name: Arc::clone(&name),
            prefix: Arc::clone(&prefix),
            config: configs.producer.clone(),
            buffer_events: config.buffer_events,
            buffer_bytes: config.buffer_bytes,
            publish_timeout: config.effective_publish_timeout(),
            message_max_bytes: config.effective_message_max_bytes(),
            on_error,
            reporter: Arc::clone(&reporter),
            meter: meter.clone(),
            witness: witness.clone(),
            keep_alive: embedded.clone(),
        })?);
        let strict = config.strict_validation;
        let dead_letter_suffix = config.dead_letter_suffix.as_str().into();
        let consumers = Consumers::new(ConsumersOptions {
            prefix: Arc::clone(&prefix),
            config,
            configs: Arc::clone(&configs),
            producer: Arc::clone(&producer),
            reporter: Arc::clone(&reporter),
            meter: meter.clone(),
            witness,
            embedded: embedded.clone(),
        });
        Ok(Self {
            producer,
            consumers,
            configs,
            labels: Labels {
                client: name,
                prefix: Arc::clone(&prefix),
                group: "".into(),
            },
            prefix,
            strict,
            dead_letter_suffix,
            reporter,
            meter,
            embedded,
        })
    }

    pub(crate) async fn publish(&self, event: &Publish) -> Result<Receipt> {
        self.check(event)?;
        let id = event.assign_id();
        let traced = self.traced(event, &id);
        let traced = traced.as_deref();
        let headers = headers(event, traced);
        let receipt = match self.encoded(event, &id, traced, |value| {
            let record = outgoing(event, &id, value, &headers, traced);
            match self
                .producer
                .try_publish(event.topic_name(), record, id.clone())
            {
                // No room: the bytes have to be kept while it waits, so it gets its own copy.
                Err(e) if e.kind() == ErrorKind::BufferFull => Err(value.to_vec()),
                receipt => Ok(receipt),
            }
        }) {
            Ok(receipt) => receipt,
            Err(value) => {
                let record = outgoing(event, &id, &value, &headers, traced);
                self.producer
                    .publish(event.topic_name(), record, id.clone())
                    .await
            }
        };
        self.told(traced, receipt)
    }

    pub(crate) fn try_publish(&self, event: &Publish) -> Result<Receipt> {
        self.check(event)?;
        let id = event.assign_id();
        let traced = self.traced(event, &id);
        let traced = traced.as_deref();
        let headers = headers(event, traced);
        let receipt = self.encoded(event, &id, traced, |value| {
            let record = outgoing(event, &id, value, &headers, traced);
            self.producer
                .try_publish(event.topic_name(), record, id.clone())
        });
        self.told(traced, receipt)
    }

    pub(crate) async fn publish_audit_log(&self, topic: &Topic, log: &AuditLog) -> Result<Receipt> {
        log.validate()
            .and_then(|()| self.fits("publish", topic.as_str(), ""))
            .map_err(|e| self.refused(e))?;
        let mut value = Vec::new();
        let id = log.encode_now(&mut value);
        let traced = trace::publish(
            &self.labels,
            &ToPublish {
                topic: topic.as_str(),
                name: "",
                id: id.as_str(),
                span_context: "",
            },
        );
        let traced = traced.as_deref();
        let headers = traced.map_or_else(Cow::default, |traced| traced.headers(&[]));
        let outgoing = Outgoing {
            key: Some(log.record_key().as_bytes()),
            value: Some(&value),
            headers: &headers,
            span: traced.and_then(Publishing::span),
            ..Outgoing::default()
        };
        let receipt = self.producer.publish(topic.as_str(), outgoing, id).await;
        self.told(traced, receipt)
    }

    pub(crate) async fn publish_raw(&self, record: &PublishRaw) -> Result<Receipt> {
        let topic = Topic::new(&record.topic)
            .and_then(|topic| self.fits("publish", topic.as_str(), "").map(|()| topic))
            .map_err(|e| self.refused(e))?;
        let outgoing = Outgoing {
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &record.headers,
            timestamp_ms: record.timestamp_ms,
            partition: record.partition,
            ..Outgoing::default()
        };
        let id = EventId::Chosen("".into());
        let receipt = self.producer.publish(topic.as_str(), outgoing, id).await;
        receipt.map_err(|error| self.refused(error))
    }

    fn traced(&self, event: &Publish, id: &EventId) -> Option<Box<Publishing>> {
        let event = ToPublish {
            topic: event.topic_name(),
            name: event.event_name(),
            id: id.as_str(),
            span_context: event.given_span_context(),
        };
        trace::publish(&self.labels, &event)
    }

    fn encoded<T>(
        &self,
        event: &Publish,
        id: &EventId,
        traced: Option<&Publishing>,
        send: impl FnOnce(&[u8]) -> T,
    ) -> T {
        let span_context = traced.and_then(Publishing::span_context);
        encoded(|out| event.encode(id.as_str(), span_context, out), send)
    }

    fn check(&self, event: &Publish) -> Result<()> {
        event
            .validate(self.strict)
            .and_then(|()| self.fits("publish", event.topic_name(), ""))
            .map_err(|e| self.refused(e))
    }

    /// Whether Kafka allows a topic of this length.
    pub(crate) fn fits(&self, doing: &str, topic: &str, suffix: &str) -> Result<()> {
        match check_whole_topic(&self.prefix, topic, suffix) {
            None => Ok(()),
            Some(fault) => Err(Error::from_faults(
                ErrorKind::Validation,
                doing,
                vec![fault],
            )),
        }
    }

    /// Counts a publish call that was refused.
    fn refused(&self, error: Error) -> Error {
        self.meter.refused(error.kind());
        error
    }

    fn told(&self, traced: Option<&Publishing>, receipt: Result<Receipt>) -> Result<Receipt> {
        receipt.map_err(|error| {
            if let Some(traced) = traced {
                traced.refused(&error);
            }
            self.refused(error)
        })
    }

    pub(crate) async fn register(&self, subscribe: CheckedSubscribe) -> Result<Subscription> {
        let topic = subscribe.topic.as_str();
        self.fits("register", topic, "")?;
        if subscribe.options.may_dead_letter() {
            self.fits("register", topic, &self.dead_letter_suffix)?;
        }
        self.consumers.register(subscribe)
    }

    pub(crate) async fn metadata(
        &self,
        query: &MetadataQuery,
        timeout: Duration,
    ) -> Result<Metadata> {
        let question = inspect::Question {
            topic: query.topic.as_deref().map(|t| prefixed(&self.prefix, t)),
            group: query.group.as_deref().map(|group| {
                if query.exact_group {
                    group.to_owned()
                } else {
                    wire_group(&self.prefix, group)
                }
            }),
            watermarks: query.watermarks,
            at: query.at.map(unix_millis),
        };
        let configs = Arc::clone(&self.configs);
        let reporter = Arc::clone(&self.reporter);
        blocking("metadata", move || {
            inspect::metadata(&configs, &reporter, &question, timeout)
        })
        .await
    }

    pub(crate) async fn create_topic(
        &self,
        topic: &str,
        partitions: u32,
        replication: u16,
        timeout: Duration,
    ) -> Result<bool> {
        self.create(topic, partitions, replication, false, timeout)
            .await
    }

    async fn create(
        &self,
        topic: &str,
        partitions: u32,
        replication: u16,
        kept: bool,
        timeout: Duration,
    ) -> Result<bool> {
        self.fits("create topic", topic, "")?;
        let wanted = admin::NewTopic {
            name: prefixed(&self.prefix, topic),
            partitions,
            replication,
            kept,
        };
        // The embedded broker answers no admin calls.
        if let Some(broker) = &self.embedded {
            return admin::create_embedded(broker, &wanted);
        }
        let configs = Arc::clone(&self.configs);
        let reporter = Arc::clone(&self.reporter);
        blocking("create a topic", move || {
            admin::create_topic(&configs, &reporter, &wanted, timeout)
        })
        .await
    }

    /// Creates a topic whose records are kept until somebody deletes them.
    pub(crate) async fn create_kept_topic(
        &self,
        topic: &str,
        partitions: u32,
        replication: u16,
        timeout: Duration,
    ) -> Result<bool> {
        self.create(topic, partitions, replication, true, timeout)
            .await
    }

    /// What the topic (without prefix) holds now; `None` where there is none of this name. With `since`, the
    /// spans leave out older records as far as the brokers can find them.
    pub(crate) async fn bounds(
        &self,
        topic: &str,
        since: Option<SystemTime>,
        timeout: Duration,
    ) -> Result<Option<Bounds>> {
        let topic = prefixed(&self.prefix, topic);
        let configs = Arc::clone(&self.configs);
        let reporter = Arc::clone(&self.reporter);
        blocking("look at a topic", move || {
            scan::bounds(&configs, &reporter, &topic, since, timeout)
        })
        .await
    }

    /// Reads these spans of the topic (without prefix).
    pub(crate) fn scan(&self, topic: &Topic, spans: &[Span]) -> Result<Scan> {
        let wire = prefixed(&self.prefix, topic.as_str());
        Scan::start(&self.configs, &self.reporter, wire, topic.clone(), spans)
    }

    /// Publishes a record as it is, to a topic without prefix.
    pub(crate) async fn publish_record(
        &self,
        topic: &str,
        record: Outgoing<'_>,
    ) -> Result<Receipt> {
        let id = EventId::Chosen("".into());
        self.producer.publish(topic, record, id).await
    }

    /// What the names of dead-letter topics end with.
    pub(crate) fn dead_letter_suffix(&self) -> &str {
        &self.dead_letter_suffix
    }

    pub(crate) fn writer_stats(&self) -> WriterStats {
        self.producer.stats()
    }

    pub(crate) fn reader_stats(&self) -> ReaderStats {
        self.consumers.stats()
    }

    pub(crate) fn health(&self) -> Health {
        let mut health = self.consumers.health();
        let problems = [self.reporter.problem(), self.producer.refusal()];
        for problem in problems.into_iter().flatten() {
            health.add(problem);
        }
        health
    }

    pub(crate) async fn flush(&self, timeout: Duration) -> Result<()> {
        self.producer.flush(timeout).await
    }

    pub(crate) async fn shutdown(&self, timeout: Duration) -> Vec<Undelivered> {
        let until = deadline::after(timeout);
        // Consumers first: their handlers may publish, and their dead letters go through the producer.
        self.consumers.shutdown(timeout).await;
        self.producer.shutdown(deadline::left(until)).await
    }

    #[cfg(feature = "testing")]
    pub(crate) fn subscribed(&self) -> Vec<(Arc<str>, Vec<String>)> {
        self.consumers.subscribed()
    }

    #[cfg(feature = "testing")]
    pub(crate) async fn ready(&self) {
        self.consumers.ready().await;
    }

    pub(crate) fn embedded_broker(&self) -> Option<&EmbeddedBroker> {
        self.embedded.as_ref()
    }
}

/// Milliseconds, as Kafka has them; what was before 1970 is 1970.
fn unix_millis(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// librdkafka's calls about the cluster block.
async fn blocking<T: Send + 'static>(
    doing: &str,
    call: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(call).await.map_err(|e| {
        let message = format!("{doing}: the runtime is shutting down");
        Error::new(ErrorKind::Closed, message).with_source(e)
    })?
}

fn headers<'a>(event: &'a Publish, traced: Option<&Publishing>) -> Cow<'a, trace::Headers> {
    match traced {
        Some(traced) => traced.headers(event.headers()),
        None => event.headers().into(),
    }
}

fn outgoing<'a>(
    event: &'a Publish,
    id: &'a EventId,
    value: &'a [u8],
    headers: &'a trace::Headers,
    traced: Option<&'a Publishing>,
) -> Outgoing<'a> {
    Outgoing {
        key: Some(event.key_or(id)),
        value: Some(value),
        headers,
        timestamp_ms: None,
        partition: None,
        timeout: event.own_timeout(),
        span: traced.and_then(Publishing::span),
    }
}

/// Writes into the thread's buffer and gives it to `send`.
fn encoded<T>(write: impl FnOnce(&mut Vec<u8>), send: impl FnOnce(&[u8]) -> T) -> T {
    ENCODED.with(|buffer| {
        // Taken, not borrowed: an `on_error` callback that publishes runs on a thread of its own,
        // but a serialiser could publish too.
        let mut out = buffer.take();
        out.clear();
        write(&mut out);
        let sent = send(&out);
        if out.capacity() <= KEPT {
            buffer.replace(out);
        }
        sent
    })
}
