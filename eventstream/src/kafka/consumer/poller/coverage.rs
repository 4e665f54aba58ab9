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

/// A leader sees an added partition at its next metadata refresh, within 30 s, and starts a rebalance by itself.
const LEADER: Duration = Duration::from_secs(40);
/// The longest wait before another rebalance, where the last changed nothing.
const LEADER_MAX: Duration = Duration::from_secs(600);
/// After a subscription has changed, its rebalance has begun by then.
const REBALANCE: Duration = Duration::from_secs(5);
/// The state of a group whose members have their partitions.
const STABLE: &str = "Stable";

/// How many partitions each topic has, by its name on the broker.
type Sizes = BTreeMap<String, i32>;

/// What is known of the group as a whole.
#[derive(Default)]
pub(super) struct Coverage {
    /// The topics when each partition last had a member; `None` until this member has asked.
    covered: Option<Sizes>,
    /// Since when a partition has none.
    open: Option<Instant>,
    /// How long to leave that to the leader.
    patience: Duration,
}

impl Coverage {
    /// Each partition of these has a member.
    fn cover(&mut self, sizes: Sizes) {
        *self = Self {
            covered: Some(sizes),
            open: None,
            patience: LEADER,
        };
    }

    /// A partition for which to join again: nobody has it, and the leader has had its time.
    fn judge(
        &mut self,
        sizes: Sizes,
        assigned: &BTreeSet<TopicPartition>,
        now: Instant,
    ) -> Option<TopicPartition> {
        let all = sizes
            .iter()
            .flat_map(|(topic, size)| (0..*size).map(|number| (topic.clone(), number)));
        let Some(nobodys) = all.into_iter().find(|one| !assigned.contains(one)) else {
            self.cover(sizes);
            return None;
        };
        let since = *self.open.get_or_insert(now);
        if now.saturating_duration_since(since) < self.patience {
            return None;
        }
        self.open = None;
        self.patience = (self.patience * 2).clamp(LEADER, LEADER_MAX);
        Some(nobodys)
    }
}

impl Poller {
    /// Whether the group is to be asked who has which partitions: once this static member has joined, and when a topic
    /// has grown. The join of any other member makes a rebalance.
    pub(super) fn doubts_coverage(&mut self) -> bool {
        let env = &self.group.env;
        let broker_assigns = env.configs.consumer.get("group.protocol") == Some("consumer");
        if env.groupless.is_some()
            || broker_assigns
            || !self.has_joined()
            || self.rejoin_at.is_some()
            || !self.starting.has_met(&self.subscribed)
        {
            return false;
        }
        let sizes = self.sizes();
        if self.coverage.covered.is_none() && env.wire_instance.is_empty() {
            self.coverage.cover(sizes);
            return false;
        }
        let is_known = self.coverage.covered.as_ref() == Some(&sizes) && self.unwanted().is_none();
        !is_known && !questions::is_embedded(self.consumer.client())
    }

    /// A partition of a topic that this static member has left in an earlier life. One that it leaves now goes with the
    /// rebalance that follows.
    fn unwanted(&self) -> Option<TopicPartition> {
        if self.group.env.wire_instance.is_empty() || self.subscribed_at.elapsed() < REBALANCE {
            return None;
        }
        let mut names = self.all_names().into_iter();
        names.find(|(topic, _)| !self.subscribed.contains(topic))
    }

    /// The subscribed topics that exist.
    fn sizes(&self) -> Sizes {
        let sizes = self.subscribed.iter().map(|topic| {
            let size = self.starting.size(topic);
            (topic.clone(), size)
        });
        sizes.collect()
    }

    /// Leaves the group and joins it again where a partition would remain unread. That it leaves makes a rebalance,
    /// whoever leads.
    pub(super) fn heed_coverage(&mut self, group: &Described) {
        if group.state != STABLE || !self.doubts_coverage() {
            return;
        }
        let unread = self.unwanted().or_else(|| {
            let sizes = self.sizes();
            self.coverage.judge(sizes, &group.assigned, Instant::now())
        });
        if let Some((topic, partition)) = unread {
            tracing::warn!(
                group = &*self.group.env.wire_group,
                topic,
                partition,
                "no member that subscribes to the topic has this partition: joining again"
            );
            self.rejoin();
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

    #[test]
    fn a_new_member_joins_again_at_once() {
        let mut coverage = Coverage::default();
        let judged = coverage.judge(sizes(3), &assigned(&[0, 1]), Instant::now());
        assert_eq!(judged, Some(("t".to_owned(), 2)));
        assert_eq!(coverage.covered, None);
    }

    #[test]
    fn partitions_added_later_are_first_left_to_the_leader() {
        let (mut coverage, start) = (Coverage::default(), Instant::now());
        assert_eq!(coverage.judge(sizes(2), &assigned(&[0, 1]), start), None);
        assert_eq!(coverage.covered, Some(sizes(2)));
        assert_eq!(coverage.judge(sizes(3), &assigned(&[0, 1]), start), None);
        let late = start + LEADER;
        let judged = coverage.judge(sizes(3), &assigned(&[0, 1]), late);
        assert_eq!(judged, Some(("t".to_owned(), 2)));
        assert_eq!(coverage.judge(sizes(3), &assigned(&[0, 1, 2]), late), None);
        assert_eq!(coverage.covered, Some(sizes(3)));
    }

    #[test]
    fn where_joining_again_changes_nothing_it_becomes_rare() {
        let (mut coverage, mut now) = (Coverage::default(), Instant::now());
        let mut joined = 0;
        let end = now + Duration::from_secs(3600);
        while now < end {
            let judged = coverage.judge(sizes(1), &assigned(&[]), now);
            joined += usize::from(judged.is_some());
            now += Duration::from_secs(2);
        }
        assert!((5..15).contains(&joined), "{joined} times in an hour");
    }
}
