//! An event that is stored before it is published.

use std::fmt;

use super::Publish;
use crate::error::Result;
use crate::event::Event;
use crate::observe::trace;

/// An event with fixed id, time, key and bytes, which can be stored, for example in an outbox, and published later, each
/// time as the same event.
///
/// ```
/// use eventstream::{Publish, SealedEvent};
///
/// let sealed = Publish::new("purse", "coinsEarned").key("player-7").seal(false)?;
/// let (topic, key, value) = (sealed.topic(), sealed.key(), sealed.value()); // into a file, or a table
///
/// let read = SealedEvent::new(sealed.id(), topic, key, value, []);
/// # let _: Publish =
/// read.into_publish()?;
/// # Ok::<(), eventstream::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct SealedEvent {
    id: String,
    topic: String,
    key: Vec<u8>,
    value: String,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Publish {
    /// Checks the event as a client does, and fixes what would otherwise be chosen at publish time: its id, its time and,
    /// if it has none, its key. With the feature `opentelemetry` it keeps the caller's span as its
    /// [`span_context`](Self::span_context), so that its trace continues.
    ///
    /// `strict_validation` is what the client that publishes it later has as
    /// [`BrokerConfig::strict_validation`](crate::BrokerConfig::strict_validation). Only that client checks its size.
    /// The event's own [`timeout`](Self::timeout) is not kept.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Validation`](crate::ErrorKind::Validation) lists every field that is not allowed.
    pub fn seal(&self, strict_validation: bool) -> Result<SealedEvent> {
        self.validate(strict_validation)?;
        let id = self.assign_id();
        let span = trace::current();
        let mut value = Vec::new();
        self.encode(id.as_str(), span.as_ref(), &mut value);
        Ok(SealedEvent {
            id: id.as_str().to_owned(),
            topic: self.topic_name().to_owned(),
            key: self.key_or(&id).to_vec(),
            value: String::from_utf8(value).expect("an envelope is made of text"),
            headers: self.headers().to_vec(),
        })
    }
}

impl SealedEvent {
    /// One that was kept, of the parts that it had.
    pub fn new(
        id: impl Into<String>,
        topic: impl Into<String>,
        key: impl Into<Vec<u8>>,
        value: impl Into<String>,
        headers: impl IntoIterator<Item = (String, Option<Vec<u8>>)>,
    ) -> Self {
        Self {
            id: id.into(),
            topic: topic.into(),
            key: key.into(),
            value: value.into(),
            headers: headers.into_iter().collect(),
        }
    }

    /// The topic, without the client's prefix.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The record's key.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// The record's value: the envelope as JSON.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// The record's headers in order; names may repeat, values may be null.
    pub fn headers(&self) -> impl ExactSizeIterator<Item = (&str, Option<&[u8]>)> {
        let headers = self.headers.iter();
        headers.map(|(name, value)| (&**name, value.as_deref()))
    }

    /// The event's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether the event was given a key; otherwise its id is the key, which nothing else shares.
    pub fn is_keyed(&self) -> bool {
        self.key != self.id.as_bytes()
    }

    /// The event to publish: every field with id and time, key and headers.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Decode`](crate::ErrorKind::Decode) if the stored value is not an event.
    pub fn into_publish(self) -> Result<Publish> {
        let event = Event::decode(&self.value)?;
        Ok(Publish::from(&event)
            .topic(self.topic)
            .of_record(Some(self.key), self.headers))
    }
}

/// Prints the event's identity, topic and size; its contents may be private.
impl fmt::Debug for SealedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedEvent")
            .field("id", &self.id)
            .field("topic", &self.topic)
            .field("bytes", &self.value.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn each_publish_of_a_sealed_event_is_the_same_record() {
        let sealed = Publish::new("topic", "name")
            .namespace("a")
            .payload(serde_json::json!({"n": u64::MAX}))
            .header("h", [0xff])
            .seal(false)
            .expect("valid");
        assert_eq!(sealed.key(), sealed.id().as_bytes());
        assert!(!sealed.is_keyed());
        let headers = sealed
            .headers()
            .map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec)));
        let read = SealedEvent::new(
            sealed.id(),
            sealed.topic(),
            sealed.key(),
            sealed.value(),
            headers,
        );
        assert_eq!(read, sealed);
        let again = read
            .into_publish()
            .expect("an event")
            .seal(false)
            .expect("valid");
        assert_eq!(again, sealed);
    }

    #[test]
    fn what_a_client_would_refuse_is_not_sealed() {
        let refused = Publish::new("no topic", "name")
            .seal(false)
            .expect_err("a space");
        assert_eq!(refused.kind(), ErrorKind::Validation);
        let user = Publish::new("topic", "name").user_id("u");
        assert!(user.seal(false).is_ok());
        assert_eq!(
            user.seal(true).expect_err("no UUID").faults()[0].field,
            "user_id"
        );
        let read = SealedEvent::new("id", "topic", [], "[]", []);
        assert_eq!(
            read.into_publish().expect_err("no event").kind(),
            ErrorKind::Decode
        );
    }
}
