use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rdkafka::consumer::Consumer as _;

use super::{Bounds, Span};
use crate::deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::kafka::config::ClientConfigs;
use crate::kafka::context::Reporter;
use crate::kafka::error::{from_code, from_kafka};
use crate::kafka::inspect::{Asker, Question, fetch, metadata};
use crate::kafka::list_offsets::describe_topic;
use crate::kafka::questions::is_embedded;
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
    let deadline = deadline::after(timeout);
    let client = Asker::new(&configs.admin, reporter)
        .map_err(|e| from_kafka(format!("describe topic {topic}"), e))?;
    // Requests go to the brokers that the client knows.
    fetch(&client, reporter, Some(topic), deadline)?;
    // The embedded broker cannot look up offsets by time.
    let since = since.filter(|_| !is_embedded(client.client()));
    let question = Question {
        topic: Some(topic.to_owned()),
        group: None,
        watermarks: true,
        at: since.map(unix_millis),
    };
    let found = metadata(configs, reporter, &question, deadline::left(deadline))?;
    let Some(found) = found.topics.into_iter().find(|found| found.name == topic) else {
        return Ok(None);
    };
    if let Some(error) = found.error {
        return match error.kind() {
            ErrorKind::UnknownTopic => Ok(None),
            _ => Err(error),
        };
    }
    let spans = spans(&found)?;
    let id = describe_topic(client.client(), topic, deadline::left(deadline))
        .map_err(|code| from_code(format!("describe topic {topic}"), code))?;
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
        let (Some(low), Some(high)) = (partition.low, partition.high) else {
            let (topic, id) = (&found.name, partition.id);
            let error = partition.error.clone();
            return Err(error.unwrap_or_else(|| {
                let text = format!("the offsets of {topic} partition {id} are unknown");
                Error::new(ErrorKind::Broker, text).with_retriable(true)
            }));
        };
        spans.push(Span {
            partition: partition.id,
            from: partition.at_time.map_or(low, |at| at.max(low)).min(high),
            to: high,
        });
    }
    Ok(spans)
}
