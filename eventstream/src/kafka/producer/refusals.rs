//! Why an event is not accepted into the buffer, and what a flush has left there.

use std::time::Duration;

use super::Outgoing;
use crate::error::{Error, ErrorKind, Result};

/// The room that librdkafka adds to a record inside `message.max.bytes`: batch and record headers.
const RECORD_OVERHEAD: usize = 128;

/// Whether a record fits into `message.max.bytes`.
pub(crate) fn check_size(topic: &str, record: &Outgoing<'_>, max: usize) -> Result<()> {
    let size = record.size();
    if size + RECORD_OVERHEAD <= max {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::TooLarge,
        format!(
            "publish to {topic}: the event has {size} bytes, the limit is {} \
             (message.max.bytes {max} less {RECORD_OVERHEAD} for the record's headers)",
            max.saturating_sub(RECORD_OVERHEAD)
        ),
    ))
}

pub(crate) fn full(events: usize, bytes: usize) -> Error {
    Error::new(
        ErrorKind::BufferFull,
        format!("publish: the buffer is full ({events} events, {bytes} bytes)"),
    )
}

/// The buffer had no room for the whole publish timeout; `cause` says why.
pub(crate) fn no_room(patience: Duration, cause: &str) -> Error {
    let text = format!(
        "publish: the buffer stayed full for {patience:?}; the event was not accepted{cause}"
    );
    Error::new(ErrorKind::Timeout, text)
}

pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "publish: the client has been shut down")
}

/// The error of a flush that ended with this many events pending.
pub(crate) fn pending(events: usize, timeout: Duration) -> Error {
    let text = format!("flush: {events} events are still pending after {timeout:?}");
    Error::new(ErrorKind::Timeout, text)
}
