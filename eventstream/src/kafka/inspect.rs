//! Questions about a cluster: brokers, topics, watermarks, committed offsets. They never create a
//! topic, and use a client of their own that ends with the question.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;

use super::config::ClientConfigs;
use super::context::Reporter;
use super::error::{from_code, from_kafka};
use crate::deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::metadata::{BrokerMetadata, Metadata, PartitionMetadata, TopicMetadata};

pub(super) struct Asking(Arc<Reporter>);

impl Asking {
    pub(super) fn new(reporter: &Arc<Reporter>) -> Self {
        Self(Arc::clone(reporter))
    }
}

impl ClientContext for Asking {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(&error, reason);
    }
}

impl ConsumerContext for Asking {}

pub(crate) fn metadata(
    configs: &ClientConfigs,
    reporter: &Arc<Reporter>,
    topic: Option<&str>,
    group: Option<&str>,
    timeout: Duration,
) -> Result<Metadata> {
    let deadline = deadline::after(timeout);
    let mut config = configs.admin.clone();
    if let Some(group) = group {
        config.set("group.id", group);
    }
    let client: BaseConsumer<Asking> = config
        .create_with_context(Asking::new(reporter))
        .map_err(|e| from_kafka("metadata", e))?;
    let found = fetch(&client, reporter, topic, deadline)?;
    let mut topics = Vec::new();
    for entry in found.topics() {
        // Internal topics are the broker's own.
        if topic.is_none() && entry.name().starts_with("__") {
            continue;
        }
        topics.push(describe(&client, entry, group.is_some(), deadline)?);
    }
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    let mut brokers: Vec<_> = found
        .brokers()
        .iter()
        .map(|broker| BrokerMetadata {
            id: broker.id(),
            host: broker.host().to_owned(),
            port: u16::try_from(broker.port()).unwrap_or(0),
        })
        .collect();
    brokers.sort_by_key(|broker| broker.id);
    Ok(Metadata { brokers, topics })
}

/// Asks in short rounds, between which librdkafka's errors are served: they say why nobody answers.
pub(super) fn fetch(
    client: &BaseConsumer<Asking>,
    reporter: &Reporter,
    topic: Option<&str>,
    deadline: Instant,
) -> Result<rdkafka::metadata::Metadata> {
    const ROUND: Duration = Duration::from_secs(1);
    const SERVED: Duration = Duration::from_millis(10);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let error =
            match client.fetch_metadata(topic, left.min(ROUND).max(Duration::from_millis(1))) {
                Ok(metadata) => {
                    reporter.accepted();
                    return Ok(metadata);
                }
                Err(error) => error,
            };
        // Errors and log lines only: nothing is subscribed.
        while client.poll(SERVED).is_some() {}
        if let Some(refused) = reporter.suspected() {
            return Err(refused);
        }
        if deadline <= Instant::now() {
            let doing = reporter.last_error().map_or_else(
                || "metadata: no broker answered".to_owned(),
                |last| format!("metadata: no broker answered; last error: {last}"),
            );
            return Err(Error::new(ErrorKind::Unreachable, doing).with_source(error));
        }
    }
}

fn describe(
    client: &BaseConsumer<Asking>,
    entry: &rdkafka::metadata::MetadataTopic,
    with_group: bool,
    deadline: Instant,
) -> Result<TopicMetadata> {
    let name = entry.name().to_owned();
    let error = entry
        .error()
        .map(|code: RDKafkaRespErr| from_code(format!("metadata of topic {name}"), code.into()));
    let left = || {
        deadline
            .saturating_duration_since(Instant::now())
            .max(Duration::from_millis(100))
    };
    let committed = if with_group && error.is_none() {
        let mut asked = TopicPartitionList::new();
        for partition in entry.partitions() {
            asked.add_partition(&name, partition.id());
        }
        Some(
            client
                .committed_offsets(asked, left())
                .map_err(|e| from_kafka(format!("committed offsets of {name}"), e))?,
        )
    } else {
        None
    };
    let mut partitions = Vec::new();
    for partition in entry.partitions() {
        let id = partition.id();
        let (low, high) = client
            .fetch_watermarks(&name, id, left())
            .map_err(|e| from_kafka(format!("watermarks of {name} partition {id}"), e))?;
        partitions.push(PartitionMetadata {
            id,
            leader: (partition.leader() >= 0).then(|| partition.leader()),
            replicas: partition.replicas().to_vec(),
            in_sync: partition.isr().to_vec(),
            low,
            high,
            committed: committed
                .as_ref()
                .and_then(|list| list.find_partition(&name, id))
                .and_then(|found| match found.offset() {
                    Offset::Offset(offset) => Some(offset),
                    _ => None,
                }),
        });
    }
    partitions.sort_by_key(|partition| partition.id);
    Ok(TopicMetadata {
        name,
        partitions,
        error,
    })
}
