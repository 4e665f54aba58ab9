//! Prometheus metrics of clients.
//!
//! | file | what |
//! |---|---|
//! | `families` | every metric: its name, help and labels |
//! | `collector` | [`Metrics`]: what a registry scrapes |
//! | `client` | what a client and its producer count into |
//! | `group` | what a group, its topics and its partitions count into |
//! | `windows` | summaries out of librdkafka's windows |
//! | `statistics` | the part of librdkafka's statistics that is used |
//! | `off` | the same meters without the feature: nothing |
//!
//! Counters live as long as [`Metrics`], not as long as what counts into them, so they neither
//! vanish nor go down when a consumer is rebuilt, a partition moves or a client ends. A series is
//! made, at 0, when its labels are known, so that the first failure is an increase. Gauges are read
//! from the living producers and groups in a scrape.

#[cfg(feature = "metrics")]
mod client;
#[cfg(feature = "metrics")]
mod collector;
#[cfg(feature = "metrics")]
mod families;
#[cfg(feature = "metrics")]
mod group;
#[cfg(not(feature = "metrics"))]
mod off;
#[cfg(feature = "metrics")]
mod statistics;
#[cfg(feature = "metrics")]
mod windows;

use std::time::Duration;

#[cfg(feature = "metrics")]
pub(crate) use self::client::{ClientMeter, StoredMeter};
#[cfg(feature = "metrics")]
pub use self::collector::Metrics;
#[cfg(feature = "metrics")]
pub(crate) use self::group::{GroupMeter, PartitionMeter, TopicMeter};
#[cfg(not(feature = "metrics"))]
pub(crate) use self::off::{
    ClientMeter, GroupMeter, Metrics, PartitionMeter, StoredMeter, TopicMeter,
};

use crate::subscribe::DeadLetterReason;

/// librdkafka's statistics interval if the configuration sets none, as in the Go SDK.
pub(crate) const STATISTICS_INTERVAL: Duration = Duration::from_secs(10);

/// Takes librdkafka's statistics, which are JSON.
pub(crate) type OnStatistics = Box<dyn Fn(&[u8]) + Send + Sync>;

/// The current gauges of a producer.
#[derive(Clone, Copy)]
#[cfg_attr(not(feature = "metrics"), expect(dead_code, reason = "nobody scrapes"))]
pub(crate) struct WriterGauges {
    pub(crate) in_flight_events: usize,
    pub(crate) in_flight_bytes: usize,
    pub(crate) capacity_events: usize,
    pub(crate) capacity_bytes: usize,
    pub(crate) waiting: usize,
}

/// The current gauges of one assigned partition.
#[cfg_attr(not(feature = "metrics"), expect(dead_code, reason = "nobody scrapes"))]
pub(crate) struct PartitionGauges {
    /// The topic, as named on the broker.
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) paused: bool,
    /// Records read but not done yet.
    pub(crate) buffered: usize,
    /// How long there has been no progress while records waited.
    pub(crate) stalled: Duration,
    /// How long the handler of a record has been failing and retried.
    pub(crate) failing: Duration,
    /// The last committed offset, if known.
    pub(crate) committed: Option<i64>,
    /// Every record below it is done; `None` if unknown.
    pub(crate) position: Option<i64>,
}

/// What a partition's task has done since its last report.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) handled: u64,
    pub(crate) failed: u64,
    pub(crate) panicked: u64,
    pub(crate) rejected: u64,
    pub(crate) retries: u64,
    pub(crate) pauses: u64,
    pub(crate) letter_failures: u64,
    pub(crate) unmatched: u64,
    pub(crate) undecodable: u64,
    /// By reason.
    pub(crate) dead_letters: [u64; DeadLetterReason::ALL.len()],
    /// By reason.
    pub(crate) skipped: [u64; DeadLetterReason::ALL.len()],
}
