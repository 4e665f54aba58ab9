use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;

use super::families::Families;

/// The Prometheus metrics of one or more clients, to be registered with your own registry.
///
/// Give it to [`ClientBuilder::metrics`](crate::ClientBuilder::metrics) of every client it should cover,
/// and to the registry once. Names and labels are those of the Go SDK's version 4 and more;
/// `observability/README.md` lists them all. Every metric has the label `client`, the
/// [name](crate::ClientBuilder::name) of its client: clients that share a name share their series. Topics
/// and groups have their names on the broker, with the prefix.
///
/// Counters live as long as this value: they survive rebalances, rebuilt consumers, stopped subscriptions
/// and clients that have ended. What only librdkafka knows (requests, retries, connections, queues, the
/// ends of partitions) is as fresh as the configuration's `statistics_interval`, by default 10 s for a
/// client with metrics and never for others.
///
/// ```
/// use eventstream::{Client, Metrics, Publish};
/// use prometheus::{Registry, TextEncoder};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let registry = Registry::new();
/// let metrics = Metrics::new();
/// registry.register(Box::new(metrics.clone()))?;
///
/// let client = Client::embedded().name("orders").metrics(&metrics).build()?;
/// let delivery = client.publish_sync(Publish::new("order", "orderPlaced")).await?;
///
/// let text = TextEncoder::new().encode_to_string(&registry.gather())?;
/// assert!(text.contains(&format!(
///     r#"ab_eventstream_kafka_writer_messages{{client="orders",partition="{}",topic="order"}} 1"#,
///     delivery.partition(),
/// )));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Metrics {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) families: Families,
    /// Fill the gauges; `false` once the producer or group is gone.
    sources: Mutex<Vec<Source>>,
}

type Source = Box<dyn Fn(&Families) -> bool + Send + Sync>;

impl Metrics {
    /// Metrics with no client yet.
    pub fn new() -> Self {
        Self {
            inner: Arc::new(Inner {
                families: Families::new(),
                sources: Mutex::default(),
            }),
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Inner {
    pub(super) fn add_source(&self, source: Source) {
        self.sources.lock().push(source);
    }
}

impl Collector for Metrics {
    fn desc(&self) -> Vec<&Desc> {
        self.inner.families.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let families = &self.inner.families;
        // One scrape at a time, since it empties and refills the gauges.
        let mut sources = self.inner.sources.lock();
        for gauge in families.gauges() {
            gauge.reset();
        }
        sources.retain(|source| source(families));
        families.collect()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}
