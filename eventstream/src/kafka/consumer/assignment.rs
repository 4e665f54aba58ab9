//! Where to start in the partitions that a rebalance has given.

use std::collections::HashMap;
use std::time::{Duration, Instant, UNIX_EPOCH};

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::events::TopicPartition;
use crate::subscribe::StartOffset;

/// How long the questions about one assignment may take. The polling thread waits for it, and
/// must be back before `max.poll.interval.ms`.
const PATIENCE: Duration = Duration::from_secs(20);
const ROUND: Duration = Duration::from_secs(5);

/// A partition and where its reading starts.
pub(super) struct Start {
    pub(super) partition: TopicPartition,
    pub(super) offset: Offset,
    /// Whether the group has committed it.
    pub(super) is_committed: bool,
    /// A position that has to be committed though nothing was read: without it a crash before the
    /// first event would move a group that began at the tail to a later tail.
    pub(super) commit: Option<i64>,
}

impl Start {
    /// The offset as a number; negative where librdkafka has to find it out.
    pub(super) fn position(&self) -> i64 {
        match self.offset {
            Offset::Offset(offset) => offset,
            _ => -1,
        }
    }
}

/// How many partitions each topic had when the group's consumer first asked for it. What is
/// added later is read from its head: nobody could have been there before its first record.
#[derive(Default)]
pub(super) struct KnownPartitions(HashMap<String, i32>);

impl KnownPartitions {
    /// Counts a topic's partitions when it is met first, whether or not this member gets any of
    /// them: later it would be too late. A topic that does not exist has none, so all it will have
    /// came later.
    pub(super) fn meet<C: ConsumerContext>(&mut self, consumer: &BaseConsumer<C>, topic: &str) {
        if self.0.contains_key(topic) {
            return;
        }
        if let Ok(metadata) = consumer.fetch_metadata(Some(topic), ROUND)
            && let Some(found) = metadata.topics().first()
        {
            let absent = RDKafkaErrorCode::UnknownTopicOrPartition;
            let count = match found.error().map(RDKafkaErrorCode::from) {
                None => i32::try_from(found.partitions().len()).unwrap_or(i32::MAX),
                Some(error) if error == absent => 0,
                Some(_) => return,
            };
            self.0.insert(topic.to_owned(), count);
        }
    }

    fn is_new(&self, (topic, partition): &TopicPartition) -> bool {
        self.0.get(topic).is_some_and(|count| partition >= count)
    }
}

/// Finds the start of each partition: its committed offset, or what the subscription says.
///
/// Where the brokers do not answer in time, librdkafka is told to use what is committed, else the
/// head: records may come twice then, none is missed.
pub(super) fn starts<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    known: &mut KnownPartitions,
    partitions: &[TopicPartition],
    start: StartOffset,
) -> Vec<Start> {
    let deadline = Instant::now() + PATIENCE;
    let committed = ask(deadline, |timeout| {
        consumer.committed_offsets(
            list(partitions.iter().map(|p| (p, Offset::Invalid))),
            timeout,
        )
    });
    let Some(committed) = committed else {
        tracing::warn!(
            "committed offsets unknown: starting at what is committed, else at the head"
        );
        return partitions
            .iter()
            .map(|partition| Start {
                partition: partition.clone(),
                offset: Offset::Stored,
                is_committed: false,
                commit: None,
            })
            .collect();
    };
    for (topic, _) in partitions {
        known.meet(consumer, topic);
    }
    let mut times = None;
    partitions
        .iter()
        .map(|partition| {
            let found = committed.find_partition(&partition.0, partition.1);
            let stored = found.map(|f| f.offset());
            let (offset, commit) = match stored {
                Some(Offset::Offset(offset)) => (Offset::Offset(offset), None),
                _ if known.is_new(partition) => (Offset::Beginning, None),
                _ => {
                    let start = match start {
                        StartOffset::Time(time) => {
                            let millis = time
                                .duration_since(UNIX_EPOCH)
                                .unwrap_or_default()
                                .as_millis();
                            let at = Offset::Offset(i64::try_from(millis).unwrap_or(i64::MAX));
                            times
                                .get_or_insert_with(|| {
                                    ask(deadline, |timeout| {
                                        consumer.offsets_for_times(
                                            list(partitions.iter().map(|p| (p, at))),
                                            timeout,
                                        )
                                    })
                                })
                                .as_ref()
                                .and_then(|times| times.find_partition(&partition.0, partition.1))
                                .map_or(Offset::Beginning, |found| found.offset())
                        }
                        StartOffset::Tail => Offset::End,
                        StartOffset::Head => Offset::Beginning,
                        StartOffset::At(offset) => Offset::Offset(offset),
                    };
                    if start == Offset::End {
                        tail(consumer, partition, deadline)
                    } else {
                        (start, None)
                    }
                }
            };
            Start {
                partition: partition.clone(),
                offset,
                is_committed: matches!(stored, Some(Offset::Offset(_))),
                commit,
            }
        })
        .collect()
}

/// The tail as an offset, so that it can be committed.
fn tail<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    (topic, partition): &TopicPartition,
    deadline: Instant,
) -> (Offset, Option<i64>) {
    ask(deadline, |timeout| {
        consumer.fetch_watermarks(topic, *partition, timeout)
    })
    .map_or((Offset::Beginning, None), |(_, high)| {
        (Offset::Offset(high), Some(high))
    })
}

fn ask<T>(deadline: Instant, question: impl Fn(Duration) -> KafkaResult<T>) -> Option<T> {
    loop {
        let left = deadline.checked_duration_since(Instant::now())?;
        match question(left.min(ROUND)) {
            Ok(answer) => return Some(answer),
            Err(error) => {
                tracing::debug!(%error, "asking about an assignment, trying again");
                // Some refusals come at once; a new attempt at once would meet the same.
                std::thread::park_timeout(left.min(Duration::from_millis(100)));
            }
        }
    }
}

/// A list for librdkafka. Offsets that cannot be set do not exist: each is a number or a word.
pub(super) fn list<'a>(
    partitions: impl IntoIterator<Item = (&'a TopicPartition, Offset)>,
) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for ((topic, partition), offset) in partitions {
        if offset == Offset::Invalid {
            list.add_partition(topic, *partition);
        } else if let Err(error) = list.add_partition_offset(topic, *partition, offset) {
            tracing::error!(%error, topic, partition, ?offset, "offset not accepted");
        }
    }
    list
}
