//! The only module that knows librdkafka.

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
mod sender;
mod tokens;
mod trial;
mod verify;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use self::config::ClientConfigs;
use self::consumer::{Consumers, ConsumersOptions};
use self::context::Reporter;
use self::producer::{OnError, Producer, ProducerOptions};
use self::sender::Sender;
use crate::config::BrokerConfig;
use crate::deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::metadata::{Metadata, MetadataQuery};
use crate::name::{Topic, prefixed};
use crate::observe::health::Health;
use crate::observe::metrics::{ClientMeter, STATISTICS_INTERVAL};
use crate::observe::stats::{ReaderStats, WriterStats};
use crate::observe::trace::{Labels, Tracer};
use crate::publish::{Publisher, Undelivered};
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

/// A group's name on the broker. It has the dot even without a prefix, since the Go SDK stores its offsets there.
pub(crate) fn wire_group(prefix: &str, group: &str) -> String {
    format!("{prefix}.{group}")
}

/// The settings of the `kafka` and `embedded` backends, with a validated configuration.
pub(crate) struct KafkaOptions {
    pub(crate) prefix: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) brokers: Vec<String>,
    pub(crate) embedded: Option<EmbeddedBroker>,
    pub(crate) is_embedded: bool,
    pub(crate) config: BrokerConfig,
    pub(crate) on_error: Option<OnError>,
    pub(crate) meter: ClientMeter,
    pub(crate) tracer: Option<Tracer>,
    pub(crate) witness: Option<Arc<dyn Witness>>,
}

/// The `kafka` and `embedded` backends.
pub(crate) struct Kafka {
    /// Publishes events.
    pub(crate) sender: Arc<Sender>,
    consumers: Consumers,
    configs: Arc<ClientConfigs>,
    prefix: Arc<str>,
    dead_letter_suffix: Box<str>,
    reporter: Arc<Reporter>,
    /// Last, as it must outlive the clients above.
    embedded: Option<EmbeddedBroker>,
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
            tracer,
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
        let sender = Arc::new(Sender {
            producer,
            prefix: Arc::clone(&prefix),
            labels: Labels::new(tracer.as_ref(), name, Arc::clone(&prefix), None),
            strict: config.strict_validation,
            meter: meter.clone(),
        });
        let dead_letter_suffix = config.dead_letter_suffix.as_str().into();
        let consumers = Consumers::new(ConsumersOptions {
            prefix: Arc::clone(&prefix),
            config,
            configs: Arc::clone(&configs),
            sender: Arc::clone(&sender),
            reporter: Arc::clone(&reporter),
            meter,
            tracer,
            witness,
            embedded: embedded.clone(),
        });
        Ok(Self {
            sender,
            consumers,
            configs,
            prefix,
            dead_letter_suffix,
            reporter,
            embedded,
        })
    }

    pub(crate) async fn register(&self, subscribe: CheckedSubscribe) -> Result<Subscription> {
        let topic = subscribe.topic.as_str();
        self.sender.fits("register", topic, "")?;
        if subscribe.options.may_dead_letter() {
            self.sender
                .fits("register", topic, &self.dead_letter_suffix)?;
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
        self.sender.fits("create topic", topic, "")?;
        let wanted = admin::NewTopic {
            name: prefixed(&self.prefix, topic),
            partitions,
            replication,
            kept,
        };
        // The embedded broker does not answer admin requests.
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

    /// Creates a topic whose records are kept until they are deleted explicitly.
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

    /// The current bounds of the topic (without prefix); `None` if it does not exist. With `since`, the spans leave
    /// out older records as far as the brokers can find them.
    pub(crate) async fn bounds(
        &self,
        topic: &str,
        since: Option<SystemTime>,
        timeout: Duration,
    ) -> Result<Option<Bounds>> {
        let topic = prefixed(&self.prefix, topic);
        let configs = Arc::clone(&self.configs);
        let reporter = Arc::clone(&self.reporter);
        blocking("describe a topic", move || {
            scan::bounds(&configs, &reporter, &topic, since, timeout)
        })
        .await
    }

    /// Reads these spans of the topic (without prefix).
    pub(crate) fn scan(&self, topic: &Topic, spans: &[Span]) -> Result<Scan> {
        let wire = prefixed(&self.prefix, topic.as_str());
        let publisher: Arc<dyn Publisher> = Arc::clone(&self.sender) as _;
        Scan::start(
            &self.configs,
            &self.reporter,
            wire,
            topic.clone(),
            spans,
            &publisher,
        )
    }

    /// The suffix of dead-letter topics.
    pub(crate) fn dead_letter_suffix(&self) -> &str {
        &self.dead_letter_suffix
    }

    pub(crate) fn writer_stats(&self) -> WriterStats {
        self.sender.producer.stats()
    }

    pub(crate) fn reader_stats(&self) -> ReaderStats {
        self.consumers.stats()
    }

    pub(crate) fn health(&self) -> Health {
        let mut health = self.consumers.health();
        health.notices.extend(self.reporter.notice());
        let problems = [self.reporter.problem(), self.sender.producer.refusal()];
        for problem in problems.into_iter().flatten() {
            health.add(problem);
        }
        health
    }

    pub(crate) async fn flush(&self, timeout: Duration) -> Result<()> {
        self.sender.producer.flush(timeout).await
    }

    pub(crate) async fn shutdown(&self, timeout: Duration) -> Vec<Undelivered> {
        let until = deadline::after(timeout);
        // Consumers first: their handlers may publish, and their dead letters go through the producer.
        self.consumers.shutdown(timeout).await;
        self.sender.producer.shutdown(deadline::left(until)).await
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

/// Milliseconds, as in Kafka; times before 1970 become 1970.
fn unix_millis(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Runs librdkafka's blocking calls about the cluster.
async fn blocking<T: Send + 'static>(
    doing: &str,
    call: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(call).await.map_err(|e| {
        let message = format!("{doing}: the runtime is shutting down");
        Error::new(ErrorKind::Closed, message).with_source(e)
    })?
}
