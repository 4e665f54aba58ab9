//! Blocking administration of a cluster, and reading a topic as stored.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::metadata::Metadata;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;

use crate::wait::eventually;

/// Longer than any single request takes during an election.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
const REQUEST: Duration = Duration::from_secs(5);

/// A record as the broker keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawRecord {
    /// The partition.
    pub partition: i32,
    /// The place in the partition.
    pub offset: i64,
    /// The key; `None` is null, which differs from an empty one.
    pub key: Option<Vec<u8>>,
    /// The value; `None` is null.
    pub value: Option<Vec<u8>>,
    /// The headers in their order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Milliseconds since 1970.
    pub timestamp: Option<i64>,
}

/// Administration of one cluster; every method blocks.
pub struct Admin {
    config: ClientConfig,
    pub(crate) client: AdminClient<DefaultClientContext>,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The configuration may contain a password.
        f.debug_struct("Admin")
            .field("bootstrap", &self.config.get("bootstrap.servers"))
            .finish_non_exhaustive()
    }
}

impl Admin {
    /// Administration through a listener without authentication.
    ///
    /// # Errors
    /// librdkafka refuses to make a client.
    pub fn new(bootstrap: &str) -> Result<Self> {
        Self::with_config(bootstrap, &[])
    }

    /// Administration with more properties of librdkafka, such as those of a secured listener.
    ///
    /// # Errors
    /// librdkafka refuses a property.
    pub fn with_config(bootstrap: &str, properties: &[(&str, &str)]) -> Result<Self> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", bootstrap);
        // A node that is starting is asked again at once, not after the default ten seconds.
        config
            .set("reconnect.backoff.ms", "20")
            .set("reconnect.backoff.max.ms", "200");
        for (name, value) in properties {
            config.set(*name, *value);
        }
        let client = config.create().context("making an admin client")?;
        Ok(Self { config, client })
    }

    /// Creates a topic and returns when all its partitions have a leader.
    ///
    /// # Errors
    /// The broker refuses, for instance because the topic exists.
    pub fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        replication: i32,
        config: &[(&str, &str)],
    ) -> Result<()> {
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replication));
        for (key, value) in config {
            topic = topic.set(key, value);
        }
        let results = pollster::block_on(self.client.create_topics([&topic], &options()))?;
        first(results).with_context(|| format!("creating topic {name}"))?;
        self.wait_for_partitions(name, partitions)
    }

    /// Deletes a topic and returns when the brokers no longer know it.
    ///
    /// # Errors
    /// The broker refuses.
    pub fn delete_topic(&self, name: &str) -> Result<()> {
        let results = pollster::block_on(self.client.delete_topics(&[name], &options()))?;
        first(results).with_context(|| format!("deleting topic {name}"))?;
        eventually(&format!("topic {name} to go"), PATIENCE, || {
            Ok(self.partitions(name).is_err().then_some(()))
        })
    }

    /// Raises the number of partitions to `total` and returns when all of them have a leader.
    ///
    /// # Errors
    /// The broker refuses, for instance because the topic has that many already.
    pub fn add_partitions(&self, name: &str, total: i32) -> Result<()> {
        let count = usize::try_from(total).context("a negative number of partitions")?;
        let partitions = NewPartitions::new(name, count);
        let results = pollster::block_on(self.client.create_partitions([&partitions], &options()))?;
        first(results).with_context(|| format!("adding partitions to {name}"))?;
        self.wait_for_partitions(name, total)
    }

    /// Deletes everything before an offset of a partition, as retention does.
    ///
    /// # Errors
    /// The broker refuses.
    pub fn delete_records(&self, topic: &str, partition: i32, before: i64) -> Result<()> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(before))?;
        // Leaders may move meanwhile.
        eventually(
            &format!("records of {topic} to be deleted"),
            PATIENCE,
            || {
                let deleted = pollster::block_on(self.client.delete_records(&list, &options()));
                let deleted = match deleted {
                    Err(error) if is_moving(&error) => return Ok(None),
                    deleted => deleted?,
                };
                for one in deleted.elements() {
                    match one.error() {
                        Err(error) if is_moving(&error) => return Ok(None),
                        result => result.with_context(|| format!("deleting records of {topic}"))?,
                    }
                }
                Ok(Some(()))
            },
        )
    }

    /// The number of partitions of the topic.
    ///
    /// # Errors
    /// The topic does not exist. Asking does not create it.
    pub fn partitions(&self, topic: &str) -> Result<i32> {
        let metadata = self.metadata(topic)?;
        Ok(i32::try_from(
            described(&metadata, topic)?.partitions().len(),
        )?)
    }

    /// The node that leads a partition, if one does.
    ///
    /// # Errors
    /// No such partition.
    pub fn leader(&self, topic: &str, partition: i32) -> Result<Option<i32>> {
        let metadata = self.metadata(topic)?;
        let mut partitions = described(&metadata, topic)?.partitions().iter();
        let found = partitions.find(|candidate| candidate.id() == partition);
        let leader = found
            .with_context(|| format!("topic {topic} has no partition {partition}"))?
            .leader();
        Ok((leader >= 0).then_some(leader))
    }

    /// The nodes that hold a partition, the preferred leader first.
    ///
    /// # Errors
    /// No such partition.
    pub fn replicas(&self, topic: &str, partition: i32) -> Result<Vec<i32>> {
        let metadata = self.metadata(topic)?;
        let mut partitions = described(&metadata, topic)?.partitions().iter();
        let found = partitions.find(|candidate| candidate.id() == partition);
        Ok(found
            .with_context(|| format!("topic {topic} has no partition {partition}"))?
            .replicas()
            .to_vec())
    }

    /// Whether every replica of the topic is in sync.
    ///
    /// # Errors
    /// The topic does not exist.
    pub fn in_sync(&self, topic: &str) -> Result<bool> {
        let metadata = self.metadata(topic)?;
        Ok(described(&metadata, topic)?
            .partitions()
            .iter()
            .all(|one| one.isr().len() == one.replicas().len()))
    }

    /// The nodes that the cluster counts as alive.
    ///
    /// # Errors
    /// No broker answers.
    pub fn broker_ids(&self) -> Result<Vec<i32>> {
        let metadata = self
            .client
            .inner()
            .fetch_metadata(None, Duration::from_millis(500))?;
        Ok(metadata
            .brokers()
            .iter()
            .map(rdkafka::metadata::MetadataBroker::id)
            .collect())
    }

    /// The lowest offset of each partition and the one after its last record.
    ///
    /// # Errors
    /// The topic does not exist.
    pub fn end_offsets(&self, topic: &str) -> Result<Vec<(i64, i64)>> {
        let partitions = 0..self.partitions(topic)?;
        partitions
            .map(|partition| self.ends(topic, partition))
            .collect()
    }

    fn ends(&self, topic: &str, partition: i32) -> Result<(i64, i64)> {
        let asked = format!("the offsets of {topic} {partition}");
        eventually(&asked, PATIENCE, || {
            let client = self.client.inner();
            match client.fetch_watermarks(topic, partition, REQUEST) {
                Ok(ends) => Ok(Some(ends)),
                Err(error) if is_moving(&error) => Ok(None),
                Err(error) => Err(error).with_context(|| format!("asking for {asked}")),
            }
        })
    }

    /// The number of offsets between the ends of all partitions: the number of records, unless some were compacted
    /// away or transactions left markers.
    ///
    /// # Errors
    /// The topic does not exist.
    pub fn count_records(&self, topic: &str) -> Result<u64> {
        let width: i64 = self
            .end_offsets(topic)?
            .iter()
            .map(|(low, high)| high - low)
            .sum();
        Ok(u64::try_from(width)?)
    }

    /// A group's committed offset for each partition of a topic; `None` if it has none.
    ///
    /// # Errors
    /// The topic does not exist, or the group's coordinator does not answer.
    pub fn committed(&self, group: &str, topic: &str) -> Result<Vec<Option<i64>>> {
        let mut list = TopicPartitionList::new();
        for partition in 0..self.partitions(topic)? {
            list.add_partition(topic, partition);
        }
        let committed = self.reader(group)?.committed_offsets(list, PATIENCE);
        let committed =
            committed.with_context(|| format!("asking for the offsets of group {group}"))?;
        let offsets = committed.elements();
        let offsets = offsets.iter().map(|one| match one.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        });
        Ok(offsets.collect())
    }

    /// The number of members of a group; zero if it does not exist.
    ///
    /// # Errors
    /// No broker answers.
    pub fn members(&self, group: &str) -> Result<usize> {
        let groups = self
            .client
            .inner()
            .fetch_group_list(Some(group), PATIENCE)?;
        Ok(groups
            .groups()
            .iter()
            .filter(|one| one.name() == group)
            .map(|one| one.members().len())
            .sum())
    }

    /// The names of all groups.
    ///
    /// # Errors
    /// The brokers do not answer.
    pub fn groups(&self) -> Result<Vec<String>> {
        let groups = self.client.inner().fetch_group_list(None, PATIENCE)?;
        let names = groups.groups().iter().map(|one| one.name().to_owned());
        Ok(names.collect())
    }

    /// Every record of a topic up to its current end, partition by partition, in order.
    ///
    /// # Errors
    /// The topic does not exist, or nothing arrives for 30 s.
    pub fn read_all(&self, topic: &str) -> Result<Vec<RawRecord>> {
        let partitions = self.partitions(topic)?;
        let consumer = self.reader("eventstream-harness-reader")?;
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions {
            list.add_partition_offset(topic, partition, Offset::Beginning)?;
        }
        consumer.assign(&list)?;
        let mut records = Vec::new();
        let mut unfinished = usize::try_from(partitions)?;
        let mut last_news = Instant::now();
        // Waits for the end of each partition, not for a number of records, as offsets may have
        // gaps.
        while unfinished > 0 {
            match consumer.poll(Duration::from_millis(100)) {
                None if last_news.elapsed() > PATIENCE => {
                    bail!("{topic} went silent {unfinished} partitions early")
                }
                None => continue,
                Some(Err(KafkaError::PartitionEOF(_))) => unfinished -= 1,
                Some(Err(error)) => return Err(error).with_context(|| format!("reading {topic}")),
                Some(Ok(message)) => records.push(raw(&message)),
            }
            last_news = Instant::now();
        }
        records.sort_by_key(|record| (record.partition, record.offset));
        Ok(records)
    }

    fn reader(&self, group: &str) -> Result<BaseConsumer> {
        let mut config = self.config.clone();
        config
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true");
        config.create().context("making a consumer")
    }

    fn metadata(&self, topic: &str) -> Result<Metadata> {
        Ok(self.client.inner().fetch_metadata(Some(topic), REQUEST)?)
    }

    fn wait_for_partitions(&self, topic: &str, count: i32) -> Result<()> {
        eventually(&format!("{count} partitions of {topic}"), PATIENCE, || {
            let metadata = self.metadata(topic)?;
            let Ok(described) = described(&metadata, topic) else {
                return Ok(None);
            };
            let led = described
                .partitions()
                .iter()
                .filter(|partition| partition.leader() >= 0)
                .count();
            Ok((i32::try_from(led)? == count).then_some(()))
        })
    }
}

