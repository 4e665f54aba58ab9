//! Whether each partition has a member that wants it. In a classic group a static member that returns gets what it had,
//! without a rebalance:
//!
//! * if it leads, the broker does not tell it so, and partitions that were added meanwhile would be nobody's until the
//!   next rebalance (KAFKA-13435). Kafka tells it since version 9 of the join request (KIP-814); librdkafka has version 5;
//! * if it subscribes to other topics than before, nobody would read the new ones, nor those that it has left.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;

use super::Poller;
use crate::guard::tracing;
use crate::kafka::questions::{self, Described, TopicPartition};

/// A leader with this library's metadata refresh (30 s) has started a rebalance for an added partition by then.
const LEADER: Duration = Duration::from_secs(40);
/// The longest wait before another rebalance, where the last changed nothing.
const LEADER_MAX: Duration = Duration::from_secs(600);
/// After a subscription has changed, its rebalance has begun by then.
const REBALANCE: Duration = Duration::from_secs(5);
/// The wait before the next question, where a partition has no member, or the coordinator refuses to answer.
const AGAIN: Duration = Duration::from_secs(5);
const REFUSED: Duration = Duration::from_secs(30);
/// The state of a group whose members have their partitions.
const STABLE: &str = "Stable";

/// How many partitions each topic has, by its name on the broker.
type Sizes = BTreeMap<String, i32>;

/// What this consumer knows of the group as a whole.
#[derive(Default)]
pub(super) struct Coverage {
    /// The topics as this consumer last saw them; 0 for one that does not exist.
    looked: Sizes,
    /// The subscribed topics when each partition last had a member; `None` until this member has asked.
    covered: Option<Sizes>,
    /// The partition that has none, and since when.
    open: Option<(TopicPartition, Instant)>,
    /// How long to leave that to the leader.
    patience: Duration,
    ask_at: Option<Instant>,
}

impl Coverage {
    /// The brokers have described this topic; without a size, they refuse to.
    pub(super) fn looked(&mut self, topic: &str, size: Option<i32>) {
        match size {
            Some(size) if self.looked.get(topic) == Some(&size) => {}
            Some(size) => _ = self.looked.insert(topic.to_owned(), size),
            None => _ = self.looked.remove(topic),
        }
    }

    /// Members of a group do not leave it one after the other because of the same partition: who sees a rebalance
    /// waits for longer than before.
    pub(super) fn rebalanced(&mut self) {
        if self.open.take().is_some() {
            self.patience = (self.patience * 2).clamp(LEADER, LEADER_MAX);
        }
    }

    /// A partition for which to join again: nobody has it, and the leader has had its time. Partitions of a cooperative
    /// group that move are nobody's for a time, so there, this member waits for `moves` at first.
    fn judge(
        &mut self,
        sizes: Sizes,
        assigned: &BTreeSet<TopicPartition>,
        moves: Duration,
        now: Instant,
    ) -> Option<TopicPartition> {
        let mut all = sizes
            .iter()
            .flat_map(|(topic, size)| (0..*size).map(|number| (topic.clone(), number)));
        let Some(nobodys) = all.find(|one| !assigned.contains(one)) else {
            drop(all);
            self.covered = Some(sizes);
            self.open = None;
            self.patience = LEADER;
            return None;
        };
        self.ask_at = Some(now + AGAIN);
        let since = match &self.open {
            Some((open, since)) if *open == nobodys => *since,
            _ => now,
        };
        self.open = Some((nobodys.clone(), since));
        let is_late = now.saturating_duration_since(since) >= self.patience.max(moves);
        is_late.then_some(nobodys)
    }
}

impl Poller {
    /// Whether this static member is to ask the group who has which partitions: once it has joined, and when a topic has
    /// grown. The join of any other member makes a rebalance.
    pub(super) fn doubts_coverage(&self, now: Instant) -> bool {
        let env = &self.group.env;
        if env.wire_instance.is_empty()
            || env.groupless.is_some()
            || env.broker_assigns()
            || !self.has_joined()
            || self.rejoin_at.is_some()
            || self.coverage.ask_at.is_some_and(|at| now < at)
        {
            return false;
        }
        let sizes = self.sizes();
        let is_known = sizes.is_empty() || self.coverage.covered.as_ref() == Some(&sizes);
        (!is_known || self.unwanted().is_some()) && !questions::is_embedded(self.consumer.client())
    }

    /// A partition of a topic that this member has left in an earlier life. One that it leaves now goes with the
    /// rebalance that follows.
    fn unwanted(&self) -> Option<TopicPartition> {
        if self.subscribed_at.elapsed() < REBALANCE {
            return None;
        }
        let mut names = self.all_names().into_iter();
        names.find(|(topic, _)| !self.subscribed.contains(topic))
    }

