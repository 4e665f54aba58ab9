//! librdkafka's properties for each kind of client. They are created for each client object, and
//! each client only gets those of its kind.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::base::shown;
use super::broker::BrokerConfig;
use super::choice::{Acks, Assignment, LogMode};
use super::properties::{self, Kind, Scope};
use super::security::Protocol;

/// The complete properties for each kind of client. The kafka folder adds those of one client
/// object: `group.id`, `group.instance.id`.
///
/// `log_level` is included, but the `rdkafka` crate overwrites it with its own level when it
/// creates a client: [`LogMode::syslog`] must be passed to `ClientConfig::set_log_level` as well.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) producer: Vec<(String, String)>,
    pub(crate) consumer: Vec<(String, String)>,
    /// For the client for metadata, which librdkafka counts as a producer.
    pub(crate) admin: Vec<(String, String)>,
}

type Properties = BTreeMap<&'static str, String>;

impl LogMode {
    /// The syslog level for librdkafka's `log_level`. Nothing is logged at level 0.
    pub(crate) fn syslog(self) -> u8 {
        match self {
            Self::Off => 0,
            Self::Error => 3,
            Self::Warn => 4,
            Self::Info => 6,
            Self::Debug => 7,
        }
    }
}

impl BrokerConfig {
    /// librdkafka's properties for clients of these brokers.
    pub(crate) fn settings(&self, brokers: &[String]) -> Settings {
        let common = self.common(brokers);
        Settings {
            producer: self.finish(&common, self.producer(), Scope::Producer),
            consumer: self.finish(&common, self.consumer(), Scope::Consumer),
            admin: self.finish(&common, self.admin(), Scope::Both),
        }
    }

    /// The largest event: `message_max_bytes`, or `base_config`'s `message.max.bytes`.
    pub(crate) fn effective_message_max_bytes(&self) -> usize {
        let option = i64::try_from(self.message_max_bytes).unwrap_or(i64::MAX);
        usize::try_from(self.number("message.max.bytes", option)).unwrap_or(0)
    }

    /// How long an event may take: the configured [`publish_timeout`](Self::publish_timeout), or
    /// `base_config`'s `delivery.timeout.ms`. For programs that bound their own waits by it.
    pub fn effective_publish_timeout(&self) -> Duration {
        let millis = self.number("delivery.timeout.ms", whole_millis(self.publish_timeout));
        Duration::from_millis(u64::try_from(millis).unwrap_or(0))
    }

    /// The configured [`log_mode`](Self::log_mode), from code, a file or the environment. For
    /// programs that set up their logging by it.
    pub fn effective_log_mode(&self) -> LogMode {
        self.log_mode
    }

    /// Whether the producer is idempotent.
    pub(crate) fn is_idempotent(&self) -> bool {
        self.idempotence.unwrap_or(self.acks == Acks::All)
    }

    pub(crate) fn effective_session_timeout(&self) -> Duration {
        self.session_timeout.unwrap_or(Duration::from_secs(10))
    }

    pub(crate) fn effective_heartbeat_interval(&self) -> Duration {
        self.heartbeat_interval
            .unwrap_or_else(|| (self.effective_session_timeout() / 3).min(Duration::from_secs(3)))
    }

    /// The protocol in effect.
    pub(crate) fn protocol(&self) -> Protocol {
        self.base_config
            .get("security.protocol")
            .and_then(Protocol::from_word)
            .unwrap_or_else(|| self.security.protocol())
    }

    /// A whole number from `base_config`, or else the option's.
    pub(crate) fn number(&self, property: &str, option: i64) -> i64 {
        self.base_config
            .get(property)
            .and_then(|value| value.parse().ok())
            .unwrap_or(option)
    }

    fn common(&self, brokers: &[String]) -> Properties {
        let mut set = Properties::from([
            ("bootstrap.servers", brokers.join(",")),
            ("client.id", self.client_id.clone()),
            ("client.software.name", "eventstream-rust".to_owned()),
            (
                "client.software.version",
                env!("CARGO_PKG_VERSION").to_owned(),
            ),
            ("log_level", self.log_mode.syslog().to_string()),
            (
                "socket.connection.setup.timeout.ms",
                millis(self.dial_timeout),
            ),
            // Detects a connection dropped by a firewall before a request needs it.
            ("socket.keepalive.enable", "true".to_owned()),
            ("message.max.bytes", self.message_max_bytes.to_string()),
            // librdkafka would wait up to 10 s before it retries a broker that was away; the price
            // is a connection attempt to each missing broker every 2 s.
            ("reconnect.backoff.ms", "100".to_owned()),
            ("reconnect.backoff.max.ms", "2000".to_owned()),
            ("retry.backoff.ms", "100".to_owned()),
            ("retry.backoff.max.ms", "1000".to_owned()),
            // Partitions added to a topic are found within this time instead of 5 min; the price is
            // one small request by each client.
            ("topic.metadata.refresh.interval.ms", "30000".to_owned()),
        ]);
        let protocol = self.protocol();
        set.insert("security.protocol", protocol.as_str().to_owned());
        set.extend(self.security.properties(protocol));
        if protocol.tls()
            && !["ssl.ca.location", "ssl.ca.pem"]
                .iter()
                .any(|ca| self.has_ca(ca, &set))
        {
            // The bundled OpenSSL knows no directory of certificates by itself.
            set.insert("ssl.ca.location", "probe".to_owned());
        }
        set
    }

    fn has_ca(&self, property: &str, set: &Properties) -> bool {
        set.contains_key(property) || self.base_config.get(property).is_some()
    }

