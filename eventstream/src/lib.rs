//! Publish and consume event envelopes over Apache Kafka.

mod audit;
pub mod blocking;
mod client;
mod config;
#[allow(dead_code, unused_imports)]
mod delivery;
mod error;
mod event;
mod handler;
mod kafka;
mod local;
mod metadata;
mod name;
mod publish;
mod receipt;
mod stats;
mod stream;
mod subscribe;
mod subscription;
mod undelivered;

pub use audit::{Actor, AuditLog};
pub use client::{Client, ClientBuilder};
pub use config::{
    Acks, Assignment, BrokerConfig, Compression, LogMode, Partitioner, SaslMechanism, Secret,
    Security,
};
pub use delivery::{Backoff, Exhausted, OnUndecodable, OnUnmatched, Ordering, Retry};
pub use error::{Error, ErrorKind, Fault};
pub use event::{Event, Payload, SpanContext};
pub use handler::{Context, RawRecord, Rejected};
pub use kafka::EmbeddedBroker;
pub use metadata::{BrokerMetadata, Metadata, PartitionMetadata, TopicMetadata};
pub use name::{EventName, GroupId, Topic};
pub use publish::Publish;
pub use receipt::{Delivery, Receipt};
pub use stats::{ReaderStats, WriterStats};
pub use stream::Stream;
pub use subscribe::{DeadLetterLimit, StartOffset, Subscribe};
pub use subscription::{Health, Subscription};
pub use undelivered::Undelivered;
