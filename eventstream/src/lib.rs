//! Publish and consume event envelopes over Apache Kafka: nothing lost without a word, order kept
//! within a key, everything bounded, next to no cost over librdkafka.
//!
//! The wire format is that of `AccelByte`'s Go SDK (`eventstream-go-sdk` v3 and v4), so services in
//! both languages share topics, partitions and consumer groups.
//!
//! ```
//! use eventstream::{BrokerConfig, Client, Context, Event, Publish, StartOffset, Stream, Subscribe};
//! use std::time::Duration;
//!
//! #[derive(serde::Serialize)]
//! struct LoggedIn { platform: &'static str }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), eventstream::Error> {
//! // A broker inside the process; `Stream::Kafka` and a list of brokers is all that differs.
//! let client = Client::new("dev", Stream::Embedded, [""; 0], BrokerConfig::new())?;
//!
//! let event = Publish::new("userAuthentication", "userLoggedIn")
//!     .payload(&LoggedIn { platform: "steam" });
//! let receipt = client.publish(event).await?; // accepted into the bounded buffer
//! let delivery = receipt.await?;              // stored by the broker
//! assert_eq!(delivery.offset(), 0);
//!
//! let (seen, mut events) = tokio::sync::mpsc::unbounded_channel();
//! let handler = move |_: Context, event: Event| {
//!     let seen = seen.clone();
//!     async move { seen.send(event) }
//! };
//! let subscription = client
//!     .register(
//!         Subscribe::new("userAuthentication")
//!             .group_id("inventory")
//!             .offset(StartOffset::Head)
//!             .on("userLoggedIn", handler),
//!     )
//!     .await?;
//! let event = events.recv().await.expect("one event");
//! assert_eq!(event.payload().get("platform").map(|p| p.to_string()), Some("\"steam\"".into()));
//!
//! let undelivered = client.shutdown(Duration::from_secs(10)).await;
//! assert!(undelivered.is_empty());
//! # drop(subscription);
//! # Ok(()) }
//! ```
//!
//! | to | see |
//! |---|---|
//! | publish | [`Publish`], [`Client::publish`], [`Receipt`], [`Undelivered`], [`AuditLog`] |
//! | handle | [`Subscribe`], [`Client::register`], [`Context`], [`Event`], [`Ordering`], [`Retry`], [`FailedAttempt`], [`DeadLetter`], [`DeadLetterOrigin`] |
//! | configure | [`BrokerConfig`], [`Security`], [`ClientBuilder`] |
//! | watch | [`Health`], [`WriterStats`], [`ReaderStats`], [`Metadata`] |
//! | test | [`EmbeddedBroker`], [`Stream`] |
//!
//! | feature | what; none is on by default |
//! |---|---|
//! | `metrics` | Prometheus metrics: `Metrics`, `ClientBuilder::metrics` |
//! | `opentelemetry` | the trace of `tracing` spans travels with events: `traceparent`, `spanContext` |

mod audit;
pub mod blocking;
mod cadence;
mod client;
mod config;
mod dead_letter;
mod deadline;
mod delivery;
mod error;
mod event;
mod guard;
mod handler;
mod kafka;
mod local;
mod metadata;
mod metrics;
mod name;
mod origin;
mod publish;
mod receipt;
mod retrying;
mod stats;
mod stream;
mod subscribe;
mod subscription;
mod trace;
mod undelivered;
mod untold;

pub use audit::{Actor, AuditLog};
pub use client::{Client, ClientBuilder};
pub use config::{
    Acks, Assignment, BrokerConfig, Compression, LogMode, Partitioner, SaslMechanism, Secret,
    Security,
};
pub use dead_letter::DeadLetter;
pub use delivery::{Backoff, Exhausted, OnUndecodable, OnUnmatched, Ordering, Retry};
pub use error::{Error, ErrorKind, Fault};
pub use event::{Event, Payload, SpanContext};
pub use handler::{Context, RawRecord, Rejected};
pub use kafka::EmbeddedBroker;
pub use metadata::{
    BrokerMetadata, GroupMetadata, Metadata, MetadataQuery, PartitionMetadata, TopicMetadata,
};
#[cfg(feature = "metrics")]
pub use metrics::Metrics;
pub use name::{EventName, GroupId, Topic};
pub use origin::DeadLetterOrigin;
pub use publish::Publish;
pub use receipt::{Delivery, Receipt};
pub use retrying::FailedAttempt;
pub use stats::{ReaderStats, WriterStats};
pub use stream::Stream;
pub use subscribe::{DeadLetterLimit, StartOffset, Subscribe};
pub use subscription::{Health, Subscription};
pub use undelivered::Undelivered;
