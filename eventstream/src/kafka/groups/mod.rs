//! Blocking calls that describe and change groups. Each uses its own client, which ends with the call.

mod ages;
mod calls;
mod session;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rdkafka::error::RDKafkaErrorCode as Code;

use self::calls::ToCommit;
use self::session::Session;
use super::questions::TopicPartition;
use super::{Kafka, blocking, unix_millis, wire_group};
use crate::error::{Error, ErrorKind, Fault, Result};
use crate::groups::{
    GroupDescription, GroupListing, GroupMember, GroupOffset, GroupPartition, GroupState, Place,
    Seek, SeekMove, SeekTo, target,
};
use crate::metadata::{PartitionMetadata, TopicMetadata};
use crate::name::prefixed;

/// The effect of a seek, with the topic's name on the broker.
#[derive(Clone)]
pub(crate) struct PlannedSeek {
    pub(crate) topic: String,
    /// The metadata of its commits.
    mark: String,
    pub(crate) moves: Vec<SeekMove>,
    pub(crate) members: Vec<GroupMember>,
    pub(crate) without_offset: Vec<i32>,
}

/// The log of a partition, and the group's committed offset in it.
type Committed = BTreeMap<TopicPartition, i64>;

impl Kafka {
    pub(crate) fn is_embedded(&self) -> bool {
        self.embedded.is_some()
    }

    pub(crate) fn group_on_the_broker(&self, group: &str) -> String {
        wire_group(&self.prefix, group)
    }

    pub(crate) async fn list_groups(&self, timeout: Duration) -> Result<Vec<GroupListing>> {
        self.session("list groups", "", timeout, |session| {
            let mut groups = session.list()?;
            let names: Vec<_> = groups.iter().map(|group| group.name.clone()).collect();
            let mut facts = session.describe_all(&names)?;
            groups.retain_mut(|group| {
                // A group that was deleted meanwhile is missing.
                let Some(facts) = facts.remove(&group.name) else {
                    return false;
                };
                group.members = facts.members.len();
                group.state = facts.state;
                if facts.protocol != crate::groups::GroupProtocol::Unknown {
                    group.protocol = facts.protocol;
                }
                true
            });
            groups.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(groups)
        })
        .await
    }

    pub(crate) async fn describe_group(
        &self,
        group: &str,
        timeout: Duration,
    ) -> Result<GroupDescription> {
        self.session("describe", group, timeout, |session| {
            let facts = session.describe()?;
            let committed = session.committed()?;
            let is_known = facts.as_ref().is_some_and(|f| f.state != GroupState::Dead);
            let Some(mut facts) = facts.filter(|_| is_known || !committed.is_empty()) else {
                return Err(session.unknown());
            };
            facts
                .members
                .sort_by(|a, b| (&a.client_id, &a.id).cmp(&(&b.client_id, &b.id)));
            let owners = owners(&facts.members);
            let mut asked: Vec<_> = committed.keys().chain(owners.keys()).cloned().collect();
            asked.sort();
            asked.dedup();
            let mut logs = session.logs(&asked)?;
            let mut partitions: Vec<_> = asked
                .into_iter()
                .map(|name| {
                    let log = logs.remove(&name);
                    partition(&name, log, committed.get(&name).copied(), owners.get(&name))
                })
                .collect();
            session.ages(&mut partitions);
            Ok(GroupDescription {
                name: session.group.clone(),
                state: facts.state,
                protocol: facts.protocol,
                assignor: facts.assignor,
                members: facts.members,
                partitions,
            })
        })
        .await
    }

    pub(crate) async fn committed_offsets(
        &self,
        group: &str,
        topic: Option<&str>,
        timeout: Duration,
    ) -> Result<Vec<GroupOffset>> {
        let topic = topic.map(|topic| prefixed(&self.prefix, topic));
        self.session("describe", group, timeout, move |session| {
            let mut offsets = session.committed_with_metadata()?;
            offsets.retain(|one| topic.as_ref().is_none_or(|topic| one.topic == *topic));
            Ok(offsets)
        })
        .await
    }

