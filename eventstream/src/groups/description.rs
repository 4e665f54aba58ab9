use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};

/// A group in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupListing {
    /// The name on the broker, with the prefix.
    pub name: String,
    /// What it is doing.
    pub state: GroupState,
    /// How its members share the partitions.
    pub protocol: GroupProtocol,
    /// How many members it has.
    pub members: usize,
}

/// What a group is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GroupState {
    /// It has no members; its committed offsets are kept.
    Empty,
    /// Its members have their partitions.
    Stable,
    /// Its members are getting their partitions.
    Rebalancing,
    /// It is about to be removed.
    Dead,
    /// The broker does not say, or reports a state unknown to this version.
    Unknown,
}

/// How the members of a group share the partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GroupProtocol {
    /// One of the members assigns: eager or cooperative.
    Classic,
    /// The broker assigns (KIP-848).
    Consumer,
    /// The broker does not say, as before Kafka 3.8, or the group has no members yet.
    Unknown,
}

/// A group, its members, and its progress.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GroupDescription {
    /// The name on the broker, with the prefix.
    pub name: String,
    /// What it is doing.
    pub state: GroupState,
    /// How its members share the partitions.
    pub protocol: GroupProtocol,
    /// The assignor, such as `range` or `uniform`; empty if there is none.
    pub assignor: String,
    /// The members, by client id.
    pub members: Vec<GroupMember>,
    /// The partitions that have a committed offset or a member, by topic and number.
    pub partitions: Vec<GroupPartition>,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupMember {
    /// The id chosen by the broker or the member.
    pub id: String,
    /// The name of a static member.
    pub instance_id: Option<String>,
    /// The client's own name.
    pub client_id: String,
    /// The address it connects from.
    pub host: String,
    /// Its partitions, by the topic's name on the broker.
    pub partitions: BTreeMap<String, Vec<i32>>,
}

/// A group's progress in a partition.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GroupPartition {
    /// The topic's name on the broker, with the prefix.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// The offset of the next record to be handled; `None` if nothing is committed.
    pub committed: Option<i64>,
    /// The first offset that the broker still has, if known.
    pub low: Option<i64>,
    /// The offset that the next record gets, if known.
    pub end: Option<i64>,
    /// How far the group is behind: how long ago the next record to be handled was published, by its
    /// timestamp and this machine's clock. Zero if nothing is left. `None` if nothing is committed, or the
    /// record could not be read in time.
    pub lag_time: Option<Duration>,
    /// The id of the member that owns it.
    pub member: Option<String>,
    /// Why an offset is unknown.
    pub error: Option<Error>,
}

/// Whether the committed offset of a partition is moving.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Progress {
    /// It has changed.
    Moving,
    /// It has not changed, though there was something to do then and there is now.
    Stuck,
    /// It has not changed, and there is nothing left, or there was nothing then.
    Idle,
}

impl GroupState {
    /// The stable lower-case name of the state, as the command line prints it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Stable => "stable",
            Self::Rebalancing => "rebalancing",
            Self::Dead => "dead",
            Self::Unknown => "unknown",
        }
    }
}

impl GroupProtocol {
    /// The stable lower-case name of the protocol, as the command line prints it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Consumer => "consumer",
            Self::Unknown => "unknown",
        }
    }
}

impl Progress {
    /// The stable lower-case name, as the command line prints it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Moving => "moving",
            Self::Stuck => "stuck",
            Self::Idle => "idle",
        }
    }
}

impl GroupDescription {
    /// Fails while the group has members, which the error names: offsets can be changed only while it has
    /// none.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::GroupNotEmpty`].
    pub fn check_empty(&self) -> Result<()> {
        check_empty("change", &self.name, &self.members)
    }
}

pub(crate) fn check_empty(doing: &str, group: &str, members: &[GroupMember]) -> Result<()> {
    if members.is_empty() {
        return Ok(());
    }
    Err(not_empty(doing, group, members))
}

/// The error for a group that has members; names as many as possible.
pub(crate) fn not_empty(doing: &str, group: &str, members: &[GroupMember]) -> Error {
    const SHOWN: usize = 20;
    let shown = members.iter().take(SHOWN).map(GroupMember::to_string);
    let mut names: Vec<_> = shown.collect();
    if members.len() > SHOWN {
        names.push(format!("{} more", members.len() - SHOWN));
    }
    let has = match members.len() {
        0 => "members".to_owned(),
        1 => format!("a member: {}", names[0]),
        n => format!("{n} members: {}", names.join(", ")),
    };
    Error::new(
        ErrorKind::GroupNotEmpty,
        format!("{doing} group {group}: it has {has}"),
    )
}

impl GroupMember {
    /// How many partitions it has.
    pub fn partition_count(&self) -> usize {
        self.partitions.values().map(Vec::len).sum()
    }
}

/// For errors and log lines: client id, host and member id.
impl fmt::Display for GroupMember {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {} ({})", self.client_id, self.host, self.id)
    }
}

impl GroupPartition {
    /// How many records, or gaps between them, the group has not committed: from the committed offset to
    /// the end, or from the first one if it has none. `None` if the offsets are unknown.
    pub fn lag(&self) -> Option<i64> {
        Some((self.end? - self.committed.or(self.low)?).max(0))
    }

    /// Whether the committed offset has moved since an earlier description of the group, which must be
    /// older than the group's commit interval to be meaningful. `None` if the partition was not there or
    /// an offset is unknown.
    pub fn progress_since(&self, earlier: &GroupDescription) -> Option<Progress> {
        let same = |p: &&Self| p.partition == self.partition && p.topic == self.topic;
        let before = earlier.partitions.iter().find(same)?;
        Some(match (before.committed, self.committed) {
            (before, now) if before != now => Progress::Moving,
            _ if before.lag()? > 0 && self.lag()? > 0 => Progress::Stuck,
            _ => Progress::Idle,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(committed: Option<i64>, end: i64) -> GroupDescription {
        GroupDescription {
            name: ".g".to_owned(),
            state: GroupState::Stable,
            protocol: GroupProtocol::Classic,
            assignor: String::new(),
            members: Vec::new(),
            partitions: vec![GroupPartition {
                topic: "t".to_owned(),
                partition: 0,
                committed,
                low: Some(2),
                end: Some(end),
                lag_time: None,
                member: None,
                error: None,
            }],
        }
    }

    #[test]
    fn lag_counts_from_the_first_record_where_nothing_is_committed() {
        assert_eq!(at(None, 10).partitions[0].lag(), Some(8));
        assert_eq!(at(Some(7), 10).partitions[0].lag(), Some(3));
        assert_eq!(at(Some(12), 10).partitions[0].lag(), Some(0));
    }

    #[test]
    fn a_commit_is_stuck_only_where_there_is_something_to_do() {
        for (before, now, progress) in [
            (at(Some(5), 10), at(Some(6), 10), Progress::Moving),
            (at(Some(5), 10), at(Some(5), 10), Progress::Stuck),
            (at(Some(5), 5), at(Some(5), 10), Progress::Idle),
            (at(Some(5), 5), at(Some(5), 5), Progress::Idle),
            (at(None, 10), at(Some(5), 10), Progress::Moving),
        ] {
            let seen = now.partitions[0].progress_since(&before);
            assert_eq!(seen, Some(progress), "{before:?} {now:?}");
        }
    }
}
