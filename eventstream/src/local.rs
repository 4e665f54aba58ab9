//! The backends that need no broker: `stdout` and `none`.

use std::io::Write;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use crate::error::{Error, ErrorKind, Result};
use crate::name::Topic;
use crate::observe::stats::WriterStats;
use crate::publish::AuditLog;
use crate::publish::Publish;
use crate::publish::receipt::{Receipt, Stored};

/// One JSON line for each event, validated as on `kafka`: topic, key, headers and the envelope.
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
        let mut event = Vec::new();
        publish.encode(id.as_str(), None, &mut event);
        let line = Line {
            topic: &topic,
            key: publish.key_or(&id),
            headers: publish.headers(),
            member: "event",
            value: event,
        };
        self.write(line)
            .map(|stored| Receipt::ready(topic.clone(), id, stored))
    }

    pub(crate) fn publish_audit_log(&self, topic: &Topic, log: &AuditLog) -> Result<Receipt> {
        log.validate()?;
        let mut value = Vec::new();
        let id = log.encode_now(&mut value);
        let line = Line {
            topic,
            key: log.record_key().as_bytes(),
            headers: &[],
            member: "audit_log",
            value,
        };
        self.write(line)
            .map(|stored| Receipt::ready(topic.clone(), id, stored))
    }

    fn write(&self, line: Line<'_>) -> Result<Stored> {
        let topic = line.topic;
        let size = line.value.len();
        if size > self.message_max_bytes {
            let allowed = self.message_max_bytes;
            let text =
                format!("publish to {topic}: the event has {size} bytes, the limit is {allowed}");
            return Err(Error::new(ErrorKind::TooLarge, text));
        }
        let line = line.into_bytes();
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

/// A line, in the tool's format for consumed events.
struct Line<'a> {
    topic: &'a Topic,
    key: &'a [u8],
    headers: &'a [(String, Option<Vec<u8>>)],
    member: &'static str,
    value: Vec<u8>,
}

impl Line<'_> {
    fn into_bytes(mut self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.value.len() + 256);
        // Topics contain no character that JSON escapes.
        out.extend_from_slice(format!("{{\"topic\":\"{}\",\"key\":", self.topic).as_bytes());
        push_bytes(self.key, &mut out);
        out.extend_from_slice(b",\"headers\":[");
        for (at, (name, value)) in self.headers.iter().enumerate() {
            out.extend_from_slice(if at == 0 { b"[" } else { b",[" });
            push_bytes(name.as_bytes(), &mut out);
            out.push(b',');
            match value {
                Some(value) => push_bytes(value, &mut out),
                None => out.extend_from_slice(b"null"),
            }
            out.push(b']');
        }
        out.extend_from_slice(format!("],\"{}\":", self.member).as_bytes());
        // A payload given as JSON text may have line breaks between its tokens.
        for byte in &mut self.value {
            if matches!(byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
        out.append(&mut self.value);
        out.extend_from_slice(b"}\n");
        out
    }
}

/// As a JSON string; `{"base64":".."}` if it is not text.
fn push_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => out.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes()),
        Err(_) => out.extend_from_slice(format!("{{\"base64\":\"{}\"}}", base64(bytes)).as_bytes()),
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |at: usize| group.get(at).copied().unwrap_or_default();
        let bits = u32::from_be_bytes([0, byte(0), byte(1), byte(2)]);
        for at in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * at)) as usize & 63];
            text.push(if at > group.len() { '=' } else { digit.into() });
        }
    }
    text
}

/// Accepts everything, validates nothing, discards it.
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
        let id = crate::publish::receipt::EventId::Generated(crate::event::new_id());
        self.forget(topic.clone(), id)
    }

    fn forget(&self, topic: Topic, id: crate::publish::receipt::EventId) -> Receipt {
        let count = self.accepted.fetch_add(1, Ordering::Relaxed);
        Receipt::ready(topic, id, stored(count))
    }

    pub(crate) fn stats(&self) -> WriterStats {
        stats(&self.accepted)
    }
}

/// The topic in a receipt of the blackhole if the topic's name is invalid.
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

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_is_padded() {
        for (bytes, text) in [
            (&b""[..], ""),
            (b"f", "Zg=="),
            (b"fo", "Zm8="),
            (b"foo", "Zm9v"),
            (b"\xff\xfe\xfd\xfc", "//79/A=="),
        ] {
            assert_eq!(base64(bytes), text);
        }
    }
}
