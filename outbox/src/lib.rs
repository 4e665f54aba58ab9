//! A transactional outbox on PostgreSQL for [`eventstream`]: a service changes its tables and records what happened in
//! one database transaction, and a relay publishes it after the commit.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use eventstream::{Client, Publish};
//! use eventstream_outbox::{Outbox, Relay};
//!
//! # async fn service(pool: sqlx::PgPool) -> Result<(), Box<dyn std::error::Error>> {
//! eventstream_outbox::migrate(&pool).await?; // at a start of the service
//! let client = Client::kafka(["localhost:9092"]).prefix("prod").build()?;
//! let relay = Relay::builder(pool.clone(), client).start(); // beside the service, or in a process of its own
//!
//! let outbox = Outbox::new();
//! let mut tx = pool.begin().await?;
//! sqlx::query("UPDATE purse SET coins = coins + 10 WHERE player = 'player-7'").execute(&mut *tx).await?;
//! outbox.enqueue(&mut tx, &Publish::new("purse", "coinsEarned").key("player-7")).await?;
//! tx.commit().await?;
//!
//! relay.stop(Duration::from_secs(10)).await?;
//! # Ok(()) }
//! ```
//!
//! * Every committed event is published, and none that was rolled back.
//! * Events of a key keep the order of the commits: [`KeyOrder`].
//! * An event gets its id when it is enqueued. One that a killed relay had in flight is published twice, with that id;
//!   a consumer that keeps the ids, as `eventstream-inbox` does, handles it once.
//!
//! | to | see |
//! |---|---|
//! | create the tables | [`migrate`], [`MIGRATION`] |
//! | write events | [`Outbox::enqueue`], [`Outbox::enqueue_all`], [`KeyOrder`] |
//! | publish them | [`Relay`], [`RelayBuilder`] |
//! | watch | [`Relay::health`], [`Relay::stats`], [`Outbox::depth`], `Metrics` |
//! | handle what can never be published | [`FailedKey`], [`Outbox::failed`], [`Outbox::retry`], [`Outbox::discard`] |
//!
//! | feature | what; none is enabled by default |
//! |---|---|
//! | `metrics` | Prometheus metrics: `Metrics` |
//!
//! The database is reached through `sqlx` 0.8, whose TLS features you choose.

mod error;
mod failed;
#[cfg(feature = "metrics")]
mod metrics;
mod migrate;
mod outbox;
mod relay;
mod row;

pub use error::{Error, ErrorKind, Result};
pub use failed::{Depth, FailedEvent};
#[cfg(feature = "metrics")]
pub use metrics::Metrics;
pub use migrate::{MIGRATION, migrate};
pub use outbox::{KeyOrder, Outbox};
pub use relay::{FailedKey, Health, Problem, Published, Relay, RelayBuilder, RelayStats, Stopped};
