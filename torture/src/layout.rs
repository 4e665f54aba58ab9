//! Topics, the groups on them, and the names of their events.

use std::collections::BTreeSet;

use eventstream::{Assignment, Concurrency};

/// The prefix of every topic and group on the brokers.
pub(crate) const PREFIX: &str = "torture";
pub(crate) const DEAD_LETTER_SUFFIX: &str = "-dlq";
pub(crate) const REPLICAS: i32 = 3;
/// The maximum number of partitions, however often a fault adds one.
pub(crate) const MOST_PARTITIONS: i32 = 12;

/// One topic of the load.
pub(crate) struct TopicPlan {
    pub(crate) name: &'static str,
    pub(crate) partitions: i32,
    /// The names of its events, in turn.
    pub(crate) events: &'static [&'static str],
    /// All events of a key have the same name; otherwise each name occurs in each key.
    pub(crate) name_of_key: bool,
    /// Its share of the rate.
    pub(crate) share: u32,
}

pub(crate) const TOPICS: [TopicPlan; 5] = [
    TopicPlan {
        name: "orders",
        partitions: 6,
        events: &["placed", "shipped"],
        name_of_key: false,
        share: 5,
    },
    TopicPlan {
        name: "payments",
        partitions: 6,
        events: &["paid"],
        name_of_key: false,
        share: 5,
    },
    TopicPlan {
        name: "parcels",
        partitions: 4,
        events: &["sent"],
        name_of_key: false,
        share: 2,
    },
    // Two registrations, one for each name, are not ordered with each other.
    TopicPlan {
        name: "tasks",
        partitions: 4,
        events: &["begun", "ended"],
        name_of_key: true,
        share: 1,
    },
    TopicPlan {
        name: "errands",
        partitions: 3,
        events: &["run"],
        name_of_key: false,
        share: 1,
    },
];

/// The group that copies, exactly once.
pub(crate) const COPYING: &str = "copying";

/// One consumer group.
pub(crate) struct GroupPlan {
    pub(crate) name: &'static str,
    pub(crate) topic: &'static str,
    /// Its members have registrations that start and stop, and one more topic, which at times has none.
    pub(crate) beside: Option<&'static str>,
    /// It is exactly once, and copies each record to this topic.
    pub(crate) copies_to: Option<&'static str>,
    pub(crate) assignment: Assignment,
    pub(crate) concurrency: Concurrency,
    pub(crate) members: usize,
    /// Members keep their place in the group across restarts.
    pub(crate) is_static: bool,
    /// Attempts before dead-lettering; `None` to retry forever.
    pub(crate) attempts: Option<u32>,
}

pub(crate) const GROUPS: [GroupPlan; 7] = [
    GroupPlan {
        name: "eager",
        topic: "orders",
        beside: None,
        copies_to: None,
        assignment: Assignment::Eager,
        concurrency: Concurrency::PerKey(8),
        members: 2,
        is_static: false,
        attempts: None,
    },
    GroupPlan {
        name: "kip848",
        topic: "orders",
        beside: None,
        copies_to: None,
        assignment: Assignment::Consumer,
        concurrency: Concurrency::PerPartition,
        members: 2,
        is_static: false,
        attempts: None,
    },
    GroupPlan {
        name: "cooperative",
        topic: "payments",
        beside: None,
        copies_to: None,
        assignment: Assignment::CooperativeSticky,
        concurrency: Concurrency::PerPartition,
        members: 3,
        is_static: false,
        attempts: None,
    },
    GroupPlan {
        name: "static",
        topic: "payments",
        beside: None,
        copies_to: None,
        assignment: Assignment::Eager,
        concurrency: Concurrency::PerPartition,
        members: 2,
        is_static: true,
        attempts: None,
    },
    GroupPlan {
        name: "failing",
        topic: "parcels",
        beside: None,
        copies_to: None,
        assignment: Assignment::Eager,
        concurrency: Concurrency::PerKey(8),
        members: 2,
        is_static: false,
        attempts: Some(3),
    },
    GroupPlan {
        name: "workers",
        topic: "tasks",
        beside: Some("errands"),
        copies_to: None,
        assignment: Assignment::Eager,
        concurrency: Concurrency::PerKey(8),
        members: 2,
        is_static: false,
        attempts: None,
    },
    GroupPlan {
        name: COPYING,
        topic: "parcels",
        beside: None,
        copies_to: Some("copies"),
        assignment: Assignment::Eager,
        concurrency: Concurrency::PerKey(8),
        members: 2,
        is_static: false,
        attempts: Some(3),
    },
];

/// The partitions of a topic of copies.
pub(crate) const COPY_PARTITIONS: i32 = 4;

impl GroupPlan {
    pub(crate) fn topics(&self) -> impl Iterator<Item = &'static str> {
        [self.topic].into_iter().chain(self.beside)
    }
}

/// The topic of this name.
pub(crate) fn topic(name: &str) -> Option<&'static TopicPlan> {
    TOPICS.iter().find(|topic| topic.name == name)
}

/// The group of this name.
pub(crate) fn group(name: &str) -> Option<&'static GroupPlan> {
    GROUPS.iter().find(|group| group.name == name)
}

/// A topic's or group's name on the brokers.
pub(crate) fn on_broker(name: &str) -> String {
    format!("{PREFIX}.{name}")
}

/// The partition of `__consumer_offsets` whose leader coordinates a group, as the broker computes it.
pub(crate) fn offsets_partition(group: &str) -> i32 {
    // As configured by the harness.
    let partitions = 5;
    let step = |hash: i32, byte: u8| hash.wrapping_mul(31).wrapping_add(i32::from(byte));
    let hash = on_broker(group).bytes().fold(0, step);
    // The absolute value, except for the one number that has none.
    (hash.checked_abs().unwrap_or(0)) % partitions
}

/// The topics that groups copy to.
pub(crate) fn copies() -> impl Iterator<Item = &'static str> {
    GROUPS.iter().filter_map(|group| group.copies_to)
}

/// The topics of the load, and those that groups copy to.
pub(crate) fn stored() -> impl Iterator<Item = &'static str> {
    TOPICS.iter().map(|topic| topic.name).chain(copies())
}

/// The topics with dead letters.
pub(crate) fn dead_lettered() -> BTreeSet<&'static str> {
    let groups = GROUPS.iter().filter(|group| group.attempts.is_some());
    groups.map(|group| group.topic).collect()
}

/// The id of a record's copy.
pub(crate) fn copy_id(topic: &str, partition: i32, offset: i64) -> String {
    format!("{topic}-{partition}-{offset}")
}

/// The record that a copy with this id is of.
pub(crate) fn copied(id: &str) -> Option<(&str, i32, i64)> {
    let mut words = id.rsplitn(3, '-');
    let (offset, partition) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some((words.next()?, partition, offset))
}

/// The dead letter topic of a topic.
pub(crate) fn dead_letters_of(topic: &str) -> String {
    format!("{topic}{DEAD_LETTER_SUFFIX}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_s_coordinator_is_that_of_the_hash_of_java() {
        // "torture.hello".hashCode() is -1588682897.
        assert_eq!(offsets_partition("hello"), 2);
    }

    #[test]
    fn a_copy_tells_what_it_is_of() {
        let id = copy_id("parcels-too", 3, 1_234);
        assert_eq!(copied(&id), Some(("parcels-too", 3, 1_234)));
        assert_eq!(copied("1234"), None);
    }
}
