//! An event to publish, made from an existing one.

use super::{Field, Publish};
use crate::event::{self, Event};

/// A copy, to be published again unchanged or with some fields changed: every field of the envelope
/// including id and time, and the key and headers of a consumed event. It goes to the event's topic,
/// without prefix, unless [`topic`](Publish::topic) names another. Unknown fields of the envelope are
/// left out; if its time cannot be parsed, the time of publishing replaces it.
///
/// ```
/// use eventstream::{Event, Publish};
///
/// let event = Event::decode(r#"{"id":"1","name":"levelUp","userId":"u","payload":{"level":7}}"#)?;
/// let copy = Publish::from(&event).topic("archive").namespace("accelbyte");
/// # drop(copy);
/// # Ok::<(), eventstream::Error>(())
/// ```
impl From<&Event> for Publish {
    fn from(event: &Event) -> Self {
        let mut copy = Self::new(event.topic(), event.name());
        for (field, text) in [
            (Field::Id, event.id()),
            (Field::Namespace, event.namespace()),
            (Field::ParentNamespace, event.parent_namespace()),
            (Field::UnionNamespace, event.union_namespace()),
            (Field::SourceNamespace, event.source_namespace()),
            (Field::TargetNamespace, event.target_namespace()),
            (Field::ClientId, event.client_id()),
            (Field::TraceId, event.trace_id()),
            (Field::SpanContext, event.span_context()),
            (Field::UserId, event.user_id()),
            (Field::SessionId, event.session_id()),
            (Field::Service, event.service()),
            (Field::EventTopic, event.envelope_topic()),
            // Objects are kept as JSON.
            (Field::AdditionalFields, event.additional_fields().as_str()),
            (Field::Payload, event.payload().as_str()),
        ] {
            if !text.is_empty() {
                copy.put(field, text);
            }
        }
        copy = copy
            .client_ids(event.client_ids())
            .target_user_ids(event.target_user_ids())
            .version(event.version())
            .event_id(event.event_id())
            .event_type(event.event_type())
            .event_level(event.event_level())
            .privacy(event.privacy());
        if event::parse_rfc3339(event.timestamp()).is_some() {
            copy = copy.timestamp_text(event.timestamp(), event.timestamp_unix_nano());
        } else if let Some(time) = event.time() {
            copy = copy.timestamp(time);
        }
        if let Some(key) = event.key_bytes() {
            copy = copy.key_bytes(key);
        }
        let headers = event.headers();
        let owned = headers.map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec)));
        copy.parts.headers.extend(owned);
        copy
    }
}

impl From<Event> for Publish {
    fn from(event: Event) -> Self {
        Self::from(&event)
    }
}

impl Publish {
    /// With this key and these headers instead of its own.
    pub(crate) fn of_record(
        mut self,
        key: Option<Vec<u8>>,
        headers: Vec<(String, Option<Vec<u8>>)>,
    ) -> Self {
        self.parts.key = key;
        self.parts.headers = headers;
        self
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::event::Place;
    use crate::name::Topic;

    const WIRE: &str = r#"{"id":"i","name":"n","namespace":"a","parentNamespace":"b","unionNamespace":"c","clientId":"d","traceId":"e","spanContext":"f","userId":"g","sessionId":"h","timestamp":"2026-01-31T08:00:00.5Z","timestampUnixNano":7,"version":3,"event_id":4,"event_type":5,"event_level":6,"service":"s","client_ids":["j","k"],"target_user_ids":["l"],"target_namespace":"m","privacy":true,"topic":"older","sourceNamespace":"o","additional_fields":{"x":18446744073709551615},"payload":{"y": [1, 2.50]}}"#;

    fn consumed(key: Option<&[u8]>, headers: &[(&str, Option<&[u8]>)]) -> Event {
        let mut body = key.unwrap_or_default().to_vec();
        let at = body.len();
        body.extend_from_slice(WIRE.as_bytes());
        let headers = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.map(<[u8]>::to_vec)));
        let place = Place {
            topic: Topic::new("t").expect("valid"),
            partition: 1,
            offset: 2,
            key: key.map(|key| 0..key.len()),
            headers: Some(headers.collect()),
        };
        let end = body.len();
        Event::decode_record(&Arc::from(body), at..end, place).expect("an event")
    }

    #[test]
    fn a_copy_has_every_field_key_and_header() {
        let headers: [(&str, Option<&[u8]>); 3] =
            [("h", Some(b"\xff")), ("h", Some(b"")), ("null", None)];
        let copy = Publish::from(&consumed(Some(b"\xff\0"), &headers));
        assert_eq!(copy.topic_name(), "t");
        let id = copy.assign_id();
        let mut wire = Vec::new();
        copy.encode(id.as_str(), None, &mut wire);
        assert_eq!(String::from_utf8_lossy(&wire), WIRE);
        assert_eq!(copy.key_or(&id), b"\xff\0");
        let kept: Vec<_> = copy
            .headers()
            .iter()
            .map(|(n, v)| (&**n, v.as_deref()))
            .collect();
        assert_eq!(kept, headers);
        assert!(copy.validate(false).is_ok());
    }

    #[test]
    fn a_record_without_a_key_gets_the_event_s_id_and_an_empty_key_stays_empty() {
        let copy = Publish::from(consumed(None, &[]));
        assert_eq!(copy.key_or(&copy.assign_id()), b"i");
        let copy = Publish::from(consumed(Some(b""), &[]));
        assert_eq!(copy.key_or(&copy.assign_id()), b"");
        assert_eq!(copy.clone().topic("u").topic_name(), "u");
        assert_eq!(
            copy.key("k")
                .key_or(&crate::publish::receipt::EventId::Chosen("i".into())),
            b"k"
        );
    }
}
