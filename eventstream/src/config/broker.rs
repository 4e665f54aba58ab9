use std::time::Duration;

use super::addresses::Addresses;
use super::base::BaseConfig;
use super::choice::{Acks, Assignment, Compression, LogMode, Partitioner};
use super::commit::CommitPolicy;
use super::options::options;
use super::security::Security;

options! {
    /// The configuration of a client. Every option has a default, and the defaults are sound as they are.
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
    /// The same from a file, with [`from_toml`](BrokerConfig::from_toml), or from the environment, with
    /// [`from_env`](BrokerConfig::from_env): the key is the method's name. A duration is a string such as `"10s"`
    /// or a number of seconds.
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
        /// The prefix for topic and group names, joined by a dot, unless the client is given one. A group name
        /// has the dot even without a prefix: `.group`, where the Go SDK keeps its offsets. Default: empty.
        prefix(impl Into<String>): String = String::new();

        /// Checks events and subscriptions by the strict rules: beyond what delivery needs, identifiers and names
        /// must have the platform's form. Default: false, as in the Go SDK.
        strict_validation(bool): bool = false;

        /// How long setting up a connection may take, TCP, TLS and SASL together, before it is closed and
        /// retried. 1 s or more. Default: 10 s, far more than a handshake takes across continents, and short
        /// enough that a dead address does not use up `publish_timeout`.
        dial_timeout(Duration): Duration = Duration::from_secs(10);

        /// How long a consumer or a metadata request waits for a response before the connection is closed and the
        /// request repeated. A fetch may take [`fetch_wait`](BrokerConfig::fetch_wait) longer, joining a group
        /// [`max_poll_interval`](BrokerConfig::max_poll_interval) longer. It does not limit how long a consumer
        /// waits for events. 10 ms to 300 s. Default: 10 s.
        read_timeout(Duration): Duration = Duration::from_secs(10);

        /// How long a producer waits for a response, but no longer than the event's own timeout, before the
        /// connection is closed and the request repeated. The request carries nine tenths of it, so that late
        /// replicas are reported before the connection is closed. 100 ms to 300 s. Default: 10 s.
        write_timeout(Duration): Duration = Duration::from_secs(10);

        /// How much of the Kafka client's log is forwarded to `tracing`, for this client alone. Default: off.
        log_mode(LogMode): LogMode = LogMode::Off;

        /// Authentication and encryption. Default: neither.
        security(Security): Security = Security::none();

        /// How long an event may take from acceptance to acknowledgement, including all retries, before its
        /// receipt and the error callback report a failure. It fails sooner, with
        /// [`ErrorKind::Authentication`](crate::ErrorKind::Authentication), if every broker turns this client
        /// away and none has ever answered it: at once if they say so, after 10 s if they hang up as a port of
        /// another protocol does. 1 ms or more, above `linger`. Default: 60 s, which outlasts the election of a
        /// new leader and the restart of a broker. Events in flight when another one exceeds it may be stored
        /// twice, because librdkafka then starts a new sequence; keep it above `write_timeout`.
        publish_timeout(Duration): Duration = Duration::from_secs(60);

        /// How often an event is resent after a failure: `3`, or `None` for as often as `publish_timeout` allows.
        /// Retries wait 100 ms, doubling up to 1 s. With idempotence at least 1. Default: `None`; a small number
        /// gives up within a second, long before a new leader is elected.
        publish_retries(impl Into<Option<u32>>): Option<u32> = None;

        /// How many copies must exist before an event counts as published. Anything but [`Acks::All`] disables
        /// idempotence. Default: all.
        acks(Acks): Acks = Acks::All;

        /// Whether the broker drops duplicates from retries and keeps the order. Without it, a retry may
        /// duplicate events and let a later one overtake an earlier one. Default: true with [`Acks::All`], false
        /// otherwise. The cost: it needs `acks(Acks::All)` and at most five requests in flight per connection.
        idempotence(impl Into<Option<bool>>): Option<bool> = None;

        /// The codec for batches. Default: none; with `linger` 0, batches are small under low load, and small
        /// batches compress badly.
        compression(Compression): Compression = Compression::None;

        /// How long an event may wait for others to share its request, from microseconds to 900 s. Default: 0;
        /// with five requests in flight, batches form by themselves. Measured with 100 events in flight on one
        /// broker: 138,000 events/s at 0.43 ms and 6.9 us of CPU each; at 5 ms, the default of librdkafka and the
        /// Go SDK, 16,000 events/s at 5.4 ms and 2.1 us.
        linger(Duration): Duration = Duration::ZERO;

        /// The largest batch, in bytes; a larger event is sent alone. Default: 1,000,000; the broker's own limit
        /// for a batch is 1,048,588.
        batch_bytes(usize): usize = 1_000_000;

        /// The largest batch, in events: 1 to 1,000,000. Default: 10,000, so that the byte limit decides.
        batch_events(usize): usize = 10_000;

        /// How a key maps to a partition. Default: [`Partitioner::ConsistentRandom`].
        partitioner(Partitioner): Partitioner = Partitioner::ConsistentRandom;

        /// How many events may be accepted but not yet acknowledged before publishing waits. Default: 100,000, at
        /// most a third of a second at full speed.
        buffer_events(usize): usize = 100_000;

        /// How many bytes of events may be accepted but not yet acknowledged before publishing waits. At least
        /// `message_max_bytes`, or the largest event would wait forever. Default: 67,108,864 (64 MiB), 100,000
        /// events of 670 bytes.
        buffer_bytes(usize): usize = 64 * 1024 * 1024;

        /// The largest event, in bytes including key and headers; a larger one is refused when it is published.
        /// 1,000 to 1,000,000,000. Default: 1,000,000, below the broker's default `message.max.bytes`. If you
        /// raise it, raise the topic's `max.message.bytes` too.
        message_max_bytes(usize): usize = 1_000_000;

        /// How long a group member may be silent before its partitions are reassigned, and so how long they stand
        /// still when it is killed. The broker's `group.min.session.timeout.ms` (6 s) is the minimum. Default:
        /// 10 s instead of librdkafka's 45 s; heartbeats come from their own thread, so a slow handler does not cost
        /// membership, only a frozen or disconnected process does. The cost: a network outage of more than 10 s
        /// moves partitions.
        session_timeout(impl Into<Option<Duration>>): Option<Duration> = None;

        /// How often a member sends a heartbeat to its group, and so how soon it notices a
        /// rebalance. Default: a third of `session_timeout`, at most 3 s, so that two may be lost.
        heartbeat_interval(impl Into<Option<Duration>>): Option<Duration> = None;

        /// How long a consumer may take to give up its partitions in a rebalance, while all members wait for it.
        /// Handlers do not run on the polling thread, so a slow one does not get its member expelled. At least
        /// `session_timeout`. Default: 60 s instead of librdkafka's 300 s: a stuck member can hold up its group
        /// for that long.
        max_poll_interval(Duration): Duration = Duration::from_secs(60);

        /// When the offsets of handled events are committed, unless a subscription [says
        /// otherwise](crate::Subscribe::commit). Default: every second.
        ///
        /// The Go SDK's keys set it too, in TOML and in the environment: `auto_commit_interval` means
        /// [`CommitPolicy::Interval`], `disable_auto_commit` [`CommitPolicy::EachEvent`],
        /// `commit_before_processing` [`CommitPolicy::BeforeProcessing`]. Contradictory keys in one source are
        /// refused.
        commit(CommitPolicy): CommitPolicy = CommitPolicy::default();

        /// How long a group waits after its last registration before its consumer starts, so that no event is
        /// acknowledged as unmatched because its handler was registered a moment later, and so that many
        /// registrations cause one rebalance. Default: 250 ms, paid once per group.
        registration_settle(Duration): Duration = Duration::from_millis(250);

        /// How a group divides its partitions. Default: [`Assignment::Eager`], so that members of
        /// the Go SDK can share the group.
        assignment(Assignment): Assignment = Assignment::Eager;

        /// The suffix of dead-letter topics, added to the topic's name. Default: `-dlq`; clusters served by the
        /// Go SDK use `.dlq`.
        dead_letter_suffix(impl Into<String>): String = "-dlq".to_owned();

        /// How long fetching a partition pauses when the fetch queue is full. Default: 10 ms instead of
        /// librdkafka's 1 s, which halves the speed of a fast consumer: 0.33 M events/s measured, against 0.76 to
        /// 1.1 M. The cost: checking the queue every 10 ms while it is full.
        fetch_queue_backoff(Duration): Duration = Duration::from_millis(10);

        /// How many bytes a consumer reads ahead, 1 KiB to 2 TiB. Default: 67,108,864 (64 MiB), as in librdkafka.
        /// One more fetch may come on top.
        fetch_queue_bytes(usize): usize = 64 * 1024 * 1024;

        /// How many events of a partition a consumer reads ahead, if `fetch_queue_bytes` allows. 1 to 10,000,000.
        /// Default: 100,000, as in librdkafka.
        fetch_queue_events(usize): usize = 100_000;

        /// How long the broker may hold back a fetch when there is nothing to read. A new event ends the wait at
        /// once, so a shorter one only costs requests. 0 to 300 s. Default: 500 ms.
        fetch_wait(Duration): Duration = Duration::from_millis(500);

        /// The client's name in the broker's logs and quotas. Default: `eventstream`.
        client_id(impl Into<String>): String = "eventstream".to_owned();

        /// Whether publishing to a topic that does not exist asks the broker to create it; the broker's
        /// `auto.create.topics.enable` decides. Consumers and metadata requests never create topics. Default:
        /// true, as in the Go SDK.
        allow_auto_create_topics(bool): bool = true;

        /// How often librdkafka's statistics are collected for the metrics, 1 ms to 24 h. Default: `None`, which
        /// means 10 s for a client with metrics and never for others; a snapshot lists every broker and partition
        /// and costs accordingly.
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
    /// The default configuration.
    pub fn new() -> Self {
        Self::default()
    }

    /// The bootstrap brokers, each `host:port`, unless the client is given its own; in TOML a list or a
    /// comma-separated string, in the environment the string. Default: none.
    pub fn brokers<B: Into<String>>(mut self, brokers: impl IntoIterator<Item = B>) -> Self {
        self.brokers = Addresses(brokers.into_iter().map(Into::into).collect());
        self
    }

    /// Sets a [property of librdkafka](https://github.com/confluentinc/librdkafka/blob/v2.12.1/CONFIGURATION.md),
    /// after everything else, so that it overrides the corresponding option. It reaches the clients it applies
    /// to: producers, consumers or all.
    ///
    /// [`validate`](BrokerConfig::validate) refuses an unknown property (naming the nearest one), a value out of
    /// range, and properties that this crate needs to keep its promises (`enable.auto.commit`, `group.id`, ...),
    /// naming the option to use instead.
    pub fn base_config(mut self, key: impl Into<String>, value: impl ToString) -> Self {
        self.base_config.insert(key.into(), value.to_string());
        self
    }
}
