use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, ErrorKind};
use crate::event::{Event, Place};
use crate::guard;
use crate::name::Topic;

/// An error of a handler, of any type.
pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;

type Handled = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;

/// A handler with its types erased.
#[derive(Clone)]
pub(crate) enum Handler {
    Event(Arc<dyn Fn(Context, Event) -> Handled + Send + Sync>),
    Raw(Arc<dyn Fn(Context, RawRecord) -> Handled + Send + Sync>),
}

impl Handler {
    pub(crate) fn event<F, Fut, E>(f: F) -> Self
    where
        F: Fn(Context, Event) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        Self::Event(Arc::new(move |context, event| {
            let handled = f(context, event);
            Box::pin(async move { handled.await.map_err(Into::into) })
        }))
    }

    pub(crate) fn raw<F, Fut, E>(f: F) -> Self
    where
        F: Fn(Context, RawRecord) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        Self::Raw(Arc::new(move |context, record| {
            let handled = f(context, record);
            Box::pin(async move { handled.await.map_err(Into::into) })
        }))
    }

    pub(crate) fn is_raw(&self) -> bool {
        matches!(self, Self::Raw(_))
    }
}

/// A record as it came from the broker.
pub(crate) struct Record {
    pub(crate) source: Arc<Source>,
    pub(crate) offset: i64,
    pub(crate) timestamp_ms: Option<i64>,
    /// Key and value, and those of its neighbours.
    pub(crate) body: Arc<[u8]>,
    pub(crate) key: Option<Range<usize>>,
    pub(crate) value: Option<Range<usize>>,
    pub(crate) headers: Headers,
    /// The envelope, once it has been decoded.
    pub(crate) event: Option<Event>,
}

/// Names and values of a record's headers.
pub(crate) type Headers = Option<Box<[(String, Option<Vec<u8>>)]>>;

/// The partition a record is from, as long as it is assigned.
pub(crate) struct Source {
    pub(crate) topic: Topic,
    pub(crate) partition: i32,
    /// Cancelled when the partition is taken away before its handlers are done.
    pub(crate) lost: CancellationToken,
}

impl Record {
    pub(crate) fn key(&self) -> Option<&[u8]> {
        self.key.clone().map(|range| &self.body[range])
    }

    pub(crate) fn value(&self) -> Option<&[u8]> {
        self.value.clone().map(|range| &self.body[range])
    }

    pub(crate) fn headers(&self) -> &[(String, Option<Vec<u8>>)] {
        self.headers.as_deref().unwrap_or_default()
    }

    /// Bytes of key, value and headers.
    pub(crate) fn size(&self) -> usize {
        let len = |range: &Option<Range<usize>>| range.as_ref().map_or(0, ExactSizeIterator::len);
        let value = |value: &Option<Vec<u8>>| value.as_ref().map_or(0, Vec::len);
        let headers = self.headers().iter();
        let headers: usize = headers.map(|(name, v)| name.len() + value(v)).sum();
        len(&self.key) + len(&self.value) + headers
    }
}

/// What a handler may know and do besides its event: where the record stands, which attempt this
/// is, and what no retry will mend.
#[derive(Clone)]
pub struct Context {
    pub(crate) record: Arc<Record>,
    pub(crate) attempt: u32,
    pub(crate) rejection: Arc<Mutex<Option<Rejected>>>,
}

impl Context {
    /// For looking at a record outside its handler.
    pub(crate) fn of(record: &Arc<Record>, attempt: u32) -> Self {
        Self {
            record: Arc::clone(record),
            attempt,
            rejection: Arc::default(),
        }
    }

    /// The attempt at this record, from 1. Counted in this process: a record that comes back after
    /// a rebalance or a restart starts at 1 again.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The topic as it was given, without the client's prefix.
    pub fn topic(&self) -> &Topic {
        &self.record.source.topic
    }

    /// The partition.
    pub fn partition(&self) -> i32 {
        self.record.source.partition
    }

    /// The offset in the partition.
    pub fn offset(&self) -> i64 {
        self.record.offset
    }

    /// The record's key.
    pub fn key(&self) -> Option<&[u8]> {
        self.record.key()
    }