    /// The subscribed topics that the brokers have described.
    fn sizes(&self) -> Sizes {
        let looked = &self.coverage.looked;
        let sizes = self.subscribed.iter();
        let sizes = sizes.filter_map(|topic| Some((topic.clone(), *looked.get(topic)?)));
        sizes.collect()
    }

    /// Leaves the group and joins it again where a partition would remain unread. That it leaves makes a rebalance,
    /// whoever leads.
    pub(super) fn heed_coverage(&mut self, group: Option<&Described>) {
        let now = Instant::now();
        let Some(group) = group else {
            self.coverage.ask_at = Some(now + REFUSED);
            return;
        };
        if group.state != STABLE {
            self.coverage.open = None;
            return;
        }
        if !self.doubts_coverage(now) {
            return;
        }
        let name = &*self.group.env.wire_group;
        if let Some((topic, partition)) = self.unwanted() {
            tracing::warn!(
                group = name,
                topic,
                partition,
                "this member has a partition of a topic that it has left: joining again"
            );
            self.rejoin_wanted = true;
            return;
        }
        let moves = if self.group.env.is_cooperative() {
            self.group.env.drain_timeout() + REBALANCE
        } else {
            Duration::ZERO
        };
        let sizes = self.sizes();
        let unread = self.coverage.judge(sizes, &group.assigned, moves, now);
        if let Some((topic, partition)) = unread {
            tracing::warn!(
                group = name,
                topic,
                partition,
                "no member has this partition: joining again"
            );
            self.rejoin_wanted = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(size: i32) -> Sizes {
        Sizes::from([("t".to_owned(), size)])
    }

    fn assigned(partitions: &[i32]) -> BTreeSet<TopicPartition> {
        partitions.iter().map(|p| ("t".to_owned(), *p)).collect()
    }

    fn judge(coverage: &mut Coverage, size: i32, has: &[i32], now: Instant) -> Option<i32> {
        let judged = coverage.judge(sizes(size), &assigned(has), Duration::ZERO, now);
        judged.map(|(_, partition)| partition)
    }

    #[test]
    fn a_new_member_joins_again_at_once() {
        let mut coverage = Coverage::default();
        assert_eq!(judge(&mut coverage, 3, &[0, 1], Instant::now()), Some(2));
        assert_eq!(coverage.covered, None);
    }

    #[test]
    fn partitions_that_move_are_waited_for() {
        let (mut coverage, start) = (Coverage::default(), Instant::now());
        let moves = Duration::from_secs(25);
        let mut judge = |has: &[i32], after| {
            let now = start + Duration::from_secs(after);
            coverage.judge(sizes(3), &assigned(has), moves, now)
        };
        assert_eq!(judge(&[0, 1], 0), None);
        assert_eq!(judge(&[0, 1], 24), None);
        assert_eq!(judge(&[1, 2], 25), None, "it is another one");
        assert_eq!(judge(&[1, 2], 50), Some(("t".to_owned(), 0)));
    }

    #[test]
    fn partitions_added_later_are_first_left_to_the_leader() {
        let (mut coverage, start) = (Coverage::default(), Instant::now());
        assert_eq!(judge(&mut coverage, 2, &[0, 1], start), None);
        assert_eq!(coverage.covered, Some(sizes(2)));
        assert_eq!(judge(&mut coverage, 3, &[0, 1], start), None);
        let late = start + LEADER;
        assert_eq!(judge(&mut coverage, 3, &[0, 1], late), Some(2));
        assert_eq!(judge(&mut coverage, 3, &[0, 1, 2], late), None);
        assert_eq!(coverage.covered, Some(sizes(3)));
    }

    /// Each leave rebalances all, also those that have left nothing.
    #[test]
    fn where_joining_again_changes_nothing_a_group_rarely_does_it() {
        let mut members: Vec<_> = (0..20).map(|_| Coverage::default()).collect();
        let (mut now, mut left) = (Instant::now(), 0);
        for member in &mut members {
            assert_eq!(judge(member, 1, &[0], now), None);
        }
        let end = now + Duration::from_secs(3600);
        while now < end {
            let mut each = members.iter_mut();
            if each.any(|member| judge(member, 2, &[0], now).is_some()) {
                left += 1;
                members.iter_mut().for_each(Coverage::rebalanced);
            }
            now += AGAIN;
        }
        assert!((5..15).contains(&left), "{left} times in an hour");
    }

    #[test]
    fn a_topic_that_cannot_be_described_is_not_judged() {
        let mut coverage = Coverage::default();
        coverage.looked("t", Some(3));
        coverage.looked("t", Some(4));
        assert_eq!(coverage.looked, sizes(4));
        coverage.looked("t", None);
        assert_eq!(coverage.looked, Sizes::new());
    }
}
