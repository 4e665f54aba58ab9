use std::time::Duration;

use super::addresses::Addresses;
use super::base::BaseConfig;
use super::choice::{Acks, Assignment, Compression, LogMode, Partitioner};
use super::commit::CommitPolicy;
use super::options::options;
use super::security::Security;

options! {
    /// The configuration of a client. Every option has a default, and the defaults alone are sound.
    ///
    /// ```
    /// use std::time::Duration;
    /// use eventstream::{BrokerConfig, Compression, LogMode};
    ///
    /// let config = BrokerConfig::new()
    ///     .dial_timeout(Duration::from_secs(5))
    ///     .log_mode(LogMode::Warn)
    ///     .compression(Compression::Zstd)
    ///     .base_config("fetch.min.bytes", 1_000);
    /// config.validate()?;
    /// # Ok::<(), eventstream::Error>(())
    /// ```
    ///
    /// The same from a file, [`from_toml`](BrokerConfig::from_toml), and from the environment,
    /// [`from_env`](BrokerConfig::from_env): the key is the method's name. A time is a text such as
    /// `"10s"` or a number of seconds.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use eventstream::{BrokerConfig, Compression, LogMode};
    /// let config = BrokerConfig::from_toml(r#"
    ///     dial_timeout = "5s"
    ///     log_mode = "warn"
    ///     compression = "zstd"
    ///     [base_config]
    ///     fetch.min.bytes = 1000
    /// "#)?;
    /// # assert_eq!(config, BrokerConfig::new().dial_timeout(Duration::from_secs(5))
    /// #     .log_mode(LogMode::Warn).compression(Compression::Zstd).base_config("fetch.min.bytes", 1_000));
    /// # Ok::<(), eventstream::Error>(())
    /// ```
    pub struct BrokerConfig {
        /// The prefix for topic and group names, joined by a dot, where the client is given none. A
        /// group has the dot without a prefix too: `.group`, where the Go SDK keeps its offsets.
        /// Default: empty.
        prefix(impl Into<String>): String = String::new();

        /// Checks events and subscriptions by the strict rules: besides what is needed to deliver
        /// them, identifiers and names must have the platform's form. Default: false, as the Go SDK.
        strict_validation(bool): bool = false;

        /// How long setting up a connection may take: TCP, TLS and SASL together; then it is closed
        /// and tried again. 1 s or more. Default: 10 s, far above what a handshake takes across
        /// continents, and short enough that a dead address does not use up `publish_timeout`.
        dial_timeout(Duration): Duration = Duration::from_secs(10);

        /// How long a consumer, or a question about metadata, waits for the answer to a request;
        /// then the connection is closed and the request repeated. A fetch may take
        /// [`fetch_wait`](BrokerConfig::fetch_wait) more, joining a group
        /// [`max_poll_interval`](BrokerConfig::max_poll_interval) more. It does not end the
        /// waiting for events. 10 ms to 300 s. Default: 10 s.
        read_timeout(Duration): Duration = Duration::from_secs(10);

        /// How long a producer waits for the answer to a request, not longer than the event's own
        /// timeout; then the connection is closed and the request repeated. The request carries nine
        /// tenths of it, so that replicas that are late are reported before the connection goes.
        /// 100 ms to 300 s. Default: 10 s.
        write_timeout(Duration): Duration = Duration::from_secs(10);

        /// How much of the Kafka client's log is passed on to `tracing`, of this client alone.
        /// Default: off.
        log_mode(LogMode): LogMode = LogMode::Off;

        /// Authentication and encryption. Default: neither.
        security(Security): Security = Security::none();

        /// How long an event may take from its acceptance to its acknowledgement, with all retries;
        /// then its receipt and the error callback say so. Sooner, with
        /// [`ErrorKind::Authentication`](crate::ErrorKind::Authentication), where every broker turns
        /// this client away and none ever answered it: at once where they say so, after 10 s where
        /// they hang up as a port of another protocol does. 1 ms or more, above `linger`. Default:
        /// 60 s, which outlasts the election of a new leader and the restart of a broker.
        /// Events that are being sent while another one exceeds it may be stored twice, for librdkafka
        /// then begins a new series; keep it above `write_timeout`.
        publish_timeout(Duration): Duration = Duration::from_secs(60);

        /// How often an event is sent again after a failure: `3`, or `None` for as often as
        /// `publish_timeout` allows. The waits between are 100 ms, doubled up to 1 s. With
        /// idempotence at least 1. Default: `None`; a small number gives up within a second, long
        /// before a new leader is elected.
        publish_retries(impl Into<Option<u32>>): Option<u32> = None;

        /// How many copies must exist before an event counts as published. Other than
        /// [`Acks::All`] switches idempotence off. Default: all.
        acks(Acks): Acks = Acks::All;

        /// Whether the broker drops what a retry sent twice and keeps the order. Without it a retry
        /// may duplicate events and let a later one overtake an earlier. Default: true with
        /// [`Acks::All`], false otherwise. Its price: it needs `acks(Acks::All)` and at most five
        /// requests in flight for each connection.
        idempotence(impl Into<Option<bool>>): Option<bool> = None;

        /// The codec for batches. Default: none; with `linger` 0 batches are small when the load
        /// is, and small batches compress badly.
        compression(Compression): Compression = Compression::None;

        /// How long an event may wait for others to share its request, in microseconds to 900 s.
        /// Default: 0; five requests in flight make batches by themselves. Measured with 100 events
        /// in flight on one broker: 138,000 events/s at 0.43 ms and 6.9 us of CPU each; at 5 ms, the
        /// default of librdkafka and the Go SDK, 16,000 events/s at 5.4 ms and 2.1 us.
        linger(Duration): Duration = Duration::ZERO;

        /// The largest batch, in bytes; an event larger than that travels alone. Default: 1,000,000,
        /// the broker's own limit for a batch is 1,048,588.
        batch_bytes(usize): usize = 1_000_000;

        /// The largest batch, in events: 1 to 1,000,000. Default: 10,000, so that bytes decide.
        batch_events(usize): usize = 10_000;

        /// How a key chooses its partition. Default: [`Partitioner::ConsistentRandom`].
        partitioner(Partitioner): Partitioner = Partitioner::ConsistentRandom;

        /// How many events may be accepted and not yet acknowledged; then publishing waits. Default:
        /// 100,000, at most a third of a second of full speed.
        buffer_events(usize): usize = 100_000;

        /// How many bytes of events may be accepted and not yet acknowledged; then publishing waits.
        /// At least `message_max_bytes`, or the largest event would wait for ever. Default:
        /// 67,108,864 (64 MiB), 100,000 events of 670 bytes.
        buffer_bytes(usize): usize = 64 * 1024 * 1024;

        /// The largest event, in bytes with key and headers; a larger one is refused when it is
        /// published. 1,000 to 1,000,000,000. Default: 1,000,000, below the broker's default
        /// `message.max.bytes`. Who raises it, raises the topic's `max.message.bytes` too.
        message_max_bytes(usize): usize = 1_000_000;

        /// How long a member of a group may be silent before its partitions go to others: that long
        /// they stand still when it is killed. The broker's `group.min.session.timeout.ms` (6 s) is
        /// the least it takes. Default: 10 s instead of librdkafka's 45 s; heartbeats come from a
        /// thread of their own, so a slow handler does not cost membership, only a frozen or cut off
        /// process does. Its price: a network away for more than 10 s moves partitions.
        session_timeout(impl Into<Option<Duration>>): Option<Duration> = None;

        /// How often a member sends a heartbeat to its group, and so how soon it notices a
        /// rebalance. Default: a third of `session_timeout`, at most 3 s, so that two may be lost.
        heartbeat_interval(impl Into<Option<Duration>>): Option<Duration> = None;

        /// How long a consumer may take to give up its partitions in a rebalance, in which all
        /// members wait for it. Handlers do not run on the polling thread, so a slow one is not
        /// expelled. At least `session_timeout`. Default: 60 s instead of librdkafka's 300 s: so
        /// long a stuck member can hold up its group.
        max_poll_interval(Duration): Duration = Duration::from_secs(60);

        /// When the offsets of handled events are committed, where a subscription does not
        /// [say otherwise](crate::Subscribe::commit). Default: each second.
        ///
        /// The Go SDK's keys choose it too, in TOML and in the environment: `auto_commit_interval` is
        /// [`CommitPolicy::Interval`], `disable_auto_commit` [`CommitPolicy::EachEvent`],
        /// `commit_before_processing` [`CommitPolicy::BeforeProcessing`]. Keys of one source that
        /// contradict each other are refused.
        commit(CommitPolicy): CommitPolicy = CommitPolicy::default();

        /// How long a group waits after its last registration before its consumer starts, so that
        /// no event is acknowledged as unmatched because its handler came a moment later, and so
        /// that many registrations make one rebalance. Default: 250 ms, paid once by each group.
        registration_settle(Duration): Duration = Duration::from_millis(250);

        /// How a group divides its partitions. Default: [`Assignment::Eager`], so that members of
        /// the Go SDK can share the group.
        assignment(Assignment): Assignment = Assignment::Eager;

        /// The suffix of dead-letter topics, added to the topic's name. Default: `-dlq`; clusters
        /// served by the Go SDK have `.dlq`.
        dead_letter_suffix(impl Into<String>): String = "-dlq".to_owned();

        /// How long fetching a partition pauses when the fetch queue is full. Default: 10 ms instead
        /// of librdkafka's 1 s, which halves a fast consumer: 0.33 M events/s against 0.76 to 1.1 M
        /// measured. Its price is a look at the queue each 10 ms while it is full.
        fetch_queue_backoff(Duration): Duration = Duration::from_millis(10);

        /// How many bytes a consumer reads ahead, 1 KiB to 2 TiB. Default: 67,108,864 (64 MiB),
        /// librdkafka's. One fetch more may come on top.
        fetch_queue_bytes(usize): usize = 64 * 1024 * 1024;

        /// How many events of a partition a consumer reads ahead, while `fetch_queue_bytes` allows.
        /// 1 to 10,000,000. Default: 100,000, librdkafka's.
        fetch_queue_events(usize): usize = 100_000;

        /// How long the broker may hold a fetch back while there is nothing to read. A new event
        /// ends the wait at once, so a short one only costs requests. 0 to 300 s. Default: 500 ms.
        fetch_wait(Duration): Duration = Duration::from_millis(500);

        /// The name in the broker's logs and quotas. Default: `eventstream`.
        client_id(impl Into<String>): String = "eventstream".to_owned();

        /// Whether publishing to a topic that does not exist asks the broker to create it; the
        /// broker's `auto.create.topics.enable` decides. Consumers and questions about metadata
        /// never create topics. Default: true, as the Go SDK.
        allow_auto_create_topics(bool): bool = true;

        /// How often librdkafka's statistics are gathered for the metrics, 1 ms to 24 h. Default:
        /// `None`, which is 10 s for a client with metrics and never for others; a snapshot names
        /// every broker and partition and costs accordingly.
        statistics_interval(impl Into<Option<Duration>>): Option<Duration> = None;
    }
    and {
        /// Where the client's own argument gives none.
        brokers: Addresses = Addresses::default();

        /// Properties of librdkafka, applied last.
        base_config: BaseConfig = BaseConfig::default();
    }
}

impl BrokerConfig {
    /// The configuration of defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// The brokers to ask first, each `host:port`, where the client is given none; in TOML a list or
    /// a text with commas, in the environment the text. Default: none.
    pub fn brokers<B: Into<String>>(mut self, brokers: impl IntoIterator<Item = B>) -> Self {
        self.brokers = Addresses(brokers.into_iter().map(Into::into).collect());
        self
    }

    /// Sets a [property of librdkafka](https://github.com/confluentinc/librdkafka/blob/v2.12.1/CONFIGURATION.md),
    /// after everything else, so that it wins over the option of the same meaning. It reaches the
    /// clients it is for: producers, consumers or all.
    ///
    /// [`validate`](BrokerConfig::validate) refuses an unknown property with the nearest name, a
    /// value out of its range, and properties by which this crate keeps its promises
    /// (`enable.auto.commit`, `group.id`, ...) with the option to use instead.
    pub fn base_config(mut self, key: impl Into<String>, value: impl ToString) -> Self {
        self.base_config.insert(key.into(), value.to_string());
        self
    }
}
