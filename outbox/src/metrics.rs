use std::fmt;
use std::sync::{Arc, Weak};

use eventstream::prometheus::core::{Collector, Desc};
use eventstream::prometheus::proto::MetricFamily;
use eventstream::prometheus::{Gauge, IntCounter, IntGauge, Opts};

use crate::relay::{Relay, Shared};

/// Prometheus metrics of a relay, for your own registry (feature `metrics`).
///
/// | metric | what |
/// |---|---|
/// | `outbox_published_total` | events that the broker has acknowledged, including repeats |
/// | `outbox_in_flight` | events in flight to the broker |
/// | `outbox_slots` | the parts of the outbox that this relay publishes; 64 over all relays |
/// | `outbox_waiting` | committed events that are not published yet, in the whole outbox |
/// | `outbox_failed` | events that can never be published as they are |
/// | `outbox_oldest_seconds` | how long the oldest waiting event has waited; 0 if none is waiting |
///
/// The last three are counted every 10 s, and the same for every relay of an outbox: take their maximum.
///
/// ```no_run
/// # fn watch(relay: &eventstream_outbox::Relay) -> Result<(), Box<dyn std::error::Error>> {
/// use eventstream::prometheus::Registry;
/// use eventstream_outbox::Metrics;
///
/// let registry = Registry::new();
/// registry.register(Box::new(Metrics::of(relay)?))?;
/// # Ok(()) }
/// ```
pub struct Metrics {
    /// Weak, as a registry outlives a relay.
    relay: Weak<Shared>,
    published: IntCounter,
    in_flight: IntGauge,
    slots: IntGauge,
    waiting: IntGauge,
    failed: IntGauge,
    oldest: Gauge,
}

impl Metrics {
    /// The metrics of a relay.
    ///
    /// # Errors
    ///
    /// None in this version; the names are checked by `prometheus`.
    pub fn of(relay: &Relay) -> eventstream::prometheus::Result<Self> {
        let gauge = |name: &str, help: &str| IntGauge::with_opts(Opts::new(name, help));
        Ok(Self {
            relay: Arc::downgrade(relay.shared()),
            published: IntCounter::with_opts(Opts::new(
                "outbox_published_total",
                "Events that the broker has acknowledged",
            ))?,
            in_flight: gauge("outbox_in_flight", "Events in flight to the broker")?,
            slots: gauge(
                "outbox_slots",
                "Parts of the outbox that this relay publishes",
            )?,
            waiting: gauge(
                "outbox_waiting",
                "Committed events that are not published yet",
            )?,
            failed: gauge(
                "outbox_failed",
                "Events that can never be published as they are",
            )?,
            oldest: Gauge::with_opts(Opts::new(
                "outbox_oldest_seconds",
                "How long the oldest waiting event has waited",
            ))?,
        })
    }

    fn collectors(&self) -> [&dyn Collector; 6] {
        [
            &self.published,
            &self.in_flight,
            &self.slots,
            &self.waiting,
            &self.failed,
            &self.oldest,
        ]
    }
}

impl Collector for Metrics {
    fn desc(&self) -> Vec<&Desc> {
        self.collectors()
            .into_iter()
            .flat_map(Collector::desc)
            .collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Some(relay) = self.relay.upgrade() else {
            return Vec::new();
        };
        let stats = relay.stats();
        let int = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        self.published
            .inc_by(stats.published.saturating_sub(self.published.get()));
        self.in_flight.set(int(stats.in_flight as u64));
        self.slots.set(int(stats.slots as u64));
        self.waiting.set(int(stats.depth.waiting));
        self.failed.set(int(stats.depth.failed));
        self.oldest.set(
            stats
                .depth
                .oldest
                .map_or(0.0, |oldest| oldest.as_secs_f64()),
        );
        self.collectors()
            .into_iter()
            .flat_map(Collector::collect)
            .collect()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}
