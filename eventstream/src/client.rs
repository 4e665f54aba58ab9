use std::borrow::Borrow;
use std::fmt;
use std::io::Write;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::backend::Backend;
use crate::config::{BrokerConfig, broker_faults, shown_broker};
use crate::dead_letters::DeadLetters;
use crate::error::{Error, ErrorKind, Fault, Result};
use crate::groups::Groups;
use crate::kafka::{EmbeddedBroker, Kafka, KafkaOptions};
use crate::local::{Blackhole, Stdout};
use crate::metadata::{Metadata, MetadataQuery};
use crate::name::Topic;
use crate::observe::health::Health;
use crate::observe::metrics::{ClientMeter, Metrics};
use crate::observe::stats::{ReaderStats, WriterStats};
use crate::observe::trace::Tracer;
use crate::publish::AuditLog;
use crate::publish::Undelivered;
use crate::publish::receipt::{Delivery, Receipt};
use crate::publish::{Publish, PublishRaw};
use crate::subscribe::{Events, Subscribe, Subscription};
use crate::witness::Witness;

const AUDIT_TOPIC_VAR: &str = "APP_EVENT_STREAM_AUDIT_LOG_TOPIC";
const AUDIT_ENABLED_VAR: &str = "APP_EVENT_STREAM_AUDIT_LOG_ENABLED";
const DEFAULT_AUDIT_TOPIC: &str = "auditLog";

/// Publishes and consumes events on one backend. Cheap to clone; clones share everything.
///
/// Publishes a first event on the broker inside the process:
///
/// ```
/// use eventstream::{Client, Publish};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), eventstream::Error> {
/// let client = Client::embedded().prefix("dev").build()?;
/// let receipt = client.publish(Publish::new("player", "levelUp").user_id("player-7")).await?;
/// let delivery = receipt.await?;
/// assert_eq!(delivery.offset(), 0);
/// # client.shutdown(std::time::Duration::from_secs(5)).await;
/// # Ok(()) }
/// ```
///
/// Call [`shutdown`](Self::shutdown) before the process ends. If a client is dropped without it,
/// accepted events are delivered in the background while the process lives; if any are pending, a
/// warning says so.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    backend: Backend,
    engine: Engine,
    audit_topic: Topic,
    audit_enabled: bool,
}

/// A client, weakly held.
#[cfg_attr(
    not(feature = "testing"),
    expect(dead_code, reason = "only the test kit asks")
)]
pub(crate) struct WeakClient(Weak<Inner>);

enum Engine {
    Kafka(Box<Kafka>),
    Stdout(Stdout),
    None(Blackhole),
}

/// Everything a [`Client`] can be made with.
#[must_use = "a builder does nothing until `build` is called"]
pub struct ClientBuilder {
    prefix: String,
    backend: Backend,
    brokers: Vec<String>,
    config: BrokerConfig,
    name: Option<String>,
    on_error: Option<Arc<dyn Fn(Undelivered) + Send + Sync>>,
    writer: Option<Box<dyn Write + Send>>,
    embedded: Option<EmbeddedBroker>,
    audit_topic: Option<String>,
    audit_enabled: Option<bool>,
    metrics: Option<Metrics>,
    tracer: Option<Tracer>,
    witness: Option<Arc<dyn Witness>>,
}

/// The settings of a connection that a builder holds, without a client.
pub(crate) struct Parts {
    pub(crate) backend: Backend,
    pub(crate) prefix: String,
    pub(crate) brokers: Vec<String>,
    pub(crate) config: BrokerConfig,
    pub(crate) embedded: Option<EmbeddedBroker>,
    pub(crate) faults: Vec<Fault>,
}

impl Client {
    /// A client of a Kafka cluster, given its bootstrap brokers, each `host:port`.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), eventstream::Error> {
    /// let client = eventstream::Client::kafka(["kafka-1:9092", "kafka-2:9092"]).prefix("prod").build()?;
    /// # drop(client);
    /// # Ok(()) }
    /// ```
    pub fn kafka<B: Into<String>>(brokers: impl IntoIterator<Item = B>) -> ClientBuilder {
        Self::builder(Backend::Kafka).brokers(brokers)
    }

