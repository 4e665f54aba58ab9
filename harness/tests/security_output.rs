//! The output of a secured client: no secret, and librdkafka's log only as each client requests it.
//! Alone in its binary, which has one recorder for everything the process writes.

#[path = "secured/support.rs"]
mod support;

use std::time::Duration;

use eventstream::{BrokerConfig, Client, ClientBuilder, LogMode, SaslMechanism, Security};
use eventstream_harness::unique_topic;
use support::record::{self, Line, lines};
use support::{END, event, ids, kafka, pem, plain, scram, secured, until};
use tracing::Level;

/// A builder with librdkafka's full debug log.
fn noisy(brokers: &str, security: Security) -> ClientBuilder {
    let config = BrokerConfig::new()
        .security(security)
        .log_mode(LogMode::Debug)
        .base_config("debug", "security,broker,protocol");
    Client::kafka(brokers.split(',')).config(config)
}

/// Creates a client, publishes, consumes and asks for metadata; returns every result and error as
/// text.
async fn say(builder: ClientBuilder, topic: &str) -> String {
    let mut said = format!("{builder:?} {builder:#?}");
    let client = match builder.build() {
        Ok(client) => client,
        Err(error) => return format!("{said} {error} {error:?} {error:#?}"),
    };
    let subscription = client
        .register(ids(topic, |_| {}))
        .await
        .expect("registered");
    let published = client.publish_sync(event(topic, 1)).await;
    let asked = client.metadata(None, Duration::from_secs(10)).await;
    said += &format!("{published:?} {asked:?} {:?}", subscription.health());
    for error in [published.err(), asked.err()].into_iter().flatten() {
        said += &format!("{error} {error:#?}");
    }
    said += &format!("{client:?} {subscription:?} {:?}", client.health());
    let undelivered = client.shutdown(Duration::from_secs(5)).await;
    said + &format!("{undelivered:?}")
}

