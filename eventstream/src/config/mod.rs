//! The configuration of a client, and librdkafka's properties derived from it.
//!
//! `broker` and `security` define the options once: method, default and key. `env` and `file` read
//! them, `validate` finds every fault, `settings` turns them into librdkafka's properties with the
//! help of `properties`, the table of what librdkafka knows. Nothing here calls librdkafka.

mod addresses;
mod base;
mod broker;
mod certificate;
mod choice;
mod commit;
mod env;
mod file;
mod near;
mod options;
mod parameters;
mod pem;
mod principal;
mod properties;
mod secret;
mod security;
mod settings;
mod validate;
mod value;

#[cfg(test)]
mod tests;

pub(crate) use addresses::{broker_faults, shown as shown_broker};
pub use broker::BrokerConfig;
pub use choice::{Acks, Assignment, Compression, LogMode, Partitioner, SaslMechanism};
pub use commit::CommitPolicy;
pub use parameters::Parameters;
pub(crate) use pem::{Given, Part};
pub(crate) use principal::Principal;
pub use secret::Secret;
pub use security::Security;