    /// A client of a broker inside the process. The broker lives as long as the client, unless you
    /// pass your own to [`ClientBuilder::embedded_broker`].
    pub fn embedded() -> ClientBuilder {
        Self::builder(Backend::Embedded)
    }

    /// A client that writes one JSON line for each event, with topic, key and headers, to standard
    /// output or [`ClientBuilder::writer`]; [`Backend`] shows a line.
    pub fn stdout() -> ClientBuilder {
        Self::builder(Backend::Stdout)
    }

    /// A client that accepts everything and discards it.
    pub fn none() -> ClientBuilder {
        Self::builder(Backend::None)
    }

    /// A client of a backend chosen at run time.
    pub fn builder(backend: Backend) -> ClientBuilder {
        ClientBuilder {
            prefix: String::new(),
            backend,
            brokers: Vec::new(),
            config: BrokerConfig::new(),
            name: None,
            on_error: None,
            writer: None,
            embedded: None,
            audit_topic: None,
            audit_enabled: None,
            metrics: None,
            tracer: None,
            witness: None,
        }
    }

    /// Publishes an event, given by value or by reference. Returns once it is accepted into the bounded buffer, waiting for room
    /// if the buffer is full; awaiting the receipt tells where the broker stored it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Validation`] with every bad field, [`ErrorKind::TooLarge`],
    /// [`ErrorKind::Timeout`] when the buffer stayed full for the whole publish timeout,
    /// [`ErrorKind::Closed`] after a shutdown, [`ErrorKind::UnknownTopic`] for a topic that was found missing in the
    /// last 30 s, [`ErrorKind::Unauthorized`] if the brokers have just refused it. The event is then not accepted.
    ///
    /// Works on any executor; no tokio runtime is needed.
    ///
    /// # Cancellation
    ///
    /// If the future is dropped while it waits for room, nothing is published, then or later.
    pub async fn publish(&self, event: impl Borrow<Publish>) -> Result<Receipt> {
        let event = event.borrow();
        match &self.inner.engine {
            Engine::Kafka(kafka) => kafka.sender.publish(event).await,
            Engine::Stdout(stdout) => stdout.publish(event),
            Engine::None(none) => Ok(none.publish(event)),
        }
    }

    /// Like [`publish`](Self::publish), without waiting.
    ///
    /// # Errors
    ///
    /// As for `publish`; [`ErrorKind::BufferFull`] if there is no room, or other callers are waiting for it.
    pub fn try_publish(&self, event: impl Borrow<Publish>) -> Result<Receipt> {
        let event = event.borrow();
        match &self.inner.engine {
            Engine::Kafka(kafka) => kafka.sender.try_publish(event),
            Engine::Stdout(stdout) => stdout.publish(event),
            Engine::None(none) => Ok(none.publish(event)),
        }
    }

    /// Publishes a record unchanged. As with [`publish`](Self::publish), this call accepts it into the bounded
    /// buffer, and the receipt reports when it is stored.
    ///
    /// # Errors
    ///
    /// As `publish`; [`ErrorKind::Validation`] for a topic that Kafka does not allow; [`ErrorKind::Unsupported`] on
    /// `stdout` and `none`. The receipt fails with [`ErrorKind::UnknownTopic`] for a partition that the topic does not have.
    ///
    /// # Cancellation
    ///
    /// As `publish`.
    pub async fn publish_raw(&self, record: &PublishRaw) -> Result<Receipt> {
        let Some(kafka) = self.kafka_engine() else {
            let text = "publish a raw record: this client has no broker";
            return Err(Error::new(ErrorKind::Unsupported, text));
        };
        kafka.sender.publish_raw(record).await
    }

    /// Publishes an event and waits until it is stored: `publish` and its receipt in one call.
    ///
    /// # Errors
    ///
    /// As `publish` and as the receipt.
    pub async fn publish_sync(&self, event: impl Borrow<Publish>) -> Result<Delivery> {
        self.publish(event).await?.await
    }