    pub(crate) async fn plan_seek(
        &self,
        group: &str,
        topic: &str,
        seek: &Seek,
        timeout: Duration,
    ) -> Result<PlannedSeek> {
        let topic = prefixed(&self.prefix, topic);
        let (to, chosen) = (seek.to, seek.partitions.clone());
        self.session("seek", group, timeout, move |session| {
            let found = session.topic(&topic, millis(to))?;
            let ids: Vec<i32> = found.partitions.iter().map(|p| p.id).collect();
            if let Some(id) = chosen.iter().find(|id| !ids.contains(id)) {
                return Err(session.fault("partition", id.to_string(), &range(&topic, &ids)));
            }
            let chosen = |id: i32| chosen.is_empty() || chosen.contains(&id);
            let members = session.describe()?.map(|f| f.members).unwrap_or_default();
            let committed = session.committed()?;
            let of = |id: i32| committed.get(&(topic.clone(), id)).copied();
            let mark = session.mark(&topic)?;
            let mut moves = Vec::new();
            for one in found.partitions.iter().filter(|p| chosen(p.id)) {
                let (Some(low), Some(end)) = (one.low, one.high) else {
                    return Err(session.no_offsets(&topic, one));
                };
                let from = of(one.id);
                let place = Place {
                    low,
                    end,
                    committed: from,
                    at_time: one.at_time,
                };
                let Some(to) = target(to, place) else {
                    let allowed = format!(
                        "needs a committed offset to count from, and partition {} of {topic} has none; \
                         seek to head, tail, an offset or a time",
                        one.id
                    );
                    return Err(session.fault("to", String::new(), &allowed));
                };
                moves.push(SeekMove {
                    partition: one.id,
                    from,
                    to,
                    low,
                    end,
                });
            }
            let others = ids.into_iter().filter(|id| !chosen(*id));
            let without_offset = others.filter(|id| of(*id).is_none()).collect();
            Ok(PlannedSeek {
                topic,
                mark,
                moves,
                members,
                without_offset,
            })
        })
        .await
    }

    pub(crate) async fn seek(
        &self,
        group: &str,
        planned: &PlannedSeek,
        timeout: Duration,
    ) -> Result<()> {
        let offsets = planned.moves.iter().map(|one| ToCommit {
            partition: (planned.topic.clone(), one.partition),
            offset: one.to,
            metadata: planned.mark.clone(),
        });
        let offsets: Vec<_> = offsets.collect();
        self.session("seek", group, timeout, move |session| {
            session.commit(&offsets)
        })
        .await
    }

    pub(crate) async fn plan_copy(
        &self,
        from: &str,
        to: &str,
        timeout: Duration,
    ) -> Result<Vec<GroupOffset>> {
        let offsets = self
            .session("copy", from, timeout, |session| {
                let offsets = session.committed_with_metadata()?;
                if offsets.is_empty() {
                    return Err(session.unknown());
                }
                Ok(offsets)
            })
            .await?;
        self.session("copy", to, timeout, |session| {
            session.check_empty()?;
            if session.committed()?.is_empty() {
                return Ok(());
            }
            let allowed = "has committed offsets; copy to a new group, or delete this one first";
            Err(session.fault("group", session.group.clone(), allowed))
        })
        .await?;
        Ok(offsets)
    }

    pub(crate) async fn copy_offsets(
        &self,
        to: &str,
        offsets: &[GroupOffset],
        timeout: Duration,
    ) -> Result<()> {
        let offsets = offsets.iter().map(|one| ToCommit {
            partition: (one.topic.clone(), one.partition),
            offset: one.offset,
            metadata: one.metadata.clone(),
        });
        let offsets: Vec<_> = offsets.collect();
        self.session("copy", to, timeout, move |session| session.commit(&offsets))
            .await
    }

