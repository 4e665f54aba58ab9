use std::time::Duration;

use super::{CERTIFICATE, KEY, property, settings};
use crate::config::{
    Acks, Assignment, BrokerConfig, Compression, LogMode, Partitioner, SaslMechanism, Security,
};

const PRODUCER: &str = "producer";
const CONSUMER: &str = "consumer";
const ALL: &str = "producer consumer admin";
const READERS: &str = "consumer admin";

fn new() -> BrokerConfig {
    BrokerConfig::new()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Option, its property, the clients it is for, its default (empty: absent), the option changed,
/// and the property's value then.
type Row = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    BrokerConfig,
    &'static str,
);

#[rustfmt::skip]
fn rows() -> Vec<Row> {
    vec![
        ("dial_timeout", "socket.connection.setup.timeout.ms", ALL, "10000", new().dial_timeout(seconds(3)), "3000"),
        ("read_timeout", "socket.timeout.ms", READERS, "10000", new().read_timeout(seconds(3)), "3000"),
        ("write_timeout", "socket.timeout.ms", PRODUCER, "10000", new().write_timeout(seconds(3)), "3000"),
        ("write_timeout", "request.timeout.ms", PRODUCER, "9000", new().write_timeout(seconds(3)), "2700"),
        ("log_mode", "log_level", ALL, "0", new().log_mode(LogMode::Warn), "4"),
        ("security", "security.protocol", ALL, "plaintext", new().security(Security::none().tls(true)), "ssl"),
        ("publish_timeout", "delivery.timeout.ms", PRODUCER, "60000", new().publish_timeout(seconds(3)), "3000"),
        ("publish_retries", "retries", PRODUCER, "", new().publish_retries(3), "3"),
        ("acks", "acks", PRODUCER, "-1", new().acks(Acks::Leader), "1"),
        ("acks", "acks", PRODUCER, "-1", new().acks(Acks::None), "0"),
        ("acks", "enable.idempotence", PRODUCER, "true", new().acks(Acks::Leader), "false"),
        ("acks", "max.in.flight", PRODUCER, "5", new().acks(Acks::Leader), ""),
        ("idempotence", "enable.idempotence", PRODUCER, "true", new().idempotence(false), "false"),
        ("compression", "compression.type", PRODUCER, "none", new().compression(Compression::Lz4), "lz4"),
        ("linger", "linger.ms", PRODUCER, "0", new().linger(Duration::from_micros(500)), "0.5"),
        ("batch_bytes", "batch.size", PRODUCER, "1000000", new().batch_bytes(5_000), "5000"),
        ("batch_events", "batch.num.messages", PRODUCER, "10000", new().batch_events(7), "7"),
        ("partitioner", "partitioner", PRODUCER, "consistent_random", new().partitioner(Partitioner::Murmur2Random), "murmur2_random"),
        ("buffer_events", "queue.buffering.max.messages", PRODUCER, "200000", new().buffer_events(7), "14"),
        ("buffer_bytes", "queue.buffering.max.kbytes", PRODUCER, "131074", new().buffer_bytes(2_048_000), "4002"),
        ("message_max_bytes", "message.max.bytes", ALL, "1000000", new().message_max_bytes(2_000), "2000"),
        ("session_timeout", "session.timeout.ms", CONSUMER, "10000", new().session_timeout(seconds(45)), "45000"),
        ("session_timeout", "heartbeat.interval.ms", CONSUMER, "3000", new().session_timeout(seconds(6)), "2000"),
        ("heartbeat_interval", "heartbeat.interval.ms", CONSUMER, "3000", new().heartbeat_interval(seconds(1)), "1000"),
        ("max_poll_interval", "max.poll.interval.ms", CONSUMER, "60000", new().max_poll_interval(seconds(300)), "300000"),
        ("assignment", "partition.assignment.strategy", CONSUMER, "range,roundrobin", new().assignment(Assignment::CooperativeSticky), "cooperative-sticky"),
        ("assignment", "partition.assignment.strategy", CONSUMER, "range,roundrobin", new().assignment(Assignment::Consumer), ""),
        ("assignment", "session.timeout.ms", CONSUMER, "10000", new().assignment(Assignment::Consumer), ""),
        ("assignment", "heartbeat.interval.ms", CONSUMER, "3000", new().assignment(Assignment::Consumer), ""),
        ("assignment", "group.protocol", CONSUMER, "", new().assignment(Assignment::Consumer), "consumer"),
        ("fetch_queue_backoff", "fetch.queue.backoff.ms", CONSUMER, "10", new().fetch_queue_backoff(seconds(1)), "1000"),
        ("fetch_queue_bytes", "queued.max.messages.kbytes", CONSUMER, "65536", new().fetch_queue_bytes(2_048), "2"),
        ("fetch_queue_events", "queued.min.messages", CONSUMER, "100000", new().fetch_queue_events(7), "7"),
        ("fetch_wait", "fetch.wait.max.ms", CONSUMER, "500", new().fetch_wait(Duration::from_millis(5)), "5"),
        ("client_id", "client.id", ALL, "eventstream", new().client_id("shop"), "shop"),
        ("allow_auto_create_topics", "allow.auto.create.topics", PRODUCER, "true", new().allow_auto_create_topics(false), "false"),
        ("statistics_interval", "statistics.interval.ms", "producer consumer", "", new().statistics_interval(seconds(5)), "5000"),
    ]
}

