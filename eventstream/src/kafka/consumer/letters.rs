//! Writing dead letters.

use std::sync::Arc;

use tracing::Instrument;

use crate::delivery::{Failure, Reason};
use crate::error::{Error, ErrorKind, Result};
use crate::kafka::producer::{Outgoing, Producer};
use crate::kafka::sender::Sender;
use crate::observe::trace::{self, Labels, Mark};
use crate::publish::Output;
use crate::publish::receipt::{Delivery, EventId};
use crate::record::Record;
use crate::subscribe::{DeadLetterOrigin, DeadLetterReason};

/// What is known of a failure besides the record.
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

impl From<Reason> for DeadLetterReason {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Undecodable => Self::Undecodable,
            Reason::Unmatched | Reason::Stopped => Self::Unmatched,
            Reason::Exhausted | Reason::Revoked => Self::Exhausted,
            Reason::Rejected => Self::Rejected,
        }
    }
}

/// Longer error texts are cut, so that the error does not make the dead letter too large.
const ERROR_BYTES: usize = 8 * 1024;
/// Cut to this if the dead letter is still too large for its topic.
const SHORT_ERROR_BYTES: usize = 128;

/// Writes a dead letter: the original key, value, headers and timestamp, and the reason. Returns
/// once the broker has acknowledged it. One that is too large is written with a shorter error;
/// nothing of the original is ever left out.
pub(super) async fn write(
    producer: &Producer,
    failure: &Failure<Arc<Record>>,
    cause: &Cause,
) -> Result<Delivery, Error> {
    let record = &failure.body;
    let topic = cause.topic(record);
    let reason = DeadLetterReason::from(failure.reason).as_str();
    let span = trace::dead_letter(&cause.labels, record, &topic, reason, &cause.last);
    let write = async |error_bytes| {
        let headers = headers(failure, cause, error_bytes);
        let outgoing = outgoing(record, &headers);
        let receipt = producer.publish(&topic, outgoing, EventId::none()).await?;
        receipt.await
    };
    let written = async {
        match write(ERROR_BYTES).await {
            Err(error) if cause.may_be_cut(&error) => write(SHORT_ERROR_BYTES).await,
            result => result,
        }
    };
    let result = written.instrument(span.of_logs()).await;
    trace::dead_lettered(&span, &result);
    result
}

/// A dead letter that goes out in a transaction, with the offset of its record.
pub(super) fn output(
    sender: &Sender,
    failure: &Failure<Arc<Record>>,
    cause: &Cause,
) -> Result<Output, Error> {
    let record = &failure.body;
    let topic = cause.topic(record);
    let kept = |error_bytes| {
        let headers = headers(failure, cause, error_bytes);
        sender.kept(&topic, &outgoing(record, &headers))
    };
    match kept(ERROR_BYTES) {
        Err(error) if cause.may_be_cut(&error) => kept(SHORT_ERROR_BYTES),
        result => result,
    }
}

impl Cause {
    /// The dead-letter topic of a record.
    fn topic(&self, record: &Record) -> String {
        format!("{}{}", record.source.topic, self.suffix)
    }

    /// Whether a dead letter that fails so may fit with a shorter error.
    fn may_be_cut(&self, error: &Error) -> bool {
        error.kind() == ErrorKind::TooLarge && self.error.len() > SHORT_ERROR_BYTES
    }
}

/// The original, with these headers.
fn outgoing<'a>(record: &'a Record, headers: &'a [(String, Option<Vec<u8>>)]) -> Outgoing<'a> {
    Outgoing {
        key: record.key(),
        value: record.value(),
        headers,
        timestamp_ms: record.timestamp_ms,
        ..Outgoing::default()
    }
}

/// The beginning of a text, cut between characters.
fn cut(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn headers(
    failure: &Failure<Arc<Record>>,
    cause: &Cause,
    error_bytes: usize,
) -> Vec<(String, Option<Vec<u8>>)> {
    let record = &failure.body;
    let origin = DeadLetterOrigin {
        reason: failure.reason.into(),
        error: cut(&cause.error, error_bytes).to_owned(),
        attempts: failure.attempts,
        topic: record.source.topic.as_str().to_owned(),
        partition: record.source.partition,
        offset: record.offset,
        timestamp_ms: record.timestamp_ms,
        group: cause.group.as_ref().to_owned(),
        event_name: record.event.as_ref().map(|event| event.name().to_owned()),
        replays: DeadLetterOrigin::replays_in(record.header_values()),
    };
    // A dead letter that failed again has the new reason; of the earlier headers only the replays are kept.
    let original = record.headers().iter();
    original
        .filter(|(name, _)| !DeadLetterOrigin::owns(name))
        .cloned()
        .chain(origin.headers())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn cuts_between_characters() {
        assert_eq!(cut("grün", 3), "gr");
        assert_eq!(cut("grün", 4), "grü");
        assert_eq!(cut("grün", 100), "grün");
    }
}
