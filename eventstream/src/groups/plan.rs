use std::fmt;

use super::{ConsumerGroup, GroupMember, check_empty};
use crate::error::Result;
use crate::kafka::PlannedSeek;

/// What a seek would do, from [`ConsumerGroup::plan_seek`].
#[must_use = "nothing is moved until `apply`"]
pub struct SeekPlan {
    group: ConsumerGroup,
    planned: PlannedSeek,
}

/// What a seek would do to a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SeekMove {
    /// The partition's number.
    pub partition: i32,
    /// The committed offset; `None` if there is none.
    pub from: Option<i64>,
    /// The offset it moves to.
    pub to: i64,
    /// The first offset that the broker still has.
    pub low: i64,
    /// The offset that the next record gets.
    pub end: i64,
}

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupOffset {
    /// The topic's name on the broker, with the prefix.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// The offset of the next record to be handled.
    pub offset: i64,
    /// The metadata the member committed with it; this library writes the topic's id.
    pub metadata: String,
}

/// What a copy would do, from [`ConsumerGroup::plan_copy`].
#[must_use = "nothing is copied until `apply`"]
pub struct CopyPlan {
    to: ConsumerGroup,
    offsets: Vec<GroupOffset>,
}

impl SeekMove {
    /// How many offsets that the group has not handled it would skip. In a partition without a committed offset,
    /// those from its head.
    pub fn skipped(&self) -> u64 {
        u64::try_from(self.to - self.now_within()).unwrap_or(0)
    }

    /// How many offsets that the group has handled it would read again.
    pub fn read_again(&self) -> u64 {
        u64::try_from(self.now_within() - self.to).unwrap_or(0)
    }

    fn now_within(&self) -> i64 {
        self.from.unwrap_or(self.low).clamp(self.low, self.end)
    }
}

impl SeekPlan {
    pub(crate) fn new(group: ConsumerGroup, planned: PlannedSeek) -> Self {
        Self { group, planned }
    }

    /// The topic's name on the broker.
    pub fn topic(&self) -> &str {
        &self.planned.topic
    }

    /// What would move, by partition, including what stays where it is.
    pub fn moves(&self) -> &[SeekMove] {
        &self.planned.moves
    }

    /// The members that the group had when this was planned: `apply` is refused while it has any.
    pub fn members(&self) -> &[GroupMember] {
        &self.planned.members
    }

    /// Fails while there are members, which the error names.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::GroupNotEmpty`](crate::ErrorKind::GroupNotEmpty).
    pub fn check_empty(&self) -> Result<()> {
        check_empty("seek", &self.group.name, &self.planned.members)
    }

    /// The partitions of the topic that would still have no committed offset. A member of this library reads them
    /// from their head, because the group has other offsets in the topic.
    pub fn without_offset(&self) -> &[i32] {
        &self.planned.without_offset
    }

    /// Commits the new offsets, all in one request, and reads them back. A member that joins afterwards continues
    /// from exactly there: the commits say which topic they are for, so that a topic recreated under the same name
    /// in the meantime is still noticed.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::GroupNotEmpty`](crate::ErrorKind::GroupNotEmpty) while the group has members;
    /// [`ErrorKind::Broker`](crate::ErrorKind::Broker) if the brokers refuse a partition, or what is read back
    /// differs; otherwise as [`ConsumerGroup::describe`]. After a timeout it may have taken effect.
    pub async fn apply(&self) -> Result<()> {
        let group = &self.group;
        group
            .kafka()?
            .seek(&group.name, &self.planned, group.timeout)
            .await
    }
}

impl CopyPlan {
    pub(crate) fn new(to: ConsumerGroup, offsets: Vec<GroupOffset>) -> Self {
        Self { to, offsets }
    }

    /// What would be committed for the new group, by topic and partition.
    pub fn offsets(&self) -> &[GroupOffset] {
        &self.offsets
    }

    /// Commits the offsets for the new group, with their metadata.
    ///
    /// # Errors
    ///
    /// As [`SeekPlan::apply`], for the new group.
    pub async fn apply(&self) -> Result<()> {
        let to = &self.to;
        to.kafka()?
            .copy_offsets(&to.name, &self.offsets, to.timeout)
            .await
    }
}

impl fmt::Debug for SeekPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeekPlan")
            .field("group", &self.group.name)
            .field("topic", &self.planned.topic)
            .field("moves", &self.planned.moves)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for CopyPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyPlan")
            .field("to", &self.to.name)
            .field("offsets", &self.offsets)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(from: Option<i64>, to: i64) -> (u64, u64) {
        let one = SeekMove {
            partition: 0,
            from,
            to,
            low: 20,
            end: 100,
        };
        (one.skipped(), one.read_again())
    }

    #[test]
    fn what_is_gone_is_neither_skipped_nor_read_again() {
        assert_eq!(moved(Some(50), 60), (10, 0));
        assert_eq!(moved(Some(50), 20), (0, 30));
        assert_eq!(moved(Some(50), 50), (0, 0));
        assert_eq!(moved(Some(3), 20), (0, 0));
        assert_eq!(moved(Some(130), 100), (0, 0));
        assert_eq!(moved(None, 100), (80, 0));
        assert_eq!(moved(None, 20), (0, 0));
    }
}