/// The Base64 that the PLAIN mechanism sends, which conceals nothing.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks_exact(3) {
        let bits = u32::from_be_bytes([0, chunk[0], chunk[1], chunk[2]]);
        for shift in [18, 12, 6, 0] {
            out.push(char::from(LETTERS[(bits >> shift & 63) as usize]));
        }
    }
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_written() {
    const WRONG: &str = "wrong-open-sesame";
    record::start();
    let to = secured(kafka());
    let certificates = &to.certificates;
    let ca = pem(&certificates.ca);
    let key = pem(&certificates.client.key);
    let key_line = key.lines().nth(1).expect("a key").to_owned();
    let other_key = pem(&certificates.unknown_client.key);
    let other_line = other_key.lines().nth(1).expect("a key").to_owned();
    let broken = format!("-----BEGIN PRIVATE KEY-----\n{WRONG}\n-----END PRIVATE KEY-----\n");
    let certificate = pem(&certificates.client.certificate);
    let mutual = || Security::none().ca_pem(&*ca).cert_pem(&*certificate);
    let wrong = |mechanism, name: &str| Security::sasl(mechanism, name, WRONG).ca_pem(&*ca);
    let in_base = BrokerConfig::new()
        .log_mode(LogMode::Debug)
        .base_config("debug", "security,broker,protocol")
        .base_config("security.protocol", "sasl_ssl")
        .base_config("ssl.ca.pem", &ca)
        .base_config("sasl.mechanism", "PLAIN")
        .base_config("sasl.username", &to.plain.name)
        .base_config("sasl.password", &to.plain.password);
    let cases = [
        noisy(&to.sasl_ssl, scram(to).ca_pem(&*ca)),
        noisy(&to.sasl_ssl, plain(to).ca_pem(&*ca)),
        noisy(&to.sasl_plaintext, plain(to).sasl_without_tls(true)),
        noisy(
            &to.sasl_ssl,
            wrong(SaslMechanism::ScramSha256, &to.scram.name),
        ),
        noisy(&to.sasl_ssl, wrong(SaslMechanism::Plain, &to.plain.name)),
        noisy(&to.ssl, mutual().key_pem(&*key).key_password(WRONG)),
        // Not the certificate's key, but no key at all.
        noisy(&to.ssl, mutual().key_pem(&*other_key)),
        noisy(&to.ssl, mutual().key_pem(&*broken)),
        noisy(&to.ssl, Security::none().key_pem(&*key)),
        noisy(&to.sasl_ssl, Security::none()).config(in_base),
    ];
    let topic = unique_topic("no_secret");
    let mut said = Vec::new();
    for case in cases {
        let begin = std::time::Instant::now();
        said.push(say(case, &topic).await);
        println!("case {} in {:?}", said.len(), begin.elapsed());
    }
    let written: Vec<Line> = lines();
    assert!(
        written
            .iter()
            .any(|line| line.level == Level::DEBUG && line.text.contains("AUTH_REQ")),
        "librdkafka's debug log is there"
    );
    assert!(said[0].contains("offset"), "published: {}", said[0]);
    assert!(
        said[3].contains("does not accept the user name"),
        "{}",
        said[3]
    );
    let all = said
        .iter()
        .map(String::as_str)
        .chain(written.iter().map(|line| line.text.as_str()));
    let token = base64(format!("\0{}\0{}", to.plain.name, to.plain.password).as_bytes());
    let secrets = [
        WRONG,
        &to.scram.password,
        &to.plain.password,
        &key_line,
        &other_line,
        &token,
    ];
    for text in all {
        for secret in secrets {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
    println!("{} lines searched", written.len());
}

/// librdkafka's log lines of the client.
fn of(client: &str) -> Vec<Line> {
    let own = |line: &Line| line.client.as_deref() == Some(client);
    let mut lines = lines();
    lines.retain(|line| own(line) && line.facility.is_some());
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn each_client_logs_in_its_own_mode() {
    record::start();
    // One port that closes connections, which is logged at info, and one with no listener: an
    // error.
    let brokers = [secured(kafka()).ssl.clone(), "127.0.0.1:1".to_owned()];
    let make = |name: &str, config: BrokerConfig| {
        Client::kafka(brokers.clone())
            .config(config.base_config("debug", "broker"))
            .name(name)
            .build()
            .expect("a client")
    };
    let mode = |mode| BrokerConfig::new().log_mode(mode);
    let clients = [
        make("by default", BrokerConfig::new()),
        make("off", mode(LogMode::Off)),
        make("error", mode(LogMode::Error)),
        make("warn", mode(LogMode::Warn)),
        make("info", mode(LogMode::Info)),
        make("debug", mode(LogMode::Debug)),
    ];
    let mut subscriptions = Vec::new();
    for client in &clients {
        let subscribe = ids("nowhere", |_| {});
        subscriptions.push(client.register(subscribe).await.expect("registered"));
    }
    let logs = |client: &str, level: Level| of(client).iter().any(|line| line.level == level);
    let from_consumer = |client: &str| {
        let mut lines = of(client).into_iter();
        lines.any(|line| line.text.contains("GroupCoordinator"))
    };
    until("an error at each that asks for errors", END, || {
        let asking = ["error", "warn", "info", "debug"];
        asking.iter().all(|client| logs(client, Level::ERROR))
    })
    .await;
    until("information", END, || {
        logs("info", Level::INFO) && logs("debug", Level::INFO)
    })
    .await;
    until("everything", END, || logs("debug", Level::DEBUG)).await;
    until("the consumer", END, || from_consumer("debug")).await;
    for client in &clients {
        client.shutdown(Duration::ZERO).await;
    }
    drop(subscriptions);
    // `tracing` orders ERROR below DEBUG: the more a mode passes on, the greater its level.
    for (client, most) in [
        ("error", Level::ERROR),
        ("warn", Level::WARN),
        ("info", Level::INFO),
        ("debug", Level::DEBUG),
    ] {
        for line in of(client) {
            assert!(line.level <= most, "{client}: {line:?}");
        }
    }
    for silent in ["by default", "off"] {
        assert!(of(silent).is_empty(), "{silent}: {:?}", of(silent));
    }
    let strangers = lines().into_iter().filter(|line| line.client.is_none());
    for line in strangers {
        assert!(line.facility.is_none(), "whose is {line:?}?");
    }
}
