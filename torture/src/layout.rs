//! What runs: topics, the groups on them, and how their events are named.

use eventstream::{Assignment, Concurrency};

/// Stands in front of every topic and group on the brokers.
pub(crate) const PREFIX: &str = "torture";
pub(crate) const DEAD_LETTER_SUFFIX: &str = "-dlq";
pub(crate) const REPLICAS: i32 = 3;
/// More partitions a topic does not get, however often a fault adds one.
pub(crate) const MOST_PARTITIONS: i32 = 12;

/// One topic of the load.
pub(crate) struct TopicPlan {
    pub(crate) name: &'static str,
    pub(crate) partitions: i32,
    /// Its events are of these names, in turn.
    pub(crate) events: &'static [&'static str],
    /// Its part of the rate.
    pub(crate) share: u32,
}

pub(crate) const TOPICS: [TopicPlan; 3] = [
    TopicPlan {
        name: "orders",
        partitions: 6,
        events: &["placed", "shipped"],
        share: 5,
    },
    TopicPlan {
        name: "payments",
        partitions: 6,
        events: &["paid"],
        share: 5,
    },
    TopicPlan {
        name: "parcels",
        partitions: 4,
        events: &["sent"],
        share: 2,
    },
];

/// One consumer group.
pub(crate) struct GroupPlan {
    pub(crate) name: &'static str,
    pub(crate) topic: &'static str,
    pub(crate) assignment: Assignment,
    pub(crate) concurrency: Concurrency,
    pub(crate) members: usize,
    /// Members keep their place in the group over a restart.
    pub(crate) is_static: bool,
    /// Attempts before the dead letter topic; `None`: until it succeeds.
    pub(crate) attempts: Option<u32>,
}

pub(crate) const GROUPS: [GroupPlan; 5] = [
    GroupPlan {
        name: "eager",
        topic: "orders",
        assignment: Assignment::Eager,
        concurrency: Concurrency::PerKey(8),
        members: 2,
        is_static: false,
        attempts: None,
    },
    GroupPlan {
        name: "kip848",
        topic: "orders",
        assignment: Assignment::Consumer,
        concurrency: Concurrency::PerPartition,
        members: 2,
        is_static: false,
        attempts: None,
    },
    GroupPlan {
        name: "cooperative",
        topic: "payments",
        assignment: Assignment::CooperativeSticky,
        concurrency: Concurrency::PerPartition,
        members: 3,
        is_static: false,
        attempts: None,
    },
    GroupPlan {
        name: "static",
        topic: "payments",
        assignment: Assignment::Eager,
        concurrency: Concurrency::PerPartition,
        members: 2,
        is_static: true,
        attempts: None,
    },
    GroupPlan {
        name: "failing",
        topic: "parcels",
        assignment: Assignment::Eager,
        concurrency: Concurrency::PerKey(8),
        members: 2,
        is_static: false,
        attempts: Some(3),
    },
];

/// The topic of this name.
pub(crate) fn topic(name: &str) -> Option<&'static TopicPlan> {
    TOPICS.iter().find(|topic| topic.name == name)
}

/// The group of this name.
pub(crate) fn group(name: &str) -> Option<&'static GroupPlan> {
    GROUPS.iter().find(|group| group.name == name)
}

/// A topic or group as the brokers know it.
pub(crate) fn on_broker(name: &str) -> String {
    format!("{PREFIX}.{name}")
}

/// The dead letter topic of a topic.
pub(crate) fn dead_letters_of(topic: &str) -> String {
    format!("{topic}{DEAD_LETTER_SUFFIX}")
}
