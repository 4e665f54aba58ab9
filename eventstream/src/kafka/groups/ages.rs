//! The age of a partition's next record, which has to be read for that.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::Message;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::super::config::ClientConfigs;
use super::super::context::Reporter;
use super::super::inspect::Asker;
use crate::groups::GroupPartition;

/// One record of each partition is needed, without librdkafka's usual read-ahead.
const SPARING: &[(&str, &str)] = &[
    ("enable.auto.commit", "false"),
    ("auto.offset.reset", "earliest"),
    ("enable.partition.eof", "true"),
    ("fetch.message.max.bytes", "16384"),
    ("queued.min.messages", "1"),
    ("fetch.wait.max.ms", "100"),
];

/// Fills in `lag_time`; what is not found by the deadline stays unknown.
pub(super) fn ages(
    configs: &ClientConfigs,
    reporter: &Arc<Reporter>,
    partitions: &mut [GroupPartition],
    until: Instant,
) {
    let mut wanted = HashMap::new();
    let mut list = TopicPartitionList::new();
    for (at, partition) in partitions.iter_mut().enumerate() {
        let (Some(committed), Some(low), Some(lag)) =
            (partition.committed, partition.low, partition.lag())
        else {
            continue;
        };
        let name = (partition.topic.clone(), partition.partition);
        let from = Offset::Offset(committed.max(low));
        if lag == 0 {
            partition.lag_time = Some(Duration::ZERO);
        } else if list.add_partition_offset(&name.0, name.1, from).is_ok() {
            wanted.insert(name, at);
        }
    }
    if wanted.is_empty() {
        return;
    }
    let Some(client) = reader(configs, reporter, &list) else {
        return;
    };
    while !wanted.is_empty() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        match client.poll(left) {
            Some(Ok(record)) => {
                let name = (record.topic().to_owned(), record.partition());
                if let Some(at) = wanted.remove(&name) {
                    let millis = record.timestamp().to_millis();
                    partitions[at].lag_time = millis.and_then(age);
                }
            }
            // The rest of the log has no record, for instance because it ends with a transaction.
            Some(Err(KafkaError::PartitionEOF(id))) => {
                // The topic of this end is not reported; a record that arrives all the same counts.
                if wanted.keys().all(|(_, partition)| *partition == id) && wanted.len() == 1 {
                    return;
                }
            }
            Some(Err(_)) | None => {}
        }
    }
}

fn reader(
    configs: &ClientConfigs,
    reporter: &Arc<Reporter>,
    list: &TopicPartitionList,
) -> Option<Asker> {
    let mut config = configs.admin.clone();
    // librdkafka only reads with a group id, although the group is neither joined nor queried.
    config.set("group.id", "eventstream");
    for (key, value) in SPARING {
        config.set(*key, *value);
    }
    let client = Asker::new(&config, reporter).ok()?;
    client.assign(list).ok()?;
    Some(client)
}

fn age(millis: i64) -> Option<Duration> {
    let time = UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).ok()?);
    Some(SystemTime::now().duration_since(time).unwrap_or_default())
}
