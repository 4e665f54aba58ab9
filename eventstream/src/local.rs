//! The streams that need no broker: `stdout` and `none`.

use std::io::Write;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use crate::audit::AuditLog;
use crate::error::{Error, ErrorKind, Result};
use crate::name::Topic;
use crate::publish::Publish;
use crate::receipt::{Receipt, Stored};
use crate::stats::WriterStats;

/// One JSON line for each event, validated as on `kafka`.
pub(crate) struct Stdout {
    writer: Mutex<Box<dyn Write + Send>>,
    strict: bool,
    message_max_bytes: usize,
    written: AtomicI64,
}

impl Stdout {
    pub(crate) fn new(
        writer: Box<dyn Write + Send>,
        strict: bool,
        message_max_bytes: usize,
    ) -> Self {
        Self {
            writer: Mutex::new(writer),
            strict,
            message_max_bytes,
            written: AtomicI64::new(0),
        }
    }

    pub(crate) fn publish(&self, publish: &Publish) -> Result<Receipt> {
        publish.validate(self.strict)?;
        let topic = Topic::new(publish.topic_name())?;
        let id = publish.assign_id();
        let mut line = Vec::new();
        publish.encode(id.as_str(), None, &mut line);
        self.write(&topic, line)
            .map(|stored| Receipt::ready(topic, id, stored))
    }

    pub(crate) fn publish_audit_log(&self, topic: &Topic, log: &AuditLog) -> Result<Receipt> {
        log.validate()?;
        let mut line = Vec::new();
        let id = log.encode_now(&mut line);
        self.write(topic, line)
            .map(|stored| Receipt::ready(topic.clone(), id, stored))
    }

    fn write(&self, topic: &Topic, mut line: Vec<u8>) -> Result<Stored> {
        if line.len() > self.message_max_bytes {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!(
                    "publish to {topic}: the event has {} bytes, allowed are {}",
                    line.len(),
                    self.message_max_bytes
                ),
            ));
        }
        line.push(b'\n');
        let mut writer = self.writer.lock();
        writer
            .write_all(&line)
            .and_then(|()| writer.flush())
            .map_err(|e| {
                Error::new(
                    ErrorKind::Broker,
                    format!("publish to {topic}: write the line"),
                )
                .with_source(e)
            })?;
        Ok(stored(self.written.fetch_add(1, Ordering::Relaxed)))
    }

    pub(crate) fn stats(&self) -> WriterStats {
        stats(&self.written)
    }
}

/// Accepts, validates nothing, forgets.
#[derive(Default)]
pub(crate) struct Blackhole {
    accepted: AtomicI64,
}

impl Blackhole {
    pub(crate) fn publish(&self, publish: &Publish) -> Receipt {
        let topic = Topic::new(publish.topic_name()).unwrap_or_else(|_| unnamed());
        self.forget(topic, publish.assign_id())
    }

    pub(crate) fn publish_audit_log(&self, topic: &Topic) -> Receipt {
        let id = crate::receipt::EventId::Generated(crate::event::new_id());
        self.forget(topic.clone(), id)
    }

    fn forget(&self, topic: Topic, id: crate::receipt::EventId) -> Receipt {
        let count = self.accepted.fetch_add(1, Ordering::Relaxed);
        Receipt::ready(topic, id, stored(count))
    }

    pub(crate) fn stats(&self) -> WriterStats {
        stats(&self.accepted)
    }
}

/// What a receipt of the blackhole calls a topic that is no valid name.
fn unnamed() -> Topic {
    Topic::new("none").expect("a literal that is a valid topic")
}

fn stored(offset: i64) -> Stored {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Stored {
        partition: 0,
        offset,
        timestamp_ms: i64::try_from(now.as_millis()).unwrap_or(i64::MAX),
    }
}

fn stats(count: &AtomicI64) -> WriterStats {
    let count = u64::try_from(count.load(Ordering::Relaxed)).unwrap_or(0);
    WriterStats {
        accepted: count,
        stored: count,
        ..WriterStats::default()
    }
}
