//! A consumed record, and its origin.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::error::{Error, ErrorKind};
pub(crate) use crate::event::Headers;
use crate::event::{Event, Place};
use crate::name::Topic;
use crate::publish::Publisher;

/// A record as received from the broker.
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

/// The partition that a record is from, as long as it is assigned. Clones stand for the same assignment.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) topic: Topic,
    pub(crate) partition: i32,
    /// Cancelled if the partition is lost before its handlers are done.
    pub(crate) lost: CancellationToken,
    /// For publishing in handlers.
    pub(crate) publisher: Arc<dyn Publisher>,
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

    /// Each header, in order.
    pub(crate) fn header_values(&self) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
        let headers = self.headers().iter();
        headers.map(|(name, value)| (&**name, value.as_deref()))
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

/// A consumed record before decoding. A handler that takes it and no event also gets records that
/// are not event envelopes.
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
    /// [`ErrorKind::Decode`](crate::ErrorKind::Decode) if it is not an event envelope.
    pub fn decode(&self) -> Result<Event, Error> {
        decode(&self.record)
    }
}

/// The record's event, with its topic, partition and offset.
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
        headers: record.headers.clone(),
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
    use crate::publish::NoPublisher;

    #[test]
    fn every_byte_of_a_record_counts() {
        let source = Source {
            topic: Topic::new("t").expect("valid"),
            partition: 0,
            lost: CancellationToken::new(),
            publisher: Arc::new(NoPublisher),
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
            headers: Some(headers.into()),
            event: None,
        };
        assert_eq!(record.size(), 12 + 1000 + "trace".len() + "none".len());
    }
}
