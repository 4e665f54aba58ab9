use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::record::RawRecord;
use crate::subscribe::Context;

/// A record to publish unchanged, whether it is an event or not. For tools that move records;
/// services publish a [`Publish`](super::Publish).
///
/// ```
/// use eventstream::{Client, PublishRaw};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), eventstream::Error> {
/// let client = Client::embedded().build()?;
/// let record = PublishRaw::new("player").key("player-7").value(r#"{"name":"levelUp"}"#);
/// assert_eq!(client.publish_raw(&record).await?.await?.offset(), 0);
/// # client.shutdown(std::time::Duration::from_secs(5)).await;
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use = "a record does nothing until it is given to `Client::publish_raw`"]
pub struct PublishRaw {
    pub(crate) topic: String,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
    pub(crate) timestamp_ms: Option<i64>,
    pub(crate) partition: Option<i32>,
}

impl PublishRaw {
    /// A record without key and value (a tombstone) for a topic, given without the client's prefix.
    pub fn new(topic: impl Into<String>) -> Self {
        Self {
            topic: topic.into(),
            key: None,
            value: None,
            headers: Vec::new(),
            timestamp_ms: None,
            partition: None,
        }
    }

    /// A consumed record for another topic, with the same key, value, headers and timestamp, byte for byte.
    /// The partition is chosen again unless [`partition`](Self::partition) sets it.
    pub fn copy(topic: impl Into<String>, context: &Context, record: &RawRecord) -> Self {
        let headers = context.headers();
        let mut copy = Self::new(topic);
        copy.key = record.key().map(<[u8]>::to_vec);
        copy.value = record.value().map(<[u8]>::to_vec);
        copy.headers = headers
            .map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec)))
            .collect();
        match context.timestamp() {
            Some(time) => copy.timestamp(time),
            None => copy,
        }
    }

    /// The key. Records with the same key share a partition and keep their order.
    pub fn key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// The value.
    pub fn value(mut self, value: impl Into<Vec<u8>>) -> Self {
        self.value = Some(value.into());
        self
    }

    /// A header; `None` is a header without a value. May be called many times, even with the same name.
    pub fn header(mut self, name: impl Into<String>, value: Option<Vec<u8>>) -> Self {
        self.headers.push((name.into(), value));
        self
    }

    /// The record's timestamp, in milliseconds on the wire. Default: the time at which it is published. A topic with
    /// `message.timestamp.type=LogAppendTime` has its own.
    pub fn timestamp(mut self, time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.timestamp_ms = i64::try_from(since.as_millis()).ok();
        self
    }

    /// The partition. Default: the partitioner chooses by the key.
    pub fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }
}

impl fmt::Debug for PublishRaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Key, value and headers are user data.
        f.debug_struct("PublishRaw")
            .field("topic", &self.topic)
            .field("partition", &self.partition)
            .finish_non_exhaustive()
    }
}