    /// The record's headers in order; names may repeat, values may be null.
    pub fn headers(&self) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
        self.record
            .headers()
            .iter()
            .map(|(name, value)| (&**name, value.as_deref()))
    }

    /// The record's timestamp, where the broker has one.
    pub fn timestamp(&self) -> Option<SystemTime> {
        let millis = u64::try_from(self.record.timestamp_ms?).ok()?;
        Some(SystemTime::UNIX_EPOCH + Duration::from_millis(millis))
    }

    /// Cancelled when the result of this handler no longer counts: its partition went to another
    /// member of the group, or the deadline of a stop has passed. The record is then read again.
    /// Each call gives a token of its own: to cancel it disturbs nobody else.
    pub fn cancellation(&self) -> CancellationToken {
        self.record.source.lost.child_token()
    }

    /// Says that no retry will mend this record: whatever the handler then returns, the record goes
    /// to the dead letter topic with this reason and is not tried again. The reason is a text or an
    /// error, whose causes are written with it.
    ///
    /// The result can be returned as the handler's error:
    ///
    /// ```
    /// use eventstream::{Context, Event, Rejected};
    ///
    /// async fn handler(ctx: Context, event: Event) -> Result<(), Rejected> {
    ///     let age = event.user_id().parse::<u32>().map_err(|e| ctx.dead_letter(e))?;
    ///     match age {
    ///         0 => Err(ctx.dead_letter("no such user")),
    ///         _ => Ok(()),
    ///     }
    /// }
    /// # drop(handler);
    /// ```
    pub fn dead_letter(&self, reason: impl Into<Box<dyn StdError + Send + Sync>>) -> Rejected {
        let rejected = Rejected(Arc::from(reason.into()));
        *self.rejection.lock() = Some(rejected.clone());
        rejected
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("topic", &self.topic())
            .field("partition", &self.partition())
            .field("offset", &self.offset())
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

/// A handler's word that its record is to be dead-lettered; see [`Context::dead_letter`].
#[derive(Clone, Debug)]
pub struct Rejected(Arc<dyn StdError + Send + Sync>);

impl Rejected {
    /// The reason as the message, and its causes as they are.
    pub(crate) fn into_error(self) -> Error {
        let error = Error::new(ErrorKind::Handler, guard::text_of(&*self.0));
        match guard::guarded(|| self.0.source().is_some()) {
            Some(true) => error.with_source(Below(self.0)),
            _ => error,
        }
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl StdError for Rejected {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}

/// The cause of an error, which cannot be taken out of it.
#[derive(Debug)]
struct Below(Arc<dyn StdError + Send + Sync>);

impl fmt::Display for Below {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.source() {
            Some(cause) => fmt::Display::fmt(cause, f),
            None => Ok(()),
        }
    }
}

impl StdError for Below {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()?.source()
    }
}

/// A consumed record before decoding, for raw handlers.
#[derive(Clone)]
pub struct RawRecord {
    record: Arc<Record>,
}

impl RawRecord {
    pub(crate) fn new(record: Arc<Record>) -> Self {
        Self { record }
    }

    /// The value; `None` is a tombstone.
    pub fn value(&self) -> Option<&[u8]> {
        self.record.value()
    }

    /// The key.
    pub fn key(&self) -> Option<&[u8]> {
        self.record.key()
    }

    /// The value as an event.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Decode`](crate::ErrorKind::Decode) when it is no event envelope.
    pub fn decode(&self) -> Result<Event, Error> {
        decode(&self.record)
    }
}

/// The record's event, with the record's place in it.
pub(crate) fn decode(record: &Record) -> Result<Event, Error> {
    let Some(value) = record.value.clone() else {
        return Err(Error::new(
            ErrorKind::Decode,
            "decode an event: the record has no value (a tombstone)",
        ));
    };
    let place = Place {
        topic: record.source.topic.clone(),
        partition: record.source.partition,
        offset: record.offset,
        key: record.key.clone(),
    };
    Event::decode_record(&record.body, value, place)
}

impl fmt::Debug for RawRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawRecord")
            .field("topic", &self.record.source.topic)
            .field("partition", &self.record.source.partition)
            .field("offset", &self.record.offset)
            .field("bytes", &self.record.size())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_of_a_record_counts() {
        let source = Source {
            topic: Topic::new("t").expect("valid"),
            partition: 0,
            lost: CancellationToken::new(),
        };
        let headers = vec![
            ("trace".to_owned(), Some(vec![0; 1000])),
            ("none".to_owned(), None),
        ];
        let record = Record {
            source: Arc::new(source),
            offset: 0,
            timestamp_ms: None,
            body: Arc::from([0; 12].as_slice()),
            key: Some(0..2),
            value: Some(2..12),
            headers: Some(headers.into_boxed_slice()),
            event: None,
        };
        assert_eq!(record.size(), 12 + 1000 + "trace".len() + "none".len());
    }
}
