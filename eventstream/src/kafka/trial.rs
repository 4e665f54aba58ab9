//! Checks keys and certificates before any broker is contacted: librdkafka reads them once more than needed, so that
//! whatever OpenSSL finds wrong is reported, by name, when the client is created. Also finds out why a broker's
//! certificate is not accepted, for clients that are not told.

use std::fmt;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka_sys as sys;
use rdkafka_sys::rd_kafka_type_t as Type;

use super::error::from_kafka;
use super::{native, verify};
use crate::config::{BrokerConfig, Given, Part};
use crate::error::{Error, ErrorKind, Fault, Result};

struct Silent;

impl ClientContext for Silent {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, _: KafkaError, _: &str) {}
}

/// Creates a client that contacts no broker, and destroys it.
pub(super) fn read_certificates(config: &BrokerConfig, properties: &ClientConfig) -> Result<()> {
    if !config.has_own_tls() {
        return Ok(());
    }
    let mut properties = properties.clone();
    properties.remove("bootstrap.servers");
    let made = properties.create_native_config().and_then(|native| {
        Client::new(&properties, native, Type::RD_KAFKA_CONSUMER, Silent).map(drop)
    });
    made.map_err(|error| match fault(config, &error.to_string()) {
        Some(fault) => {
            let doing = "create a client";
            Error::from_faults(ErrorKind::Config, doing, vec![fault]).with_source(error)
        }
        None => from_kafka("create a client", error),
    })
}

/// The fault described by an error of librdkafka or OpenSSL.
fn fault(config: &BrokerConfig, text: &str) -> Option<Fault> {
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let at = |part| config.given(part);
    let named = |given: &Given| match &*given.path {
        "" => given.field.clone(),
        path => format!("{} {path:?}", given.field),
    };
    if has(&[
        "key values mismatch",
        "key type mismatch",
        "Private key check failed",
    ]) {
        let (key, certificate) = (at(Part::Key)?, at(Part::Certificate)?);
        let allowed = format!(
            "must be the key of the certificate in {}, not of another one",
            named(&certificate)
        );
        return Some(Fault::new(key.field, key.path, allowed));
    }
    if has(&["ssl.key", "ssl_key"]) {
        let key = at(Part::Key)?;
        // librdkafka reports that it failed, but not why.
        if config.has_encrypted_key() {
            let allowed = format!(
                "must be the passphrase of the key in {}; OpenSSL cannot decrypt the key with it",
                named(&key)
            );
            return Some(Fault::new("key_password", "", allowed));
        }
        return Some(damaged(key, Part::Key));
    }
    let part = if has(&["ssl.certificate", "ssl_cert"]) {
        Part::Certificate
    } else if has(&["ssl.ca", "ssl_ca"]) {
        Part::Ca
    } else {
        return None;
    };
    Some(damaged(at(part)?, part))
}

fn damaged(given: Given, part: Part) -> Fault {
    let allowed = format!(
        "must be {}; OpenSSL cannot read it: it is damaged",
        part.wanted()
    );
    Fault::new(given.field, given.path, allowed)
}

/// The time limit of a handshake, and how often its log is read.
const HANDSHAKE: Duration = Duration::from_millis(1500);
const ROUND: Duration = Duration::from_millis(100);

/// Asks a broker for its certificate once more. `rdkafka` creates consumers without the callback that says why a
/// certificate is not accepted (see `verify`), and a client that publishes nothing has no producer.
pub(super) struct Handshake {
    properties: ClientConfig,
    next: Mutex<Option<Instant>>,
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The properties may hold a key.
        f.debug_struct("Handshake").finish_non_exhaustive()
    }
}

/// Keeps librdkafka's line about a certificate.
#[derive(Default)]
struct Line(Mutex<Option<String>>);

impl ClientContext for Line {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        if facility == "SSLCERTVRFY" {
            *self.0.lock() = Some(message.to_owned());
        }
    }

    fn error(&self, _: KafkaError, _: &str) {}
}

impl Handshake {
    pub(super) fn new(properties: &ClientConfig) -> Self {
        Self {
            properties: properties.clone(),
            next: Mutex::default(),
        }
    }

    /// librdkafka's log line about the certificate of the broker at this address, at most once per `pause`.
    pub(super) fn line(&self, address: &str, pause: Duration) -> Option<String> {
        let start = Instant::now();
        if self
            .next
            .lock()
            .replace(start + pause)
            .is_some_and(|at| start < at)
        {
            return None;
        }
        let mut properties = self.properties.clone();
        properties.set("bootstrap.servers", address);
        // Certificates come before the login, and this client has no token to log in with.
        if properties.get("security.protocol") == Some("sasl_ssl") {
            properties.set("security.protocol", "ssl");
        }
        let native = properties.create_native_config().ok()?;
        verify::explain(&properties, &native);
        let kind = Type::RD_KAFKA_CONSUMER;
        let client = Client::new(&properties, native, kind, Line::default()).ok()?;
        loop {
            // The request makes librdkafka connect; the answer is in the log.
            let _ = client.fetch_metadata(None, ROUND);
            serve_log(&client);
            let line = client.context().0.lock().take();
            if line.is_some() || start.elapsed() >= HANDSHAKE {
                return line;
            }
        }
    }
}

fn serve_log(client: &Client<Line>) {
    // SAFETY: the client is alive; the queue and each event are owned by this scope and destroyed once.
    unsafe {
        let queue = sys::rd_kafka_queue_get_main(client.native_ptr());
        loop {
            let event = sys::rd_kafka_queue_poll(queue, 0);
            if event.is_null() {
                break;
            }
            if sys::rd_kafka_event_type(event) == sys::RD_KAFKA_EVENT_LOG {
                native::log(event, client.context());
            }
            sys::rd_kafka_event_destroy(event);
        }
        sys::rd_kafka_queue_destroy(queue);
    }
}
