use std::fmt;

use crate::error::{Error, Result};
use crate::event::Event;
use crate::publish::Publish;

/// An accepted event that was not stored, or may not have been stored, and why.
///
/// Passed to the `on_error` callback and returned by `shutdown`, so that it can be stored elsewhere
/// or published again.
#[derive(Clone)]
#[non_exhaustive]
pub struct Undelivered {
    topic: String,
    key: Option<Vec<u8>>,
    value: Vec<u8>,
    headers: Vec<(String, Option<Vec<u8>>)>,
    error: Error,
}

impl Undelivered {
    pub(crate) fn new(
        topic: impl Into<String>,
        key: Option<Vec<u8>>,
        value: Vec<u8>,
        headers: Vec<(String, Option<Vec<u8>>)>,
        error: Error,
    ) -> Self {
        Self {
            topic: topic.into(),
            key,
            value,
            headers,
            error,
        }
    }

    /// The topic as it was given, without the client's prefix.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The record's key.
    pub fn key(&self) -> Option<&[u8]> {
        self.key.as_deref()
    }

    /// The record's value: the envelope, or the audit log, as JSON.
    pub fn value(&self) -> &[u8] {
        &self.value
    }

    /// The record's headers in order, those of a trace among them; values may be null.
    pub fn headers(&self) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
        let headers = self.headers.iter();
        headers.map(|(name, value)| (&**name, value.as_deref()))
    }

    /// The event, to be published again unchanged: every field including id and time, key and
    /// headers, to the same topic. If the error says that the event may have been stored, this may
    /// store it twice, with the same id.
    ///
    /// ```no_run
    /// # async fn again(client: eventstream::Client) -> eventstream::Result<()> {
    /// # use std::time::Duration;
    /// for undelivered in client.shutdown(Duration::from_secs(10)).await {
    ///     let spare = eventstream::Client::stdout().build()?;
    ///     spare.publish(undelivered.into_publish()?).await?;
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Decode`](crate::ErrorKind::Decode) for an audit log, which is no event envelope.
    pub fn into_publish(self) -> Result<Publish> {
        let event = self.event()?;
        Ok(Publish::from(&event)
            .topic(self.topic)
            .of_record(self.key, self.headers))
    }

    /// The event.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Decode`](crate::ErrorKind::Decode) for an audit log, which is no event envelope.
    pub fn event(&self) -> Result<Event> {
        Event::decode(&self.value)
    }

    /// Why it was not stored. After [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) and
    /// [`ErrorKind::Closed`](crate::ErrorKind::Closed) the broker may have stored it, if a request was
    /// in flight or could not be taken back; the message says so.
    pub fn error(&self) -> &Error {
        &self.error
    }
}

impl fmt::Debug for Undelivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Undelivered")
            .field("topic", &self.topic)
            .field("bytes", &self.value.len())
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}
