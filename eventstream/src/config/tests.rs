//! The configuration's tests: each option reaches librdkafka or is implemented by the crate itself,
//! every fault has its text, the three sources agree, and no secret is printed.

mod commit;
mod faults;
mod librdkafka;
mod options;
mod reference;
mod secrets;
mod sources;

use super::BrokerConfig;
use super::settings::Settings;

/// The value of a property for one kind of client.
fn property<'a>(client: &'a [(String, String)], name: &str) -> Option<&'a str> {
    client
        .iter()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.as_str())
}

fn settings(config: &BrokerConfig) -> Settings {
    config.settings(&["127.0.0.1:9092".to_owned(), "127.0.0.1:9093".to_owned()])
}

/// The text of each fault.
fn faults(config: &BrokerConfig) -> Vec<String> {
    config.faults().iter().map(ToString::to_string).collect()
}

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n";
