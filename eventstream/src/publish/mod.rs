mod audit;
mod copy;
mod output;
mod parts;
mod publisher;
mod raw;
pub(crate) mod receipt;
mod sealed;
mod undelivered;

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::Serialize;

pub use self::audit::{Actor, AuditLog};
pub(crate) use self::output::{MakesOutputs, Output};
pub(crate) use self::parts::KEPT;
use self::parts::{Field, Lent, Stamp};
#[cfg(any(test, feature = "testing"))]
pub(crate) use self::publisher::NoPublisher;
pub use self::publisher::Publisher;
pub use self::raw::PublishRaw;
use self::receipt::EventId;
pub use self::receipt::{Delivery, Receipt};
pub use self::sealed::SealedEvent;
pub use self::undelivered::Undelivered;
use crate::error::{Error, ErrorKind, Fault, Result};
use crate::event::EventType;
use crate::event::{self, Envelope, SpanContext};
use crate::name;

/// One event to publish: the publish parameters of the Go SDK as a builder.
///
/// Topic and event name are required and passed to the constructor; everything else is optional and
/// is checked when the event is published, with every bad field listed at once. Text is copied into
/// one buffer, which each publishing thread reuses.
///
/// ```
/// # #[derive(serde::Serialize)] struct LoggedIn { platform: &'static str }
/// use eventstream::Publish;
///
/// let event = Publish::new("userAuthentication", "userLoggedIn")
///     .namespace("accelbyte")
///     .user_id("48bf8a020b584f31bc605bf65d3300ed")
///     .payload(&LoggedIn { platform: "steam" });
/// ```
#[derive(Clone)]
#[must_use = "an event does nothing until it is given to `Client::publish`"]
pub struct Publish {
    // A pointer: each builder call, and each future on the way, moves it by value.
    parts: Lent,
}

impl Publish {
    /// An event for a topic (without the client's prefix), by name. Both are one or more runs of
    /// ASCII letters and digits joined by single `_`, `.` or `-`, in a name also `'`. The name has at
    /// most 256 bytes, the topic 249 with the client's prefix and a dot.
    pub fn new(topic: impl AsRef<str>, event_name: impl AsRef<str>) -> Self {
        let mut publish = Self {
            parts: Lent::default(),
        };
        publish.put(Field::Topic, topic.as_ref());
        publish.put(Field::Name, event_name.as_ref());
        publish
    }

    /// An event of a type: topic, name, version, key and payload are its own.
    pub fn of<T: EventType + Serialize>(event: &T) -> Self {
        let publish = Self::new(T::TOPIC, T::NAME)
            .version(T::VERSION)
            .payload(event);
        match event.key() {
            Some(key) => publish.key(key),
            None => publish,
        }
    }

    fn put(&mut self, field: Field, value: &str) {
        self.parts.put(field, value);
    }

    fn get(&self, field: Field) -> &str {
        self.parts.get(field)
    }

    /// The event's id. Default: a new UUID v4 without hyphens.
    pub fn id(mut self, id: impl AsRef<str>) -> Self {
        self.put(Field::Id, id.as_ref());
        self
    }

    /// Replaces the topic, given without the client's prefix: for copies that go elsewhere.
    pub fn topic(mut self, topic: impl AsRef<str>) -> Self {
        self.put(Field::Topic, topic.as_ref());
        self
    }

    /// The record's key: events of one key go to one partition and stay in order there. Default:
    /// the event's id.
    pub fn key(mut self, key: impl AsRef<str>) -> Self {
        self.put(Field::Key, key.as_ref());
        self.parts.key = None;
        self
    }

    /// Like [`key`](Self::key), for a key that is empty or not text.
    pub fn key_bytes(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.parts.key = Some(key.into());
        self
    }

    /// The namespace.
    pub fn namespace(mut self, namespace: impl AsRef<str>) -> Self {
        self.put(Field::Namespace, namespace.as_ref());
        self
    }

    /// The publisher's namespace.
    pub fn parent_namespace(mut self, namespace: impl AsRef<str>) -> Self {
        self.put(Field::ParentNamespace, namespace.as_ref());
        self
    }

    /// The union namespace.
    pub fn union_namespace(mut self, namespace: impl AsRef<str>) -> Self {
        self.put(Field::UnionNamespace, namespace.as_ref());
        self
    }

    /// The namespace the event comes from.
    pub fn source_namespace(mut self, namespace: impl AsRef<str>) -> Self {
        self.put(Field::SourceNamespace, namespace.as_ref());
        self
    }

    /// The namespace the event is about.
    pub fn target_namespace(mut self, namespace: impl AsRef<str>) -> Self {
        self.put(Field::TargetNamespace, namespace.as_ref());
        self
    }