    fn producer(&self) -> Properties {
        let write_timeout = whole_millis(self.write_timeout);
        let acks = match self.acks {
            Acks::All => "-1",
            Acks::Leader => "1",
            Acks::None => "0",
        };
        let mut set = Properties::from([
            ("socket.timeout.ms", write_timeout.to_string()),
            // The broker's response about late replicas arrives before the connection is given up.
            (
                "request.timeout.ms",
                (write_timeout - write_timeout / 10).max(1).to_string(),
            ),
            ("delivery.timeout.ms", millis(self.publish_timeout)),
            // How long a topic unknown to the brokers counts as new and not yet propagated, while
            // its events wait. librdkafka's 30 s would hide a misspelt or missing (dead-letter)
            // topic; a topic created by its first event is known everywhere in well under a second.
            ("topic.metadata.propagation.max.ms", "5000".to_owned()),
            ("acks", acks.to_owned()),
            ("enable.idempotence", self.is_idempotent().to_string()),
            ("compression.type", self.compression.as_str().to_owned()),
            (
                "linger.ms",
                (self.linger.as_secs_f64() * 1000.0).to_string(),
            ),
            ("batch.size", self.batch_bytes.to_string()),
            ("batch.num.messages", self.batch_events.to_string()),
            ("partitioner", self.partitioner.property()),
            // Twice our own limits, so that the crate's admission fills up first, never this queue,
            // which counts a message a little longer, until after its report.
            (
                "queue.buffering.max.messages",
                capped(self.buffer_events.saturating_mul(2)),
            ),
            (
                "queue.buffering.max.kbytes",
                capped((self.buffer_bytes / 1024 + 1).saturating_mul(2)),
            ),
            (
                "allow.auto.create.topics",
                self.allow_auto_create_topics.to_string(),
            ),
        ]);
        if self.is_idempotent() {
            set.insert("max.in.flight", "5".to_owned());
        }
        if let Some(retries) = self.publish_retries {
            set.insert("retries", retries.to_string());
        }
        self.statistics(&mut set);
        set
    }

    fn consumer(&self) -> Properties {
        let mut set = Properties::from([
            ("socket.timeout.ms", millis(self.read_timeout)),
            // The crate itself commits the offsets of handled events.
            ("enable.auto.commit", "false".to_owned()),
            ("enable.auto.offset.store", "false".to_owned()),
            // The crate assigns start positions. It also handles offsets that the broker does not have: deletions are
            // reported, and a recreated topic is read from its head.
            ("auto.offset.reset", "error".to_owned()),
            // The end of a partition is needed, as control records are not visible otherwise.
            ("enable.partition.eof", "true".to_owned()),
            ("max.poll.interval.ms", millis(self.max_poll_interval)),
            ("allow.auto.create.topics", "false".to_owned()),
            ("fetch.queue.backoff.ms", millis(self.fetch_queue_backoff)),
            ("fetch.wait.max.ms", millis(self.fetch_wait)),
            ("queued.min.messages", self.fetch_queue_events.to_string()),
            (
                "queued.max.messages.kbytes",
                (self.fetch_queue_bytes / 1024).to_string(),
            ),
        ]);
        // librdkafka rejects the classic protocol's properties with the other protocol.
        match self.assignment {
            Assignment::Consumer => {
                set.insert("group.protocol", "consumer".to_owned());
            }
            classic => {
                let strategy = match classic {
                    Assignment::CooperativeSticky => "cooperative-sticky",
                    _ => "range,roundrobin",
                };
                set.insert("partition.assignment.strategy", strategy.to_owned());
                set.insert(
                    "session.timeout.ms",
                    millis(self.effective_session_timeout()),
                );
                set.insert(
                    "heartbeat.interval.ms",
                    millis(self.effective_heartbeat_interval()),
                );
            }
        }
        self.statistics(&mut set);
        set
    }

    fn admin(&self) -> Properties {
        Properties::from([
            ("socket.timeout.ms", millis(self.read_timeout)),
            // As a kind of producer it would create the topic it asks about.
            ("allow.auto.create.topics", "false".to_owned()),
        ])
    }

    fn statistics(&self, set: &mut Properties) {
        if let Some(interval) = self.statistics_interval {
            set.insert("statistics.interval.ms", millis(interval));
        }
    }

    /// Own properties override the common ones, and `base_config` both.
    fn finish(&self, common: &Properties, own: Properties, client: Scope) -> Vec<(String, String)> {
        let mut set = common.clone();
        set.extend(own);
        for (key, value) in self.base_config.iter() {
            // `validate` reports what is unknown or refused.
            let Some((name, scope, kind)) = properties::find(key) else {
                continue;
            };
            if scope == Scope::Both || scope == client {
                let value = if matches!(kind, Kind::Text) {
                    value
                } else {
                    value.trim()
                };
                set.insert(name, value.to_owned());
            }
        }
        set.into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }
}

/// Milliseconds as an `i64`; a longer duration exceeds every property's range.
pub(crate) fn whole_millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn millis(duration: Duration) -> String {
    whole_millis(duration).to_string()
}

/// Capped at librdkafka's integers.
fn capped(number: usize) -> String {
    number.min(i32::MAX as usize).to_string()
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Shown<'a>(&'a [(String, String)]);
        impl fmt::Debug for Shown<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let entries = self.0.iter().map(|(key, value)| {
                    // Properties that may not be set are not secret, as the crate itself set them.
                    let own = properties::refusal(key).is_some() || key.starts_with("client.");
                    (key, if own { value } else { shown(key, value) })
                });
                f.debug_map().entries(entries).finish()
            }
        }
        f.debug_struct("Settings")
            .field("producer", &Shown(&self.producer))
            .field("consumer", &Shown(&self.consumer))
            .field("admin", &Shown(&self.admin))
            .finish()
    }
}
