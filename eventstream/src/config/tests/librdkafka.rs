//! The table and the settings compared with librdkafka itself. Clients are created, but contact no
//! broker.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, ProducerContext};

use super::{CERTIFICATE, KEY};
use crate::config::properties::{self, Kind};
use crate::config::{
    Acks, Assignment, BrokerConfig, Compression, LogMode, Partitioner, SaslMechanism, Security,
};

fn accepts(name: &str, value: &str) -> bool {
    ClientConfig::new()
        .set(name, value)
        .create_native_config()
        .is_ok()
}

#[test]
fn every_property_of_the_table_is_known() {
    for (name, _, kind) in properties::PROPERTIES {
        match *kind {
            Kind::Text => {
                let sample = match *name {
                    "debug" => "all",
                    _ => "1.0",
                };
                assert!(accepts(name, sample), "{name}");
                continue;
            }
            Kind::Flag => {
                assert!(accepts(name, "true") && accepts(name, "false"), "{name}");
            }
            Kind::Whole(low, high) => {
                assert!(
                    accepts(name, &low.to_string()) && accepts(name, &high.to_string()),
                    "{name}"
                );
                assert!(!accepts(name, &(low - 1).to_string()), "{name} may be less");
                // librdkafka truncates numbers beyond an int instead of rejecting them.
                if high < i64::from(i32::MAX) {
                    assert!(
                        !accepts(name, &(high + 1).to_string()),
                        "{name} may be more"
                    );
                }
            }
            Kind::Decimal(low, high) => {
                assert!(
                    accepts(name, &low.to_string()) && accepts(name, &high.to_string()),
                    "{name}"
                );
                assert!(!accepts(name, "-0.1"), "{name} may be less");
                assert!(
                    !accepts(name, &(high + 1).to_string()),
                    "{name} may be more"
                );
            }
            Kind::Words(words) => {
                for word in words {
                    assert!(accepts(name, word), "{name}={word}");
                }
            }
            Kind::Acks => {
                for word in ["all", "-1", "0", "1"] {
                    assert!(accepts(name, word), "{name}={word}");
                }
            }
        }
        if *name != "sasl.mechanism" && *name != "partitioner" {
            assert!(!accepts(name, "no such word"), "{name}");
        }
    }
}

#[test]
fn the_table_is_in_order_and_without_doubles() {
    let names: Vec<_> = properties::names().collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    sorted.dedup();
    // `bootstrap.servers` is rejected, and so is the name of its alias.
    assert_eq!(sorted.len(), names.len());
    assert!(properties::PROPERTIES.is_sorted_by_key(|(name, ..)| name));
    assert!(properties::REFUSED.is_sorted_by_key(|(name, _)| name));
}

#[test]
fn aliases_mean_the_same() {
    for (alias, name) in properties::ALIASES {
        let sample = match properties::find(name).map(|(.., kind)| kind) {
            Some(Kind::Words(words)) => words[1].to_owned(),
            Some(Kind::Whole(_, high)) => (high - 1).to_string(),
            _ => "1".to_owned(),
        };
        let native = ClientConfig::new()
            .set(*alias, &sample)
            .create_native_config()
            .unwrap();
        assert_eq!(
            native.get(name).unwrap(),
            native.get(alias).unwrap(),
            "{alias}"
        );
        let default = ClientConfig::new().create_native_config().unwrap();
        let before = default.get(name).unwrap_or_default();
        assert_ne!(native.get(name).unwrap(), before, "{alias}");
    }
}

struct Log(Arc<Mutex<Vec<String>>>);

impl ClientContext for Log {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        if facility.contains("CONFWARN") {
            self.0.lock().unwrap().push(message.to_owned());
        }
    }
}

impl ConsumerContext for Log {}

impl ProducerContext for Log {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}

/// Creates a client; returns librdkafka's verdict on its configuration.
fn make(consumer: bool, properties: &[(String, String)]) -> Result<Vec<String>, String> {
    let mut config = ClientConfig::new();
    config.set_log_level(RDKafkaLogLevel::Debug);
    config.extend(properties.iter().cloned());
    config.set("log_level", "7");
    let warnings = Arc::new(Mutex::new(Vec::new()));
    let log = Log(Arc::clone(&warnings));
    let wait = Duration::from_millis(10);
    let made = if consumer {
        config.set("group.id", "config");
        let made = config.create_with_context::<_, BaseConsumer<Log>>(log);
        made.map(|client| while client.poll(wait).is_some() {})
    } else {
        let made = config.create_with_context::<_, BaseProducer<Log>>(log);
        made.map(|client| client.poll(wait))
    };
    made.map_err(|error| error.to_string())?;
    Ok(std::mem::take(&mut *warnings.lock().unwrap()))
}

fn configurations() -> Vec<BrokerConfig> {
    let new = BrokerConfig::new;
    let mut all = vec![
        new(),
        new().acks(Acks::Leader).publish_retries(0),
        new()
            .acks(Acks::None)
            .idempotence(false)
            .log_mode(LogMode::Debug),
        new()
            .publish_retries(3)
            .statistics_interval(Duration::from_secs(1)),
        new()
            .linger(Duration::from_micros(500))
            .buffer_events(1_000_000_000)
            .buffer_bytes(1 << 38),
        new()
            .message_max_bytes(50_000_000)
            .fetch_queue_bytes(2_097_151 * 1024),
        new()
            .fetch_queue_bytes(1024)
            .message_max_bytes(1_000)
            .buffer_bytes(1_000),
        new()
            .base_config("retries", 1)
            .base_config("linger.ms", 5)
            .base_config("fetch.min.bytes", 10),
        new().security(Security::sasl(SaslMechanism::ScramSha512, "a", "b").sasl_without_tls(true)),
        new().security(Security::sasl(SaslMechanism::Plain, "a", "b").sasl_without_tls(true)),
    ];
    for assignment in [
        Assignment::Eager,
        Assignment::CooperativeSticky,
        Assignment::Consumer,
    ] {
        all.push(new().assignment(assignment));
    }
    for codec in [
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ] {
        all.push(new().compression(codec));
    }
    for partitioner in Partitioner::WORDS {
        all.push(new().partitioner(partitioner.parse().unwrap()));
    }
    all
}

#[test]
fn librdkafka_takes_the_settings_without_a_warning() {
    for config in configurations() {
        config.validate().unwrap();
        let settings = super::settings(&config);
        assert_eq!(make(false, &settings.producer), Ok(vec![]), "{config:?}");
        assert_eq!(make(true, &settings.consumer), Ok(vec![]), "{config:?}");
        assert_eq!(make(false, &settings.admin), Ok(vec![]), "{config:?}");
    }
}

#[test]
fn a_property_at_the_wrong_client_would_warn() {
    let wrong = [("linger.ms".to_owned(), "1".to_owned())];
    assert_eq!(make(true, &wrong).unwrap().len(), 1);
}

#[test]
fn librdkafka_knows_the_properties_of_security() {
    let scram = Security::sasl(SaslMechanism::ScramSha256, "a", "b");
    for security in [
        scram
            .clone()
            .ca_file("src/config/tests/utc_time.pem")
            .cert_file("a")
            .key_file("b")
            .key_password("c"),
        scram.ca_pem(CERTIFICATE).cert_pem(CERTIFICATE).key_pem(KEY),
    ] {
        let settings = super::settings(&BrokerConfig::new().security(security));
        for client in [settings.producer, settings.consumer, settings.admin] {
            let mut config = ClientConfig::new();
            config.extend(client);
            assert!(config.create_native_config().is_ok());
        }
    }
}
