//! One Kafka for a whole test binary.

use std::env;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::OnceLock;

use anyhow::Result;

use crate::admin::Admin;
use crate::kafka::Kafka;

/// Names a cluster that is already running, for [`shared`] to use instead of starting one.
pub const BROKERS_VARIABLE: &str = "EVENTSTREAM_TEST_BROKERS";

/// The Kafka that all tests of a binary share.
#[derive(Debug)]
pub struct Shared {
    bootstrap: String,
    admin: Admin,
    kafka: Option<Kafka>,
}

impl Shared {
    /// The brokers, as `host:port,host:port`.
    #[must_use]
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Administration of it.
    #[must_use]
    pub fn admin(&self) -> &Admin {
        &self.admin
    }

    /// The cluster itself, unless [`BROKERS_VARIABLE`] names one that is not ours to kill or pause.
    #[must_use]
    pub fn kafka(&self) -> Option<&Kafka> {
        self.kafka.as_ref()
    }

    fn start() -> Result<Self> {
        let named = env::var(BROKERS_VARIABLE)
            .ok()
            .filter(|brokers| !brokers.is_empty());
        let (bootstrap, kafka) = match named {
            Some(brokers) => (brokers, None),
            None => {
                let kafka = Kafka::builder().start()?;
                (kafka.bootstrap(), Some(kafka))
            }
        };
        let admin = Admin::new(&bootstrap)?;
        Ok(Self {
            bootstrap,
            admin,
            kafka,
        })
    }
}

/// One node of Kafka, started at the first call and killed when the process ends.
///
/// # Panics
/// It cannot start; without the jars the message is to run `cargo xtask setup`. Every test of the binary then fails
/// with the same message, and none is skipped.
#[must_use]
pub fn shared() -> &'static Shared {
    // The error is kept as text, so that a slow failing start is not repeated by each test.
    static SHARED: OnceLock<Result<Shared, String>> = OnceLock::new();
    match SHARED.get_or_init(|| Shared::start().map_err(|error| format!("{error:#}"))) {
        Ok(shared) => shared,
        Err(error) => panic!("no Kafka for this test: {error}"),
    }
}

/// A topic name that no other test and no other run uses, and that says which test it belongs to.
///
/// Every character outside `A-Za-z0-9` becomes a single `-`, so the name is one that the SDK accepts.
#[must_use]
pub fn unique_topic(test: &str) -> String {
    let words: Vec<_> = test
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    // `RandomState` is the standard library's only source of randomness; each one has a new seed.
    let random = RandomState::new().hash_one(std::process::id());
    format!("{}-{:08x}", words.join("-"), random >> 32)
}

#[cfg(test)]
mod tests {
    use super::unique_topic;

    #[test]
    fn names_carry_the_test_and_differ() {
        let name = unique_topic("module::it_works__twice");
        assert!(name.starts_with("module-it-works-twice-"), "{name}");
        assert_ne!(name, unique_topic("module::it_works__twice"));
    }
}
