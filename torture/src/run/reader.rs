//! At the end: reads everything on the brokers with a consumer without a group, past the proxy.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use checker::history::{DeadLetter, Event, Record, Writer};
use eventstream::DeadLetterOrigin;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::layout::{DEAD_LETTER_SUFFIX, GROUPS, PREFIX, TOPICS, dead_letters_of, on_broker};

const PATIENCE: Duration = Duration::from_secs(30);

/// How much was read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Read {
    pub(super) records: u64,
    /// Of these, records that are not events.
    pub(super) no_events: u64,
    pub(super) dead_letters: u64,
}

/// Reads all topics and dead letter topics from their beginnings to their ends.
pub(super) fn read_all(bootstrap: &str, history: &Writer) -> Result<Read> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", on_broker("reader"))
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("fetch.queue.backoff.ms", "10")
        .set("check.crcs", "true")
        .create()?;
    let mut list = TopicPartitionList::new();
    let dead = GROUPS.iter().filter(|group| group.attempts.is_some());
    let names = TOPICS.iter().map(|topic| topic.name.to_owned());
    for name in names.chain(dead.map(|group| dead_letters_of(group.topic))) {
        let name = on_broker(&name);
        let metadata = consumer.fetch_metadata(Some(&name), PATIENCE)?;
        let topic = metadata.topics().first().context("no such topic")?;
        for partition in topic.partitions() {
            list.add_partition_offset(&name, partition.id(), Offset::Beginning)?;
        }
    }
    let mut open = list.count();
    consumer.assign(&list)?;
    let mut read = Read::default();
    let mut news = Instant::now();
    while open > 0 {
        match consumer.poll(Duration::from_millis(100)) {
            None if news.elapsed() > PATIENCE => bail!("{open} partitions went silent"),
            None => continue,
            Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
            Some(Err(error)) => return Err(error).context("reading what the brokers have"),
            Some(Ok(message)) => write(&message, history, &mut read)?,
        }
        news = Instant::now();
    }
    Ok(read)
}

fn write(message: &BorrowedMessage<'_>, history: &Writer, read: &mut Read) -> Result<()> {
    let id = message.payload().and_then(id_of);
    let topic = without_prefix(message.topic());
    if topic.ends_with(DEAD_LETTER_SUFFIX) {
        let headers = message.headers().context("no headers")?;
        let headers = headers.iter().map(|header| (header.key, header.value));
        let origin = DeadLetterOrigin::read(headers)?.context("no dead letter")?;
        read.dead_letters += 1;
        history.write(Event::DeadLetter(DeadLetter {
            group: without_prefix(origin.group()),
            reason: origin.reason().as_str(),
            topic: origin.topic(),
            partition: origin.partition(),
            offset: origin.offset(),
            id,
        }))?;
    } else {
        read.records += 1;
        read.no_events += u64::from(id.is_none());
        let key = message.key().and_then(number);
        history.write(Event::Record(Record {
            topic,
            partition: message.partition(),
            offset: message.offset(),
            id,
            key,
        }))?;
    }
    Ok(())
}

fn without_prefix(name: &str) -> &str {
    name.strip_prefix(PREFIX)
        .and_then(|name| name.strip_prefix('.'))
        .unwrap_or(name)
}

/// The number at the start of an envelope; `None` if it is not an envelope of this run.
pub(super) fn id_of(value: &[u8]) -> Option<u64> {
    let rest = value.strip_prefix(br#"{"id":""#)?;
    let end = rest.iter().position(|byte| *byte == b'"')?;
    number(&rest[..end])
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_tells_its_number() {
        assert_eq!(id_of(br#"{"id":"1234","name":"sent"}"#), Some(1234));
        assert_eq!(id_of(br#"{"name":"sent"}"#), None);
        assert_eq!(id_of(b"no envelope"), None);
    }
}
