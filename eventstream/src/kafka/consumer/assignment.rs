//! Where reading a partition starts: decided from what is known of it, without IO.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList, TopicPartitionListElem};

use crate::error::{Error, ErrorKind};
use crate::guard::tracing;
use crate::kafka::error::from_code;
use crate::kafka::questions::{TopicId, TopicPartition, Which};
use crate::kafka::unix_millis;
use crate::subscribe::StartOffset;

/// How long a member leaves the start of a topic that is new to the group to the owner of its first
/// partition, which fixes the starts of all partitions at once. That owner may be a member of
/// another library, which never does.
pub(super) const BIRTH: Duration = Duration::from_secs(10);

/// Marks a commit as one for this topic, not for an earlier one of the same name.
const MARK: &str = "topic-id=";

/// The metadata of a commit.
pub(crate) fn mark(id: TopicId) -> String {
    format!("{MARK}{id}")
}

/// A committed offset of the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Commit {
    pub(super) offset: i64,
    /// The id of the topic that it was committed for, if known.
    pub(super) id: Option<TopicId>,
}

impl Commit {
    pub(super) fn new(offset: i64, metadata: &str) -> Self {
        let id = metadata.strip_prefix(MARK).and_then(TopicId::parse);
        Self { offset, id }
    }
}

/// What is known of a topic.
#[derive(Default)]
pub(super) struct TopicView {
    pub(super) id: Option<TopicId>,
    /// The number of partitions when this consumer first met it; later ones are new.
    pub(super) met: i32,
    /// The number of partitions of an earlier topic of this name, if this consumer has met it. Its commits are deleted
    /// with it.
    pub(super) former: i32,
    /// The group's commits, or why they are unknown.
    pub(super) commits: BTreeMap<i32, Result<Commit, Code>>,
    /// This member has the first partition, and so fixes all starts.
    pub(super) has_first: bool,
}

/// What the broker reports about a partition.
#[derive(Clone, Copy)]
pub(super) struct PartitionView {
    pub(super) low: i64,
    pub(super) high: i64,
    /// The first record at the requested time; -1 if there is none.
    pub(super) at_time: Option<i64>,
}

/// Why the start of a partition is needed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cause {
    /// It was assigned to this member.
    Assigned,
    /// It is being read, and its offsets are in doubt.
    Interrupted {
        /// The next offset to read.
        position: i64,
        /// Where the log was truncated, according to the broker.
        cut: Option<i64>,
        /// The id of the topic that was read.
        id: Option<TopicId>,
    },
}

/// Where to start.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) offset: i64,
    /// The group has not committed it.
    pub(super) to_commit: bool,
    /// The offsets restart: what was read before belongs to another history.
    pub(super) is_new_history: bool,
    pub(super) told: Option<Told>,
}

/// What to report to the user about a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// There is another topic with the same name.
    Remade,
    /// The position or the committed offset is beyond the end.
    Beyond { position: i64, high: i64 },
    /// Records were deleted before they were read.
    Deleted { from: i64, to: i64 },
    /// The subscription's own offset does not exist.
    OutOfRange { offset: i64, low: i64, high: i64 },
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Start(Start),
    /// The owner of the first partition fixes it.
    Wait,
}