    /// The client's id; a UUID v4 without hyphens under strict validation.
    pub fn client_id(mut self, id: impl AsRef<str>) -> Self {
        self.put(Field::ClientId, id.as_ref());
        self
    }

    /// The trace id; a UUID v4 without hyphens under strict validation.
    pub fn trace_id(mut self, id: impl AsRef<str>) -> Self {
        self.put(Field::TraceId, id.as_ref());
        self
    }

    /// The Jaeger span context, as text; see [`SpanContext`](crate::SpanContext). Never refused.
    /// Default: with the feature `opentelemetry` the event's own span, where there is a trace, else
    /// absent.
    pub fn span_context(mut self, context: impl AsRef<str>) -> Self {
        self.put(Field::SpanContext, context.as_ref());
        self
    }

    /// The user's id; a UUID v4 without hyphens under strict validation.
    pub fn user_id(mut self, id: impl AsRef<str>) -> Self {
        self.put(Field::UserId, id.as_ref());
        self
    }

    /// The session's id; a UUID v4 without hyphens under strict validation.
    pub fn session_id(mut self, id: impl AsRef<str>) -> Self {
        self.put(Field::SessionId, id.as_ref());
        self
    }

    /// The envelope's own `topic` field, which events of older publishers and consumed events that
    /// were written anew have: for copies. The event still goes to the topic of the publish. Default:
    /// absent.
    pub fn event_topic(mut self, topic: impl AsRef<str>) -> Self {
        self.put(Field::EventTopic, topic.as_ref());
        self
    }

    /// The version of the event's schema. Default 1; 0 is not written.
    pub fn version(mut self, version: i64) -> Self {
        self.parts.numbers.version = version;
        self
    }

    /// The numeric event id.
    pub fn event_id(mut self, id: i64) -> Self {
        self.parts.numbers.event_id = id;
        self
    }

    /// The numeric event type.
    pub fn event_type(mut self, event_type: i64) -> Self {
        self.parts.numbers.event_type = event_type;
        self
    }

    /// The numeric event level.
    pub fn event_level(mut self, level: i64) -> Self {
        self.parts.numbers.event_level = level;
        self
    }

    /// The name of the publishing service.
    pub fn service(mut self, name: impl AsRef<str>) -> Self {
        self.put(Field::Service, name.as_ref());
        self
    }

    /// The ids of the clients involved.
    pub fn client_ids<I: IntoIterator<Item: AsRef<str>>>(mut self, ids: I) -> Self {
        self.parts.list(Field::ClientIds, ids);
        self
    }

    /// The ids of the users the event is about.
    pub fn target_user_ids<I: IntoIterator<Item: AsRef<str>>>(mut self, ids: I) -> Self {
        self.parts.list(Field::TargetUserIds, ids);
        self
    }

    /// Whether the event concerns private data.
    pub fn privacy(mut self, privacy: bool) -> Self {
        self.parts.numbers.privacy = privacy;
        self
    }

    /// Further fields: anything that serialises to a JSON object.
    pub fn additional_fields<T: Serialize>(mut self, fields: T) -> Self {
        self.parts.object(Field::AdditionalFields, &fields);
        self
    }

    /// The payload: anything that serialises to a JSON object. It is serialised here, once.
    pub fn payload<T: Serialize>(mut self, payload: T) -> Self {
        self.parts.object(Field::Payload, &payload);
        self
    }

    /// The event's time. Default: the moment it is published. For backfills.
    pub fn timestamp(mut self, time: SystemTime) -> Self {
        self.parts.timestamp = Stamp::At(time);
        self
    }

    /// The event's time as in another envelope, for copies: the `timestamp` text (RFC 3339)
    /// and `timestampUnixNano` (0 if it had none), both kept unchanged.
    pub fn timestamp_text(mut self, timestamp: impl AsRef<str>, unix_nano: i64) -> Self {
        self.put(Field::Timestamp, timestamp.as_ref());
        self.parts.timestamp = Stamp::Given(unix_nano);
        self
    }