    /// Publishes an audit log to the audit log topic. `None` if audit logs are disabled; the log is
    /// still checked.
    ///
    /// # Errors
    ///
    /// As `publish`.
    pub async fn publish_audit_log(&self, log: AuditLog) -> Result<Option<Receipt>> {
        if !self.inner.audit_enabled {
            return log.validate().map(|()| None);
        }
        let topic = &self.inner.audit_topic;
        match &self.inner.engine {
            Engine::Kafka(kafka) => kafka.sender.publish_audit_log(topic, &log).await,
            Engine::Stdout(stdout) => stdout.publish_audit_log(topic, &log),
            Engine::None(none) => Ok(none.publish_audit_log(topic)),
        }
        .map(Some)
    }

    /// Registers a subscription. Its group's consumer starts `registration_settle` after the last
    /// registration for that group. Must be called inside a tokio runtime: the handlers of a group
    /// run on the workers of the one in which its first registration was made, and the group ends
    /// with that runtime, which the log, `health` and [`Subscription::ended`] report. A handler that
    /// holds its client is dropped when its subscription stops; a detached one keeps the client alive until
    /// `shutdown`, or the end of the runtime.
    ///
    /// An event published right after this returns may be missed if the group starts at the tail,
    /// because the tail is not fixed yet; after [`Subscription::ready`] none is.
    ///
    /// On `stdout` and `none` the subscription is checked but never receives an event.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Validation`] with every bad field, or with the options that contradict an
    /// earlier registration of the group; [`ErrorKind::Closed`] after a shutdown.
    pub async fn register<S>(&self, subscribe: Subscribe<S>) -> Result<Subscription>
    where
        S: Send + Sync + 'static,
    {
        let checked = subscribe.check()?;
        match &self.inner.engine {
            Engine::Kafka(kafka) => kafka.register(checked).await,
            Engine::Stdout(_) | Engine::None(_) => Ok(Subscription::without_routes(&checked)),
        }
    }

    /// Registers a subscription whose events are pulled: a stream of events that each carry their
    /// acknowledgement. See [`Events`]; all else is as with [`register`](Self::register).
    ///
    /// # Errors
    ///
    /// As `register`; [`ErrorKind::Validation`] too for a subscription with handlers or layers.
    pub async fn consume(&self, subscribe: Subscribe) -> Result<Events> {
        let checked = subscribe.check_pulled()?;
        let offers = checked.offers.clone().unwrap_or_default();
        let subscription = match &self.inner.engine {
            Engine::Kafka(kafka) => kafka.register(checked).await?,
            Engine::Stdout(_) | Engine::None(_) => Subscription::without_routes(&checked),
        };
        Ok(Events::new(subscription, offers))
    }

    /// Brokers, partitions and watermarks of one topic (given without the prefix) or all.
    /// [`query_metadata`](Self::query_metadata) offers finer control.
    ///
    /// # Errors
    ///
    /// As `query_metadata`.
    pub async fn metadata(&self, topic: Option<&str>, timeout: Duration) -> Result<Metadata> {
        self.group_metadata(topic, None, timeout).await
    }

    /// As [`metadata`](Self::metadata), with the committed offsets of a group (given without the
    /// prefix).
    ///
    /// # Errors
    ///
    /// As `metadata`.
    pub async fn group_metadata(
        &self,
        topic: Option<&str>,
        group: Option<&str>,
        timeout: Duration,
    ) -> Result<Metadata> {
        let query = MetadataQuery {
            topic: topic.map(str::to_owned),
            watermarks: true,
            at: None,
            group: group.map(str::to_owned),
            exact_group: false,
        };
        self.query_metadata(query, timeout).await
    }

