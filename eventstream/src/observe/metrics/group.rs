use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::IntCounter;
use prometheus::local::LocalHistogram;

use super::client::{Metered, add};
use super::families::Families;
use super::statistics::{Before, Partition, Statistics};
use super::{OnStatistics, PartitionGauges, Tally};
use crate::subscribe::DeadLetterReason;

/// The metrics of one group.
#[derive(Clone, Default)]
pub(crate) struct GroupMeter(Option<Arc<MeteredGroup>>);

struct MeteredGroup {
    client: Arc<Metered>,
    group: Arc<str>,
    commits: IntCounter,
    commit_failures: IntCounter,
    rebuilt: IntCounter,
    /// librdkafka's last report on the partitions.
    partitions: Mutex<HashMap<String, HashMap<i32, Partition>>>,
}

impl GroupMeter {
    pub(super) fn new(client: Option<&Arc<Metered>>, group: &str) -> Self {
        Self(client.map(|m| {
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

    /// Records that were deleted before the group read them.
    pub(crate) fn unread(&self, topic: &str, offsets: u64) {
        if let Some(m) = &self.0
            && offsets > 0
        {
            m.unread(topic).inc_by(offsets);
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
                // Created here, so that the first gap is an increase.
                let _ = m.unread(topic);
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

    /// Reads the group's gauges in each scrape, until it returns nothing. The topics are those
    /// subscribed to, assigned or not.
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
    fn unread(&self, topic: &str) -> IntCounter {
        let labels = [&*self.client.client, &*self.group, topic];
        self.client
            .families()
            .deleted_unread
            .with_label_values(&labels)
    }

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
            &families.failing,
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
        let failing = families.failing.with_label_values(&topic);
        failing.set(failing.get().max(now.failing.as_secs_f64()));
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

/// The metrics of one topic in a group, for the task of one partition.
pub(crate) struct TopicMeter(Option<Box<MeteredTopic>>);

struct MeteredTopic {
    outcomes: [IntCounter; OUTCOMES.len()],
    retries: IntCounter,
    pauses: IntCounter,
    letter_failures: IntCounter,
    dead_letters: [IntCounter; DeadLetterReason::ALL.len()],
    skipped: [IntCounter; DeadLetterReason::ALL.len()],
    /// Summed up without sharing cache lines.
    seconds: LocalHistogram,
}

const OUTCOMES: [&str; 4] = ["handled", "failed", "panicked", "rejected"];

impl MeteredTopic {
    fn new(group: &MeteredGroup, topic: &str) -> Self {
        let families = group.client.families();
        let labels = [&*group.client.client, &*group.group, topic];
        let with = |more: &str| [labels[0], labels[1], labels[2], more].map(str::to_owned);
        // Created here, so that the first rebalance and the first deletion are an increase.
        let _ = families.rebalances.with_label_values(&labels);
        let _ = group.unread(topic);
        Self {
            outcomes: OUTCOMES.map(|word| families.outcomes.with_label_values(&with(word))),
            retries: families.retries.with_label_values(&labels),
            pauses: families.pauses.with_label_values(&labels),
            letter_failures: families.letter_failures.with_label_values(&labels),
            dead_letters: DeadLetterReason::ALL.map(|reason| {
                families
                    .dead_letters
                    .with_label_values(&with(reason.as_str()))
            }),
            skipped: DeadLetterReason::ALL
                .map(|reason| families.skipped.with_label_values(&with(reason.as_str()))),
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