/// Where a partition starts. `waited`: the time since its assignment.
pub(super) fn decide(
    topic: &TopicView,
    partition: i32,
    view: PartitionView,
    cause: Cause,
    policy: &StartOffset,
    waited: Duration,
) -> Decision {
    let PartitionView { low, high, .. } = view;
    let differ = |id: Option<TopicId>| id.is_some() && topic.id.is_some() && id != topic.id;
    let anew = |offset, told| {
        Decision::Start(Start {
            offset,
            to_commit: true,
            is_new_history: true,
            told: Some(told),
        })
    };
    let on = |offset, told| {
        Decision::Start(Start {
            offset,
            to_commit: false,
            is_new_history: false,
            told,
        })
    };
    let deleted = |from| Told::Deleted { from, to: low };
    match cause {
        Cause::Interrupted { id, .. } if differ(id) => anew(low, Told::Remade),
        Cause::Interrupted { position, cut, .. } => {
            let cut = cut.filter(|cut| *cut < position).map(|cut| cut.max(low));
            if position < low && cut.is_none() {
                on(low, Some(deleted(position)))
            } else if position > high || cut.is_some() {
                anew(cut.unwrap_or(low), Told::Beyond { position, high })
            } else {
                on(position, None)
            }
        }
        Cause::Assigned => match topic.commits.get(&partition) {
            Some(Ok(commit)) if differ(commit.id) => anew(low, Told::Remade),
            Some(Ok(commit)) if commit.offset > high => {
                let position = commit.offset;
                anew(low, Told::Beyond { position, high })
            }
            Some(Ok(commit)) if commit.offset < low => Decision::Start(Start {
                offset: low,
                to_commit: true,
                is_new_history: false,
                told: Some(deleted(commit.offset)),
            }),
            Some(Ok(commit)) => on(commit.offset, None),
            None if is_new(topic, partition) => {
                fixed(low, (partition < topic.former).then_some(Told::Remade))
            }
            None if topic.is_unknown_to_the_group() && (topic.has_first || waited >= BIRTH) => {
                let (offset, told) = by_policy(partition, view, policy);
                fixed(offset, told)
            }
            // It is asked again as long as the group's commits are unknown, or the owner of the first partition has
            // not fixed this one.
            Some(Err(_)) | None => Decision::Wait,
        },
    }
}

fn fixed(offset: i64, told: Option<Told>) -> Decision {
    Decision::Start(Start {
        offset,
        to_commit: true,
        is_new_history: false,
        told,
    })
}

/// Whether a partition without a commit was never seen by the group: in a topic where it has other
/// commits, or that this consumer met with fewer partitions. It is read from its head, as the group
/// cannot have been there before its first record.
fn is_new(topic: &TopicView, partition: i32) -> bool {
    partition >= topic.met || topic.is_known_to_the_group()
}

impl TopicView {
    /// The same topic as if the group had committed nothing in it.
    pub(super) fn without_commits(&self) -> Self {
        Self {
            commits: BTreeMap::new(),
            ..*self
        }
    }

    /// Whether the group has fixed a start in this topic.
    pub(super) fn is_known_to_the_group(&self) -> bool {
        self.commits.values().any(Result::is_ok)
    }

    fn is_unknown_to_the_group(&self) -> bool {
        self.commits.is_empty()
    }

    /// Why the group's commit for a partition is unknown.
    pub(super) fn unknown_commit(&self, (topic, partition): &TopicPartition) -> Option<Error> {
        let mine = self.commits.get(partition).into_iter();
        let code = mine
            .chain(self.commits.values())
            .find_map(|c| c.as_ref().err())?;
        let doing = format!("{topic}/{partition}: ask for its committed offset");
        Some(from_code(doing, *code))
    }

    /// Whether this member has to fix all starts.
    pub(super) fn is_born_here(&self) -> bool {
        self.has_first && self.is_unknown_to_the_group() && self.met > 0
    }
}

/// The start of a group that is new to the topic.
pub(super) fn by_policy(
    partition: i32,
    view: PartitionView,
    policy: &StartOffset,
) -> (i64, Option<Told>) {
    let PartitionView { low, high, at_time } = view;
    let at = |offset| match (low..=high).contains(&offset) {
        true => (offset, None),
        false => (low, Some(Told::OutOfRange { offset, low, high })),
    };
    match policy {
        StartOffset::Tail => (high, None),
        StartOffset::Head => (low, None),
        StartOffset::At(offset) => at(*offset),
        StartOffset::Each(offsets) => match offsets.get(&partition) {
            Some(offset) => at(*offset),
            None => (low, None),
        },
        StartOffset::Time(_) => {
            let found = at_time.filter(|offset| *offset >= 0);
            (found.unwrap_or(high), None)
        }
    }
}