fn described<'a>(
    metadata: &'a Metadata,
    topic: &str,
) -> Result<&'a rdkafka::metadata::MetadataTopic> {
    let found = metadata
        .topics()
        .iter()
        .find(|candidate| candidate.name() == topic);
    match found {
        Some(found) if found.error().is_none() && !found.partitions().is_empty() => Ok(found),
        _ => bail!("there is no topic {topic}"),
    }
}

/// Whether a partition's leader is about to be another broker, or has just become it.
fn is_moving(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{
        FencedLeaderEpoch, LeaderNotAvailable, NotLeaderForPartition, OffsetNotAvailable,
        UnknownLeaderEpoch,
    };
    matches!(
        error.rdkafka_error_code(),
        Some(
            FencedLeaderEpoch
                | LeaderNotAvailable
                | NotLeaderForPartition
                | OffsetNotAvailable
                | UnknownLeaderEpoch
        )
    )
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .operation_timeout(Some(PATIENCE))
        .request_timeout(Some(PATIENCE))
}

fn first(results: Vec<rdkafka::admin::TopicResult>) -> Result<()> {
    match results.into_iter().next() {
        Some(Ok(_)) => Ok(()),
        Some(Err((_, code))) => Err(anyhow!("{code}")),
        None => Err(anyhow!("the broker said nothing about it")),
    }
}

fn raw(message: &rdkafka::message::BorrowedMessage<'_>) -> RawRecord {
    let headers = message.headers().map(|headers| {
        let all = headers
            .iter()
            .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)));
        all.collect()
    });
    RawRecord {
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers.unwrap_or_default(),
        timestamp: message.timestamp().to_millis(),
    }
}
