//! The meters of a build without the feature: they count nothing and cost nothing.

use std::time::Duration;

use super::{OnStatistics, PartitionGauges, Tally, WriterGauges};
use crate::error::ErrorKind;

/// There are none.
pub(crate) enum Metrics {}

#[derive(Clone, Default)]
pub(crate) struct ClientMeter;

impl ClientMeter {
    pub(crate) fn new(metrics: &Metrics, _: &str) -> Self {
        match *metrics {}
    }

    pub(crate) fn is_on(&self) -> bool {
        false
    }

    pub(crate) fn refused(&self, _: ErrorKind) {}

    pub(crate) fn failed(&self, _: ErrorKind) {}

    pub(crate) fn rebuilt(&self) {}

    pub(crate) fn watch(&self, _: impl Fn() -> Option<WriterGauges>) {}

    pub(crate) fn stored(&self) -> StoredMeter {
        StoredMeter
    }

    pub(crate) fn producer_statistics(&self) -> OnStatistics {
        Box::new(|_| {})
    }

    pub(crate) fn group(&self, _: &str) -> GroupMeter {
        GroupMeter
    }
}

pub(crate) struct StoredMeter;

impl StoredMeter {
    pub(crate) fn stored<'a>(&mut self, _: usize, _: impl FnOnce() -> &'a str, _: i32, _: usize) {}
}

#[derive(Clone)]
pub(crate) struct GroupMeter;

impl GroupMeter {
    pub(crate) fn unread(&self, _: &str, _: u64) {}

    pub(crate) fn committed(&self) {}

    pub(crate) fn commit_failed(&self) {}

    pub(crate) fn rebuilt(&self) {}

    pub(crate) fn rebalanced(&self, _: &[String]) {}

    pub(crate) fn topic(&self, _: &str) -> TopicMeter {
        TopicMeter
    }

    pub(crate) fn partition(&self, _: &str, _: i32) -> PartitionMeter {
        PartitionMeter
    }

    pub(crate) fn statistics(&self) -> OnStatistics {
        Box::new(|_| {})
    }

    pub(crate) fn watch(&self, _: impl Fn() -> Option<(Vec<String>, Vec<PartitionGauges>)>) {}
}

pub(crate) struct TopicMeter;

impl TopicMeter {
    pub(crate) fn is_on(&self) -> bool {
        false
    }

    pub(crate) fn took(&mut self, _: Duration) {}

    pub(crate) fn add(&mut self, tally: &mut Tally) {
        *tally = Tally::default();
    }
}

pub(crate) struct PartitionMeter;

impl PartitionMeter {
    pub(crate) fn read(&self, _: usize, _: usize) {}
}
