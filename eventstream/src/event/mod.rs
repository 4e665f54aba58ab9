//! The envelope: decoding, encoding, and the small formats inside it.

mod audit;
mod decode;
mod encode;
mod event_type;
mod fields;
mod json;
mod scan;
mod short_text;
mod span_context;
#[cfg(test)]
mod tests;
mod text;
mod timestamp;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

pub(crate) use audit::AuditEnvelope;
pub(crate) use encode::Envelope;
pub use event_type::EventType;
pub use json::Json;
pub(crate) use short_text::{ShortText, new_id};
pub use span_context::SpanContext;
pub(crate) use timestamp::{format_seconds, now, parse_rfc3339, unix_nanos};

use crate::name::Topic;
use fields::{Fields, Span};

/// One event of a record. Immutable and cheap to clone: the fields are slices of the record's text. Small records read
/// together share their memory, so an event that is kept for long may hold up to 8 KiB.
///
/// A field missing from the record reads as empty, 0 or false. What the record says about itself (`key`, `offset`
/// and `partition` in the text) is ignored; [`key`](Self::key), [`offset`](Self::offset) and
/// [`partition`](Self::partition) come from the broker, and only consumed events have them.
///
/// Decoding is as lenient as the Go SDK's: unknown keys and null are ignored, keys match in any case, the last of two
/// equal keys wins (as a whole, even for the payload's object), and lone surrogates and bytes that are not UTF-8 read
/// as U+FFFD. A field of the wrong type makes the record undecodable.
///
/// ```
/// use eventstream::Event;
///
/// let event = Event::decode(r#"{"id":"1","name":"userLoggedIn","payload":{"platformId":"steam"}}"#)?;
/// assert_eq!(event.name(), "userLoggedIn");
/// assert_eq!(event.user_id(), "");
/// let platform: String = event.payload().get("platformId").expect("it is there").decode()?;
/// assert_eq!(platform, "steam");
/// # Ok::<(), eventstream::Error>(())
/// ```
#[derive(Clone)]
pub struct Event {
    /// Behind a pointer, so that cloning an event and moving it into a handler is cheap.
    inner: Arc<Inner>,
}

struct Inner {
    /// The record's bytes, possibly with those of its neighbours. Every span of `fields` outside the arena is UTF-8
    /// text.
    body: Arc<[u8]>,
    /// The envelope as received.
    wire: Span,
    /// The envelope as text; differs from `wire` only if that is not UTF-8.
    text: Span,
    /// Strings that had escapes, unescaped.
    arena: Box<str>,
    fields: Fields,
    place: Option<Place>,
}

/// Where a consumed event comes from.
pub(crate) struct Place {
    /// The subscription's topic, without prefix; it overrides the envelope's.
    pub(crate) topic: Topic,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    /// A range of the decoded body.
    pub(crate) key: Option<Range<usize>>,
    pub(crate) headers: Headers,
}

/// The names and values of a record's headers; `None` if there are none.
pub(crate) type Headers = Option<Arc<[(String, Option<Vec<u8>>)]>>;

/// Accessors of text fields.
macro_rules! text_fields {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        $(
            $(#[$doc])*
            pub fn $name(&self) -> &str {
                self.str_at(self.inner.fields.$name)
            }
        )*
    };
}

/// Accessors of integer fields.
macro_rules! integer_fields {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        $(
            $(#[$doc])*
            pub fn $name(&self) -> i64 {
                self.inner.fields.$name
            }
        )*
    };
}

impl Event {
    text_fields! {
        /// The event's id, by default a version 4 UUID of 32 hex digits without hyphens.
        id;
        /// The event's name, such as `userLoggedIn`.
        name;
        /// The namespace that the event belongs to.
        namespace;
        /// The parent of the namespace.
        parent_namespace;
        /// The union namespace.
        union_namespace;
        /// The namespace that the event originates from.
        source_namespace;
        /// The OAuth client that caused the event.
        client_id;
        /// The trace id of the request that caused the event.
        trace_id;
        /// The Jaeger span context as text; it parses into a [`SpanContext`].
        span_context;
        /// The user who caused the event: often an operator, with the player in the payload.
        user_id;
        /// The session in which the event was caused.
        session_id;
        /// The service that published the event.
        service;
        /// The namespace that the event is about.
        target_namespace;
        /// When the event was published, as written: RFC 3339 with 0 to 9 fraction digits. [`time`](Self::time) parses
        /// it.
        timestamp;
    }

    integer_fields! {
        /// When the event was published, in nanoseconds since the Unix epoch; 0 from publishers that do not write it.
        timestamp_unix_nano;
        /// The version of the event's schema; publishers default to 1.
        version;
        /// The event id of the older, numeric scheme.
        event_id;
        /// The event type of the older, numeric scheme.
        event_type;
        /// The event level of the older, numeric scheme.
        event_level;
    }

