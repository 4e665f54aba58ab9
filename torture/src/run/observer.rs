//! Reads the ends of the topics and the groups' committed offsets, past the proxy, and writes the latter to the
//! history.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use checker::history::{Committed, Event, Writer};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::metadata::MetadataPartition;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::layout::{GROUPS, GroupPlan, TOPICS, on_broker};

const LOOK: Duration = Duration::from_millis(300);
const ANSWER: Duration = Duration::from_secs(3);

type Offsets = BTreeMap<i32, i64>;

#[derive(Debug, Default)]
struct Seen {
    /// The offset after the last record, by topic.
    ends: BTreeMap<&'static str, Offsets>,
    /// By group and topic.
    committed: BTreeMap<(&'static str, &'static str), Offsets>,
}

/// Observing threads: one for each group and one for the topics.
pub(super) struct Observer {
    history: Arc<Writer>,
    seen: Arc<Mutex<Seen>>,
    threads: Vec<JoinHandle<()>>,
    ended: Arc<AtomicBool>,
}

impl Observer {
    pub(super) fn start(bootstrap: &str, history: Writer) -> Result<Self> {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let ended = Arc::new(AtomicBool::new(false));
        let history = Arc::new(history);
        let mut threads = Vec::new();
        for group in &GROUPS {
            let look = Look::new(bootstrap, group.name, &seen, &ended)?;
            let history = Arc::clone(&history);
            threads.push(thread::spawn(move || look.at_group(group, &history)));
        }
        let look = Look::new(bootstrap, "observer", &seen, &ended)?;
        threads.push(thread::spawn(move || look.at_topics()));
        Ok(Self {
            history,
            seen,
            threads,
            ended,
        })
    }

    /// How many records all topics of the load have.
    pub(super) fn stored(&self) -> i64 {
        let seen = lock(&self.seen);
        seen.ends.values().flat_map(BTreeMap::values).sum()
    }

    /// How many records each group is behind.
    pub(super) fn lags(&self) -> Vec<(&'static str, i64)> {
        let seen = lock(&self.seen);
        GROUPS
            .iter()
            .map(|group| {
                let sum = |offsets: Option<&Offsets>| -> i64 {
                    offsets.map_or(0, |offsets| offsets.values().sum())
                };
                let lag = |topic| {
                    sum(seen.ends.get(topic)) - sum(seen.committed.get(&(group.name, topic)))
                };
                (group.name, group.topics().map(lag).sum())
            })
            .collect()
    }

    /// Waits until every group has committed the end of its topic, as seen after this call.
    pub(super) fn wait_for_no_lag(&self, within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        lock(&self.seen).ends.clear();
        loop {
            thread::sleep(LOOK);
            let known = lock(&self.seen).ends.len();
            let lags = self.lags();
            if known == TOPICS.len() && lags.iter().all(|(_, lag)| *lag == 0) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("the groups are still behind after {within:?}: {lags:?}");
            }
        }
    }

    pub(super) fn stop(self) -> Result<()> {
        self.ended.store(true, Ordering::Relaxed);
        for thread in self.threads {
            if thread.join().is_err() {
                bail!("an observer panicked");
            }
        }
        self.history.ended()?;
        Ok(())
    }
}

struct Look {
    consumer: BaseConsumer,
    seen: Arc<Mutex<Seen>>,
    ended: Arc<AtomicBool>,
}

impl Look {
    fn new(
        bootstrap: &str,
        group: &str,
        seen: &Arc<Mutex<Seen>>,
        ended: &Arc<AtomicBool>,
    ) -> Result<Self> {
        let consumer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("group.id", on_broker(group))
            .set("reconnect.backoff.max.ms", "500")
            .create()
            .context("making an observer")?;
        Ok(Self {
            consumer,
            seen: Arc::clone(seen),
            ended: Arc::clone(ended),
        })
    }

    fn at_group(&self, group: &GroupPlan, history: &Writer) {
        self.each_round(|| {
            for topic in group.topics() {
                // Requests that fail while a broker is unavailable are repeated.
                if let Some(committed) = self.committed(topic) {
                    self.note(group.name, topic, committed, history);
                }
            }
        });
    }

    fn note(&self, group: &'static str, topic: &'static str, committed: Offsets, history: &Writer) {
        let mut seen = lock(&self.seen);
        let before = seen.committed.entry((group, topic)).or_default();
        for (partition, offset) in committed {
            if before.insert(partition, offset) == Some(offset) {
                continue;
            }
            let note = history.write(Event::Committed(Committed {
                group,
                topic,
                partition,
                offset,
            }));
            if let Err(error) = note {
                eprintln!("writing the history: {error}");
                std::process::abort();
            }
        }
    }

    fn at_topics(&self) {
        self.each_round(|| {
            for topic in &TOPICS {
                if let Some(ends) = self.ends(topic.name) {
                    lock(&self.seen).ends.insert(topic.name, ends);
                }
            }
        });
    }

    fn each_round(&self, mut round: impl FnMut()) {
        while !self.ended.load(Ordering::Relaxed) {
            round();
            thread::sleep(LOOK);
        }
    }

    fn partitions(&self, topic: &str) -> Option<Vec<i32>> {
        let metadata = self.consumer.fetch_metadata(Some(topic), ANSWER).ok()?;
        let described = metadata.topics().first()?;
        Some(
            described
                .partitions()
                .iter()
                .map(MetadataPartition::id)
                .collect(),
        )
    }

    fn committed(&self, topic: &str) -> Option<Offsets> {
        let topic = on_broker(topic);
        let mut list = TopicPartitionList::new();
        for partition in self.partitions(&topic)? {
            list.add_partition(&topic, partition);
        }
        let answer = self.consumer.committed_offsets(list, ANSWER).ok()?;
        let offsets = answer.elements().into_iter();
        let known = offsets.filter_map(|one| match (one.error(), one.offset()) {
            (Ok(()), Offset::Offset(offset)) => Some((one.partition(), offset)),
            _ => None,
        });
        Some(known.collect())
    }

    fn ends(&self, topic: &str) -> Option<Offsets> {
        let topic = on_broker(topic);
        let ends = self.partitions(&topic)?.into_iter().map(|partition| {
            let fetched = self.consumer.fetch_watermarks(&topic, partition, ANSWER);
            Some((partition, fetched.ok()?.1))
        });
        ends.collect()
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
