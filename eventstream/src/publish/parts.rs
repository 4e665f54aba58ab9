//! The parts of an event to publish: all text in one buffer, and where each field is in it.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::error::Fault;

#[derive(Clone)]
pub(super) struct Parts {
    /// The text of all fields, concatenated.
    text: String,
    fields: [Span; FIELDS],
    pub(super) numbers: Numbers,
    pub(super) timestamp: Stamp,
    pub(super) timeout: Option<Duration>,
    /// A key that need not be text.
    pub(super) key: Option<Vec<u8>>,
    pub(super) headers: Vec<(String, Option<Vec<u8>>)>,
    pub(super) faults: Vec<Fault>,
}

#[derive(Clone, Copy, Default)]
struct Span {
    start: u32,
    end: u32,
}

#[derive(Clone, Copy)]
pub(super) struct Numbers {
    pub(super) version: i64,
    pub(super) event_id: i64,
    pub(super) event_type: i64,
    pub(super) event_level: i64,
    pub(super) privacy: bool,
}

impl Default for Numbers {
    fn default() -> Self {
        Self {
            version: 1,
            event_id: 0,
            event_type: 0,
            event_level: 0,
            privacy: false,
        }
    }
}

#[derive(Clone, Copy)]
pub(super) enum Stamp {
    Now,
    At(SystemTime),
    /// As on the wire: the text is a field, the nanoseconds are here.
    Given(i64),
}

/// The text fields, as positions in `fields`.
#[derive(Clone, Copy)]
pub(super) enum Field {
    Topic,
    Name,
    Id,
    Key,
    Namespace,
    ParentNamespace,
    UnionNamespace,
    SourceNamespace,
    TargetNamespace,
    ClientId,
    TraceId,
    SpanContext,
    UserId,
    SessionId,
    Service,
    Timestamp,
    ClientIds,
    TargetUserIds,
    AdditionalFields,
    Payload,
    EventTopic,
}

const FIELDS: usize = 21;

/// Room for a usual event, so that the buffer does not grow.
const USUAL: usize = 1024;
/// If a large event has grown the buffer beyond this, it is not kept for the next event.
pub(crate) const KEPT: usize = 64 * 1024;

thread_local! {
    /// The parts of the last event that completed on this thread: allocating and freeing them for each event costs as
    /// much as writing its envelope.
    static SPARE: Cell<Option<Box<Parts>>> = const { Cell::new(None) };
}

/// Parts that are returned to the thread on which they are dropped.
#[derive(Clone)]
pub(super) struct Lent(
    /// Always `Some` until dropped.
    Option<Box<Parts>>,
);

impl Default for Lent {
    fn default() -> Self {
        // A thread that is ending has no spare.
        let spare = SPARE.try_with(Cell::take).ok().flatten();
        Self(Some(spare.unwrap_or_default()))
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(mut parts) = self.0.take() else {
            return;
        };
        if parts.text.capacity() <= KEPT {
            parts.clear();
            let _ = SPARE.try_with(|spare| spare.set(Some(parts)));
        }
    }
}

impl Deref for Lent {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        self.0.as_deref().expect("there until it is dropped")
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut Parts {
        self.0.as_deref_mut().expect("there until it is dropped")
    }
}

impl Default for Parts {
    fn default() -> Self {
        Self::within(String::with_capacity(USUAL))
    }
}

impl Parts {
    /// Empty, with a buffer for what follows.
    fn within(text: String) -> Self {
        Self {
            text,
            fields: [Span::default(); FIELDS],
            numbers: Numbers::default(),
            timestamp: Stamp::Now,
            timeout: None,
            key: None,
            headers: Vec::new(),
            faults: Vec::new(),
        }
    }

    fn clear(&mut self) {
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        *self = Self::within(text);
    }

    pub(super) fn put(&mut self, field: Field, value: &str) {
        let start = self.text.len();
        self.text.push_str(value);
        self.span(field, start);
    }

    fn span(&mut self, field: Field, start: usize) {
        match (u32::try_from(start), u32::try_from(self.text.len())) {
            (Ok(start), Ok(end)) => self.fields[field as usize] = Span { start, end },
            _ => self.faults.push(Fault::new(
                "payload",
                "",
                "all fields together must have at most 4 GiB",
            )),
        }
    }

    pub(super) fn get(&self, field: Field) -> &str {
        let Span { start, end } = self.fields[field as usize];
        &self.text[start as usize..end as usize]
    }