    pub(crate) async fn delete_group(&self, group: &str, timeout: Duration) -> Result<()> {
        self.session("delete", group, timeout, |session| {
            session.check_empty()?;
            session.delete()
        })
        .await
    }

    pub(crate) async fn delete_offsets(
        &self,
        group: &str,
        topic: &str,
        timeout: Duration,
    ) -> Result<Vec<GroupOffset>> {
        let topic = prefixed(&self.prefix, topic);
        self.session("delete offsets", group, timeout, move |session| {
            session.check_empty()?;
            let mut offsets = session.committed_with_metadata()?;
            offsets.retain(|one| one.topic == topic);
            if offsets.is_empty() {
                let allowed = "must be one in which the group has committed offsets";
                return Err(session.fault("topic", topic, allowed));
            }
            session.delete_offsets(&offsets)?;
            Ok(offsets)
        })
        .await
    }

    async fn session<T: Send + 'static>(
        &self,
        doing: &'static str,
        group: &str,
        timeout: Duration,
        call: impl FnOnce(&Session) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let configs = Arc::clone(&self.configs);
        let reporter = Arc::clone(&self.reporter);
        let group = group.to_owned();
        blocking(doing, move || {
            call(&Session::start(&configs, reporter, doing, group, timeout)?)
        })
        .await
    }
}

/// Which member each partition is assigned to.
fn owners(members: &[GroupMember]) -> HashMap<TopicPartition, String> {
    let mut owners = HashMap::new();
    for member in members {
        for (topic, ids) in &member.partitions {
            let ids = ids.iter().map(|id| (topic.clone(), *id));
            owners.extend(ids.map(|partition| (partition, member.id.clone())));
        }
    }
    owners
}

fn partition(
    (topic, id): &TopicPartition,
    log: Option<Result<PartitionMetadata>>,
    committed: Option<i64>,
    member: Option<&String>,
) -> GroupPartition {
    let (low, end, error) = match log {
        Some(Ok(log)) => (log.low, log.high, log.error),
        Some(Err(error)) => (None, None, Some(error)),
        None => {
            let text = format!("partition {id} of {topic} no longer exists");
            (None, None, Some(Error::new(ErrorKind::UnknownTopic, text)))
        }
    };
    GroupPartition {
        topic: topic.clone(),
        partition: *id,
        committed,
        low,
        end,
        lag_time: None,
        member: member.cloned(),
        error,
    }
}

fn range(topic: &str, ids: &[i32]) -> String {
    let last = ids.last().copied().unwrap_or(0);
    format!("must be from 0 to {last}, which {topic} has")
}

/// The time of a seek, in milliseconds.
fn millis(to: SeekTo) -> Option<i64> {
    match to {
        SeekTo::Time(time) => Some(unix_millis(time)),
        SeekTo::Age(age) => {
            let since = SystemTime::now().checked_sub(age);
            Some(unix_millis(since.unwrap_or(UNIX_EPOCH)))
        }
        _ => None,
    }
}

/// Codes by which a coordinator reports that a group has members.
fn has_members(code: Code) -> bool {
    matches!(
        code,
        Code::NonEmptyGroup
            | Code::UnknownMemberId
            | Code::IllegalGeneration
            | Code::RebalanceInProgress
            | Code::GroupSubscribedToTopic
            | Code::StaleMemberEpoch
    )
}

/// The error of a topic as a whole.
fn of_topic(topic: TopicMetadata) -> Result<TopicMetadata> {
    match topic.error {
        Some(error) => Err(error),
        None => Ok(topic),
    }
}

fn fault(doing: &str, field: &str, value: String, allowed: &str) -> Error {
    let fault = Fault::new(field, value, allowed);
    Error::from_faults(ErrorKind::Validation, doing, vec![fault])
}
