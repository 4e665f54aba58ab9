//! A secured Kafka, and the ways to connect to it.

#![allow(dead_code, reason = "each test binary uses its own part")]

#[path = "record.rs"]
pub(crate) mod record;

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use eventstream::{
    BrokerConfig, Client, ClientBuilder, Context, Event, Publish, SaslMechanism, Security,
    StartOffset, Subscribe,
};
use eventstream_harness::{Certificates, Identity, Kafka, Secured};

pub(crate) const END: Duration = Duration::from_secs(30);

/// One node with every listener, for the whole binary.
pub(crate) fn kafka() -> &'static Kafka {
    static KAFKA: OnceLock<Kafka> = OnceLock::new();
    KAFKA.get_or_init(|| Kafka::builder().secured().start().expect("Kafka"))
}

/// The same, whose certificate has expired.
pub(crate) fn expired() -> &'static Kafka {
    static KAFKA: OnceLock<Kafka> = OnceLock::new();
    let start = || {
        Kafka::builder()
            .secured_by_an_expired_certificate()
            .start()
            .expect("Kafka")
    };
    KAFKA.get_or_init(start)
}

pub(crate) fn secured(kafka: &Kafka) -> &Secured {
    kafka.secured().expect("it is secured")
}

/// The SCRAM user, with SHA-512 over TLS, without a CA.
pub(crate) fn scram(secured: &Secured) -> Security {
    let user = &secured.scram;
    Security::sasl(SaslMechanism::ScramSha512, &user.name, &*user.password)
}

pub(crate) fn plain(secured: &Secured) -> Security {
    let user = &secured.plain;
    Security::sasl(SaslMechanism::Plain, &user.name, &*user.password)
}

pub(crate) fn mutual(certificates: &Certificates, identity: &Identity) -> Security {
    Security::none()
        .ca_file(&certificates.ca)
        .cert_file(&identity.certificate)
        .key_file(&identity.key)
}

pub(crate) fn pem(path: &std::path::Path) -> String {
    std::fs::read_to_string(path).expect("a PEM file")
}

pub(crate) fn builder(brokers: &str, security: Security) -> ClientBuilder {
    Client::kafka(brokers.split(',')).config(BrokerConfig::new().security(security))
}

pub(crate) fn event(topic: &str, n: usize) -> Publish {
    Publish::new(topic, "tested").payload(serde_json::json!({ "n": n }))
}

/// A subscription to the topic from its head, which passes each id to `seen`.
pub(crate) fn ids(topic: &str, seen: impl Fn(String) + Clone + Send + Sync + 'static) -> Subscribe {
    Subscribe::new(topic)
        .group_id(topic)
        .offset(StartOffset::Head)
        .on("tested", move |_: Context, event: Event| {
            seen(event.id().to_owned());
            async { Ok::<_, std::io::Error>(()) }
        })
}

pub(crate) async fn until(what: &str, within: Duration, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + within;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
