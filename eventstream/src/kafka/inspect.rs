//! Requests about a cluster: brokers, topics, watermarks, committed offsets. They never create a
//! topic, and use their own client, which ends with the request.

use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};

use self::offsets::Offsets;
use super::config::ClientConfigs;
use super::context::Reporter;
use super::denied::{Operation, Resource, is_denied};
use super::error::{from_code, from_kafka};
use super::tokens::Supply;
use crate::deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::metadata::{BrokerMetadata, GroupMetadata, Metadata, PartitionMetadata, TopicMetadata};

mod offsets;

pub(super) use self::offsets::{is_open, is_passing};

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

/// A librdkafka client for questions. Field order is drop order: the supply goes before the client.
pub(super) struct Asker {
    _supply: Option<Supply>,
    client: BaseConsumer<Asking>,
}

impl Asker {
    pub(super) fn new(config: &ClientConfig, reporter: &Arc<Reporter>) -> KafkaResult<Self> {
        let client: BaseConsumer<Asking> = config.create_with_context(Asking::new(reporter))?;
        Ok(Self {
            _supply: reporter.supply(client.client()),
            client,
        })
    }
}

impl Deref for Asker {
    type Target = BaseConsumer<Asking>;

    fn deref(&self) -> &Self::Target {
        &self.client
    }
}

/// The request, with names as on the broker.
pub(super) struct Question {
    pub(super) topic: Option<String>,
    pub(super) group: Option<String>,
    pub(super) watermarks: bool,
    /// In milliseconds.
    pub(super) at: Option<i64>,
}

/// How long a new topic may take to become known to every broker.
const NEW: Duration = Duration::from_secs(1);
/// Waits between retries, growing from the first to the second.
pub(super) const AGAIN: (Duration, Duration) =
    (Duration::from_millis(25), Duration::from_millis(500));

pub(super) fn metadata(
    configs: &ClientConfigs,
    reporter: &Arc<Reporter>,
    question: &Question,
    timeout: Duration,
) -> Result<Metadata> {
    let deadline = deadline::after(timeout);
    let mut config = configs.admin.clone();
    if let Some(group) = &question.group {
        config.set("group.id", group);
    }
    let client = Asker::new(&config, reporter).map_err(|e| from_kafka("metadata", e))?;
    answer(&client, reporter, question, deadline)
}

/// Like [`metadata`], with a client that there is already.
pub(super) fn answer(
    client: &BaseConsumer<Asking>,
    reporter: &Reporter,
    question: &Question,
    deadline: Instant,
) -> Result<Metadata> {
    let topic = question.topic.as_deref();
    let mut found = described(reporter, &fetch(client, reporter, topic, deadline)?, topic);
    let new_until = deadline.min(Instant::now() + NEW);
    let mut pause = AGAIN.0;
    while topic.is_some() && found.topics.iter().any(is_missing) && Instant::now() < new_until {
        wait(client, &mut pause);
        found = described(reporter, &fetch(client, reporter, topic, deadline)?, topic);
    }
    let offsets = Offsets {
        client,
        reporter,
        topic,
        deadline,
    };
    if question.watermarks {
        offsets.watermarks(&mut found)?;
    }
    if let Some(millis) = question.at {
        offsets.at_time(&mut found.topics, millis)?;
    }
    if let Some(group) = &question.group {
        let is_known = offsets.committed(group, &mut found)?;
        found.group = Some(GroupMetadata {
            name: group.clone(),
            is_known,
        });
    }
    Ok(found)
}

/// Only the topics of these names, with the watermarks of the requested partitions.
pub(super) fn with_watermarks(
    client: &BaseConsumer<Asking>,
    reporter: &Reporter,
    names: &[&str],
    wanted: impl Fn(&str, i32) -> bool,
    at: Option<i64>,
    deadline: Instant,
) -> Result<Vec<TopicMetadata>> {
    let topic = match names {
        [] => return Ok(Vec::new()),
        [topic] => Some(*topic),
        _ => None,
    };
    let mut found = described(reporter, &fetch(client, reporter, topic, deadline)?, topic);
    found.topics.retain(|topic| names.contains(&&*topic.name));
    for topic in &mut found.topics {
        topic.partitions.retain(|p| wanted(&topic.name, p.id));
    }
    let offsets = Offsets {
        client,
        reporter,
        topic,
        deadline,
    };
    offsets.watermarks(&mut found)?;
    if let Some(millis) = at {
        offsets.at_time(&mut found.topics, millis)?;
    }
    Ok(found.topics)
}

