//! Publish and consume event envelopes over Apache Kafka: no silent loss, order within a key, bounded
//! memory and time, and little overhead over librdkafka.
//!
//! The wire format is that of `AccelByte`'s Go SDK (`eventstream-go-sdk` v3 and v4), so services in
//! both languages share topics, partitions and consumer groups.
//!
//! ```
//! use std::time::Duration;
//!
//! use eventstream::{Client, Payload, Publish, StartOffset, State, Subscribe};
//! use tokio::sync::mpsc;
//!
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct LoggedIn {
//!     platform: String,
//! }
//!
//! async fn logged_in(Payload(login): Payload<LoggedIn>, State(seen): State<mpsc::Sender<String>>) {
//!     seen.send(login.platform).await.ok();
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), eventstream::Error> {
//! // A broker inside the process; `Client::kafka(["localhost:9092"])` is all that differs.
//! let client = Client::embedded().prefix("dev").build()?;
//!
//! let event = Publish::new("userAuthentication", "userLoggedIn")
//!     .payload(LoggedIn { platform: "steam".to_owned() });
//! let receipt = client.publish(event).await?; // accepted into the bounded buffer
//! let delivery = receipt.await?;              // stored by the broker
//! assert_eq!(delivery.offset(), 0);
//!
//! let (seen, mut platforms) = mpsc::channel(1);
//! let subscribe = Subscribe::new("userAuthentication")
//!     .group_id("inventory")
//!     .offset(StartOffset::Head)
//!     .state(seen)
//!     .on("userLoggedIn", logged_in);
//! let subscription = client.register(subscribe).await?;
//! assert_eq!(platforms.recv().await.as_deref(), Some("steam"));
//!
//! let undelivered = client.shutdown(Duration::from_secs(10)).await;
//! assert!(undelivered.is_empty());
//! # drop(subscription);
//! # Ok(()) }
//! ```
//!
//! | to | see |
//! |---|---|
//! | publish | [`Publish`], [`Client::publish`], [`PublishRaw`], [`Publisher`], [`Receipt`], [`Undelivered`], [`SealedEvent`], [`AuditLog`] |
//! | handle | [`Subscribe`], [`Handler`], [`Client::register`], [`Payload`], [`State`], [`Context`], [`Event`] |
//! | handle several at once | [`Subscribe::on_batch`], [`Batch`], [`BatchHandler`], [`BatchResult`] |
//! | pull | [`Client::consume`], [`Events`], [`PulledEvent`] |
//! | define typed events | [`EventType`] |
//! | handle failures | [`Retry`], [`Reject`], [`FailedAttempt`], [`DeadLetter`], [`DeadLetterReason`],
//! [`DeadLetterOrigin`] |
//! | inspect and replay dead letters | [`Client::dead_letters`], [`dead_letters`] |
//! | configure | [`Client::kafka`], [`BrokerConfig`], [`Security`], [`TokenProvider`], [`Concurrency`], [`CommitPolicy`] |
//! | monitor | [`Health`], [`Problem`], [`WriterStats`], [`ReaderStats`], [`Metadata`] |
//! | inspect and move groups | [`Client::groups`], [`ConsumerGroup`], [`Seek`] |
//! | check a deployment | [`Doctor`], [`Report`], [`Finding`], [`CheckStatus`] |
//! | test | `testing::Consumed`, `testing::Recorder`, `testing::TestBroker`, [`EmbeddedBroker`] |
//! | work without async | [`blocking`] |
//!
//! | feature | what it adds |
//! |---|---|
//! | `tls-vendored` | on by default: TLS, SCRAM and tokens, with OpenSSL built in |
//! | `tls` | the same with the system's OpenSSL 3, which builds faster |
//! | `gzip`, `zstd` | on by default: these codecs, to publish with and to read; Snappy and LZ4 need no feature |
//! | `derive` | `#[derive(EventType)]` |
//! | `testing` | the test kit: handlers without a broker, a recording publisher, a broker for each test |
//! | `tower` | handlers inside tower's layers: `Subscribe::layer`, `Handler::layer` |
//! | `metrics` | Prometheus metrics: `Metrics`, `ClientBuilder::metrics` |
//! | `aws-msk-iam` | tokens for Amazon MSK with IAM: `AwsMskIam`, and [`Security::aws_msk_region`] |
//! | `oidc` | tokens by OIDC client credentials for SASL/OAUTHBEARER: `Oidc`, and the options `oauth_*` of [`Security`] |
//! | `opentelemetry` | traces propagate with events: `traceparent`, `spanContext`; `ClientBuilder::tracer` |

mod backend;
pub mod blocking;
mod client;
mod config;
pub mod dead_letters;
mod deadline;
mod delivery;
mod doctor;
mod error;
mod event;
mod groups;
mod guard;
mod kafka;
mod local;
mod metadata;
mod name;
mod oauth;
mod observe;
mod publish;
mod record;
mod subscribe;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(feature = "tls")]
mod trust;
mod witness;

pub use backend::Backend;
pub use client::{Client, ClientBuilder};
pub use config::{
    Acks, Assignment, BrokerConfig, CommitPolicy, Compression, LogMode, Parameters, Partitioner,
    SaslMechanism, Secret, Security,
};
pub use delivery::{Backoff, Batch, Concurrency, Exhausted, OnUndecodable, OnUnmatched, Retry};
pub use doctor::{CheckStatus, Doctor, Finding, Report};
pub use error::{Error, ErrorKind, Fault, Result};
pub use event::{Event, EventType, Json, SpanContext};
#[cfg(feature = "derive")]
pub use eventstream_derive::EventType;
pub use groups::{
    ConsumerGroup, CopyPlan, GroupDescription, GroupListing, GroupMember, GroupOffset,
    GroupPartition, GroupProtocol, GroupState, Groups, Progress, Seek, SeekMove, SeekPlan, SeekTo,
};
pub use kafka::EmbeddedBroker;
pub use metadata::{
    BrokerMetadata, GroupMetadata, Metadata, MetadataQuery, PartitionMetadata, TopicMetadata,
};
pub use name::{EventName, GroupId, Topic};
#[cfg(feature = "oidc")]
pub use oauth::Oidc;
#[cfg(feature = "aws-msk-iam")]
pub use oauth::{AwsCredentials, AwsMskIam};
pub use oauth::{Token, TokenError, TokenProvider};
pub use observe::health::{Health, Problem};
#[cfg(feature = "metrics")]
pub use observe::metrics::Metrics;
pub use observe::stats::{ReaderStats, WriterStats};
#[cfg(feature = "metrics")]
pub use prometheus;
pub use publish::{
    Actor, AuditLog, Delivery, Publish, PublishRaw, Publisher, Receipt, SealedEvent, Undelivered,
};
pub use record::RawRecord;
pub use subscribe::{
    BatchHandler, BatchHandlerResult, BatchResult, Context, DeadLetter, DeadLetterLimit,
    DeadLetterOrigin, DeadLetterReason, Events, FailedAttempt, FromRecord, FromRef, Handler,
    HandlerResult, Headers, Key, Payload, PulledEvent, Reject, Settled, StartOffset, State,
    Subscribe, Subscription, Tuned, TypedArgs,
};
#[cfg(feature = "tower")]
pub use subscribe::{Extension, HandlerLayer, HandlerService, Layered};
pub use tokio_util::sync::CancellationToken;