/// Options that the crate implements without librdkafka.
const OWN: &[&str] = &[
    "prefix",
    "strict_validation",
    "commit",
    "registration_settle",
    "dead_letter_suffix",
];

#[test]
fn every_option_reaches_its_property() {
    let default = settings(&new());
    for (option, name, clients, default_value, config, value) in rows() {
        let changed = settings(&config);
        for client in clients.split(' ') {
            let of = |settings: &super::Settings| {
                let client = match client {
                    PRODUCER => &settings.producer,
                    CONSUMER => &settings.consumer,
                    _ => &settings.admin,
                };
                property(client, name).unwrap_or("").to_owned()
            };
            assert_eq!(
                of(&default),
                default_value,
                "{option}: default of {name} at the {client}"
            );
            assert_eq!(of(&changed), value, "{option}: {name} at the {client}");
        }
        assert_eq!(super::faults(&config), [""; 0], "{option}");
    }
}

#[test]
fn no_option_is_forgotten() {
    let rows = rows();
    for option in BrokerConfig::NAMES {
        let tested = rows.iter().any(|(name, ..)| name == option) || OWN.contains(option);
        assert!(tested, "{option} is neither librdkafka's nor the crate's");
    }
}

#[test]
fn promises_do_not_depend_on_options() {
    let settings = settings(&new());
    for (name, value) in [
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        ("auto.offset.reset", "error"),
        ("allow.auto.create.topics", "false"),
    ] {
        assert_eq!(property(&settings.consumer, name), Some(value));
    }
    assert_eq!(
        property(&settings.admin, "allow.auto.create.topics"),
        Some("false")
    );
    for client in [&settings.producer, &settings.consumer, &settings.admin] {
        assert_eq!(
            property(client, "bootstrap.servers"),
            Some("127.0.0.1:9092,127.0.0.1:9093")
        );
        assert_eq!(property(client, "group.id"), None);
    }
}

#[test]
fn librdkafkas_queue_is_larger_than_the_buffer() {
    for config in [
        new(),
        new().buffer_events(1),
        new().buffer_events(1_000_000_000),
        new().buffer_bytes(1 << 38),
    ] {
        let producer = settings(&config).producer;
        let number = |name: &str| property(&producer, name).map(str::parse::<usize>);
        assert!(number("queue.buffering.max.messages").unwrap().unwrap() > config.buffer_events);
        assert!(
            number("queue.buffering.max.kbytes").unwrap().unwrap() * 1024 > config.buffer_bytes
        );
    }
}