/// The request whose answer a policy needs in addition to the two ends.
pub(super) fn time_of(policy: &StartOffset) -> Option<Which> {
    let StartOffset::Time(time) = policy else {
        return None;
    };
    Some(Which::At(unix_millis(*time)))
}

impl Told {
    /// How many offsets were skipped unread.
    pub(super) fn unread(self) -> u64 {
        match self {
            Self::Deleted { from, to } => u64::try_from(to - from).unwrap_or(0),
            Self::Remade | Self::Beyond { .. } | Self::OutOfRange { .. } => 0,
        }
    }

    pub(super) fn error(self, (topic, partition): &TopicPartition) -> Error {
        let place = format!("{topic}/{partition}");
        let text = match self {
            Self::Remade => {
                format!("{place}: the topic was deleted and recreated; it is read from its head")
            }
            Self::Beyond { position, high } => format!(
                "{place}: the group was at offset {position}, beyond the end {high}: the topic was \
                 recreated, or its log was truncated; what it holds now is read again"
            ),
            Self::Deleted { from, to } => format!(
                "{place}: offsets {from} to {} were deleted before this group read them ({} records \
                 at most); raise the topic's retention, or read faster",
                to - 1,
                to - from
            ),
            Self::OutOfRange { offset, low, high } => format!(
                "{place}: the start offset {offset} does not exist, offsets range from {low} to {high}; \
                 it is read from its head"
            ),
        };
        Error::new(ErrorKind::OffsetReset, text)
    }
}

/// The partitions of a list.
pub(super) fn names(list: &TopicPartitionList) -> HashSet<TopicPartition> {
    let elements = list.elements();
    let name =
        |element: &TopicPartitionListElem<'_>| (element.topic().to_owned(), element.partition());
    elements.iter().map(name).collect()
}

/// A list for librdkafka. Invalid offsets cannot occur: each is a number or a constant.
pub(super) fn list<'a>(
    partitions: impl IntoIterator<Item = (&'a TopicPartition, Offset)>,
) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for ((topic, partition), offset) in partitions {
        // `add_partition_offset` would search the list for what it has just added.
        let mut added = list.add_partition(topic, *partition);
        if offset != Offset::Invalid
            && let Err(error) = added.set_offset(offset)
        {
            tracing::error!(%error, topic, partition, ?offset, "offset not accepted");
        }
    }
    list
}