    /// How long this event may take, from the call to the broker's acknowledgement. Default, and
    /// upper bound: the client's `publish_timeout`.
    ///
    /// An event that timed out may still be stored: librdkafka cannot cancel a single message.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.parts.timeout = Some(timeout);
        self
    }

    /// Adds a header to the Kafka record. May be called many times, even with the same name.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.parts.headers.push((name.into(), Some(value.into())));
        self
    }

    pub(crate) fn topic_name(&self) -> &str {
        self.get(Field::Topic)
    }

    pub(crate) fn headers(&self) -> &[(String, Option<Vec<u8>>)] {
        &self.parts.headers
    }

    pub(crate) fn own_timeout(&self) -> Option<Duration> {
        self.parts.timeout
    }

    /// The id the event will have.
    pub(crate) fn assign_id(&self) -> EventId {
        match self.get(Field::Id) {
            "" => EventId::Generated(event::new_id()),
            id => EventId::Chosen(id.into()),
        }
    }

    /// The key the record will have.
    pub(crate) fn key_or<'a>(&'a self, id: &'a EventId) -> &'a [u8] {
        match (&self.parts.key, self.get(Field::Key)) {
            (Some(key), _) => key,
            (None, "") => id.as_str().as_bytes(),
            (None, key) => key.as_bytes(),
        }
    }

    /// Checks every field and lists all faults.
    pub(crate) fn validate(&self, strict: bool) -> Result<()> {
        let mut faults = Vec::new();
        faults.extend(name::check_published_topic(self.get(Field::Topic)));
        faults.extend(name::check_event_name(self.get(Field::Name)));
        if strict {
            for field in [
                Field::UserId,
                Field::ClientId,
                Field::SessionId,
                Field::TraceId,
            ] {
                let value = self.get(field);
                if !value.is_empty() && !name::is_uuid4_without_hyphens(value) {
                    faults.push(Fault::new(
                        field.name(),
                        value,
                        "must be a UUID v4 as 32 lower-case hex digits without hyphens \
                         (strict validation)",
                    ));
                }
            }
        }
        match self.parts.timestamp {
            Stamp::Given(_) => {
                let text = self.get(Field::Timestamp);
                if event::parse_rfc3339(text).is_none() {
                    faults.push(Fault::new("timestamp", text, "must be an RFC 3339 time"));
                }
            }
            Stamp::At(time) if event::format_seconds(time).is_none() => {
                faults.push(Fault::new(
                    "timestamp",
                    format!("{time:?}"),
                    "must be in the years 0000 to 9999",
                ));
            }
            Stamp::Now | Stamp::At(_) => {}
        }
        if faults.is_empty() && self.parts.faults.is_empty() {
            return Ok(());
        }
        faults.extend(self.parts.faults.iter().cloned());
        Err(Error::from_faults(ErrorKind::Validation, "publish", faults))
    }

    pub(crate) fn event_name(&self) -> &str {
        self.get(Field::Name)
    }

    pub(crate) fn given_span_context(&self) -> &str {
        self.get(Field::SpanContext)
    }

    /// Appends the envelope's JSON. `span` is used if the event was given no span context.
    pub(crate) fn encode(&self, id: &str, span: Option<&SpanContext>, out: &mut Vec<u8>) {
        let stamp;
        let (timestamp, timestamp_unix_nano) = match self.parts.timestamp {
            Stamp::Now => {
                let (text, nanos) = event::now();
                stamp = text;
                (stamp.as_str(), nanos)
            }
            Stamp::At(time) => {
                stamp = event::format_seconds(time).unwrap_or_else(|| event::now().0);
                (stamp.as_str(), event::unix_nanos(time).unwrap_or(0))
            }
            Stamp::Given(nanos) => (self.get(Field::Timestamp), nanos),
        };
        Envelope {
            id,
            name: self.get(Field::Name),
            namespace: self.get(Field::Namespace),
            parent_namespace: self.get(Field::ParentNamespace),
            union_namespace: self.get(Field::UnionNamespace),
            client_id: self.get(Field::ClientId),
            trace_id: self.get(Field::TraceId),
            span_context: self.given_span_context(),
            span,
            user_id: self.get(Field::UserId),
            session_id: self.get(Field::SessionId),
            timestamp,
            timestamp_unix_nano,
            version: self.parts.numbers.version,
            event_id: self.parts.numbers.event_id,
            event_type: self.parts.numbers.event_type,
            event_level: self.parts.numbers.event_level,
            service: self.get(Field::Service),
            client_ids: self.get(Field::ClientIds),
            target_user_ids: self.get(Field::TargetUserIds),
            target_namespace: self.get(Field::TargetNamespace),
            privacy: self.parts.numbers.privacy,
            topic: self.get(Field::EventTopic),
            source_namespace: self.get(Field::SourceNamespace),
            additional_fields: self.get(Field::AdditionalFields),
            payload: self.get(Field::Payload),
        }
        .write(out);
    }
}

impl fmt::Debug for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names only, as fields and payload are user data.
        f.debug_struct("Publish")
            .field("topic", &self.get(Field::Topic))
            .field("event_name", &self.get(Field::Name))
            .finish_non_exhaustive()
    }
}