#[rustfmt::skip]
#[test]
fn security_combines() {
    let scram = || Security::sasl(SaslMechanism::ScramSha512, "alice", "open sesame");
    let sasl: &[(&str, &str)] = &[("sasl.mechanism", "SCRAM-SHA-512"), ("sasl.username", "alice"), ("sasl.password", "open sesame")];
    let cases: Vec<(Security, Vec<(&str, &str)>)> = vec![
        (Security::none(), vec![("security.protocol", "plaintext")]),
        (Security::none().tls(true), vec![("security.protocol", "ssl"), ("ssl.ca.location", "probe")]),
        (Security::none().ca_file("src/config/tests/utc_time.pem"), vec![("security.protocol", "ssl"), ("ssl.ca.location", "src/config/tests/utc_time.pem")]),
        (Security::none().ca_pem(CERTIFICATE), vec![("security.protocol", "ssl"), ("ssl.ca.pem", CERTIFICATE)]),
        (Security::none().cert_file("src/config/tests/utc_time.pem").key_file("src/config/tests/key.pem").key_password("pass"), vec![
            ("security.protocol", "ssl"), ("ssl.ca.location", "probe"), ("ssl.certificate.location", "src/config/tests/utc_time.pem"),
            ("ssl.key.location", "src/config/tests/key.pem"), ("ssl.key.password", "pass")]),
        (Security::none().cert_pem(CERTIFICATE).key_pem(KEY), vec![
            ("security.protocol", "ssl"), ("ssl.ca.location", "probe"), ("ssl.certificate.pem", CERTIFICATE), ("ssl.key.pem", KEY)]),
        (scram(), [sasl, &[("security.protocol", "sasl_ssl"), ("ssl.ca.location", "probe")]].concat()),
        (scram().ca_pem(CERTIFICATE), [sasl, &[("security.protocol", "sasl_ssl"), ("ssl.ca.pem", CERTIFICATE)]].concat()),
        (Security::none().oauth_token_endpoint("https://a").oauth_client_id("a").oauth_client_secret("b"), vec![
            ("security.protocol", "sasl_ssl"), ("sasl.mechanism", "OAUTHBEARER"), ("ssl.ca.location", "probe")]),
        (scram().sasl_without_tls(true), [sasl, &[("security.protocol", "sasl_plaintext")]].concat()),
        (Security::none().authentication_type("SASL-SCRAM").sasl_username("alice").sasl_password("open sesame"),
            [sasl, &[("security.protocol", "sasl_ssl"), ("ssl.ca.location", "probe")]].concat()),
    ];
    for (security, mut expected) in cases {
        let config = new().security(security);
        assert_eq!(super::faults(&config), [""; 0], "{config:?}");
        let settings = settings(&config);
        expected.sort_unstable();
        for client in [&settings.producer, &settings.consumer, &settings.admin] {
            let found: Vec<_> = client
                .iter()
                .filter(|(key, _)| ["security.", "sasl.", "ssl."].iter().any(|prefix| key.starts_with(prefix)))
                .map(|(key, value)| (key.as_str(), value.as_str()))
                .collect();
            assert_eq!(found, expected);
        }
    }
}

/// Each option of `Security`: a valid configuration without it, the same with it, and the property
/// that it changes.
#[rustfmt::skip]
fn security_rows() -> Vec<(&'static str, Security, Security, &'static str)> {
    let none = Security::none;
    let plain = || Security::sasl(SaslMechanism::Plain, "alice", "x");
    let mutual = || none().cert_pem(CERTIFICATE).key_pem(KEY);
    vec![
        ("authentication_type", none(), none().authentication_type("SASL-SCRAM"), "sasl.mechanism"),
        ("sasl_mechanism", plain(), plain().sasl_mechanism(SaslMechanism::ScramSha256), "sasl.mechanism"),
        ("sasl_username", plain(), plain().sasl_username("bob"), "sasl.username"),
        ("sasl_password", plain(), plain().sasl_password("y"), "sasl.password"),
        ("sasl_without_tls", plain(), plain().sasl_without_tls(true), "security.protocol"),
        ("tls", none(), none().tls(true), "security.protocol"),
        ("ca_file", none().tls(true), none().ca_file("a"), "ssl.ca.location"),
        ("ca_pem", none().tls(true), none().ca_pem("a"), "ssl.ca.pem"),
        ("cert_file", mutual(), mutual().cert_file("a"), "ssl.certificate.location"),
        ("cert_pem", mutual(), mutual().cert_pem("a"), "ssl.certificate.pem"),
        ("key_file", mutual(), mutual().key_file("a"), "ssl.key.location"),
        ("key_pem", mutual(), mutual().key_pem("a"), "ssl.key.pem"),
        ("key_password", mutual(), mutual().key_password("a"), "ssl.key.password"),
    ]
}