    /// Decodes one envelope from JSON.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Decode`](crate::ErrorKind::Decode) if the bytes are not one JSON object, a field has the wrong
    /// type, or the nesting is deeper than 10,000. The message names the field, the reason and the byte offset.
    pub fn decode(json: impl AsRef<[u8]>) -> Result<Self, crate::Error> {
        let json = json.as_ref();
        decode::decode(&Arc::from(json), 0..json.len(), None)
    }

    /// Decodes the envelope of a consumed record, at `value` in `body`, without copying.
    pub(crate) fn decode_record(
        body: &Arc<[u8]>,
        value: Range<usize>,
        place: Place,
    ) -> Result<Self, crate::Error> {
        decode::decode(body, value, Some(place))
    }

    /// The topic without prefix: the subscription's for a consumed event, otherwise what the envelope says.
    pub fn topic(&self) -> &str {
        match &self.inner.place {
            Some(place) => place.topic.as_str(),
            None => self.envelope_topic(),
        }
    }

    /// When the event was published: `timestampUnixNano` if present, otherwise the parsed
    /// [`timestamp`](Self::timestamp). Nothing if neither is readable.
    pub fn time(&self) -> Option<SystemTime> {
        match self.inner.fields.timestamp_unix_nano {
            0 => parse_rfc3339(self.timestamp()),
            nanos => Some(timestamp::from_unix_nanos(nanos)),
        }
    }

    /// Whether the event holds private data.
    pub fn privacy(&self) -> bool {
        self.inner.fields.privacy
    }

    /// The OAuth clients of the event. Parsed on each call.
    pub fn client_ids(&self) -> Vec<Cow<'_, str>> {
        json::strings(self.str_at(self.inner.fields.client_ids))
    }

    /// The users that the event is about. Parsed on each call.
    pub fn target_user_ids(&self) -> Vec<Cow<'_, str>> {
        json::strings(self.str_at(self.inner.fields.target_user_ids))
    }

    /// The additional fields, a JSON object; empty when absent.
    pub fn additional_fields(&self) -> Json<'_> {
        Json::new(self.str_at(self.inner.fields.additional_fields))
    }

    /// The payload, a JSON object; empty when absent.
    pub fn payload(&self) -> Json<'_> {
        Json::new(self.str_at(self.inner.fields.payload))
    }

    /// The partition of a consumed event.
    pub fn partition(&self) -> Option<i32> {
        self.inner.place.as_ref().map(|place| place.partition)
    }

    /// The offset of a consumed event in its partition.
    pub fn offset(&self) -> Option<i64> {
        self.inner.place.as_ref().map(|place| place.offset)
    }

    /// The record's key as text; `None` if there is none or it is not UTF-8;
    /// [`key_bytes`](Self::key_bytes) tells which.
    pub fn key(&self) -> Option<&str> {
        self.key_bytes()
            .and_then(|key| std::str::from_utf8(key).ok())
    }

    /// The record's key.
    pub fn key_bytes(&self) -> Option<&[u8]> {
        let key = self.inner.place.as_ref()?.key.clone()?;
        self.inner.body.get(key)
    }

    /// The record's headers in order; names may repeat, values may be null. None for an event that was
    /// not consumed.
    pub fn headers(&self) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
        let place = self.inner.place.as_ref();
        let headers = place.and_then(|place| place.headers.as_deref());
        let headers = headers.unwrap_or_default().iter();
        headers.map(|(name, value)| (&**name, value.as_deref()))
    }

    /// The envelope's `topic` field.
    pub(crate) fn envelope_topic(&self) -> &str {
        self.str_at(self.inner.fields.topic)
    }

    /// The envelope, byte for byte as in the record.
    pub fn as_bytes(&self) -> &[u8] {
        &self.inner.body[self.inner.wire.range()]
    }

    /// The envelope as text: as in the record, with bytes that are not UTF-8 read as U+FFFD.
    pub fn json(&self) -> &str {
        self.str_at(self.inner.text)
    }

    /// The envelope re-encoded: known fields only, in the wire's order, with `topic`, and `Partition`, `Offset` and
    /// `Key` as the Go SDK writes a consumed event.
    pub fn to_json(&self) -> String {
        encode::event_to_json(self)
    }

    fn str_at(&self, span: Span) -> &str {
        let text = if span.is_in_arena() {
            self.inner.arena.get(span.range())
        } else {
            // Checked again rather than assumed: it costs nanoseconds per field and saves unsafe code.
            self.inner
                .body
                .get(span.range())
                .and_then(|bytes| std::str::from_utf8(bytes).ok())
        };
        text.unwrap_or_default()
    }
}

/// Writes the output of [`Event::to_json`]. For JSON formats only: lists and objects are passed through as raw JSON.
impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(self.to_json())
            .map_err(serde::ser::Error::custom)?
            .serialize(serializer)
    }
}

/// Prints the event's identity and size; its contents may be private.
impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("id", &self.id())
            .field("name", &self.name())
            .field("topic", &self.topic())
            .field("partition", &self.partition())
            .field("offset", &self.offset())
            .field("bytes", &self.as_bytes().len())
            .finish_non_exhaustive()
    }
}