/// Fills in the first record at or after a time in each partition of a topic whose end is known.
pub(super) fn at_time(
    client: &BaseConsumer<Asking>,
    reporter: &Reporter,
    topic: &mut TopicMetadata,
    millis: i64,
    deadline: Instant,
) -> Result<()> {
    let name = topic.name.clone();
    let offsets = Offsets {
        client,
        reporter,
        topic: Some(&name),
        deadline,
    };
    offsets.at_time(std::slice::from_mut(topic), millis)
}

fn is_missing(topic: &TopicMetadata) -> bool {
    let error = topic.error.as_ref();
    error.is_some_and(|error| error.kind() == ErrorKind::UnknownTopic)
}

/// Serves librdkafka's log and errors for a while, longer each time.
pub(super) fn wait(client: &BaseConsumer<Asking>, pause: &mut Duration) {
    let until = Instant::now() + *pause;
    *pause = (*pause * 2).min(AGAIN.1);
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        // Nothing is subscribed, so this is an error, which the reporter has seen.
        let _ = client.poll(left);
    }
}

/// Retries temporary errors, such as those of a new topic or coordinator.
pub(super) fn until_passed<T>(
    client: &BaseConsumer<Asking>,
    until: Instant,
    mut ask: impl FnMut() -> T,
    passes: impl Fn(&T) -> bool,
) -> T {
    let mut pause = AGAIN.0;
    loop {
        let answer = ask();
        if !passes(&answer) || deadline::left(until) <= pause {
            return answer;
        }
        wait(client, &mut pause);
    }
}

/// Requests in short rounds, between which librdkafka's errors are served: they show why there is
/// no answer.
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
        // Errors and log lines only, as nothing is subscribed.
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

/// librdkafka's answer in this crate's types, without offsets.
pub(super) fn described(
    reporter: &Reporter,
    found: &rdkafka::metadata::Metadata,
    topic: Option<&str>,
) -> Metadata {
    let brokers = found.brokers().iter().map(|broker| BrokerMetadata {
        id: broker.id(),
        host: broker.host().to_owned(),
        port: u16::try_from(broker.port()).unwrap_or(0),
    });
    let topics = found.topics().iter();
    // Internal topics are shown only on request.
    let topics = topics.filter(|entry| topic.is_some() || !entry.name().starts_with("__"));
    let mut found = Metadata {
        brokers: brokers.collect(),
        topics: topics.map(|entry| topic_of(reporter, entry)).collect(),
        group: None,
    };
    found.brokers.sort_by_key(|broker| broker.id);
    found.topics.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

fn topic_of(reporter: &Reporter, entry: &rdkafka::metadata::MetadataTopic) -> TopicMetadata {
    let name = entry.name().to_owned();
    let error = entry.error().map(Code::from).map(|code| {
        let doing = format!("metadata of topic {name}");
        if is_denied(code) {
            reporter.denied(&doing, Operation::Describe, Resource::Topic(&name), code)
        } else {
            from_code(doing, code)
        }
    });
    let mut partitions: Vec<_> = entry
        .partitions()
        .iter()
        .map(|partition| PartitionMetadata {
            id: partition.id(),
            leader: (partition.leader() >= 0).then(|| partition.leader()),
            replicas: partition.replicas().to_vec(),
            in_sync: partition.isr().to_vec(),
            low: None,
            high: None,
            at_time: None,
            committed: None,
            error: None,
        })
        .collect();
    partitions.sort_by_key(|partition| partition.id);
    TopicMetadata {
        name,
        partitions,
        error,
    }
}
