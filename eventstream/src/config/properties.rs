//! What librdkafka 2.12.1 knows: its properties, which clients they are for, and which values they
//! accept.
//!
//! librdkafka itself reads a number up to the first odd character (`10s` as 10, `2e6` as 2), only
//! warns about a property of the other kind of client, and reports one fault at a time; hence our
//! own table, which a test compares with the real library.

use Kind::{Acks, Decimal, Flag, Text, Whole, Words};
use Scope::{Both, Consumer, Producer};

/// The clients a property is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Producer,
    Consumer,
    /// Producers, consumers and the client for metadata.
    Both,
}

/// The values a property accepts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Text,
    Flag,
    Whole(i64, i64),
    Decimal(u32, u32),
    Words(&'static [&'static str]),
    /// `all` (-1), 1 or 0; the protocol has no others.
    Acks,
}

const MAX: i64 = i32::MAX as i64;

/// The properties that may be set, by this crate's name if librdkafka has several.
#[rustfmt::skip]
pub(crate) const PROPERTIES: &[(&str, Scope, Kind)] = &[
    ("acks", Producer, Acks),
    ("api.version.fallback.ms", Both, Whole(0, 604_800_000)),
    ("api.version.request", Both, Flag),
    ("api.version.request.timeout.ms", Both, Whole(1, 300_000)),
    ("batch.num.messages", Producer, Whole(1, 1_000_000)),
    ("batch.size", Producer, Whole(1, MAX)),
    ("broker.address.family", Both, Words(&["any", "v4", "v6"])),
    ("broker.address.ttl", Both, Whole(0, 86_400_000)),
    ("broker.version.fallback", Both, Text),
    ("check.crcs", Consumer, Flag),
    ("client.dns.lookup", Both, Words(&["use_all_dns_ips", "resolve_canonical_bootstrap_servers_only"])),
    ("client.id", Both, Text),
    ("client.rack", Both, Text),
    ("compression.level", Producer, Whole(-1, 12)),
    ("compression.type", Producer, Words(&["none", "gzip", "snappy", "lz4", "zstd"])),
    ("connections.max.idle.ms", Both, Whole(0, MAX)),
    ("coordinator.query.interval.ms", Consumer, Whole(1, 3_600_000)),
    ("debug", Both, Text),
    ("delivery.timeout.ms", Producer, Whole(0, MAX)),
    ("enable.gapless.guarantee", Producer, Flag),
    ("enable.metrics.push", Both, Flag),
    ("enable.random.seed", Both, Flag),
    ("enable.ssl.certificate.verification", Both, Flag),
    ("fetch.error.backoff.ms", Consumer, Whole(0, 300_000)),
    ("fetch.max.bytes", Consumer, Whole(0, 2_147_483_135)),
    ("fetch.message.max.bytes", Consumer, Whole(1, 1_000_000_000)),
    ("fetch.min.bytes", Consumer, Whole(1, 100_000_000)),
    ("fetch.queue.backoff.ms", Consumer, Whole(0, 300_000)),
    ("fetch.wait.max.ms", Consumer, Whole(0, 300_000)),
    ("group.remote.assignor", Consumer, Text),
    ("heartbeat.interval.ms", Consumer, Whole(1, 3_600_000)),
    ("isolation.level", Consumer, Words(&["read_uncommitted", "read_committed"])),
    ("linger.ms", Producer, Decimal(0, 900_000)),
    ("log.connection.close", Both, Flag),
    ("log.thread.name", Both, Flag),
    ("max.in.flight", Both, Whole(1, 1_000_000)),
    ("max.poll.interval.ms", Consumer, Whole(1, 86_400_000)),
    ("message.copy.max.bytes", Both, Whole(0, 1_000_000_000)),
    ("message.max.bytes", Both, Whole(1_000, 1_000_000_000)),
    ("metadata.max.age.ms", Both, Whole(1, 86_400_000)),
    ("metadata.recovery.rebootstrap.trigger.ms", Both, Whole(0, MAX)),
    ("metadata.recovery.strategy", Both, Words(&["none", "rebootstrap"])),
    ("partitioner", Producer, Words(&["random", "consistent", "consistent_random", "murmur2", "murmur2_random", "fnv1a", "fnv1a_random"])),
    ("queue.buffering.backpressure.threshold", Producer, Whole(1, 1_000_000)),
    ("queued.max.messages.kbytes", Consumer, Whole(1, 2_097_151)),
    ("queued.min.messages", Consumer, Whole(1, 10_000_000)),
    ("receive.message.max.bytes", Both, Whole(1_000, MAX)),
    ("reconnect.backoff.max.ms", Both, Whole(0, 3_600_000)),
    ("reconnect.backoff.ms", Both, Whole(0, 3_600_000)),
    ("request.timeout.ms", Producer, Whole(1, 900_000)),
    ("retries", Producer, Whole(0, MAX)),
    ("retry.backoff.max.ms", Both, Whole(1, 300_000)),
    ("retry.backoff.ms", Both, Whole(1, 300_000)),
    ("sasl.mechanism", Both, Words(&["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])),
    ("sasl.password", Both, Text),
    ("sasl.username", Both, Text),
    ("security.protocol", Both, Words(&["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"])),
    ("session.timeout.ms", Consumer, Whole(1, 3_600_000)),
    ("socket.connection.setup.timeout.ms", Both, Whole(1_000, MAX)),
    ("socket.keepalive.enable", Both, Flag),
    ("socket.max.fails", Both, Whole(0, 1_000_000)),
    ("socket.nagle.disable", Both, Flag),
    ("socket.receive.buffer.bytes", Both, Whole(0, 100_000_000)),
    ("socket.send.buffer.bytes", Both, Whole(0, 100_000_000)),
    ("socket.timeout.ms", Both, Whole(10, 300_000)),
    ("ssl.ca.location", Both, Text),
    ("ssl.ca.pem", Both, Text),
    ("ssl.certificate.location", Both, Text),
    ("ssl.certificate.pem", Both, Text),
    ("ssl.cipher.suites", Both, Text),
    ("ssl.crl.location", Both, Text),
    ("ssl.curves.list", Both, Text),
    ("ssl.endpoint.identification.algorithm", Both, Words(&["none", "https"])),
    ("ssl.engine.id", Both, Text),
    ("ssl.engine.location", Both, Text),
    ("ssl.key.location", Both, Text),
    ("ssl.key.password", Both, Text),
    ("ssl.key.pem", Both, Text),
    ("ssl.keystore.location", Both, Text),
    ("ssl.keystore.password", Both, Text),
    ("ssl.providers", Both, Text),
    ("ssl.sigalgs.list", Both, Text),
    ("sticky.partitioning.linger.ms", Producer, Whole(0, 900_000)),
    ("topic.blacklist", Both, Text),
    ("topic.metadata.propagation.max.ms", Both, Whole(0, 3_600_000)),
    ("topic.metadata.refresh.fast.interval.ms", Both, Whole(1, 60_000)),
    ("topic.metadata.refresh.interval.ms", Both, Whole(-1, 3_600_000)),
    ("topic.metadata.refresh.sparse", Both, Flag),
];

/// Aliases, and the name this crate uses.
pub(crate) const ALIASES: &[(&str, &str)] = &[
    ("compression.codec", "compression.type"),
    ("max.in.flight.requests.per.connection", "max.in.flight"),
    ("max.partition.fetch.bytes", "fetch.message.max.bytes"),
    ("message.send.max.retries", "retries"),
    ("message.timeout.ms", "delivery.timeout.ms"),
    ("metadata.broker.list", "bootstrap.servers"),
    ("queue.buffering.max.ms", "linger.ms"),
    ("request.required.acks", "acks"),
    ("sasl.mechanisms", "sasl.mechanism"),
];

/// The properties that may not be set, and what to do instead. Names that end in a dot stand for
/// all that start with them.
#[rustfmt::skip]
pub(crate) const REFUSED: &[(&str, &str)] = &[
    ("allow.auto.create.topics", "use allow_auto_create_topics; consumers never create topics"),
    ("auto.commit.enable", "use commit"),
    ("auto.commit.interval.ms", "use commit"),
    ("auto.offset.reset", "use the subscription's offset; if events are gone, the crate continues at the earliest and reports it"),
    ("bootstrap.servers", "set `brokers`"),
    ("builtin.features", "it can only be read"),
    ("consume.callback.max.messages", "it belongs to a consumer this crate does not use"),
    ("delivery.report.only.error", "every receipt needs its report"),
    ("enable.auto.commit", "use commit; offsets are committed when events are handled"),
    ("enable.auto.offset.store", "use commit; offsets are stored when events are handled"),
    ("enable.idempotence", "use idempotence"),
    ("enable.partition.eof", "the crate reads partitions without end marks"),
    ("enable.sasl.oauthbearer.unsecure.jwt", "use Security::oauth, which gives any token"),
    ("enabled_events", "the crate chooses the events it handles"),
    ("group.id", "use the subscription's group_id"),
    ("group.instance.id", "use the subscription's group_instance_id"),
    ("group.protocol", "use assignment"),
    ("group.protocol.type", "use assignment"),
    ("https.", "the crate asks for tokens itself; use Security::oauth"),
    ("internal.termination.signal", "the crate ends its clients itself"),
    ("log.queue", "the crate serves the log itself; use log_mode"),
    ("log_level", "use log_mode"),
    ("offset.store.method", "offsets are kept by the broker"),
    ("offset.store.path", "offsets are kept by the broker"),
    ("offset.store.sync.interval.ms", "offsets are kept by the broker"),
    ("partition.assignment.strategy", "use assignment"),
    ("plugin.library.paths", "plugins are not loaded"),
    ("produce.offset.report", "it no longer has any effect"),
    ("queue.buffering.max.kbytes", "use buffer_bytes"),
    ("queue.buffering.max.messages", "use buffer_events"),
    ("queuing.strategy", "events keep their order"),
    ("reconnect.backoff.jitter.ms", "it no longer has any effect"),
    ("sasl.kerberos.", "GSSAPI is not in this build; use scram-sha-512, scram-sha-256 or plain"),
    ("sasl.oauthbearer.", "the crate asks for tokens itself; use Security::oauth"),
    ("socket.blocking.max.ms", "it no longer has any effect"),
    ("ssl.ca.certificate.stores", "it is for Windows"),
    ("statistics.interval.ms", "use statistics_interval"),
    ("topic.metadata.refresh.fast.cnt", "it no longer has any effect"),
    ("transaction.timeout.ms", "the commit interval and 10 s, for subscriptions that are exactly once"),
    ("transactional.id", "use Subscribe::exactly_once, which names its transactions"),
];

const SECRET: &[&str] = &[
    "sasl.password",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.password",
];

/// The name this crate uses for a property.
pub(crate) fn preferred(key: &str) -> &str {
    ALIASES
        .iter()
        .find(|(alias, _)| *alias == key)
        .map_or(key, |(_, name)| name)
}

/// The property of this name or alias, if it may be set.
pub(crate) fn find(key: &str) -> Option<(&'static str, Scope, Kind)> {
    let name = preferred(key);
    PROPERTIES
        .iter()
        .find(|(property, ..)| *property == name)
        .copied()
}

/// Why a property may not be set.
pub(crate) fn refusal(key: &str) -> Option<&'static str> {
    let name = preferred(key);
    REFUSED
        .iter()
        .find(|(refused, _)| {
            *refused == name || (refused.ends_with('.') && name.starts_with(refused))
        })
        .map(|(_, instead)| *instead)
}

/// Whether the value must not be shown. A property that is not in the table may be a misspelt
/// password.
pub(crate) fn is_secret(key: &str) -> bool {
    SECRET.contains(&key) || find(key).is_none()
}

/// All names of all properties.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    let properties = PROPERTIES.iter().map(|(name, ..)| *name);
    let aliases = ALIASES.iter().map(|(alias, _)| *alias);
    let refused = REFUSED.iter().map(|(name, _)| *name);
    properties
        .chain(aliases)
        .chain(refused)
        .filter(|name| !name.ends_with('.'))
}

impl Kind {
    /// What is allowed, if `value` is not.
    pub(crate) fn check(self, value: &str) -> Result<(), String> {
        let value = value.trim();
        let whole = |low: i64, high: i64| {
            value
                .parse::<i64>()
                .is_ok_and(|number| (low..=high).contains(&number))
        };
        match self {
            Text => Ok(()),
            Flag if matches!(value.to_ascii_lowercase().as_str(), "true" | "false") => Ok(()),
            Flag => Err("true or false".to_owned()),
            Whole(low, high) if whole(low, high) => Ok(()),
            Whole(low, high) => Err(format!("a whole number from {low} to {high}")),
            Decimal(low, high) => match value.parse::<f64>() {
                Ok(number) if (f64::from(low)..=f64::from(high)).contains(&number) => Ok(()),
                _ => Err(format!("a number from {low} to {high}")),
            },
            Words(words) if words.iter().any(|word| word.eq_ignore_ascii_case(value)) => Ok(()),
            Words(words) => Err(super::choice::one_of(words)),
            Acks if value.eq_ignore_ascii_case("all") || whole(-1, 1) => Ok(()),
            Acks => Err("one of all, -1, 1, 0".to_owned()),
        }
    }
}
