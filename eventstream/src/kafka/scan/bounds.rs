use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rdkafka::consumer::{BaseConsumer, Consumer as _};

use super::{Bounds, Span};
use crate::error::{Error, ErrorKind, Result};
use crate::kafka::config::ClientConfigs;
use crate::kafka::context::Reporter;
use crate::kafka::error::{from_code, from_kafka};
use crate::kafka::inspect::{Asker, Asking, Question, fetch, metadata};
use crate::kafka::list_offsets::{Ask, describe_topic, list_offsets};
use crate::kafka::questions::{Which, is_embedded};
use crate::kafka::unix_millis;
use crate::metadata::TopicMetadata;

/// The current bounds of a topic, named as on the broker; `None` if it does not exist. With `since`, the spans begin
/// at the first record of that time or later, as far as the brokers know it.
pub(in crate::kafka) fn bounds(
    configs: &ClientConfigs,
    reporter: &Arc<Reporter>,
    topic: &str,
    since: Option<SystemTime>,
    timeout: Duration,
) -> Result<Option<Bounds>> {
    let deadline = crate::deadline::after(timeout);
    let question = Question {
        topic: Some(topic.to_owned()),
        group: None,
        watermarks: true,
        at: None,
    };
    let found = metadata(configs, reporter, &question, timeout)?;
    let Some(found) = found.topics.into_iter().find(|found| found.name == topic) else {
        return Ok(None);
    };
    if let Some(error) = found.error {
        return match error.kind() {
            ErrorKind::UnknownTopic => Ok(None),
            _ => Err(error),
        };
    }
    let mut spans = spans(&found)?;
    let client = Asker::new(&configs.admin, reporter)
        .map_err(|e| from_kafka(format!("describe topic {topic}"), e))?;
    // Requests go to the brokers that the client knows.
    fetch(&client, reporter, Some(topic), deadline)?;
    let left = || deadline.saturating_duration_since(Instant::now());
    let id = describe_topic(client.client(), topic, left())
        .map_err(|code| from_code(format!("describe topic {topic}"), code))?;
    // The embedded broker cannot look up offsets by time.
    if let Some(since) = since.filter(|_| !is_embedded(client.client())) {
        begin_at(&client, &found, since, left(), &mut spans)?;
    }
    let replicas = found.partitions.iter().map(|p| p.replicas.len()).max();
    Ok(Some(Bounds {
        id: id.map(|id| id.to_string()),
        replicas: u16::try_from(replicas.unwrap_or(1)).unwrap_or(1).max(1),
        spans,
    }))
}

fn spans(found: &TopicMetadata) -> Result<Vec<Span>> {
    let mut spans = Vec::with_capacity(found.partitions.len());
    for partition in &found.partitions {
        let (Some(from), Some(to)) = (partition.low, partition.high) else {
            let (topic, id) = (&found.name, partition.id);
            let error = partition.error.clone();
            return Err(error.unwrap_or_else(|| {
                let text = format!("the offsets of {topic} partition {id} are unknown");
                Error::new(ErrorKind::Broker, text).with_retriable(true)
            }));
        };
        spans.push(Span {
            partition: partition.id,
            from,
            to,
        });
    }
    Ok(spans)
}

/// Leaves out older records.
fn begin_at(
    client: &BaseConsumer<Asking>,
    found: &TopicMetadata,
    since: SystemTime,
    timeout: Duration,
    spans: &mut [Span],
) -> Result<()> {
    let millis = unix_millis(since);
    let mut by_leader: HashMap<i32, Vec<(String, i32)>> = HashMap::new();
    for partition in &found.partitions {
        let leader = by_leader.entry(partition.leader.unwrap_or(-1)).or_default();
        leader.push((found.name.clone(), partition.id));
    }
    let asks: Vec<_> = by_leader
        .into_values()
        .map(|partitions| Ask {
            partitions,
            which: Which::At(millis),
        })
        .collect();
    for answer in list_offsets(client.client(), &asks, timeout) {
        let doing = || format!("look up offsets by time in {}", found.name);
        for ((_, id), offset) in answer.map_err(|code| from_code(doing(), code))? {
            let offset = offset.map_err(|code| from_code(doing(), code))?;
            if let Some(span) = spans.iter_mut().find(|span| span.partition == id) {
                // Negative: all records are older.
                span.from = if offset < 0 {
                    span.to
                } else {
                    offset.clamp(span.from, span.to)
                };
            }
        }
    }
    Ok(())
}
