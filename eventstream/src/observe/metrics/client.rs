use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::{GaugeVec, IntCounter};

use super::collector::{Inner, Metrics};
use super::families::Families;
use super::group::GroupMeter;
use super::statistics::{Before, Statistics};
use super::{OnStatistics, WriterGauges};
use crate::error::ErrorKind;

/// Kinds of errors of accepted events.
const FAILURES: [ErrorKind; 10] = [
    ErrorKind::Timeout,
    ErrorKind::TooLarge,
    ErrorKind::InvalidRecord,
    ErrorKind::Closed,
    ErrorKind::UnknownTopic,
    ErrorKind::Unauthorized,
    ErrorKind::Authentication,
    ErrorKind::Unreachable,
    ErrorKind::Broker,
    ErrorKind::Fatal,
];
/// Kinds of errors of rejected publish calls.
const REFUSALS: [ErrorKind; 6] = [
    ErrorKind::Validation,
    ErrorKind::TooLarge,
    ErrorKind::BufferFull,
    ErrorKind::Timeout,
    ErrorKind::Closed,
    ErrorKind::UnknownTopic,
];
const MICROSECONDS: f64 = 1e-6;

/// The metrics of one client, if enabled.
#[derive(Clone, Default)]
pub(crate) struct ClientMeter(Option<Arc<Metered>>);

pub(super) struct Metered {
    pub(super) metrics: Arc<Inner>,
    pub(super) client: Arc<str>,
}

impl Metered {
    pub(super) fn families(&self) -> &Families {
        &self.metrics.families
    }
}

impl ClientMeter {
    pub(crate) fn new(metrics: &Metrics, client: &str) -> Self {
        let metered = Metered {
            metrics: Arc::clone(&metrics.inner),
            client: client.into(),
        };
        let families = metered.families();
        for kind in FAILURES {
            let _ = families
                .failures
                .with_label_values(&[client, kind.as_str()]);
        }
        for kind in REFUSALS {
            let _ = families.refused.with_label_values(&[client, kind.as_str()]);
        }
        let _ = families.writer_rebuilt.with_label_values(&[client]);
        Self(Some(Arc::new(metered)))
    }

    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// A publish call whose event was not accepted.
    pub(crate) fn refused(&self, kind: ErrorKind) {
        if let Some(m) = &self.0 {
            let counter = &m.families().refused;
            counter
                .with_label_values(&[&*m.client, kind.as_str()])
                .inc();
        }
    }

    /// An accepted event that was not stored.
    pub(crate) fn failed(&self, kind: ErrorKind) {
        if let Some(m) = &self.0 {
            let counter = &m.families().failures;
            counter
                .with_label_values(&[&*m.client, kind.as_str()])
                .inc();
        }
    }

    pub(crate) fn rebuilt(&self) {
        if let Some(m) = &self.0 {
            m.families()
                .writer_rebuilt
                .with_label_values(&[&*m.client])
                .inc();
        }
    }

    /// Reads a producer's gauges in each scrape, until it returns nothing.
    pub(crate) fn watch(&self, read: impl Fn() -> Option<WriterGauges> + Send + Sync + 'static) {
        let Some(m) = &self.0 else { return };
        let client = Arc::clone(&m.client);
        m.metrics.add_source(Box::new(move |families| {
            let Some(now) = read() else { return false };
            let values = [
                (&families.in_flight_events, now.in_flight_events),
                (&families.in_flight_bytes, now.in_flight_bytes),
                (&families.capacity_events, now.capacity_events),
                (&families.capacity_bytes, now.capacity_bytes),
                (&families.waiting, now.waiting),
            ];
            for (gauge, value) in values {
                add(gauge, &[&*client], value as f64);
            }
            true
        }));
    }

    /// For the reports of one librdkafka producer.
    pub(crate) fn stored(&self) -> StoredMeter {
        StoredMeter {
            client: self.0.clone(),
            topics: Vec::new(),
            last: 0,
        }
    }

    /// For the statistics of one librdkafka producer.
    pub(crate) fn producer_statistics(&self) -> OnStatistics {
        let client = self.0.clone();
        let before = Mutex::new(Before::default());
        Box::new(move |json| {
            let Some(m) = &client else { return };
            if let Some(statistics) = Statistics::read(json) {
                m.tell(&statistics, &mut before.lock());
            }
        })
    }

    pub(crate) fn group(&self, group: &str) -> GroupMeter {
        GroupMeter::new(self.0.as_ref(), group)
    }
}

impl Metered {
    /// Counts what librdkafka reports for a producer.
    fn tell(&self, statistics: &Statistics, before: &mut Before) {
        let families = self.families();
        for broker in statistics.nodes() {
            let name = &*broker.nodename;
            let labels = [&*self.client, name];
            for (what, counter, now) in [
                ("tx", &families.writes, broker.tx),
                ("txerrs", &families.writer_errors, broker.txerrs),
                ("txretries", &families.writer_retries, broker.txretries),
            ] {
                let rise = before.rise(what, name, now);
                counter.with_label_values(&labels).inc_by(rise);
            }
            for (windows, window) in [
                (&families.write_seconds, &broker.outbuf_latency),
                (&families.queue_seconds, &broker.int_latency),
                (&families.request_seconds, &broker.rtt),
            ] {
                windows.add(&labels, window, MICROSECONDS);
            }
        }
        for (topic, figures) in &statistics.topics {
            let labels = [&*self.client, topic];
            families.batch_size.add(&labels, &figures.batchcnt, 1.0);
            families.batch_bytes.add(&labels, &figures.batchsize, 1.0);
        }
    }
}

/// Counts stored events; the series of each topic and partition are looked up once.
pub(crate) struct StoredMeter {
    client: Option<Arc<Metered>>,
    topics: Vec<StoredTopic>,
    last: usize,
}

struct StoredTopic {
    /// librdkafka's identity of the topic.
    key: usize,
    name: String,
    /// By partition.
    partitions: Vec<Option<(IntCounter, IntCounter)>>,
}

impl StoredMeter {
    /// An event was stored. `key` stands for the topic, whose name is read when it is first seen.
    pub(crate) fn stored<'a>(
        &mut self,
        key: usize,
        topic: impl FnOnce() -> &'a str,
        partition: i32,
        bytes: usize,
    ) {
        let Some(m) = &self.client else { return };
        if self.topics.get(self.last).is_none_or(|t| t.key != key) {
            let known = self.topics.iter().position(|t| t.key == key);
            self.last = known.unwrap_or_else(|| {
                self.topics.push(StoredTopic {
                    key,
                    name: topic().to_owned(),
                    partitions: Vec::new(),
                });
                self.topics.len() - 1
            });
        }
        let topic = &mut self.topics[self.last];
        let Ok(at) = usize::try_from(partition) else {
            return;
        };
        if topic.partitions.len() <= at {
            topic.partitions.resize_with(at + 1, || None);
        }
        let (messages, message_bytes) = topic.partitions[at].get_or_insert_with(|| {
            let partition = partition.to_string();
            let labels = [&*m.client, &topic.name, &partition];
            let families = m.families();
            (
                families.messages.with_label_values(&labels),
                families.message_bytes.with_label_values(&labels),
            )
        });
        messages.inc();
        message_bytes.inc_by(bytes as u64);
    }
}

/// Clients with the same name share a series, which has their sum.
pub(super) fn add(gauge: &GaugeVec, labels: &[&str], value: f64) {
    gauge.with_label_values(labels).add(value);
}
