use rdkafka::config::{ClientConfig, RDKafkaLogLevel};

use super::error::from_kafka;
use super::trial::read_certificates;
use crate::config::{BrokerConfig, LogMode};
use crate::error::Result;

/// The properties of each kind of librdkafka client, accepted by librdkafka. No `Debug`, as that of
/// `ClientConfig` shows private keys.
#[derive(Clone)]
pub(crate) struct ClientConfigs {
    pub(crate) producer: ClientConfig,
    pub(crate) consumer: ClientConfig,
    pub(crate) admin: ClientConfig,
}

/// Settings that make the embedded broker fast: a fetch from it always waits for
/// `fetch.wait.max.ms`, and a rebalance for nearly all of the session timeout.
pub(super) const EMBEDDED: &[(&str, &str)] = &[
    ("fetch.wait.max.ms", "5"),
    ("session.timeout.ms", "6000"),
    ("heartbeat.interval.ms", "500"),
];

/// The same for clients in tests, where members come and go: a rebalance takes 2 s.
pub(super) const TESTING: &[(&str, &str)] = &[
    ("fetch.wait.max.ms", "5"),
    ("session.timeout.ms", "3000"),
    ("heartbeat.interval.ms", "100"),
];

impl ClientConfigs {
    pub(crate) fn new(
        config: &BrokerConfig,
        brokers: &[String],
        presets: &[(&str, &str)],
    ) -> Result<Self> {
        let settings = config.settings(brokers);
        let level = level(config.log_mode);
        let mut consumer = client_config(settings.consumer, level)?;
        if consumer.get("group.protocol") == Some("consumer") && consumer.get("debug").is_none() {
            // Only this log shows that the brokers do not support the protocol.
            consumer.set("debug", "cgrp");
            consumer.set_log_level(RDKafkaLogLevel::Debug);
        }
        for (key, value) in presets {
            // With KIP-848, the broker sets the timeouts, so they are not set here.
            if *key == "fetch.wait.max.ms" || consumer.get(key).is_some() {
                consumer.set(*key, *value);
            }
        }
        let admin = client_config(settings.admin, level)?;
        read_certificates(config, &admin)?;
        Ok(Self {
            producer: client_config(settings.producer, level)?,
            consumer,
            admin,
        })
    }
}

fn client_config(
    properties: Vec<(String, String)>,
    level: RDKafkaLogLevel,
) -> Result<ClientConfig> {
    // Before librdkafka does it, which would have OpenSSL clean up at the exit of the process, though threads that
    // still end use it: a double free.
    #[cfg(feature = "tls")]
    openssl::init();
    let mut config: ClientConfig = properties.into_iter().collect();
    config.set_log_level(level);
    config
        .create_native_config()
        .map_err(|e| from_kafka("create a client: librdkafka rejects a property", e))?;
    Ok(config)
}

fn level(mode: LogMode) -> RDKafkaLogLevel {
    match mode {
        LogMode::Debug => RDKafkaLogLevel::Debug,
        // A closed connection is only logged, at level info: the reporter needs it in any mode, and
        // passes on what the mode allows.
        _ => RDKafkaLogLevel::Info,
    }
}
