//! Consumer groups: their state, their progress, and moving their offsets.

mod description;
mod plan;
mod seek;

use std::fmt;
use std::time::Duration;

pub use self::description::{
    GroupDescription, GroupListing, GroupMember, GroupPartition, GroupProtocol, GroupState,
    Progress,
};
pub(crate) use self::description::{check_empty, not_empty};
pub use self::plan::{CopyPlan, GroupOffset, SeekMove, SeekPlan};
pub(crate) use self::seek::{Place, target};
pub use self::seek::{Seek, SeekTo};

use crate::client::Client;
use crate::error::{Error, ErrorKind, Result};
use crate::kafka::Kafka;
use crate::name::{GroupId, Topic};

/// The default of [`Groups::timeout`].
const TIMEOUT: Duration = Duration::from_secs(30);

/// The consumer groups of a cluster. Created by [`Client::groups`].
///
/// ```no_run
/// use eventstream::{Client, Seek, SeekTo};
///
/// # async fn run() -> Result<(), eventstream::Error> {
/// let client = Client::kafka(["localhost:9092"]).prefix("prod").build()?;
/// let rewards = client.groups().group("rewards")?;
/// for partition in rewards.describe().await?.partitions {
///     println!("{}/{}: {:?} behind", partition.topic, partition.partition, partition.lag());
/// }
///
/// let plan = rewards.plan_seek(&Seek::new("player", SeekTo::By(-100))).await?;
/// for one in plan.moves() {
///     println!("{}: {:?} -> {}, {} read again", one.partition, one.from, one.to, one.read_again());
/// }
/// plan.apply().await?;
/// # Ok(()) }
/// ```
///
/// The clients `embedded`, `stdout` and `none` have no groups: every call fails with [`ErrorKind::Unsupported`].
#[derive(Clone)]
pub struct Groups {
    client: Client,
    timeout: Duration,
}

/// One group to inspect and change; it need not exist. Created by [`Groups::group`] and [`Groups::exact_group`].
///
/// Every change is refused with [`ErrorKind::GroupNotEmpty`] while the group has members, which the error names.
/// The brokers refuse it too, so a member that joins in the meantime is safe.
#[derive(Clone)]
pub struct ConsumerGroup {
    client: Client,
    name: String,
    timeout: Duration,
}

impl Groups {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            timeout: TIMEOUT,
        }
    }

    /// How long each call may wait for the brokers. Default: 30 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Every consumer group in the cluster that this client may describe, by name, including those with other
    /// prefixes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unreachable`], [`ErrorKind::Authentication`] or [`ErrorKind::Timeout`] if the brokers do not
    /// answer in time; an unavailable broker fails the call, because its groups would be missing.
    pub async fn list(&self) -> Result<Vec<GroupListing>> {
        kafka(&self.client, "list groups")?
            .list_groups(self.timeout)
            .await
    }

    /// A group, given without the client's prefix.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Validation`] if the name is empty or too long.
    pub fn group(&self, name: &str) -> Result<ConsumerGroup> {
        let name = GroupId::new(name)?;
        let kafka = kafka(&self.client, "describe a group")?;
        Ok(self.named(kafka.group_on_the_broker(name.as_str())))
    }

    /// A group by its name on the broker, as returned by [`list`](Self::list).
    ///
    /// # Errors
    ///
    /// As [`group`](Self::group).
    pub fn exact_group(&self, name: &str) -> Result<ConsumerGroup> {
        kafka(&self.client, "describe a group")?;
        GroupId::new(name).map(|name| self.named(name.as_str().to_owned()))
    }

    fn named(&self, name: String) -> ConsumerGroup {
        ConsumerGroup {
            client: self.client.clone(),
            name,
            timeout: self.timeout,
        }
    }
}

