//! The dead letter format. What stands here is read by tools and other services: it is stable.

use std::sync::Arc;

use tracing::Instrument;

use crate::delivery::{Failure, Reason};
use crate::error::{Error, Result};
use crate::handler::Record;
use crate::kafka::producer::{Outgoing, Producer};
use crate::receipt::{Delivery, EventId};
use crate::trace::{self, Labels, Mark};

const PREFIX: &str = "eventstream-dead-letter-";

/// What is known of a failure beside the record.
pub(super) struct Cause {
    /// The last error, as text.
    pub(super) error: String,
    /// The group on the wire.
    pub(super) group: Arc<str>,
    pub(super) suffix: Arc<str>,
    pub(super) labels: Arc<Labels>,
    /// The last attempt at it.
    pub(super) last: Mark,
}

/// The word of a reason in the header.
pub(super) fn word(reason: Reason) -> &'static str {
    match reason {
        Reason::Undecodable => "undecodable",
        Reason::Unmatched => "unmatched",
        Reason::Exhausted | Reason::Revoked => "exhausted",
        Reason::Rejected => "rejected",
    }
}

/// Writes a dead letter: the original key, value, headers and timestamp, and why. Returns once the
/// broker has acknowledged it.
pub(super) async fn write(
    producer: &Producer,
    failure: &Failure<Arc<Record>>,
    cause: &Cause,
) -> Result<Delivery, Error> {
    let record = &failure.body;
    let topic = format!("{}{}", record.source.topic, cause.suffix);
    let reason = word(failure.reason);
    let span = trace::dead_letter(&cause.labels, record, &topic, reason, &cause.last);
    let headers = headers(failure, cause);
    let outgoing = Outgoing {
        key: record.key(),
        value: record.value(),
        headers: &headers,
        timestamp_ms: record.timestamp_ms,
        ..Outgoing::default()
    };
    let id = EventId::Chosen("".into());
    let publish = async { producer.publish(&topic, outgoing, id).await?.await };
    let result = publish.instrument(span.clone()).await;
    trace::dead_lettered(&span, &result);
    result
}

fn headers(failure: &Failure<Arc<Record>>, cause: &Cause) -> Vec<(String, Option<Vec<u8>>)> {
    let record = &failure.body;
    // A dead letter that failed again says why it failed now; the older story is its origin's.
    let mut headers: Vec<_> = record
        .headers()
        .iter()
        .filter(|(name, _)| !name.starts_with(PREFIX))
        .cloned()
        .collect();
    let mut add = |name: &str, value: String| {
        headers.push((format!("{PREFIX}{name}"), Some(value.into_bytes())));
    };
    add("reason", word(failure.reason).to_owned());
    add("error", cause.error.clone());
    add("attempts", failure.attempts.to_string());
    add("topic", record.source.topic.as_str().to_owned());
    add("partition", record.source.partition.to_string());
    add("offset", record.offset.to_string());
    if let Some(timestamp) = record.timestamp_ms {
        add("timestamp", timestamp.to_string());
    }
    add("group", cause.group.to_string());
    if let Some(event) = &record.event {
        add("event-name", event.name().to_owned());
    }
    headers
}
