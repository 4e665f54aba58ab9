//! Publish and consume event envelopes over Apache Kafka.

mod config;
mod error;

pub use config::{
    Acks, Assignment, BrokerConfig, Compression, LogMode, Partitioner, SaslMechanism, Secret,
    Security,
};
pub use error::{Error, ErrorKind, Fault};
