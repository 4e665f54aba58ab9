use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Span;
use crate::error::{Error, ErrorKind, Result};
use crate::kafka::config::ClientConfigs;
use crate::kafka::context::Reporter;
use crate::kafka::denied::{Operation, Resource, is_denied};
use crate::kafka::error::{classify, from_kafka};
use crate::kafka::inspect::Asker;
use crate::name::Topic;
use crate::publish::Publisher;
use crate::record::{Record, Source};

/// A batch is passed on at this many records or bytes, or when no more have arrived.
const BATCH: usize = 512;
const BATCH_BYTES: usize = 1024 * 1024;
/// How often to check whether there is still a reader.
const LOOK: Duration = Duration::from_millis(100);
/// After this long without a record, the scan fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// The thread of a scan, and its consumer.
pub(super) struct Reader {
    consumer: Asker,
    reporter: Arc<Reporter>,
    wire_topic: String,
    /// The partitions not read to their end yet, with that end.
    open: HashMap<i32, (Arc<Source>, i64)>,
}

/// The result of one poll.
enum Came {
    Records(Vec<Arc<Record>>),
    Nothing,
}

impl Reader {
    /// `None` if there is nothing to read.
    pub(super) fn new(
        configs: &ClientConfigs,
        reporter: &Arc<Reporter>,
        wire_topic: String,
        topic: Topic,
        spans: &[Span],
        publisher: &Arc<dyn Publisher>,
    ) -> Result<Option<Self>> {
        let doing = || format!("read topic {wire_topic}");
        let mut open = HashMap::new();
        let mut assignment = TopicPartitionList::new();
        for span in spans.iter().filter(|span| span.from < span.to) {
            let source = Arc::new(Source {
                topic: topic.clone(),
                partition: span.partition,
                lost: CancellationToken::new(),
                publisher: Arc::clone(publisher),
            });
            open.insert(span.partition, (source, span.to));
            assignment
                .add_partition_offset(&wire_topic, span.partition, Offset::Offset(span.from))
                .map_err(|e| from_kafka(doing(), e))?;
        }
        if open.is_empty() {
            return Ok(None);
        }
        let mut config = configs.consumer.clone();
        // librdkafka requires a group id; the group is never joined or committed to.
        config.set("group.id", "eventstream-scan");
        config.remove("group.protocol");
        config.remove("statistics.interval.ms");
        config.set("enable.partition.eof", "true");
        // The reader may take its time, as no group waits for it.
        config.set("max.poll.interval.ms", "86400000");
        // Records deleted during the scan are skipped.
        config.set("auto.offset.reset", "earliest");
        let consumer = Asker::new(&config, reporter).map_err(|e| from_kafka(doing(), e))?;
        consumer
            .assign(&assignment)
            .map_err(|e| from_kafka(doing(), e))?;
        Ok(Some(Self {
            consumer,
            reporter: Arc::clone(reporter),
            wire_topic,
            open,
        }))
    }

    /// Reads until the end, an error, or until there is no reader.
    pub(super) fn run(mut self, batches: &mpsc::Sender<Result<Vec<Arc<Record>>>>) {
        let mut heard = Instant::now();
        while !self.open.is_empty() && !batches.is_closed() {
            match self.look() {
                Ok(Came::Records(records)) => {
                    // Waits while the reader is behind; librdkafka's own queue is bounded.
                    if !records.is_empty() && batches.blocking_send(Ok(records)).is_err() {
                        return;
                    }
                    // That wait is not the brokers' fault.
                    heard = Instant::now();
                }
                Ok(Came::Nothing) if heard.elapsed() < PATIENCE => {}
                Ok(Came::Nothing) => {
                    let _ = batches.blocking_send(Err(self.silent()));
                    return;
                }
                Err(error) => {
                    // There may be no reader left to report it to.
                    let _ = batches.blocking_send(Err(error));
                    return;
                }
            }
        }
    }

    fn look(&mut self) -> Result<Came> {
        let (mut records, mut bytes) = (Vec::new(), 0);
        let mut wait = LOOK;
        while records.len() < BATCH && bytes < BATCH_BYTES && !self.open.is_empty() {
            match self.consumer.poll(wait) {
                None if records.is_empty() => return Ok(Came::Nothing),
                None => break,
                Some(Ok(message)) => {
                    let Some((source, end)) = self.open.get(&message.partition()) else {
                        continue;
                    };
                    let (partition, offset, end) = (message.partition(), message.offset(), *end);
                    if offset < end {
                        let record = copied(&message, source);
                        bytes += record.size();
                        records.push(Arc::new(record));
                    }
                    if offset + 1 >= end {
                        self.open.remove(&partition);
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    self.open.remove(&partition);
                }
                Some(Err(error)) => self.heed(error)?,
            }
            wait = Duration::ZERO;
        }
        Ok(Came::Records(records))
    }

    /// Waits for what librdkafka recovers from by itself.
    fn heed(&self, error: KafkaError) -> Result<()> {
        let code = error.rdkafka_error_code();
        // It looks for the coordinator of a group that is never used.
        if code == Some(Code::GroupAuthorizationFailed) {
            return Ok(());
        }
        let lasts = code.is_none_or(|code| {
            let (kind, passes) = classify(code);
            !passes && kind != ErrorKind::Authentication
        });
        if let Some(refused) = self.reporter.suspected() {
            return Err(refused);
        }
        let doing = format!("read topic {}", self.wire_topic);
        match code {
            Some(code) if is_denied(code) => {
                let on = Resource::Topic(&self.wire_topic);
                Err(self.reporter.denied(&doing, Operation::Read, on, code))
            }
            _ if lasts => Err(from_kafka(doing, error)),
            _ => Ok(()),
        }
    }

    fn silent(&self) -> Error {
        let text = format!(
            "read topic {}: nothing arrived for {} s",
            self.wire_topic,
            PATIENCE.as_secs()
        );
        let error = Error::new(ErrorKind::Timeout, text);
        match self.reporter.last_error() {
            Some(last) => error.with_source(last),
            None => error,
        }
    }
}

/// A record with its own copy of the data.
fn copied(message: &BorrowedMessage<'_>, source: &Arc<Source>) -> Record {
    let (key, value) = (message.key(), message.payload());
    let mut body = Vec::with_capacity(key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len));
    let mut push = |bytes: &[u8]| {
        let start = body.len();
        body.extend_from_slice(bytes);
        start..body.len()
    };
    let (key, value) = (key.map(&mut push), value.map(&mut push));
    let headers = message.headers().map(|headers| {
        let headers = headers.iter();
        headers
            .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
            .collect()
    });
    Record {
        source: Arc::clone(source),
        offset: message.offset(),
        timestamp_ms: message.timestamp().to_millis(),
        body: body.into(),
        key,
        value,
        headers,
        event: None,
    }
}