    pub(super) fn object<T: Serialize + ?Sized>(&mut self, field: Field, value: &T) {
        let start = self.text.len();
        self.json(field, value);
        match self.text.as_bytes().get(start) {
            Some(b'{') => {}
            // A `None`, or a failure that is already recorded as a fault.
            Some(b'n') | None => self.text.truncate(start),
            Some(_) => {
                let shown: String = self.text[start..].chars().take(40).collect();
                self.faults
                    .push(Fault::new(field.name(), shown, "must be a JSON object"));
                self.text.truncate(start);
            }
        }
        self.span(field, start);
    }

    pub(super) fn list<I: IntoIterator<Item: AsRef<str>>>(&mut self, field: Field, ids: I) {
        let start = self.text.len();
        for id in ids {
            let before = if self.text.len() == start { '[' } else { ',' };
            self.text.push(before);
            self.json(field, id.as_ref());
        }
        if self.text.len() > start {
            self.text.push(']');
        }
        self.span(field, start);
    }

    fn json<T: Serialize + ?Sized>(&mut self, field: Field, value: &T) {
        let start = self.text.len();
        let mut bytes = std::mem::take(&mut self.text).into_bytes();
        if let Err(error) = serde_json::to_writer(&mut bytes, value) {
            bytes.truncate(start);
            self.faults.push(Fault::new(
                field.name(),
                "",
                format!("cannot be written as JSON: {error}"),
            ));
        }
        // SAFETY: text of the string that was taken, followed by JSON, which `serde_json` writes as UTF-8; its own
        // `to_string` relies on the same. Checking it again would cost a percent of a publish.
        self.text = unsafe { String::from_utf8_unchecked(bytes) };
    }
}

impl Field {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Topic => "topic",
            Self::Name => "event_name",
            Self::Id => "id",
            Self::Key => "key",
            Self::Namespace => "namespace",
            Self::ParentNamespace => "parent_namespace",
            Self::UnionNamespace => "union_namespace",
            Self::SourceNamespace => "source_namespace",
            Self::TargetNamespace => "target_namespace",
            Self::ClientId => "client_id",
            Self::TraceId => "trace_id",
            Self::SpanContext => "span_context",
            Self::UserId => "user_id",
            Self::SessionId => "session_id",
            Self::Service => "service",
            Self::Timestamp => "timestamp",
            Self::ClientIds => "client_ids",
            Self::TargetUserIds => "target_user_ids",
            Self::AdditionalFields => "additional_fields",
            Self::Payload => "payload",
            Self::EventTopic => "event_topic",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use crate::Publish;

    fn bare() -> (Vec<u8>, Publish) {
        let publish = Publish::new("topic", "name").timestamp(SystemTime::UNIX_EPOCH);
        let mut bytes = Vec::new();
        publish.encode("id", None, &mut bytes);
        (bytes, publish)
    }

    #[test]
    fn nothing_of_an_event_is_left_for_the_next_of_its_thread() {
        let (alone, _) = std::thread::spawn(bare).join().expect("no panic");
        let full = Publish::new("not a topic", "other")
            .key("key")
            .namespace("namespace")
            .client_ids(["one", "two"])
            .version(7)
            .event_id(8)
            .privacy(true)
            .header("name", "value")
            .key_bytes([0xff])
            .timeout(Duration::from_secs(1))
            .timestamp_text("no time", 9)
            .payload([1, 2]);
        assert!(full.validate(true).is_err());
        drop(full);
        let (after, publish) = bare();
        assert_eq!(after, alone);
        let id = publish.assign_id();
        assert_eq!(publish.key_or(&id), id.as_str().as_bytes());
        assert!(publish.headers().is_empty() && publish.own_timeout().is_none());
        assert!(publish.validate(true).is_ok());
    }

    #[test]
    fn a_payload_may_publish_and_two_events_do_not_share_a_buffer() {
        struct Nested;
        impl serde::Serialize for Nested {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let (bytes, _publish) = bare();
                serializer.collect_map([("bytes", bytes.len())])
            }
        }
        let (alone, _) = bare();
        let one = Publish::new("topic", "name").payload(&Nested);
        let (other, _publish) = bare();
        assert_eq!(other, alone);
        let mut bytes = Vec::new();
        one.encode("id", None, &mut bytes);
        let payload = format!("\"payload\":{{\"bytes\":{}}}", alone.len());
        assert!(String::from_utf8_lossy(&bytes).contains(&payload));
    }
}