    /// The cluster metadata the query asks for. Never creates a topic. Waits for transient states to pass,
    /// within the timeout: up to a second for a new topic, three for a leader election, and for a new
    /// leader that does not yet know that it leads. Empty on `stdout` and `none`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unreachable`] or [`ErrorKind::Authentication`] when no broker answers in time,
    /// [`ErrorKind::Unauthorized`] for a group that the client may not read. A problem with a topic
    /// or a partition is reported in its entry; the other entries are complete.
    pub async fn query_metadata(
        &self,
        query: MetadataQuery,
        timeout: Duration,
    ) -> Result<Metadata> {
        match &self.inner.engine {
            Engine::Kafka(kafka) => kafka.metadata(&query, timeout).await,
            Engine::Stdout(_) | Engine::None(_) => Ok(Metadata {
                brokers: Vec::new(),
                topics: Vec::new(),
                group: None,
            }),
        }
    }

    /// Creates a topic (given without the prefix) with this number of partitions and replicas.
    /// `false` if it already exists, even with other numbers. On `stdout` and `none` there is
    /// nothing to create.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Validation`] for a name that is not allowed, [`ErrorKind::Unreachable`] or
    /// [`ErrorKind::Authentication`] when no broker answers in time, [`ErrorKind::Unauthorized`],
    /// or [`ErrorKind::Broker`] if the broker refuses, for example for more replicas than there are
    /// brokers.
    pub async fn create_topic(
        &self,
        topic: &str,
        partitions: u32,
        replication: u16,
        timeout: Duration,
    ) -> Result<bool> {
        let topic = Topic::new(topic)?;
        match &self.inner.engine {
            Engine::Kafka(kafka) => {
                kafka
                    .create_topic(topic.as_str(), partitions, replication, timeout)
                    .await
            }
            Engine::Stdout(_) | Engine::None(_) => Ok(false),
        }
    }

    /// The dead letters of a topic, given without the prefix: to group them by cause, read them, and replay them.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Validation`] for a name that is not allowed, [`ErrorKind::Unsupported`] on `stdout` and
    /// `none`, which have none.
    pub fn dead_letters(&self, topic: &str) -> Result<DeadLetters> {
        DeadLetters::new(self.clone(), Topic::new(topic)?)
    }

    /// The backend if it has brokers; an error for operations that need them.
    pub(crate) fn on_brokers(&self, doing: &str) -> Result<&Kafka> {
        self.kafka_engine().ok_or_else(|| {
            let backend = &self.inner.backend;
            let text = format!("{doing}: the backend {backend} does not store records");
            Error::new(ErrorKind::Unsupported, text)
                .with_remedy("choose the backend `kafka` or `embedded`")
        })
    }

    /// The consumer groups of the cluster: to inspect them and their progress, and to move their
    /// offsets.
    pub fn groups(&self) -> Groups {
        Groups::new(self.clone())
    }

    pub(crate) fn kafka_engine(&self) -> Option<&Kafka> {
        match &self.inner.engine {
            Engine::Kafka(kafka) => Some(kafka),
            Engine::Stdout(_) | Engine::None(_) => None,
        }
    }

    /// Counters of the publishing side.
    pub fn writer_stats(&self) -> WriterStats {
        match &self.inner.engine {
            Engine::Kafka(kafka) => kafka.writer_stats(),
            Engine::Stdout(stdout) => stdout.stats(),
            Engine::None(none) => none.stats(),
        }
    }

    /// Counters of the subscriptions.
    pub fn reader_stats(&self) -> ReaderStats {
        match &self.inner.engine {
            Engine::Kafka(kafka) => kafka.reader_stats(),
            Engine::Stdout(_) | Engine::None(_) => ReaderStats::default(),
        }
    }

    /// Whether the client can do its work, and if not, why: [`Health::is_ready`] is for a readiness
    /// probe, [`Health::is_healthy`] for a liveness probe.
    pub fn health(&self) -> Health {
        match &self.inner.engine {
            Engine::Kafka(kafka) => kafka.health(),
            Engine::Stdout(_) | Engine::None(_) => Health::of_nothing(),
        }
    }

    /// Waits until every event accepted before this call is stored or has failed.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Timeout`] with the number of events still pending after the timeout. They are not
    /// lost: they are delivered, or fail, in the background.
    pub async fn flush(&self, timeout: Duration) -> Result<()> {
        match &self.inner.engine {
            Engine::Kafka(kafka) => kafka.flush(timeout).await,
            Engine::Stdout(_) | Engine::None(_) => Ok(()),
        }
    }