#[test]
fn every_option_of_security_reaches_its_property() {
    let names: Vec<_> = security_rows().iter().map(|(name, ..)| *name).collect();
    // Those of tokens are for the crate itself.
    let is_own = |name: &str| name.starts_with("oauth_") || name == "aws_msk_region";
    let of_librdkafka = Security::NAMES.iter().filter(|name| !is_own(name));
    let expected: Vec<_> = of_librdkafka.copied().collect();
    assert_eq!(names, expected, "each option has its row");
    for (option, before, after, name) in security_rows() {
        let (before, after) = (
            settings(&new().security(before)),
            settings(&new().security(after)),
        );
        for (before, after) in [
            (&before.producer, &after.producer),
            (&before.consumer, &after.consumer),
            (&before.admin, &after.admin),
        ] {
            assert_ne!(property(before, name), property(after, name), "{option}");
        }
    }
}

#[test]
fn what_is_in_effect_can_be_asked_for() {
    let config = new().publish_timeout(seconds(7)).log_mode(LogMode::Info);
    assert_eq!(config.effective_publish_timeout(), seconds(7));
    assert_eq!(config.effective_log_mode(), LogMode::Info);
    let config = config.base_config("delivery.timeout.ms", 2_000);
    assert_eq!(config.effective_publish_timeout(), seconds(2));
}

#[test]
fn base_config_wins_and_reaches_only_its_clients() {
    let config = new()
        .linger(seconds(1))
        .base_config("queue.buffering.max.ms", 2.5)
        .base_config("fetch.min.bytes", 7_i64)
        .base_config("check.crcs", true)
        .base_config("socket.timeout.ms", " 4000 ")
        .base_config("message.send.max.retries", "9");
    assert_eq!(super::faults(&config), [""; 0]);
    let settings = settings(&config);
    for (name, producer, consumer, admin) in [
        ("linger.ms", Some("2.5"), None, None),
        ("queue.buffering.max.ms", None, None, None),
        ("retries", Some("9"), None, None),
        ("fetch.min.bytes", None, Some("7"), None),
        ("check.crcs", None, Some("true"), None),
        (
            "socket.timeout.ms",
            Some("4000"),
            Some("4000"),
            Some("4000"),
        ),
    ] {
        assert_eq!(property(&settings.producer, name), producer, "{name}");
        assert_eq!(property(&settings.consumer, name), consumer, "{name}");
        assert_eq!(property(&settings.admin, name), admin, "{name}");
    }
}

#[test]
fn message_max_bytes_counts_in_every_scalar_form() {
    assert_eq!(new().effective_message_max_bytes(), 1_000_000);
    assert_eq!(
        new().message_max_bytes(5_000).effective_message_max_bytes(),
        5_000
    );
    let base = |value: &dyn ToString| {
        let config = new().base_config("message.max.bytes", value.to_string());
        assert_eq!(super::faults(&config), [""; 0]);
        config.effective_message_max_bytes()
    };
    let values: [&dyn ToString; 6] = [
        &2_000_000_i32,
        &2_000_000_i64,
        &2_000_000_u64,
        &2e6_f64,
        &"2000000",
        &" 2000000 ",
    ];
    for value in values {
        assert_eq!(base(value), 2_000_000);
    }
}

#[test]
fn publish_timeout_may_come_from_base_config() {
    let config = new().base_config("message.timeout.ms", 1500);
    assert_eq!(
        config.effective_publish_timeout(),
        Duration::from_millis(1500)
    );
    assert_eq!(new().effective_publish_timeout(), seconds(60));
}

#[test]
fn base_config_says_the_protocol() {
    let config = new()
        .security(Security::sasl(SaslMechanism::Plain, "alice", "x"))
        .base_config("security.protocol", "SASL_PLAINTEXT");
    assert_eq!(super::faults(&config), [""; 0]);
    let settings = settings(&config);
    assert_eq!(
        property(&settings.producer, "security.protocol"),
        Some("SASL_PLAINTEXT")
    );
    assert_eq!(
        property(&settings.producer, "sasl.mechanism"),
        Some("PLAIN")
    );
    assert_eq!(property(&settings.producer, "ssl.ca.location"), None);
}
