use crate::error::Error;

/// What the cluster says of itself and of topics.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Metadata {
    /// The brokers, by id.
    pub brokers: Vec<BrokerMetadata>,
    /// The topics asked for, by name.
    pub topics: Vec<TopicMetadata>,
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
    /// What is wrong with the topic: it does not exist, or may not be read.
    pub error: Option<Error>,
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionMetadata {
    /// The partition's number.
    pub id: i32,
    /// The leader's broker id; `None` while there is none.
    pub leader: Option<i32>,
    /// The brokers that hold a copy.
    pub replicas: Vec<i32>,
    /// Those whose copy is complete.
    pub in_sync: Vec<i32>,
    /// The first offset the broker still has.
    pub low: i64,
    /// The offset the next record will get.
    pub high: i64,
    /// The group's committed offset, where one was asked for and has been committed.
    pub committed: Option<i64>,
}

impl PartitionMetadata {
    /// How many records the group has not committed: to the end from its committed offset, or from
    /// the first one where it has none.
    pub fn lag(&self) -> i64 {
        (self.high - self.committed.unwrap_or(self.low)).max(0)
    }
}
