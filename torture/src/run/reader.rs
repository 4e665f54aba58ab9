//! At the end: reads everything on the brokers with a consumer without a group, past the proxy.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use checker::history::{DeadLetter, Event, Output, Record, Writer};
use eventstream::DeadLetterOrigin;
use harness::eventually;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::layout::{
    DEAD_LETTER_SUFFIX, GROUPS, PREFIX, TOPICS, copied, copies, dead_lettered, dead_letters_of,
    on_broker,
};

const PATIENCE: Duration = Duration::from_secs(60);
const ANSWER: Duration = Duration::from_secs(10);

/// How much was read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Read {
    pub(super) records: u64,
    /// Of these, records that are not events.
    pub(super) no_events: u64,
    pub(super) dead_letters: u64,
    /// What groups have copied.
    pub(super) outputs: u64,
    /// The same with what they have copied in transactions that were aborted.
    pub(super) with_aborted: u64,
}

/// What a reader sees of transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Isolation {
    Committed,
    Uncommitted,
}

impl Isolation {
    fn word(self) -> &'static str {
        match self {
            Self::Committed => "read_committed",
            Self::Uncommitted => "read_uncommitted",
        }
    }
}

/// Reads all topics, dead letters and copies from their beginnings to their ends, once no transaction is open.
pub(super) fn read_all(bootstrap: &str, history: &Writer, isolation: Isolation) -> Result<Read> {
    let letters = dead_lettered().into_iter().map(dead_letters_of);
    let transacted: Vec<_> = letters.chain(copies().map(str::to_owned)).collect();
    wait_for_open_transactions(bootstrap, &transacted)?;
    let mut read = Read::default();
    let all = TOPICS.iter().map(|topic| topic.name.to_owned());
    let all = all.chain(transacted);
    each(bootstrap, isolation, all, |message| {
        write(message, history, &mut read)
    })?;
    let copies = copies().map(str::to_owned);
    each(bootstrap, Isolation::Uncommitted, copies, |_| {
        read.with_aborted += 1;
        Ok(())
    })?;
    Ok(read)
}

/// A reader sees nothing behind an open transaction, and a killed member leaves one until its timeout.
fn wait_for_open_transactions(bootstrap: &str, topics: &[String]) -> Result<()> {
    let committed = consumer(bootstrap, Isolation::Committed)?;
    let written = consumer(bootstrap, Isolation::Uncommitted)?;
    for topic in topics {
        for (name, partition) in partitions(&written, topic)? {
            let what = format!("the transactions of {name}/{partition} to end");
            eventually(&what, PATIENCE, || {
                let end = |reader: &BaseConsumer| reader.fetch_watermarks(&name, partition, ANSWER);
                let ends = (end(&written)?.1, end(&committed)?.1);
                Ok((ends.0 == ends.1).then_some(()))
            })?;
        }
    }
    Ok(())
}

fn consumer(bootstrap: &str, isolation: Isolation) -> Result<BaseConsumer> {
    let consumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", on_broker("reader"))
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("fetch.queue.backoff.ms", "10")
        .set("check.crcs", "true")
        .set("isolation.level", isolation.word())
        .create()?;
    Ok(consumer)
}

fn partitions(consumer: &BaseConsumer, topic: &str) -> Result<Vec<(String, i32)>> {
    let name = on_broker(topic);
    let metadata = consumer.fetch_metadata(Some(&name), PATIENCE)?;
    let topic = metadata.topics().first().context("no such topic")?;
    let partitions = topic.partitions().iter();
    Ok(partitions.map(|it| (name.clone(), it.id())).collect())
}

fn each(
    bootstrap: &str,
    isolation: Isolation,
    topics: impl Iterator<Item = String>,
    mut take: impl FnMut(&BorrowedMessage<'_>) -> Result<()>,
) -> Result<()> {
    let consumer = consumer(bootstrap, isolation)?;
    let mut list = TopicPartitionList::new();
    for topic in topics {
        for (name, partition) in partitions(&consumer, &topic)? {
            list.add_partition_offset(&name, partition, Offset::Beginning)?;
        }
    }
    let mut open = list.count();
    consumer.assign(&list)?;
    let mut news = Instant::now();
    while open > 0 {
        match consumer.poll(Duration::from_millis(100)) {
            None if news.elapsed() > PATIENCE => bail!("{open} partitions went silent"),
            None => continue,
            Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
            Some(Err(error)) => return Err(error).context("reading what the brokers have"),
            Some(Ok(message)) => take(&message)?,
        }
        news = Instant::now();
    }
    Ok(())
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
    } else if let Some(group) = GROUPS.iter().find(|it| it.copies_to == Some(topic)) {
        let id = message.payload().and_then(id_text);
        let (of, partition, offset) = id.and_then(copied).context("not a copy")?;
        read.outputs += 1;
        history.write(Event::Output(Output {
            group: group.name,
            topic: of,
            partition,
            offset,
            key: message.key().and_then(number),
            at: (message.partition(), message.offset()),
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
    id_text(value)?.parse().ok()
}

fn id_text(value: &[u8]) -> Option<&str> {
    let rest = value.strip_prefix(br#"{"id":""#)?;
    let end = rest.iter().position(|byte| *byte == b'"')?;
    std::str::from_utf8(&rest[..end]).ok()
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