/// Offsets to commit. Each includes its topic's id, so that a commit for an earlier topic of the same name is
/// recognised.
pub(super) fn to_commit<'a>(
    offsets: impl IntoIterator<Item = (&'a TopicPartition, i64, Option<TopicId>)>,
) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for ((topic, partition), up_to, id) in offsets {
        let mut added = list.add_partition(topic, *partition);
        if let Err(error) = added.set_offset(Offset::Offset(up_to)) {
            tracing::error!(%error, topic, partition, "offset not accepted");
        }
        if let Some(id) = id {
            added.set_metadata(mark(id));
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    const VIEW: PartitionView = PartitionView {
        low: 20,
        high: 100,
        at_time: None,
    };

    fn topic() -> TopicView {
        TopicView {
            id: Some(TopicId::of(1)),
            met: 4,
            former: 0,
            commits: BTreeMap::new(),
            has_first: true,
        }
    }

    fn committed(offset: i64, id: Option<i64>) -> TopicView {
        let commit = Commit {
            offset,
            id: id.map(TopicId::of),
        };
        TopicView {
            commits: BTreeMap::from([(0, Ok(commit))]),
            ..topic()
        }
    }

    #[expect(clippy::needless_pass_by_value, reason = "tests give literals")]
    fn assigned(topic: &TopicView, partition: i32, policy: StartOffset) -> Decision {
        decide(
            topic,
            partition,
            VIEW,
            Cause::Assigned,
            &policy,
            Duration::ZERO,
        )
    }

    fn interrupted(position: i64, cut: Option<i64>, id: i64) -> Decision {
        let id = Some(TopicId::of(id));
        let cause = Cause::Interrupted { position, cut, id };
        decide(&topic(), 0, VIEW, cause, &StartOffset::Tail, Duration::ZERO)
    }

    /// The offset, whether to commit it, and whether it is of a new history.
    fn start(decision: Decision) -> (i64, bool, bool) {
        match decision {
            Decision::Start(start) => (start.offset, start.to_commit, start.is_new_history),
            Decision::Wait => panic!("waits"),
        }
    }

    fn told(decision: &Decision) -> Option<Told> {
        match decision {
            Decision::Start(start) => start.told,
            Decision::Wait => None,
        }
    }

    #[test]
    fn goes_on_where_the_group_has_committed() {
        for id in [None, Some(1)] {
            let topic = committed(50, id);
            let decision = assigned(&topic, 0, StartOffset::Tail);
            assert_eq!(told(&decision), None);
            assert_eq!(start(decision), (50, false, false));
        }
        assert_eq!(
            start(assigned(&committed(100, None), 0, StartOffset::Head)),
            (100, false, false),
            "all was read"
        );
    }

    #[test]
    fn a_group_new_to_a_topic_starts_as_its_subscription_says_and_commits_it() {
        let time = StartOffset::Time(SystemTime::now());
        for (policy, offset) in [
            (StartOffset::Tail, 100),
            (StartOffset::Head, 20),
            (StartOffset::At(70), 70),
            (StartOffset::At(100), 100),
            (time.clone(), 100),
            (StartOffset::Each([(3, 70), (0, 30)].into()), 70),
            (StartOffset::Each([(3, 100)].into()), 100),
            (StartOffset::Each([(0, 30)].into()), 20),
        ] {
            let decision = assigned(&topic(), 3, policy.clone());
            assert_eq!(told(&decision), None);
            assert_eq!(start(decision), (offset, true, false), "{policy:?}");
        }
        let view = PartitionView {
            at_time: Some(42),
            ..VIEW
        };
        assert_eq!(by_policy(0, view, &time), (42, None));
    }

    #[test]
    fn an_offset_that_is_not_there_is_told_and_read_from_the_head() {
        for offset in [19, 101, 99_999] {
            let each = StartOffset::Each([(0, offset)].into());
            for policy in [StartOffset::At(offset), each] {
                let decision = assigned(&topic(), 0, policy);
                let (low, high) = (20, 100);
                assert_eq!(
                    told(&decision),
                    Some(Told::OutOfRange { offset, low, high })
                );
                assert_eq!(start(decision), (20, true, false));
            }
        }
    }

    #[test]
    fn a_partition_without_a_commit_is_new_where_the_group_has_others() {
        let decision = assigned(&committed(50, None), 3, StartOffset::Tail);
        assert_eq!(start(decision), (20, true, false));
        // Also if there were fewer when the group arrived, or no topic at all.
        for met in [0, 3] {
            let topic = TopicView { met, ..topic() };
            let decision = assigned(&topic, 3, StartOffset::Tail);
            assert_eq!(start(decision), (20, true, false));
        }
    }

    #[test]
    fn the_owner_of_the_first_partition_fixes_the_start_and_others_wait_for_it() {
        let other = TopicView {
            has_first: false,
            ..topic()
        };
        assert!(!other.is_born_here() && topic().is_born_here());
        let wait = |waited| decide(&other, 2, VIEW, Cause::Assigned, &StartOffset::Tail, waited);
        assert_eq!(wait(Duration::ZERO), Decision::Wait);
        assert_eq!(start(wait(BIRTH)), (100, true, false), "nobody does");
        assert!(!committed(1, None).is_born_here());
    }

    #[test]
    fn a_commit_that_is_not_known_is_not_taken_for_none() {
        let unknown = TopicView {
            commits: BTreeMap::from([(0, Err(Code::NotCoordinator))]),
            ..topic()
        };
        assert_eq!(assigned(&unknown, 0, StartOffset::Tail), Decision::Wait);
        assert!(!unknown.is_born_here());
    }

    #[test]
    fn a_topic_that_lost_its_commits_as_it_was_recreated_is_told() {
        let remade = TopicView {
            met: 0,
            former: 2,
            ..topic()
        };
        for (partition, is_told) in [(0, true), (1, true), (2, false)] {
            let decision = assigned(&remade, partition, StartOffset::Tail);
            assert_eq!(told(&decision), is_told.then_some(Told::Remade));
            assert_eq!(start(decision), (20, true, false));
        }
    }

    #[test]
    fn a_commit_of_another_topic_or_beyond_the_end_begins_a_new_history() {
        let remade = assigned(&committed(50, Some(2)), 0, StartOffset::Tail);
        assert_eq!(told(&remade), Some(Told::Remade));
        assert_eq!(start(remade), (20, true, true));
        let beyond = assigned(&committed(150, Some(1)), 0, StartOffset::Tail);
        let (position, high) = (150, 100);
        assert_eq!(told(&beyond), Some(Told::Beyond { position, high }));
        assert_eq!(start(beyond), (20, true, true));
    }

    #[test]
    fn what_was_deleted_unread_is_counted() {
        let gap = assigned(&committed(5, None), 0, StartOffset::Tail);
        let expected = Told::Deleted { from: 5, to: 20 };
        assert_eq!(told(&gap), Some(expected));
        assert_eq!(expected.unread(), 15);
        assert_eq!(start(gap), (20, true, false));
        let running = interrupted(5, None, 1);
        assert_eq!(told(&running), Some(expected));
        assert_eq!(start(running), (20, false, false));
        let text = expected.error(&("t".to_owned(), 3)).to_string();
        assert!(text.starts_with("t/3: offsets 5 to 19 were"), "{text}");
    }

    #[test]
    fn a_topic_made_anew_under_a_reader_is_read_from_its_head() {
        for position in [0, 50, 100, 150] {
            let anew = interrupted(position, None, 2);
            assert_eq!(told(&anew), Some(Told::Remade));
            assert_eq!(start(anew), (20, true, true));
        }
    }

    #[test]
    fn a_log_that_was_cut_off_is_read_from_the_cut_or_its_head() {
        assert_eq!(start(interrupted(150, None, 1)), (20, true, true));
        assert_eq!(start(interrupted(150, Some(90), 1)), (90, true, true));
        assert_eq!(start(interrupted(95, Some(90), 1)), (90, true, true));
        // The position itself is no truncation.
        assert_eq!(start(interrupted(150, Some(150), 1)), (20, true, true));
    }

    #[test]
    fn a_false_alarm_goes_on_where_it_was() {
        assert_eq!(start(interrupted(60, None, 1)), (60, false, false));
        assert_eq!(start(interrupted(100, None, 1)), (100, false, false));
    }

    #[test]
    fn a_commit_says_which_topic_it_is_of() {
        let id = TopicId::of(77);
        assert_eq!(Commit::new(5, &mark(id)).id, Some(id));
        for metadata in ["", "topic-id=", "topic-id=7", "somebody else's"] {
            assert_eq!(Commit::new(5, metadata).id, None);
        }
    }

    #[test]
    fn an_error_is_never_taken_for_nothing_committed() {
        for partition in [0, 1] {
            let commits = BTreeMap::from([(partition, Err(Code::UnstableOffsetCommit))]);
            let topic = TopicView { commits, ..topic() };
            let decision = assigned(&topic, 0, StartOffset::Tail);
            assert_eq!(decision, Decision::Wait);
            assert!(!topic.is_born_here());
            assert!(topic.unknown_commit(&("t".to_owned(), 0)).is_some());
        }
    }
}
