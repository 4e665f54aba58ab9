//! Publish and consume event envelopes over Apache Kafka.

mod error;

pub use error::{Error, ErrorKind, Fault};