    /// Shuts the client down gracefully: subscriptions stop, running handlers finish and offsets
    /// are committed; new publishes are refused, and accepted events are delivered. Events that are
    /// still
    /// pending after the timeout fail. They, and those that failed during the call, are returned;
    /// their receipts and `on_error` report them too. Affects all clones; a second call returns
    /// nothing, immediately.
    pub async fn shutdown(&self, timeout: Duration) -> Vec<Undelivered> {
        match &self.inner.engine {
            Engine::Kafka(kafka) => kafka.shutdown(timeout).await,
            Engine::Stdout(_) | Engine::None(_) => Vec::new(),
        }
    }

    /// The broker inside the process, if the backend is `embedded`.
    pub fn embedded_broker(&self) -> Option<&EmbeddedBroker> {
        match &self.inner.engine {
            Engine::Kafka(kafka) => kafka.embedded_broker(),
            Engine::Stdout(_) | Engine::None(_) => None,
        }
    }
}

#[cfg(feature = "testing")]
impl WeakClient {
    pub(crate) fn upgrade(&self) -> Option<Client> {
        self.0.upgrade().map(|inner| Client { inner })
    }
}

/// For the test kit.
#[cfg(feature = "testing")]
impl Client {
    /// Its subscriptions, by group and topics as named on the broker.
    pub(crate) fn subscribed(&self) -> Vec<(Arc<str>, Vec<String>)> {
        match &self.inner.engine {
            Engine::Kafka(kafka) => kafka.subscribed(),
            Engine::Stdout(_) | Engine::None(_) => Vec::new(),
        }
    }

    /// Completes when every current subscription has started reading its partitions, or has ended.
    pub(crate) async fn ready(&self) {
        if let Engine::Kafka(kafka) = &self.inner.engine {
            kafka.ready().await;
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("backend", &self.inner.backend)
            .finish_non_exhaustive()
    }
}

impl ClientBuilder {
    /// The prefix for topic and group names, joined by a dot. Default: the configuration's, else
    /// none. Without a prefix, a topic keeps its name but a group still gets the dot: `.group`,
    /// where the Go SDK keeps its offsets. See [`Subscribe::exact_group_id`] for other groups.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// The bootstrap brokers, each `host:port`. Default: the configuration's.
    pub fn brokers<B: Into<String>>(mut self, brokers: impl IntoIterator<Item = B>) -> Self {
        self.brokers = brokers.into_iter().map(Into::into).collect();
        self
    }

    /// The configuration.
    pub fn config(mut self, config: BrokerConfig) -> Self {
        self.config = config;
        self
    }

    /// The client's name in logs, metrics and spans. Default: the configuration's `client_id`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Called once with every event that failed after it was accepted, even if its receipt was
    /// kept: the Go SDK's `ErrorCallback`. Runs on the delivery thread and must not block, which
    /// would delay all receipts.
    pub fn on_error(mut self, callback: impl Fn(Undelivered) + Send + Sync + 'static) -> Self {
        self.on_error = Some(Arc::new(callback));
        self
    }

    /// Counts into these metrics, under the client's [`name`](Self::name). For the backends `kafka`
    /// and `embedded`; the others count nothing. Default: no metrics, at no cost.
    #[cfg(feature = "metrics")]
    pub fn metrics(mut self, metrics: &Metrics) -> Self {
        self.metrics = Some(metrics.clone());
        self
    }

