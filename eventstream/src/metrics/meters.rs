use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::local::LocalHistogram;
use prometheus::{GaugeVec, IntCounter};

use super::collector::{Inner, Metrics};
use super::families::Families;
use super::statistics::{Before, Partition, Statistics};
use super::{OnStatistics, PartitionGauges, REASONS, Tally, WriterGauges};
use crate::error::ErrorKind;

/// Kinds in which accepted events fail.
const FAILURES: [ErrorKind; 8] = [
    ErrorKind::Timeout,
    ErrorKind::Closed,
    ErrorKind::UnknownTopic,
    ErrorKind::Unauthorized,
    ErrorKind::Authentication,
    ErrorKind::Unreachable,
    ErrorKind::Broker,
    ErrorKind::Fatal,
];
/// Kinds in which publish calls are refused.
const REFUSALS: [ErrorKind; 6] = [
    ErrorKind::Validation,
    ErrorKind::TooLarge,
    ErrorKind::BufferFull,
    ErrorKind::Timeout,
    ErrorKind::Closed,
    ErrorKind::UnknownTopic,
];
const MICROSECONDS: f64 = 1e-6;

/// The metrics of one client; off where it has none.
#[derive(Clone, Default)]
pub(crate) struct ClientMeter(Option<Arc<Metered>>);

struct Metered {
    metrics: Arc<Inner>,
    client: Arc<str>,
}

impl Metered {
    fn families(&self) -> &Families {
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

    /// Asks for the gauges of a producer in each scrape, until there is no answer.
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
        GroupMeter(self.0.as_ref().map(|m| {
            let labels = [&*m.client, group];
            let families = m.families();
            Arc::new(MeteredGroup {
                client: Arc::clone(m),
                group: group.into(),
                commits: families.commits.with_label_values(&labels),
                commit_failures: families.commit_failures.with_label_values(&labels),
                rebuilt: families.reader_rebuilt.with_label_values(&labels),
                partitions: Mutex::default(),
            })
        }))
    }
}

impl Metered {
    /// Counts what a producer's librdkafka says.
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

/// Counts stored events, with the series of each topic and partition looked up once.
pub(crate) struct StoredMeter {
    client: Option<Arc<Metered>>,
    topics: Vec<StoredTopic>,
    last: usize,
}

struct StoredTopic {
    /// What librdkafka knows it by.
    key: usize,
    name: String,
    /// By partition.
    partitions: Vec<Option<(IntCounter, IntCounter)>>,
}

impl StoredMeter {
    /// An event was stored. `key` stands for the topic, which is named when it is met first.
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

/// The metrics of one group.
#[derive(Clone, Default)]
pub(crate) struct GroupMeter(Option<Arc<MeteredGroup>>);

struct MeteredGroup {
    client: Arc<Metered>,
    group: Arc<str>,
    commits: IntCounter,
    commit_failures: IntCounter,
    rebuilt: IntCounter,
    /// What librdkafka last said of the partitions.
    partitions: Mutex<HashMap<String, HashMap<i32, Partition>>>,
}

impl GroupMeter {
    pub(crate) fn committed(&self) {
        if let Some(m) = &self.0 {
            m.commits.inc();
        }
    }

    pub(crate) fn commit_failed(&self) {
        if let Some(m) = &self.0 {
            m.commit_failures.inc();
        }
    }

    pub(crate) fn rebuilt(&self) {
        if let Some(m) = &self.0 {
            m.rebuilt.inc();
        }
    }

    /// One rebalance, for each of the topics subscribed to.
    pub(crate) fn rebalanced(&self, topics: &[String]) {
        if let Some(m) = &self.0 {
            for topic in topics {
                let labels = [&*m.client.client, &*m.group, topic];
                m.client
                    .families()
                    .rebalances
                    .with_label_values(&labels)
                    .inc();
            }
        }
    }

    pub(crate) fn topic(&self, topic: &str) -> TopicMeter {
        TopicMeter(
            self.0
                .as_ref()
                .map(|m| Box::new(MeteredTopic::new(m, topic))),
        )
    }

    pub(crate) fn partition(&self, topic: &str, partition: i32) -> PartitionMeter {
        PartitionMeter(self.0.as_ref().map(|m| {
            let partition = partition.to_string();
            let labels = [&*m.client.client, &*m.group, topic, &partition];
            let families = m.client.families();
            (
                families.read.with_label_values(&labels),
                families.read_bytes.with_label_values(&labels),
            )
        }))
    }

    /// For the statistics of one librdkafka consumer.
    pub(crate) fn statistics(&self) -> OnStatistics {
        let group = self.0.clone();
        let before = Mutex::new(Before::default());
        Box::new(move |json| {
            let Some(m) = &group else { return };
            if let Some(statistics) = Statistics::read(json) {
                m.tell(statistics, &mut before.lock());
            }
        })
    }

