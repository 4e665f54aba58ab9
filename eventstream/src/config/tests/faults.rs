use std::time::Duration;

use super::{CERTIFICATE, KEY, faults};
use crate::config::{
    Acks, Assignment, BrokerConfig, CommitPolicy, SaslMechanism, Security, broker_faults,
};
use crate::error::ErrorKind;
use crate::oauth::Token;

fn new() -> BrokerConfig {
    BrokerConfig::new()
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn base(key: &str, value: &str) -> BrokerConfig {
    new().base_config(key, value)
}

fn secured(security: Security) -> BrokerConfig {
    new().security(security)
}

fn plain() -> Security {
    Security::sasl(SaslMechanism::Plain, "alice", "x")
}

fn mutual_files() -> Security {
    Security::none()
        .cert_file("src/config/tests/utc_time.pem")
        .key_file("src/config/tests/key.pem")
}

fn mutual_pem() -> Security {
    Security::none().cert_pem(CERTIFICATE).key_pem(KEY)
}

/// A path that cannot be passed to librdkafka.
fn unreadable_path() -> std::path::PathBuf {
    use std::os::unix::ffi::OsStringExt as _;
    std::ffi::OsString::from_vec(b"/\xff".to_vec()).into()
}

#[test]
fn defaults_are_sound() {
    assert!(new().validate().is_ok());
}

#[rustfmt::skip]
#[test]
fn options_out_of_range() {
    for (config, fault) in [
        (new().dial_timeout(ms(999)), "dial_timeout \"999ms\": from 1s to 3600s"),
        (new().read_timeout(ms(9)), "read_timeout \"9ms\": from 10ms to 300s"),
        (new().write_timeout(ms(300_001)), "write_timeout \"300.001s\": from 100ms to 300s"),
        (new().max_poll_interval(ms(86_400_001)), "max_poll_interval \"86400.001s\": from 1ms to 86400s"),
        (new().commit(CommitPolicy::Interval(ms(0))), "commit \"0ns\": an interval from 10ms to 86400s"),
        (new().registration_settle(ms(60_001)), "registration_settle \"60.001s\": from 0ns to 60s"),
        (new().fetch_queue_backoff(ms(300_001)), "fetch_queue_backoff \"300.001s\": from 0ns to 300s"),
        (new().fetch_wait(ms(300_001)), "fetch_wait \"300.001s\": from 0ns to 300s"),
        (new().statistics_interval(ms(0)), "statistics_interval \"0ns\": from 1ms to 86400s"),
        (new().session_timeout(ms(3_600_001)).max_poll_interval(ms(3_600_002)), "session_timeout \"3600.001s\": from 1ms to 3600s"),
        (new().publish_timeout(ms(86_400_001)), "publish_timeout \"86400.001s\": from 1ms to 86400s"),
        (new().linger(ms(900_001)).publish_timeout(ms(900_002)), "linger \"900.001s\": from 0ns to 900s"),
        (new().heartbeat_interval(ms(0)), "heartbeat_interval \"0ns\": from 1ms to 3600s"),
        (new().batch_bytes(0), "batch_bytes \"0\": from 1 to 2147483647"),
        (new().batch_events(1_000_001), "batch_events \"1000001\": from 1 to 1000000"),
        (new().buffer_events(0), "buffer_events \"0\": from 1 to 1000000000"),
        (new().buffer_bytes(999_999), "buffer_bytes \"999999\": from message_max_bytes (1000000) to 549755812864"),
        (new().message_max_bytes(999), "message_max_bytes \"999\": from 1000 to 1000000000"),
        (new().fetch_queue_bytes(1_023), "fetch_queue_bytes \"1023\": from 1024 to 2147482624"),
        (new().fetch_queue_events(0), "fetch_queue_events \"0\": from 1 to 10000000"),
        (new().publish_retries(u32::MAX), "publish_retries \"4294967295\": at most 2147483647"),
        (new().dead_letter_suffix(""), "dead_letter_suffix: 1 to 100 of the letters, digits, '.', '_' and '-' of a topic's name"),
        (new().dead_letter_suffix("/dlq"), "dead_letter_suffix \"/dlq\": 1 to 100 of the letters, digits, '.', '_' and '-' of a topic's name"),
        (new().dead_letter_suffix("x".repeat(101)), &format!("dead_letter_suffix \"{}\": 1 to 100 of the letters, digits, '.', '_' and '-' of a topic's name", "x".repeat(101))),
        (new().client_id(""), "client_id: a name without control characters"),
        (new().client_id("a\nb"), "client_id \"a\\nb\": a name without control characters"),
    ] {
        assert_eq!(faults(&config), [fault]);
    }
}

#[rustfmt::skip]
#[test]
fn options_that_contradict() {
    for (config, fault) in [
        (new().publish_timeout(ms(5)).linger(ms(5)), "linger \"5ms\": shorter than publish_timeout (5ms)"),
        (new().acks(Acks::Leader).idempotence(true), "idempotence \"true\": needs acks all"),
        (new().publish_retries(0), "publish_retries \"0\": at least 1, or idempotence false"),
        (new().session_timeout(ms(6_000)).heartbeat_interval(ms(6_000)), "heartbeat_interval \"6s\": shorter than session_timeout (6s), best a third"),
        (new().session_timeout(ms(61_000)), "max_poll_interval \"60s\": at least session_timeout (61s)"),
        (new().assignment(Assignment::Consumer).session_timeout(ms(6_000)), "session_timeout \"6s\": not with assignment consumer: the broker decides"),
        (new().assignment(Assignment::Consumer).heartbeat_interval(ms(600)), "heartbeat_interval \"600ms\": not with assignment consumer: the broker decides"),
    ] {
        assert_eq!(faults(&config), [fault]);
    }
    assert_eq!(faults(&new().publish_retries(0).idempotence(false)), [""; 0]);
    assert_eq!(faults(&new().publish_timeout(ms(0))), ["publish_timeout \"0ns\": from 1ms to 86400s", "linger \"0ns\": shorter than publish_timeout (0ns)"]);
}

fn tokens() -> Security {
    Security::oauth(|| async { Token::jwt("x") })
}

fn oidc() -> Security {
    Security::none()
        .oauth_token_endpoint("https://a/token")
        .oauth_client_id("service")
        .oauth_client_secret("secret")
}

#[rustfmt::skip]
#[test]
fn tokens_that_contradict() {
    let with = |security, key: &str, value: &str| secured(security).base_config(key, value);
    let no_login = "not together with oauthbearer, which logs in with a token";
    for (config, expected) in [
        (secured(tokens()), ""),
        (secured(tokens().sasl_without_tls(true)), ""),
        (secured(tokens().tls(false)), "tls \"false\": credentials over plain text need sasl_without_tls"),
        (secured(Security::none().sasl_mechanism(SaslMechanism::OauthBearer)), "sasl_mechanism \"oauthbearer\": needs something to get tokens from: oauth_token_endpoint, aws_msk_region, or Security::oauth in code"),
        (secured(tokens().sasl_mechanism(SaslMechanism::Plain)), "sasl_mechanism \"PLAIN\": must be oauthbearer, or left out, where there is a token provider"),
        (secured(tokens().sasl_username("a")), &*format!("sasl_username: {no_login}")),
        (secured(tokens().sasl_password("x")), &*format!("sasl_password: {no_login}")),
        (secured(oidc()), ""),
        (secured(oidc().sasl_mechanism(SaslMechanism::OauthBearer)), ""),
        (secured(oidc().oauth_token_endpoint("")), "oauth_token_endpoint: needed by oauth_client_id"),
        (secured(oidc().oauth_client_id("")), "oauth_client_id: needed by oauth_token_endpoint"),
        (secured(oidc().oauth_client_secret("")), "oauth_client_secret: needed by oauth_token_endpoint"),
        (secured(oidc().oauth_token_endpoint("http://a/token")), "oauth_token_endpoint: must be https: the client's secret would be sent over plain text"),
        (secured(oidc().oauth_ca_file("/no/such")), "oauth_ca_file \"/no/such\": a file that can be read (No such file or directory (os error 2))"),
        (secured(oidc().oauth_ca_file("src")), "oauth_ca_file \"src\": a file, not a directory"),
        (secured(oidc().sasl_mechanism(SaslMechanism::Plain)), "sasl_mechanism \"PLAIN\": must be oauthbearer, or left out, where there is a token provider"),
        (secured(Security::none().aws_msk_region("eu-west-1")), ""),
        (secured(Security::none().aws_msk_region("eu west")), "aws_msk_region \"eu west\": a region such as eu-west-1"),
        (secured(oidc().aws_msk_region("eu-west-1")), "aws_msk_region: not together with oauth_token_endpoint"),
        (secured(tokens().oauth_scope("a")), "oauth_scope: not together with a token provider given in code"),
        (with(tokens(), "sasl.username", "a"), &*format!("base_config.sasl.username: {no_login}")),
        (with(tokens(), "sasl.mechanism", "PLAIN"), &*format!("base_config.sasl.mechanism: {no_login}")),
    ] {
        assert_eq!(faults(&config).join("; "), expected);
    }
}

#[rustfmt::skip]
#[test]
fn security_that_contradicts() {
    let none = Security::none;
    for (security, fault) in [
        (none().authentication_type("SASL-PLAIN").sasl_username("a"), "authentication_type \"SASL-PLAIN\": SASL-SCRAM, or nothing; sasl_mechanism offers others"),
        (plain().authentication_type("SASL-SCRAM"), "sasl_mechanism \"PLAIN\": SASL-SCRAM is scram-sha-512: give authentication_type or this, not both"),
        (none().sasl_username("alice"), "sasl_mechanism: needed by the other SASL options: one of scram-sha-512, scram-sha-256, plain, oauthbearer"),
        (none().sasl_password("x"), "sasl_mechanism: needed by the other SASL options: one of scram-sha-512, scram-sha-256, plain, oauthbearer"),
        (none().sasl_without_tls(true), "sasl_mechanism: needed by the other SASL options: one of scram-sha-512, scram-sha-256, plain, oauthbearer"),
        (plain().sasl_username(""), "sasl_username: needed by the SASL mechanism"),
        (plain().sasl_password(""), "sasl_password: needed by the SASL mechanism"),
        (plain().tls(false), "tls \"false\": credentials over plain text need sasl_without_tls"),
        (plain().sasl_without_tls(true).tls(true).ca_pem(CERTIFICATE), "sasl_without_tls \"true\": not together with tls, ca_pem"),
        (none().tls(false).ca_pem(CERTIFICATE), "tls \"false\": not together with ca_pem"),
        (none().ca_pem(CERTIFICATE).ca_file("src/config/tests/utc_time.pem"), "ca_pem: not together with ca_file"),
        (none().cert_pem(CERTIFICATE).cert_file("src/config/tests/utc_time.pem").key_pem(KEY), "cert_pem: not together with cert_file"),
        (none().cert_pem(CERTIFICATE).key_file("src/config/tests/key.pem").key_pem(KEY), "key_pem: not together with key_file"),
        (none().cert_pem(CERTIFICATE), "cert_pem: a certificate needs its key: key_file or key_pem"),
        (none().key_pem(KEY), "key_pem: a key needs its certificate: cert_file or cert_pem"),
        (none().key_password("x"), "key_password: needs key_file or key_pem"),
        (none().ca_file("/no/such/ca"), "ca_file \"/no/such/ca\": a file that can be read (No such file or directory (os error 2))"),
        (none().cert_file("src").key_pem(KEY), "cert_file \"src\": a file, not a directory"),
        (none().cert_file("src/config/tests/utc_time.pem").key_file("src"), "key_file \"src\": a file, not a directory"),
        (none().cert_file("/no/such").key_pem(KEY), "cert_file \"/no/such\": a file that can be read (No such file or directory (os error 2))"),
        (none().cert_pem("cert.pem").key_pem(KEY), "cert_pem: a certificate in PEM; it has no line -----BEGIN ...-----"),
        (none().cert_pem(CERTIFICATE).key_pem("key.pem"), "key_pem: a private key in PEM; it has no line -----BEGIN ...-----"),
        (none().ca_file(unreadable_path()), "ca_file \"/\u{fffd}\": a path in UTF-8"),
        (none().ca_file("src/config/tests/key.pem"), "ca_file \"src/config/tests/key.pem\": CA certificates in PEM; it has PRIVATE KEY"),
        (none().cert_file("src/config/tests/utc_time.pem").key_file("src/config/tests/utc_time.pem"), "key_file \"src/config/tests/utc_time.pem\": a private key in PEM; it has CERTIFICATE"),
        (none().cert_file("src/config/tests/utc_time.pem").key_file("Cargo.toml"), "key_file \"Cargo.toml\": a private key in PEM; it has no line -----BEGIN ...-----"),
        (none().cert_pem(CERTIFICATE).key_pem(KEY.replace("PRIVATE", "ENCRYPTED PRIVATE")), "key_password: needed: the private key is encrypted"),
        (none().ca_pem("ca.pem"), "ca_pem: CA certificates in PEM; it has no line -----BEGIN ...-----"),
    ] {
        assert_eq!(faults(&secured(security)), [fault]);
    }
    assert_eq!(faults(&secured(none().ca_file("src"))), [""; 0], "a directory of CAs is allowed");
}

#[rustfmt::skip]
#[test]
fn security_that_base_config_contradicts() {
    let with = |security: Security, key: &str, value: &str| secured(security).base_config(key, value);
    for (config, fault) in [
        (with(plain(), "security.protocol", "ssl"), "base_config.security.protocol \"ssl\": one of sasl_ssl, sasl_plaintext, or the SASL options have no effect"),
        (with(Security::none().ca_pem(CERTIFICATE), "security.protocol", "plaintext"), "base_config.security.protocol \"plaintext\": one of ssl, sasl_ssl, or the TLS options have no effect"),
        (with(plain().sasl_without_tls(true), "security.protocol", "sasl_ssl"), "base_config.security.protocol \"sasl_ssl\": one of plaintext, sasl_plaintext, as tls or sasl_without_tls says"),
        (with(Security::none().tls(false), "security.protocol", "ssl"), "base_config.security.protocol \"ssl\": one of plaintext, sasl_plaintext, as tls or sasl_without_tls says"),
        (with(Security::none().tls(true), "security.protocol", "plaintext"), "base_config.security.protocol \"plaintext\": one of ssl, sasl_ssl, or the TLS options have no effect"),
        (with(Security::none().ca_file("src/config/tests/utc_time.pem"), "ssl.ca.pem", CERTIFICATE), "base_config.ssl.ca.pem: not together with ca_file"),
        (with(mutual_files(), "ssl.certificate.pem", CERTIFICATE), "base_config.ssl.certificate.pem: not together with cert_file"),
        (with(mutual_files(), "ssl.key.pem", KEY), "base_config.ssl.key.pem: not together with key_file"),
        (with(mutual_pem(), "ssl.certificate.location", "src/config/tests/utc_time.pem"), "base_config.ssl.certificate.location: not together with cert_pem"),
        (with(mutual_pem(), "ssl.key.location", "src/config/tests/key.pem"), "base_config.ssl.key.location: not together with key_pem"),
        (with(plain(), "sasl.mechanism", "OAUTHBEARER"), "base_config.sasl.mechanism \"OAUTHBEARER\": one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512"),
        (with(plain(), "sasl.oauthbearer.method", "oidc"), "base_config.sasl.oauthbearer.method: not to be set here: the crate asks for tokens itself; use Security::oauth"),
        (base("security.protocol", "sasl_ssl"), "base_config.security.protocol \"sasl_ssl\": needs a SASL mechanism and its credentials"),
        (base("security.protocol", "tls"), "base_config.security.protocol \"tls\": one of plaintext, ssl, sasl_plaintext, sasl_ssl"),
        (base("sasl.username", "alice"), "base_config.sasl.username: no effect: security does not use SASL"),
        (base("ssl.ca.location", "/etc"), "base_config.ssl.ca.location: no effect: security does not use TLS"),
        (with(plain(), "ssl.keystore.location", "/etc/keys"), "base_config.ssl.keystore.location: needs ssl.keystore.password"),
        (with(Security::none().ca_pem(CERTIFICATE), "ssl.ca.location", "/etc"), "base_config.ssl.ca.location: not together with ca_pem"),
        (with(plain(), "sasl.mechanisms", "GSSAPI"), "base_config.sasl.mechanisms \"GSSAPI\": one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512"),
    ] {
        assert_eq!(faults(&config), [fault]);
    }
    let all_in_base = base("security.protocol", "SASL_SSL")
        .base_config("sasl.mechanisms", "PLAIN")
        .base_config("sasl.username", "alice")
        .base_config("sasl.password", "x");
    assert_eq!(faults(&all_in_base), [""; 0]);
}

#[rustfmt::skip]
#[test]
fn properties_refused() {
    for (config, fault) in [
        (base("fetch.min.byte", "1"), "base_config.fetch.min.byte: unknown property; did you mean fetch.min.bytes?"),
        (base("ack", "1"), "base_config.ack: unknown property; did you mean acks?"),
        (base("colour", "red"), "base_config.colour: unknown property"),
        (base("fetch.min.bytes", "10s"), "base_config.fetch.min.bytes \"10s\": a whole number from 1 to 100000000"),
        (base("fetch.min.bytes", "0"), "base_config.fetch.min.bytes \"0\": a whole number from 1 to 100000000"),
        (base("linger.ms", "-1"), "base_config.linger.ms \"-1\": a number from 0 to 900000"),
        (base("check.crcs", "yes"), "base_config.check.crcs \"yes\": true or false"),
        (base("isolation.level", "none"), "base_config.isolation.level \"none\": one of read_uncommitted, read_committed"),
        (base("client.rack", "a\0b"), "base_config.client.rack: text without a zero byte"),
        (base("acks", "2").acks(Acks::Leader), "base_config.acks \"2\": one of all, -1, 1, 0"),
        (base("retries", "2").base_config("message.send.max.retries", 3), "base_config.message.send.max.retries: not together with retries, which means the same"),
        (base("enable.auto.commit", "true"), "base_config.enable.auto.commit: not to be set here: use commit; offsets are committed when events are handled"),
        (base("metadata.broker.list", "a:1"), "base_config.metadata.broker.list: not to be set here: set `brokers`"),
        (base("group.id", "a"), "base_config.group.id: not to be set here: use the subscription's group_id"),
        (base("sasl.kerberos.keytab", "a"), "base_config.sasl.kerberos.keytab: not to be set here: GSSAPI is not in this build; use scram-sha-512, scram-sha-256 or plain"),
    ] {
        assert_eq!(faults(&config), [fault]);
    }
    for key in [
        "enable.auto.offset.store", "group.instance.id", "enable.partition.eof", "auto.offset.reset", "bootstrap.servers",
        "partition.assignment.strategy", "group.protocol", "enable.idempotence", "queue.buffering.max.messages",
        "queue.buffering.max.kbytes", "transactional.id", "delivery.report.only.error", "log_level", "log.queue",
        "statistics.interval.ms", "allow.auto.create.topics", "queuing.strategy",
    ] {
        let faults = faults(&base(key, "1"));
        assert!(faults[0].starts_with(&format!("base_config.{key}: not to be set here: ")), "{faults:?}");
    }
}

#[rustfmt::skip]
#[test]
fn properties_that_contradict() {
    for (config, fault) in [
        (base("acks", "1"), "base_config.acks \"1\": not with idempotence: use acks, which says what it gives up"),
        (base("max.in.flight", "6"), "base_config.max.in.flight \"6\": at most 5 with idempotence"),
        (base("queue.buffering.backpressure.threshold", "2"), "base_config.queue.buffering.backpressure.threshold \"2\": at most 1 with idempotence"),
        (base("heartbeat.interval.ms", "900").assignment(Assignment::Consumer), "base_config.heartbeat.interval.ms \"900\": not with assignment consumer: the broker decides"),
        (base("retries", "0"), "base_config.retries \"0\": at least 1 with idempotence"),
        (base("enable.gapless.guarantee", "true").idempotence(false), "base_config.enable.gapless.guarantee \"true\": needs idempotence"),
        (base("delivery.timeout.ms", "0").linger(ms(0)), "base_config.delivery.timeout.ms \"0\": above 0: every event's time is bounded"),
        (base("delivery.timeout.ms", "5").base_config("linger.ms", 5), "base_config.delivery.timeout.ms \"5\": above linger.ms (5)"),
        (base("linger.ms", "60000"), "base_config.linger.ms \"60000\": below publish_timeout (60s)"),
        (base("session.timeout.ms", "3000").heartbeat_interval(ms(3_000)), "heartbeat_interval \"3s\": shorter than session_timeout (3s), best a third"),
        (base("max.poll.interval.ms", "9000"), "max_poll_interval \"9s\": at least session_timeout (10s)"),
        (base("session.timeout.ms", "9000").assignment(Assignment::Consumer), "base_config.session.timeout.ms \"9000\": not with assignment consumer: the broker decides"),
        (base("group.remote.assignor", "range"), "base_config.group.remote.assignor \"range\": needs assignment consumer"),
        (base("message.max.bytes", "100000000"), "buffer_bytes \"67108864\": from message_max_bytes (100000000) to 549755812864"),
        (base("fetch.max.bytes", "5000"), "base_config.fetch.max.bytes \"5000\": at least message.max.bytes (1000000)"),
        (base("receive.message.max.bytes", "5000"), "base_config.receive.message.max.bytes \"5000\": at least fetch.max.bytes + 512 (52429312)"),
        (base("reconnect.backoff.max.ms", "50"), "base_config.reconnect.backoff.max.ms \"50\": at least reconnect.backoff.ms (100)"),
        (base("reconnect.backoff.ms", "5000"), "base_config.reconnect.backoff.ms \"5000\": at most 2000, or with a larger reconnect.backoff.max.ms"),
    ] {
        assert_eq!(faults(&config), [fault]);
    }
    assert_eq!(faults(&base("acks", "1").idempotence(false)), [""; 0]);
}

/// Each option, a value of the wrong kind, and what the error says is allowed.
#[rustfmt::skip]
const WRONG: &[(&str, &str, &str)] = &[
    ("prefix", "{ a = 1 }", "a text"),
    ("strict_validation", "'yes'", "true or false"),
    ("dial_timeout", "'soon'", TIME),
    ("read_timeout", "-1", TIME),
    ("write_timeout", "true", TIME),
    ("log_mode", "'loud'", "one of off, error, warn, info, debug"),
    ("security", "'tls'", "a table"),
    ("publish_timeout", "nan", TIME),
    ("publish_retries", "-1", NUMBER),
    ("acks", "2", "one of all, leader, none"),
    ("idempotence", "2", "true or false"),
    ("compression", "'zip'", "one of none, gzip, snappy, lz4, zstd"),
    ("linger", "'5 lightyears'", TIME),
    ("batch_bytes", "1.5", NUMBER),
    ("batch_events", "'many'", NUMBER),
    ("partitioner", "'fair'", "one of consistent-random, consistent, murmur2-random, murmur2, fnv1a-random, fnv1a, random"),
    ("buffer_events", "-1", NUMBER),
    ("buffer_bytes", "'64 MiB'", NUMBER),
    ("message_max_bytes", "true", NUMBER),
    ("session_timeout", "'x'", TIME),
    ("heartbeat_interval", "'x'", TIME),
    ("max_poll_interval", "'x'", TIME),
    ("commit", "'often'", "one of interval, each-event, each-event-async, before-processing, or an interval such as \"5s\""),
    ("registration_settle", "'x'", TIME),
    ("assignment", "'sticky'", "one of eager, cooperative-sticky, consumer"),
    ("dead_letter_suffix", "{ a = 1 }", "a text"),
    ("fetch_queue_backoff", "'x'", TIME),
    ("fetch_queue_bytes", "'x'", NUMBER),
    ("fetch_queue_events", "'x'", NUMBER),
    ("fetch_wait", "'x'", TIME),
    ("client_id", "{ a = 1 }", "a text"),
    ("allow_auto_create_topics", "'x'", "true or false"),
    ("statistics_interval", "'x'", TIME),
];

#[rustfmt::skip]
const WRONG_SECURITY: &[(&str, &str, &str)] = &[
    ("authentication_type", "{ a = 1 }", "a text"),
    ("sasl_mechanism", "'gssapi'", "one of scram-sha-512, scram-sha-256, plain, oauthbearer"),
    ("sasl_username", "{ a = 1 }", "a text"),
    ("sasl_password", "{ a = 1 }", "a text"),
    ("sasl_without_tls", "'x'", "true or false"),
    ("tls", "'x'", "true or false"),
    ("ca_file", "1", "a path"),
    ("ca_pem", "{ a = 1 }", "a text"),
    ("cert_file", "1", "a path"),
    ("cert_pem", "{ a = 1 }", "a text"),
    ("key_file", "1", "a path"),
    ("key_pem", "{ a = 1 }", "a text"),
    ("key_password", "{ a = 1 }", "a text"),
    ("oauth_token_endpoint", "{ a = 1 }", "a text"),
    ("oauth_client_id", "{ a = 1 }", "a text"),
    ("oauth_client_secret", "{ a = 1 }", "a text"),
    ("oauth_scope", "{ a = 1 }", "a text"),
    ("oauth_parameters", "['a=b', 'c']", "name=value, several joined by commas, or a list of them"),
    ("oauth_credentials_in_body", "'x'", "true or false"),
    ("oauth_ca_file", "1", "a path"),
    ("aws_msk_region", "{ a = 1 }", "a text"),
];

const TIME: &str = "a time such as \"10s\", \"500ms\" or \"1m30s\", or a number of seconds";
const NUMBER: &str = "a whole number, not negative";

#[test]
fn every_option_refuses_what_is_not_of_its_kind() {
    let names = |rows: &[(&'static str, &str, &str)]| -> Vec<_> {
        rows.iter().map(|(name, ..)| *name).collect()
    };
    assert_eq!(names(WRONG), BrokerConfig::NAMES, "each option has its row");
    assert_eq!(names(WRONG_SECURITY), Security::NAMES);
    let tables = [("", WRONG), ("[security]\n", WRONG_SECURITY)];
    for (table, rows) in tables {
        for (name, value, allowed) in rows {
            let error = BrokerConfig::from_toml(&format!("{table}{name} = {value}")).unwrap_err();
            let [fault] = error.faults() else {
                panic!("{name}: {error}");
            };
            assert_eq!(
                (fault.field.as_str(), fault.allowed.as_str()),
                (*name, *allowed)
            );
        }
    }
}

#[test]
fn every_fault_is_told_at_once() {
    let error = new()
        .dial_timeout(ms(0))
        .batch_events(0)
        .security(Security::none().key_pem(KEY))
        .base_config("colour", "red")
        .validate()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let fields: Vec<_> = error
        .faults()
        .iter()
        .map(|fault| fault.field.as_str())
        .collect();
    assert_eq!(
        fields,
        [
            "dial_timeout",
            "batch_events",
            "key_pem",
            "base_config.colour"
        ]
    );
}

#[test]
fn brokers_are_addresses() {
    let faults = |brokers: &[&str]| {
        let brokers: Vec<_> = brokers.iter().map(|broker| (*broker).to_owned()).collect();
        broker_faults(&brokers).len()
    };
    assert_eq!(faults(&[]), 1);
    assert_eq!(
        faults(&[
            "a:1",
            "kafka.example.com:9092",
            "10.0.0.1:65535",
            "[::1]:9092"
        ]),
        0
    );
    for broker in [
        "",
        "a",
        "a:",
        ":1",
        "a:0",
        "a:65536",
        "a:1,b:2",
        "ssl://a:1",
        "::1:9092",
        "a b:1",
        "[::1:9092",
    ] {
        assert_eq!(faults(&[broker]), 1, "{broker}");
    }
}