    /// Makes the spans of publishing and handling through OpenTelemetry itself, at a fraction of the
    /// cost of `tracing`'s: the tracer's sampler decides before a span is built. One span covers a
    /// publish call up to its outcome. Handlers run inside their spans, so what they publish or
    /// start through OpenTelemetry or `tracing-opentelemetry` is part of the trace. For the
    /// backends `kafka` and `embedded`. Default: spans of `tracing`, for whatever subscriber is
    /// there.
    ///
    /// ```
    /// use eventstream::Client;
    /// use opentelemetry::trace::TracerProvider as _;
    /// use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
    ///
    /// // A service adds its exporter here.
    /// let one_percent = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(0.01)));
    /// let provider = SdkTracerProvider::builder().with_sampler(one_percent).build();
    /// let client = Client::embedded().tracer(provider.tracer("shop")).build()?;
    /// # drop(client);
    /// # Ok::<(), eventstream::Error>(())
    /// ```
    #[cfg(feature = "opentelemetry")]
    pub fn tracer<T>(mut self, tracer: T) -> Self
    where
        T: opentelemetry::trace::Tracer + Send + Sync + 'static,
        T::Span: Send + Sync + 'static,
    {
        self.tracer = Some(Tracer::new(tracer));
        self
    }

    /// Where the `stdout` backend writes. Default: standard output.
    pub fn writer(mut self, writer: impl Write + Send + 'static) -> Self {
        self.writer = Some(Box::new(writer));
        self
    }

    /// The broker of the `embedded` backend, to be shared by several clients.
    pub fn embedded_broker(mut self, broker: &EmbeddedBroker) -> Self {
        self.embedded = Some(broker.clone());
        self
    }

    #[cfg(feature = "testing")]
    pub(crate) fn witness(mut self, witness: Arc<dyn Witness>) -> Self {
        self.witness = Some(witness);
        self
    }

    /// The topic of audit logs. Default: `APP_EVENT_STREAM_AUDIT_LOG_TOPIC`, else `auditLog`.
    pub fn audit_log_topic(mut self, topic: impl Into<String>) -> Self {
        self.audit_topic = Some(topic.into());
        self
    }

    /// Whether audit logs are published. Default: `APP_EVENT_STREAM_AUDIT_LOG_ENABLED`, else true.
    pub fn audit_log_enabled(mut self, enabled: bool) -> Self {
        self.audit_enabled = Some(enabled);
        self
    }

    /// Checks everything and makes the client. It connects in the background, at the first event or
    /// subscription, so a broker that is not up yet is not an error here.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`], with every fault in the configuration, the brokers, the prefix and the
    /// audit log's environment variables.
    pub fn build(mut self) -> Result<Client> {
        let mut faults = self.complete();
        let audit_topic = self
            .audit_topic
            .or_else(|| variable(AUDIT_TOPIC_VAR))
            .unwrap_or_else(|| DEFAULT_AUDIT_TOPIC.to_owned());
        let audit_topic = match Topic::new(&audit_topic) {
            Ok(topic) => Some(topic),
            Err(_) => {
                faults.push(Fault::new(
                    AUDIT_TOPIC_VAR,
                    audit_topic,
                    "must be a topic name",
                ));
                None
            }
        };
        let audit_enabled = match self.audit_enabled {
            Some(enabled) => Ok(enabled),
            None => audit_flag(variable(AUDIT_ENABLED_VAR).as_deref()),
        };
        let (audit_topic, audit_enabled) = match (audit_topic, audit_enabled) {
            (Some(topic), Ok(enabled)) if faults.is_empty() => (topic, enabled),
            (_, enabled) => {
                faults.extend(enabled.err());
                return Err(Error::from_faults(
                    ErrorKind::Config,
                    "create a client",
                    faults,
                ));
            }
        };
        let strict = self.config.strict_validation;
        let engine = match self.backend {
            Backend::Kafka | Backend::Embedded => {
                let name = self.name.as_ref().unwrap_or(&self.config.client_id).clone();
                let metrics = self.metrics.as_ref();
                Engine::Kafka(Box::new(Kafka::start(KafkaOptions {
                    prefix: self.prefix.into(),
                    meter: metrics
                        .map_or_else(ClientMeter::default, |m| ClientMeter::new(m, &name)),
                    name: name.into(),
                    tracer: self.tracer,
                    embedded: match self.embedded {
                        Some(broker) => Some(broker),
                        None if self.backend == Backend::Embedded && self.brokers.is_empty() => {
                            Some(EmbeddedBroker::start()?)
                        }
                        None => None,
                    },
                    is_embedded: self.backend == Backend::Embedded,
                    brokers: self.brokers,
                    config: self.config,
                    on_error: self.on_error,
                    witness: self.witness.clone(),
                })?))
            }
            Backend::Stdout => Engine::Stdout(Stdout::new(
                self.writer.unwrap_or_else(|| Box::new(std::io::stdout())),
                strict,
                self.config.effective_message_max_bytes(),
            )),
            Backend::None => Engine::None(Blackhole::default()),
        };
        let inner = Arc::new(Inner {
            backend: self.backend,
            engine,
            audit_topic,
            audit_enabled,
        });
        if let Some(witness) = &self.witness {
            witness.client(WeakClient(Arc::downgrade(&inner)));
        }
        Ok(Client { inner })
    }