    /// Asks for the gauges of the group in each scrape, until there is no answer. The topics are
    /// those it works for, assigned or not.
    pub(crate) fn watch(
        &self,
        read: impl Fn() -> Option<(Vec<String>, Vec<PartitionGauges>)> + Send + Sync + 'static,
    ) {
        let Some(m) = &self.0 else { return };
        let group = Arc::clone(m);
        m.client.metrics.add_source(Box::new(move |families| {
            let Some((topics, partitions)) = read() else {
                return false;
            };
            for topic in &topics {
                group.show_topic(families, topic);
            }
            for partition in &partitions {
                group.show_partition(families, partition);
            }
            true
        }));
    }
}

impl MeteredGroup {
    fn tell(&self, statistics: Statistics, before: &mut Before) {
        let families = self.client.families();
        for broker in statistics.nodes() {
            let name = &*broker.nodename;
            let labels = [&*self.client.client, &*self.group, name];
            for (what, counter, now) in [
                ("connects", &families.dials, broker.connects),
                ("timeouts", &families.timeouts, broker.req_timeouts),
                ("rxerrs", &families.reader_errors, broker.rxerrs),
            ] {
                let rise = before.rise(what, name, now);
                counter.with_label_values(&labels).inc_by(rise);
            }
        }
        let topics = statistics.topics.into_iter();
        *self.partitions.lock() = topics.map(|(name, t)| (name, t.partitions)).collect();
    }

    fn show_topic(&self, families: &Families, topic: &str) {
        let labels = [&*self.client.client, &*self.group, topic];
        for gauge in [
            &families.assigned,
            &families.paused,
            &families.buffered,
            &families.stalled,
        ] {
            add(gauge, &labels, 0.0);
        }
    }

    fn show_partition(&self, families: &Families, now: &PartitionGauges) {
        let topic = [&*self.client.client, &*self.group, &now.topic];
        add(&families.assigned, &topic, 1.0);
        add(&families.paused, &topic, f64::from(u8::from(now.paused)));
        add(&families.buffered, &topic, now.buffered as f64);
        let stalled = families.stalled.with_label_values(&topic);
        stalled.set(stalled.get().max(now.stalled.as_secs_f64()));
        let number = now.partition.to_string();
        let labels = [&*self.client.client, &*self.group, &now.topic, &number];
        let told = self.partitions.lock();
        let told = told.get(&now.topic).and_then(|t| t.get(&now.partition));
        let values = [
            (&families.offset, now.committed),
            (&families.lag, told.and_then(|t| t.lag(now.position))),
            (&families.queue_length, told.map(|t| t.fetchq_cnt)),
            (&families.queue_capacity, told.map(|t| t.fetchq_size)),
        ];
        for (gauge, value) in values {
            if let Some(value) = value {
                gauge.with_label_values(&labels).set(value as f64);
            }
        }
    }
}

/// Clients that share a name share a series, which then has their sum.
fn add(gauge: &GaugeVec, labels: &[&str], value: f64) {
    gauge.with_label_values(labels).add(value);
}

/// The metrics of one topic in a group, for the task of one partition.
pub(crate) struct TopicMeter(Option<Box<MeteredTopic>>);

struct MeteredTopic {
    outcomes: [IntCounter; OUTCOMES.len()],
    retries: IntCounter,
    pauses: IntCounter,
    letter_failures: IntCounter,
    dead_letters: [IntCounter; REASONS.len()],
    skipped: [IntCounter; REASONS.len()],
    /// Added up without sharing cache lines.
    seconds: LocalHistogram,
}

const OUTCOMES: [&str; 4] = ["handled", "failed", "panicked", "rejected"];

impl MeteredTopic {
    fn new(group: &MeteredGroup, topic: &str) -> Self {
        let families = group.client.families();
        let labels = [&*group.client.client, &*group.group, topic];
        let with = |more: &str| [labels[0], labels[1], labels[2], more].map(str::to_owned);
        // Here, so that the first rebalance is an increase.
        let _ = families.rebalances.with_label_values(&labels);
        Self {
            outcomes: OUTCOMES.map(|word| families.outcomes.with_label_values(&with(word))),
            retries: families.retries.with_label_values(&labels),
            pauses: families.pauses.with_label_values(&labels),
            letter_failures: families.letter_failures.with_label_values(&labels),
            dead_letters: REASONS.map(|word| families.dead_letters.with_label_values(&with(word))),
            skipped: REASONS.map(|word| families.skipped.with_label_values(&with(word))),
            seconds: families.handler_seconds.with_label_values(&labels).local(),
        }
    }
}

impl TopicMeter {
    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// How long a handler call took.
    pub(crate) fn took(&mut self, time: Duration) {
        if let Some(m) = &self.0 {
            m.seconds.observe(time.as_secs_f64());
        }
    }

    /// Adds a tally and clears it.
    pub(crate) fn add(&mut self, tally: &mut Tally) {
        let tally = std::mem::take(tally);
        let Some(m) = &self.0 else { return };
        m.seconds.flush();
        let outcomes = [tally.handled, tally.failed, tally.panicked, tally.rejected];
        let counters = m.outcomes.iter().zip(outcomes);
        let counters = counters.chain(m.dead_letters.iter().zip(tally.dead_letters));
        let counters = counters.chain(m.skipped.iter().zip(tally.skipped));
        let others = [
            (&m.retries, tally.retries),
            (&m.pauses, tally.pauses),
            (&m.letter_failures, tally.letter_failures),
        ];
        for (counter, count) in counters.chain(others) {
            if count > 0 {
                counter.inc_by(count);
            }
        }
    }
}

/// The records read from one partition.
pub(crate) struct PartitionMeter(Option<(IntCounter, IntCounter)>);

impl PartitionMeter {
    pub(crate) fn read(&self, records: usize, bytes: usize) {
        if let Some((messages, message_bytes)) = &self.0
            && records > 0
        {
            messages.inc_by(records as u64);
            message_bytes.inc_by(bytes as u64);
        }
    }
}
