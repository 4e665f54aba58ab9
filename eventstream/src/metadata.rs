use std::time::SystemTime;

use crate::error::Error;

/// A query for cluster metadata: all topics or one, with or without offsets.
///
/// ```
/// use eventstream::MetadataQuery;
///
/// let query = MetadataQuery::new().topic("player").watermarks().group("rewards");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "a query does nothing until it is given to `Client::query_metadata`"]
pub struct MetadataQuery {
    pub(crate) topic: Option<String>,
    pub(crate) watermarks: bool,
    pub(crate) at: Option<SystemTime>,
    pub(crate) group: Option<String>,
    pub(crate) exact_group: bool,
}

impl MetadataQuery {
    /// Brokers, all topics and their partitions: one request.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only this topic, given without the client's prefix. It is never created.
    pub fn topic(mut self, topic: impl Into<String>) -> Self {
        self.topic = Some(topic.into());
        self
    }

    /// The first and the next offset of each partition: two requests per broker.
    pub fn watermarks(mut self) -> Self {
        self.watermarks = true;
        self
    }

    /// The first record in each partition with this timestamp or a later one, and the watermarks: one
    /// more request per broker. The embedded broker cannot find it: the query fails as
    /// [`Unsupported`](crate::ErrorKind::Unsupported).
    pub fn at(mut self, time: SystemTime) -> Self {
        self.at = Some(time);
        self.watermarks()
    }

    /// What this group has committed, given without the client's prefix.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = Some(group.into());
        self.exact_group = false;
        self
    }

    /// Like [`group`](Self::group), with the group's full name on the broker.
    pub fn exact_group(mut self, group: impl Into<String>) -> Self {
        self.group = Some(group.into());
        self.exact_group = true;
        self
    }
}

/// What the cluster reports about itself and its topics.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Metadata {
    /// The brokers, by id.
    pub brokers: Vec<BrokerMetadata>,
    /// The topics asked for, by name.
    pub topics: Vec<TopicMetadata>,
    /// The group asked for.
    pub group: Option<GroupMetadata>,
}

/// One broker.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BrokerMetadata {
    /// The broker's id.
    pub id: i32,
    /// The advertised host.
    pub host: String,
    /// The advertised port.
    pub port: u16,
}

/// One topic.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TopicMetadata {
    /// The name on the broker, with the prefix.
    pub name: String,
    /// The partitions, by number.
    pub partitions: Vec<PartitionMetadata>,
    /// What is wrong with the topic: it does not exist, or access to it is denied.
    pub error: Option<Error>,
}

/// One partition.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PartitionMetadata {
    /// The partition's number.
    pub id: i32,
    /// The leader's broker id; `None` while there is none.
    pub leader: Option<i32>,
    /// The brokers that hold a replica.
    pub replicas: Vec<i32>,
    /// The in-sync replicas.
    pub in_sync: Vec<i32>,
    /// The first offset the broker still has, if requested and known.
    pub low: Option<i64>,
    /// The offset the next record will get, if requested and known.
    pub high: Option<i64>,
    /// The offset of the first record with the requested timestamp or a later one; the end if there is none.
    pub at_time: Option<i64>,
    /// The group's committed offset, if requested and committed.
    pub committed: Option<i64>,
    /// Why a requested offset is not known: the partition has no leader, or its broker did not
    /// answer in time.
    pub error: Option<Error>,
}

impl PartitionMetadata {
    /// How many records the group has not committed: from its committed offset, or from the first
    /// record if it has none, to the end. `None` if the offsets are not known.
    pub fn lag(&self) -> Option<i64> {
        Some((self.high? - self.committed.or(self.low)?).max(0))
    }
}

/// A consumer group.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupMetadata {
    /// The name on the broker.
    pub name: String,
    /// Whether the brokers know it: it has members or has committed an offset. On the `embedded`
    /// backend, this is judged only by the offsets of the requested topics.
    pub is_known: bool,
}