    /// Fills in missing settings from the configuration; returns the faults of both.
    fn complete(&mut self) -> Vec<Fault> {
        if self.brokers.is_empty() {
            self.brokers.clone_from(&self.config.brokers.0);
        }
        if self.prefix.is_empty() {
            self.prefix.clone_from(&self.config.prefix);
        }
        let mut faults = self.config.faults();
        faults.extend(prefix_fault(&self.prefix));
        if self.backend == Backend::Kafka {
            faults.extend(broker_faults(&self.brokers));
        }
        faults
    }

    /// The settings to connect with, and their faults.
    pub(crate) fn parts(mut self) -> Parts {
        let faults = self.complete();
        Parts {
            backend: self.backend,
            prefix: self.prefix,
            brokers: self.brokers,
            config: self.config,
            embedded: self.embedded,
            faults,
        }
    }

    /// Like [`build`](Self::build), for a program without an async runtime.
    ///
    /// # Errors
    ///
    /// As for `build`; also if no thread can be started for the client's runtime.
    pub fn build_blocking(self) -> Result<crate::blocking::Client> {
        crate::blocking::Client::build(self)
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let brokers: Vec<_> = self
            .brokers
            .iter()
            .map(|broker| shown_broker(broker))
            .collect();
        f.debug_struct("ClientBuilder")
            .field("prefix", &self.prefix)
            .field("backend", &self.backend)
            .field("brokers", &brokers)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// An environment variable; an empty one counts as unset, as in the Go SDK.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A flag as Go's `strconv.ParseBool` reads it.
fn audit_flag(word: Option<&str>) -> Result<bool, Fault> {
    match word {
        None | Some("1" | "t" | "T" | "TRUE" | "true" | "True") => Ok(true),
        Some("0" | "f" | "F" | "FALSE" | "false" | "False") => Ok(false),
        Some(other) => Err(Fault::new(
            AUDIT_ENABLED_VAR,
            other,
            "must be one of 1, t, T, TRUE, true, True, 0, f, F, FALSE, false, False",
        )),
    }
}

/// Kafka's rule for topic names, which every prefixed name must satisfy.
fn prefix_fault(prefix: &str) -> Option<Fault> {
    let fits = prefix.len() <= 200
        && prefix
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    (!fits).then(|| {
        Fault::new(
            "prefix",
            prefix,
            "must have at most 200 ASCII letters, digits, dots, underscores and hyphens",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_audit_flag_takes_the_words_of_go() {
        for word in ["1", "t", "T", "TRUE", "true", "True"] {
            assert_eq!(audit_flag(Some(word)), Ok(true));
        }
        for word in ["0", "f", "F", "FALSE", "false", "False"] {
            assert_eq!(audit_flag(Some(word)), Ok(false));
        }
        assert_eq!(audit_flag(None), Ok(true));
        for word in ["yes", "on", " true", "TrUe"] {
            assert!(audit_flag(Some(word)).is_err(), "{word}");
        }
    }

    #[test]
    fn every_fault_of_a_client_is_listed_at_once() {
        let error = Client::builder(Backend::Kafka)
            .prefix("a b")
            .audit_log_topic("no topic")
            .build()
            .expect_err("refused");
        let fields: Vec<_> = error.faults().iter().map(|f| f.field.as_str()).collect();
        assert_eq!(fields, ["prefix", "brokers", AUDIT_TOPIC_VAR]);
    }
}
