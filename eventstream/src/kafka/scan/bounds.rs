use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rdkafka::consumer::Consumer as _;

use super::{Bounds, Span};
use crate::deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::kafka::config::ClientConfigs;
use crate::kafka::context::Reporter;
use crate::kafka::error::{from_code, from_kafka};
use crate::kafka::inspect::{Asker, Question, answer, at_time};
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
    let question = Question {
        topic: Some(topic.to_owned()),
        group: None,
        watermarks: true,
        at: None,
    };
    let found = answer(&client, reporter, &question, deadline)?;
    let Some(mut found) = found.topics.into_iter().find(|found| found.name == topic) else {
        return Ok(None);
    };
    if let Some(error) = found.error {
        return match error.kind() {
            ErrorKind::UnknownTopic => Ok(None),
            _ => Err(error),
        };
    }
    let mut spans = spans(&found)?;
    let id = describe_topic(client.client(), topic, deadline::left(deadline))
        .map_err(|code| from_code(format!("describe topic {topic}"), code))?;
    // The embedded broker cannot look up offsets by time.
    if let Some(since) = since.filter(|_| !is_embedded(client.client())) {
        at_time(&client, reporter, &mut found, unix_millis(since), deadline)?;
        for (span, partition) in spans.iter_mut().zip(&found.partitions) {
            span.begin_at(partition.at_time.unwrap_or(span.from));
        }
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

impl Span {
    /// Leaves out older records.
    fn begin_at(&mut self, offset: i64) {
        // Those at the start may have gone meanwhile, and all of them.
        self.from = offset.max(self.from).min(self.to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_begins_within_itself() {
        for (from, to, at, expected) in [
            (0, 10, 4, 4),
            (5, 10, 4, 5),
            (5, 10, 10, 10),
            (5, 10, 12, 10),
            // Its records went between the questions for the two.
            (12, 10, 4, 10),
        ] {
            let mut span = Span {
                partition: 0,
                from,
                to,
            };
            span.begin_at(at);
            assert_eq!((span.from, span.to), (expected, to));
        }
    }
}