impl ConsumerGroup {
    /// The name on the broker.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its state, its members, and its progress in each partition that has a committed offset or a member. Reads
    /// one record of each partition that has any left, for its time.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::UnknownGroup`] if it has neither members nor committed offsets; [`ErrorKind::Unauthorized`];
    /// [`ErrorKind::Unreachable`] or [`ErrorKind::Timeout`]. An error about one partition is in its entry.
    pub async fn describe(&self) -> Result<GroupDescription> {
        self.kafka()?.describe_group(&self.name, self.timeout).await
    }

    /// All its committed offsets, by topic and partition; empty for an unknown group.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthorized`]; [`ErrorKind::Unreachable`] or [`ErrorKind::Timeout`].
    pub async fn offsets(&self) -> Result<Vec<GroupOffset>> {
        self.kafka()?
            .committed_offsets(&self.name, None, self.timeout)
            .await
    }

    /// Its committed offsets in a topic, given without the client's prefix.
    ///
    /// # Errors
    ///
    /// As [`offsets`](Self::offsets); [`ErrorKind::Validation`] for an invalid name.
    pub async fn offsets_in(&self, topic: &str) -> Result<Vec<GroupOffset>> {
        let topic = Topic::new(topic)?;
        self.kafka()?
            .committed_offsets(&self.name, Some(topic.as_str()), self.timeout)
            .await
    }

    /// What a seek would do. Nothing changes until [`SeekPlan::apply`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Validation`] for a partition that the topic does not have, and for `By` if nothing is
    /// committed; [`ErrorKind::UnknownTopic`]; otherwise as [`describe`](Self::describe). A group with members can
    /// be planned for.
    pub async fn plan_seek(&self, seek: &Seek) -> Result<SeekPlan> {
        let topic = Topic::new(&seek.topic)?;
        let planned = self
            .kafka()?
            .plan_seek(&self.name, topic.as_str(), seek, self.timeout)
            .await?;
        Ok(SeekPlan::new(self.clone(), planned))
    }

    /// What copying its committed offsets to a new group would do. The group may have members: what they commit
    /// later is not copied.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::UnknownGroup`] if it has committed nothing; [`ErrorKind::Validation`] if the new group has
    /// committed offsets; [`ErrorKind::GroupNotEmpty`] if that has members; otherwise as
    /// [`describe`](Self::describe).
    pub async fn plan_copy(&self, to: &Self) -> Result<CopyPlan> {
        let offsets = self
            .kafka()?
            .plan_copy(&self.name, &to.name, self.timeout)
            .await?;
        Ok(CopyPlan::new(to.clone(), offsets))
    }

    /// Deletes the group and all its committed offsets. Its next member starts where its subscription says.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::GroupNotEmpty`]; [`ErrorKind::UnknownGroup`]; [`ErrorKind::Unauthorized`]; [`ErrorKind::Unreachable`] or
    /// [`ErrorKind::Timeout`], after which it may be gone.
    pub async fn delete(&self) -> Result<()> {
        self.kafka()?.delete_group(&self.name, self.timeout).await
    }

    /// Deletes the group's committed offsets in a topic, given without the prefix, and returns them. Its next
    /// member starts there where its subscription says.
    ///
    /// # Errors
    ///
    /// As [`delete`](Self::delete); [`ErrorKind::Validation`] if it has committed nothing in the topic.
    pub async fn delete_offsets(&self, topic: &str) -> Result<Vec<GroupOffset>> {
        let topic = Topic::new(topic)?;
        self.kafka()?
            .delete_offsets(&self.name, topic.as_str(), self.timeout)
            .await
    }

    fn kafka(&self) -> Result<&Kafka> {
        kafka(&self.client, "describe a group")
    }
}

fn kafka<'a>(client: &'a Client, doing: &str) -> Result<&'a Kafka> {
    let kafka = client.kafka_engine().filter(|kafka| !kafka.is_embedded());
    kafka.ok_or_else(|| {
        let text =
            format!("{doing}: this client's backend has no consumer groups to list; use a cluster");
        Error::new(ErrorKind::Unsupported, text)
    })
}

impl fmt::Debug for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Groups")
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ConsumerGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerGroup")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
