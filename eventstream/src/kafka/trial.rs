//! Keys and certificates before any broker is asked: librdkafka reads them once more often than needed, so that what
//! OpenSSL finds wrong is known when the client is made, and named.

use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka_sys::rd_kafka_type_t as Type;

use super::error::from_kafka;
use crate::config::{BrokerConfig, Given, Part};
use crate::error::{Error, ErrorKind, Fault, Result};

struct Silent;

impl ClientContext for Silent {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, _: KafkaError, _: &str) {}
}

/// Makes a client that asks nobody, and ends it.
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
            let doing = "make a client";
            Error::from_faults(ErrorKind::Config, doing, vec![fault]).with_source(error)
        }
        None => from_kafka("make a client", error),
    })
}

/// The fault that librdkafka's and OpenSSL's words are about.
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
            "must be the key of the certificate in {}; it is of another",
            named(&certificate)
        );
        return Some(Fault::new(key.field, key.path, allowed));
    }
    if has(&["ssl.key", "ssl_key"]) {
        let key = at(Part::Key)?;
        // librdkafka passes on that it failed, not why.
        if config.has_encrypted_key() {
            let allowed = format!(
                "must be the passphrase of the key in {}; OpenSSL cannot decrypt that with it",
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
